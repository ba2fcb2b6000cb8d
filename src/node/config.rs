//! `config.yaml`: the user's settings.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::source::Overlays;

/// Settings of a node. Everything has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Config {
    /// The OCI runtime: `embedded` (the default), or the name or path of `crun`, `runc` or `youki`.
    pub runtime: Option<String>,
    /// Overlays may name repositories, which git fetches once and which stay as they are until `cache/repositories` is
    /// emptied.
    pub remote_bases: bool,
    /// Overlays may name charts, which an installed helm renders.
    pub helm: bool,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}", path = .0.display(), source = .1)]
    Read(PathBuf, io::Error),
    /// It is not what it should be; the text has line and column.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    Invalid(PathBuf, String),
    /// The chosen runtime is not there.
    #[error("{path}: runtime: {name:?} is not a program on the PATH", path = .0.display(), name = .1)]
    NoRuntime(PathBuf, String),
}

impl Config {
    /// Reads the file; one that is not there says nothing.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ConfigError::Read(path.to_owned(), error)),
        };
        let parsed: Result<Option<Self>, _> = serde_yaml::from_str(&text);
        parsed
            .map(Option::unwrap_or_default)
            .map_err(|e| ConfigError::Invalid(path.to_owned(), e.to_string()))
    }

    /// What overlays may do; `home` is where fetched repositories are kept.
    pub fn overlays(&self, home: &Path) -> Overlays {
        let helm = || super::namespaces::find_program("helm").unwrap_or_else(|| PathBuf::from("helm"));
        Overlays {
            external: false,
            helm: self.helm.then(helm),
            repositories: self.remote_bases.then(|| home.join("cache/repositories")),
        }
    }

    /// The external OCI runtime, if one is chosen.
    ///
    /// # Errors
    /// When it can't be found.
    pub fn oci_runtime(&self, path: &Path) -> Result<Option<PathBuf>, ConfigError> {
        let Some(name) = self.runtime.as_deref().filter(|name| *name != "embedded") else {
            return Ok(None);
        };
        let found = if name.contains('/') {
            Some(PathBuf::from(name))
        } else {
            super::namespaces::find_program(name)
        };
        let found = found.filter(|file| file.is_file());
        found
            .map(Some)
            .ok_or_else(|| ConfigError::NoRuntime(path.to_owned(), name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, text).expect("writes");
        Config::read(&file)
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(read("").expect("reads"), Config::default());
    }

    #[test]
    fn overlays_run_no_programs_unless_that_is_allowed() {
        let home = Path::new("/home");
        assert_eq!(Config::default().overlays(home), Overlays::default());
        let allowed = read("remoteBases: true\nhelm: true\n").expect("reads").overlays(home);
        assert_eq!(allowed.repositories, Some(home.join("cache/repositories")));
        assert!(allowed.helm.is_some());
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        let error = read("runtime: crun\nruntim: x\n")
            .expect_err("a misspelt setting")
            .to_string();
        assert!(error.contains("runtim") && error.contains("line 2"), "{error}");
    }
}
