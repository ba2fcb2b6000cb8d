//! NetworkPolicies.

use super::{AGE, KindTable, NAME, cells, kind_table, text};

pub(super) static TABLE: KindTable = kind_table(&[NAME, text("Pod-Selector"), AGE], |object, now| {
    vec![
        cells::name(object),
        cells::selector(object.pointer("/spec/podSelector")),
        cells::age(object, now),
    ]
});
