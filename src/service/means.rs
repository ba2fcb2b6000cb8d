//! By which means Services are served: by rules of the kernel, or where it takes none by the node's own proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;

use super::MayLeave;
use crate::carry::{Doors, Place, Target};
use crate::model::{is_inside, is_nowhere};
use crate::net::{Balance, Balancer, Frontend, NetError, NodeNetwork};

/// Which means are to be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Means {
    /// Rules, or the proxy if the kernel takes no rules.
    #[default]
    Auto,
    /// Rules and nothing else.
    Rules,
    /// The proxy.
    Proxy,
}

/// Why the node's own proxy serves; nothing while rules do.
pub type Carried = Option<String>;

/// Serves by one of them.
pub(super) struct Server {
    network: Arc<NodeNetwork>,
    wanted: Means,
    balancer: Balancer,
    /// Whether the kernel has ever taken rules of this node.
    has_rules: bool,
    carrier: Option<Carrier>,
    may_leave: MayLeave,
    carried: watch::Sender<Carried>,
}

/// The node's own proxy: it listens at each port of each Service, in the pods' network.
struct Carrier {
    doors: Doors,
    /// What is to be led or closed still.
    due: BTreeMap<Place, Target>,
}

impl Server {
    pub(super) fn new(
        network: Arc<NodeNetwork>,
        wanted: Means,
        may_leave: MayLeave,
        carried: watch::Sender<Carried>,
    ) -> Server {
        Server {
            balancer: Balancer::new(network.clone()),
            network,
            wanted,
            has_rules: false,
            carrier: None,
            may_leave,
            carried,
        }
    }

    /// Changes where these frontends lead; one without backends is refused from then on. If that fails it is tried again with the next call.
    pub(super) async fn apply(&mut self, changes: BTreeMap<Frontend, Balance>) -> Result<(), String> {
        if let Some(carrier) = &mut self.carrier {
            return carrier.apply(changes).await;
        }
        let (why, all) = match self.wanted {
            Means::Proxy => ("the settings say so".to_owned(), changes),
            Means::Auto | Means::Rules => {
                let Err(error) = self.balancer.apply(changes).await else {
                    self.has_rules = true;
                    return Ok(());
                };
                let why = format!("the kernel refuses their rules: {error}");
                if self.wanted == Means::Rules || self.has_rules || is_passing(&error) {
                    return Err(why);
                }
                (why, self.balancer.wanted().clone())
            }
        };
        self.network.own_services().await.map_err(|error| error.to_string())?;
        tracing::warn!(%why, "the node's own proxy serves Services");
        let doors = Doors::inside(self.network.clone(), may_reach(self.may_leave.clone()));
        self.carried.send_replace(Some(why));
        let due = BTreeMap::new();
        self.carrier.insert(Carrier { doors, due }).apply(all).await
    }
}

/// Whether the kernel may take tomorrow what it refuses today: it was short of something.
fn is_passing(error: &NetError) -> bool {
    let NetError::Refused { source, .. } = error else {
        return false;
    };
    let short = [
        libc::ENOMEM,
        libc::ENOBUFS,
        libc::EMFILE,
        libc::ENFILE,
        libc::EINTR,
        libc::EAGAIN,
    ];
    source.raw_os_error().is_some_and(|code| short.contains(&code))
}

/// Pods get everywhere in their network, and by a Service to no more of the outside than by themselves: rules send them there, but a
/// socket of the node would go in their place.
fn may_reach(may_leave: MayLeave) -> crate::carry::MayReach {
    Box::new(move |client, to| is_inside(to) || (!is_nowhere(to) && may_leave(client)))
}

impl Carrier {
    async fn apply(&mut self, changes: BTreeMap<Frontend, Balance>) -> Result<(), String> {
        // The pods' network has the addresses of its own Services only.
        let own = changes.iter().filter(|(frontend, _)| is_inside(frontend.ip));
        self.due.extend(own.map(place_and_target));
        let mut refused = Vec::new();
        for (place, target) in std::mem::take(&mut self.due) {
            if !target.is_open() {
                // Where nobody listens the kernel refuses.
                self.doors.close(&place).await;
            } else if let Err(error) = self.doors.lead(&place, &target).await {
                refused.push(format!("{place}: {error}"));
                self.due.insert(place, target);
            }
        }
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} of their ports can't be had, such as {first}",
                refused.len()
            )),
        }
    }
}

fn place_and_target((frontend, balance): (&Frontend, &Balance)) -> (Place, Target) {
    let addresses = balance.backends.iter();
    let place = Place {
        protocol: frontend.protocol,
        port: frontend.port,
        ip: frontend.ip,
    };
    let target = Target {
        addresses: addresses.map(|b| SocketAddr::new(b.ip, b.port)).collect(),
        stay: balance.stay,
        is_coming: false,
    };
    (place, target)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_client_gets_by_the_proxy_where_it_would_get_by_itself() {
        let [free, kept, free_too, kept_too] = ["10.244.0.2", "10.244.0.3", "fd00:10:244::2", "fd00:10:244::3"];
        let frees = [free, free_too].map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let may_reach = may_reach(Arc::new(move |client| frees.contains(&client)));
        for (client, to, expected) in [
            (free, "10.244.0.9", true),
            (kept, "10.244.0.9", true),
            (free, "192.0.2.1", true),
            (kept, "192.0.2.1", false),
            (free, "127.0.0.1", false),
            (free, "169.254.169.254", false),
            (free, "::1", false),
            (free_too, "2001:db8::1", true),
            (kept_too, "2001:db8::1", false),
            (free_too, "::1", false),
        ] {
            let address = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(may_reach(address(client), address(to)), expected, "{client} {to}");
        }
    }

    #[test]
    fn a_kernel_that_is_short_of_something_is_asked_again() {
        let refused = |code| NetError::Refused {
            what: "nf_tables".to_owned(),
            source: std::io::Error::from_raw_os_error(code),
        };
        assert!(is_passing(&refused(libc::ENOMEM)));
        assert!(!is_passing(&refused(libc::EOPNOTSUPP)) && !is_passing(&NetError::Ended));
    }
}
