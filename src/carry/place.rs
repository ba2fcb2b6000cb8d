//! Where the node listens, and where that leads.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::Protocol;

/// Where the node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// By which protocol.
    pub protocol: Protocol,
    /// At which port.
    pub port: u16,
    /// At which address.
    pub ip: IpAddr,
}

impl Place {
    /// Whether only one of both can be had.
    pub fn overlaps(&self, other: &Place) -> bool {
        let is_same_family = self.ip.is_ipv4() == other.ip.is_ipv4();
        let meets = self.ip == other.ip || self.ip.is_unspecified() || other.ip.is_unspecified();
        (self.protocol, self.port) == (other.protocol, other.port) && is_same_family && meets
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        write!(f, "{}/{protocol}", SocketAddr::new(self.ip, self.port))
    }
}

/// Where a port leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Who may answer.
    pub addresses: BTreeSet<SocketAddr>,
    /// For how long a client that does not come stays with its address, if it does.
    pub stay: Option<Duration>,
    /// A pod is on its way up: who comes early may wait.
    pub is_coming: bool,
}

impl Target {
    /// Whether clients are let in. If not, they are refused as if nobody had the port.
    pub fn is_open(&self) -> bool {
        self.is_coming || !self.addresses.is_empty()
    }
}
