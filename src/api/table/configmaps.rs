//! ConfigMaps.

use super::{AGE, KindTable, NAME, cells, kind_table, number};

pub(super) static TABLE: KindTable = kind_table(&[NAME, number("Data"), AGE], |object, now| {
    let data = cells::entries(object, "/data") + cells::entries(object, "/binaryData");
    vec![cells::name(object), data.into(), cells::age(object, now)]
});
