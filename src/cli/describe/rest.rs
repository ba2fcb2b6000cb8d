//! ConfigMaps, Secrets, Namespaces, and kinds of which everything is worth showing as it is written.

use base64::Engine;
use serde_json::Value;

use super::sheet::{Sheet, date, entries, text};

pub(super) fn describe_config_map(map: &Value, sheet: &mut Sheet) {
    sheet.metadata(map);
    sheet.line(0, "");
    sheet.line(0, "Data");
    sheet.line(0, "====");
    for (key, value) in entries(map, "/data") {
        sheet.line(0, &format!("{key}:"));
        sheet.line(0, "----");
        for line in value.split('\n') {
            sheet.line(0, &line.replace('\t', "    "));
        }
        sheet.line(0, "");
    }
    sheet.line(0, "");
    sheet.line(0, "BinaryData");
    sheet.line(0, "====");
    for (key, value) in entries(map, "/binaryData") {
        sheet.line(0, &format!("{key}: {} bytes", decoded_length(&value)));
    }
    sheet.line(0, "");
}

/// How long each entry is, never what it says.
pub(super) fn describe_secret(secret: &Value, sheet: &mut Sheet) {
    sheet.metadata(secret);
    sheet.line(0, "");
    sheet.field(0, "Type", text(secret, "/type"));
    sheet.line(0, "");
    sheet.line(0, "Data");
    sheet.line(0, "====");
    for (key, value) in entries(secret, "/data") {
        sheet.line(0, &format!("{key}:\t{} bytes", decoded_length(&value)));
    }
}

/// There are no quotas and limit ranges here, and kubectl says so where there are none.
pub(super) fn describe_namespace(namespace: &Value, sheet: &mut Sheet) {
    sheet.metadata(namespace);
    sheet.field(0, "Status", text(namespace, "/status/phase"));
    sheet.conditions(namespace);
    for words in ["No resource quota.", "No LimitRange resource."] {
        sheet.line(0, "");
        sheet.line(0, words);
    }
}

fn decoded_length(encoded: &str) -> usize {
    base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .map_or(encoded.len(), |bytes| bytes.len())
}

/// Every field, with names as people read them (`genericDescriber`).
pub(super) fn describe(object: &Value, sheet: &mut Sheet) {
    sheet.metadata(object);
    sheet.field(
        0,
        "CreationTimestamp",
        &date(text(object, "/metadata/creationTimestamp")),
    );
    for (name, value) in object.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            value_at(0, &title_of(name), value, sheet);
        }
    }
}

fn value_at(level: usize, title: &str, value: &Value, sheet: &mut Sheet) {
    match value {
        Value::Object(fields) => {
            sheet.line(level, &format!("{title}:"));
            for (name, value) in fields {
                value_at(level + 1, &title_of(name), value, sheet);
            }
        }
        Value::Array(items) => {
            sheet.line(level, &format!("{title}:"));
            for item in items {
                match item {
                    Value::Object(fields) => fields
                        .iter()
                        .for_each(|(name, value)| value_at(level + 1, &title_of(name), value, sheet)),
                    other => sheet.line(level + 1, &super::sheet::plain(other).replace('\t', " ")),
                }
            }
        }
        other => sheet.field(level, title, &super::sheet::plain(other)),
    }
}

/// `clusterIP` → `Cluster IP`. A key with dots or slashes is a name and stays.
fn title_of(name: &str) -> String {
    if name.contains(['.', '/', '-', '_']) {
        return name.to_owned();
    }
    let mut title = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for (place, c) in name.char_indices() {
        if place == 0 {
            title.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && was_lower {
                title.push(' ');
            }
            title.push(c);
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_become_titles() {
        for (name, title) in [
            ("clusterIP", "Cluster IP"),
            ("type", "Type"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
        ] {
            assert_eq!(title_of(name), title);
        }
    }
}
