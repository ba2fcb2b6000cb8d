//! Items of lists that are told apart by the values of some of their fields.

use super::{Graph, Id};
use crate::kustomize::error::Result;
use crate::kustomize::yaml::Kind;

/// Which items are meant: those whose fields `keys` have these values. One key that is empty means the items themselves.
#[derive(Debug, Clone, Copy)]
pub struct ElementKeys<'a> {
    /// Names of fields.
    pub keys: &'a [String],
    /// Their values, in the same order.
    pub values: &'a [String],
}

impl ElementKeys<'_> {
    fn are_of_mappings(&self) -> bool {
        self.keys.first().is_some_and(|key| !key.is_empty()) && self.values.first().is_some_and(|v| !v.is_empty())
    }
}

impl Graph {
    /// The first item whose fields have these values; with an empty key, the first item with this text.
    ///
    /// # Errors
    /// If the node is neither a sequence nor null.
    pub fn find_item<S: AsRef<str>>(&self, list: Id, keys: &[S], values: &[S]) -> Result<Option<Id>> {
        self.expect_kind(list, Kind::Sequence)?;
        let items = self.content(list).iter().copied();
        if keys.first().is_none_or(|key| key.as_ref().is_empty()) {
            let wanted = values.first().map_or("", |value| value.as_ref());
            return Ok(items.into_iter().find(|item| self.text(*item) == wanted));
        }
        let has_all = |item: &Id| {
            let mut pairs = keys.iter().zip(values);
            pairs.all(|(key, value)| {
                let field = (!self.is_null(*item)).then(|| self.get(*item, key.as_ref())).flatten();
                field.is_some_and(|field| self.text(field) == value.as_ref())
            })
        };
        Ok(items.into_iter().find(has_all))
    }

    /// Replaces the items that are meant with `element`, or removes them if it is `None`; appends it if none was there.
    /// Items that are null or empty mappings are dropped on the way, as the reference does.
    ///
    /// # Errors
    /// If the list is no list, or its items have no fields to tell them apart by.
    pub fn put_item(&mut self, list: Id, keys: ElementKeys<'_>, element: Option<Id>) -> Result<()> {
        self.expect_kind(list, Kind::Sequence)?;
        let element = element.filter(|element| !self.is_null(*element));
        let mut kept = Vec::with_capacity(self.content(list).len() + 1);
        let mut was_there = false;
        for item in self.content(list).iter().copied() {
            if self.is_empty_map(item) {
                continue;
            }
            if !self.is_mapping(item) && keys.are_of_mappings() {
                kept.push(item);
                continue;
            }
            if !self.is_meant(item, keys)? {
                if !keys.values.is_empty() {
                    kept.push(item);
                }
                continue;
            }
            was_there = true;
            kept.extend(element);
        }
        if !was_there {
            kept.extend(element);
        }
        self.cell_mut(list).content = kept;
        Ok(())
    }

    /// A value that is empty stands for any: then it is enough that the field is there.
    fn is_meant(&self, item: Id, keys: ElementKeys<'_>) -> Result<bool> {
        if keys.values.is_empty() {
            return Ok(false);
        }
        for (key, value) in keys.keys.iter().zip(keys.values) {
            let is_so = if key.is_empty() {
                self.expect_kind(item, Kind::Scalar)?;
                self.value_text(item) == value
            } else {
                let field = self.find(item, key)?;
                field.is_some_and(|field| value.is_empty() || self.text(field) == value)
            };
            if !is_so {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
