//! Pulls: one for all who want the same image at the same time, told as it goes, given up when nobody wants it any more.
//!
//! ```text
//!  request ─► Puller ─► job: endpoints × credentials ─► documents (async) ─► ingest (blocking) ─► the store
//!                ▲                                                              ▲
//!                └── who asks for the same joins                 transfers ─────┘ one for each layer
//! ```

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::ImageError;
use super::progress::{LayerState, Progress};
use super::registry::{Keyring, LoginFiles, RegistryError};
use super::{Image, ImageStore};

mod job;

/// How long a registry may be silent, or next to silent. Token servers and storage services of the large registries
/// take 10 s at their worst.
const STALL: Duration = Duration::from_secs(30);

/// What is to be pulled, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PullRequest {
    /// The image's name as the user wrote it.
    pub name: String,
    /// Credentials that are tried before the user's own: those of `imagePullSecrets`.
    pub keyrings: Vec<Keyring>,
    /// Where the user's own are, if not where they always are.
    pub logins: Option<LoginFiles>,
    /// Whether the packed layers are wanted too, where only the unpacked ones are here.
    pub is_packed: bool,
}

/// An image that was asked for and is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// Whether it was here before, and the registry says that it is still the right one.
    pub was_here: bool,
}

/// How a pull ended. Shared by all who waited for it.
pub type Outcome = Result<Pulled, Arc<ImageError>>;

/// Pulls images into a store. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub struct Puller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    images: ImageStore,
    logins: LoginFiles,
    stall: Duration,
    /// Those under way, by what they pull and as whom.
    jobs: Mutex<HashMap<u64, Weak<Job>>>,
    /// How many have begun so far.
    begun: watch::Sender<u64>,
}

/// A pull under way, as long as somebody holds it.
#[derive(Debug)]
struct Job {
    name: String,
    progress: Arc<Progress>,
    outcome: watch::Receiver<Option<Outcome>>,
    cancel: CancellationToken,
}

/// One's share in a pull. When all of them are dropped, the pull is given up; what came stays for the next one.
#[derive(Debug, Clone)]
pub struct Pull {
    job: Arc<Job>,
}

/// A pull at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullState {
    /// The image's name as it was asked for.
    pub name: String,
    /// Its layers; none until its manifest is known.
    pub layers: Vec<LayerState>,
}

impl Puller {
    /// Pulls into this store, with the credentials of these files.
    #[must_use]
    pub fn new(images: ImageStore, logins: LoginFiles) -> Puller {
        Puller::with_patience(images, logins, STALL)
    }

    /// The same with another idea of how long a registry may be silent.
    #[must_use]
    pub fn with_patience(images: ImageStore, logins: LoginFiles, stall: Duration) -> Puller {
        let inner = Inner {
            images,
            logins,
            stall,
            jobs: Mutex::default(),
            begun: watch::Sender::new(0),
        };
        Puller { inner: Arc::new(inner) }
    }

    /// Begins a pull, or joins the one that is under way for the same image and credentials. Must be called within the
    /// async runtime.
    #[must_use]
    pub fn pull(&self, request: PullRequest) -> Pull {
        let key = key_of(&request);
        let mut jobs = self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| job.strong_count() > 0);
        if let Some(job) = jobs.get(&key).and_then(Weak::upgrade)
            && job.outcome.borrow().is_none()
        {
            return Pull { job };
        }
        let (sender, outcome) = watch::channel(None);
        let job = Arc::new(Job {
            name: request.name.clone(),
            progress: Arc::default(),
            outcome,
            cancel: CancellationToken::new(),
        });
        jobs.insert(key, Arc::downgrade(&job));
        self.inner.begun.send_modify(|begun| *begun += 1);
        let work = job::Work {
            images: self.inner.images.clone(),
            logins: self.logins(request.logins.clone()),
            stall: self.inner.stall,
            progress: job.progress.clone(),
            cancel: job.cancel.clone(),
            request,
        };
        tokio::spawn(async move {
            let outcome = work.run().await.map_err(Arc::new);
            // Nobody may be waiting any more.
            let _ = sender.send(Some(outcome));
        });
        Pull { job }
    }

    /// Those under way, by name.
    #[must_use]
    pub fn active(&self) -> Vec<PullState> {
        let jobs = self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = jobs.values().filter_map(Weak::upgrade);
        let active = alive.filter(|job| job.outcome.borrow().is_none());
        let mut states: Vec<PullState> = active.map(|job| job.state()).collect();
        drop(jobs);
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    /// Changes whenever a pull begins.
    #[must_use]
    pub fn begun(&self) -> watch::Receiver<u64> {
        self.inner.begun.subscribe()
    }

    /// Files of credentials that a request names, or the user's own.
    pub(super) fn logins(&self, named: Option<LoginFiles>) -> LoginFiles {
        let own = &self.inner.logins;
        named.map_or_else(|| own.clone(), |named| named.with_user(own.user()))
    }

    /// How long a registry may be silent.
    pub(super) fn stall(&self) -> Duration {
        self.inner.stall
    }

    /// Where it pulls into.
    #[must_use]
    pub fn images(&self) -> &ImageStore {
        &self.inner.images
    }
}

impl Pull {
    /// Waits for its end.
    ///
    /// # Errors
    /// Why the image is not here.
    pub async fn done(&self) -> Outcome {
        let mut outcome = self.job.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().expect("was waited for"),
            // The job's task is gone without a word: the runtime ends.
            Err(_) => Err(Arc::new(RegistryError::Cancelled.into())),
        }
    }

    /// Its end, if it has come.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.job.outcome.borrow().clone()
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> PullState {
        self.job.state()
    }
}

impl Job {
    fn state(&self) -> PullState {
        PullState {
            name: self.name.clone(),
            layers: self.progress.now(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn key_of(request: &PullRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    hasher.finish()
}

/// Runs what blocks on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            // A panic is a bug; it goes on here instead of being lost.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RegistryError::Cancelled.into()),
        },
    }
}
