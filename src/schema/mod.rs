//! What Kubernetes' types are: every field with its number, type and merge strategy, as data made from upstream's sources.
//!
//! One table serves protobuf decoding ([`decode_protobuf`]), the OpenAPI documents that `explain` and client-side checks read
//! ([`openapi_document`]), strategic merges and server-side apply. It is text in the binary that is read where it stands;
//! descriptions are compressed beside it and unpacked when asked for. Nothing here knows of requests, the store or what the node honours.
//!
//! `fields.txt` is sorted by message. A line that begins without a blank names one, with what holds for all its uses; a line
//! that begins with a blank is a field of it: its JSON name, its number in protobuf, its type (`[]` before a list, `{}` before a map by
//! text), and its marks. `descriptions.zst` has the same lines with the texts. `scripts/schema` makes both.

mod openapi;
mod protobuf;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::model::Kind;

pub use openapi::{fingerprint, openapi_document};
pub use protobuf::{ProtobufError, decode_protobuf};

const FIELDS: &str = include_str!("fields.txt");

/// Where each message is. Six hundred entries: what every write asks for is worth 40 kB.
static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let (mut found, mut line) = (HashMap::new(), 0);
    let mut rest = FIELDS;
    while let Some((head, after)) = rest.split_once('\n') {
        let (name, marks) = head.split_once(' ').unwrap_or((head, ""));
        let fields = after.split_inclusive('\n').take_while(|line| line.starts_with(' '));
        let end = fields.map(str::len).sum();
        let (body, next) = after.split_at(end);
        found.insert(
            name,
            Message {
                name,
                line,
                marks,
                body,
            },
        );
        line += 1 + body.lines().count();
        rest = next;
    }
    found
});

/// A type of Kubernetes' API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its full name, `k8s.io.api.core.v1.Pod`.
    pub name: &'static str,
    /// Where it stands in the table; its description stands in the same line of theirs.
    line: usize,
    marks: &'static str,
    /// The lines of its fields.
    body: &'static str,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its number in protobuf.
    pub number: u32,
    /// One value, a list or a map of them.
    pub shape: Shape,
    /// `string`, `int32`, `int64`, `bool`, `bytes`, `double`, or a message's full name.
    pub value: &'static str,
    marks: &'static str,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One,
    /// Many, in order.
    List,
    /// Many, by text.
    Map,
}

impl Message {
    /// The message of this full name.
    pub fn named(name: &str) -> Option<Self> {
        MESSAGES.get(name).copied()
    }

    /// The message of a kind of upstream's; our own kinds have none.
    pub fn of(kind: &Kind) -> Option<Self> {
        Self::of_version(kind.group, kind.version, kind.kind)
    }

    /// The message of a group's version and kind.
    pub fn of_version(group: &str, version: &str, kind: &str) -> Option<Self> {
        let package = match group {
            "" => "core",
            group => group.split('.').next().unwrap_or(group),
        };
        let name = format!("k8s.io.api.{package}.{version}.{kind}");
        let meta = || format!("k8s.io.apimachinery.pkg.apis.meta.{version}.{kind}");
        Self::named(&name).or_else(|| Self::named(&meta()))
    }

    /// Its fields.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        self.body.lines().filter_map(Field::parse)
    }

    /// The field of this JSON name, those of inlined messages included.
    pub fn field(self, name: &str) -> Option<Field> {
        let begin = format!(" {name} ");
        let own = self
            .body
            .lines()
            .find(|line| line.starts_with(&begin))
            .and_then(Field::parse);
        own.filter(|field| !field.is_inline()).or_else(|| {
            let mut inlined = self.fields().filter(|field| field.is_inline());
            inlined.find_map(|field| field.message()?.field(name))
        })
    }

    /// Whether server-side apply takes values of this type as a whole.
    pub fn is_atomic(self) -> bool {
        mark(self.marks, "struct") == Some("atomic")
    }
}

impl Field {
    fn parse(line: &'static str) -> Option<Self> {
        let mut words = line.trim_start().splitn(4, ' ');
        let (name, number, value) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let (shape, value) = match (value.strip_prefix("[]"), value.strip_prefix("{}")) {
            (Some(item), _) => (Shape::List, item),
            (None, Some(item)) => (Shape::Map, item),
            (None, None) => (Shape::One, value),
        };
        let marks = words.next().unwrap_or_default();
        Some(Self {
            name,
            number,
            shape,
            value,
            marks,
        })
    }

    /// The message that it holds, if it holds any.
    pub fn message(self) -> Option<Message> {
        self.value.contains('.').then(|| Message::named(self.value)).flatten()
    }

    /// Whether its message's fields stand in JSON in the place of the field itself.
    pub fn is_inline(self) -> bool {
        self.has("inline")
    }

    /// How server-side apply takes a list apart: `map`, `set` or `atomic`.
    pub fn list_type(self) -> Option<&'static str> {
        mark(self.marks, "list")
    }

    /// The fields that tell items of a list apart in server-side apply, joined by `+`.
    pub fn list_keys(self) -> Option<&'static str> {
        mark(self.marks, "keys")
    }

    /// Whether server-side apply takes a map or a struct as a whole.
    pub fn is_atomic(self) -> bool {
        let own = ["map", "struct"]
            .iter()
            .any(|name| mark(self.marks, name) == Some("atomic"));
        own || (self.shape == Shape::One && self.message().is_some_and(Message::is_atomic))
    }

    /// What a strategic merge does with it (`merge`, `replace`, `retainKeys`, joined by `+`); empty is the default.
    pub fn patch_strategy(self) -> &'static str {
        mark(self.marks, "patch").unwrap_or_default()
    }

    /// The field that tells items apart in a strategic merge.
    pub fn merge_key(self) -> Option<&'static str> {
        mark(self.marks, "merge")
    }

    fn is_required(self) -> bool {
        self.has("required")
    }

    /// Whether JSON leaves it out when it is zero, which the wire carries.
    fn omits_zero(self) -> bool {
        self.has("omitzero")
    }

    fn has(self, word: &str) -> bool {
        self.marks.split(' ').any(|mark| mark == word)
    }
}

fn mark(marks: &'static str, name: &str) -> Option<&'static str> {
    marks
        .split(' ')
        .find_map(|mark| mark.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KINDS;

    #[test]
    fn every_kind_of_upstreams_has_a_message() {
        // Definitions of kinds are of another project's types.
        let others = ["kubelocal.dev", "apiextensions.k8s.io"];
        for kind in KINDS.iter().filter(|kind| !others.contains(&kind.group)) {
            let message = Message::of(kind).unwrap_or_else(|| panic!("{}", kind.kind));
            assert!(message.field("metadata").is_some(), "{}", kind.kind);
        }
    }

    #[test]
    fn every_type_that_a_field_names_is_in_the_table() {
        let leaves = ["string", "int32", "int64", "bool", "bytes", "double"];
        let fields = FIELDS.lines().filter(|line| line.starts_with(' '));
        for field in fields.map(|line| Field::parse(line).expect("a field")) {
            assert!(leaves.contains(&field.value) || field.message().is_some(), "{field:?}");
        }
    }

    #[test]
    fn fields_are_found_with_their_marks_through_inlined_messages() {
        let volume = Message::named("k8s.io.api.core.v1.Volume").expect("in the table");
        assert_eq!(volume.field("emptyDir").map(|field| field.number), Some(2));
        assert_eq!(volume.field("volumeSource"), None);
        let container = Message::named("k8s.io.api.core.v1.Container").expect("in the table");
        let ports = container.field("ports").expect("a field");
        assert_eq!((ports.shape, ports.merge_key()), (Shape::List, Some("containerPort")));
        assert!(container.field("name").expect("a field").is_required());
        assert!(container.field("image").expect("a field").omits_zero());
    }
}
