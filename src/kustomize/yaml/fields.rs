//! Fields and items of a node: find, set, remove, walk down. Nothing here parses a path's text.

use super::node::{Data, Entry, Node};

impl Node {
    /// The fields in order; none when it is not a mapping.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Mapping(entries) => entries,
            Data::Scalar(_) | Data::Sequence(_) | Data::Alias(_) => &[],
        }
    }

    /// The fields to change, if it is a mapping.
    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.data {
            Data::Mapping(entries) => Some(entries),
            Data::Scalar(_) | Data::Sequence(_) | Data::Alias(_) => None,
        }
    }

    /// The items in order; none when it is not a sequence.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::Sequence(items) => items,
            Data::Scalar(_) | Data::Mapping(_) | Data::Alias(_) => &[],
        }
    }

    /// The items to change, if it is a sequence.
    pub fn items_mut(&mut self) -> Option<&mut Vec<Node>> {
        match &mut self.data {
            Data::Sequence(items) => Some(items),
            Data::Scalar(_) | Data::Mapping(_) | Data::Alias(_) => None,
        }
    }

    /// The first field whose key has this text.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key.text() == name)
    }

    /// The first field whose key has this text, to change.
    pub fn entry_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries_mut()?.iter_mut().find(|entry| entry.key.text() == name)
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// The value of a field, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.entry_mut(name).map(|entry| &mut entry.value)
    }

    /// The text of a field that is a scalar and not null.
    pub fn get_text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .filter(|value| value.is_scalar() && !value.is_null())
            .map(Node::text)
    }

    /// Sets a field's value, or appends the field with an undecided key. A node that is not a mapping stays as it is.
    /// Returns the value that was there.
    pub fn set(&mut self, name: &str, value: Node) -> Option<Node> {
        if let Some(there) = self.get_mut(name) {
            return Some(std::mem::replace(there, value));
        }
        if let Some(entries) = self.entries_mut() {
            entries.push(Entry {
                key: Node::scalar(name),
                value,
            });
        }
        None
    }

    /// The value of a field, which is first appended with what `make` returns if it is missing. `None` if this is not
    /// a mapping.
    pub fn get_or_insert_with(&mut self, name: &str, make: impl FnOnce() -> Node) -> Option<&mut Node> {
        let entries = self.entries_mut()?;
        let at = match entries.iter().position(|entry| entry.key.text() == name) {
            Some(at) => at,
            None => {
                entries.push(Entry {
                    key: Node::scalar(name),
                    value: make(),
                });
                entries.len() - 1
            }
        };
        Some(&mut entries[at].value)
    }

    /// Removes the first field with this name and returns it.
    pub fn remove(&mut self, name: &str) -> Option<Entry> {
        let entries = self.entries_mut()?;
        let at = entries.iter().position(|entry| entry.key.text() == name)?;
        Some(entries.remove(at))
    }

    /// Walks down through fields only.
    pub fn get_path<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Node> {
        path.into_iter().try_fold(self, |node, name| node.get(name))
    }

    /// Walks down through fields only, to change what is there.
    pub fn get_path_mut<'a>(&mut self, path: impl IntoIterator<Item = &'a str>) -> Option<&mut Node> {
        path.into_iter().try_fold(self, |node, name| node.get_mut(name))
    }

    /// Calls `visit` with this node and everything below it, keys included, parents first.
    pub fn for_each_mut(&mut self, visit: &mut impl FnMut(&mut Node)) {
        visit(self);
        match &mut self.data {
            Data::Mapping(entries) => {
                for entry in entries {
                    entry.key.for_each_mut(visit);
                    entry.value.for_each_mut(visit);
                }
            }
            Data::Sequence(items) => items.iter_mut().for_each(|item| item.for_each_mut(visit)),
            Data::Scalar(_) | Data::Alias(_) => {}
        }
    }
}
