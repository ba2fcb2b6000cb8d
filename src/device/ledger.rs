//! Which pod has which device. Written beside the pod's other files before it has any, so that it is known to the next node, and goes
//! with the pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;

use super::plan::Allocation;
use super::{Catalogue, Edits, Shortage, Want, look, plan_allocation};
use crate::os;

/// The file in a pod's directory.
const FILE: &str = "devices.json";

/// What the node's settings say of devices, by resource.
pub type Settings = BTreeMap<String, Setting>;

/// What they say of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Setting {
    /// How many containers may have a device at a time.
    pub shared_by: u32,
}

/// Why a pod has not got its devices.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There are not enough.
    #[error(transparent)]
    Short(#[from] Shortage),
    /// It can't be written down.
    #[error("{}: {}", .0.display(), .1)]
    Write(PathBuf, std::io::Error),
}

/// The node's devices, and who has them.
#[derive(Debug)]
pub struct Ledger {
    directories: Vec<PathBuf>,
    settings: Settings,
    pods_dir: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    catalogue: Arc<Catalogue>,
    by_pod: BTreeMap<String, Allocation>,
}

impl Ledger {
    /// Looks at what there is, and who has been given what by an earlier node.
    pub fn open(pods_dir: &Path, directories: Vec<PathBuf>, settings: Settings) -> Self {
        let catalogue = Arc::new(look(&directories, &settings));
        let pods = fs::read_dir(pods_dir).into_iter().flatten().flatten();
        let by_pod = pods.filter_map(|pod| Some((pod.file_name().into_string().ok()?, read(&pod.path())?)));
        let held = Held {
            catalogue,
            by_pod: by_pod.collect(),
        };
        Self {
            directories,
            settings,
            pods_dir: pods_dir.to_owned(),
            held: Mutex::new(held),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panics while they hold it")
    }

    /// What there is, as it was last looked at.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.held().catalogue.clone()
    }

    /// Looks again; whether something has changed.
    pub fn refresh(&self) -> bool {
        let now = look(&self.directories, &self.settings);
        let mut held = self.held();
        let has_changed = *held.catalogue != now;
        if has_changed {
            held.catalogue = Arc::new(now);
        }
        has_changed
    }

    /// Gives a pod what it asks for, unless it has been given it before. Who is over has nothing any more.
    ///
    /// # Errors
    /// There are not enough, or it can't be written down.
    pub fn allocate(&self, pod: &str, wants: &[Want], is_over: impl Fn(&str) -> bool) -> Result<(), LedgerError> {
        if wants.is_empty() {
            return Ok(());
        }
        let mut held = self.held();
        if held.by_pod.contains_key(pod) {
            return Ok(());
        }
        let is_left = |uid: &str| self.pods_dir.join(uid).is_dir() && !is_over(uid);
        held.by_pod.retain(|uid, _| is_left(uid));
        let taken: BTreeSet<_> = held
            .by_pod
            .values()
            .flat_map(BTreeMap::values)
            .flatten()
            .cloned()
            .collect();
        let allocation = plan_allocation(&held.catalogue, &taken, wants)?;
        let directory = self.pods_dir.join(pod);
        write(&directory, &allocation).map_err(|e| LedgerError::Write(directory.join(FILE), e))?;
        held.by_pod.insert(pod.to_owned(), allocation);
        Ok(())
    }

    /// What a container gets with the devices that it was given.
    ///
    /// # Errors
    /// One of them is not there any more.
    pub fn edits(&self, pod: &str, container: &str) -> Result<Edits, String> {
        let held = self.held();
        let shares = held.by_pod.get(pod).and_then(|allocation| allocation.get(container));
        shares.map_or_else(|| Ok(Edits::default()), |shares| held.catalogue.edits(shares))
    }

    /// Takes back what a pod has.
    pub fn release(&self, pod: &str) {
        self.held().by_pod.remove(pod);
    }

    /// Where files are looked for.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }
}

/// What an earlier node wrote down; a file that we did not write tells nothing.
fn read(directory: &Path) -> Option<Allocation> {
    let (file, _) = os::open_regular(&directory.join(FILE)).ok()?;
    serde_json::from_reader(std::io::BufReader::new(file)).ok()
}

fn write(directory: &Path, allocation: &Allocation) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let unfinished = directory.join(".devices.json");
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(allocation)?)?;
    file.sync_data()?;
    fs::rename(unfinished, directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(container: &str) -> Want {
        Want {
            container: container.to_owned(),
            is_passing: false,
            amounts: vec![("a.b/c".to_owned(), 1)],
        }
    }

    #[test]
    fn who_has_what_is_known_to_the_next_node_and_ends_with_the_pod() {
        let dir = tempfile::tempdir().expect("a directory");
        let (specs, pods) = (dir.path().join("cdi"), dir.path().join("pods"));
        fs::create_dir(&specs).expect("made");
        let spec = |device: &str| format!("{{name: {device}, containerEdits: {{env: [WHICH={device}]}}}}");
        let text = |devices: &[&str]| {
            let devices: Vec<_> = devices.iter().map(|device| spec(device)).collect();
            format!("cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{}]\n", devices.join(", "))
        };
        fs::write(specs.join("a.yaml"), text(&["x", "y"])).expect("writes");
        let open = || Ledger::open(&pods, vec![specs.clone()], Settings::new());
        let ledger = open();
        ledger.allocate("one", &[want("c")], |_| false).expect("there are two");
        ledger.allocate("one", &[want("c")], |_| false).expect("has it");
        assert_eq!(ledger.edits("one", "c").expect("is there").env, ["WHICH=x"]);
        assert_eq!(ledger.edits("one", "other").expect("has none"), Edits::default());
        let next = open();
        next.allocate("two", &[want("c")], |_| false).expect("one is left");
        assert_eq!(next.edits("two", "c").expect("is there").env, ["WHICH=y"]);
        assert!(next.allocate("three", &[want("c")], |_| false).is_err());
        next.allocate("three", &[want("c")], |uid| uid == "one")
            .expect("one is over");
        assert_eq!(next.edits("three", "c").expect("is there").env, ["WHICH=x"]);
        fs::remove_dir_all(pods.join("two")).expect("removed");
        next.allocate("four", &[want("c")], |_| false).expect("two is gone");
        next.release("four");
        next.allocate("five", &[want("c")], |_| false).expect("four has gone");
        fs::write(specs.join("a.yaml"), text(&["y"])).expect("writes");
        assert!(next.refresh() && !next.refresh());
        let error = next.edits("three", "c").expect_err("its device is gone");
        assert_eq!(error, "device a.b/c=x is not there any more");
    }

    #[test]
    fn what_others_write_in_its_place_is_no_allocation() {
        let dir = tempfile::tempdir().expect("a directory");
        for (pod, text) in [("a", "["), ("b", "{\"c\": 1}")] {
            fs::create_dir(dir.path().join(pod)).expect("made");
            fs::write(dir.path().join(pod).join(FILE), text).expect("writes");
        }
        let ledger = Ledger::open(dir.path(), Vec::new(), Settings::new());
        assert!(ledger.held().by_pod.is_empty());
    }
}
