//! Which addresses pods have. A table of who has what, and whose turn it is.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use tokio::sync::watch;

use crate::model::{POD_PREFIX, PODS, PodIps, mask, twin_of};

/// The first and last address that a pod may have: not the network's, the gateway's or the broadcast's.
const FIRST: u32 = PODS.to_bits() + 2;
const LAST: u32 = PODS.to_bits() + !mask(POD_PREFIX).to_bits() - 1;

/// Every address is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no address is left for the pod: all {} of {PODS}/{POD_PREFIX} are taken", LAST - FIRST + 1)]
pub struct Exhausted;

/// Who has which address. Given out in turn, so that the address of a pod that is gone is not at once that of another, whom late
/// packets and cached names would reach. What is given out is a place in the range of IPv4; where the network has both families, a pod is at
/// the same place of the other one.
#[derive(Debug, Default)]
pub struct Addresses {
    is_dual: bool,
    owners: BTreeMap<Ipv4Addr, String>,
    by_owner: HashMap<String, PodIps>,
    last: Option<Ipv4Addr>,
    /// Rings when someone gets an address or gives one back.
    bell: watch::Sender<()>,
}

impl Addresses {
    /// Nobody has any yet; `is_dual` is whether who comes gets an address of each family.
    pub fn new(is_dual: bool) -> Addresses {
        Addresses {
            is_dual,
            ..Addresses::default()
        }
    }

    /// The addresses of `owner`: those that it has, or the next that are free.
    ///
    /// # Errors
    /// When none is left.
    pub fn lease(&mut self, owner: &str) -> Result<PodIps, Exhausted> {
        if let Some(address) = self.by_owner.get(owner) {
            return Ok(*address);
        }
        let start = self.last.map_or(FIRST, |last| last.to_bits() + 1);
        let mut turn = (start..=LAST)
            .chain(FIRST..start.min(LAST + 1))
            .map(Ipv4Addr::from_bits);
        let free = turn.find(|address| !self.owners.contains_key(address));
        let ips = PodIps::new(free.ok_or(Exhausted)?, self.is_dual);
        self.take(owner, ips);
        Ok(ips)
    }

    /// The addresses of `owner`, if it has any.
    pub fn address(&self, owner: &str) -> Option<PodIps> {
        self.by_owner.get(owner).copied()
    }

    /// Tells from now on when someone gets an address or gives one back.
    pub fn follow(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Who has an address.
    pub fn owner(&self, address: IpAddr) -> Option<&str> {
        let place = match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => twin_of(address)?,
        };
        let owner = self.owners.get(&place)?;
        // A pod of an earlier node may have the first one only.
        self.by_owner[owner].has(address).then_some(owner)
    }

    /// Notes that `owner` has addresses already: they were given by an earlier node.
    pub fn take(&mut self, owner: &str, ips: PodIps) {
        self.release(owner);
        self.owners.insert(ips.first, owner.to_owned());
        self.by_owner.insert(owner.to_owned(), ips);
        self.last = Some(ips.first);
        self.bell.send_replace(());
    }

    /// `owner` needs its address no more.
    pub fn release(&mut self, owner: &str) {
        if let Some(ips) = self.by_owner.remove(owner)
            && self.owners.get(&ips.first).is_some_and(|has| has == owner)
        {
            self.owners.remove(&ips.first);
            self.bell.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(third: u8, fourth: u8) -> PodIps {
        PodIps::new(Ipv4Addr::new(10, 244, third, fourth), false)
    }

    #[test]
    fn a_pod_of_a_network_of_both_families_is_known_by_both_of_its_addresses() {
        let mut addresses = Addresses::new(true);
        addresses.take("old", ip(0, 2));
        let new = addresses.lease("new").expect("there are many");
        assert_eq!(new, PodIps::new(Ipv4Addr::new(10, 244, 0, 3), true));
        assert!(new.iter().all(|ip| addresses.owner(ip) == Some("new")));
        let second = |ips: PodIps| PodIps::new(ips.first, true).second.expect("it is dual").into();
        assert_eq!(addresses.owner(second(ip(0, 2))), None, "it never had that one");
        addresses.release("new");
        assert!(new.iter().all(|ip| addresses.owner(ip).is_none()));
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
            addresses.take(&number.to_string(), PodIps::new(Ipv4Addr::from_bits(number), false));
        }
        assert_eq!(addresses.lease("one more"), Err(Exhausted));
        addresses.release(&(FIRST + 7).to_string());
        assert_eq!(addresses.lease("one more"), Ok(ip(0, 9)));
    }
}
