//! The table of fields. Change it in the same commit that makes the node honour a field, or stop doing so.
//!
//! A pattern is a path with `[]` for items and `*` for any other field. An entry covers everything below it that has no
//! entry of its own; a field that no entry covers is "not honoured yet".

use super::Say::{self, Honoured, Moot, OneOf, Refuse, Warn};

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
            ("spec.initContainers[]", INIT_CONTAINER),
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
            ("spec.template.spec.initContainers[]", INIT_CONTAINER),
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
            ("spec.template.spec.initContainers[]", INIT_CONTAINER),
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
    // Whoever holds one acts on it.
    ("coordination.k8s.io", "Lease", &[("", OBJECT), ("", WHOLE)]),
    // For the others one warning says that nothing acts on the kind.
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
const NO_SOLE_POD: Say = Warn("approximated: several pods may use it at once");

const CLAIM: Entries = &[
    ("accessModes", Honoured),
    (
        "accessModes[]",
        OneOf(&["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"], &NO_SOLE_POD),
    ),
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

const ONE_FAMILY: Say = Warn("not honoured yet: Services have IPv4 addresses only");
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
    (
        "sessionAffinityConfig",
        Warn("approximated: a client stays with its endpoint for as long as that is ready"),
    ),
    ("publishNotReadyAddresses", Honoured),
    (
        "ipFamilyPolicy",
        OneOf(&["SingleStack", "PreferDualStack"], &ONE_FAMILY),
    ),
    ("ipFamilies[]", OneOf(&["IPv4"], &ONE_FAMILY)),
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

const ENDPOINTS: Entries = &[
    ("addressType", OneOf(&["IPv4"], &ONE_FAMILY)),
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

const NO_SCHEDULER: Say = Warn("not honoured yet: there is one node, and it runs every pod");
const NO_ACCOUNT: Say = Warn("not honoured yet: pods get no tokens of service accounts");
const NO_WINDOWS: Say = Refuse("containers of other systems than Linux can't run here");
const NO_SELINUX: Say = Warn("not honoured: containers run with the label of the user's session");

const POD: Entries = &[
    ("restartPolicy", Honoured),
    ("terminationGracePeriodSeconds", Honoured),
    ("hostname", Honoured),
    ("hostNetwork", Honoured),
    ("shareProcessNamespace", Honoured),
    ("nodeName", Moot),
    ("nodeSelector", NO_SCHEDULER),
    ("affinity", NO_SCHEDULER),
    ("tolerations", Moot),
    ("topologySpreadConstraints", Moot),
    ("schedulerName", Moot),
    ("schedulingGroup", Moot),
    ("priority", Moot),
    ("priorityClassName", Moot),
    ("preemptionPolicy", Moot),
    ("overhead", Honoured),
    ("evictionResponders", Moot),
    // A pod always runs in a user namespace of the node's user, or in none when the node is root's.
    ("hostUsers", Moot),
    ("schedulingGates", Warn("not honoured yet: the pod starts at once")),
    ("readinessGates", Honoured),
    ("activeDeadlineSeconds", Honoured),
    ("resources", Honoured),
    ("dnsPolicy", Honoured),
    ("dnsConfig", Honoured),
    ("subdomain", Honoured),
    ("setHostnameAsFQDN", Honoured),
    ("hostnameOverride", Warn("not honoured yet")),
    ("hostAliases", Honoured),
    ("enableServiceLinks", Honoured),
    ("imagePullSecrets", Honoured),
    ("serviceAccountName", OneOf(&["default"], &NO_ACCOUNT)),
    ("serviceAccount", OneOf(&["default"], &NO_ACCOUNT)),
    ("automountServiceAccountToken", NO_ACCOUNT),
    ("hostPID", Refuse("pods can't see the host's processes here")),
    ("hostIPC", Refuse("pods can't join the host's IPC namespace here")),
    ("os.name", OneOf(&["linux"], &NO_WINDOWS)),
    ("runtimeClassName", Refuse("there are no runtime classes here")),
    ("resourceClaims", Refuse("devices can't be claimed here")),
    ("ephemeralContainers", Refuse("ephemeral containers are not run yet")),
    ("securityContext.runAsUser", Honoured),
    ("securityContext.runAsGroup", Honoured),
    ("securityContext.runAsNonRoot", Honoured),
    ("securityContext.supplementalGroups", Honoured),
    (
        "securityContext.supplementalGroupsPolicy",
        OneOf(&["Merge"], &Warn("not honoured yet: groups are merged")),
    ),
    ("securityContext.seccompProfile.type", SECCOMP),
    ("securityContext.seccompProfile.localhostProfile", NO_PROFILE),
    ("securityContext.appArmorProfile.type", APP_ARMOR),
    ("securityContext.appArmorProfile.localhostProfile", NO_PROFILE),
    (
        "securityContext.fsGroup",
        Warn("not honoured yet: volumes keep their owner"),
    ),
    ("securityContext.fsGroupChangePolicy", Moot),
    (
        "securityContext.sysctls",
        Warn("not honoured yet: the host's values stay"),
    ),
    ("securityContext.seLinuxOptions", NO_SELINUX),
    ("securityContext.seLinuxChangePolicy", Moot),
    ("securityContext.windowsOptions", NO_WINDOWS),
];

const NO_PROFILE: Say = Refuse("profiles of the host can't be loaded here");
const SECCOMP: Say = OneOf(&["RuntimeDefault", "Unconfined"], &NO_PROFILE);
const APP_ARMOR: Say = OneOf(
    &["Unconfined"],
    &Warn("not honoured: only root can load AppArmor profiles"),
);

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
        OneOf(&["None"], &Warn("not honoured yet: mounts don't propagate")),
    ),
    (
        "volumeMounts[].recursiveReadOnly",
        OneOf(
            &["Disabled", "IfPossible"],
            &Refuse("mounts below the volume would stay writable"),
        ),
    ),
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
    ("resources.limits.cpu", Honoured),
    ("resources.limits.memory", Honoured),
    ("resources.limits.hugepages-2Mi", Honoured),
    ("resources.limits.hugepages-1Gi", Honoured),
    ("resources.limits.ephemeral-storage", Honoured),
    (
        "resources.limits.*",
        Warn("not honoured: nothing on this node counts it"),
    ),
    ("resources.claims", Refuse("devices can't be claimed here")),
    ("resizePolicy", Moot),
    ("restartPolicyRules", Warn("not honoured yet")),
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
    ("securityContext.seccompProfile.type", SECCOMP),
    ("securityContext.seccompProfile.localhostProfile", NO_PROFILE),
    ("securityContext.appArmorProfile.type", APP_ARMOR),
    ("securityContext.appArmorProfile.localhostProfile", NO_PROFILE),
    ("securityContext.seLinuxOptions", NO_SELINUX),
    ("securityContext.windowsOptions", NO_WINDOWS),
];

const INIT_CONTAINER: Entries = &[(
    "restartPolicy",
    OneOf(
        &["Always"],
        &Warn("not honoured yet: the pod's own restartPolicy decides about init containers"),
    ),
)];

const NO_SOURCE: Say = Refuse("there are no service accounts and no certificates to take this from here");
const NO_FILE_OWNER: Say = Warn("not honoured yet: files belong to root");

const VOLUME: Entries = &[
    ("name", Honoured),
    ("emptyDir", Honoured),
    ("emptyDir.medium", Warn("approximated: the directory lies on the disk")),
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
    ("projected.sources[].serviceAccountToken", NO_SOURCE),
    ("projected.sources[].clusterTrustBundle", NO_SOURCE),
    ("projected.sources[].podCertificate", NO_SOURCE),
    ("persistentVolumeClaim", Honoured),
    ("ephemeral", Honoured),
    ("image", Refuse("volumes of this kind can't be mounted here yet")),
    ("*", Refuse("volumes of this kind can't be mounted here")),
];
