//! kubelocal: a Kubernetes node for one machine, without the cluster and without root.

pub mod api;
pub mod cli;
pub mod model;
pub mod runtime;
