//! The whole node in one process on the fake runtime: files go in, and what a real `kube` client sees comes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kubelocal::access::Access;
use kubelocal::access::token::TokenKey;
use kubelocal::api::{NodeFacts, serve};
use kubelocal::device::{Ledger, Settings};
use kubelocal::event::EventRecorder;
use kubelocal::image::{ImageError, ImageStore, LoginFiles, Puller};
use kubelocal::model::{Clock, ManualClock, Paths, SystemClock};
use kubelocal::pod::{Host, Rooms};
use kubelocal::runtime::PodUid;
use kubelocal::runtime::fake::{FakeRuntime, Script, Verb};
use kubelocal::store::Store;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything below takes milliseconds; only a very busy machine needs more than a second.
const DEADLINE: Duration = Duration::from_secs(60);

/// A node with an image `test:1` and a directory of manifests.
struct Node {
    dir: TempDir,
    images: ImageStore,
    runtime: FakeRuntime,
    client: kube::Client,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    async fn start() -> Self {
        Self::with_pods_clock(Arc::new(SystemClock)).await
    }

    /// A node whose pods' workers go by a clock of their own.
    async fn with_pods_clock(pods_clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("manifests")).expect("makes it");
        let images = ImageStore::open(&path("images")).expect("opens");
        let image = images.clone();
        let imported = tokio::task::spawn_blocking(move || image.import(rootfs().as_slice(), "test:1")).await;
        imported.expect("does not panic").expect("imports");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::in_memory(clock.clone());
        kubelocal::controller::create_initial(&store, &path("volumes"), "a certificate").expect("makes them");
        let runtime = FakeRuntime::new(Timestamp::now());
        let recorder = EventRecorder::new(store.clone(), clock.clone(), "test");
        let stop = CancellationToken::new();
        let tokens = tokens(dir.path());
        let rooms = rooms(&store, &runtime, &images, pods_clock, tokens.clone(), path("pods"));
        let ends = kubelocal::pod::Ends {
            stop: stop.clone(),
            ..Default::default()
        };
        let running = kubelocal::pod::run(Arc::new(rooms), ends).await;
        let (bells, pods) = running.expect("the fake can list");
        let signer = kubelocal::controller::Signer::new(&tokens, &clock);
        let api = kubelocal::api::Api {
            store: store.clone(),
            tokens,
            runtime: Arc::new(runtime.clone()),
            images: images.clone(),
            puller: Puller::new(images.clone(), LoginFiles::default()),
            bells,
            meter: kubelocal::api::Meter::default(),
            clock: clock.clone(),
            facts: facts(dir.path().to_owned()),
            end: watch::channel(None).0,
        };
        let listener = UnixListener::bind(path("api.sock")).expect("binds");
        let tasks = vec![
            tokio::spawn(pods),
            tokio::spawn(kubelocal::applier::run(
                store.clone(),
                clock.clone(),
                path("manifests"),
                kubelocal::source::Overlays::default(),
                stop.clone(),
            )),
            tokio::spawn(kubelocal::controller::run(store, recorder, signer, stop.clone())),
            tokio::spawn(serve(Arc::new(api), listener, stop.clone())),
        ];
        let client = kubelocal::cli::transport::client(&path("api.sock"), "default");
        Self {
            dir,
            images,
            runtime,
            client,
            stop,
            tasks,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("no task panics");
        }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.dir.path().join("manifests").join(file), text).expect("writes");
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.dir.path().join("manifests").join(file)).expect("removes");
    }

    async fn pods(&self) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        api.list(&ListParams::default()).await.expect("lists").items
    }

    /// Waits for an object.
    async fn until_there(&self, deployments: &Api<Deployment>, name: &str) {
        let start = Instant::now();
        while deployments.get(name).await.is_err() {
            assert!(start.elapsed() < DEADLINE, "never: {name}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the pods are as wanted, and shows them if they never are.
    async fn until(&self, what: &str, is_so: impl Fn(&[Pod]) -> bool) -> Vec<Pod> {
        let start = Instant::now();
        loop {
            let pods = self.pods().await;
            if is_so(&pods) {
                return pods;
            }
            assert!(start.elapsed() < DEADLINE, "never: {what}; last seen: {pods:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn starts(&self) -> usize {
        self.runtime
            .calls()
            .iter()
            .filter(|call| call.verb == Verb::Start)
            .count()
    }
}

fn rootfs() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o755);
    header.set_cksum();
    tar.append_data(&mut header, "program", &b"x"[..]).expect("appends");
    tar.into_inner().expect("ends")
}

/// What signs tokens in a node of this home.
fn tokens(home: &Path) -> Arc<TokenKey> {
    let access = Access::open(&Paths::at(home.to_owned()), Timestamp::now()).expect("makes keys");
    Arc::new(access.token_key().expect("a key"))
}

fn rooms(
    store: &Store,
    runtime: &FakeRuntime,
    images: &ImageStore,
    clock: Arc<dyn Clock>,
    tokens: Arc<TokenKey>,
    pods_dir: PathBuf,
) -> Rooms {
    Rooms {
        store: store.clone(),
        runtime: Arc::new(runtime.clone()),
        images: images.clone(),
        puller: Puller::new(images.clone(), LoginFiles::default()),
        recorder: EventRecorder::new(store.clone(), clock.clone(), "test"),
        tokens,
        clock,
        served: None,
        devices: Arc::new(Ledger::open(&pods_dir, Vec::new(), Settings::new())),
        host: host(pods_dir),
    }
}

fn host(pods_dir: PathBuf) -> Host {
    Host {
        node_name: "test".into(),
        addresses: tokio::sync::watch::channel(vec!["127.0.0.1".to_owned()]).1,
        dns: None,
        api_port: 6443,
        cpus: 2,
        memory: 1 << 30,
        storage: 1 << 40,
        pod_pids: None,
        pods_dir,
        allowed_sysctls: Vec::new(),
        modules: Default::default(),
    }
}

fn facts(home: PathBuf) -> NodeFacts {
    NodeFacts {
        home,
        mode: "test".into(),
        runtime: "fake".into(),
        cgroups: "none".into(),
        started_at: Timestamp::now(),
        warnings: Vec::new(),
        network: String::new(),
        host_loopback: false,
        complaints: kubelocal::model::Complaints::default(),
        published: kubelocal::publish::Published::default(),
        ingress: kubelocal::ingress::OpenDoors::default(),
    }
}

fn deployment(replicas: u32, word: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  \
         template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      containers: [{{name: web, image: \"test:1\", command: [\"{word}\"]}}]\n"
    )
}

fn pod(word: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: one}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         containers: [{{name: main, image: \"test:1\", command: [\"{word}\"]}}]\n"
    )
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True") && pod.metadata.deletion_timestamp.is_none()
}

fn commands(pods: &[Pod]) -> Vec<String> {
    let command = |pod: &Pod| pod.spec.as_ref()?.containers[0].command.as_ref()?.first().cloned();
    pods.iter().filter_map(command).collect()
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().expect("stored objects have one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_pods_and_takes_them_away_again() {
    let node = Node::start().await;
    node.write("web.yaml", &deployment(3, "a"));
    node.until("three ready", |pods| pods.len() == 3 && pods.iter().all(is_ready))
        .await;
    node.remove("web.yaml");
    node.until("none", <[Pod]>::is_empty).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_rolls_and_an_equal_file_touches_nothing() {
    let node = Node::start().await;
    node.write("web.yaml", &deployment(2, "a"));
    node.until("two ready", |pods| pods.len() == 2 && pods.iter().all(is_ready))
        .await;
    let starts = node.starts();
    node.write("web.yaml", &format!("# a comment more\n{}", deployment(2, "a")));
    node.write(
        "other.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seen}\n",
    );
    let maps: Api<ConfigMap> = Api::namespaced(node.client.clone(), "default");
    let start = Instant::now();
    while maps.get_opt("seen").await.expect("answers").is_none() {
        assert!(start.elapsed() < DEADLINE, "the later file was never read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.starts(), starts, "a comment starts nothing");
    node.write("web.yaml", &deployment(2, "b"));
    let rolled = |pods: &[Pod]| pods.len() == 2 && pods.iter().all(is_ready) && commands(pods) == ["b", "b"];
    node.until("both new", rolled).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_keeps_its_last_good_objects() {
    let node = Node::start().await;
    node.write("one.yaml", &pod("a"));
    let before = node
        .until("it runs", |pods| pods.len() == 1 && pods.iter().all(is_ready))
        .await;
    node.write("one.yaml", &pod("a").replace("containers", "containrs"));
    node.write("two.yaml", &pod("b").replace("name: one", "name: two"));
    let after = node
        .until("the other came", |pods| pods.len() == 2 && pods.iter().all(is_ready))
        .await;
    assert!(
        after.iter().any(|pod| uid(pod) == uid(&before[0])),
        "the first is still the same"
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_pod_is_replaced_when_what_changed_is_fixed() {
    let node = Node::start().await;
    node.write("one.yaml", &pod("a"));
    let before = node
        .until("it runs", |pods| pods.len() == 1 && pods.iter().all(is_ready))
        .await;
    node.write("one.yaml", &pod("b"));
    let replaced = |pods: &[Pod]| commands(pods) == ["b"] && pods.iter().all(is_ready);
    let after = node.until("a new one runs", replaced).await;
    assert_ne!(uid(&before[0]), uid(&after[0]));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_could_not_start_is_tried_at_once_when_it_is_changed() {
    // No time passes, so no back-off ends.
    let node = Node::with_pods_clock(Arc::new(ManualClock::at(Timestamp::now()))).await;
    let missing = pod("a").replace("image: \"test:1\"", "image: \"missing:1\", imagePullPolicy: Never");
    node.write("one.yaml", &missing);
    let waits = |pods: &[Pod]| {
        let statuses = pods.iter().flat_map(|pod| pod.status.iter());
        let containers = statuses.flat_map(|status| status.container_statuses.iter().flatten());
        let mut reasons = containers.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone());
        reasons.any(|reason| reason == "ErrImageNeverPull")
    };
    let before = node.until("its image is not here", waits).await;
    node.write("one.yaml", &missing.replace("missing:1", "test:1"));
    let after = node
        .until("it runs", |pods| pods.len() == 1 && pods.iter().all(is_ready))
        .await;
    assert_eq!(uid(&before[0]), uid(&after[0]), "an image is changed in place");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_shown_and_counted() {
    let node = Node::start().await;
    node.runtime.script(
        "main",
        Script {
            exit: Some((Duration::ZERO, 3)),
            ..Script::default()
        },
    );
    node.write("one.yaml", &pod("a"));
    let waiting = |pods: &[Pod]| {
        let statuses = pods
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()?.first());
        statuses.into_iter().any(|s| {
            let reason = s.state.as_ref().and_then(|s| s.waiting.as_ref()?.reason.clone());
            let code = s
                .last_state
                .as_ref()
                .and_then(|s| Some(s.terminated.as_ref()?.exit_code));
            (reason.as_deref(), code, s.restart_count) == (Some("CrashLoopBackOff"), Some(3), 1)
        })
    };
    node.until("back-off after the first restart", waiting).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_supervisor_is_followed_by_a_new_one() {
    let node = Node::start().await;
    node.write("one.yaml", &pod("a"));
    let pods = node
        .until("it runs", |pods| pods.len() == 1 && pods.iter().all(is_ready))
        .await;
    node.runtime.kill_supervisor(&PodUid(uid(&pods[0])));
    let restarted = |pods: &[Pod]| {
        let restarts = |pod: &Pod| Some(pod.status.as_ref()?.container_statuses.as_ref()?.first()?.restart_count);
        pods.iter().all(is_ready) && pods.iter().filter_map(restarts).eq([1])
    };
    let after = node.until("it runs again", restarted).await;
    assert_eq!(uid(&after[0]), uid(&pods[0]), "the pod is the same");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_applies_owns_fields_and_deletes() {
    let node = Node::start().await;
    let deployments: Api<Deployment> = Api::namespaced(node.client.clone(), "default");
    let apply = |manager: &'static str, replicas: i32| {
        let config = serde_json::json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "test:1"}]}}},
        });
        let deployments = deployments.clone();
        async move {
            deployments
                .patch("api", &PatchParams::apply(manager), &Patch::Apply(config))
                .await
        }
    };
    // The image names no command, so its pods can't start: that is told, and the rest works all the same.
    apply("one", 1).await.expect("applies");
    let conflict = apply("two", 2).await.expect_err("another manager owns the field");
    assert!(conflict.to_string().contains("conflict with \"one\""), "{conflict}");
    let told = |pods: &[Pod]| {
        let statuses = pods
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()?.first());
        let reasons = statuses.filter_map(|s| s.state.as_ref()?.waiting.as_ref()?.reason.clone());
        reasons.eq(["CreateContainerConfigError".to_owned()])
    };
    node.until("its pod says why it waits", told).await;
    deployments
        .delete("api", &DeleteParams::default())
        .await
        .expect("deletes");
    node.until("its pods went with it", <[Pod]>::is_empty).await;
    let unknown = deployments.get("api").await.expect_err("it is gone");
    assert!(
        unknown.to_string().contains("deployments.apps \"api\" not found"),
        "{unknown}"
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_over_channels_until_the_pods_side_ends() {
    let node = Node::start().await;
    node.write("one.yaml", &pod("a"));
    node.until("it runs", |pods| pods.len() == 1 && pods.iter().all(is_ready))
        .await;
    // The pods of the fake runtime have the network of the test.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("has one").port();
    let api: Api<Pod> = Api::namespaced(node.client.clone(), "default");
    let forward = async || api.portforward("one", &[port]).await.expect("is upgraded");
    let mut forwarder = forward().await;
    let mut stream = forwarder.take_stream(port).expect("asked for");
    let (mut accepted, _) = listener.accept().await.expect("comes");
    stream.write_all(b"ping").await.expect("writes");
    let mut asked = [0; 4];
    accepted.read_exact(&mut asked).await.expect("reads");
    accepted.write_all(b"pong").await.expect("writes");
    drop(accepted);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("ends");
    assert_eq!((&asked, answer.as_str()), (b"ping", "pong"));
    drop(listener);
    let told = forward().await.take_error(port).expect("asked for").await;
    let told = told.expect("nobody listens any more");
    let wanted = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert!(
        told.starts_with(&format!("error forwarding port {port} to pod one, uid ")) && told.contains(&wanted),
        "{told}"
    );
    let missing = api.portforward("nobody", &[port]).await.err().expect("is not there");
    assert!(missing.to_string().contains("pods \"nobody\" not found"), "{missing}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_applied_apart_from_what_was_asked_for() {
    let node = Node::start().await;
    let deployments: Api<Deployment> = Api::namespaced(node.client.clone(), "default");
    let report = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 7}, "status": {"collisionCount": 3},
    });
    let params = PatchParams::apply("reporter");
    let missing = deployments.patch_status("web", &params, &Patch::Apply(&report)).await;
    assert!(missing.is_err_and(|error| error.to_string().contains("not found")));
    node.write("web.yaml", &deployment(0, "a"));
    node.until_there(&deployments, "web").await;
    let applied = deployments
        .patch_status("web", &params, &Patch::Apply(&report))
        .await
        .expect("applies");
    assert_eq!(applied.spec.replicas, Some(0));
    assert_eq!(applied.status.expect("was reported").collision_count, Some(3));
    let managers = applied.metadata.managed_fields.expect("are kept");
    assert!(
        managers
            .iter()
            .any(|m| m.manager.as_deref() == Some("reporter") && m.subresource.as_deref() == Some("status"))
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_stays_for_as_long_as_something_runs_from_it() {
    let node = Node::start().await;
    node.write("one.yaml", &pod("a"));
    node.until("it runs", |pods| pods.len() == 1 && pods.iter().all(is_ready))
        .await;
    // Whoever asks for the removal does not know the pod, as one that looked at the pods before it came.
    let remove = |images: &ImageStore| images.remove("test:1", &|_| false);
    let refused = remove(&node.images);
    assert!(matches!(refused, Err(ImageError::InUse(_))), "{refused:?}");
    // Nor is there an instant at the start of a next node, which has forgotten the pod, or has yet to look at it.
    let images = ImageStore::open(&node.dir.path().join("images")).expect("opens");
    let store = Store::in_memory(Arc::new(SystemClock));
    let next = rooms(
        &store,
        &node.runtime,
        &images,
        Arc::new(SystemClock),
        tokens(node.dir.path()),
        node.dir.path().join("pods"),
    );
    let started = kubelocal::pod::run(Arc::new(next), kubelocal::pod::Ends::default()).await;
    let refused = remove(&images);
    assert!(matches!(refused, Err(ImageError::InUse(_))), "{refused:?}");
    drop(started);
    node.remove("one.yaml");
    node.until("none", <[Pod]>::is_empty).await;
    let start = Instant::now();
    while let Err(error) = remove(&node.images) {
        assert!(start.elapsed() < DEADLINE, "never: {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.end().await;
}

#[tokio::test]
async fn a_pod_for_another_node_waits_for_it_and_nobody_runs_it() {
    let node = Node::start().await;
    let pod = |name: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {more}\n  \
             containers: [{{name: c, image: \"test:1\", command: [\"x\"]}}]\n"
        )
    };
    node.write(
        "pods.yaml",
        &format!(
            "{}---\n{}",
            pod("away", "nodeName: other"),
            pod("here", "restartPolicy: Always")
        ),
    );
    let phase = |pods: &[Pod], name: &str| {
        let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))?;
        pod.status.as_ref()?.phase.clone()
    };
    let pods = node
        .until("one runs and one waits", |pods| {
            phase(pods, "here").as_deref() == Some("Running") && phase(pods, "away").as_deref() == Some("Pending")
        })
        .await;
    assert_eq!((pods.len(), node.starts()), (2, 1));
    node.remove("pods.yaml");
    node.until("both go", <[Pod]>::is_empty).await;
    node.end().await;
}
