//! Storage: claims find or get their volumes, volumes follow what becomes of their claims, and pods that ask for it get claims of
//! their own (`pkg/controller/volume/persistentvolume`, `.../pvcprotection`, `.../pvprotection`, `.../ephemeral`).
//!
//! Objects only. The directories are made when a pod first mounts them, and removed by `volume`.

mod claims;
mod ephemeral;
#[cfg(test)]
mod tests;
mod volumes;

pub(super) use claims::Claims;
pub(super) use ephemeral::Ephemeral;
pub(super) use volumes::Volumes;

use std::path::Path;

use serde_json::json;

use crate::model::Object;
use crate::model::storage::{DEFAULT_CLASS, PROVISIONER};
use crate::store::{Store, StoreError};

/// On a class: claims that name none get this one.
const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Makes the node's own class, unless it is there: it may have been changed.
pub(super) fn create_class(store: &Store, directory: &Path) -> Result<(), StoreError> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": DEFAULT_CLASS, "annotations": {IS_DEFAULT: "true"}},
        "provisioner": PROVISIONER,
        "parameters": {"path": directory},
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": true,
    });
    let class = Object::new(class).expect("a StorageClass with a name");
    match store.create(class) {
        Ok(_) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
