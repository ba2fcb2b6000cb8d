//! Manifests that run the built-in image; a test adds what it is about.

use std::fmt;

use serde_json::{Value, json};

/// The image that needs no registry.
pub const IMAGE: &str = "kubelocal.dev/demo";

/// One document. Printed as JSON, which is YAML.
#[derive(Clone)]
pub struct Manifest(pub Value);

impl Manifest {
    /// With another value at this JSON pointer; what is missing on the way is made.
    pub fn with(mut self, pointer: &str, value: Value) -> Manifest {
        let mut place = &mut self.0;
        for word in pointer.trim_start_matches('/').split('/') {
            place = match word.parse::<usize>() {
                Ok(index) if place.is_array() => &mut place[index],
                _ => &mut place[word],
            };
        }
        *place = value;
        self
    }

    /// In this namespace.
    pub fn in_namespace(self, namespace: &str) -> Manifest {
        self.with("/metadata/namespace", json!(namespace))
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Several documents in one file.
pub fn documents(manifests: impl IntoIterator<Item = Manifest>) -> String {
    let texts: Vec<String> = manifests.into_iter().map(|manifest| manifest.to_string()).collect();
    texts.join("\n---\n")
}

/// A container of the built-in image with these arguments, split at spaces.
pub fn container(name: &str, args: &str) -> Value {
    let args: Vec<&str> = args.split_whitespace().collect();
    json!({"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": args})
}

/// A pod with one such container, called `main`, that ends within two seconds when it is told.
pub fn pod(name: &str, args: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [container("main", args)]},
    }))
}

/// A pod that runs once.
pub fn job(name: &str, args: &str) -> Manifest {
    pod(name, args).with("/spec/restartPolicy", json!("Never"))
}

/// A Deployment of such pods, labelled `app: <name>`.
pub fn deployment(name: &str, replicas: u32, args: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [container("main", args)]},
            },
        },
    }))
}

/// A ConfigMap.
pub fn config_map(name: &str, data: Value) -> Manifest {
    Manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
}

/// A Secret with its values in clear.
pub fn secret(name: &str, data: Value) -> Manifest {
    Manifest(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}))
}

/// A Namespace.
pub fn namespace(name: &str) -> Manifest {
    Manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
}
