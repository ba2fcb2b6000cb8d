//! Kinds that bound or rank others: autoscalers, quotas, classes of priority.

use serde_json::{Value, json};

use super::cells::{self, or};
use super::{AGE, Cell, KindTable, NAME, kind_table, number, text};
use crate::model::value_at;

pub(super) static AUTOSCALERS: KindTable = kind_table(
    &[
        NAME,
        text("Reference"),
        text("Targets"),
        text("MinPods"),
        text("MaxPods"),
        number("Replicas"),
        AGE,
    ],
    |object, now| {
        let target = |field| cells::text(object, field);
        let least = value_at(object, "/spec/minReplicas").map_or_else(|| "<unset>".to_owned(), Value::to_string);
        vec![
            cells::name(object),
            format!(
                "{}/{}",
                target("/spec/scaleTargetRef/kind"),
                target("/spec/scaleTargetRef/name")
            )
            .into(),
            metrics(object),
            least.into(),
            cells::number(object, "/spec/maxReplicas").to_string().into(),
            cells::number(object, "/status/currentReplicas").into(),
            cells::age(object, now),
        ]
    },
);

/// How many metrics are shown (`formatHPAMetrics`).
const SHOWN: usize = 2;

fn metrics(object: &Value) -> Cell {
    let specs = cells::list(object, "/spec/metrics");
    let now = cells::list(object, "/status/currentMetrics");
    let shown = specs.iter().enumerate().take(SHOWN);
    let shown: Vec<_> = shown
        .map(|(place, spec)| metric(spec, now.get(place).unwrap_or(&Value::Null)))
        .collect();
    let text = shown.join(", ");
    match specs.len() {
        0 => "<none>".into(),
        all if all > SHOWN => format!("{text} + {} more...", all - SHOWN).into(),
        _ => text.into(),
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    let (source, name) = match cells::text(spec, "/type") {
        "Resource" => ("resource", cells::text(spec, "/resource/name")),
        "ContainerResource" => ("containerResource", cells::text(spec, "/containerResource/name")),
        "Pods" => ("pods", ""),
        "Object" => ("object", ""),
        "External" => ("external", ""),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[source]["target"], &status[source]["current"]);
    let (field, mark) = ["averageValue", "averageUtilization", "value"]
        .into_iter()
        .find(|field| target.get(field).is_some())
        .map_or(("value", ""), |field| match field {
            "averageUtilization" => (field, "%"),
            "averageValue" if matches!(source, "object" | "external") => (field, " (avg)"),
            _ => (field, ""),
        });
    let amount = |of: &Value, mark: &str, absent: &str| match &of[field] {
        Value::String(text) => format!("{text}{mark}"),
        Value::Number(number) => format!("{number}{mark}"),
        _ => absent.to_owned(),
    };
    let of_current = if mark == "%" { mark } else { "" };
    let both = format!(
        "{}/{}",
        amount(current, of_current, "<unknown>"),
        amount(target, mark, "<auto>")
    );
    if name.is_empty() {
        both
    } else {
        format!("{name}: {both}")
    }
}

pub(super) static QUOTAS: KindTable = kind_table(&[NAME, text("Request"), text("Limit"), AGE], |object, now| {
    vec![
        cells::name(object),
        used(object, false),
        used(object, true),
        cells::age(object, now),
    ]
});

/// What is used of each amount: of those of limits, or of the others.
fn used(object: &Value, of_limits: bool) -> Cell {
    let hard = value_at(object, "/status/hard").and_then(Value::as_object);
    let amounts = hard.into_iter().flatten();
    let amounts = amounts.filter(|(name, _)| name.starts_with("limits.") == of_limits);
    let words: Vec<_> = amounts
        .map(|(name, hard)| {
            let used = &object["status"]["used"][name];
            let hard = hard.as_str().unwrap_or_default();
            format!("{name}: {}/{hard}", or(used.as_str().unwrap_or_default(), "0"))
        })
        .collect();
    words.join(", ").into()
}

pub(super) static PRIORITIES: KindTable = kind_table(
    &[
        NAME,
        number("Value"),
        text("Global-Default"),
        AGE,
        text("PreemptionPolicy"),
    ],
    |object, now| {
        let is_default = object.get("globalDefault") == Some(&json!(true));
        let policy = or(cells::text(object, "/preemptionPolicy"), "PreemptLowerPriority");
        vec![
            cells::name(object),
            cells::number(object, "/value").into(),
            is_default.to_string().into(),
            cells::age(object, now),
            policy.into(),
        ]
    },
);

pub(super) static WEBHOOKS: KindTable = kind_table(&[NAME, number("Webhooks"), AGE], |object, now| {
    let webhooks = cells::list(object, "/webhooks").len();
    vec![cells::name(object), webhooks.into(), cells::age(object, now)]
});
