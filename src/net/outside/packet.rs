//! Packets that the node reads and writes itself: the first one of a connection, and what tells a pod that nothing came of it. Pure.
//! Whatever a pod sends is damaged on purpose until it has been read.

use std::net::{IpAddr, SocketAddr};

use super::Refusal;
use crate::model::Family;
use crate::net::nft::octets;

/// `IPPROTO_ICMP`, `IPPROTO_ICMPV6`, `IPPROTO_TCP` and `IPPROTO_UDP`.
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// A header of IPv4 without options, that of IPv6, and that of TCP.
const IP_HEAD: usize = 20;
const IP_HEAD_V6: usize = 40;
const TCP_HEAD: usize = 20;
/// How much of the packet behind its header an error carries (RFC 792): the ports are in it.
const QUOTED: usize = 8;

/// SYN without ACK, FIN and RST; and RST with ACK.
const FLAGS: u8 = 0x17;
const FIRST: u8 = 0x02;
const RESET: u8 = 0x14;

/// A pod wants to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// The pod's side.
    pub source: SocketAddr,
    /// Where it wants to.
    pub destination: SocketAddr,
    /// The whole packet.
    packet: Vec<u8>,
    /// Where the header of TCP begins in it.
    head: usize,
}

impl Knock {
    /// Reads the first packet of a connection by TCP; none if it is something else.
    pub(super) fn read(packet: &[u8]) -> Option<Knock> {
        let (length, head, [source, destination]) = match packet.first()? >> 4 {
            4 => read_v4(packet)?,
            6 => read_v6(packet)?,
            _ => return None,
        };
        let packet = packet.get(..length)?;
        let tcp = packet.get(head..)?;
        let length_of_head = usize::from(tcp.get(12)? >> 4) * 4;
        if tcp.get(13)? & FLAGS != FIRST || length_of_head < TCP_HEAD || tcp.len() < length_of_head {
            return None;
        }
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        Some(Knock {
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            packet: packet.to_vec(),
            head,
        })
    }

    /// The packet once more. A pod leaves the sum of what is in it to the network card, of which there is none on the way to us.
    pub(super) fn again(&self) -> Vec<u8> {
        let mut packet = self.packet.clone();
        packet[self.head + 16..self.head + 18].fill(0);
        let sum = sum_of(self.source.ip(), self.destination.ip(), TCP, &packet[self.head..]);
        packet[self.head + 16..self.head + 18].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// What the pod is told instead of an answer.
    pub(super) fn refusal(&self, refusal: Refusal) -> Vec<u8> {
        match refusal {
            Refusal::Refused => self.reset(),
            Refusal::Network | Refusal::Host | Refusal::Prohibited => {
                let quoted = &self.packet[..self.head + QUOTED];
                unreachable(self.source.ip(), code(Family::of(self.source.ip()), refusal), quoted)
            }
        }
    }

    /// That nobody listens there (RFC 9293, 3.10.7.1).
    fn reset(&self) -> Vec<u8> {
        let tcp = &self.packet[self.head..];
        let data = tcp.len() - usize::from(tcp[12] >> 4) * 4;
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let heard = sequence
            .wrapping_add(1)
            .wrapping_add(u32::try_from(data).expect("a packet has 64 KiB at most"));
        let mut answer = Vec::with_capacity(TCP_HEAD);
        answer.extend(self.destination.port().to_be_bytes());
        answer.extend(self.source.port().to_be_bytes());
        answer.extend(0_u32.to_be_bytes());
        answer.extend(heard.to_be_bytes());
        answer.extend([5 << 4, RESET, 0, 0, 0, 0, 0, 0]);
        let (from, to) = (self.destination.ip(), self.source.ip());
        let sum = sum_of(from, to, TCP, &answer);
        answer[16..18].copy_from_slice(&sum.to_be_bytes());
        [ip_head(from, to, TCP, answer.len()), answer].concat()
    }
}

/// How long a packet of TCP is, where the header of TCP begins in it, and its two ends.
type Frame = (usize, usize, [IpAddr; 2]);

fn read_v4(packet: &[u8]) -> Option<Frame> {
    let head = usize::from(packet.first()? & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    // A later part of a packet in parts has no header of TCP.
    let is_part = packet
        .get(6..8)?
        .iter()
        .zip([0x3f, 0xff])
        .any(|(byte, bits)| byte & bits != 0);
    if head < IP_HEAD || *packet.get(9)? != TCP || is_part {
        return None;
    }
    let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
    Some((length, head, [address(12)?, address(16)?]))
}

/// One with headers between those of IPv6 and TCP is not read: the first packet of a connection has none.
fn read_v6(packet: &[u8]) -> Option<Frame> {
    let length = IP_HEAD_V6 + usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
    if *packet.get(6)? != TCP {
        return None;
    }
    let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
    Some((length, IP_HEAD_V6, [address(8)?, address(24)?]))
}

/// What a pod is told of datagrams that it sent.
pub(super) fn refused_datagram(source: SocketAddr, destination: SocketAddr, refusal: Refusal) -> Vec<u8> {
    let mut quoted = ip_head(source.ip(), destination.ip(), UDP, QUOTED);
    quoted.extend(source.port().to_be_bytes());
    quoted.extend(destination.port().to_be_bytes());
    quoted.extend([0, 8, 0, 0]);
    let code = code_for_datagrams(Family::of(source.ip()), refusal);
    unreachable(source.ip(), code, &quoted)
}

/// The code of "destination unreachable" (RFC 792, RFC 1812; RFC 4443).
fn code(family: Family, refusal: Refusal) -> u8 {
    match (family, refusal) {
        (_, Refusal::Network) => 0,
        (Family::V4, Refusal::Host) => 1,
        (Family::V4, Refusal::Refused) => 3,
        (Family::V4, Refusal::Prohibited) => 13,
        (Family::V6, Refusal::Host) => 3,
        (Family::V6, Refusal::Refused) => 4,
        (Family::V6, Refusal::Prohibited) => 1,
    }
}

/// The same for who sends datagrams. To it the kernel passes on only what it takes to be for good (`icmp_err_convert`): so the
/// network is unknown, and the host forbidden, which are the same errors to the program. IPv6 has no such codes.
fn code_for_datagrams(family: Family, refusal: Refusal) -> u8 {
    match (family, refusal) {
        (Family::V4, Refusal::Network) => 6,
        (Family::V4, Refusal::Host) => 10,
        (Family::V4, Refusal::Refused | Refusal::Prohibited) | (Family::V6, _) => code(family, refusal),
    }
}

/// An error about a packet, of which the beginning is quoted.
fn unreachable(to: IpAddr, code: u8, quoted: &[u8]) -> Vec<u8> {
    let family = Family::of(to);
    let (kind, protocol) = match family {
        Family::V4 => (3, ICMP),
        Family::V6 => (1, ICMP_V6),
    };
    let mut error = vec![kind, code, 0, 0, 0, 0, 0, 0];
    error.extend(quoted);
    let sum = match family {
        Family::V4 => fold(add(0, &error)),
        Family::V6 => sum_of(family.gateway(), to, protocol, &error),
    };
    error[2..4].copy_from_slice(&sum.to_be_bytes());
    [ip_head(family.gateway(), to, protocol, error.len()), error].concat()
}

/// The header of a packet that lives 64 hops, as what the kernel sends; the kernel fills in the sum of one of IPv4.
fn ip_head(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let size = |length: usize| {
        u16::try_from(length)
            .expect("what is written here is short")
            .to_be_bytes()
    };
    let mut head = match Family::of(to) {
        Family::V4 => {
            let [high, low] = size(IP_HEAD + length);
            // Not to be sent in parts.
            vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0]
        }
        Family::V6 => {
            let [high, low] = size(length);
            vec![0x60, 0, 0, 0, high, low, protocol, 64]
        }
    };
    head.extend(octets(from));
    head.extend(octets(to));
    head
}

/// The sum of a segment and of who sends it to whom (RFC 9293, 3.1; RFC 8200, 8.1).
fn sum_of(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let length = u32::try_from(segment.len()).expect("a packet has 64 KiB at most");
    let pseudo = add(add(u32::from(protocol) + length, &octets(from)), &octets(to));
    fold(add(pseudo, segment))
}

fn add(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        sum + u32::from(word)
    })
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    !u16::try_from(twice).expect("two carries at most")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::GATEWAY;

    const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 7));
    const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn first() -> Vec<u8> {
        first_of(POD, FAR)
    }

    /// A first packet with an option, as clients send it.
    fn first_of(pod: IpAddr, far: IpAddr) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(40_000_u16.to_be_bytes());
        tcp.extend(443_u16.to_be_bytes());
        tcp.extend(0xffff_ffff_u32.to_be_bytes());
        tcp.extend(0_u32.to_be_bytes());
        tcp.extend([6 << 4, FIRST, 0xff, 0xff, 0xab, 0xcd, 0, 0, 2, 4, 5, 0xb4]);
        [ip_head(pod, far, TCP, tcp.len()), tcp].concat()
    }

    #[test]
    fn of_ipv6_it_is_the_same() {
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (pod, far) = (at("fd00:10:244::7"), at("2001:db8::1"));
        let first = first_of(pod, far);
        let is_sound = |packet: &[u8], protocol: u8| {
            let segment = &packet[IP_HEAD_V6..];
            let length = u32::try_from(segment.len()).expect("is short");
            let pseudo = add(u32::from(protocol) + length, &packet[8..40]);
            fold(add(pseudo, segment)) == 0
        };
        let knock = Knock::read(&first).expect("is one");
        assert_eq!(
            (knock.source, knock.destination),
            (SocketAddr::new(pod, 40_000), SocketAddr::new(far, 443))
        );
        assert!(!is_sound(&first, TCP) && is_sound(&knock.again(), TCP));
        let reset = knock.refusal(Refusal::Refused);
        assert!(is_sound(&reset, TCP) && reset[8..40] == [octets(far), octets(pod)].concat());
        for (refusal, code) in [(Refusal::Network, 0), (Refusal::Host, 3), (Refusal::Prohibited, 1)] {
            let error = knock.refusal(refusal);
            assert_eq!((error[6], error[40], error[41]), (ICMP_V6, 1, code));
            assert!(is_sound(&error, ICMP_V6));
            assert_eq!(error[48..96], first[..48]);
        }
        let datagram = refused_datagram(SocketAddr::new(pod, 5000), SocketAddr::new(far, 53), Refusal::Refused);
        assert!(is_sound(&datagram, ICMP_V6) && (datagram[40], datagram[41]) == (1, 4));
        for length in 0..first.len() {
            assert_eq!(Knock::read(&first[..length]), None, "{length}");
        }
        let mut between = first;
        between[6] = 0;
        assert_eq!(Knock::read(&between), None, "a header between");
    }

    fn is_sound(packet: &[u8]) -> bool {
        let segment = &packet[IP_HEAD..];
        let pseudo = add(
            add(u32::from(TCP) + segment.len() as u32, &packet[12..16]),
            &packet[16..20],
        );
        fold(add(pseudo, segment)) == 0
    }

    #[test]
    fn a_first_packet_says_who_wants_where() {
        let knock = Knock::read(&first()).expect("is one");
        assert_eq!(knock.source, SocketAddr::new(POD, 40_000));
        assert_eq!(knock.destination, SocketAddr::new(FAR, 443));
        assert!(!is_sound(&first()) && is_sound(&knock.again()));
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let with = |at: usize, value: u8| {
            let mut packet = first();
            packet[at] = value;
            packet
        };
        for (packet, what) in [
            (with(33, FIRST | 0x10), "an answer"),
            (with(33, 0x10), "a later packet"),
            (with(9, UDP), "a datagram"),
            (with(0, 0x65), "another version"),
            (with(0, 0x4f), "a header longer than the packet"),
            (with(6, 0x20), "the first of several parts"),
            (with(7, 1), "a later part"),
            (with(32, 4 << 4), "a header that is too short"),
            (with(32, 0xf0), "a header that is too long"),
            (with(2, 0xff), "a length beyond the packet"),
        ] {
            assert_eq!(Knock::read(&packet), None, "{what}");
        }
        for length in 0..first().len() {
            assert_eq!(Knock::read(&first()[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_refusal_is_what_the_other_side_would_have_said() {
        let knock = Knock::read(&first()).expect("is one");
        let reset = knock.refusal(Refusal::Refused);
        assert!(is_sound(&reset));
        assert_eq!(reset[12..20], [octets(FAR), octets(POD)].concat());
        assert_eq!(reset[20..24], [[1, 187], 40_000_u16.to_be_bytes()].concat());
        // It answers the byte after the last one that was sent, and numbers wrap.
        assert_eq!((&reset[28..32], reset[33]), (&[0; 4][..], RESET));
        for (refusal, code) in [(Refusal::Network, 0), (Refusal::Host, 1), (Refusal::Prohibited, 13)] {
            let error = knock.refusal(refusal);
            assert_eq!((error[9], error[20], error[21]), (ICMP, 3, code));
            assert_eq!(fold(add(0, &error[IP_HEAD..])), 0);
            assert_eq!(error[12..20], [octets(GATEWAY.into()), octets(POD)].concat());
            assert_eq!(error[28..56], first()[..28]);
        }
    }

    #[test]
    fn a_refused_datagram_is_named_by_its_ports() {
        let (pod, far) = (SocketAddr::new(POD, 5000), SocketAddr::new(FAR, 53));
        let codes = [Refusal::Network, Refusal::Host, Refusal::Prohibited]
            .map(|refusal| refused_datagram(pod, far, refusal)[21]);
        assert_eq!(codes, [6, 10, 13]);
        let error = refused_datagram(pod, far, Refusal::Refused);
        assert_eq!((error[20], error[21]), (3, 3));
        assert_eq!(error[40..48], [octets(POD), octets(FAR)].concat());
        assert_eq!(error[48..52], [0x13, 0x88, 0, 53]);
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_first_packet_is_read_or_not_and_whatever_is_read_can_be_answered(
            damage in proptest::collection::vec((0_usize..48, proptest::prelude::any::<u8>()), 0..6),
            length in 0_usize..48,
        ) {
            let mut packet = first();
            for (at, byte) in damage {
                let at = at % packet.len();
                packet[at] = byte;
            }
            packet.truncate(length);
            if let Some(knock) = Knock::read(&packet) {
                knock.again();
                knock.refusal(Refusal::Refused);
                knock.refusal(Refusal::Network);
            }
        }
    }
}
