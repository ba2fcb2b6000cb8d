//! Small things by name or digest: manifests, indexes and configs, held in memory and verified.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};

use super::error::RegistryError;
use super::session::Session;
use crate::image::digest::Digest;
use crate::image::document::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST};

/// What is taken for a manifest. Schema 1 is not among them: a registry that has nothing else then says so, or is caught
/// by its answer's type.
const MANIFESTS: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
/// How many stalls' time a document may take: 4 MiB come within 2.5 minutes on any link that pulls images at all.
const PATIENCE: u32 = 5;
/// The header by which registries tell a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest or index as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its digest is that of the bytes; its media type is the answer's.
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
}

impl Session {
    /// The digest that a tag means at this moment, if the registry tells without sending the manifest.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses.
    pub async fn look_up(&self, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let what = format!("manifest {}:{tag}", self.repository());
        let response = self.manifest_request(&what, Method::HEAD, tag).await?;
        Ok(digest_of(response.headers()))
    }

    /// A manifest or index by tag or digest. `limit` is how long it may be.
    ///
    /// # Errors
    /// When the registry can't be asked, refuses, or sends something else.
    pub async fn manifest(&self, reference: &str, limit: u64) -> Result<Document, RegistryError> {
        let what = match reference.contains(':') {
            true => format!("manifest {}@{reference}", self.repository()),
            false => format!("manifest {}:{reference}", self.repository()),
        };
        let response = self.manifest_request(&what, Method::GET, reference).await?;
        let media_type = media_type_of(response.headers());
        if is_schema_1(&media_type) {
            return Err(self.nonsense(&what, SCHEMA_1));
        }
        let promised = digest_of(response.headers());
        let bytes = self.read_document(&what, response, limit).await?;
        let digest = Digest::of(&bytes);
        let wanted = Digest::parse(reference).or(promised);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err(self.nonsense(&what, &format!("digest is {digest}, expected {wanted}")));
        }
        let media_type = if MANIFESTS.contains(&media_type.as_str()) {
            media_type
        } else {
            String::new()
        };
        let descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
        Ok(Document { descriptor, bytes })
    }

    /// A config: a blob that is small.
    ///
    /// # Errors
    /// As [`Session::manifest`].
    pub async fn config(&self, wanted: &Descriptor, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let what = format!("config {}", wanted.digest);
        let url = self.url(&format!("blobs/{}", wanted.digest)).await?;
        let response = self.request(&what, Method::GET, &url, |request| request).await?;
        let bytes = self.read_document(&what, response, limit.min(wanted.size)).await?;
        let found = Digest::of(&bytes);
        match found == wanted.digest {
            true => Ok(bytes),
            false => Err(self.nonsense(&what, &format!("digest is {found}, expected {}", wanted.digest))),
        }
    }

    async fn manifest_request(&self, what: &str, method: Method, reference: &str) -> Result<Response, RegistryError> {
        let url = self.url(&format!("manifests/{reference}")).await?;
        self.request(what, method, &url, |request| {
            request.header(ACCEPT, MANIFESTS.join(", "))
        })
        .await
    }

    /// Reads a document, which is small: it has the time of a few stalls to come.
    async fn read_document(&self, what: &str, response: Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let patience = self.stall() * PATIENCE;
        let read = self.read_bounded(what, response, limit);
        tokio::time::timeout(patience, read).await.unwrap_or_else(|_| {
            Err(RegistryError::Stalled {
                host: self.host().to_owned(),
                why: format!("{what} did not come within {} s", patience.as_secs()),
            })
        })
    }

    async fn read_bounded(&self, what: &str, mut response: Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let too_long = || RegistryError::TooLong {
            what: what.to_owned(),
            host: self.host().to_owned(),
            limit,
        };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| RegistryError::of(self.host(), error))?
        {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_long());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    pub(super) fn nonsense(&self, what: &str, why: &str) -> RegistryError {
        RegistryError::Nonsense {
            what: what.to_owned(),
            host: self.host().to_owned(),
            why: why.to_owned(),
        }
    }
}

/// Said wherever schema 1 shows itself.
pub(in crate::image) const SCHEMA_1: &str =
    "it is in Docker's schema 1, which has been given up for years: push the image again with a current tool";

fn is_schema_1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1")
}

fn media_type_of(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let bare = value.unwrap_or_default().split(';').next().unwrap_or_default();
    bare.trim().to_owned()
}

fn digest_of(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(headers.get(CONTENT_DIGEST)?.to_str().ok()?.trim())
}
