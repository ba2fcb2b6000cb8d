//! Pulls: from a registry of our own that misbehaves on demand, and from Debian's `docker-registry`.
//!
//! Run in a user namespace with subordinate ids (`scripts/test` sees to that), or as root, so that owners can be kept.

#[path = "registry/debian.rs"]
mod debian;
#[path = "registry/forms.rs"]
mod forms;
#[path = "registry/image.rs"]
mod image;
#[path = "registry/scripted.rs"]
mod scripted;

#[path = "registry/access.rs"]
mod access;
#[path = "registry/crash.rs"]
mod crash;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/pulls.rs"]
mod pulls;
#[path = "registry/real.rs"]
mod real;
#[path = "registry/shared.rs"]
mod shared;
#[path = "registry/unpacked.rs"]
mod unpacked;
#[path = "registry/uploads.rs"]
mod uploads;
