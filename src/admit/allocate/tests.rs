use serde_json::{Value, json};

use super::*;

fn object(kind: &str, api_version: &str, name: &str, spec: Value) -> Object {
    let metadata = json!({"name": name, "namespace": "default"});
    let value = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
    Object::new(value).expect("of the table")
}

fn service(name: &str, spec: Value) -> Object {
    object("Service", "v1", name, spec)
}

/// The Service that is stored, or why it is not; another one has 10.96.0.9.
fn stored(spec: Value, old: Option<Value>) -> Result<Value, String> {
    let other = Arc::new(service("other", json!({"clusterIP": "10.96.0.9"})));
    let old = old.map(|spec| service("web", spec));
    let allocated = allocate(service("web", spec), old.as_ref(), |_| vec![other.clone()]);
    allocated
        .map(|object| object.at("/spec").cloned().unwrap_or_default())
        .map_err(|refused| refused.to_string())
}

#[test]
fn a_service_that_asks_for_nothing_gets_all_of_it_and_the_same_again() {
    let spec = || json!({"type": "NodePort", "ports": [{"port": 80}]});
    let given = stored(spec(), None).expect("is stored");
    let address = given["clusterIP"].as_str().expect("text").parse().expect("an address");
    assert!(crate::model::may_have(service("web", json!({})).key(), address));
    assert_eq!(given["clusterIPs"], json!([given["clusterIP"]]));
    assert_eq!(given["ipFamilies"], json!(["IPv4"]));
    assert_eq!(given["ipFamilyPolicy"], "SingleStack");
    assert!(given["ports"][0]["nodePort"].is_number());
    assert_eq!(stored(spec(), None).as_ref(), Ok(&given));
    assert_eq!(stored(given.clone(), Some(given.clone())), Ok(given), "and keeps it");
}

#[test]
fn an_address_that_can_not_be_had_is_refused_in_upstreams_words() {
    let range = "The range of valid IPs is 10.96.0.0/16";
    for (asked, expected) in [
        ("10.96.0.7", None),
        ("10.96.0.9", Some("provided IP is already allocated".to_owned())),
        ("10.96.0.1", Some("provided IP is already allocated".to_owned())),
        ("10.96.0.10", Some("provided IP is already allocated".to_owned())),
        (
            "192.0.2.1",
            Some(format!(
                "the provided IP (192.0.2.1) is not in the valid range. {range}"
            )),
        ),
        (
            "10.96.255.255",
            Some(format!(
                "the provided IP (10.96.255.255) is not in the valid range. {range}"
            )),
        ),
    ] {
        let expected = expected
            .map(|why| format!("spec.clusterIPs: Invalid value: [\"{asked}\"]: failed to allocate IP {asked}: {why}"));
        assert_eq!(stored(json!({"clusterIP": asked}), None).err(), expected, "{asked}");
    }
    let kubernetes = allocate(service("kubernetes", json!({"clusterIP": "10.96.0.1"})), None, |_| {
        Vec::new()
    });
    assert!(kubernetes.is_ok(), "the node's own Service has it");
}

#[test]
fn an_address_that_clashes_already_does_not_bar_other_changes() {
    let clashing = || json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
    let mut changed = clashing();
    changed["selector"] = json!({"app": "x"});
    assert_eq!(stored(changed.clone(), Some(clashing())), Ok(changed));
    let external = json!({"type": "ExternalName", "externalName": "x.org"});
    let back = stored(json!({"clusterIP": "10.96.0.9"}), Some(external));
    assert!(back.expect_err("is refused").contains("already allocated"));
}

#[test]
fn families_that_the_node_has_not_are_refused_in_upstreams_words() {
    let dual = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services";
    let selector = json!({"app": "x"});
    for (spec, expected) in [
        (json!({"ipFamilyPolicy": "RequireDualStack"}), dual),
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"ipFamilies": ["IPv6"], "clusterIP": "None", "selector": selector}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}),
            "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this cluster",
        ),
        (
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
    ] {
        assert_eq!(stored(spec.clone(), None).expect_err("is refused"), expected, "{spec}");
    }
    let families = |spec: Value| stored(spec, None).expect("is stored")["ipFamilies"].clone();
    assert_eq!(families(json!({"ipFamilyPolicy": "PreferDualStack"})), json!(["IPv4"]));
    assert_eq!(
        families(json!({"clusterIP": "None", "selector": selector})),
        json!(["IPv4"])
    );
    // Nobody looks for its endpoints: whoever writes them knows of which family they are.
    assert_eq!(families(json!({"clusterIP": "None"})), json!(["IPv4", "IPv6"]));
}

/// The same on a node of both families, where another one has fd00:10:96::9.
fn stored_dual(spec: Value, old: Option<&Value>) -> Result<Value, String> {
    let other = service(
        "other",
        json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00:10:96::9"]}),
    );
    let ranges = json!({"podCIDRs": ["10.244.0.0/16", "fd00:10:244::/64"]});
    let node = Arc::new(object("Node", "v1", "n", ranges));
    let old = old.map(|spec| service("web", spec.clone()));
    let list = |kind: &'static Kind| match kind.kind {
        "Node" => vec![node.clone()],
        _ => vec![Arc::new(other.clone())],
    };
    let allocated = allocate(service("web", spec), old.as_ref(), list);
    allocated
        .map(|object| object.at("/spec").cloned().unwrap_or_default())
        .map_err(|refused| refused.to_string())
}

#[test]
fn on_a_node_of_both_families_a_service_has_those_that_it_asks_for() {
    let families = |spec: Value| {
        let spec = stored_dual(spec, None).expect("is stored");
        let ips = spec["clusterIPs"].as_array().expect("a list").clone();
        assert_eq!(spec["clusterIP"], ips[0]);
        let of = |ip: Value| {
            if ip.as_str().is_some_and(|ip| ip.starts_with("fd00:10:96::")) {
                6
            } else {
                4
            }
        };
        let ips: Vec<i32> = ips.into_iter().map(of).collect();
        (spec["ipFamilies"].clone(), ips)
    };
    let (v4, both, v6) = (json!(["IPv4"]), json!(["IPv4", "IPv6"]), json!(["IPv6"]));
    let turned = json!(["IPv6", "IPv4"]);
    for (spec, expected) in [
        (json!({}), (v4.clone(), vec![4])),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), (both.clone(), vec![4, 6])),
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            (both.clone(), vec![4, 6]),
        ),
        (json!({"ipFamilies": ["IPv6"]}), (v6.clone(), vec![6])),
        (
            json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}),
            (turned.clone(), vec![6, 4]),
        ),
        (json!({"clusterIP": "fd00:10:96::7"}), (v6, vec![6])),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00:10:96::7", "clusterIPs": ["fd00:10:96::7", "10.96.0.7"]}),
            (turned, vec![6, 4]),
        ),
    ] {
        assert_eq!(families(spec.clone()), expected, "{spec}");
    }
    let headless = stored_dual(
        json!({"clusterIP": "None", "ipFamilyPolicy": "PreferDualStack", "selector": {"app": "x"}}),
        None,
    );
    let headless = headless.expect("is stored");
    assert_eq!(
        (&headless["clusterIPs"], &headless["ipFamilies"]),
        (&json!(["None"]), &both)
    );
    for (asked, expected) in [
        ("fd00:10:96::9", "provided IP is already allocated"),
        (
            "fd00:11::9",
            "is not in the valid range. The range of valid IPs is fd00:10:96::/112",
        ),
    ] {
        let refused = stored_dual(json!({"clusterIP": asked, "clusterIPs": [asked]}), None);
        assert!(
            refused.as_ref().is_err_and(|why| why.ends_with(expected)),
            "{refused:?}"
        );
    }
}

#[test]
fn the_second_family_comes_and_goes_with_the_policy_and_the_first_address_stays() {
    let single = stored_dual(json!({"ports": [{"port": 80}]}), None).expect("is stored");
    let with = |spec: &Value, policy: &str| {
        let mut changed = spec.clone();
        changed["ipFamilyPolicy"] = policy.into();
        stored_dual(changed, Some(spec)).expect("is stored")
    };
    let both = with(&single, "PreferDualStack");
    assert_eq!(both["clusterIPs"].as_array().map(Vec::len), Some(2));
    assert_eq!(both["clusterIP"], single["clusterIP"]);
    assert_eq!(with(&both, "RequireDualStack")["clusterIPs"], both["clusterIPs"]);
    assert_eq!(with(&both, "SingleStack"), single);
    // Where the node has the other family no more, or not yet, nothing changes by itself.
    let kept = stored(both.clone(), Some(both.clone())).expect("is stored");
    assert_eq!(kept, both);
    let mut waiting = single.clone();
    waiting["ipFamilyPolicy"] = "PreferDualStack".into();
    assert_eq!(stored_dual(waiting.clone(), Some(&waiting)), Ok(waiting));
}

#[test]
fn a_new_namespace_and_a_new_claim_have_their_finalizers() {
    let made = |object: Object| allocate(object, None, |_| Vec::new()).expect("is stored");
    let namespace = object("Namespace", "v1", "shop", json!({}));
    assert_eq!(made(namespace).at("/spec/finalizers"), Some(&json!(["kubernetes"])));
    let claim = object("PersistentVolumeClaim", "v1", "data", json!({}));
    let claim = made(claim);
    assert_eq!(claim.finalizers(), ["kubernetes.io/pvc-protection"]);
    assert_eq!(made(claim).finalizers().len(), 1, "once");
}

#[test]
fn an_ingress_without_a_class_gets_the_default_one_when_it_is_made() {
    let class = |name: &str, created: &str, is_default: &str| {
        let metadata = json!({"name": name, "creationTimestamp": created, "annotations": {IS_DEFAULT: is_default}});
        let value = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": metadata});
        Arc::new(Object::new(value).expect("a class"))
    };
    let classes = [
        class("old", "2026-01-01T00:00:00Z", "true"),
        class("new", "2026-01-02T00:00:00Z", "true"),
        class("other", "2026-01-03T00:00:00Z", "false"),
    ];
    let ingress = |spec: Value| object("Ingress", "networking.k8s.io/v1", "web", spec);
    let class_of = |ingress: Object, old: Option<&Object>| {
        let made = allocate(ingress, old, |_| classes.to_vec()).expect("is stored");
        made.text("/spec/ingressClassName").to_owned()
    };
    assert_eq!(class_of(ingress(json!({})), None), "new");
    assert_eq!(class_of(ingress(json!({"ingressClassName": "mine"})), None), "mine");
    let before = ingress(json!({}));
    assert_eq!(class_of(ingress(json!({})), Some(&before)), "", "only new ones");
    let mut old = ingress(json!({}));
    old.metadata_mut()
        .insert("annotations".to_owned(), json!({OLD_CLASS: "mine"}));
    assert_eq!(class_of(old, None), "");
}
