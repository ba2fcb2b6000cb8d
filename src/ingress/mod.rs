//! Ingresses at work: HTTP on the host's loopback to Services, by the rules of Ingresses and by the Services' own names.
//!
//! ```text
//!  store ─ Ingresses, classes, Services, slices, Secrets ─► keeper ─ plan_routes ─► Routes ─┐
//!                                                             └─► events, status            │
//!  client ══ a door on loopback ══ TLS by name ══ HTTP/1 or 2 ══ proxy ─ find ──────────────┘
//!                                                                  └─ endpoint, in the node's network
//! ```
//!
//! What a request leads to is pure (`routes`, `plan`); the proxy asks it once for each request, so that a change holds for the next one. A request
//! goes to an endpoint that is ready, and to another one if that can't be connected, for as long as nothing of its body was sent. How an
//! endpoint is spoken to is what `appProtocol` of the Service's port says; nobody's certificate is looked at there, as with other controllers.
//!
//! Ingresses of the class `kubelocal`, which is the default, are served here, and those of any class whose controller is
//! [`CONTROLLER`]; others are another controller's, which is said and not done. `http://<service>.<namespace>.localhost` needs no Ingress.

mod class;
mod dial;
mod doors;
mod keeper;
mod memory;
mod plan;
mod proxy;
mod routes;
#[cfg(test)]
mod tests;
mod tls;
mod unheard;
mod upstream;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::Authority;
use crate::event::EventRecorder;
use crate::model::Complaints;
use crate::net::NodeNetwork;
use crate::store::Store;

pub use class::{CLASS, CONTROLLER, create_class};
use dial::Dialer;
use doors::Doors;
pub use doors::OpenDoors;
use proxy::Proxy;
use routes::Routes;

/// What the user's settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where they are; loopback of both families if nothing is said.
    pub address: Option<IpAddr>,
    /// The ports, if they are to be these and no others.
    pub http: Option<u16>,
    /// The same for TLS.
    pub https: Option<u16>,
    /// All ports of the host's loopback but this one, which is the node's API's, may be reached by the names of Services; none without it.
    pub loopback_but: Option<u16>,
    /// The file that keeps those that were chosen, so that links hold.
    pub memory: PathBuf,
}

/// Serves Ingresses until `stop`; `open` always holds where, and what is wrong with that is complained of. Connections end with it, as the process that carries them does.
pub async fn run(
    store: Store,
    recorder: EventRecorder,
    network: Arc<NodeNetwork>,
    authority: Authority,
    settings: Settings,
    (open, complaints): (OpenDoors, Complaints),
    stop: CancellationToken,
) {
    let (newest, routes) = watch::channel(Arc::new(Routes::default()));
    let dialer = Dialer::new(Some(network), settings.loopback_but);
    let proxy = Arc::new(Proxy::new(routes.clone(), dialer));
    let doors = Doors::new(
        settings,
        proxy,
        tls::config(routes, authority),
        (open.clone(), complaints),
        stop.clone(),
    );
    let keeper = keeper::Keeper::new(store, recorder, newest, doors, open);
    stop.run_until_cancelled(keeper.run()).await;
}
