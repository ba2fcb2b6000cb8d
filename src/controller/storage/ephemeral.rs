//! Claims of a pod's own: one for each volume that asks for it, which goes with the pod (`pkg/controller/volume/ephemeral`).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::controller::Controller;
use crate::controller::claim::{controller_reference, controller_uid};
use crate::controller::plan::{Plan, Write};
use crate::controller::pods::{is_terminal, kind_of_pods};
use crate::event::EventKind;
use crate::model::storage::{kind_of_claims, own_claim_name};
use crate::model::{Key, Object, list_at, text_at};
use crate::store::{Change, Store};

pub(in crate::controller) struct Ephemeral;

impl Controller for Ephemeral {
    fn name(&self) -> &'static str {
        "ephemeral-volume-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let pods = store.list(kind_of_pods(), None).items;
        pods.iter().map(|pod| pod.key().clone()).collect()
    }

    fn touched(&self, _store: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        let is_asking = object.kind() == kind_of_pods() && !wanted_of(object).is_empty();
        is_asking.then(|| object.key().clone()).into_iter().collect()
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let Some(pod) = store.get(key) else {
            return Plan::default();
        };
        plan_own_claims(&pod, |name| {
            store.get(&Key::new(kind_of_claims(), &key.namespace, name))
        })
    }
}

/// The names of the claims and what they are made from.
fn wanted_of(pod: &Object) -> Vec<(String, &Value)> {
    let volumes = list_at(pod.value(), "/spec/volumes").iter();
    let wanted = |volume| {
        let template = Value::pointer(volume, "/ephemeral/volumeClaimTemplate")?;
        Some((own_claim_name(&pod.key().name, text_at(volume, "/name")), template))
    };
    volumes.filter_map(wanted).collect()
}

/// Makes the claims that are missing. One that is somebody else's is told: the pod can't use it.
pub(super) fn plan_own_claims(pod: &Object, find: impl Fn(&str) -> Option<Arc<Object>>) -> Plan {
    let mut plan = Plan::default();
    if pod.is_deleting() || is_terminal(pod) {
        return plan;
    }
    for (name, template) in wanted_of(pod) {
        match find(&name) {
            None => plan.write(Write::Create(claim(pod, &name, template))),
            Some(claim) if controller_uid(&claim) == Some(pod.uid()) => {}
            Some(_) => {
                let message = format!(
                    "PVC {:?} was not created for pod {:?} (pod is not owner)",
                    name,
                    pod.key().name
                );
                plan.tell(EventKind::Warning, "EphemeralVolumeFailed", message);
            }
        }
    }
    plan
}

fn claim(pod: &Object, name: &str, template: &Value) -> Object {
    let mut metadata = json!({
        "name": name, "namespace": pod.key().namespace, "ownerReferences": [controller_reference(pod)],
    });
    for field in ["labels", "annotations"] {
        if let Some(of_template) = template.pointer(&format!("/metadata/{field}")) {
            metadata[field] = of_template.clone();
        }
    }
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"],
    });
    Object::new(claim).expect("a claim with a name")
}
