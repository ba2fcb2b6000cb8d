//! Images out of OCI layouts and OCI archives; docker archives are handed on.

use std::collections::BTreeMap;

use super::digest::Digest;
use super::docker::load_docker;
use super::document::{CONTAINERD_NAME, Descriptor, ManifestOrIndex, REF_NAME, parse, plan_platform, these_platforms};
use super::error::ImageError;
use super::ingest::{Ingest, WantedLayer};
use super::lease::Lease;
use super::manifest::{Documents, NESTED, Next, check_count, plan_layers, plan_next, too_deep};
use super::reference::Reference;
use super::source::Files;

/// Loads what is there for this machine.
///
/// `name` takes the place of the names in the source, which then must hold one image.
pub(super) fn load(ingest: &Ingest<'_>, files: &Files, name: Option<&Reference>) -> Result<Vec<Lease>, ImageError> {
    if files.has("index.json") {
        load_layout(ingest, files, name)
    } else if files.has("manifest.json") {
        load_docker(ingest, files, name)
    } else {
        let why = "it has neither index.json nor manifest.json".to_owned();
        Err(ImageError::UnknownFormat {
            source_name: files.name.clone(),
            why,
        })
    }
}

pub(super) fn check_single(files: &Files, images: usize, name: Option<&Reference>) -> Result<(), ImageError> {
    match name {
        Some(name) if images != 1 => Err(ImageError::BadDocument {
            what: files.name.clone(),
            why: format!("it holds {images} images, so that {name} could mean any of them"),
        }),
        _ => Ok(()),
    }
}

fn load_layout(ingest: &Ingest<'_>, files: &Files, name: Option<&Reference>) -> Result<Vec<Lease>, ImageError> {
    let bytes = files.read_document("index.json", ingest.limits())?;
    let index: ManifestOrIndex = parse("index.json", &bytes)?;
    let groups = plan_groups(index.manifests.unwrap_or_default());
    if groups.is_empty() {
        let why = "its index.json names no image".to_owned();
        return Err(ImageError::UnknownFormat {
            source_name: files.name.clone(),
            why,
        });
    }
    check_count("the number of images", groups.len(), ingest.limits().images)?;
    check_single(files, groups.len(), name)?;
    let mut loaded = Vec::new();
    for (annotations, entries) in groups {
        // One entry alone was chosen by whoever made the layout, whatever platform it says.
        let entry = match &entries[..] {
            [only] => only,
            several => plan_platform(several, these_platforms())?,
        };
        let name = match name {
            Some(name) => Some(name.clone()),
            None => plan_name(&annotations, files.stem.as_deref())?,
        };
        loaded.push(load_entry(ingest, files, entry, name.as_ref())?);
    }
    Ok(loaded)
}

/// Entries that are the same image for several platforms: those of one name, or several that all name their platform.
fn plan_groups(entries: Vec<Descriptor>) -> Vec<(BTreeMap<String, String>, Vec<Descriptor>)> {
    let key = |entry: &Descriptor| {
        let named = entry
            .annotations
            .get(CONTAINERD_NAME)
            .or_else(|| entry.annotations.get(REF_NAME));
        (named.cloned(), named.is_none() && entry.platform.is_none())
    };
    let mut groups: Vec<(BTreeMap<String, String>, Vec<Descriptor>)> = Vec::new();
    for entry in entries {
        let (name, stands_alone) = key(&entry);
        let same = |group: &&mut (BTreeMap<String, String>, Vec<Descriptor>)| {
            !stands_alone && key(&group.1[0]) == (name.clone(), false)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.1.push(entry),
            None => groups.push((entry.annotations.clone(), vec![entry])),
        }
    }
    groups
}

/// What an image of a layout is called: its full name if it has one; if it has only a tag, as umoci and skopeo write
/// it, `localhost/<file's name>:<tag>`.
fn plan_name(annotations: &BTreeMap<String, String>, stem: Option<&str>) -> Result<Option<Reference>, ImageError> {
    let full = annotations.get(CONTAINERD_NAME);
    let name = full
        .or_else(|| annotations.get(REF_NAME))
        .filter(|name| !name.is_empty());
    match (name, stem) {
        (None, _) => Ok(None),
        (Some(name), _) if name.contains(['/', ':']) => Reference::parse(name).map(Some),
        // A stem need not be a good name; then the image has none.
        (Some(tag), Some(stem)) => Ok(Reference::parse(&format!("localhost/{stem}:{tag}")).ok()),
        (Some(name), None) => Reference::parse(&format!("localhost/{name}")).map(Some),
    }
}

fn load_entry(
    ingest: &Ingest<'_>,
    files: &Files,
    entry: &Descriptor,
    name: Option<&Reference>,
) -> Result<Lease, ImageError> {
    let documents = read_documents(ingest, files, entry)?;
    documents.take(ingest, name, |_, blob, diff_id| {
        let (what, path) = (blob.digest.to_string(), blob_path(&blob.digest));
        WantedLayer::new(what, (Some(blob), Some(diff_id)), move |_| {
            Ok(files.open_file(&path)?.reader)
        })
    })
}

/// Follows indexes to the manifest for this machine, and it to its config.
fn read_documents(ingest: &Ingest<'_>, files: &Files, entry: &Descriptor) -> Result<Documents, ImageError> {
    let mut descriptor = entry.clone();
    for _ in 0..NESTED {
        let manifest_bytes = read_blob(ingest, files, "manifest", &descriptor)?;
        let parts = match plan_next(&descriptor, &manifest_bytes, ingest.limits())? {
            Next::Entry(next) => {
                descriptor = next;
                continue;
            }
            Next::Image(parts) => parts,
        };
        let config_bytes = read_blob(ingest, files, "config", &parts.config)?;
        let layers = plan_layers(&parts.manifest.digest, parts.blobs, &parts.config.digest, &config_bytes)?;
        return Ok(Documents {
            top: entry.digest.clone(),
            manifest: parts.manifest,
            manifest_bytes,
            config: parts.config,
            config_bytes,
            layers,
        });
    }
    Err(too_deep(&entry.digest))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads a document by its descriptor and verifies it.
fn read_blob(ingest: &Ingest<'_>, files: &Files, kind: &str, wanted: &Descriptor) -> Result<Vec<u8>, ImageError> {
    let what = format!("{kind} {}", wanted.digest);
    let bytes = files.read_document(&blob_path(&wanted.digest), ingest.limits())?;
    if bytes.len() as u64 != wanted.size {
        return Err(ImageError::WrongSize {
            what,
            expected: wanted.size,
            found: bytes.len().to_string(),
        });
    }
    let found = Digest::of(&bytes);
    if found != wanted.digest {
        return Err(ImageError::WrongDigest {
            what,
            expected: wanted.digest.to_string(),
            found: found.to_string(),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::document::{OCI_MANIFEST, Platform};
    use super::*;

    fn annotated(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn images_of_layouts_are_named_by_what_their_makers_wrote() {
        for (annotations, stem, name) in [
            (&[][..], Some("x"), None),
            (
                &[(REF_NAME, "docker.io/library/busybox:1")][..],
                Some("x"),
                Some("docker.io/library/busybox:1"),
            ),
            (
                &[(REF_NAME, "busybox:1")],
                Some("x"),
                Some("docker.io/library/busybox:1"),
            ),
            (&[(REF_NAME, "latest")], Some("x"), Some("localhost/x:latest")),
            (&[(REF_NAME, "latest")], Some("Not A Name"), None),
            (&[(REF_NAME, "busybox")], None, Some("localhost/busybox:latest")),
            (
                &[(REF_NAME, "1"), (CONTAINERD_NAME, "docker.io/library/a:1")],
                Some("x"),
                Some("docker.io/library/a:1"),
            ),
        ] {
            let found = plan_name(&annotated(annotations), stem)
                .expect("a good name")
                .map(|name| name.to_string());
            assert_eq!(found.as_deref(), name, "{annotations:?}");
        }
        assert!(plan_name(&annotated(&[(REF_NAME, "NOT/GOOD")]), None).is_err());
    }

    #[test]
    fn entries_of_one_name_or_of_no_name_but_a_platform_are_one_image() {
        let entry = |annotations: &[(&str, &str)], platform: bool| Descriptor {
            annotations: annotated(annotations),
            platform: platform.then(Platform::default),
            ..Descriptor::new(OCI_MANIFEST, Digest::of(b"x"), 1)
        };
        let sizes = |entries: Vec<Descriptor>| {
            plan_groups(entries)
                .iter()
                .map(|(_, group)| group.len())
                .collect::<Vec<_>>()
        };
        let (a, b) = (&[(REF_NAME, "a:1")][..], &[(REF_NAME, "b:1")][..]);
        assert_eq!(sizes(vec![entry(a, true), entry(b, true), entry(a, true)]), [2, 1]);
        assert_eq!(sizes(vec![entry(&[], true), entry(&[], true)]), [2]);
        assert_eq!(sizes(vec![entry(&[], false), entry(&[], false)]), [1, 1]);
    }
}
