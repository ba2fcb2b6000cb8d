//! Which addresses pods have. A table of who has what, and whose turn it is.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use tokio::sync::watch;

use crate::model::{POD_PREFIX, PODS, mask};

/// The first and last address that a pod may have: not the network's, the gateway's or the broadcast's.
const FIRST: u32 = PODS.to_bits() + 2;
const LAST: u32 = PODS.to_bits() + !mask(POD_PREFIX).to_bits() - 1;

/// Every address is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no address is left for the pod: all {} of {PODS}/{POD_PREFIX} are taken", LAST - FIRST + 1)]
pub struct Exhausted;

/// Who has which address. Given out in turn, so that the address of a pod that is gone is not at once that of another, whom late
/// packets and cached names would reach.
#[derive(Debug, Default)]
pub struct Addresses {
    owners: BTreeMap<Ipv4Addr, String>,
    by_owner: HashMap<String, Ipv4Addr>,
    last: Option<Ipv4Addr>,
    /// Rings when someone gets an address or gives one back.
    bell: watch::Sender<()>,
}

impl Addresses {
    /// The address of `owner`: the one that it has, or the next that is free.
    ///
    /// # Errors
    /// When none is left.
    pub fn lease(&mut self, owner: &str) -> Result<Ipv4Addr, Exhausted> {
        if let Some(address) = self.by_owner.get(owner) {
            return Ok(*address);
        }
        let start = self.last.map_or(FIRST, |last| last.to_bits() + 1);
        let mut turn = (start..=LAST)
            .chain(FIRST..start.min(LAST + 1))
            .map(Ipv4Addr::from_bits);
        let free = turn.find(|address| !self.owners.contains_key(address));
        let address = free.ok_or(Exhausted)?;
        self.take(owner, address);
        Ok(address)
    }

    /// The address of `owner`, if it has one.
    pub fn address(&self, owner: &str) -> Option<Ipv4Addr> {
        self.by_owner.get(owner).copied()
    }

    /// Tells from now on when someone gets an address or gives one back.
    pub fn follow(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Who has an address.
    pub fn owner(&self, address: Ipv4Addr) -> Option<&str> {
        self.owners.get(&address).map(String::as_str)
    }

    /// Notes that `owner` has an address already: it was given by an earlier node.
    pub fn take(&mut self, owner: &str, address: Ipv4Addr) {
        self.release(owner);
        self.owners.insert(address, owner.to_owned());
        self.by_owner.insert(owner.to_owned(), address);
        self.last = Some(address);
        self.bell.send_replace(());
    }

    /// `owner` needs its address no more.
    pub fn release(&mut self, owner: &str) {
        if let Some(address) = self.by_owner.remove(owner)
            && self.owners.get(&address).is_some_and(|has| has == owner)
        {
            self.owners.remove(&address);
            self.bell.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, third, fourth)
    }

    #[test]
    fn addresses_are_given_in_turn_and_kept() {
        let mut addresses = Addresses::default();
        assert_eq!(addresses.lease("a"), Ok(ip(0, 2)));
        assert_eq!(addresses.lease("b"), Ok(ip(0, 3)));
        assert_eq!(addresses.lease("a"), Ok(ip(0, 2)), "it has one");
        addresses.release("a");
        assert_eq!(
            addresses.lease("c"),
            Ok(ip(0, 4)),
            "not the one that was just given back"
        );
    }

    #[test]
    fn after_the_last_comes_the_first_that_is_free() {
        let mut addresses = Addresses::default();
        addresses.take("old", ip(0, 2));
        addresses.take("last", ip(255, 254));
        assert_eq!(addresses.lease("new"), Ok(ip(0, 3)));
    }

    #[test]
    fn a_full_range_says_so_until_someone_goes() {
        let mut addresses = Addresses::default();
        for number in FIRST..=LAST {
            addresses.take(&number.to_string(), Ipv4Addr::from_bits(number));
        }
        assert_eq!(addresses.lease("one more"), Err(Exhausted));
        addresses.release(&(FIRST + 7).to_string());
        assert_eq!(addresses.lease("one more"), Ok(ip(0, 9)));
    }
}
