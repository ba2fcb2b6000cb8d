//! Fields and items of a node: find, read, set.
//!
//! Few methods, because a build edits a graph of its own into which trees are taken over.

use super::node::{Data, Entry, Node};

impl Node {
    /// The fields in order; none when it is not a mapping.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Mapping(entries) => entries,
            Data::Scalar(_) | Data::Sequence(_) | Data::Alias(_) => &[],
        }
    }

    /// The items in order; none when it is not a sequence.
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::Sequence(items) => items,
            Data::Scalar(_) | Data::Mapping(_) | Data::Alias(_) => &[],
        }
    }

    /// The value of the first field whose key has this text.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key.text() == name)
            .map(|entry| &entry.value)
    }

    /// The text of a field that is a scalar and not null.
    pub fn get_text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .filter(|value| value.is_scalar() && !value.is_null())
            .map(Node::text)
    }

    /// Sets the value of the first field whose key has this text, or appends a field with a key of undecided type. A
    /// node that is not a mapping stays as it is.
    pub fn set(&mut self, name: &str, value: Node) {
        let Data::Mapping(entries) = &mut self.data else {
            return;
        };
        match entries.iter_mut().find(|entry| entry.key.text() == name) {
            Some(entry) => entry.value = value,
            None => entries.push(Entry {
                key: Node::scalar(name),
                value,
            }),
        }
    }
}
