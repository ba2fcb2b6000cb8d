//! The other way out of the pods' network: a device behind which a program carries packets, and not the node's sockets.
//!
//! ```text
//!  pod ── packet ──► rules: may this pod leave, and for there? ──► masquerade ──► device `outside` ══ pasta ══ sockets of the host
//! ```
//!
//! Who may leave is a map from addresses to verdicts. A pod that is not in it is not known yet: what it sends is lost, and comes again.
//! What is for pods and Services stays inside though there is a default route, by a route that leads nowhere.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::link::unreachable;
use super::netfilter::commit;
use super::netlink::Netlink;
use super::nft::{
    self, End, Expression, Hook, Junction, Message, REGISTERS, Set, TYPE_ADDRESS, TableOf, VERDICT, VERDICT_REGISTER,
};
use super::outside::{MARK, leave_alone_what_stays};
use super::{NetError, NodeNetwork};
use crate::model::{Block, Family, NOWHERE};

/// What the device is called in the pods' network.
pub const UPLINK: &str = "outside";
/// Its address there, and that of whoever is behind it: of no network that pods reach.
pub const UPLINK_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 3);
/// See [`UPLINK_ADDRESS`].
pub const UPLINK_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 4);

/// The table's name: what people see who list the rules.
const TABLE: TableOf = TableOf {
    family: FAMILY,
    name: "kubelocal-uplink",
};
/// What is carried there.
const FAMILY: Family = Family::V4;
const LEAVING: &str = "leaving";
const REFUSED: &str = "refused";
const MASKED: &str = "masked";
/// `NF_IP_PRI_FILTER`, and `NF_IP_PRI_NAT_SRC`.
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

const LEAVERS: Set<'static> = Set {
    name: "leavers",
    key: &[TYPE_ADDRESS],
    value: VERDICT,
};
const VALUE: u32 = REGISTERS;
const TCP: u8 = 6;
/// Where the length of the header of TCP, its flags and its window are, and where its checksum is.
const FLAGS_AT: u32 = 12;
const CHECKSUM_AT: u32 = 16;
/// FIN, SYN, RST and ACK; RST, and ACK.
const FLAGS: u8 = 0x17;
const RESET: u8 = 0x04;
const ANSWER: u8 = 0x10;

impl NodeNetwork {
    /// Says which pods may leave by the device: those that may, and those that are refused. In place of what was said before, in one
    /// transaction.
    ///
    /// # Errors
    /// What the kernel refused. Then what was said before holds.
    pub async fn gate_uplink(&self, leavers: BTreeMap<Ipv4Addr, bool>) -> Result<(), NetError> {
        self.run(move || commit(&rules(&leavers))).await?
    }

    /// Takes those rules away, if there are any.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn ungate_uplink(&self) -> Result<(), NetError> {
        self.run(|| commit(&[nft::new_table(TABLE), nft::delete_table(TABLE)]))
            .await?
    }

    /// Leads what is for the outside to the device. Returns whether there is one: whoever is behind it makes it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn raise_uplink(&self) -> Result<bool, NetError> {
        self.run(raise).await?
    }
}

fn raise() -> Result<bool, NetError> {
    let mut netlink = Netlink::open()?;
    let index = match netlink.index_of(UPLINK) {
        Ok(index) => index,
        Err(NetError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => return Ok(false),
        Err(error) => return Err(error),
    };
    let gateway = UPLINK_GATEWAY.into();
    netlink.add_address(index, UPLINK_ADDRESS.into())?;
    netlink.set_up(index)?;
    netlink.put_route("route of pods", unreachable(FAMILY.pods()))?;
    netlink.add_route(index, Block::whole(gateway), None)?;
    netlink.add_way(index, FAMILY.everyone(), gateway)?;
    Ok(true)
}

fn rules(leavers: &BTreeMap<Ipv4Addr, bool>) -> Vec<Message> {
    let mut messages = vec![nft::new_table(TABLE), nft::delete_table(TABLE), nft::new_table(TABLE)];
    messages.push(nft::new_set(TABLE, &LEAVERS, 1));
    messages.push(nft::new_side_chain(TABLE, REFUSED));
    let refused = [refuse(true, nft::reset()), refuse(false, nft::reject(FAMILY))];
    messages.extend(refused.map(|rule| nft::new_rule(TABLE, REFUSED, rule)));
    let junctions: Vec<Junction> = leavers
        .iter()
        .map(|(pod, may_leave)| (pod.octets().to_vec(), (!may_leave).then(|| REFUSED.to_owned())))
        .collect();
    messages.extend(nft::new_junctions(TABLE, &LEAVERS, &junctions));
    messages.push(nft::new_chain(TABLE, LEAVING, "filter", Hook::Forward, FILTER));
    let nowhere = NOWHERE.map(to_nowhere);
    let leaving = [whole_reset()]
        .into_iter()
        .chain(leave_alone_what_stays(FAMILY))
        .chain(nowhere);
    let leaving = leaving.chain([to_verdict(), vec![nft::drop()]]);
    messages.extend(leaving.map(|rule| nft::new_rule(TABLE, LEAVING, rule)));
    messages.push(nft::new_chain(TABLE, MASKED, "nat", Hook::Postrouting, SOURCE_NAT));
    let masked = leave_alone_what_stays(FAMILY)
        .into_iter()
        .chain([leave_alone_what_the_node_takes(), vec![nft::masquerade()]]);
    messages.extend(masked.map(|rule| nft::new_rule(TABLE, MASKED, rule)));
    messages
}

/// What is for the host's loopback is for the node's own sockets, which know pods by their addresses.
fn leave_alone_what_the_node_takes() -> Vec<Expression> {
    vec![
        nft::mark_of_packet(VALUE),
        nft::compare(VALUE, true, &MARK.to_ne_bytes()),
        nft::accept(),
    ]
}

fn refuse(is_tcp: bool, by: Expression) -> Vec<Expression> {
    vec![nft::protocol(VALUE), nft::compare(VALUE, is_tcp, &[TCP]), by]
}

/// Makes a reset one that answers: a pasta of 2023 tells of a refused connection by one without ACK, which nobody takes for an answer to the
/// first packet (RFC 9293, 3.10.7.3), so that the pod would wait until it gives up.
fn whole_reset() -> Vec<Expression> {
    let [mut flags, mut reset, mut answer] = [[0; 4]; 3];
    (flags[1], reset[1], answer[1]) = (FLAGS, RESET, ANSWER);
    vec![
        nft::protocol(VALUE),
        nft::compare(VALUE, true, &[TCP]),
        nft::payload(2, FLAGS_AT, 4, VALUE),
        nft::mask(VALUE, &flags),
        nft::compare(VALUE, true, &reset),
        nft::payload(2, FLAGS_AT, 4, VALUE),
        nft::flip(VALUE, answer),
        nft::write_transport(VALUE, FLAGS_AT, 4, CHECKSUM_AT),
    ]
}

/// The host itself would say so.
fn to_nowhere(block: Block) -> Vec<Expression> {
    let mut rule: Vec<Expression> = nft::in_block(End::Destination, block, true).into();
    rule.push(nft::unreachable());
    rule
}

fn to_verdict() -> Vec<Expression> {
    vec![
        nft::address(FAMILY, End::Source, VALUE),
        nft::lookup(&LEAVERS, VALUE, Some(VERDICT_REGISTER)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_leave_stands_in_the_table_before_packets_come_by() {
        let pods = [1, 2].map(|last| Ipv4Addr::new(10, 244, 0, last));
        let text: Vec<String> = rules(&[(pods[0], true), (pods[1], false)].into())
            .iter()
            .map(|message| format!("{message:?}"))
            .collect();
        let at = |part: &[u8]| {
            let part = format!("{part:?}");
            let found = text
                .iter()
                .position(|message| message.contains(part.trim_matches(['[', ']'])));
            found.expect("it is there")
        };
        assert!(at(&pods[0].octets()) < at(LEAVING.as_bytes()));
        assert_eq!(at(&pods[0].octets()), at(&pods[1].octets()));
        assert!(at(b"masq") > at(LEAVING.as_bytes()));
    }
}
