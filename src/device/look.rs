//! Finding what there is: files of directories, device nodes of the host, and which of them can be used by whom the node runs as.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::cdi::{self, Spec};
use super::ledger::Settings;
use super::{Catalogue, Class, Device, Edits, Node, NodeKind, OWN_VENDOR};
use crate::os;

/// Files of vendors have some ten kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// More than any machine has; what else lies in a directory is not looked at.
const MAX_FILES: usize = 1024;

/// How many containers may have one of our own at a time: as many as the node takes pods.
const MANY: u32 = 1000;

/// How many problems are told of.
const MAX_PROBLEMS: usize = 100;

/// Devices that any program may share: the class and where its nodes are.
const OWN: [(&str, &str); 4] = [
    ("fuse", "/dev/fuse"),
    ("kvm", "/dev/kvm"),
    ("tun", "/dev/net/tun"),
    ("dri", "/dev/dri"),
];

pub(super) fn look(directories: &[PathBuf], settings: &Settings) -> Catalogue {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for (rank, directory) in directories.iter().enumerate() {
        for path in files_of(directory) {
            match read(&path) {
                Ok(spec) => files.push((rank, path, spec)),
                Err(why) => problems.push(format!("{}: {why}", path.display())),
            }
        }
    }
    let mut classes = assemble(files, &mut problems, settings);
    classes.extend(
        OWN.iter()
            .filter_map(|(class, place)| own_class(class, place, settings)),
    );
    let unknown = settings.keys().filter(|name| !classes.contains_key(*name));
    problems.extend(unknown.map(|name| format!("config.yaml: devices: {name}: no device is called so")));
    problems.truncate(MAX_PROBLEMS);
    Catalogue { classes, problems }
}

/// The files that may be of the interface, by name.
fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| path.extension().is_some_and(|e| e == "json" || e == "yaml");
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(is_one)
        .take(MAX_FILES)
        .collect();
    files.sort();
    files
}

fn read(path: &Path) -> Result<Spec, String> {
    let (file, _) = os::open_regular(path).map_err(|e| e.to_string())?;
    let mut text = String::new();
    let mut bounded = file.take(MAX_FILE + 1);
    bounded.read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err("it is larger than a mebibyte".to_owned());
    }
    cdi::parse(&text, path.extension().is_some_and(|e| e == "json"))
}

/// The classes of all files. A device of a later directory stands in the place of one of the same name; one that two files of the same
/// directory name is neither's.
fn assemble(
    files: Vec<(usize, PathBuf, Spec)>,
    problems: &mut Vec<String>,
    settings: &Settings,
) -> BTreeMap<String, Class> {
    let mut found: BTreeMap<String, Vec<(usize, PathBuf, Device)>> = BTreeMap::new();
    for (rank, path, spec) in files {
        let devices = found.entry(spec.kind.clone()).or_default();
        for (name, own) in spec.devices {
            let device = Device {
                name,
                own,
                common: spec.common.clone(),
                problem: None,
            };
            match devices.iter_mut().find(|(_, _, other)| other.name == device.name) {
                None => devices.push((rank, path.clone(), device)),
                Some(other) if other.0 < rank => *other = (rank, path.clone(), device),
                Some((_, other, present)) => {
                    let why = format!("{} names it too", other.display());
                    let name = &device.name;
                    problems.push(format!("{}: device {}={name}: {why}", path.display(), spec.kind));
                    present.problem = Some("two files of one directory name it".to_owned());
                }
            }
        }
    }
    let class = |(kind, mut devices): (String, Vec<(usize, PathBuf, Device)>)| {
        for (_, path, device) in &mut devices {
            let found = faults(device);
            let lines = found.iter().map(|fault| {
                let name = &device.name;
                format!("{}: device {kind}={name}: {}", path.display(), fault.why)
            });
            problems.extend(lines);
            if let Some(fault) = found.into_iter().find(|fault| fault.is_fatal) {
                device.problem.get_or_insert(fault.why);
            }
        }
        let devices = counted(devices.into_iter().map(|(_, _, device)| device).collect());
        let shared_by = settings.get(&kind).map_or(1, |word| word.shared_by);
        (kind, Class { devices, shared_by })
    };
    found.into_iter().map(class).collect()
}

/// Those that are devices of their own. Vendors give one device several names, and several together another one (`all`); a machine with
/// one of them has one.
fn counted(devices: Vec<Device>) -> Vec<Device> {
    let nodes = |device: &Device| -> BTreeSet<PathBuf> {
        let nodes = device.own.nodes.iter();
        nodes.map(|node| node.host_path.clone()).collect()
    };
    let sets: Vec<_> = devices.iter().map(nodes).collect();
    let is_other_name = |at: usize| {
        (0..at).any(|before| match sets[at].is_empty() {
            true => devices[before].own == devices[at].own,
            false => sets[before] == sets[at],
        })
    };
    let is_bundle = |at: usize| {
        let mut others = sets.iter();
        others.any(|other| !other.is_empty() && other.len() < sets[at].len() && other.is_subset(&sets[at]))
    };
    let is_counted: Vec<_> = (0..devices.len())
        .map(|at| !is_other_name(at) && !is_bundle(at))
        .collect();
    let counted = devices
        .into_iter()
        .zip(is_counted)
        .filter(|(_, is_counted)| *is_counted);
    counted.map(|(device, _)| device).collect()
}

/// What is wrong with a device.
struct Fault {
    why: String,
    /// Whether it can't be had for this.
    is_fatal: bool,
}

/// What is wrong with the nodes of a device. Vendors name some that only members of a group may open (`/dev/dri`), and a container gets on
/// without them; without any of the device's own it has nothing.
fn faults(device: &Device) -> Vec<Fault> {
    let (own, common) = (device.own.nodes.iter(), device.common.nodes.iter());
    let is_useless = !device.own.nodes.is_empty() && own.clone().all(|node| open(node).is_err());
    let of_one = |node: &Node| {
        let gone = present(node).err().map(|why| Fault { why, is_fatal: true });
        let shut = || open(node).err();
        gone.or_else(|| {
            shut().map(|why| Fault {
                why,
                is_fatal: is_useless,
            })
        })
    };
    common.chain(own).filter_map(of_one).collect()
}

/// Whether the host has a node. It is not opened: that does something with many devices.
fn present(node: &Node) -> Result<(), String> {
    let path = &node.host_path;
    let failed = |why: &str| format!("{}: {why}", path.display());
    let kind = fs::metadata(path).map_err(|e| failed(&e.to_string()))?.file_type();
    let found = match (kind.is_char_device(), kind.is_block_device(), kind.is_fifo()) {
        (true, ..) => Some(NodeKind::Character),
        (_, true, _) => Some(NodeKind::Block),
        (.., true) => Some(NodeKind::Pipe),
        _ => None,
    };
    match (found, node.kind) {
        (None, _) => Err(failed("no device")),
        (Some(found), Some(wanted)) if found != wanted => Err(failed("a device of another type")),
        _ => Ok(()),
    }
}

/// Whether whoever the node runs as may open it.
fn open(node: &Node) -> Result<(), String> {
    let path = &node.host_path;
    let access = match node.is_written {
        true => Access::READ_OK | Access::WRITE_OK,
        false => Access::READ_OK,
    };
    let may = accessat(CWD, path, access, AtFlags::EACCESS);
    may.map_err(|e| format!("{}: {}", path.display(), std::io::Error::from(e)))
}

/// One of our own, where the host has what is at that place.
fn own_class(class: &str, place: &str, settings: &Settings) -> Option<(String, Class)> {
    let node = |path: PathBuf| Node {
        path: path.to_string_lossy().into_owned(),
        host_path: path,
        kind: Some(NodeKind::Character),
        is_written: true,
    };
    let mut paths = match fs::read_dir(place) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![PathBuf::from(place)],
    };
    paths.sort();
    let nodes: Vec<_> = paths
        .into_iter()
        .map(node)
        .filter(|node| present(node).and_then(|()| open(node)).is_ok())
        .collect();
    let resource = format!("{OWN_VENDOR}/{class}");
    let shared_by = settings.get(&resource).map_or(MANY, |word| word.shared_by);
    let device = Device {
        name: "0".to_owned(),
        own: Edits {
            nodes,
            ..Edits::default()
        },
        common: Edits::default(),
        problem: None,
    };
    let devices = vec![device];
    (!devices[0].own.nodes.is_empty()).then_some((resource, Class { devices, shared_by }))
}

#[cfg(test)]
mod tests {
    use super::super::Share;
    use super::super::ledger::Setting;
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("writes");
        }
        directory
    }

    fn seen(directories: &[&tempfile::TempDir], settings: &Settings) -> Catalogue {
        let paths: Vec<_> = directories.iter().map(|dir| dir.path().to_owned()).collect();
        look(&paths, settings)
    }

    fn counts(catalogue: &Catalogue) -> Vec<(&str, u64, u64)> {
        let own = |(name, ..): &(&str, u64, u64)| !name.starts_with(OWN_VENDOR);
        catalogue.counts().filter(own).collect()
    }

    const ZERO: &str =
        "cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{name: z, containerEdits: {deviceNodes: [{path: /dev/zero}]}}]\n";

    #[test]
    fn files_are_found_and_what_is_wrong_with_one_is_no_others_matter() {
        let dir = directory(&[("a.yaml", ZERO), ("b.json", "{"), ("c.txt", "x"), ("d.yaml", "kind: 1")]);
        fs::create_dir(dir.path().join("e.yaml")).expect("made");
        let pipe = dir.path().join("f.yaml");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("made");
        fs::write(dir.path().join("g.yaml"), "x".repeat(2 << 20)).expect("writes");
        let catalogue = seen(&[&dir], &Settings::new());
        assert_eq!(counts(&catalogue), [("a.b/c", 1, 1)]);
        let files: Vec<_> = ["b.json", "d.yaml", "e.yaml", "f.yaml", "g.yaml"].into();
        assert_eq!(catalogue.problems.len(), files.len(), "{:#?}", catalogue.problems);
        for (file, problem) in files.iter().zip(&catalogue.problems) {
            assert!(problem.contains(&format!("{file}: ")), "{problem}");
        }
    }

    #[test]
    fn a_later_directory_is_believed_more_and_of_two_files_of_one_none() {
        let other = ZERO.replace("/dev/zero", "/dev/full");
        let (first, second) = (directory(&[("a.yaml", ZERO)]), directory(&[("a.yaml", &other)]));
        let share = Share {
            resource: "a.b/c".to_owned(),
            device: "z".to_owned(),
            place: 0,
        };
        let edits = seen(&[&first, &second], &Settings::new()).edits(std::slice::from_ref(&share));
        assert_eq!(edits.expect("is there").nodes[0].path, "/dev/full");
        let twice = directory(&[("a.yaml", ZERO), ("b.yaml", &other)]);
        let catalogue = seen(&[&twice], &Settings::new());
        assert_eq!(counts(&catalogue), [("a.b/c", 1, 0)]);
        assert!(
            catalogue.problems[0].ends_with("a.yaml names it too"),
            "{:?}",
            catalogue.problems
        );
        let error = catalogue.edits(&[share]).expect_err("is nobody's");
        assert_eq!(error, "device a.b/c=z: two files of one directory name it");
    }

    #[test]
    fn a_device_whose_node_can_not_be_used_is_there_but_not_to_be_had() {
        for (node, why) in [
            ("{path: /dev/nowhere}", "/dev/nowhere: No such file"),
            ("{path: /dev/x, hostPath: /etc/passwd}", "/etc/passwd: no device"),
            ("{path: /dev/zero, type: b}", "/dev/zero: a device of another type"),
        ] {
            let dir = directory(&[("a.yaml", &ZERO.replace("{path: /dev/zero}", node))]);
            let catalogue = seen(&[&dir], &Settings::new());
            assert_eq!(counts(&catalogue), [("a.b/c", 1, 0)], "{node}");
            assert!(catalogue.problems[0].contains(why), "{:?}", catalogue.problems);
        }
    }

    #[test]
    fn a_device_is_had_without_nodes_that_only_others_may_open_but_not_without_all_of_its_own() {
        if rustix::process::geteuid().is_root() {
            println!("root may open everything");
            return;
        }
        let nodes = |nodes: &str| ZERO.replace("{path: /dev/zero}", nodes);
        let host = ["/dev/kmsg", "/dev/mem", "/dev/loop-control", "/dev/fuse"].map(Path::new);
        let node = |path: &Path| Node {
            path: "/dev/x".to_owned(),
            host_path: path.to_owned(),
            kind: None,
            is_written: true,
        };
        let Some(path) = host
            .into_iter()
            .find(|path| present(&node(path)).is_ok() && open(&node(path)).is_err())
        else {
            println!("this host has no device that this user may not open");
            return;
        };
        let shut = format!("{{path: /dev/x, hostPath: {}}}", path.display());
        for (text, usable) in [(nodes(&shut), 0), (nodes(&format!("{shut}, {{path: /dev/zero}}")), 1)] {
            let dir = directory(&[("a.yaml", &text)]);
            let catalogue = seen(&[&dir], &Settings::new());
            assert_eq!(counts(&catalogue), [("a.b/c", 1, usable)], "{text}");
            assert!(
                catalogue.problems[0].contains("Permission denied"),
                "{:?}",
                catalogue.problems
            );
        }
    }

    #[test]
    fn a_device_of_several_names_is_counted_once_and_all_of_them_not_at_all() {
        let device = |name: &str, nodes: &[&str]| {
            let nodes: Vec<_> = nodes.iter().map(|node| format!("{{path: {node}}}")).collect();
            let nodes = nodes.join(", ");
            format!("- {{name: {name}, containerEdits: {{deviceNodes: [{nodes}]}}}}\n")
        };
        let devices = [
            device("all", &["/dev/zero", "/dev/full"]),
            device("n0", &["/dev/zero"]),
            device("n1", &["/dev/full"]),
            device("GPU-0", &["/dev/zero"]),
        ];
        let head = "cdiVersion: 0.6.0\nkind: a.b/c\ncontainerEdits: {deviceNodes: [{path: /dev/null}]}\ndevices:\n";
        let dir = directory(&[("a.yaml", &format!("{head}{}", devices.concat()))]);
        assert_eq!(counts(&seen(&[&dir], &Settings::new())), [("a.b/c", 2, 2)]);
        let settings = Settings::from([("a.b/c".to_owned(), Setting { shared_by: 4 })]);
        assert_eq!(counts(&seen(&[&dir], &settings)), [("a.b/c", 8, 8)]);
        let without_nodes = "cdiVersion: 0.6.0\nkind: a.b/e\ndevices:\n- {name: x, containerEdits: {env: [A=1]}}\n- {name: y, containerEdits: {env: [A=2]}}\n- {name: w, containerEdits: {env: [A=1]}}\n";
        let dir = directory(&[("e.yaml", without_nodes)]);
        assert_eq!(counts(&seen(&[&dir], &Settings::new())), [("a.b/e", 2, 2)]);
    }

    #[test]
    fn settings_about_nothing_are_told() {
        let settings = Settings::from([("a.b/typo".to_owned(), Setting { shared_by: 4 })]);
        let catalogue = look(&[], &settings);
        assert_eq!(
            catalogue.problems,
            ["config.yaml: devices: a.b/typo: no device is called so"]
        );
    }
}
