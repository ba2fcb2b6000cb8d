//! What the API has, for clients that ask: aggregated (one answer for everything) and legacy. Pure, from the table of kinds.

use serde_json::{Map, Value, json};

use super::events;
use super::metrics::METRICS;
use super::review::REVIEWS;
use super::write::is_scalable;
use crate::model::{Honoured, KINDS, Kind};

/// One resource as discovery tells it.
#[derive(Debug, Clone)]
struct Resource {
    of: &'static Kind,
    verbs: &'static [&'static str],
    subresources: Vec<Subresource>,
}

/// A part of a resource that is asked for by itself.
#[derive(Debug, Clone, Copy)]
struct Subresource {
    name: &'static str,
    /// Group, version and kind of what is sent and received.
    kind: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
}

const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Namespaces go one by one, with all that is in them.
const ONE_BY_ONE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

const REPORTED: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];

/// What may be done through a proxy.
const PASSED: &[&str] = &["create", "delete", "get", "patch", "update"];

fn resources() -> impl Iterator<Item = Resource> {
    let plain = |of, verbs| Resource {
        of,
        verbs,
        subresources: Vec::new(),
    };
    let reviews = REVIEWS.iter().map(move |review| plain(review, &["create"]));
    KINDS
        .iter()
        .map(of_kind)
        .chain(reviews)
        .chain([plain(&events::KIND, ALL)])
        .chain(METRICS.iter().map(move |of| plain(of, &["get", "list"])))
}

fn of_kind(kind: &'static Kind) -> Resource {
    Resource {
        of: kind,
        verbs: match (kind.honoured, kind.kind) {
            (Honoured::Reported, _) => REPORTED,
            // There is one, and the node makes it.
            (_, "Node") => &["get", "list", "patch", "update", "watch"],
            (_, "Namespace") => ONE_BY_ONE,
            _ => ALL,
        },
        subresources: subresources(kind),
    }
}

fn subresources(kind: &'static Kind) -> Vec<Subresource> {
    let own = (kind.group, kind.version, kind.kind);
    let of = |name, kind, verbs| Subresource { name, kind, verbs };
    let mut found = match (kind.group, kind.kind) {
        ("", "Pod") => vec![
            of("attach", ("", "v1", "PodAttachOptions"), &["create", "get"]),
            of("ephemeralcontainers", own, &["get", "patch", "update"]),
            of("eviction", ("policy", "v1", "Eviction"), &["create"]),
            of("exec", ("", "v1", "PodExecOptions"), &["create", "get"]),
            of("log", own, &["get"]),
            of("portforward", ("", "v1", "PodPortForwardOptions"), &["create", "get"]),
            of("proxy", ("", "v1", "PodProxyOptions"), PASSED),
            of("resize", own, &["get", "patch", "update"]),
        ],
        ("", "Namespace") => vec![of("finalize", own, &["update"])],
        ("", "Service") => vec![of("proxy", ("", "v1", "ServiceProxyOptions"), PASSED)],
        ("", "Node") => vec![of("proxy", ("", "v1", "NodeProxyOptions"), PASSED)],
        ("", "ServiceAccount") => vec![of(
            "token",
            ("authentication.k8s.io", "v1", "TokenRequest"),
            &["create"],
        )],
        _ => Vec::new(),
    };
    if is_scalable(kind) {
        found.push(of("scale", ("autoscaling", "v1", "Scale"), &["get", "patch", "update"]));
    }
    if kind.has_status {
        let verbs: &[&str] = if kind.honoured == Honoured::Reported {
            &["get"]
        } else {
            &["get", "patch", "update"]
        };
        found.push(of("status", own, verbs));
    }
    found
}

/// Groups with their versions, in the order in which their first resource stands; the core group is the first.
pub(super) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for resource in resources() {
        let of = (resource.of.group, resource.of.version);
        if !found.contains(&of) {
            found.push(of);
        }
    }
    found
}

fn groups(is_core: bool) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (group, _) in group_versions() {
        if group.is_empty() == is_core && !found.contains(&group) {
            found.push(group);
        }
    }
    found
}

/// Which version of the aggregated form a client takes, from `Accept`; `None` is the legacy form.
pub(super) fn aggregated_version(accept: &str) -> Option<&'static str> {
    accept.split(',').find_map(|clause| {
        let words: Vec<_> = clause.split(';').map(str::trim).collect();
        let is_asked = words.first() == Some(&"application/json")
            && words.contains(&"g=apidiscovery.k8s.io")
            && words.contains(&"as=APIGroupDiscoveryList");
        ["v2", "v2beta1"]
            .into_iter()
            .find(|version| is_asked && words.iter().any(|word| word.strip_prefix("v=") == Some(version)))
    })
}

/// Everything below `/api` or `/apis` in one answer.
pub(super) fn aggregated(is_core: bool, version: &str) -> Value {
    let items: Vec<_> = groups(is_core).into_iter().map(aggregated_group).collect();
    let api_version = format!("apidiscovery.k8s.io/{version}");
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

fn aggregated_group(group: &str) -> Value {
    let versions = group_versions().into_iter().filter(|(of, _)| *of == group);
    let versions: Vec<_> = versions
        .map(|(_, version)| {
            let of_version = resources().filter(|r| (r.of.group, r.of.version) == (group, version));
            let resources: Vec<_> = of_version.map(|resource| aggregated_resource(&resource)).collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.is_empty() {
        metadata["name"] = group.into();
    }
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": resource.of.plural,
        "responseKind": kind((resource.of.group, resource.of.version, resource.of.kind)),
        "scope": if resource.of.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.of.singular,
        "verbs": resource.verbs,
    });
    if !resource.of.short_names.is_empty() {
        value["shortNames"] = resource.of.short_names.into();
    }
    if !resource.of.categories.is_empty() {
        value["categories"] = resource.of.categories.into();
    }
    let subresource =
        |sub: &Subresource| json!({"subresource": sub.name, "responseKind": kind(sub.kind), "verbs": sub.verbs});
    if !resource.subresources.is_empty() {
        value["subresources"] = resource.subresources.iter().map(subresource).collect();
    }
    value
}

/// `/api`.
pub(super) fn core_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// `/apis`.
pub(super) fn group_list() -> Value {
    let groups: Vec<_> = groups(false).into_iter().map(group_value).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`; `None` if there is no such group.
pub(super) fn group(name: &str) -> Option<Value> {
    let name = groups(false).into_iter().find(|group| *group == name)?;
    let mut value = group_value(name);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

fn group_value(group: &'static str) -> Value {
    let versions = group_versions().into_iter().filter(|(of, _)| *of == group);
    let versions: Vec<_> = versions
        .map(|(_, version)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

/// `/api/v1`, `/apis/<group>/<version>`; `None` if there is nothing such.
pub(super) fn resource_list(group: &str, version: &str) -> Option<Value> {
    let entries: Vec<_> = resources()
        .filter(|r| (r.of.group, r.of.version) == (group, version))
        .flat_map(|resource| legacy_entries(&resource))
        .collect();
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    (!entries.is_empty()).then(
        || json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}),
    )
}

fn legacy_entries(resource: &Resource) -> Vec<Value> {
    let mut own = Map::new();
    own.insert("name".to_owned(), resource.of.plural.into());
    own.insert("singularName".to_owned(), resource.of.singular.into());
    own.insert("namespaced".to_owned(), resource.of.namespaced.into());
    own.insert("kind".to_owned(), resource.of.kind.into());
    own.insert("verbs".to_owned(), resource.verbs.into());
    if !resource.of.short_names.is_empty() {
        own.insert("shortNames".to_owned(), resource.of.short_names.into());
    }
    if !resource.of.categories.is_empty() {
        own.insert("categories".to_owned(), resource.of.categories.into());
    }
    let subresource = |sub: &Subresource| {
        let (group, version, kind) = sub.kind;
        let name = format!("{}/{}", resource.of.plural, sub.name);
        let mut entry = json!({
            "name": name, "singularName": "", "namespaced": resource.of.namespaced, "kind": kind, "verbs": sub.verbs,
        });
        if (group, version) != (resource.of.group, resource.of.version) {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entry
    };
    let mut entries = vec![Value::Object(own)];
    entries.extend(resource.subresources.iter().map(subresource));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_aggregated_form_is_the_first_one_asked_for() {
        let clause =
            |version: &str| format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
        for (accept, version) in [
            (
                format!("{},{},application/json", clause("v2"), clause("v2beta1")),
                Some("v2"),
            ),
            (format!("{},application/json", clause("v2beta1")), Some("v2beta1")),
            (format!("{},application/json", clause("v3")), None),
            ("application/json".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(aggregated_version(&accept), version, "{accept}");
        }
    }

    #[test]
    fn both_forms_tell_the_same_resources() {
        for is_core in [true, false] {
            for group in aggregated(is_core, "v2")["items"].as_array().expect("a list") {
                let name = group["metadata"]["name"].as_str().unwrap_or_default();
                for version in group["versions"].as_array().expect("a list") {
                    let legacy = resource_list(name, version["version"].as_str().expect("text")).expect("is there");
                    let names: Vec<_> = legacy["resources"]
                        .as_array()
                        .expect("a list")
                        .iter()
                        .map(|entry| entry["name"].as_str().expect("text").to_owned())
                        .collect();
                    for resource in version["resources"].as_array().expect("a list") {
                        let plural = resource["resource"].as_str().expect("text").to_owned();
                        for sub in resource["subresources"].as_array().into_iter().flatten() {
                            let sub = format!("{plural}/{}", sub["subresource"].as_str().expect("text"));
                            assert!(names.contains(&sub), "{sub}");
                        }
                        assert!(names.contains(&plural), "{plural}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_none() {
        assert!(group("extensions").is_none() && resource_list("apps", "v1beta1").is_none());
        assert_eq!(
            group("apps").expect("is there")["preferredVersion"]["groupVersion"],
            "apps/v1"
        );
        assert_eq!(group_list()["groups"][0]["name"], "apps");
    }
}
