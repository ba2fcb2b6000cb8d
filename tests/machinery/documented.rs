//! What Kubernetes' conformance tests document of its API, of kinds that are served here: the operations that every kind has, owners and
//! those whom they own, namespaces, what is always there, and the answers that are about no object.

use std::sync::Arc;
use std::time::Duration;

use kubelocal::controller::{self, Signer};
use kubelocal::event::EventRecorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;

const LABEL: &str = "documented=yes";
const DEADLINE: Duration = Duration::from_secs(30);

/// The API with the controllers on its store.
struct Controlled {
    asked: Asked,
    _stop: DropGuard,
}

impl Controlled {
    async fn start() -> Self {
        let (served, api, _) = Served::start().await;
        let signer = Signer::new(&api.tokens, &api.clock);
        let recorder = EventRecorder::new(served.store.clone(), api.clock.clone(), "test");
        let stop = CancellationToken::new();
        tokio::spawn(controller::run(served.store.clone(), recorder, signer, stop.clone()));
        Self {
            asked: Asked(served),
            _stop: stop.drop_guard(),
        }
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, what: &str, is_it: impl Fn(StatusCode, &Value) -> bool) {
        let asking = async {
            loop {
                let (code, value) = self.asked.ask("GET", path, Value::Null).await;
                if is_it(code, &value) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, asking).await;
        assert!(waited.is_ok(), "this did not come: {what} at {path}");
    }

    async fn until_gone(&self, path: &str) {
        self.until(path, "it is gone", |code, _| code == StatusCode::NOT_FOUND)
            .await;
    }
}

/// Objects of every kind that lives in namespaces, without what all have in common.
fn namespaced() -> Vec<(&'static str, Value)> {
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "x"}]}});
    let labels = json!({"app": "a"});
    let workload = json!({"spec": {"replicas": 0, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod["spec"]}}});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    let event = json!({"involvedObject": {"kind": "ConfigMap", "namespace": "default", "name": "m"}});
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    vec![
        ("/api/v1 pods", pod),
        ("/api/v1 services", json!({"spec": {"ports": [{"port": 80}]}})),
        ("/api/v1 endpoints", json!({})),
        ("/api/v1 configmaps", json!({"data": {"a": "b"}})),
        ("/api/v1 secrets", json!({"data": {"a": "Yg=="}})),
        ("/api/v1 serviceaccounts", json!({})),
        ("/api/v1 events", event),
        (
            "/api/v1 persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        ("/api/v1 resourcequotas", json!({"spec": {"hard": {"pods": "1"}}})),
        (
            "/api/v1 limitranges",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
        ),
        ("/apis/apps/v1 deployments", workload.clone()),
        ("/apis/apps/v1 replicasets", workload),
        ("/apis/apps/v1 controllerrevisions", json!({"revision": 1, "data": {}})),
        (
            "/apis/discovery.k8s.io/v1 endpointslices",
            json!({"addressType": "IPv4", "endpoints": []}),
        ),
        (
            "/apis/coordination.k8s.io/v1 leases",
            json!({"spec": {"holderIdentity": "me"}}),
        ),
        (
            "/apis/policy/v1 poddisruptionbudgets",
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}}),
        ),
        (
            "/apis/autoscaling/v2 horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
        ),
        (
            "/apis/networking.k8s.io/v1 ingresses",
            json!({"spec": {"defaultBackend": backend}}),
        ),
        (
            "/apis/networking.k8s.io/v1 networkpolicies",
            json!({"spec": {"podSelector": {}}}),
        ),
        ("/apis/rbac.authorization.k8s.io/v1 roles", json!({"rules": []})),
        (
            "/apis/rbac.authorization.k8s.io/v1 rolebindings",
            json!({"roleRef": role, "subjects": []}),
        ),
    ]
}

/// The same of the kinds that live in none.
fn cluster() -> Vec<(&'static str, Value)> {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"});
    let crd = json!({"metadata": {"name": "documenteds.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "documenteds", "singular": "documented", "kind": "Documented", "listKind": "DocumentedList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    vec![
        ("/api/v1 namespaces", json!({})),
        (
            "/api/v1 persistentvolumes",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/x"},
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "none"}}),
        ),
        (
            "/apis/storage.k8s.io/v1 storageclasses",
            json!({"provisioner": "example.com/none"}),
        ),
        (
            "/apis/networking.k8s.io/v1 ingressclasses",
            json!({"spec": {"controller": "example.com/none"}}),
        ),
        ("/apis/scheduling.k8s.io/v1 priorityclasses", json!({"value": 1})),
        ("/apis/node.k8s.io/v1 runtimeclasses", json!({"handler": "none"})),
        ("/apis/rbac.authorization.k8s.io/v1 clusterroles", json!({"rules": []})),
        (
            "/apis/rbac.authorization.k8s.io/v1 clusterrolebindings",
            json!({"roleRef": role, "subjects": []}),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1 mutatingwebhookconfigurations",
            json!({"webhooks": []}),
        ),
        (
            "/apis/admissionregistration.k8s.io/v1 validatingwebhookconfigurations",
            json!({"webhooks": []}),
        ),
        ("/apis/apiextensions.k8s.io/v1 customresourcedefinitions", crd),
    ]
}

/// All operations on an object of a kind, in the order in which a life has them.
async fn live(node: &Controlled, all: &str, place: &str, object: &Value) {
    let asked = &node.asked;
    let found = |list: &Value| list["items"].as_array().map_or(0, Vec::len);
    let mut object = object.clone();
    if object["metadata"].is_null() {
        object["metadata"] = json!({"name": "documented"});
    }
    object["metadata"]["labels"] = json!({"documented": "yes"});
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let one = format!("{place}/{name}");
    let selected = format!("{all}?labelSelector={LABEL}");
    let before = asked.must("GET", &selected, Value::Null).await;
    assert_eq!(found(&before), 0, "{all}");
    let version = before["metadata"]["resourceVersion"].as_str().expect("a version");
    let path = format!("{selected}&watch=true&resourceVersion={version}");
    let watch = asked.send("GET", &path, &[], &Value::Null).await.into_body();

    let made = asked.must("POST", place, object.clone()).await;
    assert!(made["metadata"]["uid"].is_string(), "{made}");
    let (code, again) = asked.ask("POST", place, object).await;
    assert_eq!(
        (code, &again["reason"]),
        (StatusCode::CONFLICT, &json!("AlreadyExists")),
        "{one}"
    );
    let got = asked.must("GET", &one, Value::Null).await;
    assert_eq!(got["metadata"]["uid"], made["metadata"]["uid"]);
    for path in [&selected, &format!("{place}?labelSelector={LABEL}")] {
        assert_eq!(found(&asked.must("GET", path, Value::Null).await), 1, "{path}");
    }
    let patch = json!({"metadata": {"annotations": {"patched": "yes"}}});
    let (code, patched) = asked.ask_as("PATCH", &one, &[("content-type", MERGE)], patch).await;
    assert_eq!(
        (code, &patched["metadata"]["annotations"]["patched"]),
        (StatusCode::OK, &json!("yes")),
        "{one}"
    );
    // Controllers may write between a read and a write.
    let mut next = asked.must("GET", &one, Value::Null).await;
    next["metadata"]["annotations"]["updated"] = "yes".into();
    next["metadata"]
        .as_object_mut()
        .expect("a map")
        .remove("resourceVersion");
    let updated = asked.must("PUT", &one, next).await;
    assert_eq!(updated["metadata"]["annotations"]["updated"], "yes", "{one}");
    report(asked, &one).await;
    let deleted = asked.must("DELETE", &one, json!({"gracePeriodSeconds": 0})).await;
    assert!(
        ["Status", ""].contains(&deleted["kind"].as_str().unwrap_or_default()) || deleted["metadata"]["name"] == *name,
        "{deleted}"
    );
    node.until_gone(&one).await;
    let told = told(&lines(watch, "DELETED").await);
    assert_eq!(told.first(), Some(&format!("ADDED {name}")), "{one}");
    assert!(told.contains(&format!("MODIFIED {name}")), "{one}: {told:?}");
}

/// A report on an object, of kinds that have reports: what is said there of the rest of the object is passed over, but for notes.
async fn report(asked: &Asked, one: &str) {
    let path = format!("{one}/status");
    let (code, _) = asked.ask("GET", &path, Value::Null).await;
    if code == StatusCode::NOT_FOUND {
        return;
    }
    let patch = json!({"metadata": {"annotations": {"reported": "yes"}}, "status": {"conditions": [
        {"type": "Documented", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "R", "message": "m"}]}});
    // Not every report has conditions.
    let patch = if ["resourcequotas", "ingresses", "persistentvolumes/"]
        .iter()
        .any(|kind| one.contains(kind))
    {
        json!({"metadata": patch["metadata"]})
    } else {
        patch
    };
    let (code, reported) = asked.ask_as("PATCH", &path, &[("content-type", MERGE)], patch).await;
    assert_eq!(code, StatusCode::OK, "{path}: {reported}");
    assert_eq!(reported["metadata"]["annotations"]["reported"], "yes", "{path}");
}

#[tokio::test]
async fn every_kind_has_every_operation() {
    let node = Controlled::start().await;
    for (kind, object) in namespaced() {
        let (group, plural) = kind.split_once(' ').expect("two words");
        let (all, place) = (
            format!("{group}/{plural}"),
            format!("{group}/namespaces/default/{plural}"),
        );
        live(&node, &all, &place, &object).await;
        for name in ["one", "two"] {
            let mut object = object.clone();
            object["metadata"] = json!({"name": name, "labels": {"documented": "yes"}});
            node.asked.must("POST", &place, object).await;
        }
        let selected = format!("{place}?labelSelector={LABEL}");
        node.asked
            .must("DELETE", &selected, json!({"gracePeriodSeconds": 0}))
            .await;
        node.until(&selected, "the collection is gone", |_, list| {
            list["items"] == json!([])
        })
        .await;
    }
    for (kind, object) in cluster() {
        let all = kind.replace(' ', "/");
        live(&node, &all, &all, &object).await;
    }
}

fn owned(name: &str, owners: &[&Value]) -> Value {
    let owner = |owner: &&Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": true})
    };
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    json!({"metadata": {"name": name, "ownerReferences": owners}})
}

#[tokio::test]
async fn what_is_owned_goes_with_its_last_owner_and_circles_hold_nobody() {
    let node = Controlled::start().await;
    let asked = &node.asked;
    let (first, second) = (
        asked.must("POST", MAPS, owned("first", &[])).await,
        asked.must("POST", MAPS, owned("second", &[])).await,
    );
    asked.must("POST", MAPS, owned("both", &[&first, &second])).await;
    asked.must("POST", MAPS, owned("only", &[&first])).await;
    let foreground = json!({"propagationPolicy": "Foreground"});
    asked.must("DELETE", &format!("{MAPS}/first"), foreground.clone()).await;
    for name in ["first", "only"] {
        node.until_gone(&format!("{MAPS}/{name}")).await;
    }
    let is_seconds = |_, map: &Value| {
        map["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|owners| owners.len() == 1)
    };
    node.until(&format!("{MAPS}/both"), "one owner is left", is_seconds)
        .await;

    let mut circle = Vec::new();
    for name in ["a", "b", "c"] {
        circle.push(asked.must("POST", MAPS, owned(name, &[])).await);
    }
    for (place, name) in ["a", "b", "c"].into_iter().enumerate() {
        let owner = &circle[(place + 2) % 3];
        let patch = json!({"metadata": {"ownerReferences": owned(name, &[owner])["metadata"]["ownerReferences"]}});
        let path = format!("{MAPS}/{name}");
        assert_eq!(
            asked.ask_as("PATCH", &path, &[("content-type", MERGE)], patch).await.0,
            StatusCode::OK
        );
    }
    asked.must("DELETE", &format!("{MAPS}/a"), foreground).await;
    for name in ["a", "b", "c"] {
        node.until_gone(&format!("{MAPS}/{name}")).await;
    }
}

#[tokio::test]
async fn a_deployments_replicas_go_with_it_or_are_orphaned() {
    let node = Controlled::start().await;
    let (deployments, sets) = (
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apps/v1/namespaces/default/replicasets",
    );
    let web = json!({"metadata": {"name": "web"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}});
    for policy in ["Background", "Foreground", "Orphan"] {
        node.asked.must("POST", deployments, web.clone()).await;
        node.until(sets, "there is a ReplicaSet", |_, list| {
            list["items"][0]["metadata"]["ownerReferences"].is_array()
        })
        .await;
        let options = json!({"propagationPolicy": policy});
        node.asked.must("DELETE", &format!("{deployments}/web"), options).await;
        node.until_gone(&format!("{deployments}/web")).await;
        if policy != "Orphan" {
            node.until(sets, "the ReplicaSet is gone", |_, list| list["items"] == json!([]))
                .await;
        }
    }
    let left = node.asked.must("GET", sets, Value::Null).await;
    assert_eq!(left["items"][0]["metadata"]["ownerReferences"], Value::Null, "{left}");
}

#[tokio::test]
async fn a_namespace_is_labelled_reported_on_held_and_emptied() {
    let node = Controlled::start().await;
    let asked = &node.asked;
    let one = "/api/v1/namespaces/team";
    asked
        .must("POST", "/api/v1/namespaces", json!({"metadata": {"name": "team"}}))
        .await;
    let root = format!("{one}/configmaps/kube-root-ca.crt");
    node.until(&root, "the authority's certificate", |code, _| code == StatusCode::OK)
        .await;
    asked.must("DELETE", &root, Value::Null).await;
    node.until(&root, "it is back", |code, _| code == StatusCode::OK).await;
    let changed = json!({"data": {"ca.crt": ""}});
    asked.ask_as("PATCH", &root, &[("content-type", MERGE)], changed).await;
    node.until(&root, "it is as it was", |_, map| {
        map["data"]["ca.crt"] == "a certificate"
    })
    .await;
    let mut held = asked.must("GET", one, Value::Null).await;
    held["spec"]["finalizers"] = json!(["kubernetes", "example.com/hold"]);
    let held = asked.must("PUT", &format!("{one}/finalize"), held).await;
    assert_eq!(held["spec"]["finalizers"], json!(["kubernetes", "example.com/hold"]));
    asked
        .must(
            "POST",
            &format!("{one}/services"),
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}),
        )
        .await;
    asked.must("DELETE", one, Value::Null).await;
    node.until_gone(&format!("{one}/services/s")).await;
    node.until(one, "it waits", |_, namespace| {
        namespace["status"]["phase"] == "Terminating"
    })
    .await;
    let (code, refused) = asked
        .ask("POST", &format!("{one}/configmaps"), map("late", json!({})))
        .await;
    assert_eq!(
        (code, &refused["details"]["causes"][0]["reason"]),
        (StatusCode::FORBIDDEN, &json!("NamespaceTerminating"))
    );
    let mut freed = asked.must("GET", one, Value::Null).await;
    freed["spec"]["finalizers"] = json!([]);
    asked.must("PUT", &format!("{one}/finalize"), freed).await;
    node.until_gone(one).await;
    asked
        .must("POST", "/api/v1/namespaces", json!({"metadata": {"name": "team"}}))
        .await;
}

#[tokio::test]
async fn what_is_immutable_stays_and_keys_have_names() {
    let asked = Asked::start().await;
    for (plural, value, other) in [("configmaps", "a", "b"), ("secrets", "YQ==", "Yg==")] {
        let place = format!("/api/v1/namespaces/default/{plural}");
        let (code, refused) = asked
            .ask("POST", &place, json!({"metadata": {"name": "e"}, "data": {"": value}}))
            .await;
        assert_eq!(
            (code, &refused["reason"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid"))
        );
        let whole = json!({"metadata": {"name": "fixed"}, "data": {"k": value}});
        asked.must("POST", &place, whole.clone()).await;
        let one = format!("{place}/fixed");
        let with = async |patch: Value| asked.ask_as("PATCH", &one, &[("content-type", MERGE)], patch).await.0;
        assert_eq!(with(json!({"data": {"k": other}})).await, StatusCode::OK);
        assert_eq!(with(json!({"immutable": true})).await, StatusCode::OK);
        for patch in [
            json!({"data": {"k": value}}),
            json!({"immutable": false}),
            json!({"immutable": null}),
        ] {
            assert_eq!(with(patch.clone()).await, StatusCode::UNPROCESSABLE_ENTITY, "{patch}");
        }
        assert_eq!(with(json!({"metadata": {"labels": {"a": "b"}}})).await, StatusCode::OK);
        asked.must("DELETE", &one, Value::Null).await;
    }
}

#[tokio::test]
async fn a_list_whose_moment_is_forgotten_goes_on_with_another() {
    let asked = Asked::start().await;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        asked.must("POST", MAPS, map(name, json!({}))).await;
    }
    let first = asked.must("GET", &format!("{MAPS}?limit=3"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().expect("more").to_owned();
    asked.write_more_than_is_remembered().await;
    let (code, expired) = asked
        .ask("GET", &format!("{MAPS}?limit=3&continue={token}"), Value::Null)
        .await;
    assert_eq!(
        (code, &expired["reason"]),
        (StatusCode::GONE, &json!("Expired")),
        "{expired}"
    );
    let token = expired["metadata"]["continue"].as_str().expect("a token").to_owned();
    let next = asked
        .must("GET", &format!("{MAPS}?limit=3&continue={token}"), Value::Null)
        .await;
    assert_ne!(
        next["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert!(
        names(&next)[0] > names(&first)[2],
        "{:?} {:?}",
        names(&first),
        names(&next)
    );
    // From there on it is of one moment again.
    let token = next["metadata"]["continue"].as_str().expect("more").to_owned();
    let last = asked
        .must("GET", &format!("{MAPS}?limit=3&continue={token}"), Value::Null)
        .await;
    assert_eq!(last["metadata"]["resourceVersion"], next["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn answers_that_are_about_no_object_are_as_documented() {
    let asked = Asked::start().await;
    let groups = asked.must("GET", "/apis", Value::Null).await;
    for group in groups["groups"].as_array().expect("groups") {
        let preferred = group["preferredVersion"]["groupVersion"].as_str().expect("a version");
        assert!(
            group["versions"]
                .as_array()
                .expect("versions")
                .iter()
                .any(|version| version["groupVersion"] == preferred)
        );
        let resources = asked.must("GET", &format!("/apis/{preferred}"), Value::Null).await;
        assert_eq!(
            (&resources["kind"], &resources["groupVersion"]),
            (&json!("APIResourceList"), &json!(preferred))
        );
        assert_ne!(resources["resources"], json!([]), "{preferred}");
    }
    let issuer = asked
        .must("GET", "/.well-known/openid-configuration", Value::Null)
        .await;
    assert_eq!(issuer["issuer"], "https://kubernetes.default.svc.cluster.local");
    let keys = asked.must("GET", "/openid/v1/jwks", Value::Null).await;
    assert_eq!(keys["keys"][0]["kty"], "EC");
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let question = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (code, refused) = asked
        .ask_as("POST", review, &[("accept", table)], question.clone())
        .await;
    assert_eq!(
        (code, &refused["reason"]),
        (StatusCode::NOT_ACCEPTABLE, &json!("NotAcceptable"))
    );
    let either = format!("{table},application/json");
    let (code, answer) = asked.ask_as("POST", review, &[("accept", &either)], question).await;
    assert_eq!(
        (code, &answer["status"]["allowed"]),
        (StatusCode::CREATED, &json!(true))
    );
}

#[tokio::test]
async fn a_pod_that_speaks_tls_is_reached_whatever_its_certificate() {
    let asked = Asked::start().await;
    let signed = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.into())
        .expect("they fit");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("has one").port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("comes");
        let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
            .expect("speaks TLS");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.expect("goes on"));
        }
        let is_it = asked.starts_with(b"GET /path?a=b HTTP/1.1");
        let body = json!({"is_it": is_it}).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.expect("is read");
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "x"}]}, "status": {"podIP": "127.0.0.1"}});
    let pod = kubelocal::model::Object::new(pod).expect("a pod");
    asked.0.store.create(pod).expect("is new");
    let path = format!("/api/v1/namespaces/default/pods/https:web:{port}/proxy/path?a=b");
    let answer = asked.must("GET", &path, Value::Null).await;
    assert_eq!(answer, json!({"is_it": true}));
}
