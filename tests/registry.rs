//! Images from elsewhere: from a registry of our own that misbehaves on demand, from Debian's `docker-registry`, and from archives and
//! layouts that other tools make.
//!
//! Run in a user namespace with subordinate ids (`scripts/test` sees to that), or as root, so that owners can be kept.

#[path = "registry/debian.rs"]
mod debian;
#[path = "registry/forms.rs"]
mod forms;
#[path = "registry/image.rs"]
mod image;
#[path = "registry/kills.rs"]
mod kills;
#[path = "registry/scripted.rs"]
mod scripted;
#[path = "registry/trees.rs"]
mod trees;

#[path = "registry/access.rs"]
mod access;
#[path = "registry/crash.rs"]
mod crash;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/load_crash.rs"]
mod load_crash;
#[path = "registry/pulls.rs"]
mod pulls;
#[path = "registry/real.rs"]
mod real;
#[path = "registry/shared.rs"]
mod shared;
#[path = "registry/tools.rs"]
mod tools;
#[path = "registry/unpacked.rs"]
mod unpacked;
#[path = "registry/uploads.rs"]
mod uploads;
