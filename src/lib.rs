//! kubelocal: a Kubernetes node for one machine, without the cluster and without root.

pub mod admit;
pub mod model;
pub mod runtime;
pub mod store;
