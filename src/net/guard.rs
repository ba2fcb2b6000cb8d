//! Pods speak for themselves only: who may do what is told by addresses. Of IPv4 the kernel has a setting for it (`rp_filter`); of IPv6 it
//! is a rule.

use super::NetError;
use super::netfilter::commit;
use super::nft::{self, End, Expression, Hook, Message, REGISTERS, TableOf};
use crate::model::{Block, Family};

/// The table, as people see it who list the rules.
const TABLE: TableOf = TableOf {
    family: Family::V6,
    name: "kubelocal-guard",
};
const CHAIN: &str = "coming";
/// `NF_IP6_PRI_RAW`: before the kernel remembers anything of the packet.
const FIRST: i32 = -300;

/// Drops what comes by another cable than the one to its source, in the calling thread's network namespace. An earlier node may have said so there already.
///
/// # Errors
/// The kernel takes no such rules of IPv6.
pub(super) fn set_up() -> Result<(), NetError> {
    commit(&rules())
}

fn rules() -> Vec<Message> {
    vec![
        nft::new_table(TABLE),
        nft::delete_table(TABLE),
        nft::new_table(TABLE),
        nft::new_chain(TABLE, CHAIN, "filter", Hook::Prerouting, FIRST),
        nft::new_rule(TABLE, CHAIN, of_the_link()),
        nft::new_rule(TABLE, CHAIN, astray()),
    ]
}

/// Pods have no such address: it would be nobody's that policies know.
fn of_the_link() -> Vec<Expression> {
    let mut rule: Vec<Expression> = nft::in_block(End::Source, Block::LINK_LOCAL, true).into();
    rule.push(nft::drop());
    rule
}

fn astray() -> Vec<Expression> {
    vec![
        nft::way_back(REGISTERS),
        nft::compare(REGISTERS, true, &[0; 4]),
        nft::drop(),
    ]
}
