//! From the parser's events to a value and its places.
//!
//! Holds anchors, aliases, merge keys, duplicate keys and the budgets. Knows YAML, not Kubernetes.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, Tag};

use super::super::path::{FieldPath, Step};
use super::super::problem::Place;
use super::super::spans::{Children, SpanTree};
use super::scalar::{key_text, resolve_plain};

/// How deep a document may nest. The deepest type of Kubernetes that people write (a pod template's affinity terms)
/// nests 14 deep; every consumer behind this one recurses.
const MAX_DEPTH: usize = 100;

/// How many nodes aliases and merges may add to one document. Literal nodes are bounded by the file's size; nodes made
/// from aliases are not, and nine lines of them can ask for a billion. 100,000 is a thousand large pods.
const MAX_ALIASED_NODES: usize = 100_000;

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Place,
    /// Why, without the place.
    pub message: String,
}

/// A value and the places of everything in it.
pub type Node = (Value, SpanTree);

/// What was read.
#[derive(Debug, Default)]
pub struct Composed {
    /// Every document, in which of two values of one key the later stands.
    pub documents: Vec<Node>,
    /// Every key that is given once more.
    pub duplicates: Vec<Duplicate>,
}

/// A key that is given once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// Where.
    pub at: Place,
    /// Which.
    pub path: String,
    /// Where it was given first.
    pub first: Place,
}

/// How many duplicate keys are told of; a text with more of them is no text that somebody wrote.
const MOST_DUPLICATES: usize = 100;

/// Reads every document of one piece of YAML, whose first line has the number `first_line` in its file.
///
/// # Errors
/// The first fault of syntax.
pub fn compose(text: &str, first_line: u32) -> Result<Composed, Fault> {
    // Kubernetes objects come as single-line JSON of any length; a key there may stand far behind its opening brace.
    let options =
        granit_parser::options! { emit_comments: false, block_nesting_limit: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH };
    let mut composer = Composer {
        parser: Parser::new_from_str_with_options(text, options),
        first_line,
        anchors: HashMap::new(),
        aliased_nodes: 0,
        path: FieldPath::root(),
        depth: 0,
        duplicates: Vec::new(),
    };
    let documents = composer.documents()?;
    Ok(Composed {
        documents,
        duplicates: composer.duplicates,
    })
}

struct Composer<'input> {
    parser: Parser<'input, granit_parser::StrInput<'input>>,
    first_line: u32,
    /// Finished nodes by the parser's anchor id, with their number of nodes.
    anchors: HashMap<usize, (Node, usize)>,
    aliased_nodes: usize,
    /// The path of the node that is being read, for messages.
    path: FieldPath,
    depth: usize,
    duplicates: Vec<Duplicate>,
}

impl<'input> Composer<'input> {
    fn documents(&mut self) -> Result<Vec<Node>, Fault> {
        let mut documents = Vec::new();
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) => {
                    self.anchors.clear();
                    self.aliased_nodes = 0;
                }
                Event::StreamEnd => break,
                other => documents.push(self.node(other, span)?),
            }
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Fault> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(pair)) => Ok(Some(pair)),
            Some(Err(error)) => {
                let marker = error.marker();
                Err(Fault {
                    at: self.place(marker.line(), marker.col()),
                    message: error.info(),
                })
            }
        }
    }

    /// The next event inside a collection, which the parser always closes.
    fn next_inside(&mut self) -> Result<(Event<'input>, Span), Fault> {
        self.next()?.ok_or_else(|| Fault {
            at: Place::START,
            message: "the document ends too early".into(),
        })
    }

    fn node(&mut self, event: Event<'input>, span: Span) -> Result<Node, Fault> {
        let at = self.place_of(span);
        if self.depth >= MAX_DEPTH {
            return Err(Fault {
                at,
                message: format!("nested deeper than {MAX_DEPTH} levels"),
            });
        }
        self.depth += 1;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_deref()).map_err(|message| Fault { at, message })?;
                ((value, SpanTree::leaf(at)), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence(at)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(at)?, anchor),
            Event::Alias(id) => (self.alias(id, at)?, 0),
            other => {
                return Err(Fault {
                    at,
                    message: format!("unexpected {other:?}"),
                });
            }
        };
        self.depth -= 1;
        if anchor != 0 {
            let size = size_of(&node.0);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn sequence(&mut self, at: Place) -> Result<Node, Fault> {
        let (mut values, mut spans) = (Vec::new(), Vec::new());
        loop {
            let (event, span) = self.next_inside()?;
            if event == Event::SequenceEnd {
                break;
            }
            self.path.push(Step::Index(values.len()));
            let (value, tree) = self.node(event, span)?;
            self.path.pop();
            values.push(value);
            spans.push(tree);
        }
        Ok((
            Value::Array(values),
            SpanTree {
                at,
                key: None,
                children: Children::List(spans),
            },
        ))
    }

    fn mapping(&mut self, at: Place) -> Result<Node, Fault> {
        let mut entries = Entries::default();
        loop {
            let (event, span) = self.next_inside()?;
            if event == Event::MappingEnd {
                break;
            }
            if is_merge_key(&event) {
                let (event, span) = self.next_inside()?;
                let node = self.node(event, span)?;
                entries.merge(node).map_err(|at| Fault {
                    at,
                    message: "map merge requires map or sequence of maps as the value".into(),
                })?;
                continue;
            }
            let key_at = self.place_of(span);
            let (key, value, tree) = self.entry(event, span)?;
            if let Some(first) = entries.insert(&key, value, tree) {
                let path = self.path.field(&key).to_string();
                let at = key_at;
                if self.duplicates.len() == MOST_DUPLICATES {
                    let message = format!("more than {MOST_DUPLICATES} duplicate fields");
                    return Err(Fault { at, message });
                }
                self.duplicates.push(Duplicate { at, path, first });
            }
        }
        let Entries { values, spans, .. } = entries;
        let children = Children::Map(spans);
        Ok((
            Value::Object(values),
            SpanTree {
                at,
                key: None,
                children,
            },
        ))
    }

    /// A key, whose event this is, and its value.
    fn entry(&mut self, event: Event<'input>, span: Span) -> Result<(String, Value, SpanTree), Fault> {
        let at = self.place_of(span);
        let (key, _) = self.node(event, span)?;
        let key = key_text(&key).ok_or_else(|| Fault {
            at,
            message: "a key must be a scalar, not null".into(),
        })?;
        self.path.push(Step::Field(key.clone()));
        let (event, span) = self.next_inside()?;
        let (value, mut tree) = self.node(event, span)?;
        self.path.pop();
        tree.key = Some(at);
        Ok((key, value, tree))
    }

    fn alias(&mut self, id: usize, at: Place) -> Result<Node, Fault> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(Fault {
                at,
                message: "an anchor's value contains itself".into(),
            });
        };
        self.aliased_nodes += size;
        if self.aliased_nodes > MAX_ALIASED_NODES {
            return Err(Fault {
                at,
                message: format!("aliases expand to more than {MAX_ALIASED_NODES} nodes"),
            });
        }
        Ok(node.clone())
    }

    fn place_of(&self, span: Span) -> Place {
        self.place(span.start.line(), span.start.col())
    }

    /// The parser counts lines from 1 and columns from 0.
    fn place(&self, line: usize, column: usize) -> Place {
        let line = u32::try_from(line.saturating_sub(1)).unwrap_or(u32::MAX);
        let column = u32::try_from(column).unwrap_or(u32::MAX);
        Place {
            line: self.first_line.saturating_add(line),
            column: column.saturating_add(1),
        }
    }
}

fn is_merge_key(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// The entries of a mapping that is being read.
#[derive(Default)]
struct Entries {
    values: Map<String, Value>,
    spans: Vec<(String, SpanTree)>,
    /// Keys that came by a merge and may be given once more.
    merged: Vec<String>,
}

impl Entries {
    /// Sets an entry; returns where the key was given before, if its author gave it before.
    fn insert(&mut self, key: &str, value: Value, tree: SpanTree) -> Option<Place> {
        if self.values.insert(key.to_owned(), value).is_none() {
            self.spans.push((key.to_owned(), tree));
            return None;
        }
        let (_, before) = self.spans.iter_mut().find(|(other, _)| other == key)?;
        let first = before.key.unwrap_or(before.at);
        *before = tree;
        match self.merged.iter().position(|merged| merged == key) {
            Some(place) => {
                self.merged.swap_remove(place);
                None
            }
            None => Some(first),
        }
    }

    /// Sets the entries of a merged map, or of each map of a list, where earlier maps win over later ones. What stands
    /// above the merge is overwritten and what stands below it wins: YAML would let the author's own keys win
    /// wherever they stand, but kubectl's reader goes by the order. The error is the place of what is no map.
    fn merge(&mut self, node: Node) -> Result<(), Place> {
        match node {
            (
                Value::Object(mut values),
                SpanTree {
                    children: Children::Map(spans),
                    ..
                },
            ) => {
                for (key, tree) in spans {
                    if let Some(value) = values.remove(&key) {
                        self.insert(&key, value, tree);
                        self.merged.push(key);
                    }
                }
                Ok(())
            }
            (
                Value::Array(items),
                SpanTree {
                    children: Children::List(spans),
                    ..
                },
            ) => {
                let mut maps = items.into_iter().zip(spans).rev();
                maps.try_for_each(|item| {
                    if item.0.is_object() {
                        self.merge(item)
                    } else {
                        Err(item.1.at)
                    }
                })
            }
            (_, tree) => Err(tree.at),
        }
    }
}

fn size_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(size_of).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let core = tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
    let value = match core.as_deref() {
        Some("binary") => return binary(&text),
        Some("int" | "float" | "bool" | "null") => resolve_plain(&text)?,
        Some("str" | "timestamp") => return Ok(Value::String(text.into_owned())),
        None if tag.is_none() && style == ScalarStyle::Plain => return resolve_plain(&text),
        // Tags of applications mean nothing to kubectl: the scalar is text.
        Some(_) | None => return Ok(Value::String(text.into_owned())),
    };
    let fits = match core.as_deref() {
        Some("int") => value.is_i64() || value.is_u64(),
        Some("float") => value.is_number(),
        Some("bool") => value.is_boolean(),
        _ => value.is_null(),
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{text:?} is not a !!{}", core.as_deref().unwrap_or_default()))
    }
}

fn binary(text: &str) -> Result<Value, String> {
    use base64::Engine as _;
    let packed: String = text.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(packed)
        .map_err(|_| "!!binary value contains invalid base64 data".to_owned())?;
    String::from_utf8(bytes)
        .map(Value::String)
        .map_err(|_| "!!binary value is not UTF-8, so it can't become JSON".to_owned())
}
