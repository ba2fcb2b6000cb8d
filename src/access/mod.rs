//! How clients other than our own command line reach the API, and how each side proves who it is: the port on loopback, certificates,
//! and the kubeconfig that tells clients of both.
//!
//! Who comes without a certificate has a token of a service account (`token`), and may do what roles say (`rights`).
//!
//! What is kept is one file of the owner's. It is made when it is missing or can't be used, and renewed before it expires. Whoever can
//! read it is the owner, as with the unix socket. Requests and answers are the API's.

mod authority;
mod certificates;
pub mod kubeconfig;
pub mod rights;
pub mod token;

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};

use crate::model::Paths;
pub use authority::Authority;
use certificates::{Certificates, Renewal};
use token::TokenKey;

/// Why there is no access.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file can't be written.
    #[error("{path}: {source}", path = .0.display(), source = .1)]
    Write(PathBuf, io::Error),
    /// Keys or certificates can't be made.
    #[error("the certificates of the API can't be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What was made does not work.
    #[error("the certificates of the API can't be used: {0}")]
    Use(String),
}

/// What clients need to come in, and the server to know them.
#[derive(Debug)]
pub struct Access {
    file: PathBuf,
    kubeconfig: PathBuf,
    kept: Kept,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// The port of the last time; 0 before the first. The same port again spares clients a new kubeconfig.
    port: u16,
    certificates: Certificates,
    /// The key of tokens. Files of earlier versions have none.
    #[serde(default)]
    tokens: String,
}

impl Access {
    /// Reads what is kept, and makes what is missing or about to expire. Nothing is written before [`Access::settle`].
    ///
    /// # Errors
    /// [`AccessError::Make`].
    pub fn open(paths: &Paths, now: Timestamp) -> Result<Self, AccessError> {
        let file = paths.state.join("api.json");
        let mut kept = match read(&file) {
            Some(kept) => kept,
            None => Kept {
                port: 0,
                certificates: Certificates::make(now)?,
                tokens: String::new(),
            },
        };
        // Whoever holds a token of a key that can't be read gets a new one: pods as soon as they are looked at.
        if TokenKey::read(&kept.tokens).is_err() {
            kept.tokens = TokenKey::make()?;
        }
        let mut access = Self {
            file,
            kubeconfig: paths.kubeconfig.clone(),
            kept,
        };
        access.renew(now)?;
        Ok(access)
    }

    /// The port of the last time; 0 before the first.
    pub fn port(&self) -> u16 {
        self.kept.port
    }

    /// Makes anew what is about to expire; true if that was anything. To be followed by [`Access::settle`].
    ///
    /// # Errors
    /// [`AccessError::Make`].
    pub fn renew(&mut self, now: Timestamp) -> Result<bool, AccessError> {
        let certificates = &self.kept.certificates;
        self.kept.certificates = match certificates.plan_renewal(now) {
            Renewal::Nothing => return Ok(false),
            Renewal::Leaves => certificates.with_new_leaves(now)?,
            Renewal::All => Certificates::make(now)?,
        };
        Ok(true)
    }

    /// Keeps what is to be kept and writes the kubeconfig, for a server that listens on `port`.
    ///
    /// # Errors
    /// [`AccessError::Write`].
    pub fn settle(&mut self, port: u16) -> Result<(), AccessError> {
        self.kept.port = port;
        let kept = serde_json::to_vec(&self.kept).expect("text and a number");
        replace(&self.file, &kept)?;
        let text = kubeconfig::text(&kubeconfig::Entry::new(port, &self.kept.certificates));
        replace(&self.kubeconfig, text.as_bytes())
    }

    /// The key of tokens.
    ///
    /// # Errors
    /// [`AccessError::Use`].
    pub fn token_key(&self) -> Result<TokenKey, AccessError> {
        TokenKey::read(&self.kept.tokens)
    }

    /// The authority's certificate, in PEM: by it clients know the server.
    pub fn authority_certificate(&self) -> &str {
        &self.kept.certificates.authority.certificate
    }

    /// TLS of the server. Who has a certificate has one of our authority; who has none is let in no further than to show a token.
    ///
    /// # Errors
    /// [`AccessError::Use`].
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, AccessError> {
        self.kept.certificates.server_config()
    }
}

/// What was kept, if it is there and whole. A file that was damaged is as good as none: clients are told of the new one.
fn read(file: &Path) -> Option<Kept> {
    let bytes = std::fs::read(file).ok()?;
    let kept: Kept = match serde_json::from_slice(&bytes) {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the API's certificates can't be read and are made anew");
            return None;
        }
    };
    let usable = kept.certificates.server_config();
    usable
        .inspect_err(|error| tracing::warn!(%error, "the API's certificates are made anew"))
        .ok()
        .map(|_| kept)
}

/// Writes a file of the owner's whole or not at all; leaves one alone that says the same.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), AccessError> {
    if std::fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    write_whole(path, bytes).map_err(|error| AccessError::Write(path.to_owned(), error))
}

/// Writes a file that its owner alone may read, whole or not at all.
///
/// # Errors
/// When its directory can't be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // What failed is told; what is left of it is only in the way.
        let _ = std::fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use jiff::SignedDuration;

    use super::*;

    fn days(count: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * count)
    }

    fn paths(home: &Path) -> Paths {
        let paths = Paths::at(home.to_owned());
        std::fs::create_dir_all(&paths.state).expect("a directory");
        paths
    }

    #[test]
    fn the_same_certificates_and_port_come_back_after_a_restart() {
        let home = tempfile::tempdir().expect("a directory");
        let (paths, now) = (paths(home.path()), Timestamp::UNIX_EPOCH + days(20_000));
        let mut first = Access::open(&paths, now).expect("opens");
        assert_eq!(first.port(), 0);
        first.settle(4711).expect("writes");
        let text = std::fs::read_to_string(&paths.kubeconfig).expect("was written");
        assert!(text.contains("server: https://127.0.0.1:4711"), "{text}");
        let second = Access::open(&paths, now + days(300)).expect("opens");
        assert_eq!(second.kept, first.kept);
        for file in [&second.file, &paths.kubeconfig] {
            assert_eq!(std::fs::metadata(file).expect("there").mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_expires_soon_is_renewed_and_the_authority_stays_as_long_as_it_can() {
        let home = tempfile::tempdir().expect("a directory");
        let (paths, now) = (paths(home.path()), Timestamp::UNIX_EPOCH + days(20_000));
        let mut access = Access::open(&paths, now).expect("opens");
        let first = access.kept.certificates.clone();
        assert!(!access.renew(now + days(330)).expect("works"));
        assert!(access.renew(now + days(340)).expect("works"));
        let second = access.kept.certificates.clone();
        assert_eq!(second.authority, first.authority);
        assert_ne!(second.client, first.client);
        assert!(access.renew(now + days(3600)).expect("works"));
        assert_ne!(access.kept.certificates.authority, first.authority);
        assert!(access.server_config().is_ok());
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let home = tempfile::tempdir().expect("a directory");
        let (paths, now) = (paths(home.path()), Timestamp::UNIX_EPOCH + days(20_000));
        let file = paths.state.join("api.json");
        for text in ["", "{", r#"{"port":1,"certificates":{}}"#] {
            std::fs::write(&file, text).expect("writes");
            assert_eq!(Access::open(&paths, now).expect("opens").port(), 0, "{text}");
        }
    }
}
