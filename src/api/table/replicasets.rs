//! ReplicaSets.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, number};
use super::{AGE, Cell, KindTable, NAME, kind_table, number as number_column, wide};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        number_column("Desired"),
        number_column("Current"),
        number_column("Ready"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let [containers, images] = cells::containers_and_images(object);
    vec![
        cells::name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        cells::age(object, now),
        containers,
        images,
        cells::selector(object.pointer("/spec/selector")),
    ]
}
