//! The one way into the store: verified blobs, unpacked layers, then the record and the names.
//!
//! Whoever brings an image (an archive today, a registry as well) says which blobs there are and how to read them; here
//! is decided what has to be read at all, and everything is measured while it streams by.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::claims::Claims;
use super::digest::{Digest, Hasher};
use super::disk::{Disk, Lock, Temporary};
use super::document::{Descriptor, OCI_LAYER};
use super::error::ImageError;
use super::inherit;
use super::layer::{self, Layer, LayerInfo, plan_chain_ids};
use super::limits::Limits;
use super::record::{self, Record, RecordLayer};
use super::unpack::{Measured, Owners, Source, Streamed, Unpacked, extract, merge, open_root, stream};

/// Layers that are unpacked at once. Each takes some 5 MiB of queues and up to 8 MiB of a zstd window; three of them
/// keep the whole under 40 MiB and more would only wait for the disk.
const PARALLEL: usize = 3;

/// What a store needs to take images in.
#[derive(Debug)]
pub(super) struct Intake {
    pub disk: Disk,
    pub limits: Limits,
    pub owners: Owners,
    pub claims: Claims,
}

/// How a layer's bytes are had when they are needed.
pub(super) type Open<'s> = dyn Fn() -> Result<Box<dyn Read + Send + 's>, ImageError> + Sync + 's;

/// A layer that an image needs.
pub(super) struct WantedLayer<'s> {
    /// For messages.
    pub what: String,
    /// The digest of its tar, from the config; none if nobody promised one (import).
    pub diff_id: Option<Digest>,
    /// Its packed form, from the manifest; none if nobody promised one (docker archives, import).
    pub blob: Option<Descriptor>,
    /// Whether the tar must be closed by its end mark: where no digest tells that it is whole.
    pub needs_end_mark: bool,
    /// Whether the packed form is kept.
    pub keeps_blob: bool,
    /// Reads it from its beginning.
    pub open: Box<Open<'s>>,
}

/// An image that is being taken in.
pub(super) struct Ingest<'i> {
    intake: &'i Intake,
    _work: Lock,
}

/// A layer that was read, before all below it are known.
enum Taken {
    InPlace(Layer),
    /// Unpacked, but some of its directories have to take their attributes from the layers below.
    Unfinished(Temporary, LayerInfo, Vec<Vec<u8>>),
}

impl<'i> Ingest<'i> {
    pub(super) fn begin(intake: &'i Intake) -> Result<Ingest<'i>, ImageError> {
        Ok(Ingest {
            intake,
            _work: intake.disk.work()?,
        })
    }

    pub(super) fn limits(&self) -> &'i Limits {
        &self.intake.limits
    }

    pub(super) fn disk(&self) -> &'i Disk {
        &self.intake.disk
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
            self.take(layer, at == 0, stack)
        })?;
        let diff_ids: Vec<Digest> = taken.iter().map(|taken| taken.info().diff_id.clone()).collect();
        let mut layers: Vec<Layer> = Vec::new();
        for (taken, chain) in taken.into_iter().zip(plan_chain_ids(&diff_ids)) {
            let layer = match taken {
                Taken::InPlace(layer) => layer,
                Taken::Unfinished(temporary, info, implied) => match layer::find(self.disk(), &chain)? {
                    Some(layer) => layer,
                    None => {
                        let below: Vec<PathBuf> = layers
                            .iter()
                            .rev()
                            .map(|below| layer::tree_path(self.disk(), &below.short))
                            .collect();
                        inherit::inherit(&temporary.path().join("fs"), &implied, &below)?;
                        layer::commit(self.disk(), temporary, LayerInfo { key: chain, ..info })?
                    }
                },
            };
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Makes the image known: everything to disk, then its record, then its names. The built-in image, whose layer has
    /// no blob, is not waited for: it is checked before use, and made again if a power cut took it.
    pub(super) fn commit(
        &self,
        id: Digest,
        manifest: Descriptor,
        layers: &[Layer],
        names: &[String],
    ) -> Result<Record, ImageError> {
        let notes = merge(layers.iter().flat_map(|layer| layer.info.notes.clone()));
        let record_layers = layers
            .iter()
            .map(|l| RecordLayer {
                short: l.short.clone(),
                blob: l.info.blob.clone(),
            })
            .collect();
        let size = layers.iter().map(|layer| layer.info.size).sum();
        let record = Record {
            id,
            manifest,
            layers: record_layers,
            size,
            notes,
        };
        if layers.iter().any(|layer| layer.info.blob.is_some()) {
            self.disk().sync()?;
        }
        let edit = self.disk().edit()?;
        record::write(self.disk(), &record, &edit)?;
        names
            .iter()
            .try_for_each(|name| record::point(self.disk(), name, &record.id, &edit))?;
        Ok(record)
    }

    fn take(&self, wanted: &WantedLayer<'_>, is_lowest: bool, stack: Option<&Digest>) -> Result<Taken, ImageError> {
        let key = wanted
            .diff_id
            .as_ref()
            .or(wanted.blob.as_ref().map(|blob| &blob.digest));
        let _claim = key.map(|key| self.intake.claims.wait_for(key.hex()));
        if let Some(layer) = self.find(wanted, is_lowest, stack)?
            && let Some(layer) = self.with_blob(layer, wanted)?
        {
            return Ok(Taken::InPlace(layer));
        }
        let temporary = self.disk().temporary_dir()?;
        let (blob, unpacked) = self.unpack(wanted, &temporary)?;
        let (measured, tree) = unpacked;
        let info = LayerInfo {
            key: measured.digest.clone(),
            diff_id: measured.digest,
            blob,
            is_dependent: !tree.implied.is_empty(),
            size: tree.bytes,
            notes: tree.notes,
        };
        if is_lowest || tree.implied.is_empty() {
            return layer::commit(self.disk(), temporary, info).map(Taken::InPlace);
        }
        Ok(Taken::Unfinished(temporary, info, tree.implied))
    }

    fn find(
        &self,
        wanted: &WantedLayer<'_>,
        is_lowest: bool,
        stack: Option<&Digest>,
    ) -> Result<Option<Layer>, ImageError> {
        if let Some(layer) = stack
            .map(|stack| layer::find(self.disk(), stack))
            .transpose()?
            .flatten()
        {
            return Ok(Some(layer));
        }
        let layer = wanted
            .diff_id
            .as_ref()
            .map(|diff_id| layer::find(self.disk(), diff_id))
            .transpose()?
            .flatten();
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
                if !is_kept(blob) {
                    self.keep_blob(wanted, blob)?;
                }
                layer.info.blob = Some(blob.clone());
                Ok(Some(layer))
            }
        }
    }

    /// Keeps a packed layer whose tree is there already.
    fn keep_blob(&self, wanted: &WantedLayer<'_>, blob: &Descriptor) -> Result<(), ImageError> {
        let mut reader = (wanted.open)()?.take(blob.size.saturating_add(1));
        let (mut file, temporary) = self.disk().temporary_file()?;
        let (mut hasher, mut size, mut buffer) = (Hasher::default(), 0u64, vec![0; 128 << 10]);
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unpack_error(wanted)(error.into())),
            };
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read])
                .map_err(ImageError::io(temporary.path()))?;
            size += read as u64;
        }
        check_blob(
            &wanted.what,
            blob,
            &Measured {
                digest: hasher.finish(),
                size,
            },
        )?;
        let place = self.disk().blob(&blob.digest);
        temporary.move_to(&place).map_err(ImageError::io(&place))
    }

    fn unpack(
        &self,
        wanted: &WantedLayer<'_>,
        temporary: &Temporary,
    ) -> Result<(Option<Descriptor>, (Measured, Unpacked)), ImageError> {
        let tree = temporary.path().join("fs");
        fs::create_dir(&tree).map_err(ImageError::io(&tree))?;
        let root = open_root(&tree).map_err(ImageError::errno(&tree))?;
        rustix::fs::fchmod(&root, rustix::fs::Mode::from_raw_mode(0o755)).map_err(ImageError::errno(&tree))?;
        let kept = wanted
            .blob
            .as_ref()
            .map(|blob| self.disk().blob(&blob.digest))
            .filter(|place| place.exists());
        let (reader, keep): (Box<dyn Read + Send>, _) = match kept {
            Some(place) => (Box::new(File::open(&place).map_err(ImageError::io(&place))?), None),
            None if wanted.keeps_blob => ((wanted.open)()?, Some(self.disk().temporary_file()?)),
            None => ((wanted.open)()?, None),
        };
        let (keep, kept_as) = keep.unzip();
        let max_size = wanted.blob.as_ref().map_or(self.limits().unpacked, |blob| blob.size);
        let source = Source { reader, max_size, keep };
        let streamed = stream(source, self.limits(), |data| {
            extract(data, root, &self.intake.owners, self.limits())
        })
        .map_err(unpack_error(wanted))?;
        let blob = check(wanted, &streamed)?;
        let unpacked = streamed.unpacked.map_err(unpack_error(wanted))?;
        if let Some(kept_as) = kept_as {
            let place = self.disk().blob(&blob.digest);
            kept_as.move_to(&place).map_err(ImageError::io(&place))?;
        }
        Ok((wanted.keeps_blob.then_some(blob), unpacked))
    }
}

impl Taken {
    fn info(&self) -> &LayerInfo {
        match self {
            Taken::InPlace(layer) => &layer.info,
            Taken::Unfinished(_, info, _) => info,
        }
    }
}

fn unpack_error(wanted: &WantedLayer<'_>) -> impl FnOnce(super::unpack::UnpackError) -> ImageError + use<> {
    let layer = wanted.what.clone();
    move |source| ImageError::Unpack { layer, source }
}

/// Holds what was measured against what was promised: the packed bytes first, because wrong ones explain whatever
/// went wrong with unpacking them.
fn check(wanted: &WantedLayer<'_>, streamed: &Streamed<Unpacked>) -> Result<Descriptor, ImageError> {
    if let Some(blob) = &wanted.blob {
        check_blob(&wanted.what, blob, &streamed.packed)?;
    }
    if let Ok((measured, unpacked)) = &streamed.unpacked {
        if let Some(diff_id) = wanted.diff_id.as_ref().filter(|diff_id| **diff_id != measured.digest) {
            return Err(ImageError::WrongDigest {
                what: format!("{} unpacked", wanted.what),
                expected: diff_id.to_string(),
                found: measured.digest.to_string(),
            });
        }
        if wanted.needs_end_mark && !unpacked.has_end_mark {
            return Err(unpack_error(wanted)(super::unpack::UnpackError::Truncated));
        }
    }
    let media_type = format!("{OCI_LAYER}{}", streamed.compression.suffix());
    let measured = Descriptor::new(&media_type, streamed.packed.digest.clone(), streamed.packed.size);
    Ok(wanted.blob.clone().unwrap_or(measured))
}

fn check_blob(what: &str, promised: &Descriptor, found: &Measured) -> Result<(), ImageError> {
    if found.size != promised.size {
        let found = if found.size > promised.size {
            format!("more than {}", promised.size)
        } else {
            found.size.to_string()
        };
        return Err(ImageError::WrongSize {
            what: what.to_owned(),
            expected: promised.size,
            found,
        });
    }
    if found.digest != promised.digest {
        return Err(ImageError::WrongDigest {
            what: what.to_owned(),
            expected: promised.digest.to_string(),
            found: found.digest.to_string(),
        });
    }
    Ok(())
}

/// Does a few things at once and gives the results in order; after the first failure no more are begun.
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
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 1..PARALLEL.min(processors).min(items.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
