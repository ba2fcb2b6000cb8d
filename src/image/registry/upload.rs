//! Blobs and manifests on their way to a registry.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, StatusCode, Url};
use tokio_util::io::ReaderStream;

use super::error::RegistryError;
use super::session::Session;
use crate::image::digest::Digest;
use crate::image::document::Descriptor;
use crate::image::progress::LayerProgress;

/// How much of a blob is read at once.
const CHUNK: usize = 128 << 10;

impl Session {
    /// Whether the registry has a blob.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let what = format!("blob {digest}");
        let url = self.url(&format!("blobs/{digest}")).await?;
        match self.request(&what, Method::HEAD, &url, |request| request).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a blob out of a file. One that breaks off begins anew.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses, or the file can't be read.
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        file: &Path,
        progress: &Arc<LayerProgress>,
    ) -> Result<(), RegistryError> {
        let what = format!("blob {}", blob.digest);
        let place = self.begin_upload(&what, &blob.digest).await?;
        let unreadable = |error: std::io::Error| RegistryError::File {
            path: file.to_owned(),
            why: error.to_string(),
        };
        std::fs::File::open(file).map_err(unreadable)?;
        let put = |request: reqwest::RequestBuilder| {
            progress.begin(0);
            let request = request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, blob.size);
            match std::fs::File::open(file) {
                Ok(file) => request.body(body_of(file, progress.clone())),
                // It was there a moment ago; the registry refuses an upload without its bytes.
                Err(_) => request,
            }
        };
        self.request(&what, Method::PUT, &place, put).await.map(drop)
    }

    /// Sends a manifest under a tag or its digest.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses.
    pub async fn push_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let what = format!("manifest {}:{reference}", self.repository());
        let url = self.url(&format!("manifests/{reference}")).await?;
        let put = |request: reqwest::RequestBuilder| request.header(CONTENT_TYPE, media_type).body(bytes.to_vec());
        self.request(&what, Method::PUT, &url, put).await.map(drop)
    }

    /// Where the registry wants a blob to be sent.
    async fn begin_upload(&self, what: &str, digest: &Digest) -> Result<String, RegistryError> {
        let url = self.url("blobs/uploads/").await?;
        let begin = |request: reqwest::RequestBuilder| request.header(CONTENT_LENGTH, 0);
        let response = self.request(what, Method::POST, &url, begin).await?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let place = location.and_then(|location| Url::parse(&url).ok()?.join(location).ok());
        let mut place = place.ok_or_else(|| self.nonsense(what, "it does not say where to send it"))?;
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        Ok(place.into())
    }
}

fn body_of(file: std::fs::File, progress: Arc<LayerProgress>) -> Body {
    let chunks = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
    let counted = chunks.inspect_ok(move |chunk: &Bytes| progress.add(chunk.len() as u64));
    Body::wrap(StreamBody::new(counted.map(|chunk| chunk.map(Frame::data))))
}
