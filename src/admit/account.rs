//! What a pod gets from its service account when it is made (`plugin/pkg/admission/serviceaccount`): a volume with a token in every
//! container that has nothing else there, and the credentials for images. Nobody owns these fields, so that no later apply takes them away.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::{Key, Object, kind, list_at};

/// Where programs look for a token (`serviceaccount.DefaultAPITokenMountPath`).
const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What the volumes are called, before their random letters.
const NAME: &str = "kube-api-access-";

/// An hour, and seven seconds by which upstream tells such tokens from others.
const SECONDS: i64 = 3607;

/// Gives an admitted object that is about to be made what its account has for it, if it is a pod. `find` looks the account up: one that is
/// not there yet may come, and the pod waits for it then, with the volume.
pub fn with_account(object: Object, find: impl FnOnce(&Key) -> Option<Arc<Object>>, suffix: &str) -> Object {
    if object.kind().kind != "Pod" {
        return object;
    }
    let accounts = kind("v1", "ServiceAccount").expect("in the table");
    let name = object.text("/spec/serviceAccountName");
    let account = find(&Key::new(accounts, &object.key().namespace, name));
    plan_pod(object, account.as_deref(), suffix)
}

fn plan_pod(mut pod: Object, account: Option<&Object>, suffix: &str) -> Object {
    let secrets = account.map(|account| list_at(account.value(), "/imagePullSecrets").to_vec());
    if list_at(pod.value(), "/spec/imagePullSecrets").is_empty()
        && let Some(secrets) = secrets.filter(|secrets| !secrets.is_empty())
    {
        pod.value_mut()["spec"]["imagePullSecrets"] = secrets.into();
    }
    let own = pod.at("/spec/automountServiceAccountToken").and_then(Value::as_bool);
    let of_account = || account?.at("/automountServiceAccountToken")?.as_bool();
    if own.or_else(of_account).unwrap_or(true) {
        mount(pod.value_mut(), &format!("{NAME}{suffix}"));
    }
    pod
}

fn mount(pod: &mut Value, name: &str) {
    let mut is_wanted = false;
    for list in ["/spec/initContainers", "/spec/containers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let has_one = list_at(container, "/volumeMounts")
                .iter()
                .any(|mount| mount["mountPath"] == PLACE);
            if !has_one {
                is_wanted = true;
                push(
                    container,
                    "volumeMounts",
                    json!({"name": name, "mountPath": PLACE, "readOnly": true}),
                );
            }
        }
    }
    if is_wanted {
        push(&mut pod["spec"], "volumes", volume(name));
    }
}

fn push(owner: &mut Value, list: &str, item: Value) {
    match owner[list].as_array_mut() {
        Some(items) => items.push(item),
        None => owner[list] = json!([item]),
    }
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": SECONDS}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Object {
        let value =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default"}, "spec": spec});
        super::super::admit(&value, None).expect("a pod")
    }

    fn account(fields: Value) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
        for (name, field) in fields.as_object().expect("a map") {
            value[name] = field.clone();
        }
        Object::new(value).expect("an account")
    }

    fn places(pod: &Object) -> Vec<String> {
        let lists = ["/spec/initContainers", "/spec/containers"].map(|list| list_at(pod.value(), list));
        let mounts = lists
            .into_iter()
            .flatten()
            .flat_map(|container| list_at(container, "/volumeMounts"));
        mounts
            .map(|mount| format!("{} at {}", mount["name"], mount["mountPath"]).replace('"', ""))
            .collect()
    }

    #[test]
    fn every_container_finds_a_token_where_programs_look_for_it() {
        let spec =
            json!({"initContainers": [{"name": "i", "image": "x"}], "containers": [{"name": "c", "image": "x"}]});
        let made = plan_pod(pod(spec), None, "abcde");
        assert_eq!(
            places(&made),
            [
                format!("kube-api-access-abcde at {PLACE}"),
                format!("kube-api-access-abcde at {PLACE}")
            ]
        );
        let again = super::super::admit(made.value(), None).expect("still a pod");
        assert_eq!(again, made, "the volume has its defaults");
    }

    #[test]
    fn who_wants_no_token_gets_none() {
        let plain = || json!({"containers": [{"name": "c", "image": "x"}]});
        let with = |field: bool| {
            let mut spec = plain();
            spec["automountServiceAccountToken"] = field.into();
            spec
        };
        let (yes, no) = (
            json!({"automountServiceAccountToken": true}),
            json!({"automountServiceAccountToken": false}),
        );
        for (spec, fields, expected) in [
            (plain(), json!({}), 1),
            (plain(), no.clone(), 0),
            (with(true), no, 1),
            (with(false), yes, 0),
        ] {
            let made = plan_pod(pod(spec.clone()), Some(&account(fields.clone())), "abcde");
            assert_eq!(places(&made).len(), expected, "{spec} {fields}");
            assert_eq!(list_at(made.value(), "/spec/volumes").len(), expected);
        }
    }

    #[test]
    fn what_a_pod_has_of_its_own_stays() {
        let spec = json!({
            "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": PLACE}]}],
            "volumes": [{"name": "v", "emptyDir": {}}], "imagePullSecrets": [{"name": "mine"}],
        });
        let made = plan_pod(
            pod(spec.clone()),
            Some(&account(json!({"imagePullSecrets": [{"name": "its"}]}))),
            "abcde",
        );
        assert_eq!(made, pod(spec));
        let spec = json!({"containers": [{"name": "c", "image": "x"}]});
        let made = plan_pod(
            pod(spec),
            Some(&account(json!({"imagePullSecrets": [{"name": "its"}]}))),
            "abcde",
        );
        assert_eq!(made.at("/spec/imagePullSecrets"), Some(&json!([{"name": "its"}])));
    }
}
