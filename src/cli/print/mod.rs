//! Answers of the node as text, in kubectl's forms. Pure: values in, strings out.

mod bar;
mod columns;
mod elastic;
mod objects;
mod size;
mod table;
mod unified;
mod yaml;

use std::path::Path;

pub use bar::{bar, progress_line};
pub use columns::CustomColumns;
pub use elastic::elastic;
pub use objects::{full_name, json, name_line, prepare, short_id};
pub use size::human_size;
pub use table::{Layout, TableOptions, TablePrinter};
pub use unified::unified;
pub use yaml::yaml;

use super::error::{CliError, Result};
use super::jsonpath::Template;

/// What `-o` asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A table; wide or not.
    Table {
        /// With the columns that are hidden otherwise.
        wide: bool,
    },
    /// The object as JSON.
    Json,
    /// The object as YAML.
    Yaml,
    /// `pod/web`.
    Name,
    /// A template.
    JsonPath(Template),
    /// What a template finds, as a JSON list.
    JsonPathAsJson(Template),
    /// Columns that the user names.
    Columns(CustomColumns),
}

const FORMATS: &str = "custom-columns,custom-columns-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,wide,yaml";

impl Output {
    /// Reads `-o`; `read` reads the file of `jsonpath-file` and `custom-columns-file`.
    ///
    /// # Errors
    /// When the format is none of ours, or its template can't be read.
    pub fn parse(format: &str, read: impl FnOnce(&Path) -> std::io::Result<String>) -> Result<Self> {
        let (name, argument) = format
            .split_once('=')
            .map_or((format, None), |(name, text)| (name, Some(text)));
        let argument = || {
            let missing = || match name.starts_with("custom-columns") {
                true => CliError::usage("custom-columns format specified but no custom columns given"),
                false => CliError::usage("template format specified but no template given"),
            };
            argument.filter(|text| !text.is_empty()).ok_or_else(missing)
        };
        let template = |text: &str| {
            let parsed = Template::parse(text);
            let wrap = |error| CliError::usage(format_args!("error parsing jsonpath {text}, {error}"));
            parsed.map(Output::JsonPath).map_err(wrap)
        };
        match name {
            "" => Ok(Self::Table { wide: false }),
            "wide" => Ok(Self::Table { wide: true }),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            "jsonpath" => template(argument()?),
            "jsonpath-as-json" => match template(argument()?)? {
                Self::JsonPath(template) => Ok(Self::JsonPathAsJson(template)),
                other => Ok(other),
            },
            "jsonpath-file" => template(&read(Path::new(argument()?))?),
            "custom-columns" => CustomColumns::parse(argument()?).map(Self::Columns),
            "custom-columns-file" => CustomColumns::parse_file(&read(Path::new(argument()?))?).map(Self::Columns),
            "go-template" | "go-template-file" | "template" | "templatefile" => Err(CliError::usage(format_args!(
                "{name} is Go's own template language, which kubelocal does not have; allowed formats are: {FORMATS}"
            ))
            .with_hint(
                "-o jsonpath=… finds the same fields, and `kubectl` with this node's kubeconfig has go-template",
            )),
            other => Err(CliError::usage(format_args!(
                "unable to match a printer suitable for the output format {other:?}, allowed formats are: {FORMATS}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
