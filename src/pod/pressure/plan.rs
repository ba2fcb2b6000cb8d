//! What is short, and who has to go for it (kubelet `eviction_manager.go`, `helpers.go`). Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::settings::{Pressure, Signal, Threshold, Thresholds};
use super::{Fact, Facts};
use crate::model::Key;
use crate::pod::evict::{MOMENT, shown};

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Since when there is too little, by the threshold's place.
    since: BTreeMap<usize, Timestamp>,
    /// When there was too little last.
    seen: BTreeMap<Pressure, Timestamp>,
    /// What had to be freed at the last look, by the threshold's place: it is enough again only with what is to be reclaimed besides.
    acted: BTreeSet<usize>,
}

/// What follows from one look.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outlook<'t> {
    /// What the node says that it is short of: for a while after it was, so that its word does not change all the time.
    pub pressures: BTreeSet<Pressure>,
    /// What has to be freed now: memory first, as the kernel kills for want of it.
    pub due: Option<&'t Threshold>,
}

impl Memory {
    /// Judges what was seen.
    pub fn judge<'t>(&mut self, thresholds: &'t Thresholds, facts: &Facts, now: Timestamp) -> Outlook<'t> {
        let is_short = |(place, t): &(usize, &Threshold)| {
            t.is_met(facts) || (self.acted.contains(place) && t.is_unresolved(facts))
        };
        let met: Vec<_> = thresholds.all.iter().enumerate().filter(is_short).collect();
        let since = met.iter().map(|(place, _)| {
            let since = self.since.get(place).copied().unwrap_or(now);
            (*place, since)
        });
        self.since = since.collect();
        self.seen.extend(met.iter().map(|(_, t)| (t.signal.pressure(), now)));
        self.seen
            .retain(|_, at| *at == now || now.duration_since(*at) < thresholds.transition);
        let is_due = |(place, t): &&(usize, &Threshold)| now.duration_since(self.since[place]) >= t.grace;
        let due: Vec<_> = met.iter().filter(is_due).collect();
        self.acted = due.iter().map(|(place, _)| *place).collect();
        let due = due.iter().map(|(_, threshold)| *threshold);
        Outlook {
            pressures: self.seen.keys().copied().collect(),
            // Who goes at once where both kinds are met of one signal has no more time than that.
            due: due.min_by_key(|t| (t.signal, t.is_soft)),
        }
    }

    /// Whether the node says that it is short of something.
    pub fn is_pressed(&self) -> bool {
        !self.seen.is_empty()
    }
}

/// A pod that may have to go, and what it takes of what is short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub pod: Key,
    pub priority: i64,
    /// `None` where that is not known.
    pub takes: Option<u64>,
    pub asked_for: u64,
    pub containers: Vec<Taker>,
}

/// A container, what it takes and what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taker {
    pub name: String,
    pub takes: u64,
    pub asked_for: u64,
}

/// Who goes: who takes more than it asked for rather than who does not, then the less important, then who takes the most above that
/// (`rankMemoryPressure`, `rankDiskPressureFunc`). Of numbers for processes nobody asks for any: there the less important goes, and of those
/// who takes the most (`rankPIDPressure`).
pub(super) fn plan_victim(candidates: &[Candidate], signal: Signal) -> Option<&Candidate> {
    let is_asked_for = signal != Signal::Pids;
    candidates.iter().min_by_key(|candidate| {
        let asked_for = i128::from(candidate.asked_for);
        let above = candidate.takes.map(|takes| i128::from(takes) - asked_for);
        let exceeds = above.is_none_or(|above| above > 0);
        // Of one nobody can say what it takes it is better not to have it.
        (
            is_asked_for.then_some((Reverse(above.is_none()), Reverse(exceeds))),
            candidate.priority,
            Reverse(above.is_none()),
            Reverse(above),
        )
    })
}

/// What the pod that goes gets to end, at the most: a moment where there is less than there may ever be, else what the settings say.
pub(super) fn plan_grace(threshold: &Threshold, thresholds: &Thresholds) -> SignedDuration {
    match threshold.is_soft {
        true => thresholds.max_grace.max(MOMENT),
        false => MOMENT,
    }
}

/// What is said of the pod that goes (`evictionMessage`).
pub(super) fn message(threshold: &Threshold, fact: Fact, victim: &Candidate) -> String {
    let resource = threshold.signal.resource();
    let (least, available) = (shown(threshold.least(fact.capacity)), shown(fact.available));
    let mut text =
        format!("The node was low on resource: {resource}. Threshold quantity: {least}, available: {available}. ");
    for taker in victim.containers.iter().filter(|c| c.takes > c.asked_for) {
        text.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
            taker.name,
            shown(taker.takes),
            shown(taker.asked_for)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::settings::Said;
    use super::super::settings::tests::said;
    use super::*;
    use crate::model::kind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn facts(memory: u64, disk: u64) -> Facts {
        let fact = |available| Fact {
            available,
            capacity: 1000,
        };
        [(Signal::Memory, fact(memory)), (Signal::NodeFs, fact(disk))].into()
    }

    #[test]
    fn a_shortage_is_told_at_once_and_for_a_while_and_pods_go_when_its_time_is_over() {
        let hard = [("memory.available", "100"), ("nodefs.available", "10%")];
        let mut thresholds = said(
            Some(&hard),
            &[("memory.available", "200")],
            &[("memory.available", "30s")],
        )
        .expect("right");
        thresholds.transition = SignedDuration::from_secs(60);
        let mut memory = Memory::default();
        for (second, facts, pressures, due) in [
            (0, facts(500, 500), &[][..], None),
            (10, facts(150, 500), &[Pressure::Memory], None),
            (20, facts(250, 500), &[Pressure::Memory], None),
            (30, facts(150, 500), &[Pressure::Memory], None),
            (60, facts(150, 500), &[Pressure::Memory], Some((Signal::Memory, 200))),
            (
                70,
                facts(99, 99),
                &[Pressure::Memory, Pressure::Disk],
                Some((Signal::Memory, 100)),
            ),
            (
                80,
                facts(500, 99),
                &[Pressure::Memory, Pressure::Disk],
                Some((Signal::NodeFs, 100)),
            ),
            (90, facts(500, 100), &[Pressure::Memory, Pressure::Disk], None),
            (130, facts(500, 500), &[Pressure::Disk], None),
            (140, Facts::new(), &[], None),
        ] {
            let outlook = memory.judge(&thresholds, &facts, at(second));
            assert_eq!(outlook.pressures, pressures.iter().copied().collect(), "at {second}");
            let found = outlook.due.map(|t| (t.signal, t.least(1000)));
            assert_eq!(found, due, "at {second}");
            assert_eq!(memory.is_pressed(), !pressures.is_empty());
        }
    }

    fn candidate(name: &str, priority: i64, takes: Option<u64>, asked_for: u64) -> Candidate {
        Candidate {
            pod: Key::new(kind("v1", "Pod").expect("in the table"), "default", name),
            priority,
            takes,
            asked_for,
            containers: vec![Taker {
                name: "c".to_owned(),
                takes: takes.unwrap_or(0),
                asked_for,
            }],
        }
    }

    #[test]
    fn who_takes_more_than_it_asked_for_goes_then_the_less_important_then_the_greediest() {
        let all = [
            candidate("unknown", 9, None, 0),
            candidate("greedy", 0, Some(50), 0),
            candidate("modest", 0, Some(60), 20),
            candidate("important", 5, Some(900), 0),
            candidate("within", -5, Some(100), 100),
            candidate("far-within", -5, Some(10), 100),
        ];
        let mut left: Vec<_> = all.to_vec();
        let mut order = Vec::new();
        while let Some(victim) = plan_victim(&left, Signal::Memory).cloned() {
            order.push(victim.pod.name.clone());
            left.retain(|other| *other != victim);
        }
        assert_eq!(
            order,
            ["unknown", "greedy", "modest", "important", "within", "far-within"]
        );
    }

    #[test]
    fn for_want_of_numbers_the_less_important_goes_and_then_who_has_the_most_processes() {
        let mut left = vec![
            candidate("important", 5, Some(900), 0),
            candidate("few", 0, Some(2), 0),
            candidate("none", 0, Some(0), 0),
            candidate("many", 0, Some(300), 0),
            candidate("unknown", 0, None, 0),
        ];
        let mut order = Vec::new();
        while let Some(victim) = plan_victim(&left, Signal::Pids).cloned() {
            order.push(victim.pod.name.clone());
            left.retain(|other| *other != victim);
        }
        assert_eq!(order, ["unknown", "many", "few", "none", "important"]);
    }

    #[test]
    fn what_had_to_be_freed_is_enough_again_with_what_is_to_be_reclaimed() {
        let reclaim = [("memory.available".to_owned(), "50".to_owned())].into();
        let hard = [("memory.available".to_owned(), "100".to_owned())].into();
        let thresholds = Thresholds::plan(Said {
            hard: Some(&hard),
            soft: &BTreeMap::new(),
            soft_graces: &BTreeMap::new(),
            transition: Some("0"),
            reclaim: &reclaim,
            max_grace: 0,
        });
        let thresholds = thresholds.expect("right");
        let mut memory = Memory::default();
        for (second, left, is_due) in [
            (0, 120, false),
            (10, 99, true),
            (20, 149, true),
            (30, 150, false),
            (40, 120, false),
        ] {
            let outlook = memory.judge(&thresholds, &facts(left, 500), at(second));
            assert_eq!(outlook.due.is_some(), is_due, "at {second}");
        }
    }

    #[test]
    fn who_goes_for_a_soft_threshold_has_the_time_that_the_settings_give() {
        let soft = [("memory.available", "200")];
        let mut thresholds = said(None, &soft, &[("memory.available", "0")]).expect("right");
        let of = |thresholds: &Thresholds, is_soft| {
            let threshold = thresholds.all.iter().find(|t| t.is_soft == is_soft);
            plan_grace(threshold.expect("there are both"), thresholds)
        };
        assert_eq!(of(&thresholds, true), MOMENT);
        thresholds.max_grace = SignedDuration::from_secs(30);
        assert_eq!(of(&thresholds, true), SignedDuration::from_secs(30));
        assert_eq!(of(&thresholds, false), MOMENT);
    }

    #[test]
    fn what_is_said_is_what_the_kubelet_says() {
        let thresholds = said(Some(&[("memory.available", "100Mi")]), &[], &[]).expect("right");
        let fact = Fact {
            available: 97_420 << 10,
            capacity: 8 << 30,
        };
        let mut victim = candidate("p", 0, Some(3 << 20), 1 << 20);
        victim.containers.push(Taker {
            name: "small".to_owned(),
            takes: 1,
            asked_for: 1,
        });
        assert_eq!(
            message(&thresholds.all[0], fact, &victim),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 97420Ki. \
             Container c was using 3Mi, request is 1Mi, has larger consumption of memory. "
        );
    }
}
