//! Carrying connections and datagrams: from a port where the node listens to one of several addresses, from network to network.
//!
//! ```text
//!  client ══ door (a port, in the host's network or the pods') ── accepted ── relay ── dialled ── one of the target's addresses
//! ```
//!
//! Ways in from the host are carried so, and Services where the kernel takes no rules of them. What a port leads to may change at any
//! time; who is connected stays, and datagrams go elsewhere when their address is gone. The room knows neither pods nor Services.

mod affinity;
mod dial;
mod doors;
mod place;
mod port;
mod tcp;
mod udp;

pub use dial::MayReach;
pub use doors::Doors;
pub use place::{Place, Target};
