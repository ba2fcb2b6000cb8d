//! One pull from its name to the image in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{PullRequest, Pulled, blocking};
use crate::image::digest::Digest;
use crate::image::document::{Descriptor, plain};
use crate::image::error::ImageError;
use crate::image::ingest::WantedLayer;
use crate::image::manifest::{Documents, NESTED, Next, plan_layers, plan_next, too_deep};
use crate::image::progress::{LayerProgress, Progress};
use crate::image::reference::Reference;
use crate::image::registry::{Access, Credential, Document, Endpoint, LoginFiles, RegistryError, Session, Transfer};
use crate::image::{BUILTIN_IMAGE, ImageStore};

/// What a pull needs.
pub(super) struct Work {
    pub images: ImageStore,
    pub logins: LoginFiles,
    pub stall: Duration,
    pub progress: Arc<Progress>,
    pub cancel: CancellationToken,
    pub request: PullRequest,
}

/// What a registry says about a name.
enum Found {
    /// The image that the name has here.
    Same,
    Documents(Arc<Session>, Box<Documents>),
}

impl Work {
    /// Asks one endpoint after the other until one has the image.
    pub(super) async fn run(self) -> Result<Pulled, ImageError> {
        let reference = self.images.reference(&self.request.name)?;
        let here = self.resolve().await?;
        if let Some(image) = here.filter(|_| is_settled(&reference) && !self.request.is_packed) {
            return Ok(Pulled { image, was_here: true });
        }
        let work = Arc::new(self);
        let cancelled = work.cancel.clone().cancelled_owned();
        let mut endpoints = work.images.registries().plan_endpoints(&reference);
        let own = endpoints.pop().expect("the registry itself is the last");
        let ask = async {
            let mut refusals = Vec::new();
            for mirror in endpoints {
                let host = mirror.host.clone();
                match work.clone().pull_from(mirror, &reference).await {
                    Err(error) => {
                        tracing::warn!(mirror = %host, image = %reference, %error, "a mirror can't help");
                        refusals.push((host, error.to_string()));
                    }
                    pulled => return pulled,
                }
            }
            let pulled = work.clone().pull_from(own, &reference).await;
            pulled.map_err(|error| match error {
                ImageError::Registry(RegistryError::Connection { .. }) if reference.domain() == "localhost" => {
                    ImageError::NotBuilt(reference.to_string())
                }
                error => plan_failure(error, &refusals),
            })
        };
        tokio::select! {
            pulled = ask => pulled,
            () = cancelled => Err(RegistryError::Cancelled.into()),
        }
    }

    async fn resolve(&self) -> Result<Option<crate::image::Image>, ImageError> {
        let (images, name) = (self.images.clone(), self.request.name.clone());
        blocking(move || images.resolve(&name)).await
    }

    async fn pull_from(self: Arc<Self>, endpoint: Endpoint, reference: &Reference) -> Result<Pulled, ImageError> {
        match self.find(&endpoint, reference).await? {
            Found::Same => {
                let image = self.resolve().await?;
                let image = image.ok_or_else(|| ImageError::NotFound(self.request.name.clone()))?;
                Ok(Pulled { image, was_here: true })
            }
            Found::Documents(session, documents) => self.take(session, *documents, reference.clone()).await,
        }
    }

    /// Tries one credential after the other.
    async fn find(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Found, ImageError> {
        let (domain, repository) = (&endpoint.domain, &endpoint.repository);
        let given = self.request.keyrings.iter();
        let given: Vec<&Credential> = given.flat_map(|keyring| keyring.find(domain, repository)).collect();
        let mut refused = None;
        for credential in given {
            match self.ask_as(endpoint, Some(credential.clone()), reference).await {
                Err(ImageError::Registry(error)) if hides(&error) => refused = Some(error),
                found => return found,
            }
        }
        // The user's own are looked up last: that may ask a program, which may fail, and mostly is not needed.
        let own = match (self.logins.find(domain, repository).await, refused) {
            (Ok(own), Some(refused)) if own.credential.is_none() => return Err(own.explain(refused).into()),
            (Err(_), Some(refused)) => return Err(refused.into()),
            (own, _) => own?,
        };
        let found = self.ask_as(endpoint, own.credential.clone(), reference).await;
        found.map_err(|error| match error {
            ImageError::Registry(error) if hides(&error) => own.explain(error).into(),
            error => error,
        })
    }

    async fn ask_as(
        &self,
        endpoint: &Endpoint,
        credential: Option<Credential>,
        reference: &Reference,
    ) -> Result<Found, ImageError> {
        let session = Session::new(endpoint.clone(), credential, Access::Pull, self.stall)?;
        self.ask(Arc::new(session), reference).await
    }

    async fn ask(&self, session: Arc<Session>, reference: &Reference) -> Result<Found, ImageError> {
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        // To look costs little, and registries that count pulls do not count it.
        if reference.digest().is_none()
            && !self.request.is_packed
            && let Some(digest) = self.look_up(&session, &wanted).await?
            && self.is_here(reference, &digest).await?
        {
            return Ok(Found::Same);
        }
        let documents = self.documents(&session, &wanted).await?;
        Ok(Found::Documents(session, Box::new(documents)))
    }

    /// What the tag means, if the image of that name is here and the registry tells without sending the manifest.
    async fn look_up(&self, session: &Session, tag: &str) -> Result<Option<Digest>, ImageError> {
        if self.resolve().await?.is_none() {
            return Ok(None);
        }
        match session.look_up(tag).await {
            // Some answer only to GET.
            Err(RegistryError::Refused { status, .. }) if status.as_u16() == 405 => Ok(None),
            // The answer to HEAD has no words; that to GET says why.
            Err(RegistryError::Denied { .. }) => Ok(None),
            digest => Ok(digest?),
        }
    }

    /// Whether both the name and this digest mean the same image here.
    async fn is_here(&self, reference: &Reference, digest: &Digest) -> Result<bool, ImageError> {
        let (images, by_digest) = (self.images.clone(), reference.with_digest(digest).to_string());
        let by_digest = blocking(move || images.resolve(&by_digest)).await?;
        let (images, name) = (self.images.clone(), self.request.name.clone());
        let is_pulled = blocking(move || images.is_pulled(&name)).await?;
        let by_name = self.resolve().await?;
        Ok(is_pulled && by_digest.is_some_and(|image| by_name.is_some_and(|named| named.id == image.id)))
    }

    /// Follows indexes to the manifest for this machine, and it to its config.
    async fn documents(&self, session: &Session, wanted: &str) -> Result<Documents, ImageError> {
        let limits = self.images.limits();
        let mut document = session.manifest(wanted, limits.document).await?;
        let top = document.descriptor.digest.clone();
        for _ in 0..NESTED {
            let Document { descriptor, bytes } = document;
            let parts = match plan_next(&descriptor, &bytes, limits)? {
                Next::Entry(entry) => {
                    let next = session.manifest(&entry.digest.to_string(), limits.document).await?;
                    document = Document {
                        descriptor: Descriptor {
                            media_type: entry.media_type,
                            ..next.descriptor
                        },
                        bytes: next.bytes,
                    };
                    continue;
                }
                Next::Image(parts) => parts,
            };
            let config_bytes = session.config(&parts.config, limits.document).await?;
            let layers = plan_layers(&parts.manifest.digest, parts.blobs, &parts.config.digest, &config_bytes)?;
            return Ok(Documents {
                top,
                manifest: parts.manifest,
                manifest_bytes: bytes,
                config: parts.config,
                config_bytes,
                layers,
            });
        }
        Err(too_deep(&top))
    }

    /// Takes the layers in while they come.
    async fn take(
        self: Arc<Self>,
        session: Arc<Session>,
        documents: Documents,
        name: Reference,
    ) -> Result<Pulled, ImageError> {
        let runtime = Handle::current();
        // A layer that fails ends the others, and a pull that is given up all of them.
        let cancel = self.cancel.child_token();
        let layers = documents.layers.iter();
        let progress: Vec<Arc<LayerProgress>> = layers
            .map(|(blob, _)| Arc::new(LayerProgress::new(blob.digest.clone(), blob.size)))
            .collect();
        self.progress.set(progress.clone());
        let image = blocking(move || {
            let lease = self.images.ingest(|ingest| {
                ingest.is_pulled = true;
                ingest.on_failure = Box::new({
                    let cancel = cancel.clone();
                    move || cancel.cancel()
                });
                ingest.is_given_up = Box::new({
                    let cancel = cancel.clone();
                    move || cancel.is_cancelled()
                });
                let ingest = &*ingest;
                ingest.check_space(&documents, self.request.is_packed)?;
                documents.take(ingest, Some(&name), |at, blob, diff_id| {
                    let transfer = Transfer {
                        session: session.clone(),
                        blob: blob.clone(),
                        progress: progress[at].clone(),
                        cancel: cancel.clone(),
                        stall: self.stall,
                    };
                    let runtime = runtime.clone();
                    let what = blob.digest.to_string();
                    WantedLayer {
                        needs_packed: self.request.is_packed,
                        progress: Some(progress[at].clone()),
                        host: session.host().to_owned(),
                        ..WantedLayer::new(what, (Some(blob), Some(diff_id)), move |from| {
                            let _runtime = runtime.enter();
                            Ok(Box::new(transfer.start(from)))
                        })
                    }
                })
            })?;
            self.images.image(lease)
        })
        .await?;
        Ok(Pulled { image, was_here: false })
    }
}

/// What is told when nobody has it: the registry's reason, and each mirror's, in no more words than are read.
fn plan_failure(own: ImageError, refusals: &[(String, String)]) -> ImageError {
    if refusals.is_empty() {
        return own;
    }
    let said = refusals.iter().map(|(host, why)| match why.contains(host.as_str()) {
        true => format!("mirror {}", plain(why)),
        false => format!("mirror {host}: {}", plain(why)),
    });
    ImageError::NoHost {
        own: Box::new(own),
        mirrors: said.collect::<Vec<_>>().join("; "),
    }
}

/// Whether somebody else may be told more: many registries say of what is private that it is not there.
fn hides(error: &RegistryError) -> bool {
    match error {
        RegistryError::Denied { .. } => true,
        RegistryError::Refused { status, .. } => status.as_u16() == 404,
        _ => false,
    }
}

/// Whether the name can mean nothing else than what is here: a digest, or the image that is made from this program.
fn is_settled(reference: &Reference) -> bool {
    reference.digest().is_some() || reference.store_name() == BUILTIN_IMAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_nobody_has_an_image_each_host_says_why() {
        let own = || ImageError::NotFound("x".to_owned());
        assert_eq!(plan_failure(own(), &[]).to_string(), "no such image: x");
        let refusals = [
            ("m.corp".to_owned(), "m.corp: refused".to_owned()),
            ("n.corp".to_owned(), "y".repeat(1000)),
        ];
        let said = plan_failure(own(), &refusals).to_string();
        let start = "no such image: x (before it, mirror m.corp: refused; mirror n.corp: yyy";
        assert!(said.starts_with(start), "{said}");
        assert!(said.len() < 400, "{said}");
    }
}
