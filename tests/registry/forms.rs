//! More forms of images and registries than the end-to-end tests need.

use serde_json::{Value, json};

use crate::image::{ARCHITECTURE, Image, Layer, OCI_LAYER, OCI_MANIFEST, digest, tar};
use crate::scripted::Scripted;

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
    pub fn plain(tar: Vec<u8>) -> Layer {
        Layer {
            media_type: OCI_LAYER.to_owned(),
            diff_id: digest(&tar),
            packed: tar,
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

    /// An image of one gzipped layer with one file.
    pub fn small(content: &str) -> Image {
        Image::new(vec![Layer::gzip(&tar(&[("file", content.as_bytes())]))])
    }

    /// What an index says of it.
    pub fn entry(&self, architecture: &str, variant: &str) -> Value {
        json!({
            "mediaType": OCI_MANIFEST, "digest": self.manifest_digest(), "size": self.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture, "variant": variant},
        })
    }
}

impl Scripted {
    /// Serves images by tag, well-behaved.
    pub fn serving(images: &[(&str, &Image)]) -> Scripted {
        Scripted::answering(images, |_, _| None)
    }
}
