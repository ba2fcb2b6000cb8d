//! PersistentVolumes.

use super::cells::{self, or, text as text_at};
use super::persistentvolumeclaims::access_modes;
use super::{AGE, KindTable, NAME, kind_table, text, wide};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        text("Capacity"),
        text("Access Modes"),
        text("Reclaim Policy"),
        text("Status"),
        text("Claim"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        text("Reason"),
        AGE,
        wide("VolumeMode"),
    ],
    |object, now| {
        let is_deleting = object.pointer("/metadata/deletionTimestamp").is_some();
        let phase = if is_deleting {
            "Terminating"
        } else {
            text_at(object, "/status/phase")
        };
        let claim = match text_at(object, "/spec/claimRef/name") {
            "" => String::new(),
            name => format!("{}/{name}", text_at(object, "/spec/claimRef/namespace")),
        };
        vec![
            cells::name(object),
            text_at(object, "/spec/capacity/storage").into(),
            access_modes(object, "/spec/accessModes").into(),
            text_at(object, "/spec/persistentVolumeReclaimPolicy").into(),
            phase.into(),
            claim.into(),
            text_at(object, "/spec/storageClassName").into(),
            or(text_at(object, "/spec/volumeAttributesClassName"), "<unset>").into(),
            text_at(object, "/status/reason").into(),
            cells::age(object, now),
            or(text_at(object, "/spec/volumeMode"), "<unset>").into(),
        ]
    },
);
