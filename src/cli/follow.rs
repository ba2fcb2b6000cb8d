//! Watching objects: until something holds for one, until all are gone, or every change as it comes. What `wait`, `delete`,
//! `down` and `watch` have in common.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::{StreamExt, future};
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::mpsc;

use super::client::{Node, Resource, items_of};
use super::error::{CliError, Result};
use crate::model::Kind;

/// Looks at `object` now and after every change, until `decide` answers; it gets `None` while there is no such object.
///
/// # Errors
/// What the node says, or that it went away. There is no time-out here: see [`within`].
pub async fn until<T>(
    node: &Node,
    object: &Resource,
    mut decide: impl FnMut(Option<&Value>) -> Option<T>,
) -> Result<T> {
    let collection = Resource {
        name: None,
        ..object.clone()
    };
    let name = object.name.as_deref().unwrap_or_default();
    let mut changes = changes(
        node,
        collection,
        vec![("fieldSelector", format!("metadata.name={name}"))],
    );
    while let Some(change) = changes.recv().await {
        let answer = match change? {
            Change::Listed(objects) => decide(objects.first()),
            Change::Changed(object) => decide(Some(&object)),
            Change::Deleted(_) => decide(None),
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
    Err(CliError::new(super::error::ErrorKind::NoNode, "the watch ended"))
}

/// An object that is to go, with its uid: a later one of the same name does not count.
pub type Doomed = (Resource, String);

/// Until all of the objects are gone; `tell` hears of each. One watch for each kind, however many objects there are.
///
/// # Errors
/// What the node says, or that it went away.
pub async fn until_all_gone(node: &Node, doomed: &[Doomed], tell: impl Fn(&Resource) -> Result) -> Result {
    let mut kinds: Vec<&'static Kind> = Vec::new();
    for (resource, _) in doomed {
        if !kinds.contains(&resource.kind) {
            kinds.push(resource.kind);
        }
    }
    let of_kind = |kind: &'static Kind| {
        let waiting = doomed.iter().filter(|(resource, _)| resource.kind == kind);
        until_kind_gone(
            node,
            kind,
            waiting
                .map(|(resource, uid)| (place_of(resource), (uid, resource)))
                .collect(),
            &tell,
        )
    };
    future::try_join_all(kinds.into_iter().map(of_kind)).await.map(drop)
}

type Place = (String, String);

fn place_of(resource: &Resource) -> Place {
    (
        resource.namespace.clone().unwrap_or_default(),
        resource.name.clone().unwrap_or_default(),
    )
}

async fn until_kind_gone(
    node: &Node,
    kind: &'static Kind,
    mut waiting: BTreeMap<Place, (&String, &Resource)>,
    tell: &impl Fn(&Resource) -> Result,
) -> Result {
    let text = |object: &Value, field: &str| {
        object
            .pointer(&format!("/metadata/{field}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let place = |object: &Value| (text(object, "namespace"), text(object, "name"));
    let is_same = |object: &Value, uid: &str| uid.is_empty() || text(object, "uid") == uid;
    let mut changes = changes(node, Resource::collection(kind, None), Vec::new());
    while !waiting.is_empty() {
        let Some(change) = changes.recv().await else { break };
        let gone: Vec<Place> = match change? {
            Change::Listed(objects) => {
                let there: BTreeMap<Place, Value> =
                    objects.into_iter().map(|object| (place(&object), object)).collect();
                let is_gone = |(place, (uid, _)): &(&Place, &(&String, &Resource))| {
                    there.get(*place).is_none_or(|object| !is_same(object, uid))
                };
                waiting.iter().filter(is_gone).map(|(place, _)| place.clone()).collect()
            }
            Change::Deleted(object) => vec![place(&object)],
            Change::Changed(object) => {
                let place = place(&object);
                let is_another = waiting.get(&place).is_some_and(|(uid, _)| !is_same(&object, uid));
                if is_another { vec![place] } else { Vec::new() }
            }
        };
        for place in gone {
            if let Some((_, resource)) = waiting.remove(&place) {
                tell(resource)?;
            }
        }
    }
    Ok(())
}

/// What happened in a collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// All there is; what is not among it is gone.
    Listed(Vec<Value>),
    /// An object is new or different.
    Changed(Value),
    /// An object is gone; this was its last state.
    Deleted(Value),
}

/// Every change of a collection, beginning with a list, until the receiver is dropped. After an error there is nothing more.
pub fn changes(
    node: &Node,
    collection: Resource,
    query: Vec<(&'static str, String)>,
) -> mpsc::Receiver<Result<Change>> {
    // Enough that a burst does not stop the reading; what is beyond waits in the socket.
    let (sender, receiver) = mpsc::channel(64);
    let node = node.clone();
    tokio::spawn(async move {
        if let Err(error) = send_changes(&node, &collection, query, &sender).await {
            // Nobody listens any more: then nobody misses it.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

/// Returns when the receiver is gone.
async fn send_changes(
    node: &Node,
    collection: &Resource,
    mut query: Vec<(&'static str, String)>,
    sender: &mpsc::Sender<Result<Change>>,
) -> Result {
    let selectors = query.len();
    loop {
        query.truncate(selectors);
        let list = node.get(collection, &query).await?;
        let version = list
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .unwrap_or("0")
            .to_owned();
        if sender
            .send(Ok(Change::Listed(items_of(list, collection.kind))))
            .await
            .is_err()
        {
            return Ok(());
        }
        query.push(("resourceVersion", version));
        let mut events = node.watch(collection, &query, "application/json").await?;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => return Ok(()),
            };
            let change = match event.transpose()? {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Change::Changed(object),
                Some(WatchEvent::Deleted(object)) => Change::Deleted(object),
                Some(WatchEvent::Bookmark(_)) => continue,
                // The version is too old to watch from, or the watch had its time: list again.
                Some(WatchEvent::Error(status)) if status.code == 410 => break,
                Some(WatchEvent::Error(status)) => return Err(CliError::from_status(&status)),
                None => break,
            };
            if sender.send(Ok(change)).await.is_err() {
                return Ok(());
            }
        }
    }
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
