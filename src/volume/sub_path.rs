//! `subPath`: a part of a volume. The path is walked below the volume by file descriptors, so that a link that a container put
//! there does not lead out of it (CVE-2017-1002101).

use std::io;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};

use super::VolumeError;

/// Makes the directories of `sub_path` that are not there, and checks that it stays in the volume.
///
/// # Errors
/// When it leads out, or can't be made.
pub fn make_sub_path(name: &str, volume: &Path, sub_path: &str) -> Result<(), VolumeError> {
    let failed = |source: io::Error| VolumeError::Io {
        volume: name.to_owned(),
        path: volume.join(sub_path),
        source,
    };
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, volume, directory, Mode::empty()).map_err(|e| failed(e.into()))?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut walked = String::from(".");
    for component in Path::new(sub_path).components() {
        let Component::Normal(part) = component else {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a subPath must not contain '..'",
            )));
        };
        let parent = openat2(&root, walked.as_str(), directory, Mode::empty(), inside).map_err(|e| failed(e.into()))?;
        match mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
        walked = format!("{walked}/{}", part.to_string_lossy());
    }
    let found = openat2(
        &root,
        walked.as_str(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        inside,
    );
    found.map(drop).map_err(|e| failed(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_is_made_and_never_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        make_sub_path("v", dir.path(), "a/b").expect("can be made");
        assert!(dir.path().join("a/b").is_dir());
        std::fs::write(dir.path().join("a/file"), "x").expect("writes");
        make_sub_path("v", dir.path(), "a/file").expect("a file is a part as well");
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).expect("links");
        assert!(make_sub_path("v", dir.path(), "link").is_err());
        assert!(make_sub_path("v", dir.path(), "link/x").is_err());
        assert!(make_sub_path("v", dir.path(), "../x").is_err());
    }
}
