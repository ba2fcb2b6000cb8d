//! The one way into the store: verified blobs, unpacked layers, then the record and the names.
//!
//! Whoever brings an image (an archive today, a registry as well) says which blobs there are and how to read them; here
//! is decided what has to be read at all, and everything is measured while it streams by.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::claims::{Claims, Places};
use super::digest::Digest;
use super::disk::{Disk, Lock, Temporary};
use super::document::Descriptor;
use super::error::ImageError;
use super::inherit;
use super::layer::{self, Layer, LayerInfo, plan_chain_ids};
use super::lease::Leases;
use super::limits::Limits;
use super::manifest::Documents;
use super::progress::LayerProgress;
use super::registry::RegistryError;
use super::unpack::{Owners, SpaceAccount, Windows};

/// Layers of an image that are unpacked at once, and of all archives. Each takes some 5 MiB of queues beside its decoder's window;
/// more would only wait for the disk or the network.
const PARALLEL: usize = 3;
/// Layers that come from one registry at once: two images' worth, which fills any connection. What waits for its registry takes
/// next to no memory, so that there may be any number of registries.
const DOWNLOADS: usize = 2 * PARALLEL;

/// What a store needs to take images in.
#[derive(Debug)]
pub(super) struct Intake {
    pub disk: Disk,
    pub limits: Limits,
    pub owners: Owners,
    pub claims: Claims,
    pub leases: Arc<Leases>,
    windows: Windows,
    space: SpaceAccount,
    places: Places,
    downloads: Places,
}

impl Intake {
    pub(super) fn new(disk: Disk, limits: Limits) -> Intake {
        Intake {
            disk,
            limits,
            owners: Owners::here(),
            claims: Claims::default(),
            leases: Arc::default(),
            windows: Windows::default(),
            space: SpaceAccount::default(),
            places: Places::new(PARALLEL),
            downloads: Places::new(DOWNLOADS),
        }
    }
}

/// How a layer's bytes are had when they are needed, from a byte on.
pub(super) type Open<'s> = dyn Fn(u64) -> Result<Box<dyn Read + Send + 's>, ImageError> + Sync + 's;

/// A layer that an image needs.
pub(super) struct WantedLayer<'s> {
    /// For messages.
    pub what: String,
    /// The digest of its tar, from the config; none if nobody promised one (import).
    pub diff_id: Option<Digest>,
    /// Its packed form, from the manifest; none if nobody promised one (docker archives, import).
    pub blob: Option<Descriptor>,
    /// Whether the packed form is kept.
    pub keeps_blob: bool,
    /// Whether the packed form has to be had though the tree is here.
    pub needs_packed: bool,
    /// Where is told how far it is, if it comes from far; what came is then kept if it breaks off.
    pub progress: Option<Arc<LayerProgress>>,
    /// The registry that it comes from; empty if it is near.
    pub host: String,
    /// Reads it; from its beginning, if it does not come from far.
    pub open: Box<Open<'s>>,
}

impl<'s> WantedLayer<'s> {
    /// A layer that is near: kept, and read from its beginning.
    pub(super) fn new(
        what: String,
        promised: (Option<Descriptor>, Option<Digest>),
        open: impl Fn(u64) -> Result<Box<dyn Read + Send + 's>, ImageError> + Sync + 's,
    ) -> WantedLayer<'s> {
        let (blob, diff_id) = promised;
        WantedLayer {
            what,
            diff_id,
            blob,
            keeps_blob: true,
            needs_packed: true,
            progress: None,
            host: String::new(),
            open: Box::new(open),
        }
    }
}

/// An image that is being taken in.
pub(super) struct Ingest<'i> {
    intake: &'i Intake,
    /// Told when a layer fails, so that those on their way are given up.
    pub on_failure: Box<dyn Fn() + Sync>,
    /// Whether nobody wants it any more: ends every wait for others.
    pub is_given_up: Box<dyn Fn() -> bool + Sync>,
    /// Whether the names that it gets are a registry's.
    pub is_pulled: bool,
    /// The names that it gave.
    pub named: Mutex<BTreeSet<String>>,
    _work: Lock,
}

/// A layer that was read, before all below it are known.
enum Taken {
    InPlace(Layer),
    /// Unpacked, but some of its directories have to take their attributes from the layers below.
    Unfinished(Temporary, LayerInfo),
}

impl<'i> Ingest<'i> {
    pub(super) fn begin(intake: &'i Intake) -> Result<Ingest<'i>, ImageError> {
        Ok(Ingest {
            intake,
            on_failure: Box::new(|| {}),
            is_given_up: Box::new(|| false),
            is_pulled: false,
            named: Mutex::default(),
            _work: intake.disk.work()?,
        })
    }

    pub(super) fn limits(&self) -> &'i Limits {
        &self.intake.limits
    }

    pub(super) fn leases(&self) -> &'i Arc<Leases> {
        &self.intake.leases
    }

    pub(super) fn windows(&self) -> &'i Windows {
        &self.intake.windows
    }

    pub(super) fn space(&self) -> &'i SpaceAccount {
        &self.intake.space
    }

    pub(super) fn owners(&self) -> &'i Owners {
        &self.intake.owners
    }

    pub(super) fn disk(&self) -> &'i Disk {
        &self.intake.disk
    }

    /// Whether the disk has room for what is to come, before anything of it comes. Layers are at least as large unpacked as
    /// they are packed, and both are kept. `needs_packed` is whether packed forms come of trees that are here.
    pub(super) fn check_space(&self, documents: &Documents, needs_packed: bool) -> Result<(), ImageError> {
        let diff_ids: Vec<Digest> = documents.layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
        let mut packed = 0u64;
        for (at, ((blob, diff_id), chain)) in documents.layers.iter().zip(plan_chain_ids(&diff_ids)).enumerate() {
            let has_tree = self.find(Some(diff_id), at == 0, Some(&chain))?.is_some();
            if !self.disk().blob(&blob.digest).exists() && (needs_packed || !has_tree) {
                packed = packed.saturating_add(blob.size);
            }
        }
        let (needed, free) = (packed.saturating_mul(2), self.disk().free()?);
        match needed > free {
            true => Err(ImageError::NoSpace { needed, free }),
            false => Ok(()),
        }
    }

    /// Keeps a document. The bytes were verified, or are our own.
    pub(super) fn keep_document(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(bytes);
        let place = self.disk().blob(&digest);
        // One that a power cut emptied before an image named it is written again.
        if !fs::metadata(&place).is_ok_and(|meta| meta.len() == bytes.len() as u64) {
            let (mut file, temporary) = self.disk().temporary_file()?;
            file.write_all(bytes).map_err(ImageError::io(temporary.path()))?;
            temporary.move_to(&place).map_err(ImageError::io(&place))?;
        }
        Ok(digest)
    }

    /// Takes in all layers of an image, the lowest first.
    pub(super) fn take_layers(&self, wanted: &[WantedLayer<'_>]) -> Result<Vec<Layer>, ImageError> {
        let promised: Option<Vec<Digest>> = wanted.iter().map(|layer| layer.diff_id.clone()).collect();
        let chain = promised.map(|diff_ids| plan_chain_ids(&diff_ids));
        let taken = in_parallel(wanted, |at, layer| {
            // The lowest layer has nothing to depend on, and its chain id is its diff id.
            let stack = chain.as_ref().filter(|_| at > 0).map(|chain| &chain[at]);
            let taken = self.take(layer, at == 0, stack);
            match (&taken, &layer.progress) {
                (Ok(_), Some(progress)) => progress.end(),
                (Ok(_), None) => {}
                (Err(_), _) => (self.on_failure)(),
            }
            taken
        })?;
        let diff_ids: Vec<Digest> = taken.iter().map(|taken| taken.info().diff_id.clone()).collect();
        let mut layers: Vec<Layer> = Vec::new();
        for (taken, chain) in taken.into_iter().zip(plan_chain_ids(&diff_ids)) {
            let layer = match taken {
                Taken::InPlace(layer) => layer,
                Taken::Unfinished(temporary, info) => match layer::find(self.disk(), &chain)? {
                    Some(layer) => layer,
                    None => {
                        let below: Vec<PathBuf> = layers
                            .iter()
                            .rev()
                            .map(|below| layer::tree_path(self.disk(), &below.short))
                            .collect();
                        let mut info = LayerInfo { key: chain, ..info };
                        info.notes.extend(inherit::inherit(temporary.path(), &below)?);
                        layer::commit(self.disk(), temporary, info)?
                    }
                },
            };
            layers.push(layer);
        }
        Ok(layers)
    }

    fn take(&self, wanted: &WantedLayer<'_>, is_lowest: bool, stack: Option<&Digest>) -> Result<Taken, ImageError> {
        let given_up = || ImageError::from(RegistryError::Cancelled);
        // What the same registry is sending already is waited for. Another's word that it sends the same layer is worth nothing:
        // it could say so of anybody's, and send it for ever.
        let key = match (&wanted.blob, &wanted.diff_id) {
            (Some(blob), _) if wanted.progress.is_some() => Some(&blob.digest),
            (blob, diff_id) => diff_id.as_ref().or(blob.as_ref().map(|blob| &blob.digest)),
        };
        let key = key.map(|key| format!("{} {}", wanted.host, key.hex()));
        let claim = key.map(|key| self.intake.claims.wait_for(&key, &*self.is_given_up));
        let _claim = claim.map(|claim| claim.ok_or_else(given_up)).transpose()?;
        if let Some(layer) = self.find(wanted.diff_id.as_ref(), is_lowest, stack)?
            && let Some(layer) = self.with_blob(layer, wanted)?
        {
            return Ok(Taken::InPlace(layer));
        }
        // What comes from far waits for its registry most of the time: nobody else should wait for that, too.
        let places = match wanted.progress {
            Some(_) => &self.intake.downloads,
            None => &self.intake.places,
        };
        let place = places.wait(&wanted.host, &*self.is_given_up);
        let _place = place.ok_or_else(given_up)?;
        let (temporary, (blob, unpacked)) = self.unpack_anew(wanted)?;
        let (measured, tree) = unpacked;
        let info = LayerInfo {
            key: measured.digest.clone(),
            diff_id: measured.digest,
            blob,
            is_dependent: !tree.implied.is_empty(),
            size: tree.bytes,
            disk: Some(tree.disk.bytes),
            inodes: tree.disk.inodes,
            describes_root: tree.describes_root,
            hides_below: tree.hides_below,
            notes: tree.notes,
        };
        if is_lowest || tree.implied.is_empty() {
            return layer::commit(self.disk(), temporary, info).map(Taken::InPlace);
        }
        inherit::note(temporary.path(), tree.implied)?;
        Ok(Taken::Unfinished(temporary, info))
    }

    /// A layer that is here already. One whose directories took their attributes from what lies below counts for its stack
    /// only.
    pub(super) fn find(
        &self,
        diff_id: Option<&Digest>,
        is_lowest: bool,
        stack: Option<&Digest>,
    ) -> Result<Option<Layer>, ImageError> {
        if let Some(stack) = stack
            && let Some(layer) = layer::find(self.disk(), stack)?
        {
            return Ok(Some(layer));
        }
        let Some(diff_id) = diff_id else { return Ok(None) };
        let layer = layer::find(self.disk(), diff_id)?;
        Ok(layer.filter(|layer| is_lowest || !layer.info.is_dependent))
    }

    /// The unpacked layer together with a packed form that is kept: the wanted one if a digest names it, else any.
    fn with_blob(&self, mut layer: Layer, wanted: &WantedLayer<'_>) -> Result<Option<Layer>, ImageError> {
        let is_kept = |blob: &Descriptor| self.disk().blob(&blob.digest).exists();
        match (&wanted.blob, &layer.info.blob) {
            _ if !wanted.keeps_blob => Ok(Some(layer)),
            (None, Some(own)) => Ok(is_kept(own).then_some(layer)),
            (None, None) => Ok(None),
            (Some(blob), _) => {
                if !is_kept(blob) && wanted.needs_packed {
                    self.keep_blob(wanted, blob)?;
                }
                layer.info.blob = Some(blob.clone());
                Ok(Some(layer))
            }
        }
    }
}

impl Taken {
    fn info(&self) -> &LayerInfo {
        match self {
            Taken::InPlace(layer) => &layer.info,
            Taken::Unfinished(_, info) => info,
        }
    }
}

/// Does a few things at once and gives the results in order; after the first failure no more are begun, and it is the
/// one that is told: later ones may be its consequences.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(usize, &T) -> Result<R, ImageError> + Sync,
) -> Result<Vec<R>, ImageError> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<R, ImageError>)>> = Mutex::default();
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(at, item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..PARALLEL.min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(first) = results.iter().position(|(_, result)| result.is_err()) {
        results.swap(0, first);
        results.truncate(1);
    }
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
