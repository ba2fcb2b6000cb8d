//! Secrets: how many entries, never what stands in them.

use super::{AGE, KindTable, NAME, cells, kind_table, number, text};

pub(super) static TABLE: KindTable = kind_table(&[NAME, text("Type"), number("Data"), AGE], |object, now| {
    vec![
        cells::name(object),
        cells::text(object, "/type").into(),
        cells::entries(object, "/data").into(),
        cells::age(object, now),
    ]
});
