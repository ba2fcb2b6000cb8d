//! What descriptions are written on: lines with tabs, indented by level, and the pieces that all kinds share.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

pub use crate::model::{list_at as list, text_at as text};

/// Entries of the map at a JSON pointer, as text.
pub fn entries<'a>(object: &'a Value, pointer: &str) -> Vec<(&'a str, String)> {
    let map = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    map.map(|(key, value)| (key.as_str(), plain(value))).collect()
}

/// A value as people write it.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A time as kubectl's descriptions show it: RFC 1123, in UTC as objects have it. What is no time stays as it is.
pub fn date(text: &str) -> String {
    let Ok(time) = text.parse::<Timestamp>() else {
        return text.to_owned();
    };
    let time = time.to_zoned(TimeZone::UTC);
    time.strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

/// Where containers and volumes stand: at the margin those of a pod, below its title those of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Of a pod.
    Pod,
    /// Of a template.
    Template,
}

impl Place {
    /// The level of titles.
    pub fn level(self) -> usize {
        match self {
            Self::Pod => 0,
            Self::Template => 1,
        }
    }
}

/// Lines, two blanks for each level.
#[derive(Debug, Default)]
pub struct Sheet(String);

impl Sheet {
    /// All lines; tabs are tab stops.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// A line as it is.
    pub fn line(&mut self, level: usize, line: &str) {
        self.0.extend(std::iter::repeat_n("  ", level));
        // Only our own tabs lay out; other control characters must not reach the terminal.
        self.0
            .extend(line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
        self.0.push('\n');
    }

    /// `Name:  value`; nothing for an empty value.
    pub fn field(&mut self, level: usize, name: &str, value: &str) {
        if !value.is_empty() {
            self.line(level, &format!("{name}:\t{}", value.replace('\t', " ")));
        }
    }

    /// `Name:  value`, whatever the value.
    pub fn cell(&mut self, level: usize, name: &str, value: &str) {
        self.line(level, &format!("{name}:\t{}", value.replace('\t', " ")));
    }

    /// The name of a container or volume, above its fields: kubectl moves a template's in by a single blank.
    pub fn name(&mut self, place: Place, name: &str) {
        let indent = " ".repeat(place.level());
        self.line(1, &format!("{indent}{name}:"));
    }

    /// A field whose further values stand below the first; `<none>` without any.
    pub fn values(&mut self, level: usize, name: &str, values: &[String]) {
        let Some((first, more)) = values.split_first() else {
            return self.field(level, name, "<none>");
        };
        self.field(level, name, first);
        for value in more {
            self.line(level, &format!("\t{}", value.replace('\t', " ")));
        }
    }

    /// Name, namespace, labels and annotations.
    pub fn metadata(&mut self, object: &Value) {
        self.field(0, "Name", text(object, "/metadata/name"));
        self.field(0, "Namespace", text(object, "/metadata/namespace"));
        self.labels(object);
    }

    /// Labels and annotations.
    pub fn labels(&mut self, object: &Value) {
        let pairs = |pointer: &str, sign: &str| -> Vec<String> {
            let all = entries(object, pointer).into_iter();
            all.filter(|(key, _)| *key != "kubectl.kubernetes.io/last-applied-configuration")
                .map(|(key, value)| format!("{key}{sign}{value}"))
                .collect()
        };
        self.values(0, "Labels", &pairs("/metadata/labels", "="));
        self.values(0, "Annotations", &pairs("/metadata/annotations", ": "));
    }

    /// `Controlled By:  ReplicaSet/web-5d8`.
    pub fn controller(&mut self, object: &Value) {
        let owners = list(object, "/metadata/ownerReferences").iter();
        let controllers = owners.filter(|owner| owner.get("controller") == Some(&Value::Bool(true)));
        for owner in controllers {
            self.field(
                0,
                "Controlled By",
                &format!("{}/{}", text(owner, "/kind"), text(owner, "/name")),
            );
        }
    }

    /// A table of conditions.
    pub fn conditions(&mut self, object: &Value) {
        let conditions = list(object, "/status/conditions");
        if conditions.is_empty() {
            return;
        }
        self.line(0, "Conditions:");
        self.line(1, "Type\tStatus\tReason\tMessage");
        self.line(1, "----\t------\t------\t-------");
        for condition in conditions {
            let cell = |field: &str| text(condition, field).replace('\t', " ");
            self.line(1, &["/type", "/status", "/reason", "/message"].map(cell).join("\t"));
        }
    }
}
