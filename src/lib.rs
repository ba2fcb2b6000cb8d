//! kubelocal: a Kubernetes node for one machine, without the cluster and without root.

pub mod access;
pub mod admit;
pub mod api;
pub mod applier;
pub mod cli;
pub mod controller;
pub mod demo;
pub mod doctor;
pub mod egress;
pub mod event;
pub mod image;
pub mod kustomize;
pub mod model;
pub mod net;
pub mod node;
pub mod os;
pub mod pod;
pub mod probe;
pub mod runtime;
pub mod schema;
pub mod service;
pub mod source;
pub mod status;
pub mod store;
pub mod volume;
