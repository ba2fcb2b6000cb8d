//! What a source's object says about it: what it holds, what is wrong, whether all of it is in the store.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::admit;
use crate::model::{self, Key, Object, Problem, Severity, SourceObject, SourceStatus};
use crate::source::{Applied, Listing, Noticing};
use crate::store::Store;

/// Writes the status if it says anything new.
pub(super) fn write(
    store: &Store,
    source: &Key,
    listing: &Listing,
    applied: &BTreeMap<Key, Applied>,
    problems: Vec<admit::Problem>,
    now: Timestamp,
) {
    let said = store.get(source).map(|source| status_of(&source)).unwrap_or_default();
    let held = |(key, applied)| held(store, listing, &said, key, applied);
    let objects: Vec<_> = applied.iter().filter_map(held).collect();
    let problems: Vec<_> = problems.into_iter().map(worded).collect();
    let write = |object: &mut Object| {
        let old = status_of(object);
        let generation = object.generation();
        let condition = condition(listing, &problems, &old, generation, now);
        let is_same = old.objects == objects && old.problems == problems && old.conditions.first() == Some(&condition);
        if is_same && old.observed_generation == generation {
            return;
        }
        let status = SourceStatus {
            observed_generation: generation,
            conditions: vec![condition],
            last_change_time: Some(Time(model::whole_second(now))),
            objects: objects.clone(),
            problems: problems.clone(),
        };
        object.value_mut()["status"] = serde_json::to_value(status).expect("field names are text");
    };
    // A source that is gone needs no status.
    let _ = store.update_status(source, write);
}

/// What a source says of itself; nothing if it has not said anything yet.
pub(super) fn status_of(source: &Object) -> SourceStatus {
    let status = source
        .at("/status")
        .map(|status| serde_json::from_value(status.clone()));
    status.and_then(Result::ok).unwrap_or_default()
}

/// Where a source says an object is written.
pub(super) fn origin_of(source: &Object, key: &Key) -> Option<String> {
    let status = status_of(source);
    let is_it = |o: &&SourceObject| o.kind == key.kind().kind && o.namespace == key.namespace && o.name == key.name;
    status
        .objects
        .iter()
        .find(is_it)
        .map(|object| object.origin.clone())
        .filter(|origin| !origin.is_empty())
}

fn held(store: &Store, listing: &Listing, old: &SourceStatus, key: &Key, applied: &Applied) -> Option<SourceObject> {
    let live = store.get(key).filter(|live| live.uid() == applied.uid)?;
    let named = listing
        .objects
        .iter()
        .chain(&listing.last_good)
        .find(|object| object.key == *key);
    let before = || old.objects.iter().find(|o| o.uid == applied.uid);
    Some(SourceObject {
        api_version: key.kind().api_version(),
        kind: key.kind().kind.to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: live.uid().to_owned(),
        // What cannot be read now is written where it was.
        origin: match named {
            Some(object) => format!("{}:{}", object.location.file.display(), object.location.at.line),
            None => before().map(|o| o.origin.clone()).unwrap_or_default(),
        },
        path: applied.origin.display().to_string(),
        digest: applied
            .digest
            .map(|digest| format!("{digest:016x}"))
            .unwrap_or_default(),
    })
}

fn worded(problem: admit::Problem) -> Problem {
    let (excerpt, _) = problem.excerpt();
    Problem {
        severity: match problem.severity {
            admit::Severity::Error => Severity::Error,
            admit::Severity::Warning => Severity::Warning,
        },
        file: problem.location.file.display().to_string(),
        line: problem.location.at.line,
        column: problem.location.at.column,
        message: problem.message,
        excerpt,
    }
}

fn condition(
    listing: &Listing,
    problems: &[Problem],
    old: &SourceStatus,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
    let (status, reason, message) = if !listing.complete {
        (
            "False",
            "NotRead",
            problems.first().map(ToString::to_string).unwrap_or_default(),
        )
    } else if errors > 0 {
        let first = problems
            .iter()
            .find(|p| p.severity == Severity::Error)
            .map(ToString::to_string)
            .unwrap_or_default();
        let rest = if errors > 1 {
            format!(" (and {} more)", errors - 1)
        } else {
            String::new()
        };
        ("False", "Invalid", format!("{first}{rest}"))
    } else {
        let noticed = match &listing.noticing {
            Noticing::Events | Noticing::Never => String::new(),
            Noticing::Polling(why) => format!("; changes are polled for: {why}"),
        };
        let (files, objects) = (listing.files_read, listing.objects.len());
        (
            "True",
            "Applied",
            format!("{objects} objects from {files} files{noticed}"),
        )
    };
    let before = old.conditions.first().filter(|c| c.status == status);
    Condition {
        type_: "Synced".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: before.map_or_else(|| Time(model::whole_second(now)), |c| c.last_transition_time.clone()),
    }
}
