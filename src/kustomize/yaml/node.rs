//! The tree: one node is one YAML value with everything that its text said besides the value (tag, style, anchor,
//! comments) and the place that it came from.
//!
//! A node does not know its document, its parent or the file's name: a [`FileId`] is a number that the reader's caller
//! chose. Equality of values, as opposed to equality of texts, is [`Node::same_value`].

use super::resolve;

/// A number that stands for the text a node was read from; the caller of the reader keeps the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId(pub u32);

/// Where a node's text begins. Line and column count from one; line zero means that no text was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pos {
    /// The text that was read.
    pub file: FileId,
    /// The line, from one; zero for a node that was made and not read.
    pub line: u32,
    /// The column in characters, from one.
    pub column: u32,
}

impl Pos {
    /// Whether the node was read from a text, so that an error can point there.
    pub fn is_known(&self) -> bool {
        self.line != 0
    }
}

/// What kind of value a node is, without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A single value: string, number, boolean, null.
    Scalar,
    /// Fields in the order in which they were written.
    Mapping,
    /// Items.
    Sequence,
    /// A reference to an anchor, by name.
    Alias,
}

/// The type of a node, in YAML's short words.
///
/// A node that was read always has one: the written one, or what its text resolves to. A node that was made may have
/// none; then its text decides when it is printed ([`Node::short_tag`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Tag {
    /// Not decided: the value's text decides.
    #[default]
    None,
    /// `!!null`
    Null,
    /// `!!bool`
    Bool,
    /// `!!str`
    Str,
    /// `!!int`
    Int,
    /// `!!float`
    Float,
    /// `!!timestamp`
    Timestamp,
    /// `!!seq`
    Seq,
    /// `!!map`
    Map,
    /// `!!binary`
    Binary,
    /// `!!merge`, the type of a plain `<<`
    Merge,
    /// Any other, `!local` or `!!name` in short form, or a whole URI.
    Other(Box<str>),
}

/// How a value was or shall be written, apart from its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// Plain scalars and block collections.
    #[default]
    Default,
    /// `"…"`
    DoubleQuoted,
    /// `'…'`
    SingleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
    /// `{…}` or `[…]`
    Flow,
}

/// How a node is written: its form, and whether its tag is spelled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Style {
    /// The form of the value.
    pub form: Form,
    /// Whether the tag was written and shall be written.
    pub tagged: bool,
}

impl Style {
    /// A style with this form and no written tag.
    pub const fn of(form: Form) -> Self {
        Self { form, tagged: false }
    }

    /// Whether nothing was asked for, so that the printer decides.
    pub fn is_default(self) -> bool {
        self == Self::default()
    }
}

/// The comments that belong to a node, each with its `#` and without the last line break.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comments {
    /// The lines above.
    pub head: String,
    /// What stands on the same line.
    pub line: String,
    /// The lines below, before an empty line.
    pub foot: String,
}

impl Comments {
    /// Whether there is no comment at all.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.line.is_empty() && self.foot.is_empty()
    }
}

/// A field of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key; nearly always a plain string.
    pub key: Node,
    /// The value.
    pub value: Node,
}

/// A node's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The text after unescaping and folding; its type is the node's tag.
    Scalar(String),
    /// Fields in order. Keys may occur twice: the reader keeps what it read.
    Mapping(Vec<Entry>),
    /// Items in order.
    Sequence(Vec<Node>),
    /// The anchor's name.
    Alias(String),
}

/// What few nodes have, boxed so that the others stay small.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Extras {
    anchor: String,
    comments: Comments,
}

/// One YAML value with its presentation and its place. `==` compares everything, places included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The value.
    pub data: Data,
    /// The type.
    pub tag: Tag,
    /// The presentation.
    pub style: Style,
    /// The place that it was read from.
    pub pos: Pos,
    extras: Option<Box<Extras>>,
}

/// One document of a stream: a value, and the comments around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The value. A document without one holds a null.
    pub root: Node,
    /// The comments before and after the value.
    pub comments: Comments,
}

impl Document {
    /// A document that holds this value and no comment of its own.
    pub fn new(root: Node) -> Self {
        Self {
            root,
            comments: Comments::default(),
        }
    }
}

impl Node {
    /// A node of this value, with no tag, style, place or comment.
    pub fn new(data: Data) -> Self {
        Self {
            data,
            tag: Tag::None,
            style: Style::default(),
            pos: Pos::default(),
            extras: None,
        }
    }

    /// A scalar whose text decides what it is: `scalar("1")` is a number.
    pub fn scalar(text: impl Into<String>) -> Self {
        Self::new(Data::Scalar(text.into()))
    }

    /// A string, whatever its text looks like; written as a block when it has several lines.
    pub fn string(text: impl Into<String>) -> Self {
        let text = text.into();
        let form = if text.contains('\n') {
            Form::Literal
        } else {
            Form::Default
        };
        Self {
            tag: Tag::Str,
            style: Style::of(form),
            ..Self::scalar(text)
        }
    }

    /// `true` or `false`.
    pub fn bool(value: bool) -> Self {
        Self {
            tag: Tag::Bool,
            ..Self::scalar(if value { "true" } else { "false" })
        }
    }

    /// `null`, spelled out.
    pub fn null() -> Self {
        Self {
            tag: Tag::Null,
            ..Self::scalar("null")
        }
    }

    /// A mapping without fields.
    pub fn mapping() -> Self {
        Self {
            tag: Tag::Map,
            ..Self::new(Data::Mapping(Vec::new()))
        }
    }

    /// A sequence of these items.
    pub fn sequence(items: impl IntoIterator<Item = Node>) -> Self {
        Self {
            tag: Tag::Seq,
            ..Self::new(Data::Sequence(items.into_iter().collect()))
        }
    }

    /// The same node with this tag.
    pub fn with_tag(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// The same node with this presentation.
    pub fn with_form(mut self, form: Form) -> Self {
        self.style.form = form;
        self
    }

    /// The same node with this place.
    pub fn at(mut self, pos: Pos) -> Self {
        self.pos = pos;
        self
    }

    /// What kind of value it is.
    pub fn kind(&self) -> Kind {
        match self.data {
            Data::Scalar(_) => Kind::Scalar,
            Data::Mapping(_) => Kind::Mapping,
            Data::Sequence(_) => Kind::Sequence,
            Data::Alias(_) => Kind::Alias,
        }
    }

    /// Whether it is a scalar.
    pub fn is_scalar(&self) -> bool {
        self.kind() == Kind::Scalar
    }

    /// A scalar's text, or an alias's name; empty for collections, as in the reference.
    pub fn text(&self) -> &str {
        match &self.data {
            Data::Scalar(text) | Data::Alias(text) => text,
            Data::Mapping(_) | Data::Sequence(_) => "",
        }
    }

    /// The tag, or where there is none what the value's text resolves to.
    pub fn short_tag(&self) -> Tag {
        match (&self.tag, &self.data) {
            (Tag::None, Data::Mapping(_)) => Tag::Map,
            (Tag::None, Data::Sequence(_)) => Tag::Seq,
            (Tag::None, Data::Scalar(text)) => self.resolved_tag(text),
            (tag, _) => tag.clone(),
        }
    }

    fn resolved_tag(&self, text: &str) -> Tag {
        match self.style.form {
            Form::Default | Form::Flow => resolve::plain_tag(text),
            Form::DoubleQuoted | Form::SingleQuoted | Form::Literal | Form::Folded => Tag::Str,
        }
    }

    /// Whether it is tagged null, which is what `null`, `~` and an empty value are read as.
    pub fn is_null(&self) -> bool {
        self.tag == Tag::Null
    }

    /// Whether it is a mapping without fields.
    pub fn is_empty_mapping(&self) -> bool {
        matches!(&self.data, Data::Mapping(entries) if entries.is_empty())
    }

    /// Whether it is a sequence without items.
    pub fn is_empty_sequence(&self) -> bool {
        matches!(&self.data, Data::Sequence(items) if items.is_empty())
    }

    /// The anchor's name, or the empty string.
    pub fn anchor(&self) -> &str {
        self.extras.as_ref().map_or("", |extras| &extras.anchor)
    }

    /// Sets the anchor's name; the empty string removes it.
    pub fn set_anchor(&mut self, anchor: impl Into<String>) {
        let anchor = anchor.into();
        if !anchor.is_empty() || self.extras.is_some() {
            self.extras.get_or_insert_default().anchor = anchor;
        }
    }

    /// The comments, if there are any.
    pub fn comments(&self) -> Option<&Comments> {
        self.extras
            .as_ref()
            .map(|extras| &extras.comments)
            .filter(|comments| !comments.is_empty())
    }

    /// Sets all comments at once.
    pub fn set_comments(&mut self, comments: Comments) {
        if !comments.is_empty() || self.extras.is_some() {
            self.extras.get_or_insert_default().comments = comments;
        }
    }
}
