//! The table of kinds: the one list from which decoding, the store, the API's paths and the command line's words come.

/// What the node does with objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honoured {
    /// Something acts on it.
    Acted,
    /// It is kept and shown; the text says what does not happen yet, and stands in a warning.
    Stored(&'static str),
    /// The node writes it, and clients may too: what they say of it stays. Files may not name it.
    Shared,
    /// The node's own report: nobody else may write it.
    Reported,
}

impl Honoured {
    /// Whether manifests may name such objects.
    pub fn is_for_files(self) -> bool {
        match self {
            Self::Acted | Self::Stored(_) => true,
            Self::Shared | Self::Reported => false,
        }
    }
}

/// One kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// `kind` in manifests.
    pub kind: &'static str,
    /// Resource name in paths.
    pub plural: &'static str,
    /// Resource name for one.
    pub singular: &'static str,
    /// What hands type.
    pub short_names: &'static [&'static str],
    /// `all` is what `get all` lists.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether it has a `status` subresource.
    pub has_status: bool,
    /// What the node does with it.
    pub honoured: Honoured,
}

impl Kind {
    /// `v1`, `apps/v1`: what stands in `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `deployments.apps`: how messages name it (`GroupResource.String`).
    pub fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether `word` names this kind on a command line: plural, singular, short or kind name, with or without `.group`.
    pub fn is_named(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        let (name, group) = word
            .split_once('.')
            .map_or((word.as_str(), None), |(n, g)| (n, Some(g)));
        let of_group = group.is_none_or(|g| g == self.group || g == format!("{}.{}", self.version, self.group));
        of_group
            && (name == self.plural
                || name == self.singular
                || name == self.kind.to_lowercase()
                || self.short_names.contains(&name))
    }
}

/// The kind with this `apiVersion` and `kind`, if the node knows it.
pub fn kind(api_version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.kind == kind && k.api_version() == api_version)
}

/// The kind with this `apiVersion` and `kind`, for who knows that the table has it.
pub fn known_kind(api_version: &str, name: &str) -> &'static Kind {
    kind(api_version, name).expect("in the table")
}

const fn namespaced(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        plural,
        singular,
        short_names,
        categories: &[],
        namespaced: true,
        has_status: true,
        honoured: Honoured::Acted,
    }
}

/// A kind that charts carry and on which nothing here acts.
const fn stored(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
    why: &'static str,
) -> Kind {
    Kind {
        honoured: Honoured::Stored(why),
        ..namespaced(group, kind, plural, singular, short_names)
    }
}

const ALL: &[&str] = &["all"];

const NO_WEBHOOKS: &str = "stored, without effect here: no request is sent to a webhook";

/// Every kind, in the order in which `get all` lists them and a source applies them backwards: what others need stands last.
pub static KINDS: &[Kind] = &[
    Kind {
        categories: ALL,
        ..namespaced("", "Pod", "pods", "pod", &["po"])
    },
    Kind {
        categories: ALL,
        ..namespaced("", "Service", "services", "service", &["svc"])
    },
    Kind {
        categories: ALL,
        ..namespaced("apps", "Deployment", "deployments", "deployment", &["deploy"])
    },
    Kind {
        categories: ALL,
        ..namespaced("apps", "ReplicaSet", "replicasets", "replicaset", &["rs"])
    },
    namespaced(
        "",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        &["pvc"],
    ),
    Kind {
        namespaced: false,
        ..namespaced("", "PersistentVolume", "persistentvolumes", "persistentvolume", &["pv"])
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..namespaced(
            "storage.k8s.io",
            "StorageClass",
            "storageclasses",
            "storageclass",
            &["sc"],
        )
    },
    Kind {
        has_status: false,
        ..namespaced("", "Endpoints", "endpoints", "endpoints", &["ep"])
    },
    Kind {
        has_status: false,
        ..namespaced(
            "discovery.k8s.io",
            "EndpointSlice",
            "endpointslices",
            "endpointslice",
            &[],
        )
    },
    Kind {
        has_status: false,
        ..namespaced("", "ConfigMap", "configmaps", "configmap", &["cm"])
    },
    Kind {
        has_status: false,
        ..namespaced("", "Secret", "secrets", "secret", &[])
    },
    Kind {
        has_status: false,
        ..namespaced("coordination.k8s.io", "Lease", "leases", "lease", &[])
    },
    // Whoever makes revisions acts on them.
    Kind {
        has_status: false,
        ..namespaced(
            "apps",
            "ControllerRevision",
            "controllerrevisions",
            "controllerrevision",
            &[],
        )
    },
    stored(
        "policy",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "poddisruptionbudget",
        &["pdb"],
        "stored, without effect here: evictions do not ask it",
    ),
    Kind {
        version: "v2",
        ..stored(
            "autoscaling",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            &["hpa"],
            "stored, without effect here: nothing scales by it",
        )
    },
    namespaced("networking.k8s.io", "Ingress", "ingresses", "ingress", &["ing"]),
    Kind {
        has_status: false,
        ..namespaced(
            "networking.k8s.io",
            "NetworkPolicy",
            "networkpolicies",
            "networkpolicy",
            &["netpol"],
        )
    },
    stored(
        "",
        "ResourceQuota",
        "resourcequotas",
        "resourcequota",
        &["quota"],
        "stored, without effect here: nothing is limited by it",
    ),
    Kind {
        has_status: false,
        ..stored(
            "",
            "LimitRange",
            "limitranges",
            "limitrange",
            &["limits"],
            "stored, without effect here: nothing is limited by it",
        )
    },
    Kind {
        has_status: false,
        ..namespaced(
            "rbac.authorization.k8s.io",
            "RoleBinding",
            "rolebindings",
            "rolebinding",
            &[],
        )
    },
    Kind {
        has_status: false,
        ..namespaced("rbac.authorization.k8s.io", "Role", "roles", "role", &[])
    },
    Kind {
        has_status: false,
        ..namespaced("", "ServiceAccount", "serviceaccounts", "serviceaccount", &["sa"])
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..namespaced(
            "rbac.authorization.k8s.io",
            "ClusterRoleBinding",
            "clusterrolebindings",
            "clusterrolebinding",
            &[],
        )
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..namespaced(
            "rbac.authorization.k8s.io",
            "ClusterRole",
            "clusterroles",
            "clusterrole",
            &[],
        )
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..namespaced(
            "networking.k8s.io",
            "IngressClass",
            "ingressclasses",
            "ingressclass",
            &[],
        )
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..namespaced(
            "scheduling.k8s.io",
            "PriorityClass",
            "priorityclasses",
            "priorityclass",
            &["pc"],
        )
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..namespaced("node.k8s.io", "RuntimeClass", "runtimeclasses", "runtimeclass", &[])
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..stored(
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            "mutatingwebhookconfiguration",
            &[],
            NO_WEBHOOKS,
        )
    },
    Kind {
        namespaced: false,
        has_status: false,
        ..stored(
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            "validatingwebhookconfiguration",
            &[],
            NO_WEBHOOKS,
        )
    },
    Kind {
        namespaced: false,
        ..stored(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            "customresourcedefinition",
            &["crd", "crds"],
            "stored, without effect here: objects of the kind that it defines are not known",
        )
    },
    Kind {
        namespaced: false,
        ..namespaced("", "Namespace", "namespaces", "namespace", &["ns"])
    },
    Kind {
        namespaced: false,
        honoured: Honoured::Shared,
        ..namespaced("", "Node", "nodes", "node", &["no"])
    },
    Kind {
        has_status: false,
        honoured: Honoured::Shared,
        ..namespaced("", "Event", "events", "event", &["ev"])
    },
    Kind {
        version: "v1alpha1",
        namespaced: false,
        honoured: Honoured::Reported,
        ..namespaced(
            "kubelocal.dev",
            "ManifestSource",
            "manifestsources",
            "manifestsource",
            &["sources", "source", "src"],
        )
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_may_type_any_of_a_kinds_names() {
        let deployment = kind("apps/v1", "Deployment").expect("in the table");
        for word in [
            "deploy",
            "deployment",
            "Deployments",
            "deployments.apps",
            "deployments.v1.apps",
        ] {
            assert!(deployment.is_named(word), "{word}");
        }
        assert!(!deployment.is_named("deployments.extensions"));
    }

    #[test]
    fn no_two_kinds_share_a_name() {
        for kind in KINDS {
            for word in kind.short_names.iter().chain([&kind.plural, &kind.singular]) {
                assert_eq!(KINDS.iter().filter(|k| k.is_named(word)).count(), 1, "{word}");
            }
        }
    }
}
