//! Nothing silent: what the node does with each field of each kind, in one table.
//!
//! A field that is not in the table is one that Kubernetes knows and the node does nothing with: it gets a warning. Zero
//! values say nothing (`hostPID: false`), so nothing is said about them. The walk reads what the author wrote, before
//! defaults, so that nobody is warned of what they did not write.

mod podman;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::path::{FieldPath, Step};
use super::problem::Severity;
use crate::model::Kind;

/// What the node does with a field and everything below it that has no entry of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// It does what Kubernetes does.
    Honoured,
    /// It can't mean anything on one node (scheduling), so leaving it out loses nothing.
    Moot,
    /// It is kept and does less than it says.
    Warn(&'static str),
    /// It is kept, and false does less than it says; true is the default, and says nothing.
    WarnFalse(&'static str),
    /// Leaving it out would be dangerous or make the pod something else.
    Refuse(&'static str),
    /// These values are honoured; others get the rest.
    OneOf(&'static [&'static str], &'static Say),
}

/// Something to say about a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldNote {
    /// The field.
    pub path: FieldPath,
    /// Whether the object is refused for it.
    pub severity: Severity,
    /// What, without the path.
    pub message: String,
}

impl FieldNote {
    /// A warning.
    pub fn warning(path: FieldPath, message: impl Into<String>) -> Self {
        Self {
            path,
            severity: Severity::Warning,
            message: message.into(),
        }
    }

    /// An error.
    pub fn error(path: FieldPath, message: impl Into<String>) -> Self {
        Self {
            path,
            severity: Severity::Error,
            message: message.into(),
        }
    }
}

/// What is to be said about the fields of an object as it was written.
pub fn notes(kind: &Kind, value: &Value) -> Vec<FieldNote> {
    let mut walk = Walk {
        path: FieldPath::root(),
        notes: Vec::new(),
    };
    if let Some(rules) = RULES.get(&(kind.group, kind.kind)) {
        walk.visit(value, rules, None);
    }
    walk.notes.extend(podman::notes(value));
    walk.notes
}

static RULES: LazyLock<BTreeMap<(&'static str, &'static str), Rules>> = LazyLock::new(|| {
    table::KINDS
        .iter()
        .map(|(group, kind, tables)| {
            let mut rules = Rules::default();
            for (prefix, entries) in *tables {
                for (pattern, say) in *entries {
                    rules.insert(prefix.split('.').chain(pattern.split('.')), *say);
                }
            }
            ((*group, *kind), rules)
        })
        .collect()
});

/// The table as a tree of fields.
#[derive(Debug, Default)]
struct Rules {
    say: Option<Say>,
    /// By field; `[]` is an item of a list, `*` any field or key that has no entry.
    children: BTreeMap<&'static str, Rules>,
}

impl Rules {
    fn insert(&mut self, pattern: impl Iterator<Item = &'static str>, say: Say) {
        let mut node = self;
        for part in pattern.filter(|part| !part.is_empty()) {
            let (field, is_list) = part.strip_suffix("[]").map_or((part, false), |field| (field, true));
            node = node.children.entry(field).or_default();
            if is_list {
                node = node.children.entry("[]").or_default();
            }
        }
        node.say = Some(say);
    }

    fn child(&self, field: &str) -> Option<&Rules> {
        self.children.get(field).or_else(|| self.children.get("*"))
    }
}

struct Walk {
    path: FieldPath,
    notes: Vec<FieldNote>,
}

impl Walk {
    fn visit(&mut self, value: &Value, rules: &Rules, inherited: Option<Say>) {
        let say = rules.say.or(inherited);
        if let Some(say) = rules.say {
            self.speak(value, say);
        }
        if rules.children.is_empty() {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    self.step(Step::Field(field.clone()), value, rules.child(field), say);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.step(Step::Index(index), item, rules.children.get("[]"), say);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn step(&mut self, step: Step, value: &Value, rules: Option<&Rules>, inherited: Option<Say>) {
        self.path.push(step);
        match (rules, inherited) {
            (Some(rules), _) => self.visit(value, rules, inherited),
            (None, Some(_)) => {}
            (None, None) => self.speak(value, Say::Warn("not honoured yet")),
        }
        self.path.pop();
    }

    fn speak(&mut self, value: &Value, say: Say) {
        if is_zero(value) && !matches!(say, Say::WarnFalse(_)) {
            return;
        }
        match say {
            Say::Honoured | Say::Moot => {}
            Say::WarnFalse(text) if *value == Value::Bool(false) => {
                self.notes.push(FieldNote::warning(self.path.clone(), text));
            }
            Say::WarnFalse(_) => {}
            Say::Warn(text) => self.notes.push(FieldNote::warning(self.path.clone(), text)),
            Say::Refuse(text) => self.notes.push(FieldNote::error(self.path.clone(), text)),
            Say::OneOf(values, _) if value.as_str().is_some_and(|text| values.contains(&text)) => {}
            Say::OneOf(_, otherwise) => self.speak(value, *otherwise),
        }
    }
}

/// Whether a value says no more than absence would.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_zero),
    }
}
