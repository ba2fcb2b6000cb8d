//! Paths that may lead to many places at once: `containers.*.env.[name=A.*].value`, as replacements use them.

use super::path::{index_of, is_list_index, kind_before, split_selector};
use super::{Cell, Graph, Id, Put, check_path};
use crate::kustomize::error::{Error, Result};
use crate::kustomize::gopattern::Pattern;
use crate::kustomize::yaml::{Kind, Tag};

/// The places that a path leads to; `None` where the reference has no list at all, which it treats differently from an
/// empty one only on its way.
pub type Matches = Option<Vec<Id>>;

impl Graph {
    /// All nodes that a path leads to. With `create`, what is missing on the way is made, of this kind at the end.
    ///
    /// # Errors
    /// If something on the way has another kind than the path needs, an index is out of range, or a pattern is none; if
    /// the path is longer than any real one.
    pub fn query<S: AsRef<str>>(&mut self, root: Id, path: &[S], create: Option<Kind>) -> Result<Matches> {
        check_path(path)?;
        self.query_rest(root, path, create)
    }

    fn query_rest<S: AsRef<str>>(&mut self, root: Id, path: &[S], create: Option<Kind>) -> Result<Matches> {
        let Some(part) = path.first().map(AsRef::as_ref) else {
            return Ok(Some(vec![root]));
        };
        if let Some(index) = index_of(part).and_then(|index| usize::try_from(index).ok()) {
            return self.query_index(root, index, path, create);
        }
        if is_list_index(part) {
            return self.query_items(root, path, create);
        }
        if part == "*" {
            return self.query_every(root, path, create);
        }
        self.query_field(root, path, create)
    }

    fn query_every<S: AsRef<str>>(&mut self, root: Id, path: &[S], create: Option<Kind>) -> Result<Matches> {
        self.expect_kind(root, Kind::Sequence)?;
        let mut found = None;
        for item in self.content(root).to_vec() {
            if let Some(more) = self.query_rest(item, &path[1..], create)? {
                found.get_or_insert_with(Vec::new).extend(more);
            }
        }
        Ok(found)
    }

    fn query_field<S: AsRef<str>>(&mut self, root: Id, path: &[S], create: Option<Kind>) -> Result<Matches> {
        let name = path[0].as_ref();
        let field = match (self.find(root, name)?, create) {
            (Some(field), _) => field,
            (None, None) => return Ok(None),
            (None, Some(last)) => {
                let next = path.get(1).map(AsRef::as_ref);
                let made = self.add(Cell::new(kind_before(next, last)));
                self.set_field(root, name, Some(made), Put::default())?;
                made
            }
        };
        if self.is_scalar(field) && path.len() > 1 {
            return self.query_in_text(field, &path[1..], create);
        }
        self.query_rest(field, &path[1..], create)
    }

    /// A path that goes on below a scalar is looked for in the document that the scalar's text is. What is found is in
    /// that document, so writing to it changes nothing in the object: the reference's own result.
    fn query_in_text<S: AsRef<str>>(&mut self, field: Id, path: &[S], create: Option<Kind>) -> Result<Matches> {
        let text = self.cell(field).text.clone();
        let inner = self.parse_inner(&text)?;
        match inner {
            Some(inner) => self.query_rest(inner, path, create),
            None => Err(Error::object("no document in the text of a field").at(self.pos(field))),
        }
    }

    fn query_index<S: AsRef<str>>(
        &mut self,
        root: Id,
        index: usize,
        path: &[S],
        create: Option<Kind>,
    ) -> Result<Matches> {
        self.expect_kind(root, Kind::Sequence)?;
        if let Some(last) = create.filter(|_| self.content(root).len() == index) {
            let next = path.get(1).map(AsRef::as_ref);
            let made = self.add(Cell::new(kind_before(next, last)));
            self.append(root, made)?;
        }
        let items = self.content(root);
        let Some(item) = items.get(index).copied() else {
            let why = format!("index {index} specified but only {} elements found", items.len());
            return Err(Error::object(why).at(self.pos(root)));
        };
        self.query_rest(item, &path[1..], create)
    }

    fn query_items<S: AsRef<str>>(&mut self, root: Id, path: &[S], create: Option<Kind>) -> Result<Matches> {
        let (name, wanted) = split_selector(path[0].as_ref())?;
        let found = self.items_that_match(root, name, wanted, &path[1..], create)?;
        if found.as_ref().is_some_and(|found| !found.is_empty()) {
            return Ok(found);
        }
        if create.is_none() {
            return Ok(None);
        }
        let text = self.add_scalar(wanted, Tag::None);
        let made = if name.is_empty() {
            text
        } else {
            let key = self.add_scalar(name, Tag::None);
            self.add(Cell {
                content: vec![key, text],
                ..Cell::new(Kind::Mapping)
            })
        };
        self.append(root, made)?;
        let found = self.items_that_match(root, name, wanted, &path[1..], create)?;
        match found.as_ref().is_some_and(|found| !found.is_empty()) {
            true => Ok(found),
            // The reference appends for ever here: its pattern does not match its own text.
            false => Err(Error::object(format!(
                "an item made for `{}` does not match it",
                path[0].as_ref()
            ))),
        }
    }

    fn items_that_match<S: AsRef<str>>(
        &mut self,
        root: Id,
        name: &str,
        wanted: &str,
        rest: &[S],
        create: Option<Kind>,
    ) -> Result<Matches> {
        self.expect_kind(root, Kind::Sequence)?;
        let mut found = None;
        for item in self.content(root).to_vec() {
            let pattern = Pattern::new(wanted)?;
            let shown = match name {
                "" => item,
                _ => match self.get(item, name) {
                    Some(value) => value,
                    None => continue,
                },
            };
            if !pattern.is_in(self.to_text(shown).trim()) {
                continue;
            }
            let more = match name {
                "" => Some(vec![item]),
                _ => self.query_rest(item, rest, create)?,
            };
            if let Some(more) = more {
                found.get_or_insert_with(Vec::new).extend(more);
            }
        }
        Ok(found)
    }
}
