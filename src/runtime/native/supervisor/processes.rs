//! The processes of the pod, which all are in view of its first one: told from each other by their mount namespace, which is their
//! container's.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::Pid;

use super::note;
use crate::runtime::Usage;

/// How often is looked for what an ended container has left. The kernel needs a moment to end what was killed, and one that forks without
/// end is not to hold the pod up.
const MAX_PASSES: usize = 32;

/// All processes of the pod.
fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn mount_namespace(pid: i32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino())
}

/// The processes in a mount namespace.
pub(super) fn in_mount_namespace(namespace: u64) -> impl Iterator<Item = i32> {
    all().filter(move |pid| mount_namespace(*pid) == Some(namespace))
}

/// The processes whose root is that of one of these runs, whatever mount namespaces they have made. Runs of pods among the host's processes
/// have roots that are named after them ([`source_of`]).
pub(super) fn rooted_in(runs: &BTreeSet<&str>) -> BTreeSet<i32> {
    let is_of_one = |pid: &i32| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        root_source(&mounts).is_some_and(|source| runs.contains(source))
    };
    all().filter(is_of_one).collect()
}

/// What is said to be mounted as a run's root: nobody but us tells processes among the host's by it.
pub(super) fn source_of(run: &str, host_pid: bool) -> &str {
    if host_pid { run } else { "overlay" }
}

/// What is mounted as the root of a process (proc_pid_mountinfo(5)).
fn root_source(mounts: &str) -> Option<&str> {
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"))?;
    root.split_once(" - ")?.1.split(' ').nth(1)
}

/// Kills all that the runs of a pod among the host's processes have left, when its supervisor is gone.
pub(in crate::runtime::native) fn kill_rooted(runs: &BTreeSet<&str>) {
    kill_leftovers(|| rooted_in(runs));
}

/// Kills what an ended container has left in a shared pid namespace, as `find` tells it. In a pid namespace of its own the
/// kernel has done so already.
pub(super) fn kill_leftovers(find: impl FnMut() -> BTreeSet<i32>) {
    kill_all(find, |pid| {
        if let Some(pid) = Pid::from_raw(pid)
            && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            && error != rustix::io::Errno::SRCH
        {
            note(&format!("killing a leftover process: {error}"));
        }
    });
}

/// Looks again after each pass: what forked meanwhile was not seen by it.
fn kill_all(mut find: impl FnMut() -> BTreeSet<i32>, mut kill: impl FnMut(i32)) {
    for _ in 0..MAX_PASSES {
        let left = find();
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(&mut kill);
    }
}

/// What processes have used, by their mount namespace. Memory that several of them share is counted for each.
pub(super) fn usage() -> HashMap<u64, Usage> {
    let (tick, page) = (
        rustix::param::clock_ticks_per_second(),
        rustix::param::page_size() as u64,
    );
    let mut sums: HashMap<u64, Usage> = HashMap::new();
    for pid in all() {
        let Some(namespace) = mount_namespace(pid) else {
            continue;
        };
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let sum = sums.entry(namespace).or_default();
        let stat = read("stat");
        sum.cpu_nanos += ticks_in(&stat).saturating_mul(1_000_000_000 / tick.max(1));
        sum.tasks += threads_in(&stat);
        sum.memory_bytes += resident_in(&read("statm")).saturating_mul(page);
    }
    sums
}

/// The CPU time of a process and of its children that have ended, in ticks (proc_pid_stat(5), fields 14 to 17). The name before may
/// hold anything.
fn ticks_in(stat: &str) -> u64 {
    let fields = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().skip(11).take(4));
    fields
        .into_iter()
        .flatten()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

/// How many threads it is, itself included (proc_pid_stat(5), field 20).
fn threads_in(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace());
    let field = fields.and_then(|mut fields| fields.nth(17));
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// Resident pages (proc_pid_statm(5)).
fn resident_in(statm: &str) -> u64 {
    let field = statm.split_ascii_whitespace().nth(1);
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 200 0 0 10 20 3 4 20 0 1 0 100 1000 50";
        assert_eq!(ticks_in(stat), 37);
        assert_eq!(ticks_in("garbage"), 0);
        assert_eq!((threads_in(stat), threads_in("garbage")), (1, 0));
        assert_eq!(resident_in("1000 250 100 1 0 60 0\n"), 250);
        assert_eq!(resident_in(""), 0);
    }

    #[test]
    fn what_forks_while_others_are_killed_is_found_by_the_next_pass() {
        let mut passes = vec![BTreeSet::new(), BTreeSet::from([9]), BTreeSet::from([7, 8])];
        let mut killed = Vec::new();
        kill_all(|| passes.pop().unwrap_or_default(), |pid| killed.push(pid));
        assert_eq!(killed, [7, 8, 9]);
        let mut found = 0;
        let endless = || {
            found += 1;
            BTreeSet::from([found])
        };
        kill_all(endless, |_| {});
        assert_eq!(found, 32);
    }

    #[test]
    fn a_processes_root_is_told_by_its_source() {
        let mounts =
            "21 20 0:5 / /proc rw - proc proc rw\n20 1 0:44 / / rw,relatime shared:1 - overlay abc rw,lowerdir=0\n";
        assert_eq!(root_source(mounts), Some("abc"));
        assert_eq!(root_source("20 1 0:44 / / rw"), None);
        assert!(rooted_in(&["no such run"].into()).is_empty());
    }

    #[test]
    fn this_process_has_used_something() {
        let namespace = mount_namespace(i32::try_from(std::process::id()).expect("a pid")).expect("it has one");
        assert!(usage()[&namespace].memory_bytes > 0);
    }
}
