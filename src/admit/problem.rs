//! What is wrong, where, and how it is shown: `file:line:column: message` with the offending line beneath it.
//!
//! Holds places in files and problems found there. Knows nothing of kinds, and reads no file: whoever found the problem
//! hands over the line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a file. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file as the user named it.
    pub file: Arc<Path>,
    /// The place in it.
    pub at: Place,
}

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl Place {
    /// The first character of a file.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.at.line, self.at.column)
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object is accepted, but something in it does less than it says.
    Warning,
    /// The object, or the whole document, is refused.
    Error,
}

/// Something that is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub location: Location,
    /// How bad.
    pub severity: Severity,
    /// What, in one line, lower-case, beginning with the field's path where there is one.
    pub message: String,
    /// The line of the file at `location`, without its end. Empty when there is none to show.
    pub source_line: String,
}

impl Problem {
    /// `file:line:column: error: message`, without the line of the file: for logs and conditions.
    pub fn to_line(&self) -> String {
        format!("{}: {}: {}", self.location, self.severity, self.message)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// A file's text, ready to have problems pointed out in it.
#[derive(Debug, Clone)]
pub struct SourceText<'a> {
    file: Arc<Path>,
    lines: Vec<&'a str>,
}

impl<'a> SourceText<'a> {
    /// Splits the text into its lines.
    pub fn new(file: Arc<Path>, text: &'a str) -> Self {
        Self {
            file,
            lines: text.lines().collect(),
        }
    }

    /// The file's name.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// A problem at a place of this file, with its line.
    pub fn problem(&self, at: Place, severity: Severity, message: impl Into<String>) -> Problem {
        let line = (at.line as usize)
            .checked_sub(1)
            .and_then(|index| self.lines.get(index));
        Problem {
            location: Location {
                file: Arc::clone(&self.file),
                at,
            },
            severity,
            message: message.into(),
            source_line: line.map(|line| (*line).to_owned()).unwrap_or_default(),
        }
    }

    /// An error at a place of this file.
    pub fn error(&self, at: Place, message: impl Into<String>) -> Problem {
        self.problem(at, Severity::Error, message)
    }

    /// A warning at a place of this file.
    pub fn warning(&self, at: Place, message: impl Into<String>) -> Problem {
        self.problem(at, Severity::Warning, message)
    }
}

/// The longest piece of a line that is shown: minified JSON has lines of megabytes.
const SHOWN: usize = 120;

impl Problem {
    /// The piece of the line around the place, and where in it the place is.
    pub fn excerpt(&self) -> (String, usize) {
        let column = self.location.at.column.max(1) as usize - 1;
        let skipped = column.saturating_sub(SHOWN / 2);
        let shown = self.source_line.chars().skip(skipped).take(SHOWN).collect();
        (shown, column - skipped)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_line())?;
        if self.source_line.is_empty() {
            return Ok(());
        }
        let number = self.location.at.line.to_string();
        let (shown, place) = self.excerpt();
        // Tabs are kept as tabs before the caret, so that it stands under its character whatever a tab's width is.
        let blank: String = shown
            .chars()
            .take(place)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let gutter = " ".repeat(number.len());
        write!(f, "\n{gutter} |\n{number} | {shown}\n{gutter} | {blank}^")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str, column: u32) -> Problem {
        Problem {
            location: Location {
                file: Path::new("a.yaml").into(),
                at: Place { line: 12, column },
            },
            severity: Severity::Error,
            message: "unknown field \"spec.foo\"".into(),
            source_line: line.into(),
        }
    }

    #[test]
    fn a_problem_shows_its_line_and_points_at_the_column() {
        let shown = problem("  foo: 1", 3).to_string();
        assert_eq!(
            shown,
            "a.yaml:12:3: error: unknown field \"spec.foo\"\n   |\n12 |   foo: 1\n   |   ^"
        );
    }

    #[test]
    fn tabs_before_the_caret_stay_tabs() {
        assert!(problem("\tfoo", 2).to_string().ends_with("| \t^"));
    }

    #[test]
    fn only_a_piece_of_a_very_long_line_is_shown() {
        let shown = problem(&"x".repeat(1_000_000), 500_000).to_string();
        assert!(shown.len() < 1000, "{}", shown.len());
    }
}
