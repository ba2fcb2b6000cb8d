//! The node and supervisors are killed at random moments, over a hundred times, while files come, change and go. Then everything is as
//! the files say, nothing is left over, no line of a log is lost, and nothing ran twice.
//!
//! `KUBELOCAL_CRASH_SEED` repeats the choices of a run (not its timing); the seed is printed.

#[path = "e2e/home.rs"]
#[allow(dead_code, reason = "what only the other tests need of it")]
mod home;
#[path = "e2e/machine.rs"]
#[allow(dead_code, reason = "what only the other tests need of it")]
mod machine;
#[path = "e2e/manifest.rs"]
#[allow(dead_code, reason = "what only the other tests need of it")]
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use home::{Home, files_below, within};
use manifest::{Manifest, deployment, pod};

const KILLS: usize = 110;
/// Pods whose file never changes, so that their whole life can be looked at in the end.
const KEPT: u64 = 3;
/// Files that come, change and go.
const SLOTS: u64 = 6;
/// How often a supervisor of one pod is killed: each time its restart is delayed twice as long.
const KILLS_OF_ONE_POD: usize = 2;

/// xorshift64*: choices that can be repeated need no more.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

struct Storm {
    home: Home,
    dice: Dice,
    /// What the files say: for each slot its version, which is unique.
    wanted: BTreeMap<u64, u64>,
    versions: u64,
    /// Of which pods a supervisor was killed, and how often.
    killed: BTreeMap<String, usize>,
    /// Every control group there has been.
    groups: BTreeSet<PathBuf>,
    /// Which container an attempt of a pod is.
    runs: BTreeMap<(String, i64), String>,
}

/// The words by which a version's process is known.
fn words(version: u64) -> String {
    format!("count --interval 10 --to {}", 1_000_000_000 + version)
}

fn slot_manifest(slot: u64, version: u64) -> Manifest {
    let name = format!("slot-{slot}");
    // One slot is a Deployment.
    if slot == SLOTS - 1 {
        deployment(&name, 2, &words(version))
    } else {
        pod(&name, &words(version))
    }
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let storm = Storm {
            home: Home::new(),
            dice: Dice(seed | 1),
            wanted: BTreeMap::new(),
            versions: KEPT,
            killed: BTreeMap::new(),
            groups: BTreeSet::new(),
            runs: BTreeMap::new(),
        };
        for kept in 0..KEPT {
            storm
                .home
                .write(&format!("kept-{kept}.yaml"), pod(&format!("kept-{kept}"), &words(kept)));
        }
        storm.home.must("get nodes");
        for kept in 0..KEPT {
            storm.home.until_ready(&format!("kept-{kept}"));
        }
        storm
    }

    /// One file comes, changes or goes.
    fn churn(&mut self) {
        let slot = self.dice.roll(SLOTS);
        let file = format!("slot-{slot}.yaml");
        if self.wanted.contains_key(&slot) && self.dice.roll(3) == 0 {
            self.wanted.remove(&slot);
            fs::remove_file(self.home.path("manifests").join(file)).expect("it is there");
        } else {
            self.versions += 1;
            self.wanted.insert(slot, self.versions);
            self.home.write(&file, slot_manifest(slot, self.versions));
        }
    }

    /// Kills the node or a supervisor. False if there was none to kill.
    fn kill(&mut self) -> bool {
        let victim = if self.dice.roll(5) < 3 {
            self.home.node_pid()
        } else {
            self.a_supervisor()
        };
        let Some(pid) = victim else { return false };
        let is_killed = kill_process(pid, Signal::KILL).is_ok();
        self.home.until_ended(pid);
        is_killed
    }

    fn a_supervisor(&mut self) -> Option<Pid> {
        let pods = fs::read_dir(self.home.path("pods")).ok()?.flatten();
        let mut living: Vec<(String, Pid)> = pods
            .filter_map(|pod| pod.file_name().into_string().ok())
            .filter(|uid| self.killed.get(uid).is_none_or(|times| *times < KILLS_OF_ONE_POD))
            .filter_map(|uid| Some((uid.clone(), self.home.supervisor_pid(&uid)?)))
            .filter(|(uid, pid)| {
                let cmdline = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
                String::from_utf8_lossy(&cmdline).contains(uid.as_str())
            })
            .collect();
        living.sort_by(|a, b| a.0.cmp(&b.0));
        let chosen = self.dice.roll(living.len().max(1) as u64);
        let (uid, pid) = living.into_iter().nth(usize::try_from(chosen).expect("is small"))?;
        *self.killed.entry(uid).or_default() += 1;
        Some(pid)
    }

    /// What must hold at any moment: no version of a bare pod runs twice, and an attempt is one container for ever.
    fn look(&mut self) {
        self.groups.extend(self.home.control_groups());
        self.assert_nothing_runs_twice();
        // A node that is being killed does not answer.
        let list: Value = serde_json::from_str(&self.home.run("get pods -o json").stdout).unwrap_or_default();
        for pod in list["items"].as_array().into_iter().flatten() {
            let uid = pod["metadata"]["uid"].as_str().expect("has one");
            let status = &pod["status"]["containerStatuses"][0];
            let (Some(attempt), Some(id)) = (status["restartCount"].as_i64(), status["containerID"].as_str()) else {
                continue;
            };
            if status["state"]["running"].is_null() {
                continue;
            }
            let known = self
                .runs
                .entry((uid.to_owned(), attempt))
                .or_insert_with(|| id.to_owned());
            let files = files_below(&self.home.path("pods").join(uid).join("containers"));
            assert_eq!(
                known,
                id,
                "attempt {attempt} of {uid} was started twice: {files:?}\n{}",
                self.home.sight()
            );
        }
    }

    fn assert_nothing_runs_twice(&self) {
        let mut seen = BTreeSet::new();
        let processes = self.home.processes();
        for (_, line) in &processes {
            let version = line.split_once("--to ").map(|(_, version)| version.trim().to_owned());
            let is_of_deployment = self.home_of(version.as_deref()) == Some(SLOTS - 1);
            if let Some(version) = version.filter(|_| !is_of_deployment) {
                assert!(seen.insert(version), "{line} runs twice: {processes:?}");
            }
        }
    }

    /// The slot of a version: a Deployment's pods are alike.
    fn home_of(&self, version: Option<&str>) -> Option<u64> {
        let version = version?.parse::<u64>().ok()?.checked_sub(1_000_000_000)?;
        self.deployed().contains(&version).then_some(SLOTS - 1)
    }

    fn deployed(&self) -> BTreeSet<u64> {
        // Old versions of the Deployment may still be ending; which they were is in its ReplicaSets' names only, so all versions
        // that are not a bare pod's count as its own.
        let bare: BTreeSet<u64> = self
            .wanted
            .iter()
            .filter(|(slot, _)| **slot != SLOTS - 1)
            .map(|(_, v)| *v)
            .collect();
        (KEPT..=self.versions)
            .filter(|version| !bare.contains(version))
            .collect()
    }

    /// Everything is as the files say.
    fn has_converged(&self) -> bool {
        let mut expected: Vec<String> = (0..KEPT).map(words).collect();
        for (slot, version) in &self.wanted {
            let replicas = if *slot == SLOTS - 1 { 2 } else { 1 };
            expected.extend(std::iter::repeat_n(words(*version), replicas));
        }
        expected.sort();
        let list = self.home.get("pods -A");
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let mut ready: Vec<String> = pods.iter().filter(|pod| is_ready(pod)).map(arguments).collect();
        ready.sort();
        let mut running: Vec<String> = self
            .home
            .processes()
            .into_iter()
            .filter_map(|(_, line)| Some(line.split_once("demo ")?.1.trim().to_owned()))
            .collect();
        running.sort();
        ready == expected && pods.len() == expected.len() && running == expected
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    pod["metadata"]["deletionTimestamp"].is_null() && conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn arguments(pod: &Value) -> String {
    let args = pod["spec"]["containers"][0]["args"].as_array().into_iter().flatten();
    args.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn killed_a_hundred_times_everything_is_as_the_files_say_and_nothing_is_left() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    let seed = std::env::var("KUBELOCAL_CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(u64::try_from(now & 0xffff_ffff).expect("is small"));
    eprintln!("KUBELOCAL_CRASH_SEED={seed}");
    let mut storm = Storm::new(seed);
    let mut kills = 0;
    while kills < KILLS {
        storm.churn();
        // The moment of the kill is what is random; nothing is waited for.
        std::thread::sleep(Duration::from_millis(storm.dice.roll(150)));
        kills += usize::from(storm.kill());
        if storm.dice.roll(3) == 0 {
            // The next node may be killed while it starts.
            let mut starter = storm.home.spawn(&mut storm.home.command("get nodes"));
            std::thread::sleep(Duration::from_millis(storm.dice.roll(100)));
            kills += usize::from(storm.kill());
            starter.wait().expect("it ends");
        }
        storm.look();
    }
    storm.home.must("get nodes");
    let converged = within(Duration::from_secs(90), || {
        storm.assert_nothing_runs_twice();
        storm.has_converged()
    });
    assert!(
        converged,
        "not as the files say: {:?}\n{:?}\n{}",
        storm.wanted,
        storm.home.processes(),
        storm.home.sight()
    );
    storm.look();
    assert_nothing_else_is_left(&storm);
    assert_no_line_is_lost(&storm);
    assert_all_goes(storm);
}

/// Processes, directories, sockets, mounts, network namespaces, control groups: exactly those of the pods that there are.
fn assert_nothing_else_is_left(storm: &Storm) {
    let home = &storm.home;
    let list = home.get("pods -A");
    let uids: BTreeSet<String> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| Some(pod["metadata"]["uid"].as_str()?.to_owned()))
        .collect();
    let processes = home.processes();
    assert_eq!(
        processes.len(),
        1 + 2 * uids.len(),
        "the node, and two for each pod: {processes:?}"
    );
    home.until("the directories are those of the pods", || {
        names(home.path("pods")) == uids
    });
    let mut sockets: BTreeSet<String> = uids.iter().map(|uid| format!("{uid}.sock")).collect();
    // The last two are what all pods share.
    sockets.extend(["api.sock", "mount-points", "seccomp"].map(str::to_owned));
    assert_eq!(names(home.path("run")), sockets);
    let filters = names(home.path("run/seccomp"));
    assert_eq!(filters.len(), 1, "all pods have the same profile: {filters:?}");
    assert_eq!(names(home.path("images/tmp")), BTreeSet::new());
    let half: Vec<_> = files_below(&home.path(""))
        .into_iter()
        .filter(|path| is_temporary(path))
        .collect();
    assert!(half.is_empty(), "{half:?}");
    let pods = home.path("pods").display().to_string();
    for who in [
        "self".to_owned(),
        home.node_pid().expect("it runs").as_raw_nonzero().to_string(),
    ] {
        let mounts = fs::read_to_string(format!("/proc/{who}/mountinfo")).expect("reads");
        assert!(!mounts.contains(&pods), "mounts of {who}: {mounts}");
    }
    let net = |pid: &Pid| fs::read_link(format!("/proc/{}/ns/net", pid.as_raw_nonzero())).ok();
    let networks: BTreeSet<_> = processes.iter().filter_map(|(pid, _)| net(pid)).collect();
    assert_eq!(networks.len(), 1 + uids.len(), "one for each pod, and the host's");
    let now: BTreeSet<_> = home.control_groups().into_iter().collect();
    let left: Vec<_> = storm
        .groups
        .iter()
        .filter(|group| group.exists() && !now.contains(*group))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn names(dir: PathBuf) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn is_temporary(path: &std::path::Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".tmp") || name.ends_with(".part") || name.starts_with(".tmp") || name.ends_with(".new")
}

/// What `count` writes are the numbers from 1 in order: in each log that there is none may be missing, and one run begins only when the
/// one before it has ended.
fn assert_no_line_is_lost(storm: &Storm) {
    for kept in 0..KEPT {
        let name = format!("pod kept-{kept}");
        let uid = storm.home.text(&name, "/metadata/uid");
        let logs = storm.home.path("pods").join(&uid).join("logs/main");
        let mut attempts: Vec<(u32, PathBuf)> = files_below(&logs)
            .into_iter()
            .filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path)))
            .collect();
        attempts.sort();
        assert!(!attempts.is_empty(), "{name} has logs");
        if !storm.killed.contains_key(&uid) {
            assert_eq!(attempts.len(), 1, "nobody killed {name}: {attempts:?}");
            assert_eq!(attempts[0].0, 0);
        }
        let mut last_time = String::new();
        for (_, path) in &attempts {
            let text = fs::read_to_string(path).expect("reads");
            let mut number = 0;
            for line in text.lines() {
                number += 1;
                let words: Vec<&str> = line.splitn(4, ' ').collect();
                assert_eq!(words[1..], ["stdout", "F", &number.to_string()], "{}", path.display());
                assert!(
                    // Lines that were read together have one time.
                    words[0] >= last_time.as_str(),
                    "{} began before the run before it had ended",
                    path.display()
                );
                last_time = words[0].to_owned();
            }
        }
        let shown = storm.home.must(format!("logs kept-{kept}"));
        let shown: Vec<u64> = shown.lines().map(|line| line.parse().expect("a number")).collect();
        assert!(shown.iter().copied().eq(1..=shown.len() as u64), "{name}");
    }
}

/// Without files there is nothing but the node.
fn assert_all_goes(storm: Storm) {
    for file in files_below(&storm.home.path("manifests")) {
        fs::remove_file(file).expect("it is there");
    }
    storm.home.until("all pods are gone", || {
        storm.home.get("pods -A")["items"].as_array().is_some_and(Vec::is_empty)
    });
    storm
        .home
        .until("only the node runs", || storm.home.processes().len() == 1);
    storm.home.until("their directories are gone", || {
        names(storm.home.path("pods")).is_empty()
    });
    let left: Vec<_> = storm.groups.iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}
