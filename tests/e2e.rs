//! The program as a user drives it, with real rootless containers of the built-in image.
//!
//! Run as an unprivileged user with subordinate ids (`scripts/test` sees to that), or as root. Each test has a node of its own.

#[path = "e2e/home.rs"]
mod home;
#[path = "e2e/machine.rs"]
mod machine;
#[path = "e2e/manifest.rs"]
mod manifest;

#[path = "registry/debian.rs"]
mod debian;
#[path = "registry/image.rs"]
mod image;
#[path = "registry/scripted.rs"]
mod scripted;

#[path = "e2e/accounts.rs"]
mod accounts;
#[path = "e2e/affinity.rs"]
mod affinity;
#[path = "e2e/config.rs"]
mod config;
#[path = "e2e/confinement.rs"]
mod confinement;
#[path = "e2e/devices.rs"]
mod devices;
#[path = "e2e/dual.rs"]
mod dual;
#[path = "e2e/egress.rs"]
mod egress;
#[path = "e2e/files.rs"]
mod files;
#[path = "e2e/forward.rs"]
mod forward;
#[path = "e2e/health.rs"]
mod health;
#[path = "e2e/images.rs"]
mod images;
#[path = "e2e/ingress.rs"]
mod ingress;
#[path = "e2e/kubectl.rs"]
mod kubectl;
#[path = "e2e/life.rs"]
mod life;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/matrix.rs"]
mod matrix;
#[path = "e2e/network.rs"]
mod network;
#[path = "e2e/node.rs"]
mod node;
#[path = "e2e/policies.rs"]
mod policies;
#[path = "e2e/ports.rs"]
mod ports;
#[path = "e2e/pressure.rs"]
mod pressure;
#[path = "e2e/registry.rs"]
mod registry;
#[path = "e2e/resize.rs"]
mod resize;
#[path = "e2e/runtime_classes.rs"]
mod runtime_classes;
#[path = "e2e/schedule.rs"]
mod schedule;
#[path = "e2e/slow.rs"]
mod slow;
#[path = "e2e/sources.rs"]
mod sources;
#[path = "e2e/storage.rs"]
mod storage;
#[path = "e2e/streams.rs"]
mod streams;
#[path = "e2e/verbs.rs"]
mod verbs;
#[path = "e2e/volumes.rs"]
mod volumes;
#[path = "e2e/workloads.rs"]
mod workloads;
