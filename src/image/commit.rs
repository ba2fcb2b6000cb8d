//! The last step into the store: what was taken in is on the disk, and then has its record and its names.

use std::fs::File;
use std::sync::PoisonError;

use super::digest::Digest;
use super::document::Descriptor;
use super::error::ImageError;
use super::ingest::Ingest;
use super::layer::Layer;
use super::lease::Lease;
use super::record::{self, Name, Record, RecordLayer};
use super::unpack::merge;

impl Ingest<'_> {
    /// Makes the image known: everything to disk, then its record, then its names.
    ///
    /// It is held before it can be seen, so that nobody takes it away from whoever brought it.
    pub(super) fn commit(
        &self,
        id: Digest,
        manifest: Descriptor,
        layers: &[Layer],
        names: &[String],
    ) -> Result<Lease, ImageError> {
        let lease = self.leases().take(id.clone());
        let notes = merge(layers.iter().flat_map(|layer| layer.info.notes.clone()));
        let record_layers = layers
            .iter()
            .map(|l| RecordLayer {
                short: l.short.clone(),
                blob: l.info.blob.clone(),
                describes_root: l.info.describes_root,
                hides_below: l.info.hides_below,
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
        self.settle(&record)?;
        let edit = self.disk().edit()?;
        // The same image under another manifest, as after another compression: what can be pushed and saved stays what it is.
        let known = record::read(self.disk(), &record.id)?;
        let record = match known {
            Some(known) if self.is_whole(&known) && !self.is_whole(&record) => known,
            _ => record,
        };
        record::write(self.disk(), &record, &edit)?;
        for name in names {
            let name = Name {
                name: name.clone(),
                id: record.id.clone(),
                is_pulled: self.is_pulled,
            };
            record::point(self.disk(), &name, &edit)?;
        }
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.extend(names.iter().cloned());
        Ok(lease)
    }

    /// Has everything on the disk that the record is about to name. Layers of images that are known are there already, and to write
    /// whatever else this machine has in memory may take seconds. The built-in image, whose layer has no blob, is not waited for: it
    /// is checked before use, and made again if a power cut took it.
    fn settle(&self, record: &Record) -> Result<(), ImageError> {
        if record.layers.iter().all(|layer| layer.blob.is_none()) {
            return Ok(());
        }
        let mut known = Vec::new();
        for id in record::ids(self.disk())? {
            let record = record::read(self.disk(), &id)?;
            known.extend(record.into_iter().flat_map(|record| record.layers));
        }
        let is_new = |layer: &RecordLayer| layer.blob.is_some() && !known.contains(layer);
        if record.layers.iter().any(is_new) {
            return self.disk().sync();
        }
        for digest in [&record.id, &record.manifest.digest] {
            let place = self.disk().blob(digest);
            let document = File::open(&place).and_then(|document| document.sync_data());
            document.map_err(ImageError::io(&place))?;
        }
        Ok(())
    }

    /// Whether all packed layers are here.
    fn is_whole(&self, record: &Record) -> bool {
        let is_here = |layer: &RecordLayer| {
            let blob = layer.blob.as_ref();
            blob.is_none_or(|blob| self.disk().blob(&blob.digest).exists())
        };
        record.layers.iter().all(is_here)
    }
}
