//! `-o custom-columns=NAME:.metadata.name,…` (`k8s.io/kubectl/pkg/cmd/get/customcolumn.go`).

use serde_json::Value;

use super::table::Layout;
use crate::cli::error::{CliError, Result};
use crate::cli::jsonpath::{Template, sprint};

/// Columns that the user names: a heading and a path each.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomColumns(Vec<(String, Template)>);

impl CustomColumns {
    /// Reads `NAME:.metadata.name,AGE:.metadata.creationTimestamp`.
    ///
    /// # Errors
    /// When a column has no path, or its path can't be read.
    pub fn parse(text: &str) -> Result<Self> {
        let column = |piece: &str| {
            let Some((heading, path)) = piece.split_once(':') else {
                return Err(CliError::usage(format_args!(
                    "unexpected custom-columns spec: {piece}, expected <header>:<json-path-expr>"
                )));
            };
            Ok((heading.to_owned(), template(path)?))
        };
        split_outside_brackets(text)
            .into_iter()
            .map(column)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Reads a file of two lines: headings, and a path below each.
    ///
    /// # Errors
    /// When lines are missing or differ in length, or a path can't be read.
    pub fn parse_file(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let (Some(headings), Some(paths)) = (lines.next(), lines.next()) else {
            return Err(CliError::usage(
                "the custom-columns file must have a line of headings and a line of paths",
            ));
        };
        let (headings, paths): (Vec<&str>, Vec<&str>) = (
            headings.split_whitespace().collect(),
            paths.split_whitespace().collect(),
        );
        if headings.len() != paths.len() {
            return Err(CliError::usage(format_args!(
                "number of headers ({}) and field specifications ({}) don't match",
                headings.len(),
                paths.len()
            )));
        }
        let column = |(heading, path): (&str, &str)| Ok((heading.to_owned(), template(path)?));
        headings
            .into_iter()
            .zip(paths)
            .map(column)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The objects as lines; `with_headings` before the first ones.
    ///
    /// # Errors
    /// When a path's index is beyond its array.
    pub fn print(&self, objects: &[Value], with_headings: bool, layout: &mut Layout) -> Result<String> {
        let headings = self.0.iter().map(|(heading, _)| heading.clone()).collect();
        let mut rows: Vec<Vec<String>> = if with_headings { vec![headings] } else { Vec::new() };
        for object in objects {
            let cell = |(_, path): &(String, Template)| {
                let found = path.find(object).map_err(CliError::local)?;
                let words: Vec<String> = found.into_iter().map(sprint).collect();
                Ok(if words.is_empty() {
                    "<none>".to_owned()
                } else {
                    words.join(",")
                })
            };
            rows.push(self.0.iter().map(cell).collect::<Result<_>>()?);
        }
        Ok(layout.lay_out(&rows))
    }
}

fn template(path: &str) -> Result<Template> {
    Template::parse_relaxed(path)
        .map_err(|error| CliError::usage(format_args!("error parsing custom-columns path {path}: {error}")))
}

/// Commas within brackets belong to paths: `[0,1]`.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let pieces = text.split(|c| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    pieces.collect()
}
