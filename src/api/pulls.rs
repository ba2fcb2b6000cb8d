//! Pulls over HTTP: flows that tell how far they are. A client that goes gives its pull up.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::body::{self, Answer, Body};
use super::error::ApiError;
use super::images::info;
use super::own::{PullImage, PullState, PullUpdate, PushImage, PushUpdate};
use super::{Api, write};
use crate::image::{LoginFiles, Pull, PullRequest, Puller, Push, PushRequest};
use crate::pod::Bells;

/// How often a client learns how far a pull is: as smooth as bars need to be.
const PACE: Duration = Duration::from_millis(100);

impl Api {
    pub(super) async fn pull_image(&self, request: Request<Incoming>) -> Answer {
        let PullImage {
            name,
            auth_file,
            packed,
        } = write::read_json(request).await?;
        self.images
            .reference(&name)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let pull = self.puller.pull(PullRequest {
            name,
            keyrings: Vec::new(),
            logins: auth_file.map(LoginFiles::only),
            is_packed: packed,
        });
        Ok(lines(updates(pull, self.bells.clone())))
    }

    pub(super) async fn push_image(&self, request: Request<Incoming>) -> Answer {
        let PushImage {
            name,
            target,
            auth_file,
        } = write::read_json(request).await?;
        let push = self.puller.push(PushRequest {
            name,
            target,
            logins: auth_file.map(LoginFiles::only),
        });
        Ok(lines(sent(push)))
    }

    pub(super) fn watch_pulls(&self) -> Response<Body> {
        lines(active(self.puller.clone()))
    }
}

/// A flow of JSON, one a line.
fn lines<T: Serialize>(items: impl Stream<Item = T> + Send + 'static) -> Response<Body> {
    let line = |item: T| {
        let mut line = serde_json::to_vec(&item).expect("field names are text");
        line.push(b'\n');
        Ok(Bytes::from(line))
    };
    body::typed(StatusCode::OK, "application/x-ndjson", body::flowing(items.map(line)))
}

/// How a pull goes, and how it ends.
fn updates(pull: Pull, bells: Bells) -> impl Stream<Item = PullUpdate> {
    let watched = pull.clone();
    let end = async move {
        match pull.done().await {
            Ok(pulled) => {
                bells.images_changed();
                PullUpdate::Pulled {
                    was_here: pulled.was_here,
                    notes: pulled.image.notes.clone(),
                    image: info(pulled.image),
                }
            }
            Err(error) => PullUpdate::Failed {
                message: error.to_string(),
            },
        }
    };
    told(end, move || watched.state(), PullUpdate::Progress)
}

/// How a push goes, and how it ends.
fn sent(push: Push) -> impl Stream<Item = PushUpdate> {
    let state = push.watch();
    let end = async move {
        match push.run().await {
            Ok(digest) => PushUpdate::Pushed { digest },
            Err(error) => PushUpdate::Failed {
                message: error.to_string(),
            },
        }
    };
    told(end, state, PushUpdate::Progress)
}

/// How far something is, whenever it moved, and then how it ended. A client that goes ends it.
fn told<T>(
    end: impl Future<Output = T>,
    state: impl Fn() -> PullState,
    progress: impl Fn(PullState) -> T,
) -> impl Stream<Item = T> {
    let start = Some((Box::pin(end), state, progress, None::<PullState>));
    stream::unfold(start, |at| async move {
        let (mut end, state, progress, told) = at?;
        loop {
            tokio::select! {
                last = end.as_mut() => return Some((last, None)),
                () = tokio::time::sleep(PACE) => {
                    let now = state();
                    if told.as_ref() != Some(&now) {
                        return Some((progress(now.clone()), Some((end, state, progress, Some(now)))));
                    }
                }
            }
        }
    })
}

/// All pulls, whenever one moved, began or ended. Costs nothing as long as there are none.
fn active(puller: Puller) -> impl Stream<Item = Vec<PullState>> {
    let begun = puller.begun();
    stream::unfold(
        (puller, begun, None),
        |(puller, mut begun, told): (_, _, Option<Vec<_>>)| async move {
            loop {
                begun.mark_unchanged();
                let now = puller.active();
                if told.as_ref() != Some(&now) {
                    return Some((now.clone(), (puller, begun, Some(now))));
                }
                if now.is_empty() {
                    begun.changed().await.ok()?;
                } else {
                    tokio::time::sleep(PACE).await;
                }
            }
        },
    )
}
