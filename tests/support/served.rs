//! The API alone, on a store in memory: for tests and benches of what many clients, or bad ones, do to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kubelocal::access::Access;
use kubelocal::api::{Api, NodeFacts, serve};
use kubelocal::device::{Ledger, Settings};
use kubelocal::event::EventRecorder;
use kubelocal::image::{ImageStore, LoginFiles, Puller};
use kubelocal::model::{Clock, Key, Object, Paths, SystemClock, kind};
use kubelocal::pod::{Ends, Host, Rooms};
use kubelocal::runtime::fake::FakeRuntime;
use kubelocal::store::Store;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// An API that is served.
pub struct Served {
    pub store: Store,
    dir: TempDir,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    /// Serves on a socket; what is served, and by what its clients are known.
    pub async fn start() -> (Self, Arc<Api>, Access) {
        let dir = tempfile::tempdir().expect("a directory");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::in_memory(clock.clone());
        kubelocal::controller::create_initial(&store, &dir.path().join("volumes"), "a certificate")
            .expect("makes them");
        let images = ImageStore::open(&dir.path().join("images")).expect("opens");
        let access = access(dir.path());
        let tokens = Arc::new(access.token_key().expect("a key"));
        let runtime = Arc::new(FakeRuntime::new(Timestamp::now()));
        let puller = Puller::new(images.clone(), LoginFiles::default());
        let rooms = Rooms {
            store: store.clone(),
            runtime: runtime.clone(),
            images: images.clone(),
            puller: puller.clone(),
            recorder: EventRecorder::new(store.clone(), clock.clone(), "test"),
            tokens: tokens.clone(),
            clock: clock.clone(),
            served: None,
            devices: Arc::new(Ledger::open(&dir.path().join("pods"), Vec::new(), Settings::new())),
            host: Host {
                node_name: "test".into(),
                addresses: tokio::sync::watch::channel(vec!["127.0.0.1".to_owned()]).1,
                dns: None,
                api_port: 6443,
                cpus: 2,
                memory: 1 << 30,
                storage: 1 << 40,
                pod_pids: None,
                allowed_sysctls: Vec::new(),
                modules: Default::default(),
                pods_dir: dir.path().join("pods"),
            },
        };
        // Nobody looks after pods here: the future of the workers is dropped.
        let (bells, _pods) = kubelocal::pod::run(Arc::new(rooms), Ends::default())
            .await
            .expect("the fake can list");
        let api = Arc::new(Api {
            meter: kubelocal::api::Meter::default(),
            store: store.clone(),
            tokens,
            runtime,
            images,
            puller,
            bells,
            clock,
            facts: facts(dir.path().to_owned()),
            end: tokio::sync::watch::channel(None).0,
        });
        let listener = UnixListener::bind(dir.path().join("api.sock")).expect("binds");
        let stop = CancellationToken::new();
        tokio::spawn(serve(api.clone(), listener, stop.clone()));
        (Self { store, dir, stop }, api, access)
    }

    /// A connection as the owner's programs have it.
    pub async fn connect(&self) -> SendRequest<Full<Bytes>> {
        connect(&self.socket()).await
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }
}

pub fn access(home: &Path) -> Access {
    Access::open(&Paths::at(home.to_owned()), Timestamp::now()).expect("makes keys")
}

fn facts(home: PathBuf) -> NodeFacts {
    NodeFacts {
        home,
        mode: "test".to_owned(),
        runtime: "fake".to_owned(),
        cgroups: "none".to_owned(),
        started_at: Timestamp::now(),
        warnings: Vec::new(),
        network: String::new(),
        host_loopback: false,
        complaints: kubelocal::model::Complaints::default(),
        published: kubelocal::publish::Published::default(),
        ingress: kubelocal::ingress::OpenDoors::default(),
    }
}

pub async fn connect(socket: &Path) -> SendRequest<Full<Bytes>> {
    let stream = UnixStream::connect(socket).await.expect("listens");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
    tokio::spawn(connection);
    sender
}

pub fn request(method: &str, path: &str, content_type: &str, body: impl Into<Bytes>) -> http::Request<Full<Bytes>> {
    let request = http::Request::builder().method(method).uri(path).header("host", "x");
    let request = request.header("content-type", content_type);
    request.body(Full::new(body.into())).expect("a request")
}

/// A ConfigMap of about a kilobyte.
pub fn config_map(name: &str) -> Object {
    let metadata = json!({"name": name, "namespace": "default", "labels": {"app": "load"}});
    let data = json!({"text": "x".repeat(1000), "turn": "none"});
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    Object::new(value).expect("in the table")
}

/// How many of what.
#[derive(Debug, Clone, Copy)]
pub struct Rush {
    pub objects: usize,
    pub watchers: usize,
    pub writes: usize,
    /// Writes per second; as fast as it goes without.
    pub rate: Option<u32>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// From the first write until the last watcher had the last one.
    pub took: Duration,
    /// Watchers that fell behind so far that they had to begin anew.
    pub anew: usize,
}

#[derive(Deserialize)]
struct Line {
    r#type: String,
    object: Shown,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: String,
}

/// Writes, while watchers follow.
///
/// # Panics
/// When a watcher misses a change, sees one twice or in the wrong order.
pub async fn rush(served: &Served, rush: Rush) -> Outcome {
    for number in 0..rush.objects {
        served
            .store
            .create(config_map(&format!("there-{number}")))
            .expect("a free name");
    }
    let first = served.store.resource_version();
    let watchers: Vec<_> = futures::future::join_all((0..rush.watchers).map(|_| follow(served, first))).await;
    let start = Instant::now();
    let maps = kind("v1", "ConfigMap").expect("in the table");
    let mut expected = Vec::with_capacity(rush.writes);
    for number in 0..rush.writes {
        if let Some(rate) = rush.rate {
            let due = start + Duration::from_secs(1) / rate * u32::try_from(number).expect("few");
            tokio::time::sleep_until(due.into()).await;
        }
        let key = Key::new(maps, "default", format!("there-{}", number % rush.objects));
        let change = |map: &mut Object| map.value_mut()["data"]["turn"] = number.to_string().into();
        let written = served.store.update(&key, change).expect("it is there");
        expected.push(written.object.resource_version());
        // Others take their turns.
        tokio::task::yield_now().await;
    }
    let expected = Arc::new(expected);
    let mut anew = 0;
    let mut waiting = tokio::task::JoinSet::new();
    for body in watchers {
        waiting.spawn(check(body, expected.clone()));
    }
    while let Some(was_whole) = waiting.join_next().await {
        anew += usize::from(!was_whole.expect("a watcher saw something else than what was written"));
    }
    Outcome {
        took: start.elapsed(),
        anew,
    }
}

/// Begins to follow, and reads on its own from then on.
async fn follow(served: &Served, version: u64) -> tokio::sync::mpsc::UnboundedReceiver<u64> {
    let mut sender = served.connect().await;
    let path = format!("/api/v1/configmaps?watch=true&resourceVersion={version}");
    let answer = sender
        .send_request(request("GET", &path, "application/json", ""))
        .await
        .expect("is answered");
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        // The connection lives as long as its sender.
        let _sender = sender;
        read(answer.into_body(), &tell).await;
    });
    told
}

async fn read(mut body: Incoming, tell: &tokio::sync::mpsc::UnboundedSender<u64>) {
    let mut rest: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        rest.extend_from_slice(frame.data_ref().map_or(&[], |bytes| &bytes[..]));
        let end = rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |place| place + 1);
        for line in rest[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_slice(line).expect("an event");
            // Falling behind is told, and never passed over.
            let version = if line.r#type == "ERROR" {
                "0"
            } else {
                &line.object.metadata.resource_version
            };
            if tell.send(version.parse().expect("a number")).is_err() {
                return;
            }
        }
        rest.drain(..end);
    }
}

/// Whether a watcher saw all; false if it was told to begin anew.
async fn check(mut told: tokio::sync::mpsc::UnboundedReceiver<u64>, expected: Arc<Vec<u64>>) -> bool {
    for (place, version) in expected.iter().enumerate() {
        let seen = told.recv().await.expect("the watch goes on");
        if seen == 0 {
            return false;
        }
        assert_eq!(seen, *version, "change {place}");
    }
    true
}
