//! Volumes: what must be in place before a pod's containers start, and what follows when ConfigMaps and Secrets change.
//!
//! [`plan_volumes`] is pure and says what each volume is; [`set_up`] makes it so on disk, as often as it is asked (kubelet's
//! volume plugins `emptydir`, `host_path`, `configmap`, `secret`). Directories lie in `pods/<uid>/volumes/` and go with the pod; those
//! of claims lie where their class says, and [`reclaim`] removes them.

mod atomic;
mod host_path;
mod ownership;
mod plan;
mod reclaim;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use ownership::Ownership;
pub use plan::{File, VolumeKind, VolumePlan, fs_group, plan_volumes};
pub use reclaim::reclaim;

/// Why a volume can't be had (event `FailedMount`).
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The ConfigMap or Secret is not there, or lacks a key.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
    Source {
        /// The volume's name.
        volume: String,
        /// What is missing.
        why: String,
    },
    /// The node does not mount volumes of this kind.
    #[error("volume {0:?}: volumes of this kind can't be mounted here")]
    Kind(String),
    /// The host's path is not what the manifest says it is.
    #[error("MountVolume.SetUp failed for volume {volume:?} : hostPath type check failed: {path} is not {wanted}",
        path = path.display())]
    HostPath {
        /// The volume's name.
        volume: String,
        /// The host's path.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// Its files can't be given to the pod's `fsGroup`.
    #[error("MountVolume.SetUp failed for volume {volume:?} : applyFSGroup failed for group {group}: {source}")]
    Owner {
        /// The volume's name.
        volume: String,
        /// The group.
        group: u32,
        /// Why.
        source: io::Error,
    },
    /// The disk did not do it.
    #[error("volume {volume:?}: {path}: {source}", path = path.display())]
    Io {
        /// The volume's name.
        volume: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Brings the volumes of a pod into place below `dir` and returns where each lies. Doing it again changes only what changed.
///
/// # Errors
/// The first volume that can't be had; the others may be in place.
pub fn set_up(dir: &Path, volumes: &[VolumePlan]) -> Result<BTreeMap<String, PathBuf>, VolumeError> {
    let mut places = BTreeMap::new();
    for volume in volumes {
        let Some(place) = set_up_one(dir, volume)? else {
            continue;
        };
        if let Some(ownership) = volume.ownership {
            own_once(dir, volume, &place, ownership)?;
        }
        places.insert(volume.name.clone(), place);
    }
    Ok(places)
}

/// Gives what a volume held before to its group, once for a pod: what the pod makes of it afterwards is the pod's.
fn own_once(dir: &Path, volume: &VolumePlan, place: &Path, ownership: Ownership) -> Result<(), VolumeError> {
    // No volume's name has a dot.
    let mark = dir.join(format!(".{}.owned", volume.name));
    if mark.exists() {
        return Ok(());
    }
    let given = ownership::give(place, ownership)
        .and_then(|()| std::fs::create_dir_all(dir))
        .and_then(|()| std::fs::File::create(&mark));
    given.map(drop).map_err(|source| VolumeError::Owner {
        volume: volume.name.clone(),
        group: ownership.group,
        source,
    })
}

/// Makes the directory of a claim, below that of its class, which only its owner looks into.
fn persistent_dir(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    empty_dir(directory, path)
}

/// Makes a directory in which any user of any container writes, as in upstream's emptyDir. It has its name only when it has its mode.
fn empty_dir(dir: &Path, own: &Path) -> std::io::Result<()> {
    let name = own.file_name().unwrap_or_default().to_string_lossy();
    // No volume's name has a dot.
    let unfinished = dir.join(format!(".{name}"));
    std::fs::create_dir_all(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o777))?;
    std::fs::rename(&unfinished, own)
}

/// Where a volume lies once it is there; nowhere if it is an image.
fn set_up_one(dir: &Path, volume: &VolumePlan) -> Result<Option<PathBuf>, VolumeError> {
    let own = dir.join(&volume.name);
    let io = |source| VolumeError::Io {
        volume: volume.name.clone(),
        path: own.clone(),
        source,
    };
    match &volume.kind {
        VolumeKind::EmptyDir => {
            // Set up once: what the pod makes of it afterwards is the pod's.
            if !own.exists() {
                empty_dir(dir, &own).map_err(io)?;
            }
            Ok(Some(own))
        }
        // The sandbox has it; on the disk there is only the place for it.
        VolumeKind::Memory => Ok(Some(own)),
        VolumeKind::Image => Ok(None),
        VolumeKind::HostPath { path, type_ } => {
            host_path::set_up(&volume.name, path, type_)?;
            Ok(Some(path.clone()))
        }
        VolumeKind::Local(path) => {
            host_path::set_up(&volume.name, path, "Directory")?;
            Ok(Some(path.clone()))
        }
        VolumeKind::Persistent(path) => {
            if !path.exists() {
                persistent_dir(path).map_err(|source| VolumeError::Io {
                    volume: volume.name.clone(),
                    path: path.clone(),
                    source,
                })?;
            }
            Ok(Some(path.clone()))
        }
        VolumeKind::Files { files, group } => {
            std::fs::create_dir_all(&own).map_err(io)?;
            atomic::write(&own, files, *group).map_err(io)?;
            Ok(Some(own))
        }
    }
}
