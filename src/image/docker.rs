//! Images out of docker archives: what `docker save` wrote before it wrote OCI layouts, and `podman save` still does.

use super::digest::Digest;
use super::document::{ConfigFile, Descriptor, DockerImage, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, parse};
use super::error::ImageError;
use super::ingest::{Ingest, WantedLayer};
use super::lease::Lease;
use super::load::check_single;
use super::manifest::check_count;
use super::reference::Reference;
use super::source::Files;

/// Loads all images of the archive.
pub(super) fn load_docker(
    ingest: &Ingest<'_>,
    files: &Files,
    name: Option<&Reference>,
) -> Result<Vec<Lease>, ImageError> {
    let bytes = files.read_document("manifest.json", ingest.limits())?;
    let images: Vec<DockerImage> = parse("manifest.json", &bytes)?;
    check_count("the number of images", images.len(), ingest.limits().images)?;
    check_single(files, images.len(), name)?;
    if images.is_empty() {
        let why = "its manifest.json names no image".to_owned();
        return Err(ImageError::UnknownFormat {
            source_name: files.name.clone(),
            why,
        });
    }
    images
        .into_iter()
        .map(|image| load_image(ingest, files, image, name))
        .collect()
}

/// A docker archive has no manifest in OCI's sense, so one is made for what is kept.
fn load_image(
    ingest: &Ingest<'_>,
    files: &Files,
    image: DockerImage,
    name: Option<&Reference>,
) -> Result<Lease, ImageError> {
    let config_bytes = files.read_document(&image.config, ingest.limits())?;
    let config_file: ConfigFile = parse(&image.config, &config_bytes)?;
    let names = names_of(&image, name)?;
    let wanted = plan_layers(files, image, config_file.rootfs.diff_ids)?;
    check_count("the number of layers", wanted.len(), ingest.limits().layers)?;
    let layers = ingest.take_layers(&wanted)?;
    let id = ingest.keep_document(&config_bytes)?;
    let blobs = layers.iter().map(|layer| layer.info.blob.clone());
    let manifest = keep_manifest(ingest, &id, config_bytes.len() as u64, blobs)?;
    ingest.commit(id, manifest, &layers, &names)
}

fn names_of(image: &DockerImage, name: Option<&Reference>) -> Result<Vec<String>, ImageError> {
    match name {
        Some(name) => Ok(vec![name.store_name()]),
        None => image
            .repo_tags
            .iter()
            .map(|tag| Ok(Reference::parse(tag)?.store_name()))
            .collect(),
    }
}

/// The layers' tars are promised by the config; nobody promises how they are packed.
fn plan_layers(files: &Files, image: DockerImage, diff_ids: Vec<Digest>) -> Result<Vec<WantedLayer<'_>>, ImageError> {
    if image.layers.len() != diff_ids.len() {
        let why = format!(
            "the archive has {} layers and the config {}",
            image.layers.len(),
            diff_ids.len()
        );
        return Err(ImageError::BadDocument {
            what: image.config,
            why,
        });
    }
    let wanted = |(path, diff_id): (String, Digest)| {
        WantedLayer::new(path.clone(), (None, Some(diff_id)), move |_| {
            Ok(files.open_file(&path)?.reader)
        })
    };
    Ok(image.layers.into_iter().zip(diff_ids).map(wanted).collect())
}

/// Writes the manifest of an image that came without one.
pub(super) fn keep_manifest(
    ingest: &Ingest<'_>,
    config: &Digest,
    config_size: u64,
    blobs: impl Iterator<Item = Option<Descriptor>>,
) -> Result<Descriptor, ImageError> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        config: Descriptor::new(OCI_CONFIG, config.clone(), config_size),
        layers: blobs.flatten().map(oci_layer).collect(),
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| ImageError::BadDocument {
        what: "manifest".to_owned(),
        why: error.to_string(),
    })?;
    let digest = ingest.keep_document(&bytes)?;
    Ok(Descriptor::new(OCI_MANIFEST, digest, bytes.len() as u64))
}

/// A layer that came with a Docker manifest keeps its own media type, which an OCI manifest must not have.
fn oci_layer(blob: Descriptor) -> Descriptor {
    if blob.media_type.starts_with(OCI_LAYER) {
        return blob;
    }
    let suffix = ["gzip", "zstd"]
        .into_iter()
        .find(|kind| blob.media_type.ends_with(kind));
    let media_type = suffix.map_or(OCI_LAYER.to_owned(), |kind| format!("{OCI_LAYER}+{kind}"));
    Descriptor::new(&media_type, blob.digest, blob.size)
}
