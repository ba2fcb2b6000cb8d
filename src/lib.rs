//! kubelocal: a Kubernetes node for one machine, without the cluster and without root.

pub mod controller;
pub mod event;
pub mod model;
pub mod runtime;
pub mod store;
