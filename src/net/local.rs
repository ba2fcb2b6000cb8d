//! All addresses of Services as the node's own: where the kernel takes no rules, connections to them end at sockets of the node.

use super::netfilter::commit;
use super::netlink::Netlink;
use super::{NetError, NodeNetwork, balancer};

impl NodeNetwork {
    /// Makes all addresses of Services the node's own; rules of an earlier node go.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn own_services(&self) -> Result<(), NetError> {
        let families = self.families();
        let own = move || {
            for family in families {
                // Where there can be no rules there are none.
                if let Err(error) = commit(&balancer::no_rules(*family)) {
                    tracing::debug!(%error, "there are no rules of Services to remove");
                }
                Netlink::open()?.add_local_range(family.services())?;
            }
            Ok(())
        };
        self.run(own).await?
    }

    /// Leaves them to rules again.
    pub(super) async fn disown_services(&self) -> Result<(), NetError> {
        let families = self.families();
        let disown = move || {
            let mut netlink = Netlink::open()?;
            families
                .iter()
                .try_for_each(|family| netlink.remove_local_range(family.services()))
        };
        self.run(disown).await?
    }
}
