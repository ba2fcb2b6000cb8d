//! The objects that are the node's own: namespaces, classes, and the Node.

use super::Failure;
use super::listen::Loopback;
use crate::model::{Object, Paths};
use crate::store::{Store, StoreError};
use crate::{controller, ingress};

/// Makes what is there before anybody asks for it: namespaces and classes, and the node.
pub(super) fn create_own(store: &Store, paths: &Paths, loopback: &Loopback, node: &Object) -> Result<(), Failure> {
    controller::create_initial(store, &paths.volumes, &loopback.authority_certificate)?;
    ingress::create_class(store)?;
    report_node(store, node)?;
    Ok(())
}

/// Tells of the machine. What others said of the node, its labels, its taints and whether it takes pods, stays as they said it.
fn report_node(store: &Store, node: &Object) -> Result<(), StoreError> {
    match store.create(node.clone()) {
        Ok(_) => Ok(()),
        Err(StoreError::AlreadyExists(key)) => {
            let tell = |present: &mut Object| {
                present.value_mut()["spec"]["podCIDR"] = node.value()["spec"]["podCIDR"].clone();
                present.value_mut()["spec"]["podCIDRs"] = node.value()["spec"]["podCIDRs"].clone();
                let status = &mut present.value_mut()["status"];
                let images = status["images"].take();
                *status = node.value()["status"].clone();
                // They have not changed while no node ran, but for what other programs share with us.
                if !images.is_null() {
                    status["images"] = images;
                }
                for (name, value) in node.labels() {
                    present.value_mut()["metadata"]["labels"][name] = value.into();
                }
            };
            store.update_status(&key, tell).map(drop)
        }
        Err(error) => Err(error),
    }
}
