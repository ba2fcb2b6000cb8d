//! From which shortage on something is done about it (kubelet `evictionHard`, `evictionSoft`). Pure.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::Facts;
use crate::model::Quantity;

/// What there may be too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Bytes of memory that can be had without swapping.
    Memory,
    /// Bytes of the disk that pods write to,
    NodeFs,
    /// and its inodes.
    NodeFsInodes,
    /// Bytes of the disk that images are on,
    ImageFs,
    /// and its inodes.
    ImageFsInodes,
    /// Numbers for processes and threads.
    Pids,
}

/// What the node's condition, its taint and its events call a shortage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Pid,
}

const SIGNALS: [(&str, Signal); 6] = [
    ("memory.available", Signal::Memory),
    ("nodefs.available", Signal::NodeFs),
    ("nodefs.inodesFree", Signal::NodeFsInodes),
    ("imagefs.available", Signal::ImageFs),
    ("imagefs.inodesFree", Signal::ImageFsInodes),
    ("pid.available", Signal::Pids),
];

impl Signal {
    fn parse(name: &str) -> Option<Signal> {
        SIGNALS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, signal)| *signal)
    }

    /// What a shortage of it is called.
    pub(super) fn pressure(self) -> Pressure {
        match self {
            Self::Memory => Pressure::Memory,
            Self::NodeFs | Self::NodeFsInodes | Self::ImageFs | Self::ImageFsInodes => Pressure::Disk,
            Self::Pids => Pressure::Pid,
        }
    }

    /// The resource that pods take of it (kubelet `signalToResource`).
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::NodeFs | Self::ImageFs => "ephemeral-storage",
            Self::NodeFsInodes | Self::ImageFsInodes => "inodes",
            Self::Pids => "pids",
        }
    }
}

/// How much, as the settings say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Whole(u64),
    /// Hundredths of a percent of all that there is.
    Part(u64),
}

impl Amount {
    fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Whole(amount) => amount,
            Self::Part(part) => u64::try_from(u128::from(capacity) * u128::from(part) / 10_000).unwrap_or(u64::MAX),
        }
    }
}

/// Less than this of something is too little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    pub(super) signal: Signal,
    least: Amount,
    /// How much more there has to be before it is enough again, once something had to be done about it.
    reclaim: Amount,
    /// Whether it is told of for a while before pods are evicted, which then have time to end.
    pub(super) is_soft: bool,
    /// For how long it must have been so before pods are evicted; none at all where they are at once.
    pub(super) grace: SignedDuration,
}

impl Threshold {
    /// How much there has to be, of so much in all.
    pub(super) fn least(&self, capacity: u64) -> u64 {
        self.least.of(capacity)
    }

    /// Whether there is less. Of what is not known there is enough.
    pub(super) fn is_met(&self, facts: &Facts) -> bool {
        facts
            .get(&self.signal)
            .is_some_and(|fact| fact.available < self.least(fact.capacity))
    }

    /// Whether there is less than there has to be again after something had to be done about it (kubelet `thresholdsMet` with
    /// `enforceMinReclaim`).
    pub(super) fn is_unresolved(&self, facts: &Facts) -> bool {
        facts.get(&self.signal).is_some_and(|fact| {
            let enough = self.least(fact.capacity).saturating_add(self.reclaim.of(fact.capacity));
            fact.available < enough
        })
    }
}

/// The settings, as the kubelet's configuration has them.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// `evictionHard`: amounts by signals, instead of the defaults.
    pub hard: Option<&'a BTreeMap<String, String>>,
    /// `evictionSoft`: amounts by signals,
    pub soft: &'a BTreeMap<String, String>,
    /// and `evictionSoftGracePeriod`, times by signals.
    pub soft_graces: &'a BTreeMap<String, String>,
    /// `evictionPressureTransitionPeriod`.
    pub transition: Option<&'a str>,
    /// `evictionMinimumReclaim`: amounts by signals.
    pub reclaim: &'a BTreeMap<String, String>,
    /// `evictionMaxPodGracePeriod`, in seconds.
    pub max_grace: u32,
}

/// All thresholds, and for how long a shortage counts after it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    pub(super) all: Vec<Threshold>,
    pub(super) transition: SignedDuration,
    /// The most that pods get to end which are evicted for a soft threshold.
    pub(super) max_grace: SignedDuration,
}

/// What holds if nothing is said. The kubelet's is a part of the disk (`nodefs.available: 10%`), because a node's disk is the pods'. Here
/// it is the user's, who may well live with 95 % of it taken by other things: pods go only when the next write of anybody fails soon. A
/// hundred mebibytes are what the kubelet asks of memory; a thousand inodes are a small image's files.
const HARD: [(&str, &str); 4] = [
    ("memory.available", "100Mi"),
    ("nodefs.available", "100Mi"),
    ("nodefs.inodesFree", "1k"),
    ("imagefs.available", "100Mi"),
];

/// The kubelet's.
const TRANSITION: SignedDuration = SignedDuration::from_mins(5);

impl Thresholds {
    /// What the settings come to (kubelet `ParseThresholdConfig`).
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn plan(said: Said<'_>) -> Result<Thresholds, String> {
        let defaults = || HARD.map(|(name, least)| (name.to_owned(), least.to_owned())).into();
        let hard: BTreeMap<String, String> = said.hard.cloned().unwrap_or_else(defaults);
        let mut all = Vec::new();
        for (name, least) in &hard {
            all.extend(threshold("evictionHard", name, least, SignedDuration::ZERO)?);
        }
        for (name, least) in said.soft {
            let grace = said.soft_graces.get(name);
            let grace = grace.ok_or_else(|| format!("evictionSoft: {name}: has no evictionSoftGracePeriod"))?;
            let grace = time(&format!("evictionSoftGracePeriod: {name}"), grace)?;
            let soft = threshold("evictionSoft", name, least, grace)?;
            all.extend(soft.map(|soft| Threshold { is_soft: true, ..soft }));
        }
        if let Some(name) = said.soft_graces.keys().find(|name| !said.soft.contains_key(*name)) {
            return Err(format!("evictionSoftGracePeriod: {name}: is not in evictionSoft"));
        }
        for (name, more) in said.reclaim {
            let more = reclaim(name, more)?;
            all.iter_mut()
                .filter(|t| t.signal == more.0)
                .for_each(|t| t.reclaim = more.1);
        }
        let transition = said
            .transition
            .map_or(Ok(TRANSITION), |text| time("evictionPressureTransitionPeriod", text))?;
        Ok(Thresholds {
            all,
            transition,
            max_grace: SignedDuration::from_secs(said.max_grace.into()),
        })
    }
}

fn time(field: &str, text: &str) -> Result<SignedDuration, String> {
    if text == "0" {
        return Ok(SignedDuration::ZERO);
    }
    let read = text.parse::<SignedDuration>().ok().filter(|time| !time.is_negative());
    read.ok_or_else(|| format!("{field}: {text:?} is no time as in 1m30s"))
}

/// One of them; `None` where it says that nothing is ever too little, as `0%` and `100%` do.
fn threshold(field: &str, name: &str, text: &str, grace: SignedDuration) -> Result<Option<Threshold>, String> {
    let signal = signal(field, name)?;
    if matches!(text, "0%" | "100%") {
        return Ok(None);
    }
    let least = amount(text).filter(|least| *least != Amount::Whole(0));
    Ok(Some(Threshold {
        signal,
        least: least.ok_or_else(|| wrong(field, name, text))?,
        reclaim: Amount::Whole(0),
        is_soft: false,
        grace,
    }))
}

/// How much more of something there has to be (kubelet `parseMinimumReclaims`).
fn reclaim(name: &str, text: &str) -> Result<(Signal, Amount), String> {
    const FIELD: &str = "evictionMinimumReclaim";
    let more = amount(text).filter(|more| *more != Amount::Part(0));
    Ok((signal(FIELD, name)?, more.ok_or_else(|| wrong(FIELD, name, text))?))
}

fn signal(field: &str, name: &str) -> Result<Signal, String> {
    Signal::parse(name).ok_or_else(|| {
        let known = SIGNALS.map(|(name, _)| name).join(", ");
        format!("{field}: {name}: there are {known}")
    })
}

fn wrong(field: &str, name: &str, text: &str) -> String {
    format!("{field}: {name}: {text:?} is neither a percentage nor a quantity as in 100Mi")
}

/// A percentage or a quantity that is not negative.
fn amount(text: &str) -> Option<Amount> {
    match text.strip_suffix('%') {
        Some(number) => {
            let percent: f64 = number.parse().ok()?;
            // Within 0 and 10,000.
            (0.0..=100.0)
                .contains(&percent)
                .then(|| Amount::Part((percent * 100.0).round() as u64))
        }
        None => {
            let amount = Quantity::parse(text).filter(|amount| *amount >= Quantity::ZERO)?;
            let amount = amount.divided_by(Quantity::whole(1));
            Some(Amount::Whole(u64::try_from(amount).unwrap_or(u64::MAX)))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Fact;
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    }

    pub fn said(
        hard: Option<&[(&str, &str)]>,
        soft: &[(&str, &str)],
        graces: &[(&str, &str)],
    ) -> Result<Thresholds, String> {
        let (hard, soft, graces) = (hard.map(map), map(soft), map(graces));
        Thresholds::plan(Said {
            hard: hard.as_ref(),
            soft: &soft,
            soft_graces: &graces,
            transition: None,
            reclaim: &BTreeMap::new(),
            max_grace: 0,
        })
    }

    #[test]
    fn without_a_word_a_machine_may_be_as_full_as_its_owner_likes() {
        let defaults = said(None, &[], &[]).expect("the defaults are right");
        let least: Vec<_> = defaults.all.iter().map(|t| (t.signal, t.least(1 << 40))).collect();
        let mebibytes = 100 << 20;
        assert_eq!(
            least,
            [
                (Signal::ImageFs, mebibytes),
                (Signal::Memory, mebibytes),
                (Signal::NodeFs, mebibytes),
                (Signal::NodeFsInodes, 1000)
            ]
        );
        assert_eq!(defaults.transition, SignedDuration::from_mins(5));
    }

    #[test]
    fn amounts_are_parts_or_quantities_and_replace_the_defaults() {
        let named = |text| said(Some(&[("nodefs.available", text)]), &[], &[]).map(|named| named.all);
        for (text, of, least) in [("10%", 2000, 200), ("7.5%", 1000, 75), ("1Ki", 5, 1024)] {
            let all = named(text).expect("is right");
            assert_eq!((all.len(), all[0].least(of)), (1, least), "{text}");
        }
        for nothing in ["0%", "100%"] {
            assert_eq!(named(nothing), Ok(vec![]));
        }
        assert_eq!(said(Some(&[]), &[], &[]).map(|said| said.all), Ok(vec![]));
    }

    #[test]
    fn what_can_not_be_meant_is_refused_by_name() {
        let soft = [("memory.available", "1Gi")];
        for (wrong, why) in [
            (
                said(Some(&[("disk", "1%")]), &[], &[]),
                "evictionHard: disk: there are memory.available, ",
            ),
            (
                said(Some(&[("pid.available", "-1")]), &[], &[]),
                "evictionHard: pid.available: \"-1\" is neither",
            ),
            (
                said(Some(&[("pid.available", "101%")]), &[], &[]),
                "\"101%\" is neither",
            ),
            (
                said(None, &soft, &[]),
                "evictionSoft: memory.available: has no evictionSoftGracePeriod",
            ),
            (
                said(None, &soft, &[("memory.available", "soon")]),
                "\"soon\" is no time",
            ),
            (said(None, &[], &[("memory.available", "1m")]), "is not in evictionSoft"),
        ] {
            let error = wrong.expect_err("is refused");
            assert!(error.contains(why), "{error}");
        }
    }
    #[test]
    fn once_something_is_short_there_has_to_be_more_by_what_is_to_be_reclaimed() {
        let plan = |reclaim: &[(&str, &str)]| {
            Thresholds::plan(Said {
                hard: Some(&map(&[("memory.available", "100"), ("nodefs.available", "10%")])),
                soft: &map(&[("memory.available", "200")]),
                soft_graces: &map(&[("memory.available", "1m")]),
                transition: None,
                reclaim: &map(reclaim),
                max_grace: 30,
            })
        };
        let planned = plan(&[("memory.available", "50"), ("nodefs.available", "5%")]).expect("right");
        assert_eq!(planned.max_grace, SignedDuration::from_secs(30));
        let with = |signal, available| {
            let fact = Fact {
                available,
                capacity: 1000,
            };
            Facts::from([(signal, fact)])
        };
        for (place, signal, is_soft, least, enough) in [
            (0, Signal::Memory, false, 100, 150),
            (1, Signal::NodeFs, false, 100, 150),
            (2, Signal::Memory, true, 200, 250),
        ] {
            let threshold = &planned.all[place];
            assert_eq!((threshold.signal, threshold.is_soft), (signal, is_soft));
            assert!(threshold.is_met(&with(signal, least - 1)) && !threshold.is_met(&with(signal, least)));
            assert!(threshold.is_unresolved(&with(signal, enough - 1)));
            assert!(!threshold.is_unresolved(&with(signal, enough)));
        }
        for (wrong, why) in [
            (("disk", "1%"), "evictionMinimumReclaim: disk: there are"),
            (("nodefs.available", "0%"), "\"0%\" is neither"),
            (("nodefs.available", "-1"), "\"-1\" is neither"),
        ] {
            let error = plan(&[wrong]).expect_err("is refused");
            assert!(error.contains(why), "{error}");
        }
    }
}
