//! What a build gives: documents that know where each of their fields comes from, or why there are none.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result, Why};
use super::graph::{Graph, Id};
use super::resmap::ResMap;
use super::resource::Source;
use super::world::World;
use super::yaml::{FileId, Pos, parse_document, print_value};

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's path.
    pub file: String,
    /// The line, from one.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

fn place(names: &[String], pos: Pos) -> Option<Place> {
    let file = names
        .get(usize::try_from(pos.file.0).ok()?)
        .filter(|name| !name.is_empty() && pos.is_known())?;
    Some(Place {
        file: file.clone(),
        line: pos.line,
    })
}

/// One document of the output.
#[derive(Debug, Clone)]
pub struct Built {
    root: Id,
    pub(super) source: Option<Source>,
    /// The document, without `---`.
    pub text: Arc<str>,
}

/// What a build gives.
#[derive(Debug, Clone)]
pub struct Build {
    documents: Vec<Built>,
    graph: Arc<Graph>,
    names: Vec<String>,
    /// What was said on standard error.
    pub warnings: Vec<String>,
    /// All paths whose content or absence the result depends on.
    pub looked_at: BTreeSet<String>,
    /// Directories of which it matters what is in them: those of charts.
    pub listed: BTreeSet<String>,
}

impl Build {
    pub(super) fn new(world: World<'_>, documents: Vec<Built>) -> Self {
        Self {
            documents,
            names: world.file_names().to_vec(),
            graph: Arc::new(world.graph),
            warnings: world.warnings,
            looked_at: world.looked_at,
            listed: world.listed,
        }
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn graph_mut(&mut self) -> &mut Graph {
        Arc::make_mut(&mut self.graph)
    }

    pub(super) fn file_names(&self) -> &[String] {
        &self.names
    }

    /// Replaces the document that comes from an object of a file; `None` if there is none.
    pub(super) fn replace(&mut self, source: Option<Source>, root: Id, text: Arc<str>) -> Option<()> {
        let documents = &mut self.documents;
        let there = documents.iter_mut().find(|document| document.source == source)?;
        *there = Built { root, source, text };
        Some(())
    }

    /// The documents in the order of the output.
    pub fn documents(&self) -> &[Built] {
        &self.documents
    }

    /// The whole output.
    pub fn text(&self) -> String {
        let length = self.documents.iter().map(|document| document.text.len() + 4).sum();
        let mut text = String::with_capacity(length);
        for (at, document) in self.documents.iter().enumerate() {
            if at > 0 {
                text.push_str("---\n");
            }
            text.push_str(&document.text);
        }
        text
    }

    /// Where a line of the whole output comes from.
    pub fn place_of_line(&self, line: u32) -> Option<Place> {
        let mut left = line;
        for (at, document) in self.documents.iter().enumerate() {
            let lines = u32::try_from(document.text.lines().count()).ok()?;
            if left <= lines {
                return self.place_of_line_in(at, left);
            }
            // One more for the line between documents.
            left = left.checked_sub(lines + 1)?;
        }
        None
    }

    /// Where a line of a document comes from.
    pub fn place_of_line_in(&self, document: usize, line: u32) -> Option<Place> {
        let path = match line {
            0 | 1 => Vec::new(),
            _ => path_of_line(&self.documents.get(document)?.text, line),
        };
        self.place_of(document, &path)
    }

    /// Where a field of a document comes from: base, patch, generator or kustomization. `path` has names of fields and numbers
    /// of items; where nothing is known of a field, what contains it counts.
    pub fn place_of<S: AsRef<str>>(&self, document: usize, path: &[S]) -> Option<Place> {
        let mut at = self.documents.get(document)?.root;
        let mut best = self.graph.pos(at);
        for part in path {
            let part = part.as_ref();
            let next = match part.parse::<usize>() {
                Ok(index) if self.graph.is_sequence(at) => self.graph.content(at).get(index).copied(),
                _ => {
                    let field = self.graph.field(at, part);
                    if let Some((key, _)) = field.filter(|(key, _)| self.graph.pos(*key).is_known()) {
                        best = self.graph.pos(key);
                    }
                    field.map(|(_, value)| value)
                }
            };
            let Some(next) = next else { break };
            at = next;
            let pos = self.graph.pos(at);
            if pos.is_known() {
                best = pos;
            }
        }
        place(&self.names, best)
    }
}

/// The field that stands on a line of a printed document.
fn path_of_line(text: &str, line: u32) -> Vec<String> {
    let document = parse_document(text, FileId::default()).ok().flatten();
    let mut path = Vec::new();
    let mut at = document.as_ref().map(|document| &document.root);
    while let Some(node) = at {
        // The last thing that begins on the line or before it is the one that the line is in.
        let fields = node.entries().iter().rev().find(|entry| entry.key.pos.line <= line);
        let items = node
            .items()
            .iter()
            .enumerate()
            .rev()
            .find(|(_, item)| item.pos.line <= line);
        at = match (fields, items) {
            (Some(entry), _) => {
                path.push(entry.key.text().to_owned());
                Some(&entry.value).filter(|_| entry.key.pos.line < line || entry.value.pos.line == line)
            }
            (None, Some((index, item))) => {
                path.push(index.to_string());
                Some(item)
            }
            (None, None) => None,
        };
    }
    path
}

/// Prints objects.
pub(super) fn print(world: &mut World<'_>, map: &ResMap) -> Result<Vec<Built>> {
    let graph = &world.graph;
    let mut documents = Vec::new();
    for resource in map.list() {
        let Some(root) = resource.root else { continue };
        let text = match &mut world.cache {
            Some(cache) => cache.print(graph, root, || print_one(graph, root))?,
            None => print_one(graph, root)?,
        };
        let source = resource.source;
        documents.push(Built { root, source, text });
    }
    Ok(documents)
}

/// The text of one object.
pub(super) fn print_one(graph: &Graph, root: Id) -> Result<Arc<str>> {
    graph.check_printable(root)?;
    let value = graph.to_json(root)?;
    let text = print_value(&value).map_err(Error::from);
    text.map(Arc::from).map_err(|error| error.at(graph.pos(root)))
}

/// Why there is no build.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The reason, in Kustomize's words where a user may know them.
    pub message: String,
    /// Which step refused.
    pub why: Why,
    /// The place.
    pub place: Option<Place>,
    /// What was said on standard error before.
    pub warnings: Vec<String>,
    /// All paths whose content or absence the failure depends on.
    pub looked_at: BTreeSet<String>,
    /// Directories of which it matters what is in them: those of charts.
    pub listed: BTreeSet<String>,
}

impl Failure {
    pub(super) fn new(world: World<'_>, error: Error) -> Self {
        Self {
            place: error.pos.and_then(|pos| place(world.file_names(), pos)),
            message: error.to_string(),
            why: error.why,
            warnings: world.warnings,
            looked_at: world.looked_at,
            listed: world.listed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Failure {}
