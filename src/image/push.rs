//! Pushes: what the registry lacks of an image, then its manifest.

use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::digest::Digest;
use super::document::Descriptor;
use super::error::ImageError;
use super::lease::Lease;
use super::progress::{LayerProgress, Progress};
use super::pull::{PullState, blocking};
use super::reference::Reference;
use super::registry::{Access, FoundLogin, LoginFiles, RegistryError, Session};
use super::{ImageStore, Puller};

/// Blobs that are sent at once.
const PARALLEL: usize = 3;

/// What is to be pushed, and where to.
#[derive(Debug, Clone, Default)]
pub struct PushRequest {
    /// The image's name or id here.
    pub name: String,
    /// The name to give it at the registry; the same if none is given.
    pub target: Option<String>,
    /// Where the user's credentials are, if not where they always are.
    pub logins: Option<LoginFiles>,
}

/// A push under way. It does nothing unless it is awaited.
pub struct Push {
    request: PushRequest,
    images: ImageStore,
    logins: LoginFiles,
    stall: std::time::Duration,
    progress: Arc<Progress>,
}

/// What an image consists of, on disk.
struct Parts {
    manifest: Descriptor,
    manifest_bytes: Vec<u8>,
    blobs: Vec<(Descriptor, PathBuf)>,
    /// The blobs stay until they were sent.
    _lease: Lease,
}

impl Puller {
    /// Prepares a push.
    #[must_use]
    pub fn push(&self, request: PushRequest) -> Push {
        Push {
            logins: self.logins(request.logins.clone()),
            request,
            images: self.images().clone(),
            stall: self.stall(),
            progress: Arc::default(),
        }
    }
}

impl Push {
    /// How far it is; a copy that can be asked while the push is awaited.
    pub fn watch(&self) -> impl Fn() -> PullState + Send + use<> {
        let (name, progress) = (self.request.name.clone(), self.progress.clone());
        move || PullState {
            name: name.clone(),
            layers: progress.now(),
        }
    }

    /// Does it. Returns the digest under which the registry has the image.
    ///
    /// # Errors
    /// Why it is not there.
    pub async fn run(self) -> Result<String, ImageError> {
        let target = self.request.target.as_ref().unwrap_or(&self.request.name);
        let target = self.images.reference(target)?;
        let Some(tag) = target.tag().filter(|_| target.digest().is_none()) else {
            let why = "a push needs a name with a tag";
            return Err(ImageError::InvalidImageName {
                name: target.to_string(),
                why,
            });
        };
        let (images, name) = (self.images.clone(), self.request.name.clone());
        let parts = blocking(move || images.parts(&name)).await?;
        let (session, own) = self.session(&target).await?;
        let session = Arc::new(session);
        let sent = async {
            self.send(&session, &parts).await?;
            let media_type = &parts.manifest.media_type;
            session.push_manifest(tag, media_type, &parts.manifest_bytes).await
        };
        sent.await.map_err(|error| own.explain(error))?;
        Ok(parts.manifest.digest.to_string())
    }

    async fn session(&self, target: &Reference) -> Result<(Session, FoundLogin), ImageError> {
        let endpoint = self.images.registries().plan_endpoints(target).pop();
        let endpoint = endpoint.expect("the registry itself is the last");
        let own = self.logins.find(&endpoint.domain, &endpoint.repository).await?;
        let session = Session::new(endpoint, own.credential.clone(), Access::Push, self.stall)?;
        Ok((session, own))
    }

    /// Sends what is not there. The config is last, so that no registry has one whose layers are missing.
    async fn send(&self, session: &Arc<Session>, parts: &Parts) -> Result<(), RegistryError> {
        let progress: Vec<Arc<LayerProgress>> = parts
            .blobs
            .iter()
            .map(|(blob, _)| Arc::new(LayerProgress::new(blob.digest.clone(), blob.size)))
            .collect();
        // Of the config, which is the last, nobody wants to see a bar.
        self.progress.set(progress[..progress.len() - 1].to_vec());
        let mut sends = parts
            .blobs
            .iter()
            .zip(progress)
            .map(|((blob, file), progress)| send_blob(session.clone(), blob.clone(), file.clone(), progress));
        let config = sends.next_back();
        let layers = stream::iter(sends.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        layers.try_collect::<()>().await?;
        match config {
            Some(config) => config.await,
            None => Ok(()),
        }
    }
}

async fn send_blob(
    session: Arc<Session>,
    blob: Descriptor,
    file: PathBuf,
    progress: Arc<LayerProgress>,
) -> Result<(), RegistryError> {
    if !session.has_blob(&blob.digest).await? {
        session.push_blob(&blob, &file, &progress).await?;
    }
    progress.end();
    Ok(())
}

impl ImageStore {
    /// An image's manifest and where its blobs lie.
    fn parts(&self, name: &str) -> Result<Parts, ImageError> {
        let (lease, record) = self.require(name)?;
        let place = self.disk().blob(&record.manifest.digest);
        let manifest_bytes = std::fs::read(&place).map_err(ImageError::io(&place))?;
        let mut blobs = Vec::new();
        for layer in &record.layers {
            let blob = layer
                .blob
                .clone()
                .ok_or_else(|| ImageError::NotPacked(name.to_owned()))?;
            let path = self.packed(name, &blob.digest)?;
            blobs.push((blob, path));
        }
        let config = self.disk().blob(&record.id);
        let size = config.metadata().map_err(ImageError::io(&config))?.len();
        blobs.sort_by(|a, b| a.0.digest.cmp(&b.0.digest));
        blobs.dedup_by(|a, b| a.0.digest == b.0.digest);
        blobs.push((Descriptor::new("", record.id, size), config));
        Ok(Parts {
            manifest: record.manifest,
            manifest_bytes,
            blobs,
            _lease: lease,
        })
    }

    /// Whether the image can be written as an archive: its packed layers are here, or can be made.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] or [`ImageError::NotPacked`].
    pub fn check_packed(&self, name: &str) -> Result<(), ImageError> {
        let (_held, record) = self.require(name)?;
        let blobs = record.layers.iter().filter_map(|layer| layer.blob.as_ref());
        let mut found = blobs.map(|blob| self.packed(name, &blob.digest));
        found.try_for_each(|path| path.map(drop))
    }

    /// Where a packed layer lies.
    fn packed(&self, name: &str, digest: &Digest) -> Result<PathBuf, ImageError> {
        let path = self.disk().blob(digest);
        match path.exists() {
            true => Ok(path),
            false => Err(ImageError::NotPacked(name.to_owned())),
        }
    }
}
