//! What a build may need besides files: Helm, git, the network. All of it is refused unless someone provides it.

use super::remote::RepoSpec;

/// A run of Helm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelmRun {
    /// Pulls a chart.
    Pull(Vec<String>),
    /// Renders a chart; the file of values is handed over between the arguments.
    Template {
        /// Arguments before `-f FILE`.
        before_values: Vec<String>,
        /// The values.
        values: String,
        /// Arguments after it.
        after_values: Vec<String>,
    },
}

/// Programs and networks.
pub trait Tools {
    /// Runs Helm and returns what it prints. `home` is its directory of configuration; empty for one of its own.
    ///
    /// # Errors
    /// In words for the user.
    fn helm(&self, _run: &HelmRun, _home: &str) -> Result<String, String> {
        Err("charts are rendered by helm, which is not allowed here".to_owned())
    }

    /// Fetches a repository and returns the directory that it is in now.
    ///
    /// # Errors
    /// In words for the user.
    fn repository(&self, repository: &RepoSpec) -> Result<String, String> {
        let url = repository.clone_url();
        Err(format!("'{url}' is in a remote repository, and fetching those is off"))
    }

    /// Downloads a file.
    ///
    /// # Errors
    /// In words for the user.
    fn download(&self, url: &str) -> Result<Vec<u8>, String> {
        Err(format!(
            "'{url}' is remote, and single files are not fetched: fetch it, or name the repository that it is in"
        ))
    }
}

/// No programs and no networks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTools;

impl Tools for NoTools {}
