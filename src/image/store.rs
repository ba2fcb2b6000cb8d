//! The store as a value: what it was opened with, and what its other halves and the rest of the room share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::builtin;
use super::claims::Claim;
use super::digest::Digest;
use super::disk::Disk;
use super::error::ImageError;
use super::ingest::{Ingest, Intake};
use super::lease::{Lease, Leases};
use super::limits::Limits;
use super::partial::KEPT;
use super::reference::Reference;
use super::registry::RegistrySettings;
use super::sweep::sweep;

mod change;
mod look;

/// The store under one directory. Cheap to clone; clones are the same store. Several processes may share it.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    intake: Intake,
    /// The binary that the built-in image is made from.
    binary: PathBuf,
    registries: RegistrySettings,
    shared: Vec<PathBuf>,
    /// Someone removed an image while others were loading: the last of them sweeps.
    is_sweep_due: AtomicBool,
    /// How often something was added or removed.
    changed: watch::Sender<u64>,
}

/// What a store may be told. All of it has a default.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The binary that the built-in image is made from: the running one.
    pub binary: PathBuf,
    /// How much images may ask for.
    pub limits: Limits,
    /// Short names, and where images are pulled from.
    pub registries: RegistrySettings,
    /// Directories of containers-storage (podman, buildah, skopeo) whose images are found too.
    pub shared: Vec<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            binary: PathBuf::from("/proc/self/exe"),
            limits: Limits::default(),
            registries: RegistrySettings::default(),
            shared: Vec::new(),
        }
    }
}

impl ImageStore {
    /// Opens the store in this directory, made if it is not there, and sweeps what a crash left behind.
    ///
    /// # Errors
    /// If the directory cannot be made or written.
    pub fn open(dir: &Path) -> Result<ImageStore, ImageError> {
        ImageStore::open_with(dir, StoreOptions::default())
    }

    /// The same with other options.
    ///
    /// # Errors
    /// If the directory cannot be made or written.
    pub fn open_with(dir: &Path, options: StoreOptions) -> Result<ImageStore, ImageError> {
        let disk = Disk::create(dir)?;
        sweep(&disk, KEPT)?;
        let inner = Inner {
            intake: Intake::new(disk, options.limits),
            binary: options.binary,
            registries: options.registries,
            shared: options.shared,
            is_sweep_due: AtomicBool::new(false),
            changed: watch::Sender::new(0),
        };
        Ok(ImageStore { inner: Arc::new(inner) })
    }

    /// The directory that holds all layers. Relative to it, an image's layers have names short enough for overlay's
    /// option string.
    pub fn layers_dir(&self) -> PathBuf {
        self.disk().path("layers")
    }

    /// A name as this node reads it: short names are the user's.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`].
    pub fn reference(&self, name: &str) -> Result<Reference, ImageError> {
        self.inner.registries.reference(name)
    }

    /// Removes what no image needs, and of what broke off what is older than `kept`; now, or after the last load.
    pub(super) fn sweep(&self, kept: Duration) -> Result<(), ImageError> {
        if !sweep(self.disk(), kept)? {
            self.inner.is_sweep_due.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Changes whenever something was added or removed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// What was set about registries.
    pub(super) fn registries(&self) -> &RegistrySettings {
        &self.inner.registries
    }

    /// The right to do something that is done once at a time.
    pub(super) fn claim(&self, key: &str) -> Option<Claim<'_>> {
        self.inner.intake.claims.wait_for(key, &|| false)
    }

    /// Keeps an image by id, whoever wants it gone: for containers that run from it since before this node did. `None` if that
    /// is no id.
    #[must_use]
    pub fn lease(&self, id: &str) -> Option<Lease> {
        Digest::parse(id).map(|id| self.leases().take(id))
    }

    /// The images that somebody holds.
    pub(super) fn leases(&self) -> &Arc<Leases> {
        &self.inner.intake.leases
    }

    /// Other stores whose images are found too.
    pub(super) fn shared(&self) -> &[PathBuf] {
        &self.inner.shared
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.inner.intake.limits
    }

    fn intake(&self) -> &Intake {
        &self.inner.intake
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.inner.intake.disk
    }

    /// Runs one intake, and after it the sweep that it may have kept from running.
    pub(super) fn ingest<T>(
        &self,
        take: impl FnOnce(&mut Ingest<'_>) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let mut ingest = Ingest::begin(self.intake())?;
        let result = take(&mut ingest);
        drop(ingest);
        self.inner.changed.send_modify(|changed| *changed += 1);
        if self.inner.is_sweep_due.swap(false, Ordering::Relaxed) {
            self.sweep(KEPT)?;
        }
        result
    }

    /// The built-in image, which is made when it is first asked for.
    fn built_in(&self) -> Result<Digest, ImageError> {
        let made = || self.inner.changed.send_modify(|changed| *changed += 1);
        builtin::ensure(self.intake(), &self.inner.binary, made)
    }
}
