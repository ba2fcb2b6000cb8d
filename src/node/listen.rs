//! Where the API is served: the unix socket, and a port on loopback whose certificates are renewed before they expire.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::access::token::TokenKey;
use crate::access::{Access, Authority};
use crate::model::{API_PORT, Clock, GATEWAY, Paths};
use crate::net::NodeNetwork;
use crate::os::SocketPath;

/// How often certificates are looked at. They are renewed a month early, so a day more or less does not matter.
const LOOK: Duration = Duration::from_secs(24 * 3600);

/// Listens where only the owner may connect. A socket that a killed node left is replaced: we hold the lock.
pub(super) fn socket(paths: &Paths) -> Result<UnixListener, Failure> {
    let _ = std::fs::remove_file(&paths.api_socket);
    let listener = SocketPath::of(&paths.api_socket).and_then(|socket| UnixListener::bind(socket.path()));
    let listener = listener.map_err(|e| format!("{}: {e}", paths.api_socket.display()))?;
    std::fs::set_permissions(&paths.api_socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The port, and what its clients need.
pub(super) struct Loopback {
    pub listener: TcpListener,
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    pub tokens: Arc<TokenKey>,
    /// The authority's certificate.
    pub authority_certificate: String,
    pub keeper: Keeper,
    /// Who signed their certificates, to sign others.
    pub authority: Authority,
}

/// Listens on loopback: on the port that the settings name, else on that of the last time, else on any.
pub(super) async fn loopback(paths: &Paths, wanted: Option<u16>, clock: Arc<dyn Clock>) -> Result<Loopback, Failure> {
    let mut access = Access::open(paths, clock.now())?;
    let listener = match wanted {
        Some(port) => bind(port)
            .await
            .map_err(|e| format!("{}: apiPort: {port}: {e}", paths.config.display()))?,
        None => match bind(access.port()).await {
            // Somebody else took it while no node ran.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(0).await?,
            bound => bound?,
        },
    };
    access.settle(listener.local_addr()?.port())?;
    let (newest, tls) = watch::channel(access.server_config()?);
    Ok(Loopback {
        authority: access.authority(clock),
        listener,
        tls,
        tokens: Arc::new(access.token_key()?),
        authority_certificate: access.authority_certificate().to_owned(),
        keeper: Keeper { access, newest },
    })
}

/// Listens in the pods' network, where the Service `kubernetes` leads.
/// Nothing where there is no network, or it can't be had.
pub(super) async fn for_pods(network: Option<&NodeNetwork>) -> Option<TcpListener> {
    let listener = bind_inside(network?).await;
    listener
        .inspect_err(|error| tracing::warn!(%error, "pods do not reach the API"))
        .ok()
}

async fn bind_inside(network: &NodeNetwork) -> io::Result<TcpListener> {
    let bound = network.run(|| {
        let listener = std::net::TcpListener::bind((GATEWAY, API_PORT))?;
        listener.set_nonblocking(true)?;
        Ok::<_, io::Error>(listener)
    });
    TcpListener::from_std(bound.await.map_err(io::Error::other)??)
}

async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Renews certificates while the node runs.
pub(super) struct Keeper {
    access: Access,
    newest: watch::Sender<Arc<ServerConfig>>,
}

impl Keeper {
    /// Looks every day, until `stop`.
    pub(super) async fn run(mut self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(error) = self.renew(clock.now()) {
                tracing::warn!(%error, "the API's certificates were not renewed");
            }
        }
    }

    fn renew(&mut self, now: Timestamp) -> Result<(), crate::access::AccessError> {
        if self.access.renew(now)? {
            self.access.settle(self.access.port())?;
            self.newest.send_replace(self.access.server_config()?);
        }
        Ok(())
    }
}
