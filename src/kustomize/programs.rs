//! Helm and git, run where the user allows them.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::remote::RepoSpec;
use super::tools::{HelmRun, Tools};
use crate::os::run_bounded;

/// Tells files that are written at the same time apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// How long one run of helm may take. It pulls charts over the network; one that hangs must not stop its source for ever.
const HELM_LIMIT: Duration = Duration::from_secs(120);

/// The programs that are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// Helm, if charts may be rendered.
    pub helm: Option<PathBuf>,
    /// Where repositories are kept, if they may be fetched. One that is there is not fetched again: it is pinned until it is
    /// removed.
    pub repositories: Option<PathBuf>,
}

impl Tools for Programs {
    fn helm(&self, run: &HelmRun, home: &str) -> Result<String, String> {
        let Some(helm) = &self.helm else {
            return Err("charts are rendered by helm, which is not allowed here".to_owned());
        };
        let scratch = Scratch::new().map_err(|error| format!("no temporary directory for helm: {error}"))?;
        let mut command = Command::new(helm);
        match run {
            HelmRun::Pull(arguments) => {
                command.args(arguments);
            }
            HelmRun::Template {
                before_values,
                values,
                after_values,
            } => {
                let file = scratch.0.join("values.yaml");
                fs::write(&file, values).map_err(|error| format!("{}: {error}", file.display()))?;
                command.args(before_values).arg("-f").arg(file).args(after_values);
            }
        }
        let home = if home.is_empty() {
            scratch.0.join("helm")
        } else {
            PathBuf::from(home)
        };
        command
            .env("HELM_CONFIG_HOME", &home)
            .env("HELM_CACHE_HOME", home.join(".cache"))
            .env("HELM_DATA_HOME", home.join(".data"));
        let output = run_program(command, helm, HELM_LIMIT)?;
        String::from_utf8(output.stdout).map_err(|_| "helm printed what is no text".to_owned())
    }

    fn repository(&self, repository: &RepoSpec) -> Result<String, String> {
        let url = repository.clone_url();
        let Some(directory) = &self.repositories else {
            return Err(format!(
                "'{url}' is in a remote repository, and fetching those is off: `remoteBases: true` in config.yaml, or \
                 `--remote-bases`, allows it"
            ));
        };
        let place = directory.join(pin(repository));
        if !place.is_dir() {
            fetch(repository, &url, directory, &place)?;
        }
        let real = fs::canonicalize(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        real.to_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{}: the path is no text", real.display()))
    }
}

/// The name under which a repository at a reference is kept.
fn pin(repository: &RepoSpec) -> String {
    let what = format!(
        "{}?ref={}&submodules={}",
        repository.clone_url(),
        repository.reference,
        repository.submodules
    );
    let hash = digest(&SHA256, what.as_bytes());
    hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fetches one commit into a directory of its own, which gets its name when it is whole.
fn fetch(repository: &RepoSpec, url: &str, directory: &Path, place: &Path) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let half = Scratch(directory.join(format!(".{}-{number}", std::process::id())));
    fs::create_dir_all(&half.0).map_err(|error| format!("{}: {error}", half.0.display()))?;
    let reference = if repository.reference.is_empty() {
        "HEAD"
    } else {
        &repository.reference
    };
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        // Nobody is there to answer a question about passwords.
        command
            .current_dir(&half.0)
            .args(arguments)
            .env("GIT_TERMINAL_PROMPT", "0");
        run_program(command, Path::new("git"), repository.timeout).map(|_| ())
    };
    git(&["init", "--quiet"])?;
    git(&["remote", "add", "origin", "--", url])?;
    git(&["fetch", "--quiet", "--depth=1", "origin", "--", reference])?;
    git(&["checkout", "--quiet", "FETCH_HEAD"])?;
    if repository.submodules {
        git(&["submodule", "--quiet", "update", "--init", "--recursive"])?;
    }
    match fs::rename(&half.0, place) {
        // Another build was faster.
        Err(_) if place.is_dir() => Ok(()),
        renamed => renamed.map_err(|error| format!("{}: {error}", place.display())),
    }
}

fn run_program(mut command: Command, program: &Path, limit: Duration) -> Result<Output, String> {
    let name = program.display();
    let output = run_bounded(&mut command, limit).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{name} is not installed"),
        io::ErrorKind::TimedOut => format!("{name} {error}"),
        _ => format!("{name}: {error}"),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} ended with {}: {}", output.status, words.trim()))
}

/// A directory that goes when it is not needed any more.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kubelocal-kustomize-{}-{number}", std::process::id()));
        // Values may be secrets.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What was renamed into place, or can't be removed, is nobody's concern here.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn git(directory: &Path, arguments: &[&str]) -> bool {
        let mut command = Command::new("git");
        command
            .current_dir(directory)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for (name, value) in [("AUTHOR", "a"), ("COMMITTER", "c")] {
            command
                .env(format!("GIT_{name}_NAME"), value)
                .env(format!("GIT_{name}_EMAIL"), "x@example.org");
        }
        command.status().is_ok_and(|status| status.success())
    }

    #[test]
    fn a_repository_is_fetched_once_and_pinned() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let repo = root.path().join("repo");
        fs::create_dir(&repo).expect("made");
        fs::write(repo.join("file"), "one").expect("written");
        let is_made =
            git(&repo, &["init", "--quiet"]) && git(&repo, &["add", "."]) && git(&repo, &["commit", "-qm", "x"]);
        if !is_made {
            eprintln!("SKIPPED: no git here; fetching repositories was not tested");
            return;
        }
        let programs = Programs {
            repositories: Some(root.path().join("cache")),
            ..Programs::default()
        };
        let spec = RepoSpec::parse(&format!("file://{}//", repo.display())).expect("a repository");
        let fetched = programs.repository(&spec).expect("fetches");
        fs::write(repo.join("file"), "two").expect("written");
        assert!(git(&repo, &["commit", "-qam", "y"]));
        assert_eq!(programs.repository(&spec), Ok(fetched.clone()));
        assert_eq!(
            fs::read_to_string(Path::new(&fetched).join("file")).expect("there"),
            "one"
        );
        assert!(Programs::default().repository(&spec).is_err());
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_named() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("sleep");
        command.arg("1000").current_dir(root.path());
        let error = run_program(command, Path::new("helm"), Duration::from_millis(50)).expect_err("hangs");
        assert_eq!(error, "helm took longer than 0.05 s and was ended");
    }
}
