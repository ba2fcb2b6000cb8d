//! StorageClasses.

use super::cells::{self, or, text as text_at};
use super::{AGE, KindTable, NAME, kind_table, text};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        text("Provisioner"),
        text("ReclaimPolicy"),
        text("VolumeBindingMode"),
        text("AllowVolumeExpansion"),
        AGE,
    ],
    |object, now| {
        let is_default = object
            .pointer("/metadata/annotations/storageclass.kubernetes.io~1is-default-class")
            .is_some_and(|value| value == "true");
        let name = text_at(object, "/metadata/name");
        let name = if is_default {
            format!("{name} (default)")
        } else {
            name.to_owned()
        };
        let grows = object
            .pointer("/allowVolumeExpansion")
            .is_some_and(|value| value == true);
        vec![
            name.into(),
            text_at(object, "/provisioner").into(),
            or(text_at(object, "/reclaimPolicy"), "Delete").into(),
            or(text_at(object, "/volumeBindingMode"), "Immediate").into(),
            grows.to_string().into(),
            cells::age(object, now),
        ]
    },
);
