//! Blobs and manifests on their way to a registry.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, StatusCode, Url};
use tokio_util::io::ReaderStream;

use super::error::RegistryError;
use super::session::{Failure, Session, retried};
use crate::image::digest::Digest;
use crate::image::document::Descriptor;
use crate::image::progress::LayerProgress;

/// How much of a blob is read at once.
const CHUNK: usize = 128 << 10;
/// How many times longer than between two chunks a registry may take to store what was sent: 5 minutes, where 10 GB are
/// moved into object storage.
const STORING: u32 = 10;

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

    /// Sends a blob out of a file. One that breaks off begins anew, at a place of its own: a registry takes nothing more
    /// where an upload has begun.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses, or the file can't be read.
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        file: &Path,
        progress: &Arc<LayerProgress>,
    ) -> Result<(), RegistryError> {
        retried(|| self.push_blob_once(blob, file, progress)).await
    }

    async fn push_blob_once(
        &self,
        blob: &Descriptor,
        file: &Path,
        progress: &Arc<LayerProgress>,
    ) -> Result<(), Failure> {
        let what = format!("blob {}", blob.digest);
        let place = self.begin_upload(&what, &blob.digest).await?;
        progress.begin(0);
        let unreadable = |error: std::io::Error| RegistryError::File {
            path: file.to_owned(),
            why: error.to_string(),
        };
        tokio::fs::metadata(file).await.map_err(unreadable)?;
        let put = |request: reqwest::RequestBuilder| {
            let request = request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, blob.size);
            match std::fs::File::open(file) {
                Ok(file) => request.body(body_of(file, progress.clone())),
                // It was there a moment ago; the registry refuses an upload without its bytes.
                Err(_) => request,
            }
        };
        tokio::select! {
            sent = self.request_once(&what, Method::PUT, &place, put) => sent.map(drop),
            why = stalled(progress, blob.size, self.stall()) => {
                Err(RegistryError::Stalled { host: self.host().to_owned(), why }.into())
            }
        }
    }

    /// Sends a manifest under a tag or its digest.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses.
    pub async fn push_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let what = format!("manifest {}:{reference}", self.repository());
        let url = self.url(&format!("manifests/{reference}")).await?;
        let put = |request: reqwest::RequestBuilder| {
            let request = request.timeout(self.stall()).header(CONTENT_TYPE, media_type);
            request.body(bytes.to_vec())
        };
        self.request(&what, Method::PUT, &url, put).await.map(drop)
    }

    /// Where the registry wants a blob to be sent.
    async fn begin_upload(&self, what: &str, digest: &Digest) -> Result<Url, Failure> {
        let url = self.url("blobs/uploads/").await?;
        let begin = |request: reqwest::RequestBuilder| request.header(CONTENT_LENGTH, 0);
        let response = self.request_once(what, Method::POST, &url, begin).await?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let place = location.and_then(|location| url.join(location).ok());
        let mut place = place.ok_or_else(|| self.nonsense(what, "it does not say where to send it"))?;
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        Ok(place)
    }
}

/// Ends when nothing was sent for a while. When all is sent the registry still has to check and store it, which takes
/// it as long as it takes to read the blob a few times.
async fn stalled(progress: &LayerProgress, size: u64, stall: Duration) -> String {
    let mut before = None;
    loop {
        let sent = progress.received();
        if before.replace(sent) == Some(sent) {
            return format!("{sent} of {size} bytes sent, then nothing for {} s", stall.as_secs());
        }
        tokio::time::sleep(if sent < size { stall } else { stall * STORING }).await;
    }
}

fn body_of(file: std::fs::File, progress: Arc<LayerProgress>) -> Body {
    let chunks = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
    let counted = chunks.inspect_ok(move |chunk: &Bytes| progress.add(chunk.len() as u64));
    Body::wrap(StreamBody::new(counted.map(|chunk| chunk.map(Frame::data))))
}
