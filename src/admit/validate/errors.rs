//! Errors of fields in upstream's grammar (`apimachinery/pkg/util/validation/field`): `<path>: <Type>: <value>: <detail>`.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::super::path::FieldPath;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It must be given.
    Required,
    /// Its value is malformed or does not go with others.
    Invalid,
    /// Its value is none of those that there are.
    NotSupported,
    /// It may not be given here.
    Forbidden,
    /// Its value may stand only once.
    Duplicate,
    /// It names something that does not exist.
    NotFound,
    /// Its value is too long.
    TooLong,
    /// It has too many items.
    TooMany,
}

impl ErrorKind {
    /// The reason in a `metav1.Status` cause.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooMany => "FieldValueTooMany",
        }
    }

    fn words(self) -> &'static str {
        match self {
            ErrorKind::Required => "Required value",
            ErrorKind::Invalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Forbidden => "Forbidden",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::NotFound => "Not found",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooMany => "Too many",
        }
    }
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// The field.
    pub path: FieldPath,
    /// What is wrong with it.
    pub kind: ErrorKind,
    /// Its value; not shown for kinds whose value says nothing.
    pub bad_value: Value,
    /// More; often empty.
    pub detail: String,
}

impl FieldError {
    /// A field that must be given.
    pub fn required(path: &FieldPath, detail: &str) -> Self {
        Self::new(path, ErrorKind::Required, Value::Null, detail)
    }

    /// A field whose value is wrong.
    pub fn invalid(path: &FieldPath, value: &impl Serialize, detail: impl Into<String>) -> Self {
        Self::new(path, ErrorKind::Invalid, json(value), detail)
    }

    /// A field whose value is none of `supported`, which are shown sorted.
    pub fn not_supported(path: &FieldPath, value: &str, supported: &[&str]) -> Self {
        let mut quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        quoted.sort();
        Self::new(
            path,
            ErrorKind::NotSupported,
            json(&value),
            format!("supported values: {}", quoted.join(", ")),
        )
    }

    /// A field that may not be given here.
    pub fn forbidden(path: &FieldPath, detail: impl Into<String>) -> Self {
        Self::new(path, ErrorKind::Forbidden, Value::Null, detail)
    }

    /// A value that stands twice.
    pub fn duplicate(path: &FieldPath, value: &impl Serialize) -> Self {
        Self::new(path, ErrorKind::Duplicate, json(value), "")
    }

    /// A name of nothing.
    pub fn not_found(path: &FieldPath, value: &impl Serialize) -> Self {
        Self::new(path, ErrorKind::NotFound, json(value), "")
    }

    /// A value of too many bytes.
    pub fn too_long(path: &FieldPath, most: usize) -> Self {
        Self::new(
            path,
            ErrorKind::TooLong,
            Value::Null,
            format!("may not be more than {most} bytes"),
        )
    }

    /// A list of too many items.
    pub fn too_many(path: &FieldPath, most: usize) -> Self {
        let detail = format!("must have at most {most} items");
        Self::new(path, ErrorKind::TooMany, Value::Null, detail)
    }

    /// The text without the path: what a `metav1.Status` cause says.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        match self.kind {
            ErrorKind::Required | ErrorKind::Forbidden | ErrorKind::TooLong | ErrorKind::TooMany => {}
            ErrorKind::Invalid | ErrorKind::NotSupported | ErrorKind::Duplicate | ErrorKind::NotFound => {
                text.push_str(&format!(": {}", self.bad_value));
            }
        }
        if !self.detail.is_empty() {
            text.push_str(&format!(": {}", self.detail));
        }
        text
    }

    fn new(path: &FieldPath, kind: ErrorKind, bad_value: Value, detail: impl Into<String>) -> Self {
        Self {
            path: path.clone(),
            kind,
            bad_value,
            detail: detail.into(),
        }
    }
}

/// Values are shown as JSON, as upstream does since 1.34.
fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Every field that is wrong, in the order of checking.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorList(Vec<FieldError>);

impl ErrorList {
    /// Adds an error.
    pub fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// Adds all of another list.
    pub fn extend(&mut self, others: ErrorList) {
        self.0.extend(others);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The errors.
    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.0.iter()
    }
}

impl IntoIterator for ErrorList {
    type Item = FieldError;
    type IntoIter = std::vec::IntoIter<FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for ErrorList {
    /// One error as it is, several as `[e1, e2]` (`utilerrors.Aggregate`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                let texts: Vec<String> = many.iter().map(FieldError::to_string).collect();
                write!(f, "[{}]", texts.join(", "))
            }
        }
    }
}
