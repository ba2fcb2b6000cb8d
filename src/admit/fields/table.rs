//! The table of fields. Change it in the same commit that makes the node honour a field, or stop doing so.
//!
//! A pattern is a path with `[]` for items and `*` for any other field. An entry covers everything below it that has no
//! entry of its own; a field that no entry covers is "not honoured yet".

use super::Say::{self, Honoured, Moot, OneOf, Refuse, Warn, WarnFalse};

/// Entries below a prefix.
type Entries = &'static [(&'static str, Say)];

/// Entries by the prefix of their patterns.
type Tables = &'static [(&'static str, Entries)];

/// Which tables a kind is made of: group, kind, and entries by their prefix.
pub const KINDS: &[(&str, &str, Tables)] = &[
    (
        "",
        "Pod",
        &[
            ("", OBJECT),
            ("spec", POD),
            ("spec.volumes[]", VOLUME),
            ("spec.containers[]", CONTAINER),
            ("spec.initContainers[]", CONTAINER),
            ("spec.ephemeralContainers[]", CONTAINER),
            ("spec.ephemeralContainers[]", EPHEMERAL_CONTAINER),
        ],
    ),
    (
        "apps",
        "Deployment",
        &[
            ("", OBJECT),
            ("spec", REPLICAS),
            ("spec", ROLLOUT),
            ("spec.template.spec", POD),
            ("spec.template.spec.volumes[]", VOLUME),
            ("spec.template.spec.containers[]", CONTAINER),
            ("spec.template.spec.initContainers[]", CONTAINER),
        ],
    ),
    (
        "apps",
        "ReplicaSet",
        &[
            ("", OBJECT),
            ("spec", REPLICAS),
            ("spec.template.spec", POD),
            ("spec.template.spec.volumes[]", VOLUME),
            ("spec.template.spec.containers[]", CONTAINER),
            ("spec.template.spec.initContainers[]", CONTAINER),
        ],
    ),
    ("", "ConfigMap", &[("", OBJECT), ("", WHOLE)]),
    ("", "Secret", &[("", OBJECT), ("", WHOLE)]),
    ("", "Namespace", &[("", OBJECT), ("", WHOLE)]),
    ("", "Service", &[("", OBJECT), ("spec", SERVICE)]),
    ("", "Endpoints", &[("", OBJECT), ("", ENDPOINTS)]),
    ("discovery.k8s.io", "EndpointSlice", &[("", OBJECT), ("", ENDPOINTS)]),
    ("", "PersistentVolumeClaim", &[("", OBJECT), ("spec", CLAIM)]),
    ("", "PersistentVolume", &[("", OBJECT), ("spec", PERSISTENT_VOLUME)]),
    ("storage.k8s.io", "StorageClass", &[("", OBJECT), ("", STORAGE_CLASS)]),
    ("networking.k8s.io", "Ingress", &[("", OBJECT), ("spec", INGRESS)]),
    (
        "networking.k8s.io",
        "IngressClass",
        &[("", OBJECT), ("spec", INGRESS_CLASS)],
    ),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        &[("", OBJECT), ("spec", NETWORK_POLICY)],
    ),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &[("", OBJECT), ("", PRIORITY_CLASS)],
    ),
    ("node.k8s.io", "RuntimeClass", &[("", OBJECT), ("", RUNTIME_CLASS)]),
    // Whoever holds one acts on it.
    ("coordination.k8s.io", "Lease", &[("", OBJECT), ("", WHOLE)]),
    (
        "apps",
        "ControllerRevision",
        &[("", OBJECT), ("", WHOLE), ("", REVISION)],
    ),
    ("", "ServiceAccount", &[("", OBJECT), ("", ACCOUNT)]),
    (RIGHTS, "Role", &[("", OBJECT), ("", ROLE)]),
    (RIGHTS, "ClusterRole", &[("", OBJECT), ("", ROLE)]),
    (RIGHTS, "RoleBinding", &[("", OBJECT), ("", ROLE)]),
    (RIGHTS, "ClusterRoleBinding", &[("", OBJECT), ("", ROLE)]),
    // For the others one warning says that nothing acts on the kind.
];

const RIGHTS: &str = "rbac.authorization.k8s.io";

const REVISION: Entries = &[("revision", Honoured)];

const ACCOUNT: Entries = &[
    ("automountServiceAccountToken", Honoured),
    ("imagePullSecrets", Honoured),
    // A list for people to read.
    ("secrets", Moot),
];

const ROLE: Entries = &[
    ("rules", Honoured),
    ("aggregationRule", Honoured),
    ("subjects", Honoured),
    ("roleRef", Honoured),
];

const OBJECT: Entries = &[("apiVersion", Honoured), ("kind", Honoured), ("metadata", Honoured)];

const WHOLE: Entries = &[
    ("data", Honoured),
    ("binaryData", Honoured),
    ("immutable", Honoured),
    ("type", Honoured),
    ("spec", Honoured),
];

const NO_QUOTA: Say = Warn("approximated: volumes are matched by their size, but may grow beyond it");

const CLAIM: Entries = &[
    ("accessModes", Honoured),
    ("accessModes[]", Honoured),
    ("resources.requests", Honoured),
    ("resources.limits", NO_QUOTA),
    ("selector", Honoured),
    ("storageClassName", Honoured),
    ("volumeName", Honoured),
    (
        "volumeMode",
        OneOf(&["Filesystem"], &Warn("not honoured: there are no block volumes here")),
    ),
];

const PERSISTENT_VOLUME: Entries = &[
    ("accessModes", Honoured),
    ("capacity", Honoured),
    ("claimRef", Honoured),
    ("persistentVolumeReclaimPolicy", Honoured),
    ("storageClassName", Honoured),
    (
        "volumeMode",
        OneOf(&["Filesystem"], &Warn("not honoured: there are no block volumes here")),
    ),
    ("hostPath", Honoured),
    ("local.path", Honoured),
    // There is one node.
    ("nodeAffinity", Moot),
    ("*", Refuse("volumes of this kind can't be mounted here")),
];

const STORAGE_CLASS: Entries = &[
    ("provisioner", Honoured),
    ("parameters", Honoured),
    ("reclaimPolicy", Honoured),
    ("volumeBindingMode", Honoured),
    ("allowVolumeExpansion", Honoured),
    ("allowedTopologies", Moot),
];

const PRIORITY_CLASS: Entries = &[
    ("value", Honoured),
    ("globalDefault", Honoured),
    ("preemptionPolicy", Honoured),
    // For people.
    ("description", Honoured),
];

const RUNTIME_CLASS: Entries = &[("handler", Honoured), ("overhead", Honoured), ("scheduling", Honoured)];

const NO_NAMES: Say = Warn("not honoured: Services lead to addresses of IPv4 and IPv6");
const NO_SCTP: Say = Warn("not honoured: Services and ports of the host carry TCP and UDP");

const SERVICE: Entries = &[
    ("type", Honoured),
    ("selector", Honoured),
    ("ports", Honoured),
    ("ports[].protocol", OneOf(&["TCP", "UDP"], &NO_SCTP)),
    ("clusterIP", Honoured),
    ("clusterIPs", Honoured),
    ("externalName", Honoured),
    ("externalIPs", Honoured),
    ("sessionAffinity", Honoured),
    ("sessionAffinityConfig", Honoured),
    ("publishNotReadyAddresses", Honoured),
    ("ipFamilyPolicy", Honoured),
    ("ipFamilies", Honoured),
    (
        "loadBalancerIP",
        OneOf(
            &["127.0.0.1"],
            &Warn("not honoured: a load balancer is this machine's loopback"),
        ),
    ),
    (
        "loadBalancerClass",
        Warn("not honoured: what it names is not here, so that only the node ports are open"),
    ),
    (
        "loadBalancerSourceRanges",
        Warn("not enforced: only this machine reaches a load balancer's ports"),
    ),
    (
        "healthCheckNodePort",
        Warn("not honoured: there is one node, and nobody who would ask which has endpoints"),
    ),
    ("allocateLoadBalancerNodePorts", Honoured),
    // All endpoints are on this node.
    ("internalTrafficPolicy", Moot),
    ("externalTrafficPolicy", Moot),
    ("trafficDistribution", Moot),
];

const NETWORK_POLICY: Entries = &[
    ("podSelector", Honoured),
    ("policyTypes", Honoured),
    ("ingress", Honoured),
    ("egress", Honoured),
];

const NO_RESOURCE: Say = Warn("not honoured: only Services can be backends here");

const INGRESS: Entries = &[
    ("ingressClassName", Honoured),
    ("defaultBackend", Honoured),
    ("defaultBackend.resource", NO_RESOURCE),
    ("rules", Honoured),
    ("rules[].http.paths[].backend.resource", NO_RESOURCE),
    ("tls", Honoured),
];

const INGRESS_CLASS: Entries = &[
    ("controller", Honoured),
    (
        "parameters",
        Warn("not honoured: the controller of this node takes none"),
    ),
];

const ENDPOINTS: Entries = &[
    ("addressType", OneOf(&["IPv4", "IPv6"], &NO_NAMES)),
    ("endpoints", Honoured),
    ("ports", Honoured),
    ("subsets", Honoured),
];

const REPLICAS: Entries = &[
    ("replicas", Honoured),
    ("selector", Honoured),
    ("minReadySeconds", Honoured),
    ("template.metadata", Honoured),
];

const ROLLOUT: Entries = &[
    ("strategy", Honoured),
    ("revisionHistoryLimit", Honoured),
    ("progressDeadlineSeconds", Honoured),
    ("paused", Honoured),
];

const NO_WINDOWS: Say = Refuse("containers of other systems than Linux can't run here");
const SELINUX: Say = Warn("approximated: honoured where the host's kernel has SELinux, as in a cluster");

const POD: Entries = &[
    ("restartPolicy", Honoured),
    ("terminationGracePeriodSeconds", Honoured),
    ("hostname", Honoured),
    ("hostNetwork", Honoured),
    ("shareProcessNamespace", Honoured),
    ("nodeName", Moot),
    ("nodeSelector", Honoured),
    ("affinity", Honoured),
    ("tolerations", Honoured),
    ("topologySpreadConstraints", Honoured),
    (
        "schedulerName",
        OneOf(
            &["default-scheduler"],
            &Warn("not honoured: no other scheduler is waited for"),
        ),
    ),
    ("schedulingGroup", Moot),
    ("priority", Honoured),
    ("priorityClassName", Honoured),
    ("preemptionPolicy", Honoured),
    ("overhead", Honoured),
    ("evictionResponders", Moot),
    (
        "hostUsers",
        WarnFalse(
            "not honoured yet: all pods share the user namespace of the node, or run in the host's when it is root's",
        ),
    ),
    ("schedulingGates", Honoured),
    ("readinessGates", Honoured),
    ("activeDeadlineSeconds", Honoured),
    ("resources", Honoured),
    (
        "dnsPolicy",
        OneOf(
            &["ClusterFirst", "Default", "None"],
            &Warn(
                "approximated: with hostNetwork as Default, for Services, pods and their names are not reached from the host's network",
            ),
        ),
    ),
    ("dnsConfig", Honoured),
    ("subdomain", Honoured),
    ("setHostnameAsFQDN", Honoured),
    ("hostnameOverride", Warn("not honoured yet")),
    ("hostAliases", Honoured),
    ("enableServiceLinks", Honoured),
    ("imagePullSecrets", Honoured),
    ("serviceAccountName", Honoured),
    ("serviceAccount", Honoured),
    ("automountServiceAccountToken", Honoured),
    ("hostPID", Honoured),
    ("hostIPC", Honoured),
    ("os.name", OneOf(&["linux"], &NO_WINDOWS)),
    ("runtimeClassName", Honoured),
    ("resourceClaims", Refuse("devices can't be claimed here")),
    ("securityContext.runAsUser", Honoured),
    ("securityContext.runAsGroup", Honoured),
    ("securityContext.runAsNonRoot", Honoured),
    ("securityContext.supplementalGroups", Honoured),
    ("securityContext.supplementalGroupsPolicy", Honoured),
    ("securityContext.seccompProfile", Honoured),
    ("securityContext.appArmorProfile.type", APP_ARMOR),
    ("securityContext.appArmorProfile.localhostProfile", Honoured),
    ("securityContext.fsGroup", Honoured),
    ("securityContext.fsGroupChangePolicy", Honoured),
    ("securityContext.sysctls", Honoured),
    ("securityContext.seLinuxOptions", SELINUX),
    ("securityContext.seLinuxChangePolicy", Moot),
    ("securityContext.windowsOptions", NO_WINDOWS),
];

const APP_ARMOR: Say = OneOf(
    &["Unconfined", "Localhost"],
    &Warn("not honoured: no profile is loaded for containers, only root could; Localhost names one that is"),
);

const ONE_WAY: Say = Warn("approximated: the host's mounts appear in the container, and the container's nowhere else");

const CONTAINER: Entries = &[
    ("name", Honoured),
    ("image", Honoured),
    ("imagePullPolicy", Honoured),
    ("command", Honoured),
    ("args", Honoured),
    ("workingDir", Honoured),
    ("env", Honoured),
    (
        "env[].valueFrom.fileKeyRef",
        Refuse("variables can't be read from files here yet"),
    ),
    ("envFrom", Honoured),
    ("stdin", Honoured),
    ("stdinOnce", Honoured),
    ("tty", Honoured),
    ("ports", Honoured),
    ("ports[].protocol", OneOf(&["TCP", "UDP"], &NO_SCTP)),
    ("volumeMounts[].name", Honoured),
    ("volumeMounts[].mountPath", Honoured),
    ("volumeMounts[].readOnly", Honoured),
    ("volumeMounts[].subPath", Honoured),
    ("volumeMounts[].subPathExpr", Honoured),
    (
        "volumeMounts[].mountPropagation",
        OneOf(&["None", "HostToContainer"], &ONE_WAY),
    ),
    ("volumeMounts[].recursiveReadOnly", Honoured),
    (
        "volumeDevices",
        Refuse("block devices can't be given to containers here"),
    ),
    ("livenessProbe", Honoured),
    ("readinessProbe", Honoured),
    ("startupProbe", Honoured),
    ("lifecycle", Honoured),
    // Upstream takes it and fails it, always.
    (
        "lifecycle.postStart.tcpSocket",
        Warn("such a hook always fails, as in Kubernetes"),
    ),
    (
        "lifecycle.preStop.tcpSocket",
        Warn("such a hook always fails, as in Kubernetes"),
    ),
    ("resources", Honoured),
    ("resources.claims", Refuse("devices can't be claimed here")),
    ("resizePolicy", Honoured),
    ("restartPolicy", Honoured),
    ("restartPolicyRules", Honoured),
    (
        "restartPolicyRules[].action",
        OneOf(&["Restart"], &Refuse("containers are not restarted together here")),
    ),
    ("terminationMessagePath", Honoured),
    ("terminationMessagePolicy", Honoured),
    ("securityContext.runAsUser", Honoured),
    ("securityContext.runAsGroup", Honoured),
    ("securityContext.runAsNonRoot", Honoured),
    ("securityContext.privileged", Honoured),
    ("securityContext.allowPrivilegeEscalation", Honoured),
    ("securityContext.readOnlyRootFilesystem", Honoured),
    ("securityContext.capabilities", Honoured),
    ("securityContext.procMount", Honoured),
    ("securityContext.seccompProfile", Honoured),
    ("securityContext.appArmorProfile.type", APP_ARMOR),
    ("securityContext.appArmorProfile.localhostProfile", Honoured),
    ("securityContext.seLinuxOptions", SELINUX),
    ("securityContext.windowsOptions", NO_WINDOWS),
];

const EPHEMERAL_CONTAINER: Entries = &[("targetContainerName", Honoured)];

const NO_SOURCE: Say = Refuse("there is nobody here who signs certificates for pods");
const NO_FILE_OWNER: Say = Warn("not honoured yet: files belong to root");

const VOLUME: Entries = &[
    ("name", Honoured),
    ("emptyDir", Honoured),
    (
        "emptyDir.medium",
        OneOf(
            &["Memory"],
            &Warn("not honoured: huge pages are not given out, so the directory lies on the disk"),
        ),
    ),
    ("hostPath", Honoured),
    ("configMap", Honoured),
    ("secret", Honoured),
    ("emptyDir.mode", Warn("not honoured yet")),
    ("configMap.defaultUser", NO_FILE_OWNER),
    ("configMap.items[].user", NO_FILE_OWNER),
    ("secret.defaultUser", NO_FILE_OWNER),
    ("secret.items[].user", NO_FILE_OWNER),
    ("downwardAPI", Honoured),
    ("projected", Honoured),
    ("projected.sources[].clusterTrustBundle", NO_SOURCE),
    ("projected.sources[].podCertificate", NO_SOURCE),
    ("persistentVolumeClaim", Honoured),
    ("ephemeral", Honoured),
    ("image", Honoured),
    ("*", Refuse("volumes of this kind can't be mounted here")),
];
