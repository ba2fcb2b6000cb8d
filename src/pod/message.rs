//! Termination messages: what a container wrote into a file of its own before it ended, or the end of its log when it failed and wrote
//! nothing (kubelet `getTerminationMessage`). The file lies in the pod's directory and is mounted into the container.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::ephemeral::ephemeral_containers;
use super::plan::{container, containers, init_containers};
use crate::runtime::{ContainerId, ContainerState, ContainerStatus, Mount, SandboxStatus};

/// The most of a file that is read (kubelet `MaxContainerTerminationMessageLength`).
const MAX_MESSAGE: usize = 4 << 10;
/// What all containers of a pod may say together (`MaxPodTerminationMessageLogLength`): it is kept in the pod's status.
const MAX_OF_POD: usize = 12 << 10;
/// The most of a log (`MaxContainerTerminationMessageLogLength`), in bytes and in lines.
const MAX_OF_LOG: usize = 2 << 10;
const MAX_LINES: usize = 80;
/// How far back a log is read for that: the runtime's lines are shorter than the largest pipe's page, so this holds many.
const LOG_TAIL: usize = 64 << 10;

/// Makes the file for a run and says how it is mounted. The file of the run before the last is of no more use.
///
/// # Errors
/// When the disk does not do it.
pub(super) fn prepare(directory: &Path, container: &Container, attempt: u32) -> io::Result<Mount> {
    let file = path(directory, &container.name, attempt);
    if let Some(old) = attempt.checked_sub(2) {
        let _ = fs::remove_file(path(directory, &container.name, old));
    }
    fs::create_dir_all(file.parent().expect("it lies in a directory"))?;
    File::create(&file)?;
    // Whoever the container runs as writes here.
    fs::set_permissions(&file, Permissions::from_mode(0o666))?;
    let place = container.termination_message_path.as_deref().unwrap_or_default();
    let place = if place.is_empty() {
        "/dev/termination-log"
    } else {
        place
    };
    let place = format!("/{}", place.trim_start_matches('/'));
    Ok(Mount::of_host(place, file, false))
}

fn path(directory: &Path, name: &str, attempt: u32) -> PathBuf {
    directory.join("messages").join(name).join(attempt.to_string())
}

/// Reads the messages of runs that have ended and are not in `known` yet, and forgets those of runs that are no more.
pub(super) fn read_all(
    directory: &Path,
    pod: &Pod,
    observed: Option<&SandboxStatus>,
    known: &mut BTreeMap<ContainerId, String>,
) {
    let runs = observed.map_or(&[][..], |sandbox| &sandbox.containers);
    known.retain(|id, _| runs.iter().any(|run| run.id == *id));
    let count = containers(pod).len() + init_containers(pod).len() + ephemeral_containers(pod).len();
    for run in runs {
        let (Some(container), ContainerState::Exited(exit)) = (container(pod, &run.name), &run.state) else {
            continue;
        };
        if !known.contains_key(&run.id) {
            let limit = MAX_OF_POD / count.max(1);
            let text = read(directory, &container, run, exit.code);
            known.insert(run.id.clone(), cut(&text, limit).to_owned());
        }
    }
}

fn read(directory: &Path, container: &Container, run: &ContainerStatus, code: i32) -> String {
    let own = tail(&path(directory, &run.name, run.attempt), MAX_MESSAGE).unwrap_or_default();
    let falls_back = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if !own.is_empty() || code == 0 || !falls_back {
        return String::from_utf8_lossy(&own).into_owned();
    }
    let log = tail(&run.log_path, LOG_TAIL).unwrap_or_default();
    end_of_log(&String::from_utf8_lossy(&log))
}

/// The last bytes of a file.
fn tail(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most as u64)))?;
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last words in a piece of a log in CRI's format: `time stream tag text`, where the tag `P` says that the line goes on.
fn end_of_log(log: &str) -> String {
    let mut text = String::new();
    for line in log.lines() {
        let mut parts = line.splitn(4, ' ').skip(1);
        let (Some("stdout" | "stderr"), Some(tag), Some(content)) = (parts.next(), parts.next(), parts.next()) else {
            // The first line may have been cut.
            continue;
        };
        text.push_str(content);
        if tag != "P" {
            text.push('\n');
        }
    }
    let start = text
        .match_indices('\n')
        .rev()
        .nth(MAX_LINES)
        .map_or(0, |(at, _)| at + 1);
    let start = start.max(text.len().saturating_sub(MAX_OF_LOG));
    let start = (start..text.len()).find(|at| text.is_char_boundary(*at));
    start.map_or(String::new(), |start| text.split_off(start))
}

fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn run(log: &Path) -> ContainerStatus {
        ContainerStatus {
            id: ContainerId("r".into()),
            name: "c".into(),
            attempt: 0,
            image: String::new(),
            image_id: String::new(),
            annotations: BTreeMap::new(),
            log_path: log.to_owned(),
            state: ContainerState::Created,
        }
    }

    fn container(policy: &str) -> Container {
        serde_json::from_value(json!({"name": "c", "terminationMessagePolicy": policy})).expect("a container")
    }

    #[test]
    fn the_file_counts_and_the_log_only_after_a_failure_without_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        fs::write(&log, "t stdout F one\nt stderr P tw\nt stderr F o\n").expect("writes");
        let mount = prepare(dir.path(), &container("File"), 0).expect("can be made");
        assert_eq!(mount.container_path, "/dev/termination-log");
        let said = |policy: &str, code| read(dir.path(), &container(policy), &run(&log), code);
        assert_eq!(said("FallbackToLogsOnError", 1), "one\ntwo\n");
        assert_eq!(said("FallbackToLogsOnError", 0), "");
        assert_eq!(said("File", 1), "");
        fs::write(&mount.host_path, "why").expect("writes");
        assert_eq!(said("FallbackToLogsOnError", 1), "why");
        fs::write(&mount.host_path, [b"x".repeat(5000), b"end".to_vec()].concat()).expect("writes");
        let long = said("File", 0);
        assert_eq!((long.len(), &long[4093..]), (4096, "end"));
        fs::write(&mount.host_path, b"\xff").expect("writes");
        assert_eq!(said("File", 0), "\u{fffd}");
    }

    #[test]
    fn the_end_of_a_log_is_eighty_lines_and_two_kibibytes() {
        let lines: String = (0..200).map(|n| format!("t stdout F {n}\n")).collect();
        let end = end_of_log(&lines);
        assert_eq!((end.lines().next(), end.lines().count()), (Some("120"), 80));
        let wide = end_of_log(&format!("t stdout F {}\n", "ä".repeat(4000)));
        assert!(wide.len() <= 2048 && wide.ends_with("ä\n"), "{}", wide.len());
        assert_eq!(end_of_log("half a line\nt stdout F x\n"), "x\n");
        assert_eq!(end_of_log(""), "");
    }

    #[test]
    fn only_the_files_of_the_last_two_runs_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        for attempt in 0..4 {
            prepare(dir.path(), &container("File"), attempt).expect("can be made");
        }
        let mut left: Vec<_> = fs::read_dir(dir.path().join("messages/c"))
            .expect("is there")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["2", "3"]);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!((cut("aä", 2), cut("aä", 3), cut("", 5)), ("a", "aä", ""));
    }
}
