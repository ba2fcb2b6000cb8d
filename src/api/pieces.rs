//! Lists that are written while they are read.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::body::{self, Body};
use crate::model::Object;

/// How much is written at once.
const PIECE: usize = 64 << 10;

/// A list as JSON, written piece by piece as its reader takes them: whoever does not read costs one piece, however long the list.
pub(super) struct Pieces<F> {
    /// What is to be sent next.
    ready: Vec<u8>,
    items: std::vec::IntoIter<Arc<Object>>,
    is_first: bool,
    is_over: bool,
    show: F,
}

impl<F: Fn(&Object) -> Value + Send + 'static> Pieces<F> {
    /// `envelope` is the list without its items, which stand in the field `list`.
    pub(super) fn new(envelope: &Value, list: &str, items: Vec<Arc<Object>>, show: F) -> Self {
        let mut ready = serde_json::to_vec(envelope).expect("JSON values have string keys");
        ready.pop();
        let comma = if ready.len() > 1 { "," } else { "" };
        ready.extend_from_slice(format!("{comma}{list:?}:[").as_bytes());
        Self {
            ready,
            items: items.into_iter(),
            is_first: true,
            is_over: false,
            show,
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        while self.ready.len() < PIECE && !self.is_over {
            let Some(object) = self.items.next() else {
                self.is_over = true;
                self.ready.extend_from_slice(b"]}");
                break;
            };
            if !std::mem::take(&mut self.is_first) {
                self.ready.push(b',');
            }
            serde_json::to_writer(&mut self.ready, &(self.show)(&object)).expect("JSON values have string keys");
        }
        let piece = std::mem::take(&mut self.ready);
        (!piece.is_empty()).then(|| piece.into())
    }

    /// Whole if it is short.
    pub(super) fn into_body(mut self) -> Body {
        let first = self.next().unwrap_or_default();
        if self.is_over {
            return body::whole(first);
        }
        let rest = stream::unfold(self, |mut pieces| async move {
            let piece = pieces.next()?;
            // Others have their turn between two pieces, however fast this client reads.
            tokio::task::yield_now().await;
            Some((Ok(piece), pieces))
        });
        body::flowing(stream::once(async { Ok(first) }).chain(rest))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    fn objects(count: usize, bytes: usize) -> Vec<Arc<Object>> {
        let one = |n: usize| {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}")},
                "data": {"text": "x".repeat(bytes)}});
            Arc::new(Object::new(value).expect("an object"))
        };
        (0..count).map(one).collect()
    }

    #[tokio::test]
    async fn a_list_is_whole_in_however_many_pieces_it_comes() {
        for count in [0, 1, 3, 100] {
            let items = objects(count, 5000);
            let envelope = json!({"kind": "List", "metadata": {"resourceVersion": "7"}});
            let pieces = Pieces::new(&envelope, "items", items.clone(), |object| object.value().clone());
            let bytes = pieces.into_body().collect().await.expect("a body").to_bytes();
            let mut wanted = envelope;
            wanted["items"] = items.iter().map(|object| object.value().clone()).collect();
            assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), wanted);
        }
    }

    #[tokio::test]
    async fn who_does_not_read_costs_one_piece() {
        let shown = Arc::new(AtomicUsize::new(0));
        let counted = shown.clone();
        let show = move |object: &Object| {
            counted.fetch_add(1, Ordering::Relaxed);
            object.value().clone()
        };
        let mut body = Pieces::new(&json!({}), "items", objects(1000, 1000), show).into_body();
        body.frame().await.expect("goes on").expect("a piece");
        assert!(shown.load(Ordering::Relaxed) < 200, "{shown:?}");
    }
}
