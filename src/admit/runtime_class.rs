//! What a pod gets from its RuntimeClass when it is made, and why it is refused (`plugin/pkg/admission/runtimeclass`). Nobody owns what it
//! gets, so that no later apply takes it away.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::gate::Refused;
use crate::model::{Key, Object, Quantity, kind, list_at};

/// Gives an admitted object that is about to be made what its class has for it, if it is a pod. `find` looks the class up.
///
/// # Errors
/// The class is not there, or the pod contradicts it.
pub fn with_class(object: Object, find: impl FnOnce(&Key) -> Option<Arc<Object>>) -> Result<Object, Refused> {
    if object.kind().kind != "Pod" {
        return Ok(object);
    }
    let key = object.key().clone();
    let classes = kind("node.k8s.io/v1", "RuntimeClass").expect("in the table");
    let named = object.at("/spec/runtimeClassName").and_then(Value::as_str);
    let given = match named.map(|name| find(&Key::new(classes, "", name)).ok_or(name)) {
        None => plan_pod(object, None),
        Some(Ok(class)) => plan_pod(object, Some(&class)),
        Some(Err(name)) => Err(format!("pod rejected: RuntimeClass {name:?} not found")),
    };
    given.map_err(|why| Refused::Forbidden(key, why))
}

fn plan_pod(mut pod: Object, class: Option<&Object>) -> Result<Object, String> {
    let overhead = class.and_then(|class| class.at("/overhead/podFixed"));
    match (overhead, pod.at("/spec/overhead").filter(|asked| !is_empty(asked))) {
        (None, None) => {}
        (Some(overhead), None) => pod.value_mut()["spec"]["overhead"] = overhead.clone(),
        (Some(overhead), Some(asked)) if amounts(overhead) == amounts(asked) => {}
        (Some(_), Some(_)) => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
        }
        (None, Some(_)) => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(why.to_owned());
        }
    }
    let Some(class) = class else { return Ok(pod) };
    let labels = class.at("/scheduling/nodeSelector").and_then(Value::as_object);
    for (label, wanted) in labels.into_iter().flatten() {
        let selector = &mut pod.value_mut()["spec"]["nodeSelector"];
        match selector.get(label).filter(|own| *own != wanted) {
            Some(own) => return Err(conflict(label, wanted, own)),
            None => selector[label] = wanted.clone(),
        }
    }
    for toleration in list_at(class.value(), "/scheduling/tolerations") {
        let present = &mut pod.value_mut()["spec"]["tolerations"];
        match present.as_array_mut() {
            // What others of the pod's cover is added too: it changes nothing, and the pod's own stay as they were written.
            Some(present) if present.contains(toleration) => {}
            Some(present) => present.push(toleration.clone()),
            None => *present = json!([toleration]),
        }
    }
    Ok(pod)
}

fn conflict(label: &str, wanted: &Value, own: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (wanted, own) = (text(wanted), text(own));
    format!(
        "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {wanted}; pod.spec.nodeSelector[{label}] = {own}"
    )
}

fn is_empty(amounts: &Value) -> bool {
    amounts.as_object().is_none_or(serde_json::Map::is_empty)
}

/// Amounts as numbers: `1Gi` is `1024Mi`.
fn amounts(list: &Value) -> BTreeMap<&str, Option<Quantity>> {
    let text = |amount: &Value| amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    let entries = list.as_object().into_iter().flatten();
    entries
        .map(|(name, amount)| (name.as_str(), Quantity::parse(&text(amount))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(fields: Value) -> Object {
        let mut spec = json!({"runtimeClassName": "slow", "containers": [{"name": "c", "image": "x"}]});
        let spec_fields = spec.as_object_mut().expect("a map");
        spec_fields.extend(fields.as_object().expect("a map").clone());
        spec_fields.retain(|_, value| !value.is_null());
        let metadata = json!({"name": "a", "namespace": "default"});
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        super::super::admit(&value, None).expect("a pod")
    }

    fn class(fields: Value) -> Arc<Object> {
        let metadata = json!({"name": "slow"});
        let mut value =
            json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": metadata, "handler": "runc"});
        value
            .as_object_mut()
            .expect("a map")
            .extend(fields.as_object().expect("a map").clone());
        Arc::new(super::super::admit(&value, None).expect("a class"))
    }

    #[test]
    fn a_pod_costs_what_its_class_says_and_runs_where_it_says() {
        let toleration = json!({"key": "slow", "operator": "Exists", "effect": "NoSchedule"});
        let scheduling = json!({"nodeSelector": {"disk": "ssd"}, "tolerations": [toleration]});
        let class = class(json!({"overhead": {"podFixed": {"memory": "8Mi"}}, "scheduling": scheduling}));
        let made = with_class(pod(json!({"nodeSelector": {"cpu": "arm"}})), |_| Some(class.clone())).expect("is taken");
        assert_eq!(made.at("/spec/overhead"), Some(&json!({"memory": "8Mi"})));
        assert_eq!(
            made.at("/spec/nodeSelector"),
            Some(&json!({"cpu": "arm", "disk": "ssd"}))
        );
        assert!(list_at(made.value(), "/spec/tolerations").contains(&toleration));
        let again = with_class(made.clone(), |_| Some(class)).expect("is taken");
        assert_eq!(again, made, "what it has already it is not given again");
        let plain = pod(json!({}));
        let old = Object::new(made.value().clone()).expect("a pod");
        let mut written_anew = plain.value().clone();
        written_anew["spec"]["overhead"] = json!({"memory": "8Mi"});
        written_anew["spec"]["nodeSelector"] = json!({"cpu": "arm", "disk": "ssd"});
        let kept = super::super::admit(&written_anew, Some(&old)).expect("the pod stays");
        assert_eq!(kept.at("/spec/tolerations"), made.at("/spec/tolerations"));
    }

    #[test]
    fn a_pod_that_contradicts_its_class_is_refused() {
        let costs = || Some(class(json!({"overhead": {"podFixed": {"memory": "1Gi"}}})));
        let overhead = |amount: &str| pod(json!({"overhead": {"memory": amount}}));
        let label = || Some(class(json!({"scheduling": {"nodeSelector": {"disk": "ssd"}}})));
        let differs = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        let undefined = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        for (pod, class, expected) in [
            (overhead("1024Mi"), costs(), ""),
            (overhead("1Mi"), costs(), differs),
            (overhead("1Mi"), Some(class(json!({}))), undefined),
            (
                pod(json!({"runtimeClassName": null, "overhead": {"cpu": "1m"}})),
                None,
                undefined,
            ),
            (pod(json!({"runtimeClassName": null})), None, ""),
            (pod(json!({})), None, "pod rejected: RuntimeClass \"slow\" not found"),
            (
                pod(json!({"nodeSelector": {"disk": "tape"}})),
                label(),
                "conflict: runtimeClass.scheduling.nodeSelector[disk] = ssd; pod.spec.nodeSelector[disk] = tape",
            ),
        ] {
            let said = with_class(pod, |_| class).map_or_else(|refused| refused.to_string(), |_| String::new());
            assert_eq!(said, expected);
        }
    }
}
