//! PersistentVolumeClaims.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, list, or, text as text_at};
use super::{AGE, Cell, KindTable, NAME, kind_table, text, wide};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        text("Status"),
        text("Volume"),
        text("Capacity"),
        text("Access Modes"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ],
    row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let is_deleting = object.pointer("/metadata/deletionTimestamp").is_some();
    let status = if is_deleting {
        "Terminating"
    } else {
        text_at(object, "/status/phase")
    };
    let volume = text_at(object, "/spec/volumeName");
    // What was asked for says nothing of what there is: size and modes show only once a volume is bound.
    let (capacity, modes) = match volume {
        "" => ("", String::new()),
        _ => (
            text_at(object, "/status/capacity/storage"),
            access_modes(object, "/status/accessModes"),
        ),
    };
    vec![
        cells::name(object),
        status.into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        text_at(object, "/spec/storageClassName").into(),
        or(text_at(object, "/spec/volumeAttributesClassName"), "<unset>").into(),
        cells::age(object, now),
        or(text_at(object, "/spec/volumeMode"), "<unset>").into(),
    ]
}

/// Access modes in their short forms.
pub(super) fn access_modes(object: &Value, at: &str) -> String {
    let modes = list(object, at);
    let has = |mode: &str| modes.iter().any(|m| m == mode);
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    short
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect::<Vec<_>>()
        .join(",")
}
