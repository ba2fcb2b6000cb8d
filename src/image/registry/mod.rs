//! Registries over HTTP: the OCI distribution protocol, as far as pulling and pushing images needs it.
//!
//! ```text
//!  settings ─► endpoints ─┐
//!  credentials ───────────┴─► session ─┬─► documents   manifests and configs, in memory, verified
//!                                      ├─► transfer    blobs, streamed, resumed
//!                                      └─► upload      blobs and manifests, the other way
//! ```
//!
//! Async, and knows neither the store nor how layers are unpacked. Everything that a registry says is bounded and held against
//! digests; what it says about errors is passed on in its own words.

mod access;
mod credential;
mod documents;
mod error;
mod http;
mod login_files;
mod session;
mod settings;
mod transfer;
mod upload;

pub use access::Access;
pub use credential::{Credential, Keyring, Login};
pub(super) use documents::{Document, SCHEMA_1};
pub use error::RegistryError;
pub(super) use login_files::Found as FoundLogin;
pub use login_files::LoginFiles;
pub(super) use session::Session;
pub(super) use settings::Endpoint;
pub use settings::{HostSettings, RegistrySettings};
pub(super) use transfer::Transfer;
