//! Deployments and ReplicaSets.

use serde_json::Value;

use super::pod::template;
use super::sheet::{Sheet, date, plain, text};
use crate::api::table::selector_text;

pub(super) fn describe(object: &Value, sheet: &mut Sheet) {
    sheet.metadata(object);
    sheet.field(
        0,
        "CreationTimestamp",
        &date(text(object, "/metadata/creationTimestamp")),
    );
    sheet.field(
        0,
        "Selector",
        &object.pointer("/spec/selector").map(selector_text).unwrap_or_default(),
    );
    sheet.controller(object);
    let count = |pointer: &str| object.pointer(pointer).map_or_else(|| "0".to_owned(), plain);
    if text(object, "/kind") == "Deployment" {
        let missing = object
            .pointer("/status/unavailableReplicas")
            .map_or_else(|| "0".to_owned(), plain);
        sheet.field(
            0,
            "Replicas",
            &format!(
                "{} desired | {} updated | {} total | {} available | {missing} unavailable",
                count("/spec/replicas"),
                count("/status/updatedReplicas"),
                count("/status/replicas"),
                count("/status/availableReplicas"),
            ),
        );
        sheet.field(0, "StrategyType", text(object, "/spec/strategy/type"));
        sheet.field(0, "MinReadySeconds", &count("/spec/minReadySeconds"));
        if let Some(rolling) = object.pointer("/spec/strategy/rollingUpdate") {
            let bound = |field: &str| rolling.get(field).map(plain).unwrap_or_default();
            let words = format!(
                "{} max unavailable, {} max surge",
                bound("maxUnavailable"),
                bound("maxSurge")
            );
            sheet.field(0, "RollingUpdateStrategy", &words);
        }
    } else {
        let words = format!(
            "{} current / {} desired",
            count("/status/replicas"),
            count("/spec/replicas")
        );
        sheet.field(0, "Replicas", &words);
        sheet.field(0, "Ready", &count("/status/readyReplicas"));
    }
    template(object, sheet);
    sheet.conditions(object);
}
