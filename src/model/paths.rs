//! Where things lie on disk: the one place that knows `$KUBELOCAL_HOME` and the names below it.
//!
//! Node and command line must agree on these paths without talking to each other, so both take them from here. All of them are in the
//! home, sockets too: a home has one node, whichever session looks for it. `$XDG_RUNTIME_DIR` is another one in another session, goes
//! with the last of them though the node runs on, and takes with it every way to the pods.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

/// Every path of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `$KUBELOCAL_HOME`, default `~/.kubelocal`: what survives a reboot.
    pub home: PathBuf,
    /// Sockets, and what all pods share: what means nothing after a reboot.
    pub run_dir: PathBuf,
    /// The directory of manifests that every node watches.
    pub manifests: PathBuf,
    /// The store's journal.
    pub state: PathBuf,
    /// Content-addressed blobs and unpacked layers.
    pub images: PathBuf,
    /// One directory per pod uid: volumes, logs, bundles.
    pub pods: PathBuf,
    /// The data of PersistentVolumeClaims.
    pub volumes: PathBuf,
    /// The node's settings.
    pub config: PathBuf,
    /// What clients such as kubectl need to reach the API.
    pub kubeconfig: PathBuf,
    /// The Kubernetes API of this node, for its owner only.
    pub api_socket: PathBuf,
    /// Held by the running node, whose pid is in it.
    pub lock: PathBuf,
    /// What a node that was started in the background prints.
    pub log: PathBuf,
}

impl Paths {
    /// The paths of the calling user's node, from the environment.
    ///
    /// # Errors
    /// When neither `$KUBELOCAL_HOME` nor `$HOME` is set, or the working directory of a relative one is gone.
    pub fn discover() -> io::Result<Paths> {
        let var = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let home = match (var("KUBELOCAL_HOME"), var("HOME")) {
            (Some(home), _) => std::path::absolute(home)?,
            (None, Some(home)) => PathBuf::from(home).join(".kubelocal"),
            (None, None) => {
                let message = "neither $KUBELOCAL_HOME nor $HOME is set";
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
        };
        Ok(Paths::at(home))
    }

    /// The paths below a home.
    #[must_use]
    pub fn at(home: PathBuf) -> Paths {
        let run_dir = home.join("run");
        Paths {
            manifests: home.join("manifests"),
            state: home.join("state"),
            images: home.join("images"),
            pods: home.join("pods"),
            volumes: home.join("volumes"),
            config: home.join("config.yaml"),
            kubeconfig: home.join("kubeconfig"),
            log: home.join("node.log"),
            lock: home.join("node.lock"),
            api_socket: run_dir.join("api.sock"),
            run_dir,
            home,
        }
    }

    /// Makes sure that the run directory exists, belongs to the caller and is closed to everyone else. Whoever
    /// could put a socket there could pose as the node (design law 7).
    ///
    /// # Errors
    /// When it cannot be made, or somebody else's directory or a symbolic link stands in its place.
    pub fn ensure_run_dir(&self) -> io::Result<()> {
        match std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.run_dir)
        {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                let message = format!("{}: {e}", self.run_dir.display());
                return Err(io::Error::new(e.kind(), message));
            }
            _ => {}
        }
        self.check_run_dir()
    }

    /// Whether the run directory may be trusted; see [`Paths::ensure_run_dir`].
    ///
    /// # Errors
    /// When it is missing, or is not a directory of the caller's with mode 0700.
    pub fn check_run_dir(&self) -> io::Result<()> {
        let meta = std::fs::symlink_metadata(&self.run_dir)?;
        let uid = rustix::process::geteuid().as_raw();
        if meta.is_dir() && meta.uid() == uid && meta.mode() & 0o022 == 0 {
            return Ok(());
        }
        let why = format!(
            "{} is not a directory that only this user can write",
            self.run_dir.display()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let paths = Paths::at(tmp.path().join("home"));
        paths.ensure_run_dir().expect("made");
        paths.ensure_run_dir().expect("made twice is made");
        std::fs::set_permissions(&paths.run_dir, std::fs::Permissions::from_mode(0o777)).expect("chmod");
        assert_eq!(
            paths.check_run_dir().expect_err("open to all").kind(),
            io::ErrorKind::PermissionDenied
        );
    }
}
