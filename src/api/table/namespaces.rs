//! Namespaces.

use super::{AGE, KindTable, NAME, cells, kind_table, text};

pub(super) static TABLE: KindTable = kind_table(&[NAME, text("Status"), AGE], |object, now| {
    vec![
        cells::name(object),
        cells::text(object, "/status/phase").into(),
        cells::age(object, now),
    ]
});
