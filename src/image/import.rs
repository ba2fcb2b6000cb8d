//! An image of one layer, made from the tar of a root file system.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use super::docker::keep_manifest;
use super::document::{ConfigFile, ImageConfig, RootFs, this_architecture};
use super::error::ImageError;
use super::ingest::{Ingest, WantedLayer};
use super::layer::Layer;
use super::lease::Lease;

/// Takes the tar in and gives it a name. The same tar always makes the same image: its config says nothing of time.
pub(super) fn import(ingest: &Ingest<'_>, rootfs: impl Read + Send, name: &str) -> Result<Lease, ImageError> {
    let layers = ingest.take_layers(&[only_layer("the imported tar", rootfs, true)])?;
    commit(ingest, &config_of(&layers), &layers, &[name.to_owned()])
}

/// A layer whose bytes can be read once.
pub(super) fn only_layer<'r>(what: &str, reader: impl Read + Send + 'r, keeps_blob: bool) -> WantedLayer<'r> {
    let reader: Box<dyn Read + Send + 'r> = Box::new(reader);
    let once = Mutex::new(Some(reader));
    let name = what.to_owned();
    let open = move |_| {
        let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| ImageError::MissingBlob(format!("{name}, which was read already,")))
    };
    WantedLayer {
        keeps_blob,
        ..WantedLayer::new(what.to_owned(), (None, None), open)
    }
}

/// The config of an image that comes without one.
pub(super) fn config_of(layers: &[Layer]) -> ConfigFile {
    ConfigFile {
        created: None,
        architecture: this_architecture().to_owned(),
        os: "linux".to_owned(),
        config: ImageConfig::default(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| layer.info.diff_id.clone()).collect(),
        },
        history: Vec::new(),
    }
}

/// Writes config and manifest, then makes the image known.
pub(super) fn commit(
    ingest: &Ingest<'_>,
    config: &ConfigFile,
    layers: &[Layer],
    names: &[String],
) -> Result<Lease, ImageError> {
    let bytes = serde_json::to_vec(config).map_err(|error| ImageError::BadDocument {
        what: "config".to_owned(),
        why: error.to_string(),
    })?;
    let id = ingest.keep_document(&bytes)?;
    let manifest = keep_manifest(
        ingest,
        &id,
        bytes.len() as u64,
        layers.iter().map(|layer| layer.info.blob.clone()),
    )?;
    ingest.commit(id, manifest, layers, names)
}
