//! What can be wrong with a text or a tree, and where.
//!
//! The wording of a problem is the reference's own, so that what people find when they search for it still helps. The
//! place is ours: the reference often has none, or a line of a text that nobody wrote.

use super::node::Pos;

/// A problem and its place. The place's line is zero when the value was made and not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct YamlError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, in the text that was read.
    pub pos: Pos,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes are not text in any encoding that YAML knows.
    #[error("{0}")]
    Encoding(&'static str),
    /// A character that YAML does not allow unescaped.
    #[error("control characters are not allowed (found U+{0:04X})")]
    ControlCharacter(u32),
    /// The text is not YAML.
    #[error("{0}")]
    Syntax(&'static str),
    /// Something other than a comment follows `---` on its line.
    #[error("invalid document separator: {0}")]
    Separator(String),
    /// Collections lie deeper than [`super::MAX_DEPTH`].
    #[error("exceeded max depth of {}", super::MAX_DEPTH)]
    TooDeep,
    /// The text is longer than [`super::MAX_TEXT`].
    #[error("text of {0} bytes exceeds the limit of {limit} bytes", limit = super::MAX_TEXT)]
    TooLong(usize),
    /// An alias names an anchor that no node before it has.
    #[error("unknown anchor '{0}' referenced")]
    UnknownAnchor(String),
    /// An alias stands inside the value that it stands for.
    #[error("anchor '{0}' value contains itself")]
    AnchorContainsItself(String),
    /// Aliases would multiply the document beyond [`super::MAX_EXPANDED_NODES`].
    #[error("document contains excessive aliasing")]
    ExcessiveAliasing,
    /// `<<` has a value that is neither a mapping nor a sequence of mappings.
    #[error("map merge requires map or sequence of maps as the value")]
    MergeOfNonMapping,
    /// A mapping has two merge keys.
    #[error("duplicate merge key")]
    DuplicateMergeKey,
    /// A mapping has the same key twice.
    #[error("mapping key \"{key}\" already defined at line {line}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of the first one.
        line: u32,
    },
    /// A scalar's tag and its text contradict each other.
    #[error("cannot decode {is} `{text}` as a {tag}")]
    WrongTag {
        /// What the text is.
        is: String,
        /// The text.
        text: String,
        /// What the tag says.
        tag: String,
    },
    /// `!!binary` is not followed by base64.
    #[error("!!binary value contains invalid base64 data")]
    InvalidBase64,
    /// A mapping below the first level has a key that is not a string, which JSON cannot say.
    #[error("json: unsupported type: map[interface {{}}]interface {{}} (the key `{0}` is not a string)")]
    NonStringKey(String),
    /// A mapping or sequence is used as a key.
    #[error("invalid map key: a key must be a scalar")]
    CollectionAsKey,
    /// A number that JSON cannot say.
    #[error("json: unsupported value: {0}")]
    UnsupportedNumber(&'static str),
    /// A time zone that JSON's form of a time cannot say.
    #[error("Time.MarshalJSON: timezone hour outside of range [0,23]")]
    TimeZone,
    /// The outermost value is not a mapping.
    #[error("cannot unmarshal {0} into map[string]interface {{}}")]
    NotAMapping(String),
    /// An anchor or alias whose name cannot be printed.
    #[error("{0}")]
    Unprintable(&'static str),
}

impl Problem {
    /// This problem at a place.
    pub fn at(self, pos: Pos) -> YamlError {
        YamlError { problem: self, pos }
    }
}
