//! What a plain scalar's text means: null, boolean, number, timestamp or string.
//!
//! Two readings exist, because the reference has two: [`Dialect::Node`] is what resources are read with, and
//! [`Dialect::Legacy`] what kustomization files are read with, where `yes` and `on` are booleans. Both are what the
//! reference does and not what either YAML version says: `0644` is octal and `0o644` is, too; `1_000` is a number;
//! `1:30` is a string.

use super::node::Tag;
use super::timestamp;

/// Which of the reference's two readers to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The reader of resources and patches.
    Node,
    /// The reader of kustomization files, and of what the printer must quote.
    Legacy,
}

/// A scalar's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that fits into 64 bits with a sign.
    Int(i64),
    /// A larger one that fits without.
    Uint(u64),
    /// A floating-point number, infinities and not-a-number included.
    Float(f64),
    /// A point in time, written as RFC 3339 with nanoseconds.
    Timestamp(String),
    /// Everything else: the text itself.
    Str,
}

impl Scalar {
    /// The short tag of this value.
    pub fn tag(&self) -> Tag {
        match self {
            Self::Null => Tag::Null,
            Self::Bool(_) => Tag::Bool,
            Self::Int(_) | Self::Uint(_) => Tag::Int,
            Self::Float(_) => Tag::Float,
            Self::Timestamp(_) => Tag::Timestamp,
            Self::Str => Tag::Str,
        }
    }
}

/// The tag that an untagged plain scalar gets in a resource.
pub fn plain_tag(text: &str) -> Tag {
    resolve(text, Dialect::Node).tag()
}

/// The value of an untagged plain scalar.
pub fn resolve(text: &str, dialect: Dialect) -> Scalar {
    let Some(first) = text.as_bytes().first() else {
        return Scalar::Null;
    };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => resolve_word(text, dialect),
        b'.' => resolve_dotted(text),
        b'+' | b'-' | b'0'..=b'9' => resolve_special_float(text)
            .or_else(|| timestamp::parse(text).map(|time| Scalar::Timestamp(time.to_string())))
            .unwrap_or_else(|| resolve_number(text)),
        // `<<` too: the reader makes it a merge key by its text, but what has no tag yet is a string.
        _ => Scalar::Str,
    }
}

fn resolve_word(text: &str, dialect: Dialect) -> Scalar {
    match text {
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ if dialect == Dialect::Node => Scalar::Str,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        _ => Scalar::Str,
    }
}

fn resolve_special_float(text: &str) -> Option<Scalar> {
    let value = match text {
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        _ => return None,
    };
    Some(Scalar::Float(value))
}

fn resolve_dotted(text: &str) -> Scalar {
    if let Some(special) = resolve_special_float(text) {
        return special;
    }
    match without_go_underscores(text).as_deref().and_then(parse_float) {
        Some(value) => Scalar::Float(value),
        None => Scalar::Str,
    }
}

/// Go's number syntax allows an underscore between two digits and nowhere else.
fn without_go_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let misplaced =
        (0..bytes.len()).any(|at| bytes[at] == b'_' && !(is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))));
    (!misplaced).then(|| text.replace('_', ""))
}

fn resolve_number(text: &str) -> Scalar {
    let without_underscores;
    let plain = if text.contains('_') {
        without_underscores = text.replace('_', "");
        without_underscores.as_str()
    } else {
        text
    };
    parse_prefixed(plain)
        .or_else(|| parse_float(plain).map(Scalar::Float))
        .or_else(|| parse_signed_after_prefix(plain))
        .unwrap_or(Scalar::Str)
}

/// Integers as Go reads them with base 0: `0x`, `0o`, `0b` in either case, a leading `0` for octal, else decimal.
fn parse_prefixed(text: &str) -> Option<Scalar> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("+", &text[1..]),
        _ => ("", text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    let magnitude = parse_digits(digits, radix)?;
    match (sign, i64::try_from(magnitude)) {
        ("-", Ok(value)) => Some(Scalar::Int(-value)),
        ("-", Err(_)) => (magnitude == 1 << 63).then_some(Scalar::Int(i64::MIN)),
        (_, Ok(value)) => Some(Scalar::Int(value)),
        // A sign is not part of an unsigned number.
        ("", Err(_)) => Some(Scalar::Uint(magnitude)),
        (_, Err(_)) => None,
    }
}

fn parse_digits(digits: &str, radix: u32) -> Option<u64> {
    // `from_str_radix` would take a sign.
    let starts_with_digit = digits.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if starts_with_digit {
        u64::from_str_radix(digits, radix).ok()
    } else {
        None
    }
}

/// The reference retries what follows `0b` and `0o` with a sign of its own, so that `0b-1` is minus one.
fn parse_signed_after_prefix(plain: &str) -> Option<Scalar> {
    let (text, radix) = match plain.as_bytes() {
        [b'0', b'b', ..] => (&plain[2..], 2),
        [b'0', b'o', ..] => (&plain[2..], 8),
        _ => return None,
    };
    i64::from_str_radix(text, radix).ok().map(Scalar::Int)
}

/// A decimal floating-point number in YAML's form. What exceeds the range is no number.
fn parse_float(text: &str) -> Option<f64> {
    let digits_and_dot = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits_and_dot.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Whether a text is a base-60 number of YAML 1.1, which the reference reads as a string but quotes when it prints.
pub fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let Some(first) = parts.next() else { return false };
    if !first.starts_with(|c: char| c.is_ascii_digit()) || !first.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return false;
    }
    let mut rest = parts.peekable();
    if rest.peek().is_none() {
        return false;
    }
    while let Some(part) = rest.next() {
        let sixtieths = match (rest.peek(), part.split_once('.')) {
            (None, Some((digits, fraction))) if fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_') => digits,
            (_, Some(_)) => return false,
            (_, None) => part,
        };
        if !matches!(sixtieths.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_resolves_as_in_the_reference() {
        for (text, expected) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("NULL", Scalar::Null),
            ("nULL", Scalar::Str),
            ("True", Scalar::Bool(true)),
            ("yes", Scalar::Str),
            ("0", Scalar::Int(0)),
            ("-0", Scalar::Int(0)),
            ("0644", Scalar::Int(420)),
            ("0o644", Scalar::Int(420)),
            ("-0o17", Scalar::Int(-15)),
            ("0x1F", Scalar::Int(31)),
            ("0b101", Scalar::Int(5)),
            ("0b-1", Scalar::Int(-1)),
            ("+12", Scalar::Int(12)),
            ("1_000", Scalar::Int(1000)),
            ("08", Scalar::Float(8.0)),
            ("1e3", Scalar::Float(1000.0)),
            ("1.", Scalar::Float(1.0)),
            (".5", Scalar::Float(0.5)),
            ("-.5", Scalar::Float(-0.5)),
            ("1e400", Scalar::Str),
            ("1e", Scalar::Str),
            ("9223372036854775807", Scalar::Int(i64::MAX)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("18446744073709551615", Scalar::Uint(u64::MAX)),
            ("18446744073709551616", Scalar::Float(18446744073709551616.0)),
            ("+18446744073709551615", Scalar::Float(18446744073709551615.0)),
            (".inf", Scalar::Float(f64::INFINITY)),
            ("-.INF", Scalar::Float(f64::NEG_INFINITY)),
            ("inf", Scalar::Str),
            ("-inf", Scalar::Str),
            ("+nan", Scalar::Str),
            ("1:30", Scalar::Str),
            ("2001-01-01", Scalar::Timestamp("2001-01-01T00:00:00Z".into())),
            ("<<", Scalar::Str),
            ("-", Scalar::Str),
            ("0x", Scalar::Str),
        ] {
            assert_eq!(resolve(text, Dialect::Node), expected, "{text:?}");
        }
    }

    #[test]
    fn only_the_legacy_reader_knows_yes_and_on() {
        assert_eq!(resolve("yes", Dialect::Legacy), Scalar::Bool(true));
        assert_eq!(resolve("Off", Dialect::Legacy), Scalar::Bool(false));
        assert_eq!(resolve("n", Dialect::Legacy), Scalar::Bool(false));
        assert_eq!(resolve("n", Dialect::Node), Scalar::Str);
    }

    #[test]
    fn base_60_needs_a_colon_and_digits_below_sixty() {
        for text in ["1:30", "190:20:30", "-1:0", "1_0:59.5_", "1:5."] {
            assert!(is_base60(text), "{text}");
        }
        for text in ["1", "1:60", "1:", ":30", "1:3.0:2", "a:1", "1:300", ""] {
            assert!(!is_base60(text), "{text}");
        }
    }
}
