//! `$patch`: what a patch says about a mapping or list as a whole.

use super::Merge;
use crate::kustomize::error::{Error, Result};
use crate::kustomize::graph::{ElementKeys, Id};
use crate::kustomize::yaml::Kind;

const KEY: &str = "$patch";

/// What is done with what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// It is merged with the patch.
    Merge,
    /// The patch stands in its place.
    Replace,
    /// It goes.
    Delete,
}

impl Directive {
    fn of(text: &str) -> Option<Self> {
        match text {
            "merge" => Some(Self::Merge),
            "replace" => Some(Self::Replace),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

impl Merge<'_> {
    /// What a patch says about itself; the word is taken out of it.
    pub(super) fn directive(&mut self, patch: Id) -> Result<Directive> {
        match self.graph.kind(patch) {
            Kind::Mapping => self.directive_of_map(patch),
            Kind::Sequence => self.directive_of_list(patch),
            Kind::Scalar | Kind::Alias => {
                let why = format!(
                    "no implemented strategic merge patch strategy for a scalar ('{}')",
                    self.graph.text(patch)
                );
                Err(Error::object(why).at(self.graph.pos(patch)))
            }
        }
    }

    fn directive_of_map(&mut self, patch: Id) -> Result<Directive> {
        let Some(word) = self.graph.get(patch, KEY) else {
            return Ok(Directive::Merge);
        };
        let directive = self.read(word)?;
        self.graph.clear(patch, KEY)?;
        Ok(directive)
    }

    /// A list says it by an item that has nothing else.
    fn directive_of_list(&mut self, patch: Id) -> Result<Directive> {
        let items = self.graph.content(patch).iter().copied();
        let found = items
            .into_iter()
            .find(|item| !self.graph.is_null(*item) && self.graph.get(*item, KEY).is_some());
        let Some(item) = found.filter(|item| self.graph.content(*item).len() <= 2) else {
            return Ok(Directive::Merge);
        };
        let word = self.graph.get(item, KEY).expect("the item was found by this field");
        let directive = self.read(word)?;
        let text = self.graph.text(word).to_owned();
        let keys = ElementKeys {
            keys: &[KEY.to_owned()],
            values: &[text],
        };
        self.graph.put_item(patch, keys, None)?;
        Ok(directive)
    }

    fn read(&self, word: Id) -> Result<Directive> {
        let text = self.graph.text(word);
        Directive::of(text)
            .ok_or_else(|| Error::object(format!("unknown patch strategy '{text}'")).at(self.graph.pos(word)))
    }
}
