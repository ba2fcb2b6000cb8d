//! The objects of one build as a graph of shared nodes.
//!
//! Kustomize works on pointers: a label that one `labels` entry writes to several places is one node, and a patch that
//! later changes it at one of them changes it at all. Outputs that are equal byte for byte need the same sharing, so nodes
//! live in one arena per build and refer to each other by number. Writing through an [`Id`] is writing through a pointer.
//!
//! Holds nodes and the operations on them (fields, paths, metadata); knows nothing of kustomizations or transformers.

mod edit;
mod elements;
mod import;
mod meta;
mod path;
mod query;
mod room;

use std::collections::HashMap;
use std::sync::Arc;

pub use self::edit::Put;
pub use self::elements::ElementKeys;
pub use self::path::{smart_split, split_escaped};
pub use self::room::{MAX_DEPTH, check_path};
use super::error::Result;
use super::resid::Gvk;
use super::yaml::{Comments, FileId, Kind, Pos, Style, Tag};

/// A node's number in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// One YAML value. Nodes are values of the arena: copying one copies the numbers of its content, not the content.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What kind of value it is.
    pub kind: Kind,
    /// Its type; undecided for many that were made.
    pub tag: Tag,
    /// How it is written, which decides about strings: a quoted `1` without a tag is one.
    pub style: Style,
    /// A scalar's text, an alias's name; empty for collections.
    pub text: Arc<str>,
    /// Items; for mappings, keys and values in turn.
    pub content: Vec<Id>,
    /// Where its text was read; line zero if it was made.
    pub pos: Pos,
    /// Comments, which survive into texts inside texts (structured data in ConfigMaps).
    pub comments: Option<Box<Comments>>,
}

impl Cell {
    /// A node without content.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            tag: Tag::None,
            style: Style::default(),
            text: Arc::from(""),
            content: Vec::new(),
            pos: Pos::default(),
            comments: None,
        }
    }

    /// A scalar of this type.
    pub fn scalar(text: &str, tag: Tag) -> Self {
        Self {
            tag,
            text: Arc::from(text),
            ..Self::new(Kind::Scalar)
        }
    }

    /// The same with this place.
    pub fn at(self, pos: Pos) -> Self {
        Self { pos, ..self }
    }
}

/// The arena.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    cells: Vec<Cell>,
    /// How many bytes of text were made for them.
    bytes: usize,
    /// Whether types have namespaces, where a schema of the user's tells of it.
    scopes: HashMap<(String, String), bool>,
    /// Where it is said what is being done: the place of nodes that are made without one.
    author: Pos,
}

/// Nodes apart from any graph, to be added to another one.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// The nodes; their content counts from the first of them.
    cells: Vec<Cell>,
    roots: Vec<Id>,
}

impl Fragment {
    /// Whether both have as many roots, with the same types and metadata.
    pub fn has_heads_of(&self, other: &Self) -> bool {
        let is_same = |(ours, theirs): (&Id, &Id)| {
            ["apiVersion", "kind", "metadata"].iter().all(|name| {
                match (self.get(*ours, name), other.get(*theirs, name)) {
                    (Some(ours), Some(theirs)) => self.is_same(ours, other, theirs),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                }
            })
        };
        self.roots.len() == other.roots.len() && self.roots.iter().zip(&other.roots).all(is_same)
    }

    fn get(&self, map: Id, name: &str) -> Option<Id> {
        let fields = self.cells[map.0 as usize].content.chunks_exact(2);
        fields
            .map(|field| (field[0], field[1]))
            .find(|(key, _)| *self.cells[key.0 as usize].text == *name)
            .map(|(_, value)| value)
    }

    /// Whether two nodes differ in nothing but where they stand.
    fn is_same(&self, ours: Id, other: &Self, theirs: Id) -> bool {
        let (a, b) = (&self.cells[ours.0 as usize], &other.cells[theirs.0 as usize]);
        let own = |cell: &Cell| (cell.kind, cell.style, cell.content.len());
        let mut children = a.content.iter().zip(&b.content);
        own(a) == own(b)
            && (&a.tag, &a.text, &a.comments) == (&b.tag, &b.text, &b.comments)
            && children.all(|(ours, theirs)| self.is_same(*ours, other, *theirs))
    }
}

impl Graph {
    /// All nodes from a number on, which refer to no others.
    pub fn fragment(&self, first: usize, roots: &[Id]) -> Fragment {
        let offset = u32::try_from(first).expect("limits keep graphs far below 2^32 nodes");
        let mut cells = self.cells[first..].to_vec();
        for child in cells.iter_mut().flat_map(|cell| &mut cell.content) {
            child.0 -= offset;
        }
        Fragment {
            cells,
            roots: roots.iter().map(|root| Id(root.0 - offset)).collect(),
        }
    }

    /// Adds nodes, read from a file that has this number here. Returns their roots.
    ///
    /// # Errors
    /// If the build becomes too large.
    pub fn insert(&mut self, fragment: &Fragment, file: FileId) -> Result<Vec<Id>> {
        self.check_room()?;
        let offset = u32::try_from(self.cells.len()).expect("limits keep graphs far below 2^32 nodes");
        self.cells.reserve(fragment.cells.len());
        for cell in &fragment.cells {
            let mut cell = cell.clone();
            cell.content.iter_mut().for_each(|child| child.0 += offset);
            cell.pos.file = file;
            self.bytes += cell.text.len();
            self.cells.push(cell);
        }
        Ok(fragment.roots.iter().map(|root| Id(root.0 + offset)).collect())
    }

    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what a schema tells of namespaces; by apiVersion and kind.
    pub fn set_scopes(&mut self, scopes: HashMap<(String, String), bool>) {
        self.scopes = scopes;
    }

    /// Whether objects of a type certainly have no namespace.
    pub fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        gvk.is_cluster_scoped()
            || (!self.scopes.is_empty() && self.scopes.get(&(gvk.api_version(), gvk.kind.clone())) == Some(&false))
    }

    /// How many nodes were ever made.
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// Does something that is asked for at a place; what it makes or overwrites stands there.
    pub fn by<T>(&mut self, author: Pos, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.author, author);
        let done = work(self);
        self.author = before;
        done
    }

    /// Makes a node.
    pub fn add(&mut self, mut cell: Cell) -> Id {
        if !cell.pos.is_known() {
            cell.pos = self.author;
        }
        let id = u32::try_from(self.cells.len()).expect("limits keep graphs far below 2^32 nodes");
        self.bytes += cell.text.len();
        self.cells.push(cell);
        Id(id)
    }

    /// Makes a scalar.
    pub fn add_scalar(&mut self, text: &str, tag: Tag) -> Id {
        self.add(Cell::scalar(text, tag))
    }

    /// A node.
    pub fn cell(&self, id: Id) -> &Cell {
        &self.cells[id.0 as usize]
    }

    /// A node, to change. All who refer to it see the change.
    pub fn cell_mut(&mut self, id: Id) -> &mut Cell {
        &mut self.cells[id.0 as usize]
    }

    /// Its kind.
    pub fn kind(&self, id: Id) -> Kind {
        self.cell(id).kind
    }

    /// Its text.
    pub fn text(&self, id: Id) -> &str {
        &self.cell(id).text
    }

    /// Its content: items, or keys and values in turn.
    pub fn content(&self, id: Id) -> &[Id] {
        &self.cell(id).content
    }

    /// Where it was read.
    pub fn pos(&self, id: Id) -> Pos {
        self.cell(id).pos
    }

    /// Whether it is a scalar.
    pub fn is_scalar(&self, id: Id) -> bool {
        self.kind(id) == Kind::Scalar
    }

    /// Whether it is a mapping.
    pub fn is_mapping(&self, id: Id) -> bool {
        self.kind(id) == Kind::Mapping
    }

    /// Whether it is a sequence.
    pub fn is_sequence(&self, id: Id) -> bool {
        self.kind(id) == Kind::Sequence
    }

    /// Whether it is tagged null, as `null`, `~` and an empty value are.
    pub fn is_null(&self, id: Id) -> bool {
        self.cell(id).tag == Tag::Null
    }

    /// Whether it is a mapping without fields, or null.
    pub fn is_empty_map(&self, id: Id) -> bool {
        self.is_null(id) || (self.is_mapping(id) && self.content(id).is_empty())
    }

    /// Whether it is null or a collection without content. An empty string is neither.
    pub fn is_hollow(&self, id: Id) -> bool {
        self.is_null(id) || (!self.is_scalar(id) && self.kind(id) != Kind::Alias && self.content(id).is_empty())
    }

    /// Whether it is a string, or a scalar of undecided type.
    pub fn is_string(&self, id: Id) -> bool {
        self.is_scalar(id) && matches!(self.cell(id).tag, Tag::Str | Tag::None)
    }

    /// A scalar's text, but nothing for null (the reference's `GetValue`).
    pub fn value_text(&self, id: Id) -> &str {
        if self.is_null(id) { "" } else { self.text(id) }
    }

    /// A deep copy, in which nothing is shared.
    ///
    /// # Errors
    /// If the build becomes too large.
    pub fn copy(&mut self, id: Id) -> Result<Id> {
        self.check_room()?;
        let mut cell = self.cell(id).clone();
        for child in &mut cell.content {
            *child = self.copy(*child)?;
        }
        Ok(self.add(cell))
    }

    /// Overwrites a node with another one's fields: `*to = *from`. Their content is shared afterwards.
    pub fn assign(&mut self, to: Id, from: Id) {
        if to != from {
            *self.cell_mut(to) = self.cell(from).clone();
        }
    }

    /// The fields of a mapping: keys and values. Nothing for other kinds.
    pub fn fields(&self, id: Id) -> impl Iterator<Item = (Id, Id)> + '_ {
        let content = match self.kind(id) {
            Kind::Mapping => self.content(id),
            Kind::Scalar | Kind::Sequence | Kind::Alias => &[],
        };
        content.chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }

    /// The first field of a mapping with this name: key and value.
    pub fn field(&self, id: Id, name: &str) -> Option<(Id, Id)> {
        self.fields(id).find(|(key, _)| self.text(*key) == name)
    }

    /// The value of the first field with this name.
    pub fn get(&self, id: Id, name: &str) -> Option<Id> {
        self.field(id, name).map(|(_, value)| value)
    }
}
