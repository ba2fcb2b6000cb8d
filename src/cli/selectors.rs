//! Flags that choose among objects, shared by the verbs that take them.

use clap::Args;

use super::error::{CliError, Result};

/// Which objects of a kind.
#[derive(Debug, Clone, Default, Args)]
pub struct Selectors {
    /// In all namespaces
    #[arg(short = 'A', long, default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub all_namespaces: bool,
    /// Only those with these labels: `app=web,tier in (a,b),!old`
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub labels: Option<String>,
    /// Only those with these fields: `status.phase=Running`
    #[arg(long = "field-selector", value_name = "SELECTOR")]
    pub fields: Option<String>,
}

impl Selectors {
    /// As query parameters of a list or a watch.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let labels = self.labels.clone().map(|text| ("labelSelector", text));
        let fields = self.fields.clone().map(|text| ("fieldSelector", text));
        labels.into_iter().chain(fields).collect()
    }

    /// Objects that are named need no selecting.
    ///
    /// # Errors
    /// When a selector is given, in kubectl's words.
    pub fn refuse_beside_names(&self) -> Result {
        if self.labels.is_some() || self.fields.is_some() {
            return Err(CliError::usage("name cannot be provided when a selector is specified"));
        }
        if self.all_namespaces {
            return Err(CliError::usage(
                "a resource cannot be retrieved by name across all namespaces",
            ));
        }
        Ok(())
    }
}
