//! Who gets which device (kubelet `devicemanager`). Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Catalogue, Share};

/// What one container of a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The container.
    pub container: String,
    /// Whether it has ended before the next one starts, which may then have its devices: an init container that is no sidecar.
    pub is_passing: bool,
    /// How many of each resource.
    pub amounts: Vec<(String, u64)>,
}

/// What the containers of a pod have.
pub type Allocation = BTreeMap<String, Vec<Share>>;

/// There are not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Allocate failed due to requested number of devices unavailable for {resource}. Requested: {wanted}, Available: {free}, which is \
     unexpected"
)]
pub struct Shortage {
    /// Of what.
    pub resource: String,
    /// How many one container wants.
    pub wanted: u64,
    /// How many there are for it.
    pub free: u64,
}

/// Gives a pod's containers, in the order in which they start, what they ask for: before others what an earlier one of the pod has left, then
/// shares of devices that fewer have.
///
/// # Errors
/// There are not enough.
pub fn plan_allocation(catalogue: &Catalogue, taken: &BTreeSet<Share>, wants: &[Want]) -> Result<Allocation, Shortage> {
    let mut taken = taken.clone();
    let mut left_over = BTreeSet::new();
    let mut allocation = Allocation::new();
    for want in wants {
        let mut own: Vec<Share> = Vec::new();
        for (resource, amount) in &want.amounts {
            for _ in 0..*amount {
                let Some(share) = choose(catalogue, resource, &taken, &left_over, &own) else {
                    let of_it = own.iter().filter(|share| share.resource == *resource);
                    return Err(Shortage {
                        resource: resource.clone(),
                        wanted: *amount,
                        free: of_it.count() as u64,
                    });
                };
                taken.insert(share.clone());
                left_over.remove(&share);
                own.push(share);
            }
        }
        if want.is_passing {
            left_over.extend(own.iter().cloned());
        }
        if !own.is_empty() {
            allocation.insert(want.container.clone(), own);
        }
    }
    Ok(allocation)
}

/// The best share that a container can get. Two shares of one device are of little use to it.
fn choose(
    catalogue: &Catalogue,
    resource: &str,
    taken: &BTreeSet<Share>,
    left_over: &BTreeSet<Share>,
    own: &[Share],
) -> Option<Share> {
    let class = catalogue.classes.get(resource)?;
    let usable = class.devices.iter().filter(|device| device.problem.is_none());
    let best_of = |(number, name): (usize, &str)| {
        let share = |place| Share {
            resource: resource.to_owned(),
            device: name.to_owned(),
            place,
        };
        let is_of_it = |share: &&Share| share.resource == resource && share.device == name;
        let others = taken.iter().filter(is_of_it).count();
        let had = own.iter().filter(is_of_it).count();
        let places = (0..class.shared_by).map(share);
        let free = places.filter(|share| !own.contains(share) && (left_over.contains(share) || !taken.contains(share)));
        let best = free.min_by_key(|share| !left_over.contains(share))?;
        Some(((had, !left_over.contains(&best), others, number), best))
    };
    let named = usable.map(|device| device.name.as_str()).enumerate();
    named
        .filter_map(best_of)
        .min_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, share)| share)
}

#[cfg(test)]
mod tests {
    use super::super::{Class, Device, Edits};
    use super::*;

    fn catalogue(names: &[&str], shared_by: u32) -> Catalogue {
        let device = |name: &&str| Device {
            name: name.trim_start_matches('!').to_owned(),
            own: Edits::default(),
            common: Edits::default(),
            problem: name.starts_with('!').then(|| "broken".to_owned()),
        };
        let class = Class {
            devices: names.iter().map(device).collect(),
            shared_by,
        };
        Catalogue {
            classes: BTreeMap::from([("a.b/c".to_owned(), class)]),
            problems: Vec::new(),
        }
    }

    fn want(container: &str, is_passing: bool, amount: u64) -> Want {
        Want {
            container: container.to_owned(),
            is_passing,
            amounts: vec![("a.b/c".to_owned(), amount)],
        }
    }

    fn share(device: &str, place: u32) -> Share {
        Share {
            resource: "a.b/c".to_owned(),
            device: device.to_owned(),
            place,
        }
    }

    fn given(catalogue: &Catalogue, taken: &[Share], wants: &[Want]) -> Result<Vec<String>, String> {
        let taken = taken.iter().cloned().collect();
        let allocation = plan_allocation(catalogue, &taken, wants).map_err(|shortage| shortage.to_string())?;
        let line = |(container, shares): (&String, &Vec<Share>)| {
            let names: Vec<_> = shares.iter().map(|s| format!("{}.{}", s.device, s.place)).collect();
            format!("{container} {}", names.join(" "))
        };
        Ok(allocation.iter().map(line).collect())
    }

    #[test]
    fn devices_are_one_containers_alone() {
        let two = catalogue(&["x", "y"], 1);
        let both = [want("one", false, 1), want("two", false, 1)];
        assert_eq!(given(&two, &[], &both), Ok(vec!["one x.0".into(), "two y.0".into()]));
        assert_eq!(given(&two, &[share("x", 0)], &both[..1]), Ok(vec!["one y.0".into()]));
        let error = given(&two, &[share("x", 0)], &[want("one", false, 2)]).expect_err("one is left");
        assert!(
            error.contains("unavailable for a.b/c. Requested: 2, Available: 1"),
            "{error}"
        );
    }

    #[test]
    fn what_is_broken_or_unknown_is_given_to_nobody() {
        assert_eq!(
            given(&catalogue(&["!x", "y"], 1), &[], &[want("a", false, 1)]),
            Ok(vec!["a y.0".into()])
        );
        let error = given(&Catalogue::default(), &[], &[want("a", false, 1)]).expect_err("there is none");
        assert!(error.contains("Requested: 1, Available: 0"), "{error}");
        assert_eq!(given(&Catalogue::default(), &[], &[want("a", false, 0)]), Ok(vec![]));
    }

    #[test]
    fn shares_are_of_different_devices_first_and_of_those_that_fewer_have() {
        let shared = catalogue(&["x", "y"], 2);
        assert_eq!(
            given(&shared, &[], &[want("a", false, 3)]),
            Ok(vec!["a x.0 y.0 x.1".into()])
        );
        assert_eq!(
            given(&shared, &[share("x", 1)], &[want("a", false, 1)]),
            Ok(vec!["a y.0".into()])
        );
    }

    #[test]
    fn what_an_init_container_had_the_next_ones_have() {
        let two = catalogue(&["x", "y"], 1);
        let wants = [
            want("i", true, 1),
            want("j", true, 2),
            want("a", false, 1),
            want("b", false, 1),
        ];
        let expected = ["a x.0", "b y.0", "i x.0", "j x.0 y.0"].map(String::from);
        assert_eq!(given(&two, &[], &wants), Ok(expected.to_vec()));
        let sidecar = [want("s", false, 1), want("a", false, 2)];
        assert!(given(&two, &[], &sidecar).is_err(), "a sidecar keeps its own");
    }
}
