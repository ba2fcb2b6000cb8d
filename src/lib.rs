//! kubelocal: a Kubernetes node for one machine, without the cluster and without root.

pub mod demo;
pub mod image;
pub mod model;
pub mod runtime;
