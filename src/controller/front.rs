//! The Service `kubernetes`, by which pods find the API (`pkg/controlplane/controller/kubernetesservice`). Where it leads does not change:
//! the API listens at one address of the pods' network.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Controller;
use super::plan::{Plan, Write};
use crate::model::{API_PORT, API_SERVICE, GATEWAY, Key, Object, SERVICE_NAME, kind};
use crate::store::{Change, Store};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";

pub(super) struct Front;

impl Controller for Front {
    fn name(&self) -> &'static str {
        "kubernetes-service-controller"
    }

    fn all(&self, _store: &Store) -> Vec<Key> {
        vec![key()]
    }

    fn touched(&self, _store: &Store, change: &Change) -> Vec<Key> {
        let of = change.object.key();
        let is_ours = of.name == NAME
            && of.namespace == NAMESPACE
            && ["Service", "Endpoints", "EndpointSlice"].contains(&of.kind().kind);
        is_ours.then(key).into_iter().collect()
    }

    fn plan(&self, store: &Store, _key: &Key, _now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        for wanted in objects() {
            match store.get(wanted.key()) {
                None => plan.write(Write::Create(wanted)),
                Some(present) => {
                    let mut mended = Object::clone(&present);
                    for (field, value) in wanted.value().as_object().expect("objects are JSON objects") {
                        if field != "metadata" {
                            mend(&mut mended.value_mut()[field], value);
                        }
                    }
                    if mended != *present {
                        plan.write(Write::Update(mended));
                    }
                }
            }
        }
        plan
    }
}

fn key() -> Key {
    Key::new(kind("v1", "Service").expect("in the table"), NAMESPACE, NAME)
}

/// Sets what we say in what is there; what others said beside it stays.
fn mend(present: &mut Value, wanted: &Value) {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => {
            for (field, value) in wanted {
                mend(present.entry(field.as_str()).or_insert(Value::Null), value);
            }
        }
        (present, wanted) => present.clone_from(wanted),
    }
}

fn objects() -> [Object; 3] {
    let (service, gateway) = (API_SERVICE.to_string(), GATEWAY.to_string());
    let port = || json!({"name": "https", "port": API_PORT, "protocol": "TCP"});
    [
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": service,
                "clusterIPs": [service],
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": API_PORT}],
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses": [{"ip": gateway}], "ports": [port()]}],
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {SERVICE_NAME: NAME}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [gateway], "conditions": {"ready": true}}],
            "ports": [port()],
        }),
    ]
    .map(|value| Object::new(value).expect("has a kind and a name"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::plan::Step;
    use super::*;
    use crate::model::SystemClock;

    #[test]
    fn the_service_comes_back_and_leads_to_the_api_whatever_others_make_of_it() {
        let store = Store::in_memory(Arc::new(SystemClock));
        let writes = |store: &Store| {
            let steps = Front.plan(store, &key(), Timestamp::UNIX_EPOCH).steps.into_iter();
            steps.map(|step| match step {
                Step::Write(Write::Create(object) | Write::Update(object)) => object,
                other => panic!("{other:?}"),
            })
        };
        for object in writes(&store).collect::<Vec<_>>() {
            store.create(object).expect("is new");
        }
        assert_eq!(writes(&store).count(), 0, "nothing is left to do");
        let change = |object: &mut Object| {
            object.value_mut()["spec"]["ports"] = json!([{"port": 80}]);
            object
                .metadata_mut()
                .insert("annotations".to_owned(), json!({"a": "b"}));
        };
        store.update(&key(), change).expect("is there");
        let mended: Vec<Object> = writes(&store).collect();
        assert_eq!(mended.len(), 1);
        assert_eq!(mended[0].at("/spec/ports/0/port"), Some(&json!(443)));
        assert_eq!(mended[0].at("/metadata/annotations/a"), Some(&json!("b")));
    }
}
