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
