//! `fsGroup`: a volume's files belong to a group that the pod's processes are in (kubelet `SetVolumeOwnership`). What containers
//! have put there is walked by descriptors, and links are never followed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, chownat, fstat, openat, statat};

/// Who a volume belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The group.
    pub group: u32,
    /// Nothing is done where the volume's own directory is as it should be (`fsGroupChangePolicy: OnRootMismatch`).
    pub only_on_mismatch: bool,
}

/// What group and owner get of a file, and of a directory beyond that (`rwMask`, `execMask`).
const FILE_BITS: u32 = 0o660;
const DIRECTORY_BITS: u32 = 0o2110;

/// Files deeper than this are left alone: a container made them so, and each level takes a descriptor.
const DEEPEST: usize = 200;

/// The user as whom all containers of a pod run, if the pod says so of each (kubelet `FsUserFrom`).
pub(super) fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users = containers.map(|container| {
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        own.or(of_pod)
    });
    let first = users.next()??;
    let is_only = users.all(|user| user == Some(first));
    u32::try_from(first).ok().filter(|_| is_only)
}

/// Gives everything below `root`, and `root`, to the group.
///
/// # Errors
/// The group does not exist here, or the disk did not do it.
pub(super) fn give(root: &Path, ownership: Ownership) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, root, flags, Mode::empty())?;
    let stat = fstat(&directory)?;
    let is_fine = stat.st_gid == ownership.group && mode_of(&stat, true) == stat.st_mode & 0o7777;
    if ownership.only_on_mismatch && is_fine {
        return Ok(());
    }
    give_below(directory.as_fd(), ownership.group, 0)?;
    // Last: a root that is as it should be says that all below it is.
    rustix::fs::fchown(&directory, None, Some(Gid::from_raw(ownership.group)))?;
    Ok(rustix::fs::fchmod(
        &directory,
        Mode::from_raw_mode(mode_of(&stat, true)),
    )?)
}

fn mode_of(stat: &Stat, is_directory: bool) -> u32 {
    let more = if is_directory { DIRECTORY_BITS } else { 0 };
    (stat.st_mode & 0o7777) | FILE_BITS | more
}

fn give_below(directory: BorrowedFd<'_>, group: u32, depth: usize) -> io::Result<()> {
    if depth >= DEEPEST {
        return Ok(());
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match give_one(directory, name, group, depth) {
            // Somebody else's pod removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

fn give_one(directory: BorrowedFd<'_>, name: &std::ffi::CStr, group: u32, depth: usize) -> io::Result<()> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind.is_dir() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = openat(directory, name, flags, Mode::empty())?;
        give_below(inner.as_fd(), group, depth + 1)?;
    }
    chownat(
        directory,
        name,
        None,
        Some(Gid::from_raw(group)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if kind.is_symlink() {
        return Ok(());
    }
    // Through the descriptor of what was looked at: the name may lead elsewhere by now.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let itself = openat(directory, name, flags, Mode::empty())?;
    let found = fstat(&itself)?;
    if FileType::from_raw_mode(found.st_mode).is_symlink() {
        return Ok(());
    }
    let path = format!("/proc/self/fd/{}", itself.as_raw_fd());
    Ok(rustix::fs::chmod(
        path,
        Mode::from_raw_mode(mode_of(&stat, kind.is_dir())),
    )?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_one_users_where_all_containers_are() {
        for (of_pod, init, main, only) in [
            (json!({}), json!({}), json!({}), None),
            (json!({"runAsUser": 5}), json!({}), json!({}), Some(5)),
            (json!({"runAsUser": 5}), json!({"runAsUser": 6}), json!({}), None),
            (json!({}), json!({"runAsUser": 6}), json!({"runAsUser": 6}), Some(6)),
            (json!({}), json!({}), json!({"runAsUser": 6}), None),
        ] {
            let spec = json!({
                "securityContext": of_pod,
                "initContainers": [{"name": "i", "securityContext": init}],
                "containers": [{"name": "m", "securityContext": main}],
            });
            let pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
            assert_eq!(only_user(&pod), only, "{spec}");
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("is there").permissions().mode() & 0o7777
    }

    #[test]
    fn the_group_reads_and_writes_and_links_are_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, outside) = (dir.path().join("v"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a")).expect("writes");
        for file in [&outside, &root.join("a/file")] {
            fs::write(file, "").expect("writes");
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("ours");
        }
        symlink(&outside, root.join("a/link")).expect("links");
        // The only group that every user may give files to.
        let group = fs::metadata(&root).expect("is there").gid();
        let own = Ownership {
            group,
            only_on_mismatch: false,
        };
        give(&root, own).expect("it is ours");
        assert_eq!((mode(&root.join("a/file")), mode(&outside)), (0o660, 0o600));
        assert_eq!(mode(&root) & 0o2770, 0o2770);
        assert_eq!(mode(&root.join("a")) & 0o2770, 0o2770);
        fs::set_permissions(root.join("a/file"), fs::Permissions::from_mode(0o600)).expect("ours");
        let only_on_mismatch = Ownership {
            only_on_mismatch: true,
            ..own
        };
        give(&root, only_on_mismatch).expect("nothing to do");
        assert_eq!(mode(&root.join("a/file")), 0o600);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("ours");
        give(&root, only_on_mismatch).expect("it is ours");
        assert_eq!(mode(&root.join("a/file")), 0o660);
    }
}
