//! Deployments.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, number};
use super::{AGE, Cell, KindTable, NAME, kind_table, text, wide};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        text("Ready"),
        text("Up-to-date"),
        text("Available"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let ready = format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    );
    let [containers, images] = cells::containers_and_images(object);
    vec![
        cells::name(object),
        ready.into(),
        number(object, "/status/updatedReplicas").into(),
        number(object, "/status/availableReplicas").into(),
        cells::age(object, now),
        containers,
        images,
        cells::selector(object.pointer("/spec/selector")),
    ]
}
