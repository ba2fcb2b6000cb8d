//! What the scanner hands on: tokens, and beside them comments.

use super::super::node::Form;

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Bytes from the start of the text.
    pub index: usize,
    /// Lines from the start, from zero.
    pub line: usize,
    /// Characters from the start of the line, from zero.
    pub column: usize,
}

/// A token and the marks around it.
#[derive(Debug)]
pub struct Token {
    pub kind: TokenKind,
    pub start: Mark,
    pub end: Mark,
}

#[derive(Debug, PartialEq)]
pub enum TokenKind {
    StreamStart,
    StreamEnd,
    VersionDirective { major: u8, minor: u8 },
    TagDirective { handle: String, prefix: String },
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
    Alias(String),
    Anchor(String),
    Tag { handle: String, suffix: String },
    Scalar { text: String, form: Form },
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
