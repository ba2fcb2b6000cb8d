//! All addresses of Services as the node's own: where the kernel takes no rules, connections to them end at sockets of the node.

use super::netfilter::commit;
use super::netlink::Netlink;
use super::{NetError, NodeNetwork, balancer};
use crate::model::{SERVICE_PREFIX, SERVICES};

impl NodeNetwork {
    /// Makes all addresses of Services the node's own; rules of an earlier node go.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn own_services(&self) -> Result<(), NetError> {
        let own = || {
            // Where there can be no rules there are none.
            if let Err(error) = commit(&balancer::no_rules()) {
                tracing::debug!(%error, "there are no rules of Services to remove");
            }
            Netlink::open()?.add_local_range(SERVICES, SERVICE_PREFIX)
        };
        self.run(own).await?
    }

    /// Leaves them to rules again.
    pub(super) async fn disown_services(&self) -> Result<(), NetError> {
        let disown = || Netlink::open()?.remove_local_range(SERVICES, SERVICE_PREFIX);
        self.run(disown).await?
    }
}
