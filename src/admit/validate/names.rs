//! Formats of names, labels and keys, with upstream's messages (`apimachinery/pkg/util/validation`). Each check returns
//! what is wrong with the text, if anything.

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

/// An RFC 1123 label: at most 63 of `[-a-z0-9]`, a letter or digit at both ends.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 63);
    if !is_dns_label(text) {
        wrong.push(format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
             with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL_FORMAT}')"
        ));
    }
    wrong
}

/// An RFC 1123 subdomain: labels with dots between, at most 253.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 253);
    if !text.split('.').all(is_dns_label) {
        wrong.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and \
             end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN_FORMAT}')"
        ));
    }
    wrong
}

/// An RFC 1035 label: as RFC 1123's, but beginning with a letter.
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 63);
    if !is_dns_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        wrong.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
             and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
             '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .into(),
        );
    }
    wrong
}

/// What may stand between two slashes of a path (`path.IsValidPathSegmentName`): names of roles.
pub fn path_segment(text: &str) -> Vec<String> {
    let whole = [".", ".."].into_iter().filter(|word| text == *word);
    let parts = ['/', '%'].into_iter().filter(|part| text.contains(*part));
    let whole = whole.map(|word| format!("may not be '{word}'"));
    whole
        .chain(parts.map(|part| format!("may not contain '{part}'")))
        .collect()
}

/// A qualified name: `[prefix/]name`, as the keys of labels and annotations are.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((prefix, name)) if !name.contains('/') => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".into());
            } else {
                wrong.extend(
                    dns_subdomain(prefix)
                        .into_iter()
                        .map(|message| format!("prefix part {message}")),
                );
            }
            name
        }
        Some(_) => {
            wrong.push(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                 alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
                    .into(),
            );
            return wrong;
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".into());
    } else {
        wrong.extend(
            longer_than(name, 63)
                .into_iter()
                .map(|message| format!("name part {message}")),
        );
    }
    if !is_label_word(name) {
        wrong.push(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
             character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
                .into(),
        );
    }
    wrong
}

/// The value of a label: empty, or at most 63 of `[-A-Za-z0-9_.]`.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 63);
    if !text.is_empty() && !is_label_word(text) {
        wrong.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
             end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .into(),
        );
    }
    wrong
}

/// The key of a ConfigMap or Secret: a file's name.
pub fn config_key(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 253);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if text.is_empty() || !text.chars().all(fits) {
        wrong.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
             'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .into(),
        );
    } else if text == "." || text == ".." {
        wrong.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        wrong.push("must not start with '..'".into());
    }
    wrong
}

/// The name of a port: at most 15 of `[-a-z0-9]` with a letter, no `--`, no `-` at an end (`IsValidPortName`).
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = longer_than(text, 15);
    if !text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !text.contains(|c: char| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".into());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".into());
    }
    wrong
}

/// The number of a port.
pub fn port_number(port: i64) -> Option<&'static str> {
    (!(1..=65535).contains(&port)).then_some("must be between 1 and 65535, inclusive")
}

/// The name of an environment variable: any printable ASCII but `=` (upstream's relaxed rule, on since 1.32).
pub fn env_name(text: &str) -> Option<&'static str> {
    let fits = !text.is_empty() && text.chars().all(|c| (' '..='~').contains(&c) && c != '=');
    (!fits)
        .then_some("a valid environment variable name must consist only of printable ASCII characters other than '='")
}

fn is_dns_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_label_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.chars().all(fits) && text.starts_with(is_end) && text.ends_with(is_end)
}

fn longer_than(text: &str, most: usize) -> Vec<String> {
    if text.len() > most {
        vec![format!("must be no more than {most} characters")]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_upstream_accepts() {
        for good in ["a", "a-b", "1a", "0"] {
            assert!(dns_label(good).is_empty(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(64)] {
            assert!(!dns_label(bad).is_empty(), "{bad}");
        }
        assert!(dns_subdomain("a.b-c.1").is_empty());
        assert!(!dns_subdomain("a..b").is_empty());
        assert!(!dns_1035_label("1a").is_empty());
    }

    #[test]
    fn keys_and_values_of_labels_are_what_upstream_accepts() {
        for good in ["app", "app.kubernetes.io/name", "A_b.c-d"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "-a", "A.b/-", "Ex_ample/x"] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
        assert!(label_value("").is_empty());
        assert!(!label_value("a b").is_empty());
    }

    #[test]
    fn keys_ports_and_variables_are_what_upstream_accepts() {
        assert!(config_key("a.b_C-1").is_empty() && config_key(".env").is_empty());
        for bad in ["", ".", "..", "..a", "a/b"] {
            assert!(!config_key(bad).is_empty(), "{bad}");
        }
        assert!(port_name("http-1").is_empty());
        for bad in ["", "1", "-a", "a--b", "Http", "abcdefghijklmnop"] {
            assert!(!port_name(bad).is_empty(), "{bad}");
        }
        assert!(env_name("A.b-c d").is_none() && env_name("A=").is_some() && env_name("").is_some());
        assert!(port_number(0).is_some() && port_number(65535).is_none());
    }
}
