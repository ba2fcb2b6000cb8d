//! An image as an archive: an OCI layout in a tar, with the `manifest.json` by which older Dockers load it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::builtin;
use super::digest::Digest;
use super::disk::Disk;
use super::document::{
    CONTAINERD_NAME, ConfigFile, Descriptor, DockerImage, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER,
    OCI_MANIFEST, REF_NAME, parse,
};
use super::error::ImageError;
use super::layer::tree_path;
use super::record::Record;

/// Writes the archive of an image under these names; layers that it has twice are written once.
pub(super) fn save(disk: &Disk, record: &Record, names: &[String], out: impl Write) -> Result<(), ImageError> {
    let mut archive = Archive {
        tar: tar::Builder::new(out),
        written: Vec::new(),
    };
    // Unprivileged readers take over the owners of entries, and so must have made the directories themselves: by their entries.
    for name in ["blobs/", "blobs/sha256/"] {
        archive.directory(name)?;
    }
    archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let layers = archive.layers(disk, record)?;
    archive.blob(disk, &record.id)?;
    let manifest = archive.manifest(disk, record, &layers)?;
    let docker = DockerImage {
        config: blob_name(&record.id),
        repo_tags: names.to_vec(),
        layers: layers.iter().map(|layer| blob_name(&layer.digest)).collect(),
    };
    let index = Index {
        schema_version: 2,
        media_type: OCI_INDEX,
        manifests: plan_entries(&manifest, names),
    };
    archive.bytes("index.json", &to_json(&index)?)?;
    archive.bytes("manifest.json", &to_json(&[docker])?)?;
    archive
        .tar
        .into_inner()
        .and_then(|mut out| out.flush())
        .map_err(writing)
}

/// One entry for every name, as podman and containerd write them; one without a name if there is none.
fn plan_entries(manifest: &Descriptor, names: &[String]) -> Vec<Descriptor> {
    let named = |name: &String| {
        let annotations = [(REF_NAME, name), (CONTAINERD_NAME, name)].map(|(key, name)| (key.to_owned(), name.clone()));
        Descriptor {
            annotations: annotations.into(),
            ..manifest.clone()
        }
    };
    if names.is_empty() {
        vec![manifest.clone()]
    } else {
        names.iter().map(named).collect()
    }
}

struct Archive<W: Write> {
    tar: tar::Builder<W>,
    written: Vec<String>,
}

impl<W: Write> Archive<W> {
    /// The packed layers; the built-in image's is made anew.
    fn layers(&mut self, disk: &Disk, record: &Record) -> Result<Vec<Descriptor>, ImageError> {
        let mut layers = Vec::new();
        for layer in &record.layers {
            match &layer.blob {
                Some(blob) if !disk.blob(&blob.digest).exists() => {
                    return Err(ImageError::NotPacked(record.id.to_string()));
                }
                Some(blob) => {
                    self.blob(disk, &blob.digest)?;
                    layers.push(blob.clone());
                }
                None => layers.push(self.builtin_layer(disk, record, &tree_path(disk, &layer.short))?),
            }
        }
        Ok(layers)
    }

    fn builtin_layer(&mut self, disk: &Disk, record: &Record, tree: &Path) -> Result<Descriptor, ImageError> {
        let config: ConfigFile = read_blob_json(disk, &record.id)?;
        let digest = config.rootfs.diff_ids.first().cloned();
        let digest = digest.ok_or_else(|| ImageError::MissingBlob("the built-in image's layer".to_owned()))?;
        let (reader, size) = builtin::layer_tar(&tree.join(builtin::PROGRAM))?;
        self.stream(&blob_name(&digest), size, reader)?;
        Ok(Descriptor::new(OCI_LAYER, digest, size))
    }

    /// The manifest as it is kept; for the built-in image one that names the layer just made.
    fn manifest(&mut self, disk: &Disk, record: &Record, layers: &[Descriptor]) -> Result<Descriptor, ImageError> {
        if record.layers.iter().all(|layer| layer.blob.is_some()) {
            self.blob(disk, &record.manifest.digest)?;
            return Ok(record.manifest.clone());
        }
        let config_path = disk.blob(&record.id);
        let config_size = config_path.metadata().map_err(ImageError::io(&config_path))?.len();
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: Descriptor::new(OCI_CONFIG, record.id.clone(), config_size),
            layers: layers.to_vec(),
        };
        let bytes = to_json(&manifest)?;
        let digest = Digest::of(&bytes);
        self.bytes(&blob_name(&digest), &bytes)?;
        Ok(Descriptor::new(OCI_MANIFEST, digest, bytes.len() as u64))
    }

    fn blob(&mut self, disk: &Disk, digest: &Digest) -> Result<(), ImageError> {
        let path = disk.blob(digest);
        let file = File::open(&path).map_err(ImageError::io(&path))?;
        let size = file.metadata().map_err(ImageError::io(&path))?.len();
        self.stream(&blob_name(digest), size, file)
    }

    fn directory(&mut self, name: &str) -> Result<(), ImageError> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        header.set_mtime(0);
        self.tar.append_data(&mut header, name, io::empty()).map_err(writing)
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.stream(name, bytes.len() as u64, bytes)
    }

    fn stream(&mut self, name: &str, size: u64, reader: impl Read) -> Result<(), ImageError> {
        if self.written.iter().any(|written| written == name) {
            return Ok(());
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.tar.append_data(&mut header, name, reader).map_err(writing)?;
        self.written.push(name.to_owned());
        Ok(())
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn writing(source: io::Error) -> ImageError {
    ImageError::io(Path::new("the archive"))(source)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(value).map_err(|error| writing(error.into()))
}

/// A document of the store.
pub(super) fn read_blob_json<T: serde::de::DeserializeOwned>(disk: &Disk, digest: &Digest) -> Result<T, ImageError> {
    let path = disk.blob(digest);
    let bytes = std::fs::read(&path).map_err(ImageError::io(&path))?;
    parse(&digest.to_string(), &bytes)
}
