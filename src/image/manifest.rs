//! From a manifest's bytes to what has to be had for an image. Pure; whoever has the bytes, an archive or a registry, asks
//! here what comes next.

use std::collections::BTreeMap;

use super::digest::Digest;
use super::document::{
    ConfigFile, DOCKER_CONFIG, DOCKER_LIST, Descriptor, ManifestOrIndex, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, parse,
    plan_platform, these_platforms,
};
use super::error::ImageError;
use super::ingest::{Ingest, WantedLayer};
use super::lease::Lease;
use super::limits::Limits;
use super::reference::Reference;
use super::registry::SCHEMA_1;

/// How deep indexes may nest; the deepest in the wild is two.
pub(super) const NESTED: usize = 4;

/// What a document leads to.
#[derive(Debug)]
pub(super) enum Next {
    /// It is an index; this of its entries is for this machine.
    Entry(Descriptor),
    /// It is a manifest.
    Image(Parts),
}

/// What a manifest names.
#[derive(Debug)]
pub(super) struct Parts {
    /// The manifest itself, with the media type that it has.
    pub manifest: Descriptor,
    pub config: Descriptor,
    /// The packed layers, the lowest first.
    pub blobs: Vec<Descriptor>,
}

/// All documents of an image, verified.
pub(super) struct Documents {
    /// What its name points at: an index, or the manifest itself.
    pub top: Digest,
    pub manifest: Descriptor,
    pub manifest_bytes: Vec<u8>,
    pub config: Descriptor,
    pub config_bytes: Vec<u8>,
    /// Each layer's packed form and the digest of its tar.
    pub layers: Vec<(Descriptor, Digest)>,
}

/// Reads a document that the descriptor points at.
pub(super) fn plan_next(descriptor: &Descriptor, bytes: &[u8], limits: &Limits) -> Result<Next, ImageError> {
    let what = format!("manifest {}", descriptor.digest);
    let document: ManifestOrIndex = parse(&what, bytes)?;
    if let Some(entries) = &document.manifests {
        if !matches!(descriptor.media_type.as_str(), "" | OCI_INDEX | DOCKER_LIST) {
            let why = format!("an index that calls itself {}", descriptor.media_type);
            return Err(ImageError::BadDocument { what, why });
        }
        return plan_platform(entries, these_platforms()).cloned().map(Next::Entry);
    }
    if document.schema_version != 2 {
        let why = match document.schema_version {
            1 => SCHEMA_1.to_owned(),
            other => format!("schema version {other} is not supported, only 2 is"),
        };
        return Err(ImageError::BadDocument { what, why });
    }
    plan_image(descriptor, document, limits).map(Next::Image)
}

fn plan_image(descriptor: &Descriptor, document: ManifestOrIndex, limits: &Limits) -> Result<Parts, ImageError> {
    let config = document
        .config
        .ok_or_else(|| not_an_image(&descriptor.digest, "its manifest has no config"))?;
    let kind = config.media_type.as_str();
    if !(kind.is_empty() || kind == OCI_CONFIG || kind == DOCKER_CONFIG) {
        return Err(not_an_image(&descriptor.digest, &format!("its config is {kind}")));
    }
    let blobs = document.layers.unwrap_or_default();
    check_count("the number of layers", blobs.len(), limits.layers)?;
    if blobs.iter().any(|blob| blob.media_type.ends_with("+encrypted")) {
        return Err(not_an_image(&descriptor.digest, "its layers are encrypted"));
    }
    if let Some(blob) = blobs.iter().find(|blob| blob.size > limits.unpacked) {
        return Err(ImageError::OverLimit {
            what: format!("layer {} with {} bytes", blob.digest, blob.size),
            limit: format!("{} bytes", limits.unpacked),
        });
    }
    let media_type = match descriptor.media_type.as_str() {
        "" => OCI_MANIFEST,
        known => known,
    };
    Ok(Parts {
        manifest: Descriptor::new(media_type, descriptor.digest.clone(), descriptor.size),
        config,
        blobs,
    })
}

/// Pairs the packed layers with what the config says of them.
pub(super) fn plan_layers(
    manifest: &Digest,
    blobs: Vec<Descriptor>,
    config: &Digest,
    config_bytes: &[u8],
) -> Result<Vec<(Descriptor, Digest)>, ImageError> {
    let config: ConfigFile = parse(&format!("config {config}"), config_bytes)?;
    let diff_ids = config.rootfs.diff_ids;
    if blobs.len() != diff_ids.len() {
        let why = format!(
            "the manifest has {} layers and the config {}",
            blobs.len(),
            diff_ids.len()
        );
        return Err(not_an_image(manifest, &why));
    }
    let bare = |blob: Descriptor| Descriptor {
        annotations: BTreeMap::new(),
        ..blob
    };
    Ok(blobs.into_iter().map(bare).zip(diff_ids).collect())
}

impl Documents {
    /// Takes the image in: the layers as `wanted` says they can be read, then the documents, then the names.
    pub(super) fn take<'s>(
        self,
        ingest: &Ingest<'_>,
        name: Option<&Reference>,
        wanted: impl Fn(usize, Descriptor, Digest) -> WantedLayer<'s>,
    ) -> Result<Lease, ImageError> {
        let layers = self.layers.into_iter().enumerate();
        let layers: Vec<_> = layers.map(|(at, (blob, diff_id))| wanted(at, blob, diff_id)).collect();
        let layers = ingest.take_layers(&layers)?;
        ingest.keep_document(&self.manifest_bytes)?;
        ingest.keep_document(&self.config_bytes)?;
        let by_digest = |digest: &Digest| name.map(|name| name.with_digest(digest).to_string());
        let names = [
            name.map(Reference::store_name),
            by_digest(&self.top),
            by_digest(&self.manifest.digest),
        ];
        let names: Vec<String> = names.into_iter().flatten().collect();
        ingest.commit(self.config.digest, self.manifest, &layers, &names)
    }
}

fn not_an_image(manifest: &Digest, why: &str) -> ImageError {
    ImageError::BadDocument {
        what: format!("manifest {manifest}"),
        why: format!("not a container image: {why}"),
    }
}

/// An index within an index within an index.
pub(super) fn too_deep(top: &Digest) -> ImageError {
    ImageError::BadDocument {
        what: format!("index {top}"),
        why: "indexes nest too deep".to_owned(),
    }
}

/// Holds a number of things against its limit.
pub(super) fn check_count(what: &str, count: usize, limit: usize) -> Result<(), ImageError> {
    match count > limit {
        true => Err(ImageError::OverLimit {
            what: format!("{what} ({count})"),
            limit: limit.to_string(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(media_type: &str, text: &str) -> Result<Next, ImageError> {
        let bytes = text.as_bytes();
        let descriptor = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
        plan_next(&descriptor, bytes, &Limits::default())
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let digest = Digest::of(b"x");
        let helm = format!(
            r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": "{digest}", "size": 1}}}}"#
        );
        let huge = format!(
            r#"{{"schemaVersion": 2, "config": {{"digest": "{digest}", "size": 1}}, "layers": [{{"digest": "{digest}", "size": 999999999999999}}]}}"#
        );
        let locked = format!(
            r#"{{"schemaVersion": 2, "config": {{"digest": "{digest}", "size": 1}},
                "layers": [{{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "digest": "{digest}", "size": 1}}]}}"#
        );
        for (media_type, text, words) in [
            ("", r#"{"schemaVersion": 1, "fsLayers": []}"#, "schema 1"),
            ("", r#"{"schemaVersion": 3}"#, "schema version 3"),
            ("", "{}", "schema version 0"),
            ("", r#"{"schemaVersion": 2}"#, "no config"),
            ("", &helm, "helm"),
            ("", &huge, "over the limit"),
            ("", &locked, "encrypted"),
            ("", "[]", "manifest sha256:"),
            ("", "{\"manifests\": []}", "there is nothing"),
            (OCI_MANIFEST, "{\"manifests\": []}", "an index that calls itself"),
            (
                "",
                r#"{"schemaVersion": 2, "config": {"digest": "sha256:../x", "size": 1}}"#,
                "not a sha256",
            ),
            (
                "",
                r#"{"schemaVersion": 2, "config": {"digest": "x", "size": -1}}"#,
                "manifest sha256:",
            ),
        ] {
            let said = plan(media_type, text).expect_err("refused").to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
