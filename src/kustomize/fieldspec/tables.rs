//! The fields that transformers change, as Kustomize 5.8 has them built in.
//!
//! One rule names kinds, a path that their fields start with, and the fields; so pods are described once for all kinds that
//! hold one. Slips of the reference are kept and marked, for its output is what counts.

/// Kinds, written `Kind`, `Kind version` or `Kind version group` with `-` for a part that does not matter.
type Kinds = &'static [&'static str];

/// Fields of some kinds.
pub struct Rule {
    /// The kinds; none means all.
    pub kinds: Kinds,
    /// What all paths start with, with a slash at the end; may be empty.
    pub prefix: &'static str,
    /// The fields.
    pub paths: &'static [&'static str],
    /// Whether a field is created where it is missing.
    pub create: bool,
}

const fn set(kinds: Kinds, prefix: &'static str, paths: &'static [&'static str]) -> Rule {
    Rule {
        kinds,
        prefix,
        paths,
        create: false,
    }
}

const fn create(kinds: Kinds, prefix: &'static str, paths: &'static [&'static str]) -> Rule {
    Rule {
        kinds,
        prefix,
        paths,
        create: true,
    }
}

/// Objects that refer to others by name: the kind that is referred to, and the fields that do.
pub struct References {
    /// The kind that is referred to.
    pub target: &'static str,
    /// The fields that refer to it.
    pub rules: &'static [Rule],
}

pub const NAME: &[Rule] = &[set(&[], "metadata/", &["name"])];

const POD_TEMPLATES: Kinds = &["ReplicationController v1", "Deployment", "ReplicaSet", "DaemonSet"];

/// Labels of the object and of the templates in it; `labels` with `includeTemplates` changes these.
pub const TEMPLATE_LABELS: &[Rule] = &[
    create(&[], "metadata/", &["labels"]),
    create(POD_TEMPLATES, "spec/template/metadata/", &["labels"]),
    create(
        &["StatefulSet - apps"],
        "spec/",
        &["template/metadata/labels", "volumeClaimTemplates[]/metadata/labels"],
    ),
    create(&["Job - batch"], "spec/template/metadata/", &["labels"]),
    create(
        &["CronJob - batch"],
        "spec/jobTemplate/",
        &["metadata/labels", "spec/template/metadata/labels"],
    ),
];

/// Selectors, which `commonLabels` and `includeSelectors` change besides the labels themselves.
pub const SELECTOR_LABELS: &[Rule] = &[
    create(&["Service v1", "ReplicationController v1"], "spec/", &["selector"]),
    create(
        &["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet - apps"],
        "spec/selector/",
        &["matchLabels"],
    ),
    set(
        &["Deployment - apps", "StatefulSet - apps"],
        "spec/template/spec/",
        &[
            "affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
            "affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
            "affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels",
            "affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels",
            "topologySpreadConstraints/labelSelector/matchLabels",
        ],
    ),
    set(
        &["Job - batch", "PodDisruptionBudget - policy"],
        "spec/selector/",
        &["matchLabels"],
    ),
    set(
        &["CronJob - batch"],
        "spec/jobTemplate/spec/selector/",
        &["matchLabels"],
    ),
    set(
        &["NetworkPolicy - networking.k8s.io"],
        "spec/",
        &[
            "podSelector/matchLabels",
            "ingress/from/podSelector/matchLabels",
            "egress/to/podSelector/matchLabels",
        ],
    ),
];

pub const ANNOTATIONS: &[Rule] = &[
    create(&[], "metadata/", &["annotations"]),
    create(POD_TEMPLATES, "spec/template/metadata/", &["annotations"]),
    create(
        &["StatefulSet", "Job - batch"],
        "spec/template/metadata/",
        &["annotations"],
    ),
    create(
        &["CronJob - batch"],
        "spec/jobTemplate/",
        &["metadata/annotations", "spec/template/metadata/annotations"],
    ),
];

pub const NAMESPACE: &[Rule] = &[
    create(&["Namespace"], "metadata/", &["name"]),
    create(
        &["APIService - apiregistration.k8s.io"],
        "spec/service/",
        &["namespace"],
    ),
    set(
        &["CustomResourceDefinition - apiextensions.k8s.io"],
        "spec/conversion/webhook/clientConfig/service/",
        &["namespace"],
    ),
];

const IMAGE_FIELDS: &[&str] = &[
    "containers[]/image",
    "initContainers[]/image",
    "volumes[]/image/reference",
];

pub const IMAGES: &[Rule] = &[
    create(&[], "spec/", IMAGE_FIELDS),
    create(&[], "spec/template/spec/", IMAGE_FIELDS),
];

pub const REPLICAS: &[Rule] = &[create(
    &["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"],
    "spec/",
    &["replicas"],
)];

const VARIABLE_FIELDS: &[&str] = &[
    "containers/args",
    "containers/command",
    "containers/env/value",
    "containers/volumeMounts/mountPath",
    "initContainers/args",
    "initContainers/command",
    "initContainers/env/value",
    "initContainers/volumeMounts/mountPath",
];

pub const VARIABLES: &[Rule] = &[
    set(&["CronJob"], "spec/jobTemplate/spec/template/spec/", VARIABLE_FIELDS),
    // Without `spec`: the reference's slip.
    set(&["CronJob"], "spec/jobTemplate/spec/template/", &["volumes/nfs/server"]),
    set(
        &["DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"],
        "spec/template/spec/",
        VARIABLE_FIELDS,
    ),
    set(
        &["DaemonSet", "Deployment", "Job", "ReplicaSet"],
        "spec/template/spec/",
        &["volumes/nfs/server"],
    ),
    set(&["Deployment"], "spec/template/metadata/", &["annotations"]),
    set(&["Ingress"], "spec/", &["rules/host", "tls/hosts", "tls/secretName"]),
    set(&["Pod"], "spec/", VARIABLE_FIELDS),
    set(&["Pod"], "spec/", &["volumes/nfs/server"]),
    set(&["Service"], "spec/ports/", &["port", "targetPort"]),
    set(&["StatefulSet"], "spec/volumeClaimTemplates/spec/", &["nfs/server"]),
    set(&["PersistentVolume"], "spec/", &["nfs/server"]),
    set(&[], "metadata/", &["labels", "annotations"]),
];

/// Kinds whose pods stand at `spec/template/spec`, where references to ConfigMaps and Secrets are followed.
const TEMPLATED: Kinds = &["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job"];

/// The same, where all other references are followed; the reference's own choice.
const TEMPLATED_OTHERS: Kinds = &["StatefulSet", "Deployment", "ReplicationController", "Job", "DaemonSet"];

const CONFIG_MAP_FIELDS: &[&str] = &[
    "volumes/configMap/name",
    "containers/env/valueFrom/configMapKeyRef/name",
    "initContainers/env/valueFrom/configMapKeyRef/name",
    "containers/envFrom/configMapRef/name",
    "initContainers/envFrom/configMapRef/name",
    "volumes/projected/sources/configMap/name",
];

const SECRET_FIELDS: &[&str] = &[
    "volumes/secret/secretName",
    "containers/env/valueFrom/secretKeyRef/name",
    "initContainers/env/valueFrom/secretKeyRef/name",
    "containers/envFrom/secretRef/name",
    "initContainers/envFrom/secretRef/name",
    "imagePullSecrets/name",
    "volumes/projected/sources/secret/name",
];

const SCALED: &[Rule] = &[set(&["HorizontalPodAutoscaler"], "spec/scaleTargetRef/", &["name"])];

pub const REFERENCES: &[References] = &[
    References {
        target: "Deployment",
        rules: SCALED,
    },
    References {
        target: "ReplicationController",
        rules: SCALED,
    },
    References {
        target: "ReplicaSet",
        rules: SCALED,
    },
    References {
        target: "StatefulSet",
        rules: SCALED,
    },
    References {
        target: "ConfigMap v1",
        rules: &[
            set(&["Pod v1"], "spec/", CONFIG_MAP_FIELDS),
            set(&["PodTemplate"], "template/spec/", CONFIG_MAP_FIELDS),
            set(TEMPLATED, "spec/template/spec/", CONFIG_MAP_FIELDS),
            set(&["CronJob"], "spec/jobTemplate/spec/template/spec/", CONFIG_MAP_FIELDS),
            set(&["Node"], "spec/configSource/", &["configMap"]),
            set(&["Role", "ClusterRole"], "rules/", &["resourceNames"]),
            set(
                &["Ingress"],
                "metadata/annotations/",
                &[r"nginx.ingress.kubernetes.io\/fastcgi-params-configmap"],
            ),
        ],
    },
    References {
        target: "Secret v1",
        rules: &[
            set(&["Pod v1"], "spec/", SECRET_FIELDS),
            set(&["PodTemplate"], "template/spec/", SECRET_FIELDS),
            set(TEMPLATED, "spec/template/spec/", SECRET_FIELDS),
            set(&["CronJob"], "spec/jobTemplate/spec/template/spec/", SECRET_FIELDS),
            set(&["Ingress"], "spec/tls/", &["secretName"]),
            set(
                &["Ingress"],
                "metadata/annotations/",
                &[
                    r"ingress.kubernetes.io\/auth-secret",
                    r"nginx.ingress.kubernetes.io\/auth-secret",
                    r"nginx.ingress.kubernetes.io\/auth-tls-secret",
                ],
            ),
            set(&["ServiceAccount"], "imagePullSecrets/", &["name"]),
            set(
                &["StorageClass"],
                "parameters/",
                &["secretName", "adminSecretName", "userSecretName", "secretRef"],
            ),
            set(&["Role", "ClusterRole"], "rules/", &["resourceNames"]),
            set(
                &["Service v1 serving.knative.dev"],
                "spec/template/spec/",
                &["containers/env/valueFrom/secretKeyRef/name"],
            ),
            set(&["PersistentVolume"], "spec/azureFile/", &["secretName"]),
        ],
    },
    References {
        target: "Service v1",
        rules: &[
            set(&["StatefulSet - apps"], "spec/", &["serviceName"]),
            set(
                &["Ingress"],
                "spec/",
                &[
                    "rules/http/paths/backend/serviceName",
                    "backend/serviceName",
                    "rules/http/paths/backend/service/name",
                    "defaultBackend/service/name",
                ],
            ),
            set(&["APIService - apiregistration.k8s.io"], "spec/service/", &["name"]),
            set(
                &[
                    "ValidatingWebhookConfiguration - admissionregistration.k8s.io",
                    "MutatingWebhookConfiguration - admissionregistration.k8s.io",
                ],
                "webhooks/clientConfig/",
                &["service"],
            ),
        ],
    },
    References {
        target: "Role - rbac.authorization.k8s.io",
        rules: &[set(&["RoleBinding - rbac.authorization.k8s.io"], "roleRef/", &["name"])],
    },
    References {
        target: "ClusterRole - rbac.authorization.k8s.io",
        rules: &[set(
            &[
                "RoleBinding - rbac.authorization.k8s.io",
                "ClusterRoleBinding - rbac.authorization.k8s.io",
            ],
            "roleRef/",
            &["name"],
        )],
    },
    References {
        target: "ServiceAccount v1",
        rules: &[
            set(
                &[
                    "RoleBinding - rbac.authorization.k8s.io",
                    "ClusterRoleBinding - rbac.authorization.k8s.io",
                ],
                "",
                &["subjects"],
            ),
            set(&["Pod"], "spec/", &["serviceAccountName"]),
            set(TEMPLATED_OTHERS, "spec/template/spec/", &["serviceAccountName"]),
            set(
                &["CronJob"],
                "spec/jobTemplate/spec/template/spec/",
                &["serviceAccountName"],
            ),
        ],
    },
    References {
        target: "PersistentVolumeClaim v1",
        rules: &[
            set(&["Pod"], "spec/volumes/", &["persistentVolumeClaim/claimName"]),
            set(
                TEMPLATED_OTHERS,
                "spec/template/spec/volumes/",
                &["persistentVolumeClaim/claimName"],
            ),
            set(
                &["CronJob"],
                "spec/jobTemplate/spec/template/spec/volumes/",
                &["persistentVolumeClaim/claimName"],
            ),
        ],
    },
    References {
        target: "PersistentVolume v1",
        rules: &[
            set(&["PersistentVolumeClaim"], "spec/", &["volumeName"]),
            set(&["ClusterRole"], "rules/", &["resourceNames"]),
        ],
    },
    References {
        target: "StorageClass v1 storage.k8s.io",
        rules: &[
            set(
                &["PersistentVolume", "PersistentVolumeClaim"],
                "spec/",
                &["storageClassName"],
            ),
            set(
                &["StatefulSet"],
                "spec/volumeClaimTemplates/spec/",
                &["storageClassName"],
            ),
        ],
    },
    References {
        target: "PriorityClass v1 scheduling.k8s.io",
        rules: &[
            set(&["Pod"], "spec/", &["priorityClassName"]),
            set(TEMPLATED_OTHERS, "spec/template/spec/", &["priorityClassName"]),
            set(
                &["CronJob"],
                "spec/jobTemplate/spec/template/spec/",
                &["priorityClassName"],
            ),
        ],
    },
    References {
        // The version stands in the group, so that nothing is ever selected: the reference's slip.
        target: "IngressClass v1 networking.k8s.io/v1",
        rules: &[set(&["Ingress"], "spec/", &["ingressClassName"])],
    },
    References {
        target: "ValidatingAdmissionPolicy - admissionregistration.k8s.io",
        rules: &[set(
            &["ValidatingAdmissionPolicyBinding - admissionregistration.k8s.io"],
            "spec/",
            &["policyName"],
        )],
    },
];
