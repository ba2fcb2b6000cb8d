//! Annotations by which podman is told what Kubernetes has no field for: people have them in their files, and none acts here.

use serde_json::Value;

use super::FieldNote;
use crate::admit::path::{FieldPath, Step};

/// What begins so is podman's, and what to do instead; the first that fits counts.
const ANNOTATIONS: [(&str, &str); 9] = [
    (
        "io.podman.annotations.userns",
        "all pods run in the user namespace of the node",
    ),
    (
        "io.podman.annotations.init.container.type",
        "init containers run once; restartPolicy: Always makes one run along",
    ),
    (
        "io.podman.annotations.volumes-from",
        "name the volume in the volumeMounts of both containers",
    ),
    (
        "io.podman.annotations.kube.image",
        "a volume of the kind image mounts one",
    ),
    ("io.podman.annotations.", "podman alone reads it"),
    (
        "io.containers.autoupdate",
        "imagePullPolicy says when an image is asked for again",
    ),
    (
        "io.containers.sdnotify",
        "a readinessProbe says when a container is ready",
    ),
    ("volume.podman.io/", "the claim's StorageClass says where its data lies"),
    ("bind-mount-options", "files of the host keep their labels"),
];

/// Where annotations stand: an object's own, and those of the pods that it makes.
const PLACES: [&[&str]; 2] = [
    &["metadata", "annotations"],
    &["spec", "template", "metadata", "annotations"],
];

/// What is to be said about an object's annotations.
pub(super) fn notes(value: &Value) -> Vec<FieldNote> {
    let mut found = Vec::new();
    for place in PLACES {
        let annotations = place.iter().try_fold(value, |value, field| value.get(field));
        for name in annotations
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.keys())
        {
            if let Some((_, instead)) = ANNOTATIONS.iter().find(|(beginning, _)| name.starts_with(beginning)) {
                let mut path = FieldPath::of(place);
                path.push(Step::Key(name.clone()));
                found.push(FieldNote::warning(path, format!("not honoured: {instead}")));
            }
        }
    }
    found
}
