//! Runs pods itself: one supervisor process per pod, containers by an OCI runtime in it.
//!
//! ```text
//!  node (tokio, many threads)                      │ pod supervisor (one thread, PID 1 of the pod's pid namespace)
//!  NativeRuntime ── spawn ── posix_spawn ──────────┼─► supervisor::birth: unshare, fork, record, serve
//!     │  client ─────────── unix socket, frames ───┼─► peers ─► requests ─► jobs ─► oci (forked child per call)
//!     │  watch  ◄────────── "changed" ─────────────┼── exits ◄── SIGCHLD      output ─► cri_log, whoever is attached
//!     └─ record ◄────────── files ─────────────────┼── container ─► record
//! ```
//!
//! What a supervisor knows is on disk before anyone hears of it, so the node reads files and needs nobody's word; a
//! connection is for asking and for hints. The node may die and come back: it finds supervisors by their records
//! (`record::SupervisorRecord`) and connects again. A supervisor may die: the kernel kills what it ran, and the
//! node writes down that how it ended is not known.
//!
//! What libcontainer needs, and where it is given (each with a test in `tests/runtime_native.rs`):
//! one thread and a forked child per call (`supervisor::jobs`); cgroup v2 in view (`supervisor::cgroup`); SIGPIPE deadly and no
//! signal blocked (`sys::default_signals`); zombies of failed calls reaped by PID 1 (`supervisor::exits`); no
//! `noNewPrivileges: false`, always a PATH, no resources without controllers (`spec`); the working directory made
//! before (`rootfs`); errors from its events (`oci::trace`); own state and signals by pidfd (`supervisor::container`);
//! seccomp filters (`oci::filter`, `oci::executor`); the host's sysfs bound where a new one is not allowed
//! (`spec::mounts`).

mod births;
mod client;
mod cri_log;
mod door;
mod external;
mod living;
mod node;
mod oci;
mod parts;
mod program;
mod record;
mod resolve;
mod rootfs;
mod session;
mod spawn;
mod spec;
pub mod supervisor;
mod sys;
mod users;
mod wire;

pub use node::NativeRuntime;
pub use record::find_supervisor;
