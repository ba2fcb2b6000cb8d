//! Kinds without columns of their own.

use super::{AGE, KindTable, NAME, cells, kind_table};

pub(super) static TABLE: KindTable = kind_table(&[NAME, AGE], |object, now| {
    vec![cells::name(object), cells::age(object, now)]
});
