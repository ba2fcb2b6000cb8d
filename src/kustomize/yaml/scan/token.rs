//! What the scanner hands on: tokens, and beside them comments.

use super::super::node::Form;

/// A place in the text, which is shorter than 2^32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Bytes from the start of the text.
    pub index: u32,
    /// Lines from the start, from zero.
    pub line: u32,
    /// Characters from the start of the line, from zero.
    pub column: u32,
}

/// A token and the marks around it.
#[derive(Debug)]
pub struct Token {
    pub kind: TokenKind,
    pub start: Mark,
    pub end: Mark,
    /// A scalar's text; the name of an anchor or an alias; the handle of a tag or `%TAG`; the version of `%YAML`.
    pub text: String,
    /// The suffix of a tag; the prefix of `%TAG`.
    pub rest: Box<str>,
}

impl Token {
    /// A token without text.
    pub fn bare(kind: TokenKind, mark: Mark) -> Self {
        Self {
            kind,
            start: mark,
            end: mark,
            text: String::new(),
            rest: Box::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    StreamStart,
    StreamEnd,
    VersionDirective,
    TagDirective,
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias,
    Anchor,
    Tag,
    Scalar(Form),
}

/// Which side of its neighbours a comment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Head,
    Line,
    Foot,
}

/// A comment that no node has taken yet.
#[derive(Debug)]
pub struct Comment {
    pub side: Side,
    pub text: String,
    /// Where the search for comments that found this one began.
    pub scan: Mark,
    /// The comment goes to the first token that does not start before this.
    pub token: Mark,
    /// Its first character; the column counts from one here.
    pub start: Mark,
    pub end: Mark,
}
