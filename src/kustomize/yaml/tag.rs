//! Tags in their long form (`tag:yaml.org,2002:str`) and their short one (`!!str`).

use super::node::Tag;

/// What `!!` stands for.
pub const LONG_PREFIX: &str = "tag:yaml.org,2002:";

/// The tag of a whole tag as it was written, its handle replaced.
pub fn from_long(long: &str) -> Tag {
    let Some(name) = long.strip_prefix(LONG_PREFIX).or_else(|| long.strip_prefix("!!")) else {
        return Tag::Other(long.into());
    };
    match name {
        "null" => Tag::Null,
        "bool" => Tag::Bool,
        "str" => Tag::Str,
        "int" => Tag::Int,
        "float" => Tag::Float,
        "timestamp" => Tag::Timestamp,
        "seq" => Tag::Seq,
        "map" => Tag::Map,
        "binary" => Tag::Binary,
        "merge" => Tag::Merge,
        _ => Tag::Other(format!("!!{name}").into()),
    }
}

impl Tag {
    /// The short form; empty for none.
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "",
            Self::Null => "!!null",
            Self::Bool => "!!bool",
            Self::Str => "!!str",
            Self::Int => "!!int",
            Self::Float => "!!float",
            Self::Timestamp => "!!timestamp",
            Self::Seq => "!!seq",
            Self::Map => "!!map",
            Self::Binary => "!!binary",
            Self::Merge => "!!merge",
            Self::Other(tag) => tag,
        }
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A short tag as it is written: its handle, and what follows it. Without a handle it is written as `!<…>`.
pub fn split(short: &str) -> (&'static str, &str) {
    if let Some(name) = short.strip_prefix("!!") {
        ("!!", name)
    } else if let Some(name) = short.strip_prefix('!') {
        ("!", name)
    } else {
        ("", short)
    }
}

/// What follows a handle, with everything escaped that may not stand there.
pub fn escape(suffix: &str) -> String {
    let mut escaped = String::with_capacity(suffix.len());
    for byte in suffix.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_;/?:@&=+$,.~*'()[]".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
