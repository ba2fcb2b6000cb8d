use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::shape::paths_of;
use super::*;
use crate::schema::{Message, Shape};

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: c
    image: nginx:1
";

fn admitted(text: &str) -> Admitted {
    admit_file(Path::new("m/pod.yaml"), text.as_bytes())
}

fn lines(text: &str) -> Vec<String> {
    admitted(text).problems.iter().map(Problem::to_line).collect()
}

#[test]
fn a_good_file_becomes_objects_as_written_and_whole() {
    let found = admitted(POD);
    assert_eq!(found.problems, []);
    let web = &found.objects[0];
    assert_eq!(web.object.key().to_string(), "pod/web");
    assert_eq!(web.config["metadata"], json!({"name": "web", "namespace": "default"}));
    assert_eq!(
        web.config["spec"],
        json!({"containers": [{"name": "c", "image": "nginx:1"}]})
    );
    assert_eq!(web.object.text("/spec/restartPolicy"), "Always");
    assert_eq!(web.location.to_string(), "m/pod.yaml:1:1");
}

#[test]
fn an_error_in_one_document_leaves_the_others() {
    let text = format!(
        "{POD}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: b}}\nspec:\n  containrs: []\n---\nkind: [\n---\n{}",
        POD.replace("web", "other")
    );
    let found = admitted(&text);
    assert_eq!(
        found
            .objects
            .iter()
            .map(|o| o.object.key().name.as_str())
            .collect::<Vec<_>>(),
        ["web", "other"]
    );
    assert_eq!(
        found.problems[0].to_line(),
        "m/pod.yaml:14:3: error: unknown field \"spec.containrs\"; did you mean \"containers\"?"
    );
    assert_eq!(found.problems[0].source_line, "  containrs: []");
    assert!(!found.is_whole());
}

#[test]
fn problems_are_shown_where_they_are() {
    let table = [
        (
            "image: nginx:1",
            "image: 5",
            "m/pod.yaml:8:12: error: spec.containers[0].image: cannot unmarshal number into a field of type string (quote it: \"5\")",
        ),
        (
            "name: web",
            "name: Web",
            "m/pod.yaml:4:9: error: metadata.name: Invalid value: \"Web\": a lowercase RFC 1123 subdomain must consist",
        ),
        (
            "    image: nginx:1\n",
            "",
            "m/pod.yaml:7:5: error: spec.containers[0].image: Required value",
        ),
        (
            "kind: Pod",
            "kind: Pdo",
            "m/pod.yaml:2:7: error: no matches for kind \"Pdo\" in version \"v1\"; did you mean \"Pod\"?",
        ),
        (
            "  name: web",
            "  generateName: web-",
            "m/pod.yaml:4:17: error: metadata.generateName: an object of a file needs a name of its own",
        ),
        (
            "spec:",
            "spec:\n  schedulerName: mine",
            "m/pod.yaml:6:3: warning: spec.schedulerName: not honoured: no other scheduler is waited for",
        ),
        (
            "spec:",
            "spec:\n  resourceClaims: [{name: c, resourceClaimName: c}]",
            "m/pod.yaml:6:3: error: spec.resourceClaims: devices can't be claimed here",
        ),
    ];
    for (from, to, line) in table {
        let found = lines(&POD.replace(from, to));
        assert!(found[0].starts_with(line), "{line}\n{found:#?}");
    }
}

#[test]
fn the_same_object_twice_in_a_file_is_refused_with_both_places() {
    let found = lines(&format!("{POD}---\n{POD}"));
    assert_eq!(
        found,
        ["m/pod.yaml:13:9: error: pod/web is already given at m/pod.yaml:1:1"]
    );
}

#[test]
fn what_a_service_was_given_stays_when_a_writer_does_not_know_it() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}, "spec": spec});
    let given = service(json!({"ports": [{"port": 80}], "clusterIP": "10.96.1.2", "clusterIPs": ["10.96.1.2"]}));
    let old = admit(&given, None).expect("a Service");
    let spec = |spec: Value| admit(&service(spec), Some(&old)).map(|object| object.value()["spec"].clone());
    let same = spec(json!({"ports": [{"port": 81}]})).expect("is admitted");
    assert_eq!(
        (&same["clusterIP"], &same["clusterIPs"]),
        (&json!("10.96.1.2"), &json!(["10.96.1.2"]))
    );
    let external =
        json!({"type": "ExternalName", "externalName": "x.org", "clusterIP": "10.96.1.2", "clusterIPs": ["10.96.1.2"]});
    assert!(spec(external).expect("needs no address any more")["clusterIP"].is_null());
    assert!(
        spec(json!({"ports": [{"port": 80}], "clusterIP": "10.96.9.9"})).is_err(),
        "it may not change"
    );
}

#[test]
fn what_a_service_has_of_both_families_stays_and_the_second_goes_with_the_policy() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}, "spec": spec});
    let spec = |policy: &str, ips: Value, families: Value| json!({"ports": [{"port": 80}], "ipFamilyPolicy": policy, "clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": families});
    let (first, second) = ("10.96.1.2", "fd00:10:96::2");
    let both = || json!(["IPv4", "IPv6"]);
    let (prefer, single) = ("PreferDualStack", "SingleStack");
    let old = admit(&service(spec(prefer, json!([first, second]), both())), None).expect("a Service");
    for (new, expected) in [
        (spec(prefer, json!([first, second]), both()), None),
        (spec(single, json!([first]), json!(["IPv4"])), None),
        // What is left out goes with the policy, too.
        (spec(single, json!([first, second]), both()), None),
        (
            spec(prefer, json!([first, "fd00:10:96::3"]), both()),
            Some("spec.clusterIPs[1]: Invalid value: [\"10.96.1.2\",\"fd00:10:96::3\"]: may not change once set"),
        ),
        (
            spec(prefer, json!([first]), both()),
            Some("`ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary clusterIP"),
        ),
        (
            spec(prefer, json!([first, second]), json!(["IPv4"])),
            Some("`ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary ipFamily"),
        ),
        (
            spec(prefer, json!([first, "10.96.1.3"]), json!([])),
            Some("may specify no more than one IP for each IP family"),
        ),
    ] {
        let said = admit(&service(new.clone()), Some(&old))
            .err()
            .map(|refused| refused.to_string());
        match expected {
            None => assert_eq!(said, None, "{new}"),
            Some(expected) => assert!(
                said.as_ref().is_some_and(|said| said.contains(expected)),
                "{new}: {said:?}"
            ),
        }
    }
}

#[test]
fn endpoints_are_addresses_to_which_packets_may_be_sent() {
    let said = |kind: &str, rest: &str| lines(&format!("{kind}\nmetadata: {{name: e}}\n{rest}\n"));
    let old = "apiVersion: v1\nkind: Endpoints";
    let new = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice";
    for (kind, rest, expected) in [
        (old, "subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]", ""),
        (
            old,
            "subsets: [{addresses: [{ip: 127.0.0.1}]}]",
            "may not be in the loopback range",
        ),
        (
            old,
            "subsets: [{addresses: [{ip: here}], ports: [{port: 80}]}]",
            "must be a valid IP address",
        ),
        (
            old,
            "subsets: [{ports: [{port: 70000}]}]",
            "must be between 1 and 65535",
        ),
        (new, "addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]", ""),
        (
            new,
            "addressType: IPv4\nendpoints: [{addresses: [\"fd00::1\"]}]",
            "must be a valid IPv4 address",
        ),
        (
            new,
            "addressType: IPv4\nendpoints: [{addresses: []}]",
            "must contain at least 1 address",
        ),
        (new, "addressType: IPX\nendpoints: []", "supported values"),
    ] {
        let found = said(kind, rest);
        let is_right = if expected.is_empty() {
            found.is_empty()
        } else {
            found.iter().any(|line| line.contains(expected))
        };
        assert!(is_right, "{rest}: {found:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_a_problem_and_not_a_panic() {
    let found = admit_file(Path::new("x"), b"a: \xff");
    assert_eq!(found.problems[0].to_line(), "x:1:4: error: the file is not UTF-8 text");
}

#[test]
fn a_whole_object_passes_the_gate_again_unchanged() {
    let found = admitted(POD);
    let object = &found.objects[0].object;
    assert_eq!(admit(object.value(), Some(object)).as_ref(), Ok(object));
}

#[test]
fn a_pod_whose_command_changed_needs_replacement() {
    let old = admitted(POD).objects.remove(0).object;
    let new = admitted(&POD.replace("image: nginx:1", "image: nginx:1\n    command: [x]"))
        .objects
        .remove(0);
    assert!(matches!(
        admit(&new.config, Some(&old)),
        Err(Refused::NeedsReplacement(..))
    ));
    let image = admitted(&POD.replace("nginx:1", "nginx:2")).objects.remove(0);
    assert!(admit(&image.config, Some(&old)).is_ok());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_gate_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = admit_file(Path::new("x"), &bytes);
    }

    /// What decodes once decodes again after cleaning, whatever stands where.
    #[test]
    fn no_odd_value_in_a_manifest_makes_the_gate_panic(places in proptest::collection::vec((0..200_usize, 0..7_usize), 1..4)) {
        let odd = [json!(null), json!(0), json!(""), json!([]), json!({}), json!([null]), json!({"a": null})];
        for mut value in [deployment(), secret()] {
            for (place, kind) in &places {
                let count = nodes(&mut value);
                replace(&mut value, &mut (place % count), &odd[*kind]);
            }
            let _ = admitted(&value.to_string());
        }
    }

    /// Real manifests with one piece cut out: what people have half-typed when the file is saved.
    #[test]
    fn no_half_typed_manifest_makes_the_gate_panic(start in 0..POD.len(), length in 0..40_usize) {
        let end = (start + length).min(POD.len());
        let _ = admitted(&format!("{}{}", &POD[..start], &POD[end..]));
    }
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "b"}, "annotations": {"a": "b"}},
        "status": {},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
            "nodeSelector": {"a": "b"}, "volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}],
            "containers": [{
                "name": "c", "image": "i", "args": ["a"], "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "livenessProbe": {"httpGet": {"port": 80}}, "securityContext": {"capabilities": {"add": ["X"]}},
            }],
        }}},
    })
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque",
        "data": {"a": "aGk="}, "stringData": {"b": "x"}, "immutable": false,
    })
}

/// How many values there are in a value, itself included.
fn nodes(value: &mut Value) -> usize {
    let mut far = usize::MAX;
    replace(value, &mut far, &Value::Null);
    usize::MAX - far
}

/// Replaces the value at a place, counted in depth.
fn replace(value: &mut Value, place: &mut usize, by: &Value) {
    if *place == 0 {
        *value = by.clone();
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| replace(value, place, by)),
        Value::Array(items) => items.iter_mut().for_each(|value| replace(value, place, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every field path of a message, as [`paths_of`] writes them.
fn paths_in_table(message: Message, prefix: &str, found: &mut BTreeSet<String>) {
    for field in message.fields() {
        if let (true, Some(inlined)) = (field.is_inline(), field.message()) {
            paths_in_table(inlined, prefix, found);
            continue;
        }
        let path = if prefix.is_empty() {
            field.name.to_owned()
        } else {
            format!("{prefix}.{}", field.name)
        };
        let inner = match field.shape {
            Shape::One => path.clone(),
            Shape::List => format!("{path}[]"),
            Shape::Map => format!("{path}.*"),
        };
        found.extend([path, inner.clone()]);
        field
            .message()
            .into_iter()
            .for_each(|message| paths_in_table(message, &inner, found));
    }
}

#[test]
fn the_table_of_types_has_the_fields_of_the_types() {
    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
    use k8s_openapi::api::core::v1::{
        Endpoints, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service,
    };
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use k8s_openapi::api::storage::v1::StorageClass;
    for (kind, typed) in [
        ("apps.v1.Deployment", paths_of::<Deployment>()),
        ("apps.v1.ReplicaSet", paths_of::<ReplicaSet>()),
        ("core.v1.Event", paths_of::<Event>()),
        ("core.v1.Endpoints", paths_of::<Endpoints>()),
        ("core.v1.Namespace", paths_of::<Namespace>()),
        ("discovery.v1.EndpointSlice", paths_of::<EndpointSlice>()),
        ("core.v1.Node", paths_of::<Node>()),
        ("core.v1.PersistentVolumeClaim", paths_of::<PersistentVolumeClaim>()),
        ("core.v1.PersistentVolume", paths_of::<PersistentVolume>()),
        ("storage.v1.StorageClass", paths_of::<StorageClass>()),
        ("core.v1.Pod", paths_of::<Pod>()),
        ("core.v1.Service", paths_of::<Service>()),
    ] {
        let mut table = BTreeSet::new();
        let message = Message::named(&format!("k8s.io.api.{kind}")).expect("in the table");
        paths_in_table(message, "", &mut table);
        // The table was made a month before the release that added this report of a node's own.
        table.insert("status.nodeInfo.runningInUserNamespace".to_owned());
        table.retain(|path| kind == "core.v1.Node" || !path.starts_with("status.nodeInfo"));
        let (missing, surplus): (Vec<_>, Vec<_>) = typed
            .symmetric_difference(&table)
            .partition(|path| typed.contains(*path));
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{kind}: missing {missing:?}, surplus {surplus:?}"
        );
    }
}
