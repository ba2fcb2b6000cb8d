//! Images in memory: what a registry has to serve, made layer by layer.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The architecture of this machine in the words of OCI.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// A packed layer.
#[derive(Clone)]
pub struct Layer {
    pub media_type: String,
    pub packed: Vec<u8>,
    pub diff_id: String,
}

/// An image and its documents.
#[derive(Clone)]
pub struct Image {
    /// By digest: layers and config.
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub layers: Vec<Layer>,
    pub config: String,
    pub manifest: Vec<u8>,
}

/// `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A tar of these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).expect("memory");
    }
    tar.into_inner().expect("memory")
}

impl Layer {
    /// The digest of its packed form.
    pub fn packed_digest(&self) -> String {
        digest(&self.packed)
    }

    pub fn gzip(tar: &[u8]) -> Layer {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(tar).expect("memory");
        Layer {
            media_type: format!("{OCI_LAYER}+gzip"),
            packed: encoder.finish().expect("memory"),
            diff_id: digest(tar),
        }
    }
}

impl Image {
    pub fn with_config(layers: Vec<Layer>, config: &Value) -> Image {
        let config_bytes = config.to_string().into_bytes();
        let descriptor =
            |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, &config_bytes),
            "layers": layers.iter().map(|layer| descriptor(&layer.media_type, &layer.packed)).collect::<Vec<_>>(),
        });
        let config = digest(&config_bytes);
        let mut blobs = BTreeMap::from([(config.clone(), config_bytes)]);
        blobs.extend(layers.iter().map(|layer| (digest(&layer.packed), layer.packed.clone())));
        Image {
            blobs,
            layers,
            config,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    pub fn manifest_digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Writes it as an OCI layout for skopeo.
    pub fn write_layout(&self, dir: &Path) {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a directory");
        let manifest = (self.manifest_digest(), self.manifest.clone());
        for (digest, bytes) in self.blobs.iter().chain([(&manifest.0, &manifest.1)]) {
            fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).expect("writes");
        }
        let index = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": self.manifest_digest(), "size": self.manifest.len()},
        ]});
        fs::write(dir.join("index.json"), index.to_string()).expect("writes");
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("writes");
    }
}
