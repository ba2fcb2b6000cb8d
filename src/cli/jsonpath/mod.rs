//! kubectl's JSONPath templates (`k8s.io/client-go/util/jsonpath`): text with `{…}` actions, `{range}…{end}`, filters, slices,
//! unions and recursive descent.
//!
//! Pure. `parse` makes a [`Template`] of text; `eval` finds values in JSON and renders them.

mod eval;
mod parse;

use serde_json::Value;

pub use eval::{less, render_value, sprint};

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(Path),
    Range(Path, Vec<Part>),
}

type Path = Vec<Step>;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    Slice(Slice),
    Union(Vec<Path>),
    Filter(Box<Filter>),
    /// A literal in a filter or a union.
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
    /// `[n]`: one element, which must be there.
    is_index: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Path,
    /// Without: the left side exists.
    compare: Option<(Operator, Path)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A template that can't be read, or that does not fit the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    /// A brace, bracket or quote is not closed.
    #[error("unclosed {0}")]
    Unclosed(&'static str),
    /// A character that no action begins with.
    #[error("unrecognized character in action: {0:?}")]
    Unrecognized(char),
    /// Neither a number, a slice, a quoted name nor a filter.
    #[error("invalid array index {0}")]
    BadIndex(String),
    /// `{range}` without `{end}`.
    #[error("unterminated range")]
    UnterminatedRange,
    /// `{end}` without `{range}`.
    #[error("not in range, nothing to end")]
    NotInRange,
    /// An operator of a filter that does not exist.
    #[error("unrecognized filter operator {0}")]
    BadOperator(String),
    /// An index beyond the array.
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds {
        /// The index as the template says it.
        index: i64,
        /// The length of the array.
        length: usize,
    },
    /// An index or filter where the value is no array.
    #[error("{0} is not array or slice")]
    NotArray(String),
    /// The step of a slice must go forward.
    #[error("step must be > 0")]
    BadStep,
}

impl Template {
    /// Reads a template: `{.metadata.name}{"\n"}`.
    ///
    /// # Errors
    /// On text that is no template.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        parse::template(text).map(Self)
    }

    /// Reads a path as `--sort-by`, `-o custom-columns` and `wait` take it, with or without braces and leading dot
    /// (`get.RelaxedJSONPathExpression`).
    ///
    /// # Errors
    /// On text that is no path.
    pub fn parse_relaxed(text: &str) -> Result<Self, JsonPathError> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let dotted = match inner.chars().next() {
            None | Some('.' | '[' | '$' | '@') => inner.to_owned(),
            Some(_) => format!(".{inner}"),
        };
        Self::parse(&format!("{{{dotted}}}"))
    }

    /// Fills in the template. Fields that are not there are empty, as with kubectl's default of
    /// `--allow-missing-template-keys`.
    ///
    /// # Errors
    /// When an index is beyond its array or stands where no array is.
    pub fn render(&self, object: &Value) -> Result<String, JsonPathError> {
        let mut text = String::new();
        eval::render(&self.0, object, &mut text)?;
        Ok(text)
    }

    /// The values that the template's paths find, in order.
    ///
    /// # Errors
    /// When an index is beyond its array or stands where no array is.
    pub fn find<'a>(&'a self, object: &'a Value) -> Result<Vec<&'a Value>, JsonPathError> {
        let mut found = Vec::new();
        eval::collect(&self.0, object, &mut found)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
