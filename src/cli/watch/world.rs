//! What `watch` knows: the source, and of all pods and workloads those that belong to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::waiting::{Progress, Row, deployment_row, pod_row, replica_set_row};
use crate::api::own::PullState;
use crate::cli::follow::Change;
use crate::model::{Problem, Severity, SourceStatus, text_at as text, value_at};

/// Everything seen so far.
#[derive(Debug, Default)]
pub struct World {
    /// The status of the source; `None` if there is no source.
    source: Option<SourceStatus>,
    /// Kind, namespace and name of what the source names.
    named: BTreeSet<(String, String, String)>,
    /// Pods, ReplicaSets and Deployments by uid.
    objects: BTreeMap<String, Value>,
    /// The last warning about an object, by its uid.
    troubles: BTreeMap<String, (Option<Timestamp>, String)>,
    /// Images on their way, whoever wants them.
    pulls: Vec<PullState>,
}

/// An object with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `pod/web`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What is told of it.
    pub row: Row,
}

/// How far the source as a whole is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All that the source names is as it should be.
    Ready,
    /// Not yet.
    Waiting,
    /// It will not become so by itself; the reasons, one a line.
    Failed(Vec<String>),
}

impl World {
    /// Takes in a change of the source itself.
    pub fn learn_source(&mut self, change: Change) {
        let source = match change {
            Change::Listed(mut sources) => sources.pop(),
            Change::Changed(source) => Some(source),
            Change::Deleted(_) => None,
        };
        self.source = source.map(|mut source| {
            let status = source.get_mut("status").map(Value::take).unwrap_or_default();
            serde_json::from_value(status).unwrap_or_default()
        });
        let named = self.source.iter().flat_map(|status| &status.objects);
        self.named = named
            .map(|object| (object.kind.clone(), object.namespace.clone(), object.name.clone()))
            .collect();
    }

    /// Takes in a change of pods or workloads; `kind` is the kind of all of them.
    pub fn learn_objects(&mut self, kind: &str, change: Change) {
        let uid = |object: &Value| text(object, "/metadata/uid").to_owned();
        match change {
            Change::Listed(objects) => {
                self.objects.retain(|_, object| text(object, "/kind") != kind);
                self.objects
                    .extend(objects.into_iter().map(|object| (uid(&object), object)));
            }
            Change::Changed(object) => {
                self.objects.insert(uid(&object), object);
            }
            Change::Deleted(object) => {
                self.objects.remove(&uid(&object));
                self.troubles.remove(&uid(&object));
            }
        }
    }

    /// Takes in events: of each object only the last warning counts.
    pub fn learn_events(&mut self, change: Change) {
        let events = match change {
            Change::Listed(events) => events,
            Change::Changed(event) => vec![event],
            Change::Deleted(_) => Vec::new(),
        };
        for event in events.iter().filter(|event| text(event, "/type") == "Warning") {
            let time = ["/lastTimestamp", "/eventTime"]
                .iter()
                .find_map(|field| text(event, field).parse().ok());
            let words = format!("{}: {}", text(event, "/reason"), text(event, "/message").trim());
            let known = self
                .troubles
                .entry(text(event, "/involvedObject/uid").to_owned())
                .or_default();
            if known.0 <= time {
                *known = (time, words);
            }
        }
    }

    /// Takes in which images are on their way.
    pub fn learn_pulls(&mut self, pulls: Vec<PullState>) {
        self.pulls = pulls;
    }

    /// The images on their way that pods of the source wait for.
    #[must_use]
    pub fn pulls(&self) -> Vec<&PullState> {
        let pods = self.pods();
        let lists = ["/spec/initContainers", "/spec/containers"];
        let containers = pods
            .iter()
            .flat_map(|pod| lists.iter().filter_map(|list| value_at(pod, list)?.as_array()))
            .flatten();
        let wanted: BTreeSet<&str> = containers.map(|container| text(container, "/image")).collect();
        self.pulls
            .iter()
            .filter(|pull| wanted.contains(pull.name.as_str()))
            .collect()
    }

    /// Whether the source is there at all.
    #[must_use]
    pub fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// What is wrong in the files.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.source.iter().flat_map(|status| status.problems.clone()).collect()
    }

    /// A line for each pod and workload of the source, owners before what they own.
    #[must_use]
    pub fn lines(&self, now: Timestamp) -> Vec<Line> {
        self.members()
            .into_iter()
            .filter_map(|object| self.line(object, now))
            .collect()
    }

    /// The pods of the source.
    #[must_use]
    pub fn pods(&self) -> Vec<&Value> {
        let mut members = self.members();
        members.retain(|object| text(object, "/kind") == "Pod");
        members
    }

    /// How far it all is.
    #[must_use]
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        let Some(status) = &self.source else {
            return Verdict::Waiting;
        };
        let errors = status
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        let mut failures: Vec<String> = errors.map(ToString::to_string).collect();
        let lines = self.lines(now);
        let failed = lines.iter().filter(|line| line.row.progress == Progress::Failed);
        failures.extend(failed.map(|line| format!("{}: {}: {}", line.name, line.row.status, line.row.waiting_for)));
        if !failures.is_empty() {
            return Verdict::Failed(failures);
        }
        let is_synced = status
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Synced" && condition.status == "True");
        let seen: BTreeSet<_> = self.objects.values().map(name_of).collect();
        let is_complete = self
            .named
            .iter()
            .all(|wanted| !is_shown_kind(&wanted.0) || seen.contains(wanted));
        match is_synced && is_complete && lines.iter().all(|line| line.row.progress == Progress::Ready) {
            true => Verdict::Ready,
            false => Verdict::Waiting,
        }
    }

    fn line(&self, object: &Value, now: Timestamp) -> Option<Line> {
        let trouble = self
            .troubles
            .get(text(object, "/metadata/uid"))
            .map(|(_, words)| words.as_str());
        let row = match text(object, "/kind") {
            "Pod" => pod_row(object, trouble, now),
            "Deployment" => deployment_row(object, trouble, now),
            "ReplicaSet" => replica_set_row(object, trouble, now),
            _ => return None,
        };
        let namespace = text(object, "/metadata/namespace").to_owned();
        Some(Line {
            name: crate::cli::print::name_line(object),
            namespace,
            row,
        })
    }

    /// What the source names and what that owns. ReplicaSets of Deployments are left out: their Deployment speaks for them.
    fn members(&self) -> Vec<&Value> {
        let owned = self.owned();
        let mut roots: Vec<&Value> = self
            .objects
            .values()
            .filter(|object| self.named.contains(&name_of(object)))
            .collect();
        roots.sort_by_key(|object| {
            (
                rank(object),
                text(object, "/metadata/namespace"),
                text(object, "/metadata/name"),
            )
        });
        let (mut members, mut seen) = (Vec::new(), BTreeSet::new());
        for root in roots {
            add_with_owned(&owned, root, false, &mut members, &mut seen);
        }
        members
    }

    /// What each owner's uid owns, the oldest first.
    fn owned(&self) -> Owned<'_> {
        let mut owned = Owned::new();
        for object in self.objects.values() {
            let owners = value_at(object, "/metadata/ownerReferences").and_then(Value::as_array);
            for owner in owners.into_iter().flatten() {
                owned.entry(text(owner, "/uid")).or_default().push(object);
            }
        }
        for objects in owned.values_mut() {
            objects.sort_by_key(|object| {
                (
                    text(object, "/metadata/creationTimestamp"),
                    text(object, "/metadata/name"),
                )
            });
        }
        owned
    }
}

type Owned<'a> = BTreeMap<&'a str, Vec<&'a Value>>;

fn add_with_owned<'a>(
    owned: &Owned<'a>,
    object: &'a Value,
    is_hidden: bool,
    members: &mut Vec<&'a Value>,
    seen: &mut BTreeSet<&'a str>,
) {
    let uid = text(object, "/metadata/uid");
    if !seen.insert(uid) {
        return;
    }
    if !is_hidden {
        members.push(object);
    }
    for object in owned.get(uid).into_iter().flatten() {
        add_with_owned(owned, object, text(object, "/kind") == "ReplicaSet", members, seen);
    }
}

fn rank(object: &Value) -> u8 {
    match text(object, "/kind") {
        "Deployment" => 0,
        "ReplicaSet" => 1,
        _ => 2,
    }
}

fn is_shown_kind(kind: &str) -> bool {
    matches!(kind, "Pod" | "Deployment" | "ReplicaSet")
}

fn name_of(object: &Value) -> (String, String, String) {
    let field = |pointer| text(object, pointer).to_owned();
    (field("/kind"), field("/metadata/namespace"), field("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn world(status: Value, objects: Value) -> World {
        let mut world = World::default();
        world.learn_source(Change::Listed(vec![json!({"status": status})]));
        let Value::Array(objects) = objects else {
            panic!("a list")
        };
        for object in objects {
            let kind = text(&object, "/kind").to_owned();
            world.learn_objects(&kind, Change::Changed(object));
        }
        world
    }

    fn object(kind: &str, name: &str, owner: Option<&str>, status: Value) -> Value {
        let version = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "uid": name, "namespace": "default",
            "ownerReferences": owner.map(|uid| vec![json!({"uid": uid})])}, "spec": {"replicas": 1}, "status": status})
    }

    fn named(kind: &str, name: &str) -> Value {
        json!({"kind": kind, "name": name, "namespace": "default"})
    }

    fn ready() -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    }

    fn synced(objects: &[Value]) -> Value {
        json!({"objects": objects, "conditions": [{"type": "Synced", "status": "True", "reason": "Synced", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn a_source_shows_what_it_names_and_what_that_owns() {
        let available = json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1});
        let world = world(
            synced(&[named("Pod", "db"), named("Deployment", "web")]),
            json!([
                object("Pod", "db", None, ready()),
                object("Deployment", "web", None, available),
                object("ReplicaSet", "web-1", Some("web"), json!({})),
                object("Pod", "web-1-a", Some("web-1"), ready()),
                object("Pod", "stranger", None, json!({"phase": "Pending"})),
            ]),
        );
        let names: Vec<String> = world.lines(now()).into_iter().map(|line| line.name).collect();
        assert_eq!(names, ["deployment.apps/web", "pod/web-1-a", "pod/db"]);
        assert_eq!(world.verdict(now()), Verdict::Ready);
    }

    #[test]
    fn nothing_is_ready_before_it_is_there() {
        let waiting = world(synced(&[named("Pod", "db")]), json!([]));
        assert_eq!(waiting.verdict(now()), Verdict::Waiting);
        let unread = world(json!({}), json!([]));
        assert_eq!(unread.verdict(now()), Verdict::Waiting);
    }

    #[test]
    fn errors_in_files_and_failed_pods_are_failures() {
        let problem = json!({"severity": "error", "file": "a.yaml", "line": 3, "message": "bad"});
        let broken = world(json!({"problems": [problem]}), json!([]));
        assert_eq!(broken.verdict(now()), Verdict::Failed(vec!["a.yaml:3: bad".into()]));
        let failed = world(
            synced(&[named("Pod", "db")]),
            json!([object("Pod", "db", None, json!({"phase": "Failed"}))]),
        );
        assert!(matches!(failed.verdict(now()), Verdict::Failed(why) if why[0].starts_with("pod/db: Failed")));
    }

    #[test]
    fn a_new_list_forgets_what_is_not_in_it() {
        let mut world = world(
            synced(&[named("Pod", "db")]),
            json!([object("Pod", "db", None, ready())]),
        );
        world.learn_objects("Pod", Change::Listed(Vec::new()));
        assert_eq!(world.lines(now()), []);
    }

    #[test]
    fn the_last_warning_about_a_pod_is_what_it_waits_for() {
        let mut world = world(
            synced(&[named("Pod", "db")]),
            json!([object("Pod", "db", None, json!({"phase": "Pending"}))]),
        );
        let event = |time: &str, reason: &str| json!({"type": "Warning", "reason": reason, "message": "m", "lastTimestamp": time, "involvedObject": {"uid": "db"}});
        let events = vec![
            event("2026-01-01T00:00:02Z", "FailedMount"),
            event("2026-01-01T00:00:01Z", "Older"),
        ];
        world.learn_events(Change::Listed(events));
        assert_eq!(world.lines(now())[0].row.waiting_for, "FailedMount: m");
    }
}
