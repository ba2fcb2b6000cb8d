//! ManifestSources: what is watched, what it made, and what is wrong in it.

use serde_json::Value;

use super::sheet::{Sheet, date, text};
use crate::model::{Severity, SourceSpec, SourceStatus};

pub(super) fn describe(source: &Value, sheet: &mut Sheet) {
    sheet.field(0, "Name", text(source, "/metadata/name"));
    let part = |field: &str| source.get(field).cloned().unwrap_or_default();
    // What an older or newer node wrote may not fit; then the rest is still worth showing.
    let spec: SourceSpec = serde_json::from_value(part("spec")).unwrap_or_default();
    let status: SourceStatus = serde_json::from_value(part("status")).unwrap_or_default();
    sheet.values(0, "Paths", &spec.paths);
    sheet.field(0, "Namespace", &spec.namespace);
    sheet.field(0, "Ephemeral", &spec.ephemeral.to_string());
    sheet.field(0, "Last Change", &date(text(source, "/status/lastChangeTime")));
    sheet.conditions(source);
    sheet.line(
        0,
        if status.objects.is_empty() {
            "Objects:\t<none>"
        } else {
            "Objects:"
        },
    );
    for object in &status.objects {
        let place = if object.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", object.namespace)
        };
        sheet.line(
            1,
            &format!("{}\t{place}{}\t{}", object.kind, object.name, object.origin),
        );
    }
    sheet.line(
        0,
        if status.problems.is_empty() {
            "Problems:\t<none>"
        } else {
            "Problems:"
        },
    );
    for problem in &status.problems {
        let word = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        sheet.line(1, &format!("{word}: {problem}"));
        if !problem.excerpt.is_empty() {
            sheet.line(3, &problem.excerpt);
        }
    }
}
