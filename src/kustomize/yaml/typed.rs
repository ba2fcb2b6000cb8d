//! A scalar's value by its tag and its text.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};

use super::error::{Problem, YamlError};
use super::node::{Node, Tag};
use super::number;
use super::resolve::{Dialect, Scalar, resolve};

/// Go's decoder, which does not mind what the unused bits of the last character are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The value of a scalar whose tag is decided.
///
/// # Errors
/// If tag and text contradict each other.
pub fn scalar_of(tag: &Tag, node: &Node, dialect: Dialect) -> Result<Scalar, YamlError> {
    let text = node.text();
    let found = match tag {
        Tag::None => return Ok(resolve(text, dialect)),
        Tag::Null | Tag::Bool | Tag::Int | Tag::Float | Tag::Timestamp => resolve(text, dialect),
        Tag::Str | Tag::Seq | Tag::Map | Tag::Binary | Tag::Merge | Tag::Other(_) => return Ok(Scalar::Str),
    };
    match (tag, found) {
        (Tag::Float, Scalar::Int(value)) => Ok(Scalar::Float(as_float(value))),
        (tag, found) if found.tag() == *tag => Ok(found),
        (tag, found) => {
            // A time is looked for only where no tag or its own asks for it.
            let is = if matches!(found, Scalar::Timestamp(_)) {
                Tag::Str
            } else {
                found.tag()
            };
            let problem = Problem::WrongTag {
                is: is.to_string(),
                text: text.to_owned(),
                tag: tag.to_string(),
            };
            Err(problem.at(node.pos))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "as in the reference")]
fn as_float(value: i64) -> f64 {
    value as f64
}

/// The bytes of a `!!binary` scalar as a string; what is no text becomes U+FFFD, as in Go's JSON.
///
/// # Errors
/// If the text is no base64.
pub fn binary_text(node: &Node) -> Result<String, YamlError> {
    let encoded: Vec<u8> = node
        .text()
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    let bytes = BASE64
        .decode(encoded)
        .map_err(|_| Problem::InvalidBase64.at(node.pos))?;
    Ok(replace_invalid(&bytes))
}

/// Go replaces every single byte that is no text, where Rust replaces the longest start of a character at once.
fn replace_invalid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|_| text.push('\u{FFFD}'));
    }
    text
}

/// A scalar's value in JSON. Whole floating-point numbers become integers where they fit, because JSON has only one kind
/// of number and the reference reads its own JSON again.
///
/// # Errors
/// If JSON cannot say it.
pub fn scalar_to_json(scalar: Scalar, node: &Node) -> Result<Value, YamlError> {
    Ok(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Int(value) => Value::Number(value.into()),
        Scalar::Uint(value) => Value::Number(value.into()),
        Scalar::Float(value) => Value::Number(float_to_json(value).map_err(|problem| problem.at(node.pos))?),
        Scalar::Timestamp(time) => Value::String(timestamp_to_json(time).map_err(|problem| problem.at(node.pos))?),
        Scalar::Str if node.tag == Tag::Binary => Value::String(binary_text(node)?),
        Scalar::Str => Value::String(node.text().to_owned()),
    })
}

fn float_to_json(value: f64) -> Result<Number, Problem> {
    if value.is_nan() {
        return Err(Problem::UnsupportedNumber("NaN"));
    }
    if value.is_infinite() {
        return Err(Problem::UnsupportedNumber(if value > 0.0 { "+Inf" } else { "-Inf" }));
    }
    Ok(match resolve(&number::in_json(value), Dialect::Legacy) {
        // Minus zero stays what it is: JSON prints it with its sign.
        Scalar::Int(whole) if whole != 0 || value.is_sign_positive() => whole.into(),
        Scalar::Uint(whole) => whole.into(),
        _ => Number::from_f64(value).expect("neither infinite nor not a number"),
    })
}

fn timestamp_to_json(time: String) -> Result<String, Problem> {
    // The zone stands at the end as +hh:mm.
    let hours = time
        .len()
        .checked_sub(5)
        .filter(|_| !time.ends_with('Z'))
        .and_then(|at| time.get(at..at + 2));
    if hours.is_some_and(|hours| hours >= "24") {
        return Err(Problem::TimeZone);
    }
    Ok(time)
}
