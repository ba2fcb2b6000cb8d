//! Events.

use jiff::Timestamp;
use serde_json::Value;

use super::age::{age_of, human_duration};
use super::cells::{self, number, or, text as text_at};
use super::{Cell, Column, Holds, KindTable, kind_table, text, wide};

/// Name stands last: an event's name says nothing to people.
pub(super) static TABLE: KindTable = kind_table(
    &[
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        wide("Subobject"),
        wide("Source"),
        text("Message"),
        wide("First Seen"),
        wide("Count"),
        Column {
            name: "Name",
            holds: Holds::Name,
            wide: true,
        },
    ],
    row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let created = text_at(object, "/eventTime");
    let first = or(text_at(object, "/firstTimestamp"), created);
    let last = or(
        text_at(object, "/series/lastObservedTime"),
        or(text_at(object, "/lastTimestamp"), first),
    );
    let involved = format!(
        "{}/{}",
        text_at(object, "/involvedObject/kind").to_lowercase(),
        text_at(object, "/involvedObject/name")
    );
    let count = match number(object, "/series/count").max(number(object, "/count")) {
        0 => 1,
        n => n,
    };
    vec![
        interval(last, now).into(),
        text_at(object, "/type").into(),
        text_at(object, "/reason").into(),
        involved.into(),
        text_at(object, "/involvedObject/fieldPath").into(),
        source(object).into(),
        text_at(object, "/message").trim().into(),
        interval(first, now).into(),
        count.to_string().into(),
        cells::name(object),
    ]
}

/// An event of the very second is `0s` old even if its clock was ahead.
fn interval(then: &str, now: Timestamp) -> String {
    match then.parse::<Timestamp>() {
        Ok(then) => human_duration((now.as_second() - then.as_second()).max(0)),
        Err(_) => age_of(then, now),
    }
}

fn source(object: &Value) -> String {
    let component = or(
        text_at(object, "/source/component"),
        text_at(object, "/reportingComponent"),
    );
    let host = or(text_at(object, "/source/host"), text_at(object, "/reportingInstance"));
    [component, host]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}
