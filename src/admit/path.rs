//! Paths of fields, as Kubernetes writes them: `spec.containers[0].env[2].value`, `metadata.labels[app]`.
//!
//! Holds the path and its two notations (text both ways). Knows nothing of documents or kinds.

use std::fmt;

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of a struct: `.name`.
    Field(String),
    /// A key of a free-form map: `[key]`.
    Key(String),
    /// An item of a list: `[0]`.
    Index(usize),
}

/// The path of a field from the root of its object. The root itself is the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// The empty path: the object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path of fields: `FieldPath::of(&["spec", "selector"])`.
    pub fn of(fields: &[&str]) -> Self {
        Self(fields.iter().map(|f| Step::Field((*f).to_owned())).collect())
    }

    /// This path and then a field.
    pub fn field(&self, name: &str) -> Self {
        self.with(Step::Field(name.to_owned()))
    }

    /// This path and then an item of the list.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// This path and then a key of the map.
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// What stands there in a value.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Field(name) | Step::Key(name) => value.get(name),
            // A key of digits is read back as an index.
            Step::Index(index) => value.get(index).or_else(|| value.get(index.to_string())),
        })
    }

    /// The steps, outermost first.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Adds a step in place.
    pub fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    /// Takes the last step off.
    pub fn pop(&mut self) -> Option<Step> {
        self.0.pop()
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if position == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Key(key) => write!(f, "[{key}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl From<&str> for FieldPath {
    /// Reads the notation back. What stands in brackets is an index if it is all digits, else a key; brackets do not nest.
    fn from(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let end = inner.find(']').unwrap_or(inner.len());
                let (step, after) = (&inner[..end], inner.get(end + 1..).unwrap_or(""));
                steps.push(match step.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) => Step::Key(step.to_owned()),
                });
                rest = after;
            } else {
                let trimmed = rest.strip_prefix('.').unwrap_or(rest);
                let end = trimmed.find(['.', '[']).unwrap_or(trimmed.len());
                steps.push(Step::Field(trimmed[..end].to_owned()));
                rest = &trimmed[end..];
            }
        }
        Self(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_and_write_the_notation_of_kubernetes() {
        for text in [
            "",
            "spec",
            "spec.containers[0].env[12].value",
            "metadata.labels[app.kubernetes.io/name]",
            "data[a.b]",
        ] {
            assert_eq!(FieldPath::from(text).to_string(), text);
        }
    }

    #[test]
    fn broken_notation_is_read_without_panic() {
        for text in [".", "[", "a[", "a[]", "a..b", "]", "[]]"] {
            let _ = FieldPath::from(text);
        }
    }
}
