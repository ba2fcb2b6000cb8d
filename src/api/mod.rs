//! The Kubernetes API of the node: HTTP in, store reads and writes out.
//!
//! Requests are taken apart by `request` (pure), answered by `read`, `write`, `pods` (log, exec, attach, portforward) and, below
//! `/kubelocal/v1/`, by `images`, `node` and `sources`; what is about no object (discovery, OpenAPI) by `root`. Kinds come from the table in `model`, so that none has a path of its own.
//! The room decides nothing about pods: it writes what is wanted and shows what is.

mod body;
mod discovery;
mod disk;
mod error;
mod fields;
mod images;
mod listen;
mod log;
mod metrics;
mod node;
pub mod own;
mod page;
mod patch;
mod pods;
mod pulls;
mod read;
mod request;
mod review;
mod root;
mod sources;
mod streams;
pub mod table;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;

use crate::image::{ImageStore, Puller};
use crate::model::Clock;
use crate::pod::Bells;
use crate::publish::Published;
use crate::runtime::Runtime;
use crate::store::Store;
use body::{Answer, Body};
use error::ApiError;
use request::{Query, Target, Verb};
use review::Review;

pub use listen::{serve, serve_loopback};
pub use metrics::Meter;

/// The Kubernetes version whose API this is, as `/version` tells it.
pub const KUBERNETES_VERSION: &str = "v1.37.0+kubelocal";

type SharedClock = Arc<dyn Clock>;

/// What the API stands on.
pub struct Api {
    /// Objects.
    pub store: Store,
    /// For exec and attach.
    pub runtime: Arc<dyn Runtime>,
    /// Images.
    pub images: ImageStore,
    /// Pulls images.
    pub puller: Puller,
    /// Wakes pods that wait for an image.
    pub bells: Bells,
    /// Measures what is used.
    pub meter: Meter,
    /// The time.
    pub clock: SharedClock,
    /// What does not change while the node runs.
    pub facts: NodeFacts,
    /// Asks the node to end; true if its pods should end first.
    pub end: tokio::sync::watch::Sender<Option<bool>>,
}

/// What `kubelocal status` tells beside what it counts.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// `$KUBELOCAL_HOME`.
    pub home: PathBuf,
    /// `root`, `rootless`, `rootless, single id`.
    pub mode: String,
    /// `embedded` or a path.
    pub runtime: String,
    /// What was found of cgroups.
    pub cgroups: String,
    /// When the process started.
    pub started_at: Timestamp,
    /// What cannot work on this host.
    pub warnings: Vec<String>,
    /// The ports of the host that lead to pods.
    pub published: Published,
}

impl Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.route(request).await;
        answer.unwrap_or_else(|error| {
            tracing::debug!(%method, path, %error, "refused");
            body::json(error.code, &error.status())
        })
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        if path.starts_with("/kubelocal/v1/") {
            return self.route_own(&path, request).await;
        }
        if let Some(answer) = root::answer(&path, request.headers()).await {
            return answer;
        }
        if let Some(review) = Review::at(&path) {
            return self.review(review, request).await;
        }
        if let Some(answer) = self.metrics(&request).await {
            return answer;
        }
        let target = Target::parse(&path).ok_or_else(ApiError::no_such_path)?;
        self.route_resource(target, request).await
    }

    async fn route_resource(&self, target: Target, request: Request<Incoming>) -> Answer {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let verb = Verb::of(request.method(), &target, &query)?;
        match (target.kind.kind, target.subresource.as_str()) {
            ("Pod", "log") => return self.log(&target, &query),
            ("Pod", "exec") => return self.exec(&target, &query, request).await,
            ("Pod", "attach") => return self.attach(&target, &query, request).await,
            ("Pod", "portforward") => return self.port_forward(&target, &query, request),
            ("Pod", "eviction") if verb == Verb::Create => {}
            ("Pod", "eviction") => return Err(ApiError::method_not_allowed()),
            (_, "" | "status") => {}
            (_, "scale") if write::is_scalable(target.kind) => {}
            _ => return Err(ApiError::no_such_path()),
        }
        let accept = request
            .headers()
            .get(http::header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let now = self.clock.now();
        match verb {
            Verb::Get if target.subresource == "scale" => read::scale(&self.store, &target),
            Verb::Get => read::get(&self.store, &target, &query, accept, now),
            Verb::List => read::list(&self.store, &target, &query, accept, now),
            Verb::Watch => read::watch(&self.store, &target, &query, accept, self.clock.clone()),
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
                self.write(verb, &target, &query, request).await
            }
        }
    }

    async fn route_own(&self, path: &str, request: Request<Incoming>) -> Answer {
        use own::path as paths;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        match (request.method(), path) {
            (&Method::GET, paths::STATUS) => Ok(body::json(StatusCode::OK, &self.node_status())),
            (&Method::POST, paths::STOP) => self.stop(request).await,
            (&Method::POST, paths::SOURCES) => self.register_source(request).await,
            (&Method::DELETE, paths::SOURCES) => self.remove_source(&query),
            (&Method::GET, paths::IMAGES) => self.list_images().await,
            (&Method::DELETE, paths::IMAGES) => self.remove_image(&query).await,
            (&Method::GET, paths::IMAGES_INSPECT) => self.inspect_image(&query).await,
            (&Method::POST, paths::IMAGES_PULL) => self.pull_image(request).await,
            (&Method::GET, paths::IMAGES_PULLS) => Ok(self.watch_pulls()),
            (&Method::POST, paths::IMAGES_PUSH) => self.push_image(request).await,
            (&Method::POST, paths::IMAGES_PRUNE) => self.prune_images(&query).await,
            (&Method::GET, paths::DF) => self.disk_usage().await,
            (&Method::POST, paths::IMAGES_ADOPT) => self.adopt_image(&query).await,
            (&Method::POST, paths::IMAGES_LOAD) => self.load_images(&query, request).await,
            (&Method::POST, paths::IMAGES_IMPORT) => self.import_image(&query, request).await,
            (&Method::POST, paths::IMAGES_TAG) => self.tag_image(request).await,
            (&Method::GET, paths::IMAGES_SAVE) => self.save_image(&query).await,
            _ => Err(ApiError::no_such_path()),
        }
    }
}
