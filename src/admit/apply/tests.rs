use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": spec})
}

fn pod(containers: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}})
}

fn applied(live: Option<&Value>, config: &Value, manager: &str) -> Value {
    apply(live, config, (manager, ""), false, at(1)).expect("no conflict")
}

/// An object without its books.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("managedFields");
    object
}

#[test]
fn the_first_apply_makes_the_object_and_owns_what_it_names() {
    let config = pod(json!([{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "args": ["a"]}]));
    let object = applied(None, &config, "files");
    assert_eq!(bare(&object), config);
    assert_eq!(
        shown(object.clone())["metadata"]["managedFields"],
        json!([{
            "manager": "files", "operation": "Apply", "apiVersion": "v1", "time": "1970-01-01T00:00:01Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }}}},
        }])
    );
}

#[test]
fn the_same_again_changes_nothing_not_even_the_time() {
    let config = pod(json!([{"name": "c", "image": "i"}]));
    let object = applied(None, &config, "files");
    assert_eq!(apply(Some(&object), &config, ("files", ""), false, at(99)), Ok(object));
}

#[test]
fn whoever_reports_owns_the_report_apart_from_what_was_asked_for() {
    let asked = applied(None, &deployment(json!({"replicas": 1})), "files");
    let mut report = deployment(Value::Null);
    report.as_object_mut().expect("an object").remove("spec");
    report["status"] = json!({"replicas": 1});
    let reported = apply(Some(&asked), &report, ("files", "status"), false, at(2)).expect("no conflict");
    assert_eq!(
        (&reported["spec"], &reported["status"]),
        (&asked["spec"], &report["status"])
    );
    let managers = reported["metadata"]["managedFields"].as_array().map(Vec::len);
    assert_eq!(managers, Some(2));
    let again = apply(Some(&reported), &report, ("files", "status"), false, at(3));
    assert_eq!(again, Ok(reported));
}

#[test]
fn a_field_that_is_no_longer_named_goes_with_its_defaults() {
    let live = applied(
        None,
        &deployment(json!({"replicas": 2, "strategy": {"type": "Recreate"}})),
        "files",
    );
    let mut live = live;
    live["spec"]["paused"] = json!(true);
    live["spec"]["strategy"]["defaulted"] = json!(1);
    let object = applied(Some(&live), &deployment(json!({"replicas": 2})), "files");
    assert_eq!(object["spec"], json!({"replicas": 2, "paused": true}));
}

#[test]
fn items_are_merged_by_key_and_dropped_ones_removed() {
    let live = applied(
        None,
        &pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])),
        "files",
    );
    let mut live = live;
    live["spec"]["containers"][1]["tty"] = json!(true);
    let object = applied(
        Some(&live),
        &pod(json!([{"name": "c", "image": "3"}, {"name": "b", "image": "2"}])),
        "files",
    );
    assert_eq!(
        object["spec"]["containers"],
        json!([{"name": "c", "image": "3"}, {"name": "b", "image": "2", "tty": true}])
    );
}

#[test]
fn defaults_do_not_make_another_item_of_a_port() {
    let config = pod(json!([{"name": "c", "ports": [{"containerPort": 80}]}]));
    let mut live = applied(None, &config, "files");
    live["spec"]["containers"][0]["ports"][0]["protocol"] = json!("TCP");
    let object = applied(Some(&live), &config, "files");
    assert_eq!(object, live);
}

#[test]
fn what_another_manager_owns_stays() {
    let live = applied(None, &deployment(json!({"replicas": 2, "minReadySeconds": 5})), "files");
    let mut labelled = live.clone();
    labelled["metadata"]["labels"] = json!({"by": "hand"});
    let live = track_update(Some(&live), &labelled, "kubectl-label", "", at(2));
    let object = applied(Some(&live), &deployment(json!({"replicas": 2})), "files");
    assert_eq!(
        (&object["metadata"]["labels"], &object["spec"]),
        (&json!({"by": "hand"}), &json!({"replicas": 2}))
    );
}

#[test]
fn a_field_that_both_named_outlives_either() {
    let config = deployment(json!({"replicas": 2}));
    let live = applied(Some(&applied(None, &config, "one")), &config, "two");
    let object = applied(Some(&live), &deployment(json!({})), "one");
    assert_eq!(object["spec"]["replicas"], 2);
    let object = applied(Some(&object), &deployment(json!({})), "two");
    assert_eq!(object["spec"].get("replicas"), None);
}

#[test]
fn another_value_of_anothers_field_is_a_conflict_that_names_them() {
    let live = applied(None, &deployment(json!({"replicas": 2})), "files");
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(5);
    let live = track_update(Some(&live), &scaled, "kubectl", "scale", at(2));
    let conflicts = apply(
        Some(&live),
        &deployment(json!({"replicas": 2})),
        ("files", ""),
        false,
        at(3),
    )
    .expect_err("conflict");
    assert_eq!(
        conflicts.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1 at 1970-01-01T00:00:02Z: .spec.replicas"
    );
    let object = apply(
        Some(&live),
        &deployment(json!({"replicas": 2})),
        ("files", ""),
        true,
        at(3),
    )
    .expect("forced");
    assert_eq!(object["spec"]["replicas"], 2);
    assert_eq!(
        shown(object.clone())["metadata"]["managedFields"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let live = applied(None, &deployment(json!({"replicas": 2, "minReadySeconds": 1})), "one");
    let conflicts = apply(
        Some(&live),
        &deployment(json!({"replicas": 3, "minReadySeconds": 2})),
        ("two", ""),
        false,
        at(2),
    )
    .expect_err("conflicts");
    assert_eq!(
        conflicts.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.minReadySeconds\n- .spec.replicas"
    );
}

#[test]
fn atomic_values_are_owned_whole() {
    let config = |labels: Value| deployment(json!({"selector": {"matchLabels": labels}}));
    let live = applied(None, &config(json!({"a": "1", "b": "2"})), "files");
    let object = applied(Some(&live), &config(json!({"a": "1"})), "files");
    assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"a": "1"}}));
    assert_eq!(
        shown(object.clone())["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {"f:selector": {}}})
    );
}

#[test]
fn annotations_that_the_node_wrote_stay_when_the_author_drops_theirs() {
    let mut config = deployment(json!({}));
    config["metadata"]["annotations"] = json!({"mine": "1"});
    let mut live = applied(None, &config, "files");
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
    let object = applied(Some(&live), &deployment(json!({})), "files");
    assert_eq!(
        object["metadata"]["annotations"],
        json!({"deployment.kubernetes.io/revision": "1"})
    );
}

#[test]
fn data_that_is_dropped_altogether_goes_altogether() {
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data});
    let live = applied(None, &map(json!({"a": "1", "b": "2"})), "files");
    assert_eq!(
        applied(Some(&live), &map(json!({"a": "1"})), "files")["data"],
        json!({"a": "1"})
    );
    let mut none = map(json!({}));
    none.as_object_mut().expect("object").remove("data");
    assert_eq!(applied(Some(&live), &none, "files").get("data"), None);
}

#[test]
fn an_update_takes_what_it_changes_and_forgets_what_it_removes() {
    let old = track_update(
        None,
        &deployment(json!({"replicas": 1, "paused": true})),
        "one",
        "",
        at(1),
    );
    let new = track_update(Some(&old), &deployment(json!({"replicas": 2})), "two", "", at(2));
    let owners: Vec<(String, Value)> = managers_of(&new)
        .iter()
        .map(|m| (m.name.clone(), m.fields.to_json()))
        .collect();
    assert_eq!(owners, [("two".to_owned(), json!({"f:spec": {"f:replicas": {}}}))]);
    assert_eq!(track_update(Some(&new), &bare(&new), "three", "", at(3)), new);
}

#[test]
fn explicitly_empty_managed_fields_reset_them() {
    let old = track_update(None, &deployment(json!({"replicas": 1})), "one", "", at(1));
    let mut new = bare(&old);
    new["metadata"]["managedFields"] = json!([{}]);
    assert_eq!(track_update(Some(&old), &new, "two", "", at(2)), bare(&old));
}

#[test]
fn at_most_ten_updaters_are_remembered() {
    let mut object = deployment(json!({}));
    for number in 0..15_u8 {
        let mut next = object.clone();
        next["metadata"]["labels"][format!("l{number}")] = json!("x");
        object = track_update(
            Some(&object),
            &next,
            &format!("m{number:02}"),
            "",
            at(i64::from(number)),
        );
    }
    let names: Vec<String> = managers_of(&object).into_iter().map(|m| m.name).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(names[0], "ancient-changes");
}

proptest::proptest! {
    /// Whatever two managers apply in turn, applying the last one's config again changes nothing.
    #[test]
    fn apply_is_idempotent(configs in proptest::collection::vec((0..2_usize, config()), 1..6)) {
        let mut live = None;
        for (manager, config) in &configs {
            live = Some(apply(live.as_ref(), config, (["one", "two"][*manager], ""), true, at(1)).expect("forced"));
        }
        let (manager, config) = configs.last().expect("not empty");
        let again = apply(live.as_ref(), config, (["one", "two"][*manager], ""), true, at(9)).expect("forced");
        proptest::prop_assert_eq!(Some(&again), live.as_ref());
    }

    /// With one manager the object is what it says, whatever it said before.
    #[test]
    fn with_one_manager_the_object_is_its_config(configs in proptest::collection::vec(config(), 1..6)) {
        let mut live = None;
        for config in &configs {
            live = Some(apply(live.as_ref(), config, ("one", ""), false, at(1)).expect("no other manager"));
        }
        let last = configs.last().expect("not empty");
        proptest::prop_assert_eq!(&bare(live.as_ref().expect("applied"))["spec"], &last["spec"]);
    }
}

fn config() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let env = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
    let container = (env, prop::option::of("[a-c]"), prop::option::of(0..3_i32));
    let containers = prop::collection::btree_map("[a-d]", container, 1..4);
    (containers, prop::option::of("[a-b]")).prop_map(|(containers, hostname)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (env, image, port))| {
                let mut container = json!({"name": name});
                if !env.is_empty() {
                    container["env"] = env
                        .into_iter()
                        .map(|(name, value)| json!({"name": name, "value": value}))
                        .collect();
                }
                if let Some(image) = image {
                    container["image"] = json!(image);
                }
                if let Some(port) = port {
                    container["ports"] = json!([{"containerPort": port}]);
                }
                container
            })
            .collect();
        let mut value = pod(Value::Array(containers));
        if let Some(hostname) = hostname {
            value["spec"]["hostname"] = json!(hostname);
        }
        value
    })
}

#[test]
fn lists_as_long_as_a_body_may_be_are_applied_before_anybody_notices() {
    // Compared each with each, these would take hours.
    const MANY: usize = 50_000;
    let with = |value: &str, names: std::ops::Range<usize>| {
        let env: Vec<Value> = names
            .map(|n| json!({"name": format!("E{n}"), "value": value}))
            .collect();
        pod(json!([{"name": "c", "image": "i", "env": env}]))
    };
    let count = |object: &Value| object["spec"]["containers"][0]["env"].as_array().map_or(0, Vec::len);
    let first = applied(None, &with("1", 0..MANY), "files");
    let second = applied(Some(&first), &with("2", MANY / 2..MANY), "files");
    assert_eq!(count(&second), MANY / 2);
    let third = track_update(Some(&second), &with("3", 0..MANY), "kubectl", "", at(3));
    assert_eq!(count(&third), MANY);
    assert!(apply(Some(&third), &with("4", 0..MANY), ("files", ""), false, at(4)).is_err());
}

#[test]
fn whoever_updates_may_say_who_owns_what() {
    let old = track_update(
        None,
        &deployment(json!({"replicas": 1, "paused": true})),
        "client",
        "",
        at(1),
    );
    let mut told = shown(old.clone());
    told["metadata"]["managedFields"][0]["manager"] = json!("files");
    told["metadata"]["managedFields"][0]["operation"] = json!("Apply");
    let handed = track_update(Some(&old), &told, "client", "", at(2));
    assert_eq!(
        shown(handed.clone())["metadata"]["managedFields"],
        told["metadata"]["managedFields"]
    );
    let left = applied(Some(&handed), &deployment(json!({"replicas": 1})), "files");
    assert_eq!(
        bare(&left)["spec"],
        json!({"replicas": 1}),
        "what the only owner gives up goes"
    );
    // By a subresource nobody hands over anything, and what can't be read says nothing.
    assert_eq!(track_update(Some(&old), &told, "client", "status", at(2)), old);
    for unreadable in [json!([]), json!([{"manager": "x"}]), json!([{}, {}]), json!([1])] {
        let mut new = bare(&old);
        new["metadata"]["managedFields"] = unreadable;
        assert_eq!(track_update(Some(&old), &new, "client", "", at(2)), old);
    }
}

#[test]
fn what_nobody_owns_was_there_before_the_first_apply() {
    let live = deployment(json!({"replicas": 1, "paused": true}));
    let config = deployment(json!({"replicas": 2}));
    let conflicts = apply(Some(&live), &config, ("files", ""), false, at(1)).expect_err("it is another's");
    assert_eq!(
        (conflicts.0[0].manager.as_str(), conflicts.0[0].field.as_str()),
        ("before-first-apply", ".spec.replicas")
    );
    let forced = apply(Some(&live), &config, ("files", ""), true, at(1)).expect("by force");
    assert_eq!(bare(&forced)["spec"], json!({"replicas": 2, "paused": true}));
}

#[test]
fn what_is_applied_already_is_known_from_what_clients_are_shown() {
    let config = deployment(json!({"replicas": 2}));
    let live = shown(applied(None, &config, "files"));
    assert!(is_applied(&live, &config, "files", at(9)));
    assert!(
        !is_applied(&live, &config, "kubectl", at(9)),
        "it would own the fields too"
    );
    assert!(!is_applied(&live, &deployment(json!({"replicas": 3})), "files", at(9)));
    assert!(
        !is_applied(&live, &deployment(json!({})), "files", at(9)),
        "it gives a field up"
    );
    let scaled = track_update(Some(&live), &deployment(json!({"replicas": 5})), "kubectl", "", at(2));
    assert!(!is_applied(&shown(scaled), &config, "files", at(9)));
}

#[test]
fn nobody_owns_when_an_object_is_to_go() {
    let mut new = deployment(json!({"replicas": 1}));
    new["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let tracked = shown(track_update(None, &new, "client", "", at(1)));
    assert_eq!(
        tracked["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {"f:replicas": {}}})
    );
}
