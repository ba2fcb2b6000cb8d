//! Images in memory: what a registry has to serve, made layer by layer.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

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

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) * 2 + 1;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

impl Layer {
    /// The digest of its packed form.
    pub fn packed_digest(&self) -> String {
        digest(&self.packed)
    }

    pub fn plain(tar: Vec<u8>) -> Layer {
        Layer {
            media_type: OCI_LAYER.to_owned(),
            diff_id: digest(&tar),
            packed: tar,
        }
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

    /// Two members, as eStargz and `pigz` write them.
    pub fn gzip_in_members(tar: &[u8]) -> Layer {
        let (start, end) = tar.split_at(tar.len() / 2);
        let packed = [start, end].map(|part| Layer::gzip(part).packed).concat();
        Layer {
            packed,
            ..Layer::gzip(tar)
        }
    }

    pub fn zstd(tar: &[u8]) -> Layer {
        Layer {
            media_type: format!("{OCI_LAYER}+zstd"),
            packed: zstd::encode_all(tar, 3).expect("memory"),
            diff_id: digest(tar),
        }
    }

    /// Frames with skippable ones between and behind them, as zstd:chunked has its table of contents.
    pub fn zstd_chunked(tar: &[u8]) -> Layer {
        let (start, end) = tar.split_at(tar.len() / 2);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"table"].concat();
        let frame = |part: &[u8]| zstd::encode_all(part, 3).expect("memory");
        Layer {
            packed: [frame(start), skippable.clone(), frame(end), skippable].concat(),
            ..Layer::zstd(tar)
        }
    }
}

impl Image {
    pub fn new(layers: Vec<Layer>) -> Image {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": ARCHITECTURE, "os": "linux", "created": "2024-05-06T07:08:09Z",
            "config": {"Cmd": ["/bin/true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2024-05-06T07:08:09Z", "created_by": "COPY x / # buildkit"}],
        });
        Image::with_config(layers, &config)
    }

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

    /// An image of one gzipped layer with one file.
    pub fn small(content: &str) -> Image {
        Image::new(vec![Layer::gzip(&tar(&[("file", content.as_bytes())]))])
    }

    pub fn manifest_digest(&self) -> String {
        digest(&self.manifest)
    }

    /// What an index says of it.
    pub fn entry(&self, architecture: &str, variant: &str) -> Value {
        json!({
            "mediaType": OCI_MANIFEST, "digest": self.manifest_digest(), "size": self.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture, "variant": variant},
        })
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
