//! What a pod or a workload is waiting for, and whether it has arrived. Pure: objects in, words out.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::table::age::{age, human_duration};
use crate::api::table::pods::summarize;
use crate::cli::wait::has_condition;
use crate::model::{list_at as list, number_at as number, text_at as text, value_at};

/// One line of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `2/3`.
    pub ready: String,
    /// A word.
    pub status: String,
    /// Only pods restart.
    pub restarts: String,
    /// Since it was made.
    pub age: String,
    /// What keeps it; empty when nothing does.
    pub waiting_for: String,
    /// How far it is.
    pub progress: Progress,
}

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is as it should be.
    Ready,
    /// It may still become so.
    Waiting,
    /// It will not become so by itself.
    Failed,
}

fn age_of(object: &Value, now: Timestamp) -> String {
    age(text(object, "/metadata/creationTimestamp").parse().ok(), now)
}

/// The line of a pod; `trouble` is the last warning event about it.
#[must_use]
pub fn pod_row(pod: &Value, trouble: Option<&str>, now: Timestamp) -> Row {
    let summary = summarize(pod);
    let progress = pod_progress(pod);
    Row {
        ready: format!("{}/{}", summary.ready, summary.total),
        restarts: summary.restarts.to_string(),
        age: age_of(pod, now),
        waiting_for: if progress == Progress::Ready {
            String::new()
        } else {
            pod_waits_for(pod, trouble)
        },
        status: if summary.status.is_empty() {
            "Pending".to_owned()
        } else {
            summary.status
        },
        progress,
    }
}

fn pod_progress(pod: &Value) -> Progress {
    let is_deleting = value_at(pod, "/metadata/deletionTimestamp").is_some();
    match text(pod, "/status/phase") {
        _ if is_deleting => Progress::Waiting,
        "Succeeded" => Progress::Ready,
        "Failed" => Progress::Failed,
        "Running" if has_condition(pod, "Ready", "True") => Progress::Ready,
        _ if all_statuses(pod).any(|status| is_hopeless(text(status, "/state/waiting/reason"))) => Progress::Failed,
        _ => Progress::Waiting,
    }
}

/// Without someone's help these stay as they are: nothing is tried again that could end otherwise.
fn is_hopeless(reason: &str) -> bool {
    matches!(reason, "ErrImageNeverPull" | "InvalidImageName")
}

fn all_statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/status/initContainerStatuses")
        .iter()
        .chain(list(pod, "/status/containerStatuses"))
}

fn pod_waits_for(pod: &Value, trouble: Option<&str>) -> String {
    if value_at(pod, "/metadata/deletionTimestamp").is_some() {
        let grace = number(pod, "/metadata/deletionGracePeriodSeconds");
        return format!("its containers to end (grace {})", human_duration(grace));
    }
    let unscheduled = list(pod, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "PodScheduled" && text(condition, "/status") == "False");
    if let Some(condition) = unscheduled {
        return join(&[text(condition, "/reason"), text(condition, "/message")]);
    }
    if let Some(words) = init_waits_for(pod).or_else(|| containers_wait_for(pod)) {
        return match trouble {
            // The event says more than `ContainerCreating` can.
            Some(trouble) if words.ends_with("ContainerCreating") || words.ends_with("PodInitializing") => {
                trouble.to_owned()
            }
            _ => words,
        };
    }
    match (trouble, text(pod, "/status/message")) {
        (Some(trouble), _) => trouble.to_owned(),
        (None, "") if text(pod, "/status/phase") == "Running" => "readiness".to_owned(),
        (None, "") => "the node to begin".to_owned(),
        (None, message) => message.to_owned(),
    }
}

/// The first init container that is not done.
fn init_waits_for(pod: &Value) -> Option<String> {
    if has_condition(pod, "Initialized", "True") {
        return None;
    }
    let total = list(pod, "/spec/initContainers").len();
    let is_done = |status: &&Value| {
        let is_over = value_at(status, "/state/terminated").is_some_and(|state| number(state, "/exitCode") == 0);
        is_over || status.get("started") == Some(&Value::Bool(true)) && status.get("ready") == Some(&Value::Bool(true))
    };
    let mut statuses = list(pod, "/status/initContainerStatuses").iter().enumerate();
    let (place, status) = statuses.find(|(_, status)| !is_done(status))?;
    let name = format!("init container {} ({} of {total})", text(status, "/name"), place + 1);
    Some(match container_trouble(status) {
        Some(trouble) => format!("{name}: {trouble}"),
        None => name,
    })
}

/// The first container that is in trouble, or else the first that is not ready.
fn containers_wait_for(pod: &Value) -> Option<String> {
    let statuses = list(pod, "/status/containerStatuses");
    let in_trouble = statuses
        .iter()
        .find_map(|status| Some((status, container_trouble(status)?)));
    if let Some((status, trouble)) = in_trouble {
        return Some(format!("{}: {trouble}", text(status, "/name")));
    }
    let unready = statuses
        .iter()
        .find(|status| status.get("ready") == Some(&Value::Bool(false)))?;
    let is_started = unready.get("started") != Some(&Value::Bool(false));
    Some(format!(
        "{}: {}",
        text(unready, "/name"),
        if is_started { "readiness" } else { "start-up" }
    ))
}

fn container_trouble(status: &Value) -> Option<String> {
    if let Some(waiting) = value_at(status, "/state/waiting") {
        let last = value_at(status, "/lastState/terminated").map(ended).unwrap_or_default();
        let message = text(waiting, "/message");
        return Some(join(&[
            text(waiting, "/reason"),
            if message.is_empty() { &last } else { message },
        ]));
    }
    value_at(status, "/state/terminated")
        .filter(|state| number(state, "/exitCode") != 0)
        .map(ended)
}

fn ended(state: &Value) -> String {
    let how = match number(state, "/signal") {
        0 => format!("exited with {}", number(state, "/exitCode")),
        signal => format!("killed by signal {signal}"),
    };
    match text(state, "/reason") {
        "" | "Error" => how,
        reason => format!("{reason}, {how}"),
    }
}

fn join(words: &[&str]) -> String {
    words
        .iter()
        .filter(|word| !word.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(": ")
}

/// The line of a Deployment.
#[must_use]
pub fn deployment_row(deployment: &Value, trouble: Option<&str>, now: Timestamp) -> Row {
    let wanted = deployment
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let count = |field: &str| number(deployment, &format!("/status/{field}"));
    let is_seen = number(deployment, "/status/observedGeneration") >= number(deployment, "/metadata/generation");
    let (updated, available, all) = (count("updatedReplicas"), count("availableReplicas"), count("replicas"));
    let is_stuck = has_condition(deployment, "Progressing", "False");
    let waiting_for = if deployment.pointer("/metadata/deletionTimestamp").is_some() {
        "its pods to end".to_owned()
    } else if is_stuck {
        condition_message(deployment, "Progressing")
    } else if !is_seen {
        "the node to begin".to_owned()
    } else if updated < wanted {
        format!("{} of {wanted} new replicas to be made", wanted - updated)
    } else if all > updated {
        format!("{} old replicas to end", all - updated)
    } else if available < updated {
        format!("{} of {wanted} replicas to be available", updated - available)
    } else {
        String::new()
    };
    workload_row(deployment, wanted, waiting_for, is_stuck, trouble, now)
}

/// The line of a ReplicaSet.
#[must_use]
pub fn replica_set_row(set: &Value, trouble: Option<&str>, now: Timestamp) -> Row {
    let wanted = set.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let ready = number(set, "/status/readyReplicas");
    let waiting_for = if set.pointer("/metadata/deletionTimestamp").is_some() {
        "its pods to end".to_owned()
    } else if ready < wanted {
        format!("{} of {wanted} replicas to be ready", wanted - ready)
    } else if number(set, "/status/replicas") > wanted {
        "surplus replicas to end".to_owned()
    } else {
        String::new()
    };
    workload_row(set, wanted, waiting_for, false, trouble, now)
}

fn workload_row(
    object: &Value,
    wanted: i64,
    waiting_for: String,
    is_stuck: bool,
    trouble: Option<&str>,
    now: Timestamp,
) -> Row {
    let progress = match (is_stuck, waiting_for.is_empty()) {
        (true, _) => Progress::Failed,
        (false, true) => Progress::Ready,
        (false, false) => Progress::Waiting,
    };
    let status = match progress {
        _ if value_at(object, "/metadata/deletionTimestamp").is_some() => "Terminating",
        Progress::Ready => "Ready",
        Progress::Waiting => "Progressing",
        Progress::Failed => "Failed",
    };
    Row {
        ready: format!("{}/{wanted}", number(object, "/status/readyReplicas")),
        status: status.to_owned(),
        restarts: String::new(),
        age: age_of(object, now),
        waiting_for: match trouble {
            Some(trouble) if progress != Progress::Ready => format!("{waiting_for} ({trouble})"),
            _ => waiting_for,
        },
        progress,
    }
}

fn condition_message(object: &Value, name: &str) -> String {
    let mut conditions = list(object, "/status/conditions").iter();
    let condition = conditions.find(|condition| text(condition, "/type") == name);
    condition
        .map(|condition| join(&[text(condition, "/reason"), text(condition, "/message")]))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"initContainers": [{"name": "i"}, {"name": "j"}],
            "containers": [{"name": "app"}]}, "status": status})
    }

    fn waits(status: Value, trouble: Option<&str>) -> (String, Progress) {
        let row = pod_row(&pod(status), trouble, Timestamp::UNIX_EPOCH);
        (row.waiting_for, row.progress)
    }

    #[test]
    fn a_pod_says_what_it_waits_for() {
        let init = |status: Value| json!({"phase": "Pending", "initContainerStatuses": [status]});
        let ready = json!([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]);
        let initialized = json!([{"type": "Initialized", "status": "True"}]);
        let app =
            |container: Value| json!({"phase": "Running", "conditions": initialized, "containerStatuses": [container]});
        let cases = [
            (
                json!({"phase": "Pending"}),
                None,
                "the node to begin",
                Progress::Waiting,
            ),
            (
                json!({"phase": "Pending"}),
                Some("FailedMount: no such secret"),
                "FailedMount: no such secret",
                Progress::Waiting,
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": "no room"}]}),
                None,
                "Unschedulable: no room",
                Progress::Waiting,
            ),
            (
                init(json!({"name": "i", "state": {"running": {}}})),
                None,
                "init container i (1 of 2)",
                Progress::Waiting,
            ),
            (
                init(json!({"name": "i", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}})),
                None,
                "init container i (1 of 2): exited with 3",
                Progress::Waiting,
            ),
            (
                app(
                    json!({"name": "app", "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 137, "signal": 9, "reason": "OOMKilled"}}}),
                ),
                None,
                "app: CrashLoopBackOff: OOMKilled, killed by signal 9",
                Progress::Waiting,
            ),
            (
                app(
                    json!({"name": "app", "ready": false, "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "not there"}}}),
                ),
                None,
                "app: ErrImageNeverPull: not there",
                Progress::Failed,
            ),
            (
                app(json!({"name": "app", "ready": false, "state": {"waiting": {"reason": "ContainerCreating"}}})),
                Some("FailedMount: x"),
                "FailedMount: x",
                Progress::Waiting,
            ),
            (
                app(json!({"name": "app", "ready": false, "started": true, "state": {"running": {}}})),
                None,
                "app: readiness",
                Progress::Waiting,
            ),
            (
                json!({"phase": "Running", "conditions": ready}),
                Some("Old: news"),
                "",
                Progress::Ready,
            ),
            (json!({"phase": "Succeeded"}), None, "", Progress::Ready),
            (
                json!({"phase": "Failed", "conditions": initialized,
                    "containerStatuses": [{"name": "app", "state": {"terminated": {"exitCode": 1}}}]}),
                None,
                "app: exited with 1",
                Progress::Failed,
            ),
        ];
        for (status, trouble, words, progress) in cases {
            assert_eq!(waits(status.clone(), trouble), (words.to_owned(), progress), "{status}");
        }
    }

    #[test]
    fn a_deleted_pod_waits_for_its_end() {
        let mut pod = pod(json!({"phase": "Running"}));
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        let row = pod_row(&pod, None, Timestamp::UNIX_EPOCH);
        assert_eq!(
            (row.status.as_str(), row.waiting_for.as_str()),
            ("Terminating", "its containers to end (grace 30s)")
        );
    }

    #[test]
    fn a_deployment_waits_for_new_then_old_then_available_replicas() {
        let row = |status: Value| {
            let deployment = json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status});
            let row = deployment_row(&deployment, None, Timestamp::UNIX_EPOCH);
            (row.waiting_for, row.progress)
        };
        let cases = [
            (json!({"observedGeneration": 1}), "the node to begin", Progress::Waiting),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1}),
                "2 of 3 new replicas to be made",
                Progress::Waiting,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3, "availableReplicas": 3}),
                "1 old replicas to end",
                Progress::Waiting,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 1}),
                "2 of 3 replicas to be available",
                Progress::Waiting,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}),
                "",
                Progress::Ready,
            ),
            (
                json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False",
                    "reason": "ProgressDeadlineExceeded", "message": "late"}]}),
                "ProgressDeadlineExceeded: late",
                Progress::Failed,
            ),
        ];
        for (status, words, progress) in cases {
            assert_eq!(row(status), (words.to_owned(), progress));
        }
    }
}
