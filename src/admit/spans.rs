//! Where every node of a document stands.
//!
//! A tree beside the tree of values: same shape, places instead of values. Knows nothing of YAML or kinds.

use super::path::{FieldPath, Step};
use super::problem::Place;

/// The places of a value and of everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanTree {
    /// Where the value begins.
    pub at: Place,
    /// Where the key begins whose value this is; `None` for items of lists and for the root.
    pub key: Option<Place>,
    /// The places of what is in it.
    pub children: Children,
}

/// What a node has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Children {
    /// A scalar has nothing in it.
    None,
    /// A map's values by their keys, in the order of the file.
    Map(Vec<(String, SpanTree)>),
    /// A list's items.
    List(Vec<SpanTree>),
}

impl SpanTree {
    /// A value whose inner places are not known: everything in it is located at its beginning.
    pub fn leaf(at: Place) -> Self {
        Self {
            at,
            key: None,
            children: Children::None,
        }
    }

    /// Where the field is that the path names: the value if it is a scalar, else the key it stands under (a block map
    /// begins a line below its key, and people look at the key). Where the path leads to nothing (a missing field),
    /// the place of the deepest thing on the way that does exist.
    pub fn locate(&self, path: &FieldPath) -> Place {
        let (node, _) = self.walk(path.steps());
        match node.children {
            Children::None => node.at,
            Children::Map(_) | Children::List(_) => node.key.unwrap_or(node.at),
        }
    }

    /// Where the key of the field stands that the path names: for fields that should not be there at all.
    pub fn locate_key(&self, path: &FieldPath) -> Place {
        let (node, _) = self.walk(path.steps());
        node.key.unwrap_or(node.at)
    }

    /// Whether the document has something at the path.
    pub fn has(&self, path: &FieldPath) -> bool {
        self.walk(path.steps()).1
    }

    /// What has nothing in it at and below a path, in the order of the file; nothing if the document has nothing there.
    pub fn leaves(&self, below: &FieldPath) -> Vec<(FieldPath, Place)> {
        let mut found = Vec::new();
        if let (node, true) = self.walk(below.steps()) {
            node.collect_leaves(below, &mut found);
        }
        found
    }

    fn collect_leaves(&self, path: &FieldPath, found: &mut Vec<(FieldPath, Place)>) {
        match &self.children {
            Children::Map(entries) if !entries.is_empty() => {
                for (name, child) in entries {
                    // Names with dots are written in brackets, or else they could not be read back.
                    let path = if name.contains('.') {
                        path.key(name)
                    } else {
                        path.field(name)
                    };
                    child.collect_leaves(&path, found);
                }
            }
            Children::List(items) if !items.is_empty() => {
                for (index, child) in items.iter().enumerate() {
                    child.collect_leaves(&path.index(index), found);
                }
            }
            Children::None | Children::Map(_) | Children::List(_) => {
                found.push((path.clone(), self.key.unwrap_or(self.at)))
            }
        }
    }

    /// The places of an item of the list at `field`; used to take objects out of a `List`.
    pub fn take_items(self, field: &str) -> Vec<SpanTree> {
        let Children::Map(entries) = self.children else {
            return Vec::new();
        };
        let Some((_, items)) = entries.into_iter().find(|(key, _)| key == field) else {
            return Vec::new();
        };
        match items.children {
            Children::List(list) => list,
            Children::None | Children::Map(_) => Vec::new(),
        }
    }

    /// The deepest node on the way, and whether the way was walked to its end.
    fn walk(&self, steps: &[Step]) -> (&SpanTree, bool) {
        let mut node = self;
        for step in steps {
            let next = match (&node.children, step) {
                (Children::Map(entries), Step::Field(name) | Step::Key(name)) => {
                    entries.iter().find(|(key, _)| key == name).map(|(_, child)| child)
                }
                // A key of digits (`data[1]`) is read back as an index.
                (Children::Map(entries), Step::Index(index)) => {
                    let name = index.to_string();
                    entries.iter().find(|(key, _)| *key == name).map(|(_, child)| child)
                }
                (Children::List(items), Step::Index(index)) => items.get(*index),
                (Children::List(_), Step::Field(_) | Step::Key(_)) | (Children::None, _) => None,
            };
            match next {
                Some(child) => node = child,
                None => return (node, false),
            }
        }
        (node, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32) -> Place {
        Place { line, column }
    }

    fn tree() -> SpanTree {
        let image = SpanTree {
            at: place(3, 10),
            key: Some(place(3, 3)),
            children: Children::None,
        };
        let item = SpanTree {
            at: place(3, 3),
            key: None,
            children: Children::Map(vec![("image".into(), image)]),
        };
        let list = SpanTree {
            at: place(3, 1),
            key: Some(place(2, 1)),
            children: Children::List(vec![item]),
        };
        SpanTree {
            at: place(2, 1),
            key: None,
            children: Children::Map(vec![("containers".into(), list)]),
        }
    }

    #[test]
    fn scalars_are_located_at_their_value_and_collections_at_their_key() {
        assert_eq!(tree().locate(&"containers[0].image".into()), place(3, 10));
        assert_eq!(tree().locate(&"containers".into()), place(2, 1));
        assert_eq!(tree().locate_key(&"containers[0].image".into()), place(3, 3));
    }

    #[test]
    fn a_missing_field_is_located_at_what_it_is_missing_from() {
        assert_eq!(tree().locate(&"containers[0].name".into()), place(3, 3));
        assert_eq!(tree().locate(&"containers[7].name".into()), place(2, 1));
        assert!(!tree().has(&"containers[7]".into()));
    }
}
