//! What kube-rs does against a node, by TLS and the node's kubeconfig: one cell for each of what operators are made of.

use std::convert::Infallible;
use std::fmt::Debug;

use futures::{AsyncBufReadExt as _, Stream, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{
    Api, AttachParams, DeleteParams, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams,
    ValidationDirective,
};
use kube::runtime::controller::Action;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt as _, finalizer, reflector, watcher};
use kube::{Client, Discovery, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Cells, Done, finish};
use crate::home::{DEADLINE, Home};
use crate::kubectl::kube_rs;
use crate::manifest::{Manifest, config_map, deployment, namespace, pod};

const NAMESPACE: &str = "kube-rs";

/// Whatever goes wrong is a cell of the matrix.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A client, and what it is asked for.
struct Rust {
    client: Client,
    maps: Api<ConfigMap>,
    pods: Api<Pod>,
    deployments: Api<Deployment>,
}

/// Objects of kube-rs are typed; those of the tests are texts.
fn typed<K: DeserializeOwned>(manifest: Manifest) -> K {
    serde_json::from_value(manifest.0).expect("a manifest")
}

/// Fails with what was seen instead.
fn same<T: PartialEq + Debug>(seen: T, wanted: T) -> Outcome {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("{seen:?}, and not {wanted:?}").into())
    }
}

/// The value of `a` in a ConfigMap.
fn a(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("a").map(String::as_str)
}

/// Reads until this was said.
async fn until_said(mut from: impl AsyncRead + Unpin, wanted: &str) -> Outcome {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        if from.read_buf(&mut seen).await? == 0 {
            return Err(format!("{:?} ended without {wanted:?}", String::from_utf8_lossy(&seen)).into());
        }
    }
    Ok(())
}

/// Makes a ConfigMap and waits until a watcher that has begun tells of it.
async fn until_watched(
    maps: &Api<ConfigMap>,
    name: &str,
    events: impl Stream<Item = watcher::Result<ConfigMap>>,
) -> Outcome {
    let mut events = std::pin::pin!(events);
    // It is told of what there is first, and `kube-root-ca.crt` is in each namespace.
    events.try_next().await?.ok_or("a watch ended")?;
    maps.create(&PostParams::default(), &typed(config_map(name, json!({"a": "b"}))))
        .await?;
    while let Some(map) = events.try_next().await? {
        if map.name_any() == name {
            return Ok(());
        }
    }
    Err("a watch ended".into())
}

impl Rust {
    async fn new(home: &Home) -> Self {
        let client = kube_rs(home).await;
        Self {
            maps: Api::namespaced(client.clone(), NAMESPACE),
            pods: Api::namespaced(client.clone(), NAMESPACE),
            deployments: Api::namespaced(client.clone(), NAMESPACE),
            client,
        }
    }

    async fn create(&self) -> Outcome {
        let params = PostParams::default();
        let map = typed(config_map("map", json!({"a": "first"})));
        same(a(&self.maps.create(&params, &map).await?), Some("first"))?;
        let web = deployment("web", 1, "count --interval 50");
        self.deployments.create(&params, &typed(web)).await?;
        self.pods.create(&params, &typed(pod("served", "serve"))).await?;
        let counter = pod("counter", "count --interval 50");
        self.pods.create(&params, &typed(counter)).await?;
        for name in ["served", "counter"] {
            await_condition(self.pods.clone(), name, conditions::is_pod_running()).await?;
        }
        Ok(())
    }

    async fn get(&self) -> Outcome {
        same(a(&self.maps.get("map").await?), Some("first"))?;
        same(self.maps.get_metadata("map").await?.name_any(), "map".to_owned())?;
        same(self.maps.get_opt("nobody").await?.is_none(), true)
    }

    async fn list(&self) -> Outcome {
        let page = self.maps.list(&ListParams::default().limit(1)).await?;
        let rest = page.metadata.continue_.ok_or("one page")?;
        let rest = self.maps.list(&ListParams::default().continue_token(&rest)).await?;
        same((page.items.len(), rest.items.len()), (1, 1))?;
        let chosen = ListParams::default().fields("metadata.name=map");
        same(self.maps.list_metadata(&chosen).await?.items.len(), 1)
    }

    async fn watch(&self) -> Outcome {
        let events = watcher(self.maps.clone(), watcher::Config::default());
        until_watched(&self.maps, "watched", events.applied_objects()).await?;
        let events = watcher(self.maps.clone(), watcher::Config::default().streaming_lists());
        until_watched(&self.maps, "streamed", events.applied_objects()).await
    }

    async fn reflector(&self) -> Outcome {
        let (known, writer) = reflector::store();
        let events = watcher(self.maps.clone(), watcher::Config::default());
        until_watched(&self.maps, "reflected", reflector(writer, events).applied_objects()).await?;
        let reflected = known.get(&reflector::ObjectRef::new("reflected").within(NAMESPACE));
        same(reflected.is_some(), true)
    }

    async fn patches(&self) -> Outcome {
        let params = PatchParams::default();
        let data = |text: &str| json!({"data": {"a": text}});
        let merged = self.maps.patch("map", &params, &Patch::Merge(data("merged"))).await?;
        same(a(&merged), Some("merged"))?;
        let strategic = Patch::Strategic(data("strategic"));
        same(
            a(&self.maps.patch("map", &params, &strategic).await?),
            Some("strategic"),
        )?;
        let json = json!([{"op": "replace", "path": "/data/a", "value": "json"}]);
        let json = Patch::<Value>::Json(serde_json::from_value(json)?);
        same(a(&self.maps.patch("map", &params, &json).await?), Some("json"))
    }

    async fn apply(&self) -> Outcome {
        let applied = Patch::Apply(config_map("applied", json!({"a": "mine"})).0);
        let mine = PatchParams::apply("one").validation(ValidationDirective::Strict);
        same(a(&self.maps.patch("applied", &mine, &applied).await?), Some("mine"))?;
        let other = Patch::Apply(config_map("applied", json!({"a": "other"})).0);
        let refused = self.maps.patch("applied", &PatchParams::apply("two"), &other).await;
        same(
            matches!(refused, Err(kube::Error::Api(status)) if status.code == 409),
            true,
        )?;
        let forced = PatchParams::apply("two").force();
        same(a(&self.maps.patch("applied", &forced, &other).await?), Some("other"))
    }

    async fn replace(&self) -> Outcome {
        let params = PostParams::default();
        let before = self.maps.get("map").await?;
        let mut next = before.clone();
        next.data.get_or_insert_default().insert("a".into(), "replaced".into());
        same(a(&self.maps.replace("map", &params, &next).await?), Some("replaced"))?;
        let late = self.maps.replace("map", &params, &before).await;
        same(
            matches!(late, Err(kube::Error::Api(status)) if status.is_conflict()),
            true,
        )
    }

    async fn scale(&self) -> Outcome {
        let patch = Patch::Merge(json!({"spec": {"replicas": 2}}));
        self.deployments
            .patch_scale("web", &PatchParams::default(), &patch)
            .await?;
        let scale = self.deployments.get_scale("web").await?;
        same(scale.spec.and_then(|spec| spec.replicas), Some(2))
    }

    async fn logs(&self) -> Outcome {
        let last = LogParams {
            tail_lines: Some(1),
            ..LogParams::default()
        };
        same(self.pods.logs("counter", &last).await?.lines().count(), 1)?;
        let follow = LogParams {
            follow: true,
            ..LogParams::default()
        };
        let mut lines = self.pods.log_stream("counter", &follow).await?.lines();
        for number in 1..=3 {
            same(lines.try_next().await?, Some(number.to_string()))?;
        }
        Ok(())
    }

    async fn exec(&self) -> Outcome {
        let words = ["/kubelocal", "demo", "echo", "hello"];
        let mut process = self.pods.exec("served", words, &AttachParams::default()).await?;
        let status = process.take_status().ok_or("no status")?;
        until_said(process.stdout().ok_or("no output")?, "hello\n").await?;
        same(
            status.await.and_then(|status| status.status),
            Some("Success".to_owned()),
        )?;
        let words = ["/kubelocal", "demo", "exit", "7"];
        let mut process = self.pods.exec("served", words, &AttachParams::default()).await?;
        let status = process.take_status().ok_or("no status")?.await;
        same(
            status.and_then(|status| status.reason),
            Some("NonZeroExitCode".to_owned()),
        )
    }

    async fn attach(&self) -> Outcome {
        let mut process = self.pods.attach("counter", &AttachParams::default()).await?;
        until_said(process.stdout().ok_or("no output")?, "\n").await
    }

    async fn portforward(&self) -> Outcome {
        let mut forward = self.pods.portforward("served", &[8080]).await?;
        let mut stream = forward.take_stream(8080).ok_or("no stream")?;
        let ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(ask).await?;
        until_said(stream, "HTTP/1.1 200").await
    }

    async fn evict(&self) -> Outcome {
        let uid = self.pods.get("counter").await?.metadata.uid.ok_or("no uid")?;
        self.pods.evict("counter", &EvictParams::default()).await?;
        await_condition(self.pods.clone(), "counter", conditions::is_deleted(&uid)).await?;
        Ok(())
    }

    async fn finalizer(&self) -> Outcome {
        let name = "kubelocal.dev/tested";
        let reconcile = async |map| {
            let done = async |_: finalizer::Event<ConfigMap>| Ok::<_, Infallible>(Action::await_change());
            finalizer(&self.maps, name, map, done).await
        };
        let map = self.maps.get("map").await?;
        // What is told first only puts the finalizer there.
        reconcile(map.into()).await?;
        self.maps.delete("map", &DeleteParams::default()).await?;
        let map = self.maps.get("map").await?;
        same(map.metadata.deletion_timestamp.is_some(), true)?;
        reconcile(map.into()).await?;
        same(self.maps.get_opt("map").await?.is_none(), true)
    }

    async fn discovery(&self) -> Outcome {
        let found = Discovery::new(self.client.clone()).run_aggregated().await?;
        let apps = found.get("apps").ok_or("no apps")?;
        same(apps.recommended_kind("Deployment").is_some(), true)?;
        same(self.client.apiserver_version().await?.major, "1".to_owned())
    }

    async fn token(&self) -> Outcome {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        let made = accounts
            .create_token_request("default", &PostParams::default(), &TokenRequest::default())
            .await?;
        same(made.status.is_some_and(|status| status.token.is_some()), true)
    }

    async fn delete(&self) -> Outcome {
        self.pods.delete("served", &DeleteParams::default()).await?;
        await_condition(self.pods.clone(), "served", |pod: Option<&Pod>| pod.is_none()).await?;
        let params = (DeleteParams::background(), ListParams::default());
        self.deployments.delete_collection(&params.0, &params.1).await?;
        same(self.deployments.list(&params.1).await?.items.len(), 0)
    }

    /// What was tried, in an order in which each finds what it needs.
    async fn all(&self) -> [(&'static str, Done); 17] {
        [
            ("create", done(self.create()).await),
            ("get", done(self.get()).await),
            ("list", done(self.list()).await),
            ("watcher", done(self.watch()).await),
            ("reflector", done(self.reflector()).await),
            ("patch", done(self.patches()).await),
            ("server-side apply", done(self.apply()).await),
            ("replace", done(self.replace()).await),
            ("scale", done(self.scale()).await),
            ("logs", done(self.logs()).await),
            ("exec", done(self.exec()).await),
            ("attach", done(self.attach()).await),
            ("portforward", done(self.portforward()).await),
            ("evict", done(self.evict()).await),
            ("finalizer", done(self.finalizer()).await),
            (
                "discovery, token",
                done(async { self.discovery().await.and(self.token().await) }).await,
            ),
            ("delete", done(self.delete()).await),
        ]
    }
}

/// What went wrong, if it was not the time.
async fn done(work: impl Future<Output = Outcome>) -> Done {
    match timeout(DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(|error| format!("it failed: {error:?}").replace('\n', " ")),
        Err(_) => Err(format!("nothing came of it in {DEADLINE:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_rs_does_what_the_readme_says() {
    let home = Home::new();
    home.must("get nodes");
    home.run_with(namespace(NAMESPACE).to_string(), "apply -f -");
    home.until("the namespace has its certificate", || {
        !home.get(&format!("cm kube-root-ca.crt -n {NAMESPACE}")).is_null()
    });
    let rust = Rust::new(&home).await;
    let seen = timeout(10 * DEADLINE, rust.all()).await.expect("each has its time");
    let rows = seen.each_ref().map(|(row, _)| *row);
    let mut cells = Cells::new();
    for (row, outcome) in seen {
        let why = outcome.err().unwrap_or_default();
        cells
            .entry(row.to_owned())
            .or_default()
            .insert("kube-rs".to_owned(), why);
    }
    finish("kube-rs", &rows, &cells);
}
