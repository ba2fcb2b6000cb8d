//! Watching one object until something holds: what `wait`, `delete` and `down` have in common.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use kube::core::WatchEvent;
use serde_json::Value;

use super::client::{Node, Resource, items_of};
use super::error::{CliError, Result};

/// Looks at `object` now and after every change, until `decide` answers; it gets `None` while there is no such object.
///
/// # Errors
/// What the node says, or that it went away. There is no time-out here: see [`within`].
pub async fn until<T>(node: &Node, object: &Resource, mut decide: impl FnMut(Option<&Value>) -> Option<T>) -> Result<T> {
    let collection = Resource { name: None, ..object.clone() };
    let name = object.name.as_deref().unwrap_or_default();
    let mut query = vec![("fieldSelector", format!("metadata.name={name}"))];
    loop {
        let list = node.get(&collection, &query).await?;
        let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or("0").to_owned();
        let found = items_of(list, object.kind).pop();
        if let Some(answer) = decide(found.as_ref()) {
            return Ok(answer);
        }
        query.truncate(1);
        query.push(("resourceVersion", version));
        let mut events = node.watch(&collection, &query, "application/json").await?;
        query.truncate(1);
        while let Some(event) = events.next().await {
            let answer = match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => decide(Some(&object)),
                WatchEvent::Deleted(_) => decide(None),
                WatchEvent::Bookmark(_) => None,
                // The version is too old to watch from: list again.
                WatchEvent::Error(status) if status.code == 410 => break,
                WatchEvent::Error(status) => return Err(CliError::from_status(&status)),
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
    }
}

/// Until this very object is gone: a later one of the same name, with another uid, does not count.
///
/// # Errors
/// As [`until`].
pub async fn until_gone(node: &Node, object: &Resource, uid: &str) -> Result {
    let is_gone = |found: Option<&Value>| match found {
        None => Some(()),
        Some(found) => {
            let found_uid = found.pointer("/metadata/uid").and_then(Value::as_str);
            (!uid.is_empty() && found_uid != Some(uid)).then_some(())
        }
    };
    until(node, object, is_gone).await
}

/// The answer of `work`, or `None` when the time is over first; no limit is no limit.
///
/// # Errors
/// Those of `work`.
pub async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    match limit {
        None => work.await.map(Some),
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(answer) => answer.map(Some),
            Err(_) => Ok(None),
        },
    }
}
