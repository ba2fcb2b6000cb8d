//! The ServiceAccount `default` of each namespace (`pkg/controller/serviceaccount/serviceaccounts_controller.go`): charts and pods name it.

use jiff::Timestamp;
use serde_json::json;

use super::Controller;
use super::plan::{Plan, Write};
use crate::model::{Key, Kind, Object, kind};
use crate::store::{Change, Store};

const NAME: &str = "default";

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

    fn touched(&self, _store: &Store, change: &Change) -> Vec<Key> {
        let key = change.object.key();
        if key.kind() == kind_of_namespaces() {
            return vec![key.clone()];
        }
        let is_ours = key.kind() == kind_of_accounts() && key.name == NAME;
        let namespace = is_ours.then(|| Key::new(kind_of_namespaces(), "", &key.namespace));
        namespace.into_iter().collect()
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let is_alive = store.get(key).is_some_and(|namespace| !namespace.is_deleting());
        let account = Key::new(kind_of_accounts(), &key.name, NAME);
        if !is_alive || store.get(&account).is_some() {
            return Plan::default();
        }
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": key.name}});
        vec![Write::Create(Object::new(account).expect("has a kind and a name"))].into()
    }
}

fn kind_of_namespaces() -> &'static Kind {
    kind("v1", "Namespace").expect("in the table")
}

fn kind_of_accounts() -> &'static Kind {
    kind("v1", "ServiceAccount").expect("in the table")
}
