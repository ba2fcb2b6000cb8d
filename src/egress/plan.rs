//! Who may leave the pods' network, and for where; and what a pod is told when it can't. Pure.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::model::{HOST, is_inside, is_nowhere};
use crate::net::Refusal;

/// What carries packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Via {
    /// Sockets of the node: connections and datagrams.
    #[default]
    Node,
    /// pasta: echoes of ICMP too.
    Pasta,
}

/// What the user's settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether pods reach the outside at all.
    pub is_on: bool,
    /// By what.
    pub via: Via,
    /// Whether they reach what listens on the host's loopback only, at [`HOST`].
    pub host_loopback: bool,
    /// The port of the node's API on the host's loopback, which they do not reach anyway.
    pub api_port: u16,
}

/// What becomes of a pod's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The node connects to this.
    Dial(SocketAddr),
    /// The pod is refused at once.
    Refuse(Refusal),
}

/// Where a wish of a pod leads; `is_allowed` is whether its namespace is not cut off.
pub(super) fn plan_destination(settings: Settings, is_allowed: bool, destination: SocketAddr) -> Verdict {
    let (ip, port) = (destination.ip(), destination.port());
    if !settings.is_on || !is_allowed {
        return Verdict::Refuse(Refusal::Refused);
    }
    if ip == HOST {
        return if settings.host_loopback && port != settings.api_port {
            Verdict::Dial(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
        } else {
            Verdict::Refuse(Refusal::Refused)
        };
    }
    if is_nowhere(ip) || is_inside(ip) {
        return Verdict::Refuse(Refusal::Network);
    }
    Verdict::Dial(destination)
}

/// What the pod is told of an error of the host's; nothing where the pod's own patience is to decide.
pub(super) fn plan_refusal(error: &io::Error) -> Option<Refusal> {
    match error.raw_os_error()? {
        libc::ECONNREFUSED | libc::ECONNRESET => Some(Refusal::Refused),
        libc::ENETUNREACH | libc::ENETDOWN => Some(Refusal::Network),
        libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::EADDRNOTAVAIL => Some(Refusal::Host),
        libc::EACCES | libc::EPERM => Some(Refusal::Prohibited),
        _ => None,
    }
}

/// How long a flow of datagrams may be silent: as connection tracking has it (`nf_conntrack_udp_timeout`, `…_stream`). One question with its
/// answer is no conversation.
pub(super) fn plan_idle(is_answered: bool, age: Duration) -> Duration {
    if is_answered && age >= Duration::from_secs(2) {
        Duration::from_secs(120)
    } else {
        Duration::from_secs(30)
    }
}

impl Settings {
    /// Whether pods leave by pasta. Who lets nobody out needs none: the node's sockets refuse everybody.
    #[must_use]
    pub fn is_by_pasta(self) -> bool {
        self.is_on && self.via == Via::Pasta
    }
}

/// How many connections, and flows of datagrams, there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) connections: usize,
    pub(super) flows: usize,
}

/// No more than a busy machine needs; a flow or connection takes two descriptors, and all of them half of the process' at most.
pub(super) fn plan_room(descriptors: u64) -> Room {
    let share = |of: u64| usize::try_from(descriptors / of).unwrap_or(usize::MAX);
    Room {
        connections: share(6).clamp(1, 4096),
        flows: share(12).clamp(1, 2048),
    }
}

/// One pod may have so much of it: a flood of one leaves the others theirs.
pub(super) fn plan_room_of_one(room: Room) -> Room {
    Room {
        connections: (room.connections / 4).max(1),
        flows: (room.flows / 4).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Settings = Settings {
        is_on: true,
        via: Via::Node,
        host_loopback: false,
        api_port: 6443,
    };

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn pods_reach_what_is_outside_and_nothing_that_only_the_host_can_mean() {
        let network = Verdict::Refuse(Refusal::Network);
        for (destination, expected) in [
            ("192.0.2.1:443", Verdict::Dial(at("192.0.2.1:443"))),
            ("10.0.0.1:53", Verdict::Dial(at("10.0.0.1:53"))),
            ("127.0.0.1:22", network),
            ("127.0.0.53:53", network),
            ("0.0.0.0:22", network),
            ("0.1.2.3:22", network),
            ("169.254.169.254:80", network),
            ("169.254.1.2:80", Verdict::Refuse(Refusal::Refused)),
            ("224.0.0.251:5353", network),
            ("255.255.255.255:67", network),
            ("10.244.0.1:80", network),
            ("10.96.0.1:443", network),
            ("[2001:db8::1]:443", Verdict::Dial(at("[2001:db8::1]:443"))),
            ("[::1]:22", network),
            ("[::ffff:127.0.0.1]:22", network),
            ("[fe80::1]:80", network),
            ("[fd00:ec2::254]:80", network),
            ("[64:ff9b::7f00:1]:22", network),
            ("[64:ff9b::c000:201]:443", Verdict::Dial(at("[64:ff9b::c000:201]:443"))),
            ("[fd00:10:96::1]:443", network),
        ] {
            assert_eq!(plan_destination(ON, true, at(destination)), expected, "{destination}");
        }
    }

    #[test]
    fn the_hosts_loopback_is_reached_by_its_own_address_if_the_settings_allow_it() {
        let allowed = Settings {
            host_loopback: true,
            ..ON
        };
        let refused = Verdict::Refuse(Refusal::Refused);
        for (settings, is_allowed, destination, expected) in [
            (allowed, true, "169.254.1.2:5432", Verdict::Dial(at("127.0.0.1:5432"))),
            (allowed, true, "169.254.1.2:6443", refused),
            (allowed, false, "169.254.1.2:5432", refused),
            (allowed, true, "127.0.0.1:5432", Verdict::Refuse(Refusal::Network)),
            (ON, true, "169.254.1.2:5432", refused),
        ] {
            let verdict = plan_destination(settings, is_allowed, at(destination));
            assert_eq!(verdict, expected, "{settings:?} {is_allowed} {destination}");
        }
    }

    #[test]
    fn who_is_cut_off_is_refused_at_once_wherever_it_wants() {
        let off = Settings { is_on: false, ..ON };
        for (settings, is_allowed) in [(ON, false), (off, true)] {
            let verdict = plan_destination(settings, is_allowed, at("192.0.2.1:443"));
            assert_eq!(verdict, Verdict::Refuse(Refusal::Refused));
        }
    }

    #[test]
    fn a_pod_is_told_what_the_host_was_told() {
        for (code, expected) in [
            (libc::ECONNREFUSED, Some(Refusal::Refused)),
            (libc::ENETUNREACH, Some(Refusal::Network)),
            (libc::EHOSTUNREACH, Some(Refusal::Host)),
            (libc::EACCES, Some(Refusal::Prohibited)),
            (libc::ETIMEDOUT, None),
            (libc::EMFILE, None),
        ] {
            assert_eq!(plan_refusal(&io::Error::from_raw_os_error(code)), expected, "{code}");
        }
        assert_eq!(plan_refusal(&io::ErrorKind::Other.into()), None);
    }

    #[test]
    fn silence_ends_questions_before_conversations() {
        let seconds = Duration::from_secs;
        for (is_answered, age, expected) in [
            (false, seconds(0), seconds(30)),
            (false, seconds(60), seconds(30)),
            (true, seconds(1), seconds(30)),
            (true, seconds(2), seconds(120)),
        ] {
            assert_eq!(plan_idle(is_answered, age), expected);
        }
    }

    #[test]
    fn connections_take_half_of_the_descriptors_at_most() {
        for descriptors in [0, 100, 1024, 524_288, u64::MAX] {
            let room = plan_room(descriptors);
            let taken = 2 * u64::try_from(room.connections + room.flows).expect("is bounded");
            assert!(taken <= (descriptors / 2).max(4), "{descriptors}: {room:?}");
            let of_one = plan_room_of_one(room);
            assert!(of_one.connections >= 1 && of_one.flows >= 1);
        }
    }
}
