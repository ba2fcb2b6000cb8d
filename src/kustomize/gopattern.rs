//! Regular expressions as Go compiles them.

use regex::{Regex, RegexBuilder};

use super::error::{Error, Result};

/// How large a compiled pattern may be: patterns come from overlays, and repetitions of repetitions grow without end.
const MAX_COMPILED: usize = 1 << 20;

/// A pattern that matches anywhere in a text.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(pattern: &str) -> Result<Self> {
        let compiled = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
        compiled.map(Self).map_err(|error| {
            let last = error.to_string();
            let reason = last
                .lines()
                .last()
                .unwrap_or_default()
                .trim()
                .trim_start_matches("error: ")
                .to_owned();
            Error::kustomization(format!("error parsing regexp: {reason}: `{pattern}`"))
        })
    }

    /// Compiles a pattern that must match the whole text. An empty one matches all.
    ///
    /// # Errors
    /// If it is none.
    pub fn anchored(pattern: &str) -> Result<Self> {
        match pattern {
            "" => Self::new(""),
            _ => Self::new(&format!("^(?:{pattern})$")),
        }
    }

    /// Whether a text has a match.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}
