//! The machine's devices in the node's status, as long as it runs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use crate::device::{self, Catalogue, Ledger};
use crate::event::{EventKind, EventRecorder};
use crate::model::{Key, Object, Paths, kind};
use crate::os;
use crate::store::Store;

/// How often is looked for what no change of a file tells: a device that was unplugged, a directory that came.
const PASS: Duration = Duration::from_secs(60);

/// How long to wait for more after a file changed.
const GATHER: Duration = Duration::from_millis(100);

/// Looks at what there is. The directory for files of the user's own is made, so that it can be watched.
pub(super) fn open(paths: &Paths, config: &Config) -> Arc<Ledger> {
    // Without it there is nothing to be found in it.
    let _ = fs::create_dir_all(device::own_directory(&paths.home));
    let directories = device::directories(&paths.home);
    Arc::new(Ledger::open(&paths.pods, directories, config.devices.clone()))
}

/// Writes into the node's object what there is by now, in place of what there was.
pub(super) fn report(node: &mut Object, now: &Catalogue, before: Option<&Catalogue>) {
    for (list, is_usable) in [("capacity", false), ("allocatable", true)] {
        let resources = &mut node.value_mut()["status"][list];
        for (name, ..) in before.into_iter().flat_map(Catalogue::counts) {
            resources.as_object_mut().and_then(|fields| fields.remove(name));
        }
        for (name, all, usable) in now.counts() {
            let count = if is_usable { usable } else { all };
            resources[name] = count.to_string().into();
        }
    }
}

/// Tells what there is whenever that changes, and what is wrong with it, until `stop`.
pub(super) async fn follow(
    store: Store,
    ledger: Arc<Ledger>,
    recorder: EventRecorder,
    node_name: String,
    stop: CancellationToken,
) {
    let key = Key::new(kind("v1", "Node").expect("in the table"), "", &node_name);
    let mut told = BTreeSet::new();
    let followed = async {
        let queue = match queue() {
            Ok(queue) => Some(queue),
            Err(error) => {
                tracing::warn!(%error, "files of devices are looked at once a minute");
                None
            }
        };
        let mut before = ledger.catalogue();
        loop {
            tell_problems(&store, &recorder, &key, &before, &mut told);
            changed(queue.as_ref(), &ledger).await;
            let looking = ledger.clone();
            let look = tokio::task::spawn_blocking(move || looking.refresh());
            if !look.await.expect("looking does not panic") {
                continue;
            }
            let now = ledger.catalogue();
            let written = store.update_status(&key, |node| report(node, &now, Some(&before)));
            if let Err(error) = written {
                tracing::warn!(%error, "the node's devices are not told");
            }
            before = now;
        }
    };
    let _: Option<()> = stop.run_until_cancelled(followed).await;
}

/// Tells each problem once.
fn tell_problems(store: &Store, recorder: &EventRecorder, key: &Key, seen: &Catalogue, told: &mut BTreeSet<String>) {
    told.retain(|problem| seen.problems.contains(problem));
    let Some(node) = store.get(key) else { return };
    for problem in &seen.problems {
        if told.insert(problem.clone()) {
            recorder.event(&node, EventKind::Warning, "InvalidDevice", problem);
        }
    }
}

fn queue() -> io::Result<AsyncFd<OwnedFd>> {
    os::watch_readable(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)
}

/// Waits until a file has changed, or for a time.
async fn changed(queue: Option<&AsyncFd<OwnedFd>>, ledger: &Ledger) {
    let event = async {
        let Some(queue) = queue else {
            return std::future::pending().await;
        };
        let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::CREATE;
        for directory in ledger.directories() {
            // One that is not there is looked for by the next pass.
            let _ = inotify::add_watch(queue.get_ref(), directory, flags);
        }
        if let Ok(mut ready) = queue.readable().await {
            ready.clear_ready();
        }
        tokio::time::sleep(GATHER).await;
        let mut events = [0; 4096];
        while rustix::io::read(queue.get_ref(), &mut events).is_ok_and(|length| length > 0) {}
    };
    // That the time is over is no less a reason to look.
    let _ = tokio::time::timeout(PASS, event).await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn catalogue(name: &str) -> Catalogue {
        let class = device::Class {
            devices: Vec::new(),
            shared_by: 1,
        };
        Catalogue {
            classes: BTreeMap::from([(name.to_owned(), class)]),
            problems: Vec::new(),
        }
    }

    #[test]
    fn what_is_gone_is_taken_out_of_the_nodes_status_and_the_rest_stays() {
        let resources = json!({"cpu": "2", "hand.made/x": "1"});
        let status = json!({"capacity": resources, "allocatable": resources});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": status});
        let mut node = Object::new(node).expect("a node");
        report(&mut node, &catalogue("a.b/c"), None);
        let before = json!({"cpu": "2", "hand.made/x": "1", "a.b/c": "0"});
        assert_eq!(node.at("/status/capacity"), Some(&before));
        report(&mut node, &catalogue("a.b/d"), Some(&catalogue("a.b/c")));
        let expected = json!({"cpu": "2", "hand.made/x": "1", "a.b/d": "0"});
        assert_eq!(node.at("/status/allocatable"), Some(&expected));
    }
}
