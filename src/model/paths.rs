//! Where things lie on disk: the one place that knows `$KUBELOCAL_HOME`, `$XDG_RUNTIME_DIR` and the names below them.
//!
//! Node and command line must agree on these paths without talking to each other, so both take them from here.
//! [`Paths::discover`] has to be called before a user namespace is entered: inside, the user id is another.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Every path of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `$KUBELOCAL_HOME`, default `~/.kubelocal`: what survives a reboot.
    pub home: PathBuf,
    /// Sockets, the lock and pid files: what does not survive a reboot.
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
    /// Held by the running node.
    pub lock: PathBuf,
    /// What a node that was started in the background prints.
    pub log: PathBuf,
}

/// What [`Paths::plan`] looks at.
#[derive(Debug, Clone, Default)]
pub struct PathFacts {
    /// `$KUBELOCAL_HOME`, if set and not empty; absolute.
    pub kubelocal_home: Option<PathBuf>,
    /// `$HOME`, if set and not empty.
    pub home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`, if set and not empty.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// The user.
    pub uid: u32,
    /// Whether `/run/user/<uid>` exists and belongs to the user.
    pub has_run_user: bool,
}

impl Paths {
    /// The paths of the calling user's node, from the environment.
    ///
    /// # Errors
    /// When neither `$KUBELOCAL_HOME` nor `$HOME` is set, or the working directory of a relative one is gone.
    pub fn discover() -> io::Result<Paths> {
        let var = |name: &str| {
            std::env::var_os(name)
                .filter(|v: &OsString| !v.is_empty())
                .map(PathBuf::from)
        };
        let uid = rustix::process::getuid().as_raw();
        let facts = PathFacts {
            kubelocal_home: var("KUBELOCAL_HOME").map(std::path::absolute).transpose()?,
            home: var("HOME"),
            xdg_runtime_dir: var("XDG_RUNTIME_DIR"),
            uid,
            has_run_user: is_directory_of(&run_user(uid), uid),
        };
        Paths::plan(&facts)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "neither $KUBELOCAL_HOME nor $HOME is set"))
    }

    /// The paths that follow from `facts`; `None` without any home.
    #[must_use]
    pub fn plan(facts: &PathFacts) -> Option<Paths> {
        let default_home = facts.home.as_ref().map(|home| home.join(".kubelocal"));
        let home = facts.kubelocal_home.clone().or_else(|| default_home.clone())?;
        // Several homes of one user live side by side: each but the default has a run directory of its own.
        let suffix = if Some(&home) == default_home.as_ref() {
            String::new()
        } else {
            format!("-{:08x}", fnv1a(home.as_os_str().as_bytes()))
        };
        let run_dir = match &facts.xdg_runtime_dir {
            Some(dir) => dir.join(format!("kubelocal{suffix}")),
            None if facts.has_run_user => run_user(facts.uid).join(format!("kubelocal{suffix}")),
            None => PathBuf::from(format!("/tmp/kubelocal-{}{suffix}", facts.uid)),
        };
        Some(Paths {
            manifests: home.join("manifests"),
            state: home.join("state"),
            images: home.join("images"),
            pods: home.join("pods"),
            volumes: home.join("volumes"),
            config: home.join("config.yaml"),
            kubeconfig: home.join("kubeconfig"),
            log: home.join("node.log"),
            api_socket: run_dir.join("api.sock"),
            lock: run_dir.join("lock"),
            home,
            run_dir,
        })
    }

    /// Makes sure that the run directory exists, belongs to the caller and is closed to everyone else. Whoever
    /// could put a socket there could pose as the node (design law 7), and `/tmp` is open to all.
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

fn run_user(uid: u32) -> PathBuf {
    PathBuf::from(format!("/run/user/{uid}"))
}

fn is_directory_of(path: &Path, uid: u32) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

/// FNV-1a, 32 bits: the eight hex digits only have to keep a handful of homes apart.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> PathFacts {
        PathFacts {
            home: Some("/home/ada".into()),
            uid: 1000,
            ..PathFacts::default()
        }
    }

    #[test]
    fn the_run_directory_falls_back_from_xdg_to_run_user_to_tmp() {
        let run = |facts: PathFacts| Paths::plan(&facts).expect("has a home").run_dir;
        let xdg = PathFacts {
            xdg_runtime_dir: Some("/run/x".into()),
            has_run_user: true,
            ..facts()
        };
        assert_eq!(run(xdg), Path::new("/run/x/kubelocal"));
        assert_eq!(
            run(PathFacts {
                has_run_user: true,
                ..facts()
            }),
            Path::new("/run/user/1000/kubelocal")
        );
        assert_eq!(run(facts()), Path::new("/tmp/kubelocal-1000"));
    }

    #[test]
    fn another_home_has_a_run_directory_of_its_own() {
        let other = PathFacts {
            kubelocal_home: Some("/srv/k".into()),
            has_run_user: true,
            ..facts()
        };
        let third = PathFacts {
            kubelocal_home: Some("/srv/l".into()),
            ..other.clone()
        };
        let (other, third) = (Paths::plan(&other).expect("home"), Paths::plan(&third).expect("home"));
        assert_eq!(other.home, Path::new("/srv/k"));
        let name = other
            .run_dir
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            name.starts_with("kubelocal-") && name.len() == "kubelocal-".len() + 8,
            "{name}"
        );
        assert_ne!(other.run_dir, third.run_dir);
    }

    #[test]
    fn naming_the_default_home_changes_nothing() {
        let named = PathFacts {
            kubelocal_home: Some("/home/ada/.kubelocal".into()),
            ..facts()
        };
        assert_eq!(Paths::plan(&named), Paths::plan(&facts()));
    }

    #[test]
    fn without_a_home_there_are_no_paths() {
        assert_eq!(Paths::plan(&PathFacts::default()), None);
    }

    #[test]
    fn a_run_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let facts = PathFacts {
            xdg_runtime_dir: Some(tmp.path().into()),
            ..facts()
        };
        let paths = Paths::plan(&facts).expect("home");
        paths.ensure_run_dir().expect("made");
        paths.ensure_run_dir().expect("made twice is made");
        std::fs::set_permissions(&paths.run_dir, std::fs::Permissions::from_mode(0o777)).expect("chmod");
        assert_eq!(
            paths.check_run_dir().expect_err("open to all").kind(),
            io::ErrorKind::PermissionDenied
        );
    }
}
