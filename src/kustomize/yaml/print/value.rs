//! A JSON value as a build prints it.

use serde_json::{Map, Value};

use super::super::error::YamlError;
use super::super::gojson::{Html, go_json};
use super::super::legacy::legacy_to_json;
use super::super::node::{FileId, Form};
use super::super::number;
use super::super::reader::parse_document;
use super::super::resolve::{Dialect, Scalar, resolve};
use super::analysis::analyze;
use super::asked_form;
use super::order::sort_keys;
use super::writer::{Printer, Writer};

/// How many bytes a key may have that is written without a `?`.
pub const MAX_SIMPLE_KEY: usize = 128;

/// Prints one document, with its last line break and without `---` (`JSONToYAML` of `sigs.k8s.io/yaml`).
///
/// # Errors
/// The reference reads the JSON text with a YAML reader, which refuses control characters that JSON allows and keys of
/// more than a thousand characters, and takes U+0085 for a line break.
pub fn print_value(value: &Value) -> Result<String, YamlError> {
    if is_plain_json(value) {
        return Ok(print_as_it_is(value));
    }
    let document = parse_document(&go_json(value, Html::Escaped), FileId::default())?;
    let read_back = document.map_or(Ok(Value::Null), |document| legacy_to_json(&document.root))?;
    Ok(print_as_it_is(&read_back))
}

/// Whether a YAML reader takes the value's JSON text for the same value.
fn is_plain_json(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => is_plain_text(text),
        Value::Array(items) => items.iter().all(is_plain_json),
        // A character of a key has at most six in JSON, and the quotes count.
        Value::Object(fields) => fields
            .iter()
            .all(|(key, value)| key.len() <= (1024 - 2) / 6 && is_plain_text(key) && is_plain_json(value)),
    }
}

fn is_plain_text(text: &str) -> bool {
    text.bytes().all(|byte| byte < 0x7F)
        || !text.contains(|c| matches!(c, '\u{7F}'..='\u{9F}' | '\u{FFFE}' | '\u{FFFF}'))
}

fn print_as_it_is(value: &Value) -> String {
    // Most of a manifest's bytes are indentation and short words; this saves the first few growths.
    let mut writer = Writer::new(Printer::Build, 1024);
    writer.value(value, false);
    writer.write_indent();
    writer.out
}

impl Writer {
    fn value(&mut self, value: &Value, is_in_mapping: bool) {
        match value {
            Value::Null => self.write_scalar("null", Form::Default, false),
            Value::Bool(value) => self.write_scalar(if *value { "true" } else { "false" }, Form::Default, false),
            Value::Number(number) => self.write_scalar(&number_text(number), Form::Default, false),
            Value::String(text) => self.string(text, false),
            Value::Array(items) if items.is_empty() => self.empty_collection("[", "]"),
            Value::Array(items) => self.array(items, is_in_mapping),
            Value::Object(fields) if fields.is_empty() => self.empty_collection("{", "}"),
            Value::Object(fields) => self.object(fields),
        }
    }

    fn string(&mut self, text: &str, is_simple_key: bool) {
        let form = self.choose_form(text, asked_form(text), is_simple_key);
        self.write_scalar(text, form, is_simple_key);
    }

    fn empty_collection(&mut self, open: &str, close: &str) {
        self.write_indicator(open, true, true, false);
        self.write_indicator(close, false, false, false);
    }

    /// Items stand below the first letter of their key.
    fn array(&mut self, items: &[Value], is_in_mapping: bool) {
        let outer = self.indent;
        if !is_in_mapping || self.is_indentation {
            self.increase_indent(false);
        }
        for item in items {
            self.write_indent();
            self.write_indicator("-", true, false, true);
            self.value(item, false);
        }
        self.indent = outer;
    }

    fn object(&mut self, fields: &Map<String, Value>) {
        let outer = self.increase_indent(false);
        let mut sorted: Vec<(&str, &Value)> = fields.iter().map(|(key, value)| (key.as_str(), value)).collect();
        sort_keys(&mut sorted);
        for (key, value) in sorted {
            self.write_indent();
            if key.len() <= MAX_SIMPLE_KEY && !analyze(key, true).is_multiline {
                self.string(key, true);
                self.write_indicator(":", false, false, false);
            } else {
                self.write_indicator("?", true, false, true);
                self.string(key, false);
                self.write_indent();
                self.write_indicator(":", true, false, true);
            }
            self.value(value, true);
        }
        self.indent = outer;
    }
}

fn number_text(number: &serde_json::Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    let value = number.as_f64().unwrap_or(f64::NAN);
    // The number comes as JSON writes it: without a fraction it is an integer, if it fits.
    match resolve(&number::in_json(value), Dialect::Legacy) {
        Scalar::Int(value) => value.to_string(),
        Scalar::Uint(value) => value.to_string(),
        _ => number::in_yaml(value),
    }
}
