//! The Kubernetes API of the node: HTTP in, store reads and writes out.
//!
//! Requests are taken apart by `request` (pure), answered by `read`, `write`, `pods` (log, exec, attach, portforward) and, below
//! `/kubelocal/v1/`, by `images`, `node` and `sources`; what is about no object (discovery, OpenAPI) by `root`. Kinds come from the table in `model`, so that none has a path of its own.
//! The room decides nothing about pods: it writes what is wanted and shows what is.

mod body;
mod discovery;
mod disk;
mod entry;
mod error;
mod events;
mod fields;
pub mod fuzzing;
mod images;
mod listen;
mod log;
mod metrics;
mod node;
pub mod own;
mod page;
mod patch;
mod pieces;
mod pods;
mod proxy;
mod pulls;
mod read;
mod request;
mod review;
mod root;
mod sources;
mod streams;
pub mod table;
mod token;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;

use crate::access::rights::Caller;
use crate::access::token::TokenKey;
use crate::image::{ImageStore, Puller};
use crate::ingress::OpenDoors;
use crate::model::{Clock, Complaints};
use crate::pod::Bells;
use crate::publish::Published;
use crate::runtime::Runtime;
use crate::store::Store;
use body::{Answer, Body};
use entry::Connection;
use error::ApiError;
use proxy::Passage;
use request::{Query, Target, Verb};

pub use listen::{serve, serve_tls};
pub use metrics::Meter;

/// The Kubernetes version whose API this is, as `/version` tells it.
pub const KUBERNETES_VERSION: &str = "v1.37.0+kubelocal";

type SharedClock = Arc<dyn Clock>;

/// What the API stands on.
pub struct Api {
    /// Objects.
    pub store: Store,
    /// What signs and checks tokens.
    pub tokens: Arc<TokenKey>,
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
    /// Which families of addresses pods have, in words; empty without a network.
    pub network: String,
    /// Whether pods reach the host's loopback.
    pub host_loopback: bool,
    /// What does not work at the moment.
    pub complaints: Complaints,
    /// The ports of the host that lead to pods.
    pub published: Published,
    /// Where Ingresses are served at this moment.
    pub ingress: OpenDoors,
}

impl Api {
    async fn answer(&self, request: Request<Incoming>, whose: Connection) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.route(request, whose).await;
        answer.unwrap_or_else(|error| {
            tracing::debug!(%method, path, %error, "refused");
            let mut answer = body::json(error.code, &error.status());
            if error.code == StatusCode::UNAUTHORIZED {
                // Whoever guesses has to connect again for each guess.
                answer
                    .headers_mut()
                    .insert(http::header::CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        })
    }

    async fn route(&self, request: Request<Incoming>, whose: Connection) -> Answer {
        let path = request.uri().path().to_owned();
        let caller = self.caller(whose, request.headers())?;
        if path.starts_with("/kubelocal/v1/") {
            if !caller.is_owner() {
                let deed = entry::deed_at(request.method(), &path);
                return Err(ApiError::forbidden(&deed, &deed.refusal(&caller)));
            }
            return self.route_own(&path, request).await;
        }
        if let Some(answer) = root::answer(&path, request.headers()).await {
            self.authorize(&caller, &entry::deed_at(request.method(), &path))?;
            return answer;
        }
        if let Some(answer) = self.issuer(&path) {
            self.authorize(&caller, &entry::deed_at(request.method(), &path))?;
            return Ok(answer);
        }
        if let Some(review) = review::at(&path) {
            return self.review(review, &caller, request).await;
        }
        if let Some(target) = events::target(&path) {
            return self.route_events(target, &caller, request).await;
        }
        if let Some(passage) = Passage::parse(&path) {
            return self.pass(passage?, &caller, request).await;
        }
        if let Some(answer) = self.metrics(&caller, &request).await {
            return answer;
        }
        let target = Target::parse(&path).ok_or_else(ApiError::no_such_path)?;
        self.route_resource(target, &caller, request).await
    }

    async fn route_resource(&self, target: Target, caller: &Caller, request: Request<Incoming>) -> Answer {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let verb = Verb::of(request.method(), &target, &query)?;
        self.authorize(caller, &entry::deed_of(&target, verb))?;
        // An apply makes what is not there.
        let may_create = match verb {
            Verb::Patch => self.authorize(caller, &entry::deed_of(&target, Verb::Create)),
            _ => Ok(()),
        };
        match (target.kind.kind, target.subresource.as_str()) {
            ("Pod", "log") => return self.log(&target, &query),
            ("Pod", "exec") => return self.exec(&target, &query, request).await,
            ("Pod", "attach") => return self.attach(&target, &query, request).await,
            ("Pod", "portforward") => return self.port_forward(&target, &query, request),
            ("ServiceAccount", "token") if verb == Verb::Create => return self.request_token(&target, request).await,
            ("ServiceAccount", "token") => return Err(ApiError::method_not_allowed()),
            ("Pod", "eviction") if verb == Verb::Create => {}
            ("Pod", "eviction") => return Err(ApiError::method_not_allowed()),
            (_, "") | ("Pod", write::EPHEMERAL_CONTAINERS | write::RESIZE) => {}
            (_, "status") if target.kind.has_status => {}
            ("Namespace", write::FINALIZE) if verb == Verb::Update => {}
            ("Namespace", write::FINALIZE) => return Err(ApiError::method_not_allowed()),
            (_, "scale") if write::is_scalable(target.kind) => {}
            _ => return Err(ApiError::no_such_path()),
        }
        match verb {
            Verb::Get | Verb::List | Verb::Watch => self.read(verb, &target, &query, request.headers()),
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
                let headers = request.headers().clone();
                let bytes = write::read(request).await?;
                self.write(verb, &target, &query, &headers, &bytes, may_create).await
            }
        }
    }

    fn read(&self, verb: Verb, target: &Target, query: &Query, headers: &HeaderMap) -> Answer {
        let accept = headers
            .get(http::header::ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let now = self.clock.now();
        match verb {
            Verb::Get if target.subresource == "scale" => read::scale(&self.store, target),
            Verb::Get => read::get(&self.store, target, query, accept, now),
            Verb::List => read::list(&self.store, target, query, accept, now),
            Verb::Watch => read::watch(&self.store, target, query, accept, self.clock.clone()),
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
                Err(ApiError::method_not_allowed())
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
