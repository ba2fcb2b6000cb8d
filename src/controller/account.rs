//! What each namespace has for its pods to speak to the API: the ServiceAccount `default`
//! (`pkg/controller/serviceaccount/serviceaccounts_controller.go`) and the authority's certificate
//! (`pkg/controller/certificates/rootcacertpublisher`).

use jiff::Timestamp;
use serde_json::json;

use super::Controller;
use super::namespace::SYSTEM;
use super::plan::{Plan, Write};
use crate::model::{Key, Kind, Object, kind};
use crate::store::{Change, Store, StoreError};

const NAME: &str = "default";

/// The ConfigMap with the authority's certificate. The one of this namespace is the node's own; the others follow it.
const AUTHORITY: &str = "kube-root-ca.crt";
const ORIGINAL: &str = "kube-system";

/// Decides for namespaces.
pub(super) struct Accounts;

impl Controller for Accounts {
    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let namespaces = store.list(kind_of_namespaces(), None).items;
        namespaces.iter().map(|namespace| namespace.key().clone()).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let key = change.object.key();
        if key.kind() == kind_of_namespaces() {
            return vec![key.clone()];
        }
        if *key == authority_of(ORIGINAL) {
            return self.all(store);
        }
        let is_ours = *key == authority_of(&key.namespace) || *key == account_of(&key.namespace);
        let namespace = is_ours.then(|| Key::new(kind_of_namespaces(), "", &key.namespace));
        namespace.into_iter().collect()
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        if store.get(key).is_none_or(|namespace| namespace.is_deleting()) {
            return plan;
        }
        if store.get(&account_of(&key.name)).is_none() {
            plan.write(Write::Create(account(&key.name)));
        }
        let original = store.get(&authority_of(ORIGINAL));
        let Some(text) = original.as_deref().map(certificate) else {
            return plan;
        };
        match store.get(&authority_of(&key.name)) {
            None => plan.write(Write::Create(authority(&key.name, text))),
            Some(present) if certificate(&present) != text => {
                let mut wanted = Object::clone(&present);
                wanted.value_mut()["data"] = json!({"ca.crt": text});
                plan.write(Write::Update(wanted));
            }
            Some(_) => {}
        }
        plan
    }
}

/// Makes both for the namespaces that are always there, so that the first pods need not wait for them.
pub(super) fn create_initial(store: &Store, certificate: &str) -> Result<(), StoreError> {
    for namespace in SYSTEM {
        match store.create(account(namespace)) {
            Ok(_) | Err(StoreError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
        let wanted = authority(namespace, certificate);
        match store.create(wanted.clone()) {
            Ok(_) => {}
            Err(StoreError::AlreadyExists(key)) => {
                // The authority may be another one than that of an earlier node.
                let data = wanted.into_value()["data"].take();
                store.update(&key, |present| present.value_mut()["data"] = data)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn account(namespace: &str) -> Object {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}});
    Object::new(account).expect("has a kind and a name")
}

fn authority(namespace: &str, certificate: &str) -> Object {
    let about = "The certificate of the authority that signs the API's own: by it pods know whom they speak to.";
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": AUTHORITY, "namespace": namespace, "annotations": {"kubernetes.io/description": about}},
        "data": {"ca.crt": certificate},
    });
    Object::new(map).expect("has a kind and a name")
}

/// The certificate in such a ConfigMap.
pub(super) fn certificate(map: &Object) -> &str {
    map.at("/data")
        .and_then(|data| data.get("ca.crt")?.as_str())
        .unwrap_or_default()
}

fn kind_of_namespaces() -> &'static Kind {
    kind("v1", "Namespace").expect("in the table")
}

fn account_of(namespace: &str) -> Key {
    Key::new(kind("v1", "ServiceAccount").expect("in the table"), namespace, NAME)
}

/// The ConfigMap of a namespace that has the certificate.
pub(super) fn authority_of(namespace: &str) -> Key {
    Key::new(kind("v1", "ConfigMap").expect("in the table"), namespace, AUTHORITY)
}
