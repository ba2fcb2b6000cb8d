//! The ClusterRoles that charts take for granted (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`), made at the start if they are not there.

use serde_json::{Value, json};

use crate::model::Object;
use crate::store::{Store, StoreError};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What is made of kinds that live in namespaces; secrets and what gives rights are told apart.
const READABLE: [(&str, &[&str]); 9] = [
    (
        "",
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "replicationcontrollers",
            "resourcequotas",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    ("apps", &["*"]),
    ("autoscaling", &["*"]),
    ("batch", &["*"]),
    ("coordination.k8s.io", &["leases"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    (
        "networking.k8s.io",
        &["ingresses", "ingresses/status", "networkpolicies"],
    ),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
];

/// What is changed besides, by who may change.
const ACTED: [&str; 8] = [
    "pods/attach",
    "pods/eviction",
    "pods/exec",
    "pods/portforward",
    "pods/proxy",
    "secrets",
    "serviceaccounts/token",
    "services/proxy",
];

const CHANGE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// Makes those that are missing.
pub(super) fn create_initial(store: &Store) -> Result<(), StoreError> {
    for role in roles() {
        match store.create(role) {
            Ok(_) | Err(StoreError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn roles() -> [Object; 6] {
    let everything = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]);
    let (view, edit) = (read(), [read(), write()].concat());
    let mut admin = edit.clone();
    admin.push(json!({
        "apiGroups": [GROUP],
        "resources": ["rolebindings", "roles"],
        "verbs": ["get", "list", "watch"],
    }));
    let delegator = json!([
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]);
    [
        role("cluster-admin", everything),
        role("admin", admin.into()),
        role("edit", edit.into()),
        role("view", view.into()),
        role("system:auth-delegator", delegator),
        object(
            "ClusterRoleBinding",
            "cluster-admin",
            json!({
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": "system:masters"}],
            }),
        ),
    ]
}

fn read() -> Vec<Value> {
    let rule = |(group, resources): &(&str, &[&str])| json!({"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]});
    READABLE.iter().map(rule).collect()
}

fn write() -> Vec<Value> {
    let is_changed = |resource: &&&str| {
        !["bindings", "limitranges", "resourcequotas"].contains(*resource) && !resource.starts_with("namespaces")
    };
    let rule = |(group, resources): &(&str, &[&str])| {
        let resources: Vec<_> = resources.iter().filter(is_changed).collect();
        json!({"apiGroups": [group], "resources": resources, "verbs": CHANGE})
    };
    let verbs = [&["get", "list", "watch"][..], &CHANGE[..]].concat();
    let acted = json!({
        "apiGroups": [""],
        "resources": ACTED,
        "verbs": verbs,
    });
    READABLE.iter().map(rule).chain([acted]).collect()
}

fn role(name: &str, rules: Value) -> Object {
    object("ClusterRole", name, json!({"rules": rules}))
}

fn object(kind: &str, name: &str, mut value: Value) -> Object {
    value["apiVersion"] = format!("{GROUP}/v1").into();
    value["kind"] = kind.into();
    value["metadata"] = json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}});
    Object::new(value).expect("has a kind and a name")
}
