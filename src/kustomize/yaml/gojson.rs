//! JSON as Go's `encoding/json` prints it: sorted keys, its own escapes and its own numbers.

use serde_json::Value;

use super::number;

/// Whether `<`, `>` and `&` are escaped, which Go does unless told not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Html {
    /// `json.Marshal`
    Escaped,
    /// An encoder with `SetEscapeHTML(false)`.
    AsIs,
}

/// Prints a value without white space.
pub fn go_json(value: &Value, html: Html) -> String {
    let mut printer = Printer {
        out: String::new(),
        html,
        indent: None,
    };
    printer.value(value);
    printer.out
}

/// Prints a value with two spaces for each level, as `json.MarshalIndent`.
pub fn go_json_pretty(value: &Value) -> String {
    let mut printer = Printer {
        out: String::new(),
        html: Html::Escaped,
        indent: Some(0),
    };
    printer.value(value);
    printer.out
}

struct Printer {
    out: String,
    html: Html,
    /// The level, if lines are to be broken.
    indent: Option<usize>,
}

impl Printer {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Number(number) if number.is_f64() => {
                self.out.push_str(&number::in_json(number.as_f64().unwrap_or_default()));
            }
            Value::Number(number) => self.out.push_str(&number.to_string()),
            Value::String(text) => self.string(text),
            Value::Array(items) => self.list('[', ']', items, |printer, item| printer.value(item)),
            Value::Object(fields) => {
                let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
                sorted.sort_unstable_by_key(|(key, _)| *key);
                self.list('{', '}', &sorted, |printer, (key, value)| {
                    printer.string(key);
                    printer.out.push_str(if printer.indent.is_some() { ": " } else { ":" });
                    printer.value(value);
                });
            }
        }
    }

    fn list<T>(&mut self, open: char, close: char, items: &[T], mut print: impl FnMut(&mut Self, &T)) {
        self.out.push(open);
        self.indent = self.indent.map(|level| level + 1);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.break_line();
            print(self, item);
        }
        self.indent = self.indent.map(|level| level - 1);
        if !items.is_empty() {
            self.break_line();
        }
        self.out.push(close);
    }

    fn break_line(&mut self) {
        if let Some(level) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", level));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\0'..'\u{20}' | '\u{2028}' | '\u{2029}' => self.escape(character),
                '<' | '>' | '&' if self.html == Html::Escaped => self.escape(character),
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, character: char) {
        self.out.push_str(&format!("\\u{:04x}", u32::from(character)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_printed_as_go_prints_it() {
        let value = serde_json::json!({"b": [1, 2.5, 1e21, {}], "a": "<\u{1}\u{2028}\u{7f}é\"\\\n>", "A": []});
        assert_eq!(
            go_json(&value, Html::Escaped),
            "{\"A\":[],\"a\":\"\\u003c\\u0001\\u2028\u{7f}é\\\"\\\\\\n\\u003e\",\"b\":[1,2.5,1e+21,{}]}"
        );
        assert_eq!(go_json(&serde_json::json!("<&>"), Html::AsIs), "\"<&>\"");
        assert_eq!(
            go_json_pretty(&serde_json::json!({"a": [1, {"b": []}]})),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ]\n}"
        );
    }
}
