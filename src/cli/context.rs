//! What every verb is told, and how it speaks: the namespace, and standard output.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{CliError, Result, shown};

/// What stands on the command line for all verbs.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// `-n`, if given.
    pub namespace: Option<String>,
}

impl Context {
    /// The namespace to work in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// The namespace to list in; `None` is all.
    #[must_use]
    pub fn scope(&self, all_namespaces: bool) -> Option<&str> {
        (!all_namespaces).then(|| self.namespace())
    }
}

/// Writes to standard output at once: a watch's rows must not wait for a buffer to fill.
///
/// # Errors
/// When nobody reads any more; the verb then ends quietly.
pub fn write(text: &str) -> Result {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A path as sources are registered with it: absolute, so that the node can find it, but with its last part as it is, so
/// that a symbolic link that is swapped is followed and not its target of today.
#[must_use]
pub fn source_path(path: &Path) -> PathBuf {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let resolved = match path.file_name() {
        Some(name) => parent.canonicalize().map(|parent| parent.join(name)),
        None => path.canonicalize(),
    };
    resolved
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// A length of time as kubectl takes it: `30s`, `5m`, `1h30m`, `500ms`, or bare seconds.
///
/// # Errors
/// On text that is none.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("invalid duration {text:?}: use 30s, 5m, 1h30m …");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(std::time::Duration::from_secs(seconds));
    }
    let (mut rest, mut total) = (text, 0.0_f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit_end..];
    }
    std::time::Duration::try_from_secs_f64(total)
        .map_err(|_| wrong())
        .and_then(|d| match text {
            "" => Err(wrong()),
            _ => Ok(d),
        })
}

/// What several objects' failures become: each has been told by `report`, and the last decides how the process exits.
#[derive(Debug, Default)]
pub struct Failures(Option<CliError>);

impl Failures {
    /// Keeps a failure, and tells the one before it.
    pub fn add(&mut self, error: CliError) {
        if let Some(before) = self.0.replace(error) {
            eprintln!("{}", shown(&before.message));
        }
    }

    /// Success if there was no failure.
    ///
    /// # Errors
    /// The last failure.
    pub fn into_result(self) -> Result {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_path_is_absolute_and_keeps_its_last_link() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let base = tmp.path().canonicalize().expect("exists");
        std::fs::create_dir(base.join("a")).expect("made");
        std::os::unix::fs::symlink("a", base.join("link")).expect("linked");
        assert_eq!(source_path(&base.join("a/../link")), base.join("link"));
        assert_eq!(source_path(&base.join("a/..")), base);
        assert!(source_path(Path::new("x")).is_absolute());
    }

    #[test]
    fn durations_read_as_go_writes_them() {
        for (text, millis) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("7", 7_000),
            ("1.5s", 1500),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_millis()), Ok(millis), "{text}");
        }
        for text in ["", "x", "5x", "-1s", "s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
