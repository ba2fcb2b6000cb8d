//! Why a port is not open, in words that say what to do.

use std::fmt;
use std::io;

use super::foreign::{Holder, find_holder};
use super::plan::{Claim, Field};
use crate::carry::Place;
use crate::model::first_open_port;

/// Why a port that was asked for is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another pod or Service has it.
    Ours {
        /// `pod default/web`.
        holder: String,
        field: Field,
    },
    /// Something else on the machine has it.
    InUse(Holder),
    /// Users may open ports from this one on.
    TooLow(u16),
    /// The machine has no such address.
    NotHere,
    /// What the system said.
    Other(String),
}

impl Trouble {
    /// What an error at a place means; looks for who has it, which blocks.
    pub(super) fn find(place: &Place, error: &io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::AddrInUse => Trouble::InUse(find_holder(place)),
            io::ErrorKind::PermissionDenied => Trouble::TooLow(first_open_port()),
            io::ErrorKind::AddrNotAvailable => Trouble::NotHere,
            _ => Trouble::Other(error.to_string()),
        }
    }

    pub(super) fn of_claim(other: &Claim) -> Trouble {
        Trouble::Ours {
            holder: named(other),
            field: other.field,
        }
    }

    /// The event's reason, and that of a load balancer's port.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Trouble::Ours { .. } | Trouble::InUse(_) => "PortInUse",
            Trouble::TooLow(_) => "PortNotPermitted",
            Trouble::NotHere => "AddressNotAvailable",
            Trouble::Other(_) => "PortNotOpened",
        }
    }

    /// The whole story, for the one who asked for the port.
    pub(super) fn tell(&self, claim: &Claim) -> String {
        let Place { port, ip, .. } = claim.place;
        let field = claim.field.as_str();
        let advice = match self {
            Trouble::Ours { .. } => format!("choose another {field}, or take it away there"),
            Trouble::InUse(Holder::Process { .. }) => {
                format!("end that process or choose another {field}; it is tried again")
            }
            Trouble::InUse(Holder::SameUser) => {
                format!("`ss -lntup sport = :{port}` names it; end it or choose another {field}; it is tried again")
            }
            Trouble::InUse(Holder::Other) => {
                format!(
                    "`sudo ss -lntup sport = :{port}` names it; end it or choose another {field}; it is tried again"
                )
            }
            Trouble::TooLow(_) => format!(
                "allow it with `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`, or choose another {field}; it is tried again"
            ),
            Trouble::NotHere => format!("no interface of this machine has {ip}; it is tried again"),
            Trouble::Other(_) => "it is tried again".to_owned(),
        };
        format!("{field} {port} is not open: {}: {self}; {advice}", claim.place)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Ours { holder, field } => write!(f, "{holder} has it as its {}", field.as_str()),
            Trouble::InUse(Holder::Process { pid, name }) => write!(f, "process {pid} ({name}) has it"),
            Trouble::InUse(Holder::SameUser) => f.write_str("another process of yours has it"),
            Trouble::InUse(Holder::Other) => f.write_str("a process of another user has it"),
            Trouble::TooLow(first) => write!(f, "users may open ports from {first} on only"),
            Trouble::NotHere => f.write_str("no such address"),
            Trouble::Other(error) => f.write_str(error),
        }
    }
}

/// `pod default/web`.
pub(super) fn named(claim: &Claim) -> String {
    let key = &claim.owner;
    format!("{} {}/{}", key.kind().singular, key.namespace, key.name)
}
