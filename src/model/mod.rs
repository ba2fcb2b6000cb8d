//! Words everybody speaks: kinds, keys, objects, selectors, the clock, paths. No IO beyond the clock's and the environment's.

/// The domain of all names of the cluster (kubelet `--cluster-domain`): the one that charts and scripts take for granted.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// The label that names the Service of an EndpointSlice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The number of a Deployment's version, on it and on its ReplicaSets; `kubectl rollout history` and `undo` go by it.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

mod addresses;
mod clock;
mod complaints;
mod condition;
pub mod downward;
mod ephemeral;
mod hash;
mod host_ports;
pub mod ingress;
mod kinds;
mod lookup;
mod manifest_source;
pub mod names;
mod object;
mod outside;
mod paths;
mod priority;
mod qos;
mod quantity;
mod ranges;
mod resolver;
mod selector;
mod signal;
pub mod storage;

pub use addresses::{cluster_ips, pod_ips};
pub use clock::{Clock, ManualClock, SystemClock, later, object_time, whole_second};
pub use complaints::Complaints;
pub use condition::{Condition, condition_of, set_condition};
pub use ephemeral::as_container;
pub use hash::Fnv;
pub use host_ports::{HostPort, first_open_port, host_ports, rollout_of};
pub use kinds::{Honoured, KINDS, Kind, kind, known_kind};
pub use lookup::{Find, Lookup, Sign};
pub use manifest_source::{
    MANIFESTS_SOURCE, PRUNE_FINALIZER, Problem, SOURCE, Severity, SourceObject, SourceSpec, SourceStatus,
};
pub use object::{Key, Object, OwnerRef, Seniority, is_terminal, list_at, number_at, text_at, value_at};
pub use outside::{EGRESS, cut_off};
pub use paths::Paths;
pub use priority::class_priority;
pub use qos::qos_class;
pub use quantity::Quantity;
pub use ranges::{
    API_PORT, API_SERVICE, Block, DNS, Family, GATEWAY, HOST, HOST_NAMES, LAST_SERVICE, NODE_PORTS, NOWHERE,
    POD_PREFIX, PODS, PodIps, SERVICE_PREFIX, SERVICES, is_inside, is_nowhere, is_service, is_taken, link_name, mask,
    may_have, stack_of, twin_of,
};
pub use resolver::Resolver;
pub use selector::{LabelSelector, Requirement, SelectorError};
pub use signal::signal_number;
