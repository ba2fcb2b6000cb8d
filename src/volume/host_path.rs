//! `hostPath` volumes: the checks that `type` asks for (kubelet `host_path.checkType`).

use std::fs::{self, File, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use super::VolumeError;

/// Makes or checks what stands at `path`.
pub(super) fn set_up(volume: &str, path: &Path, type_: &str) -> Result<(), VolumeError> {
    let io = |source| VolumeError::Io {
        volume: volume.to_owned(),
        path: path.to_owned(),
        source,
    };
    match type_ {
        // Nothing is checked, but a mount needs something to be mounted: upstream's runtimes make a directory.
        "" if !path.exists() => fs::create_dir_all(path).map_err(io),
        "DirectoryOrCreate" if !path.exists() => make_directory(path).map_err(io),
        "FileOrCreate" if !path.exists() => make_file(path).map_err(io),
        "" => Ok(()),
        "DirectoryOrCreate" | "Directory" => check(volume, path, "a directory", FileType::is_dir),
        "FileOrCreate" | "File" => check(volume, path, "a file", FileType::is_file),
        "Socket" => check(volume, path, "a socket file", FileType::is_socket),
        "CharDevice" => check(volume, path, "a character device", FileType::is_char_device),
        "BlockDevice" => check(volume, path, "a block device", FileType::is_block_device),
        _ => Err(VolumeError::Kind(volume.to_owned())),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn make_file(path: &Path) -> io::Result<()> {
    File::create_new(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn check(volume: &str, path: &Path, wanted: &'static str, is: fn(&FileType) -> bool) -> Result<(), VolumeError> {
    let fits = fs::metadata(path).is_ok_and(|found| is(&found.file_type()));
    let error = || VolumeError::HostPath {
        volume: volume.to_owned(),
        path: path.to_owned(),
        wanted,
    };
    if fits { Ok(()) } else { Err(error()) }
}
