//! Storage that outlives pods: the words of claims, volumes and classes, and which directories the node makes for them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Kind, Object, kind, list_at, text_at};

/// Who makes the volumes of the node's own class.
pub const PROVISIONER: &str = "kubelocal.dev/local";
/// The node's own class, which claims that name none get.
pub const DEFAULT_CLASS: &str = "local";
/// On a volume: who made it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Holds a volume until its data was removed, or was found to be meant to stay.
pub const DATA_FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// Holds a volume while a claim has it (`kubernetes.io/pv-protection`).
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// PersistentVolumeClaims.
#[must_use]
pub fn kind_of_claims() -> &'static Kind {
    kind("v1", "PersistentVolumeClaim").expect("in the table")
}

/// PersistentVolumes.
#[must_use]
pub fn kind_of_volumes() -> &'static Kind {
    kind("v1", "PersistentVolume").expect("in the table")
}

/// StorageClasses.
#[must_use]
pub fn kind_of_classes() -> &'static Kind {
    kind("storage.k8s.io/v1", "StorageClass").expect("in the table")
}

/// Whether objects of a kind hold what people can't get back from files: they stay when the files go.
#[must_use]
pub fn holds_data(kind: &Kind) -> bool {
    kind == kind_of_claims()
}

/// The name of the claim that is made for a pod's volume.
#[must_use]
pub fn own_claim_name(pod: &str, volume: &str) -> String {
    format!("{pod}-{volume}")
}

/// The claims that a pod names, or has of its own.
#[must_use]
pub fn claims_of(pod: &Object) -> Vec<String> {
    let volumes = list_at(pod.value(), "/spec/volumes").iter();
    let claim = |volume: &Value| {
        if volume.get("ephemeral").is_some() {
            return Some(own_claim_name(&pod.key().name, text_at(volume, "/name")));
        }
        let named = volume.pointer("/persistentVolumeClaim/claimName")?;
        named.as_str().map(str::to_owned)
    };
    volumes.filter_map(claim).collect()
}

/// What a volume that is made for a claim is called.
#[must_use]
pub fn volume_name(claim: &Object) -> String {
    format!("pvc-{}", claim.uid())
}

/// The directory for a claim's volume below that of its class; people find theirs by namespace and name.
#[must_use]
pub fn volume_path(directory: &Path, claim: &Object) -> PathBuf {
    let key = claim.key();
    directory.join(format!("{}_{}_{}", key.namespace, key.name, volume_name(claim)))
}

/// The directory of a volume that the node made. Anybody may write a volume that says so: what is not named as the node names
/// its own is not taken for one, for its content is removed with it.
#[must_use]
pub fn provisioned_path(volume: &Object) -> Option<&Path> {
    if volume.annotations().get(PROVISIONED_BY) != Some(&PROVISIONER) {
        return None;
    }
    let path = Path::new(volume.text("/spec/hostPath/path"));
    let (name, own) = (path.file_name()?.to_str()?, &volume.key().name);
    let is_ours = path.is_absolute() && own.starts_with("pvc-") && name.ends_with(&format!("_{own}"));
    is_ours.then_some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(name: &str, path: &str, by: &str) -> Object {
        let metadata = json!({"name": name, "annotations": {PROVISIONED_BY: by}});
        let spec = json!({"hostPath": {"path": path}});
        Object::new(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}))
            .expect("a volume")
    }

    #[test]
    fn only_a_directory_that_is_named_as_the_nodes_own_is_the_nodes() {
        for (name, path, by, is_ours) in [
            ("pvc-1", "/v/default_data_pvc-1", PROVISIONER, true),
            ("pvc-1", "/v/default_data_pvc-1", "other.io/x", false),
            ("pvc-1", "/home/me", PROVISIONER, false),
            ("me", "/home/x_me", PROVISIONER, false),
            ("pvc-1", "v/default_data_pvc-1", PROVISIONER, false),
        ] {
            let found = volume(name, path, by);
            assert_eq!(provisioned_path(&found).is_some(), is_ours, "{name} {path} {by}");
        }
    }
}
