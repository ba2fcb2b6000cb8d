//! JSON as YAML, letter by letter as kubectl prints it (`sigs.k8s.io/yaml` on go-yaml 2): keys in order, lists not indented
//! below their key, text plain where it can't be taken for something else.
//!
//! An emitter of our own, because others quote otherwise: `'1'` and an unquoted timestamp are the same to a parser of today,
//! but not to `diff`, to golden files, nor to readers of YAML 1.1, for whom a bare timestamp is no text.

use serde_json::Value;

/// The value as a YAML document.
#[must_use]
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_map(fields, 0, &mut out),
        Value::Array(items) if !items.is_empty() => write_list(items, 0, &mut out),
        scalar => {
            // Two blanks in, as a block's indentation indicator says.
            out.push_str(&inline(scalar, 2));
            out.push('\n');
        }
    }
    out
}

fn write_map(fields: &serde_json::Map<String, Value>, indent: usize, out: &mut String) {
    let mut keys: Vec<&String> = fields.keys().collect();
    keys.sort();
    for (place, key) in keys.into_iter().enumerate() {
        // The first key of a list's item stands behind the dash.
        if place > 0 || !out.ends_with("- ") {
            pad(indent, out);
        }
        out.push_str(&text(key, indent, true));
        out.push(':');
        match &fields[key] {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                write_map(inner, indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(items, indent, out);
            }
            scalar => {
                out.push(' ');
                out.push_str(&inline(scalar, indent + 2));
                out.push('\n');
            }
        }
    }
}

fn write_list(items: &[Value], indent: usize, out: &mut String) {
    for (place, item) in items.iter().enumerate() {
        if place > 0 || !out.ends_with("- ") {
            pad(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => write_map(inner, indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => write_list(inner, indent + 2, out),
            scalar => {
                out.push_str(&inline(scalar, indent + 2));
                out.push('\n');
            }
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// What stands behind a key or a dash; `indent` is where the lines of a block begin.
fn inline(value: &Value, indent: usize) -> String {
    match value {
        Value::String(words) => text(words, indent, false),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A text in the style that go-yaml chooses (`encoder.stringv`, then `yaml_emitter_select_scalar_style`).
fn text(words: &str, indent: usize, is_key: bool) -> String {
    let form = Form::of(words);
    if words.contains('\n') && form.can_be_block && !is_key {
        return block(words, indent);
    }
    if words.contains('\n') || is_ambiguous(words) {
        return double_quoted(words);
    }
    match (form.can_be_plain, form.can_be_single_quoted) {
        (true, _) => words.to_owned(),
        (false, true) => format!("'{}'", words.replace('\'', "''")),
        (false, false) => double_quoted(words),
    }
}

/// In which styles a text can stand (`yaml_emitter_analyze_scalar`).
struct Form {
    can_be_plain: bool,
    can_be_single_quoted: bool,
    can_be_block: bool,
}

impl Form {
    fn of(words: &str) -> Self {
        let chars: Vec<char> = words.chars().collect();
        let is_blank_at = |place: usize| chars.get(place).is_none_or(|c| matches!(c, ' ' | '\t' | '\n'));
        let is_special = chars.iter().any(|c| !is_printable(*c));
        // A blank before a line's end would be lost in a block.
        let has_blank_at_line_end = words.split('\n').rev().skip(1).any(|line| line.ends_with(' '));
        let has_indicator = chars.iter().enumerate().any(|(place, c)| match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                if place == 0 =>
            {
                true
            }
            '-' | '?' if place == 0 => is_blank_at(1),
            ':' => is_blank_at(place + 1),
            '#' => is_blank_at(place - 1),
            _ => false,
        });
        let is_document_mark = words.starts_with("---") || words.starts_with("...");
        let (starts_blank, ends_blank) = (words.starts_with([' ', '\n']), words.ends_with([' ', '\n']));
        let is_fragile = is_special || has_blank_at_line_end;
        Self {
            can_be_plain: !(words.is_empty()
                || is_fragile
                || has_indicator
                || is_document_mark
                || starts_blank
                || ends_blank),
            can_be_single_quoted: !is_fragile,
            can_be_block: !is_fragile && !words.ends_with(' '),
        }
    }
}

/// go-yaml's set: tabs, carriage returns and all beyond the basic plane are not in it. Unicode's own line ends are left out
/// here too, where go-yaml folds them.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

/// Whether a plain text would be read as something else than text (`resolve`, `isBase60Float`).
fn is_ambiguous(words: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n",
        "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
        ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
    ];
    WORDS.contains(&words) || is_number(words) || is_timestamp(words) || is_base_60(words)
}

fn is_number(words: &str) -> bool {
    if !words.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return false;
    }
    let bare = words.replace('_', "");
    let digits = bare.trim_start_matches(['+', '-']);
    let is_radix = |prefixes: [&str; 2], radix: u32| {
        let rest = prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix));
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    let is_signed_once = bare.len() - digits.len() <= 1;
    let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && digits.parse::<f64>().is_ok();
    is_signed_once && (is_float || is_radix(["0x", "0X"], 16) || is_radix(["0o", "0O"], 8) || is_radix(["0b", "0B"], 2))
}

/// `2026-01-02` and `2026-01-02T…`.
fn is_timestamp(words: &str) -> bool {
    let date = words.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let is_digits = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    let is_date =
        matches!(parts.as_slice(), [y, m, d] if is_digits(y, 4..=4) && is_digits(m, 1..=2) && is_digits(d, 1..=2));
    let rest = &words[date.len()..];
    is_date && (rest.is_empty() || rest[1..].starts_with(|c: char| c.is_ascii_digit()) && rest.contains(':'))
}

/// `1:30` was a number in YAML 1.1.
fn is_base_60(words: &str) -> bool {
    let mut parts = words.trim_start_matches(['+', '-']).split(':');
    let first = parts.next().unwrap_or_default();
    let is_start =
        first.starts_with(|c: char| c.is_ascii_digit()) && first.chars().all(|c| c.is_ascii_digit() || c == '_');
    let rest: Vec<&str> = parts.collect();
    let is_sixtieth = |part: &str| part.parse::<u32>().is_ok_and(|n| n < 60) && part.len() <= 2;
    let is_last = |part: &str| is_sixtieth(part.split('.').next().unwrap_or_default());
    match rest.split_last() {
        Some((last, middle)) => is_start && is_last(last) && middle.iter().all(|part| is_sixtieth(part)),
        None => false,
    }
}

/// A literal block, with what its reader must know about blanks at its start and line ends at its end.
fn block(words: &str, indent: usize) -> String {
    let mut out = String::from("|");
    if words.starts_with([' ', '\n']) {
        out.push('2');
    }
    match words.strip_suffix('\n') {
        None => out.push('-'),
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    for line in words.strip_suffix('\n').unwrap_or(words).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent, &mut out);
            out.push_str(line);
        }
    }
    out
}

fn double_quoted(words: &str) -> String {
    let mut out = String::with_capacity(words.len() + 2);
    out.push('"');
    for c in words.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{feff}' => out.push_str("\\uFEFF"),
            c if is_printable(c) => out.push(c),
            c => match u32::from(c) {
                code @ ..0x100 => out.push_str(&format!("\\x{code:02X}")),
                code @ ..0x10000 => out.push_str(&format!("\\u{code:04X}")),
                code => out.push_str(&format!("\\U{code:08X}")),
            },
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// What `kubectl create configmap --dry-run=client -o yaml` prints of these texts.
    #[test]
    fn texts_are_quoted_as_kubectl_quotes_them() {
        for (words, printed) in [
            ("plain text", "plain text"),
            ("", "\"\""),
            ("1", "\"1\""),
            ("1.5", "\"1.5\""),
            ("1e3", "\"1e3\""),
            ("0x1F", "\"0x1F\""),
            ("0o7", "\"0o7\""),
            ("1_000", "\"1_000\""),
            ("1Gi", "1Gi"),
            ("1.2.3", "1.2.3"),
            ("true", "\"true\""),
            ("yes", "\"yes\""),
            ("n", "\"n\""),
            ("null", "\"null\""),
            ("~", "\"~\""),
            ("nope", "nope"),
            ("2026-01-02", "\"2026-01-02\""),
            ("2026-01-02T03:04:05Z", "\"2026-01-02T03:04:05Z\""),
            ("1:30", "\"1:30\""),
            ("80:8080", "80:8080"),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("--", "--"),
            ("---", "'---'"),
            ("*", "'*'"),
            ("[a]", "'[a]'"),
            ("a [b]", "a [b]"),
            ("it's", "it's"),
            ("'quoted'", "'''quoted'''"),
            ("\"quoted\"", "'\"quoted\"'"),
            (" a", "' a'"),
            ("a ", "'a '"),
            ("a\tb", "\"a\\tb\""),
            ("a\rb", "\"a\\rb\""),
            ("ümlaut", "ümlaut"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\nb\n", "|\n  a\n  b"),
            ("a\n\n", "|+\n  a\n"),
            ("\na", "|2-\n\n  a"),
            ("a \nb", "\"a \\nb\""),
            ("a\n\tb", "\"a\\n\\tb\""),
            ("2026-01-02 x", "2026-01-02 x"),
            ("123456789012", "\"123456789012\""),
            ("007", "\"007\""),
            ("1e", "1e"),
            ("+1", "\"+1\""),
            ("+", "+"),
            ("-", "'-'"),
            ("?", "'?'"),
            ("? a", "'? a'"),
            ("?a", "?a"),
            (":", "':'"),
            ("a:", "'a:'"),
            ("%a", "'%a'"),
            ("`a", "'`a'"),
            ("=", "="),
            ("<<", "<<"),
            ("😀", "\"\\U0001F600\""),
            ("\u{1b}[1m", "\"\\e[1m\""),
            ("1:2:3", "\"1:2:3\""),
            ("1:99", "1:99"),
            ("x\n  y\n", "|\n  x\n    y"),
            ("\n\n", "|2+\n\n"),
            (" a\nb", "|2-\n   a\n  b"),
            ("1.", "\"1.\""),
            ("...a", "'...a'"),
            (".5", "\".5\""),
            ("-.inf", "\"-.inf\""),
            ("0b11", "\"0b11\""),
            ("0b12", "0b12"),
        ] {
            assert_eq!(text(words, 2, false), printed, "{words:?}");
        }
    }

    #[test]
    fn lists_stand_below_their_key_without_indent() {
        let value = json!({"b": [{"x": 1, "a": [1, [2, 3]]}, "t", {}], "a": {"c": null, "d": [], "e": true}});
        assert_eq!(
            yaml(&value),
            "a:\n  c: null\n  d: []\n  e: true\nb:\n- a:\n  - 1\n  - - 2\n    - 3\n  x: 1\n- t\n- {}\n"
        );
        assert_eq!(yaml(&json!({})), "{}\n");
    }

    #[test]
    fn keys_that_look_like_something_else_are_quoted_too() {
        assert_eq!(
            yaml(&json!({"1": "a", "true": "b", "a/b.c": "d", "x: y": 1})),
            "\"1\": a\na/b.c: d\n\"true\": b\n'x: y': 1\n"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,12}",
            "[a:#\\- \n]{0,12}",
            any::<String>(),
            "[0-9.:_eExX+-]{0,8}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z1:# -]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_the_same(value in values()) {
            let printed = yaml(&value);
            let read: Value = serde_yaml::from_str(&printed).map_err(|e| TestCaseError::fail(format!("{e}:\n{printed}")))?;
            prop_assert_eq!(read, value, "{}", printed);
        }
    }
}
