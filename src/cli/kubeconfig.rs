//! `kubeconfig`: what kubectl, helm and others need to reach the node.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use clap::Args;

use super::context::write;
use super::error::{CliError, Result};
use super::node;
use crate::access::kubeconfig::{NAME, merge};
use crate::access::write_whole;
use crate::model::Paths;

/// Print the kubeconfig with which kubectl, helm and other clients reach the node; it always is at $KUBELOCAL_HOME/kubeconfig too.
#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    /// Add the context `kubelocal` to the kubeconfig that kubectl reads; its current context stays
    #[arg(long)]
    merge: bool,
}

/// Runs `kubeconfig`.
///
/// # Errors
/// When no node can be started, or a file can't be written.
pub async fn run(args: &KubeconfigArgs) -> Result {
    node::connect().await?;
    let path = Paths::discover()?.kubeconfig;
    let of_file =
        |path: &Path, error: &dyn std::fmt::Display| CliError::local(format_args!("{}: {error}", path.display()));
    let ours = std::fs::read_to_string(&path).map_err(|error| of_file(&path, &error))?;
    if !args.merge {
        return write(&ours);
    }
    let target = target()?;
    merge_into(&target, &ours).map_err(|error| of_file(&target, &error))?;
    write(&format!(
        "context \"{NAME}\" is in {}; use it with `kubectl --context {NAME}` or `kubectl config use-context {NAME}`\n",
        target.display()
    ))
}

/// The file that kubectl writes: the first of `$KUBECONFIG`, or `~/.kube/config`. A link is followed, so that it stays one.
fn target() -> Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let first = std::env::split_paths(&listed).find(|path| !path.as_os_str().is_empty());
    let home = || {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        home.map(|home| PathBuf::from(home).join(".kube/config"))
    };
    let path = first
        .or_else(home)
        .ok_or_else(|| CliError::local("neither $KUBECONFIG nor $HOME is set"))?;
    Ok(path.canonicalize().unwrap_or(path))
}

type Failure = Box<dyn std::error::Error>;

fn merge_into(target: &Path, ours: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
    let _lock = Lock::take(target)?;
    let present = match std::fs::read_to_string(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let merged = merge(&present, ours)?;
    Ok(write_whole(target, merged.as_bytes())?)
}

/// The file that every client makes while it changes a kubeconfig (`clientcmd.lockFile`).
struct Lock(PathBuf);

impl Lock {
    fn take(target: &Path) -> Result<Self, Failure> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let path = target.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => Ok(Self(path)),
            Err(error) => Err(format!("it is locked by another program ({}): {error}", path.display()).into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it can't be removed, the next one says so.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "contexts: [{name: kubelocal}]\n";

    #[test]
    fn a_file_is_made_where_there_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("kube/config");
        merge_into(&target, OURS).expect("merges");
        assert!(
            std::fs::read_to_string(&target)
                .expect("there")
                .contains("current-context: kubelocal")
        );
        assert_eq!(
            std::fs::read_dir(target.parent().expect("has one"))
                .expect("lists")
                .count(),
            1
        );
    }

    #[test]
    fn a_file_that_another_program_changes_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("config");
        std::fs::write(&target, "current-context: a\n").expect("writes");
        std::fs::write(dir.path().join("config.lock"), "").expect("writes");
        let error = merge_into(&target, OURS).expect_err("is locked").to_string();
        assert!(error.contains("config.lock"), "{error}");
        assert_eq!(std::fs::read_to_string(&target).expect("there"), "current-context: a\n");
    }
}
