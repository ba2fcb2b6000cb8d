//! How fields merge: the merge keys and strategies of Kubernetes' types, for server-side apply and strategic merge.
//!
//! One table by kind and field pattern, from the types' tags (`patchStrategy`, `patchMergeKey`, `listType`, `listMapKey`,
//! `structType`). What is not in it has the default: maps merge field by field, lists are replaced as a whole.
//!
//! The two merges use different keys for ports; that is upstream's history, not a slip.

use std::collections::HashMap;
use std::sync::LazyLock;

/// How server-side apply treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// As one value, owned by one manager.
    Atomic,
    /// A list whose items are told apart by these fields.
    Map(&'static [&'static str]),
    /// A list of scalars without order, each owned by itself.
    Set,
}

/// How a strategic merge patch treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// It is replaced.
    Replace,
    /// A list whose items are told apart by this field.
    Merge(&'static str),
    /// As `Merge`, and an item's own fields are cleared but for those that `$retainKeys` names.
    MergeRetainingKeys(&'static str),
    /// A list of scalars to which new ones are added.
    AddToSet,
    /// A map whose fields are cleared but for those that `$retainKeys` names.
    RetainKeys,
    /// Field by field: what maps do.
    Fields,
}

/// How a field merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy {
    /// Under server-side apply; `None` is the default of the value's type.
    pub apply: Option<Apply>,
    /// Under strategic merge patch; `None` is the default of the value's type.
    pub patch: Option<Patch>,
}

/// The strategy of a field, by its object's kind and its pattern (`spec.containers[].ports`).
pub fn strategy(group: &str, kind: &str, pattern: &str) -> Strategy {
    let of_kind = STRATEGIES.get(&(group, kind)).and_then(|fields| fields.get(pattern));
    *of_kind.or_else(|| ANY_KIND.get(pattern)).unwrap_or(&Strategy {
        apply: None,
        patch: None,
    })
}

/// A key field's value where an item does not name it: the types' defaults, without which one item would have two keys.
pub fn key_default(field: &str) -> Option<&'static str> {
    (field == "protocol").then_some("TCP")
}

type Entries = &'static [(&'static str, Option<Apply>, Option<Patch>)];

const fn named(keys: &'static [&'static str]) -> Option<Apply> {
    Some(Apply::Map(keys))
}

const ATOMIC: Option<Apply> = Some(Apply::Atomic);
const BY_NAME: Option<Patch> = Some(Patch::Merge("name"));

const OBJECT: Entries = &[
    ("metadata.ownerReferences", named(&["uid"]), Some(Patch::Merge("uid"))),
    ("metadata.ownerReferences[]", ATOMIC, None),
    ("metadata.finalizers", Some(Apply::Set), Some(Patch::AddToSet)),
    ("status.conditions", named(&["type"]), Some(Patch::Merge("type"))),
];

const POD: Entries = &[
    ("containers", named(&["name"]), BY_NAME),
    ("initContainers", named(&["name"]), BY_NAME),
    ("ephemeralContainers", named(&["name"]), BY_NAME),
    ("imagePullSecrets", named(&["name"]), BY_NAME),
    ("imagePullSecrets[]", ATOMIC, None),
    ("schedulingGates", named(&["name"]), BY_NAME),
    ("volumes", named(&["name"]), Some(Patch::MergeRetainingKeys("name"))),
    (
        "resourceClaims",
        named(&["name"]),
        Some(Patch::MergeRetainingKeys("name")),
    ),
    ("hostAliases", named(&["ip"]), Some(Patch::Merge("ip"))),
    (
        "topologySpreadConstraints",
        named(&["topologyKey", "whenUnsatisfiable"]),
        Some(Patch::Merge("topologyKey")),
    ),
    ("topologySpreadConstraints[].labelSelector", ATOMIC, None),
    ("nodeSelector", ATOMIC, None),
    (
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
        ATOMIC,
        None,
    ),
];

const CONTAINER: Entries = &[
    (
        "ports",
        named(&["containerPort", "protocol"]),
        Some(Patch::Merge("containerPort")),
    ),
    ("env", named(&["name"]), BY_NAME),
    ("env[].valueFrom.fieldRef", ATOMIC, None),
    ("env[].valueFrom.resourceFieldRef", ATOMIC, None),
    ("env[].valueFrom.configMapKeyRef", ATOMIC, None),
    ("env[].valueFrom.secretKeyRef", ATOMIC, None),
    ("volumeMounts", named(&["mountPath"]), Some(Patch::Merge("mountPath"))),
    (
        "volumeDevices",
        named(&["devicePath"]),
        Some(Patch::Merge("devicePath")),
    ),
    ("resources.claims", named(&["name"]), None),
];

const POD_STATUS: Entries = &[
    ("status.podIPs", named(&["ip"]), Some(Patch::Merge("ip"))),
    ("status.hostIPs", ATOMIC, Some(Patch::Merge("ip"))),
];

const WORKLOAD: Entries = &[
    ("spec.selector", ATOMIC, None),
    ("spec.strategy", None, Some(Patch::RetainKeys)),
];

const SERVICE: Entries = &[
    ("spec.ports", named(&["port", "protocol"]), Some(Patch::Merge("port"))),
    ("spec.selector", ATOMIC, None),
];

const CLAIM: Entries = &[("spec.selector", ATOMIC, None), ("spec.dataSource", ATOMIC, None)];

const NODE: Entries = &[
    ("status.addresses", named(&["type"]), Some(Patch::Merge("type"))),
    ("spec.podCIDRs", Some(Apply::Set), Some(Patch::AddToSet)),
];

type Fields = HashMap<String, Strategy>;

static ANY_KIND: LazyLock<Fields> = LazyLock::new(|| fields(&[("", OBJECT)]));

static STRATEGIES: LazyLock<HashMap<(&'static str, &'static str), Fields>> = LazyLock::new(|| {
    let pod = |spec: &'static str| {
        let lists =
            [".containers[]", ".initContainers[]", ".ephemeralContainers[]"].map(|list| format!("{spec}{list}"));
        let mut all = fields(&[(spec, POD)]);
        for list in &lists {
            all.extend(fields(&[(list, CONTAINER)]));
        }
        all
    };
    let with = |mut base: Fields, more: Entries| {
        base.extend(fields(&[("", more)]));
        base
    };
    HashMap::from([
        (("", "Pod"), with(pod("spec"), POD_STATUS)),
        (("apps", "Deployment"), with(pod("spec.template.spec"), WORKLOAD)),
        (("apps", "ReplicaSet"), with(pod("spec.template.spec"), WORKLOAD)),
        (("", "Service"), fields(&[("", SERVICE)])),
        (("", "PersistentVolumeClaim"), fields(&[("", CLAIM)])),
        (("", "Node"), fields(&[("", NODE)])),
    ])
});

fn fields(tables: &[(&str, Entries)]) -> Fields {
    let mut found = Fields::new();
    for (prefix, entries) in tables {
        for (pattern, apply, patch) in *entries {
            let full = if prefix.is_empty() {
                (*pattern).to_owned()
            } else {
                format!("{prefix}.{pattern}")
            };
            found.insert(
                full,
                Strategy {
                    apply: *apply,
                    patch: *patch,
                },
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::shape::paths_of;
    use super::*;
    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
    use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Service};

    #[test]
    fn ports_have_other_keys_in_apply_than_in_patches() {
        let ports = strategy("apps", "Deployment", "spec.template.spec.initContainers[].ports");
        assert_eq!(ports.apply, Some(Apply::Map(&["containerPort", "protocol"])));
        assert_eq!(ports.patch, Some(Patch::Merge("containerPort")));
    }

    #[test]
    fn what_is_not_in_the_table_has_the_default() {
        assert_eq!(
            strategy("", "Pod", "spec.tolerations"),
            Strategy {
                apply: None,
                patch: None
            }
        );
        assert_eq!(strategy("x.io", "Y", "metadata.finalizers").apply, Some(Apply::Set));
    }

    #[test]
    fn every_pattern_names_a_field_that_exists() {
        for ((group, kind), fields) in STRATEGIES.iter() {
            let paths = match (*group, *kind) {
                ("", "Pod") => paths_of::<Pod>(),
                ("apps", "Deployment") => paths_of::<Deployment>(),
                ("apps", "ReplicaSet") => paths_of::<ReplicaSet>(),
                ("", "Service") => paths_of::<Service>(),
                ("", "PersistentVolumeClaim") => paths_of::<PersistentVolumeClaim>(),
                _ => paths_of::<Node>(),
            };
            for pattern in fields
                .keys()
                .filter(|pattern| *kind != "ReplicaSet" || *pattern != "spec.strategy")
            {
                assert!(paths.contains(pattern), "{kind}: {pattern}");
            }
        }
    }
}
