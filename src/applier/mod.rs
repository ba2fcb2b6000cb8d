//! Brings documents into the store: every write of desired state, from files and from the API, is a server-side apply, an update
//! or a creation that passes the gate (`admit`). [`run`] keeps the store like the sources that are registered in it:
//!
//! ```text
//!  ManifestSource ─► registry ─► keeper, one per source ◄─ listings ◄─ source (files)
//!                                   └─► apply, prune ─► store; status ─► ManifestSource
//! ```
//!
//! The room knows the store, the gate and listings; it does not read files (`source` does) and does not know HTTP.

mod apply;
mod combine;
mod heirs;
mod keeper;
mod owner;
mod registry;
mod report;
mod retry;
#[cfg(test)]
mod tests;

pub use apply::{Applied, ApplyError, Outcome, Request, allocate, apply, check_arrival, turn};
pub use registry::run;
