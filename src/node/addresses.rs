//! The machine's addresses, which change while the node runs.

use std::net::{IpAddr, UdpSocket};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::report;
use crate::model::{Key, is_nowhere, kind};
use crate::net::Moves;
use crate::store::Store;

/// What the machine's addresses are now: the main one first, and that of IPv6 if it has a way to elsewhere by it.
pub(super) fn present() -> Vec<String> {
    let second = address_towards("[::]:0", "[2001:db8::1]:9").filter(|ip| !is_nowhere(*ip));
    [main_address()]
        .into_iter()
        .chain(second.map(|ip| ip.to_string()))
        .collect()
}

/// Whether the machine knew a way to wherever when it was looked at last.
pub(super) fn has_way(newest: &watch::Receiver<Vec<String>>) -> bool {
    newest.borrow().first().is_some_and(|main| main != NOWHERE)
}

/// What is said to be the machine's address while it has no way to anywhere.
const NOWHERE: &str = "127.0.0.1";

fn main_address() -> String {
    // 192.0.2.0/24 is for documentation (RFC 5737), as 2001:db8::/32 is (RFC 3849): it is nobody's, so the default route decides.
    let asked = address_towards("0.0.0.0:0", "192.0.2.1:9");
    asked.map_or_else(|| NOWHERE.to_owned(), |address| address.to_string())
}

/// The address that packets to elsewhere would come from. Connecting a UDP socket sends nothing.
fn address_towards(any: &str, far: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Follows them until `stop`: tells whoever looks, and the node's object.
pub(super) async fn follow(
    store: Store,
    node_name: String,
    newest: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    let followed = async {
        let moves = Moves::listen()?;
        loop {
            // Also at first: they may have changed since they were looked at.
            let now = present();
            let has_changed = newest.send_if_modified(|known| {
                let has_changed = *known != now;
                known.clone_from(&now);
                has_changed
            });
            if has_changed {
                tracing::info!(addresses = ?now, "the machine has moved");
                tell(&store, &node_name, &now);
            }
            moves.next().await?;
        }
    };
    let followed: Option<Result<std::convert::Infallible, std::io::Error>> = stop.run_until_cancelled(followed).await;
    if let Some(Err(error)) = followed {
        tracing::warn!(%error, "the machine's addresses are not followed");
    }
}

fn tell(store: &Store, node_name: &str, addresses: &[String]) {
    let key = Key::new(kind("v1", "Node").expect("in the table"), "", node_name);
    let told = store.update_status(&key, |node| {
        node.value_mut()["status"]["addresses"] = report::addresses(node_name, addresses);
    });
    if let Err(error) = told {
        tracing::warn!(%error, "the node's addresses are not told");
    }
}
