//! The program that supervisors run: this very one, in a mount of its own that is read-only.
//!
//! What is run in a container by the name of `/proc/self/exe` is the program of its supervisor, and whoever is root there may then change
//! the file behind `/proc/<pid>/exe`: its mode, its owner, and what it holds once nobody runs it (the class of CVE-2019-5736). A
//! read-only mount holds all of that off and, unlike a copy in a memfd, costs no memory. It is in nobody's mount namespace, so no
//! container can make it writable again (open_tree(2), mount_setattr(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, fstat, stat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::sys;

/// A program that can be run and not changed.
#[derive(Debug)]
pub(super) struct Program(OwnedFd);

impl Program {
    /// Of a program that may be running already, such as `/proc/self/exe`.
    pub(super) fn protect(program: &Path) -> io::Result<Program> {
        // Only mounts of this namespace can be cloned, and a running program's is one of those that it was started in: hence by name.
        let named = std::fs::canonicalize(program)?;
        let mount = open_tree(
            CWD,
            &named,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )?;
        let (found, wanted) = (fstat(&mount)?, stat(program)?);
        if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino) {
            return Err(io::Error::other("it was replaced while it started; start it again"));
        }
        sys::set_read_only(mount.as_fd())?;
        Ok(Program(mount))
    }

    /// By what it is run, for as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}
