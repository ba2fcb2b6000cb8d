//! How much of everything is left on the machine, and what pods take of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::plan::{Candidate, Taker};
use super::settings::Signal;
use super::{Fact, Facts};
use crate::model::{Object, Quantity, is_terminal};
use crate::os::{entries_of, size_of};
use crate::pod::Rooms;
use crate::pod::evict::{REASON, measure};
use crate::pod::reject::priority;
use crate::pod::schedule::{is_of, read, requests_of};
use crate::pod::shutdown::Stage;
use crate::runtime::{ContainerId, PodUid, Usage};

/// Looks at the machine: a few system calls.
pub(super) fn look(pods_dir: &Path, images_dir: &Path) -> Facts {
    let mut facts = Facts::new();
    let text = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    // The kernel's own estimate of what can be had without swapping. The kubelet subtracts a working set, which takes a laptop's page
    // cache for memory in use.
    facts.extend(memory_in(&text("/proc/meminfo")).map(|fact| (Signal::Memory, fact)));
    // Whichever is less: a number for each, and room for each (kubelet `stats/pidlimit`).
    let most = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].map(text);
    let pids = pids_in([&most[0], &most[1]], &text("/proc/loadavg"));
    facts.extend(pids.map(|fact| (Signal::Pids, fact)));
    for (dir, bytes, inodes) in [
        (pods_dir, Signal::NodeFs, Signal::NodeFsInodes),
        (images_dir, Signal::ImageFs, Signal::ImageFsInodes),
    ] {
        let Ok(disk) = rustix::fs::statvfs(dir) else { continue };
        let of = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let fact = |available, capacity| Fact { available, capacity };
        // Some file systems make inodes as they need them, and some know no bounds at all: they say that there are none.
        let bytes = (bytes, fact(of(disk.f_bavail), of(disk.f_blocks)));
        let inodes = (inodes, fact(disk.f_favail, disk.f_files));
        facts.extend([bytes, inodes].into_iter().filter(|(_, fact)| fact.capacity > 0));
    }
    facts
}

/// proc_meminfo(5).
fn memory_in(meminfo: &str) -> Option<Fact> {
    let field = |name: &str| {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        Some(rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    Some(Fact {
        available: field("MemAvailable:")?,
        capacity: field("MemTotal:")?,
    })
}

/// How many numbers for processes and threads there are, and how many are in use (proc_loadavg(5): `1/234`).
fn pids_in(most: [&str; 2], loadavg: &str) -> Option<Fact> {
    let capacity: u64 = most.iter().filter_map(|text| text.trim().parse().ok()).min()?;
    let used: u64 = loadavg
        .split_ascii_whitespace()
        .nth(3)?
        .split_once('/')?
        .1
        .parse()
        .ok()?;
    Some(Fact {
        available: capacity.saturating_sub(used),
        capacity,
    })
}

/// The pods that may have to go: all that run here but critical ones, and those that are going.
pub(super) fn pods_here(rooms: &Rooms) -> Vec<Arc<Object>> {
    let kind = crate::model::kind("v1", "Pod").expect("in the table");
    let mut pods = rooms.store.list(kind, None).items;
    pods.retain(|pod| is_of(pod, &rooms.host.node_name) && !is_terminal(pod));
    pods
}

/// What each of them takes of what there is too little of.
pub(super) async fn candidates(rooms: &Rooms, signal: Signal) -> Vec<Candidate> {
    let mut pods = pods_here(rooms);
    pods.retain(|pod| !pod.is_deleting() && Stage::with(priority(rooms, pod)) == Stage::Ordinary);
    let taken = match signal {
        Signal::Memory => of_processes(rooms, |usage| usage.memory_bytes).await,
        // The kubelet names no containers here.
        Signal::Pids => {
            let of_pods = of_processes(rooms, |usage| usage.tasks).await.into_iter();
            let all = of_pods.map(|(pod, taken)| {
                let containers = BTreeMap::new();
                (pod, Taken { containers, ..taken })
            });
            all.collect()
        }
        Signal::NodeFs | Signal::ImageFs | Signal::NodeFsInodes | Signal::ImageFsInodes => {
            of_disk(rooms, pods.clone(), signal).await
        }
    };
    let of_pod = |pod: &Arc<Object>| candidate(pod, signal, taken.get(&uid_of(pod)), priority(rooms, pod));
    pods.iter().map(of_pod).collect()
}

fn uid_of(pod: &Object) -> PodUid {
    PodUid(pod.uid().to_owned())
}

/// What a pod takes, and which of it its containers do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Taken {
    all: u64,
    containers: BTreeMap<String, u64>,
}

fn candidate(pod: &Object, signal: Signal, taken: Option<&Taken>, priority: i64) -> Candidate {
    let resource = signal.resource();
    let amount = |wanted: Option<&Quantity>| {
        let whole = wanted.map_or(0, |wanted| wanted.divided_by(Quantity::whole(1)));
        u64::try_from(whole).unwrap_or(0)
    };
    let asked_for = |name: &str| {
        let mut containers = crate::model::list_at(pod.value(), "/spec/containers").iter();
        let own = containers.find(|container| container["name"] == name);
        amount(read(own.and_then(|own| own.pointer("/resources/requests"))).get(resource))
    };
    let containers = taken.into_iter().flat_map(|taken| &taken.containers);
    Candidate {
        pod: pod.key().clone(),
        priority,
        takes: taken.map(|taken| taken.all),
        asked_for: amount(requests_of(pod).get(resource)),
        containers: containers
            .map(|(name, takes)| Taker {
                name: name.clone(),
                takes: *takes,
                asked_for: asked_for(name),
            })
            .collect(),
    }
}

/// What the processes of pods take of something.
async fn of_processes(rooms: &Rooms, takes: impl Fn(&Usage) -> u64) -> HashMap<PodUid, Taken> {
    let (usage, sandboxes) = (rooms.runtime.usage().await, rooms.runtime.list().await);
    let sandboxes = sandboxes.unwrap_or_default();
    let runs = sandboxes.iter().flat_map(|sandbox| &sandbox.containers);
    let names: HashMap<&ContainerId, &str> = runs.map(|run| (&run.id, run.name.as_str())).collect();
    let mut all = HashMap::new();
    for pod in usage.unwrap_or_default() {
        let taken: &mut Taken = all.entry(pod.pod).or_default();
        for (id, usage) in pod.containers {
            taken.all += takes(&usage);
            let name = names.get(&id).copied().unwrap_or_default();
            *taken.containers.entry(name.to_owned()).or_default() += takes(&usage);
        }
    }
    all
}

async fn of_disk(rooms: &Rooms, pods: Vec<Arc<Object>>, signal: Signal) -> HashMap<PodUid, Taken> {
    let pods_dir = rooms.host.pods_dir.clone();
    let of_pod = move |pod: Arc<Object>| {
        let directory = pods_dir.join(pod.uid());
        if signal.resource() == "inodes" {
            let all = entries_of(&directory);
            return Some((
                uid_of(&pod),
                Taken {
                    all,
                    containers: BTreeMap::new(),
                },
            ));
        }
        let taken = measure(&pod.typed().ok()?, &directory);
        let all = taken.volumes + taken.containers.values().sum::<u64>();
        let containers = taken.containers;
        Some((uid_of(&pod), Taken { all, containers }))
    };
    let walked = tokio::task::spawn_blocking(move || pods.into_iter().filter_map(of_pod).collect());
    walked.await.expect("measuring does not panic")
}

/// Whether a pod that was evicted has not ended yet.
pub(super) async fn is_evicted_one_alive(rooms: &Rooms) -> bool {
    let kind = crate::model::kind("v1", "Pod").expect("in the table");
    let pods = rooms.store.list(kind, None).items.into_iter();
    let evicted: Vec<_> = pods
        .filter(|pod| pod.text("/status/reason") == REASON)
        .map(|pod| uid_of(&pod))
        .collect();
    let all = rooms.runtime.list().await.unwrap_or_default();
    all.iter()
        .any(|sandbox| sandbox.alive && evicted.contains(&sandbox.config.uid))
}

/// Removes what pods that have ended keep on the disk and nobody can reach any more: what their containers wrote into their roots, and
/// their emptyDirs. The records stay; so do logs, but for those of evicted pods, which may have been what filled the disk.
pub(super) async fn remove_ended(rooms: &Rooms) {
    let alive: Vec<PodUid> = match rooms.runtime.list().await {
        Ok(all) => all.into_iter().filter(|s| s.alive).map(|s| s.config.uid).collect(),
        // Who runs is not known.
        Err(_) => return,
    };
    let kind = crate::model::kind("v1", "Pod").expect("in the table");
    let pods = rooms.store.list(kind, None).items.into_iter();
    let ended: Vec<_> = pods
        .filter(|pod| is_terminal(pod) && !alive.contains(&uid_of(pod)))
        .collect();
    let pods_dir = rooms.host.pods_dir.clone();
    let removed = tokio::task::spawn_blocking(move || {
        for pod in ended {
            remove_of(&pod, &pods_dir.join(pod.uid()));
        }
    });
    removed.await.expect("removing does not panic");
}

fn remove_of(pod: &Object, directory: &Path) {
    let below = |dir: &Path| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let attempts = below(&directory.join("containers")).flat_map(|container| below(&container).collect::<Vec<_>>());
    let written = attempts.map(|attempt| attempt.join("upper"));
    let volumes = crate::model::list_at(pod.value(), "/spec/volumes").iter();
    let own = volumes.filter(|volume| volume.get("emptyDir").is_some());
    let own = own.map(|volume| directory.join("volumes").join(crate::model::text_at(volume, "/name")));
    let logs = (pod.text("/status/reason") == REASON).then(|| directory.join("logs"));
    for dir in written.chain(own).chain(logs).filter(|dir| size_of(dir) > 0) {
        if let Err(error) = std::fs::remove_dir_all(&dir) {
            tracing::warn!(path = %dir.display(), %error, "what a pod that has ended wrote can't be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_kernel_says_what_is_left() {
        let meminfo = "MemTotal:       1000 kB\nMemFree:         10 kB\nMemAvailable:    400 kB\n";
        let fact = |available, capacity| Some(Fact { available, capacity });
        assert_eq!(memory_in(meminfo), fact(400 << 10, 1000 << 10));
        assert_eq!(memory_in("MemTotal: 1 kB\n"), None, "a kernel before 3.14");
        assert_eq!(
            pids_in(["32768\n", "190000\n"], "0.01 0.05 0.00 3/768 12345\n"),
            fact(32_000, 32_768)
        );
        let here = look(Path::new("/"), Path::new("/no/such/directory"));
        assert!(here[&Signal::NodeFs].capacity > 0 && here[&Signal::Memory].available > 0);
        assert!(!here.contains_key(&Signal::ImageFs));
        let boundless = look(Path::new("/proc"), Path::new("/proc"));
        assert!(
            !boundless.contains_key(&Signal::NodeFs),
            "a file system that says nothing is not full"
        );
    }

    #[test]
    fn what_an_ended_pod_wrote_goes_and_its_logs_stay_unless_it_was_evicted() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = [
            "volumes/v/x",
            "volumes/map/x",
            "containers/a/0/upper/x",
            "containers/a/0/status.json",
            "logs/a/0.log",
        ];
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
            std::fs::write(path, "x").expect("writes");
        }
        let volumes = json!([{"name": "v", "emptyDir": {}}, {"name": "map", "configMap": {"name": "m"}}]);
        for (reason, left) in [
            ("", [false, true, false, true, true]),
            (REASON, [false, true, false, true, false]),
        ] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
                "spec": {"volumes": volumes}, "status": {"reason": reason}});
            remove_of(&Object::new(pod).expect("a pod"), dir.path());
            assert_eq!(files.map(|file| dir.path().join(file).exists()), left, "{reason}");
        }
    }
}
