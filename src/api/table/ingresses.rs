//! Ingresses and their classes.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, list, number, or, text as text_at};
use super::{AGE, Cell, KindTable, NAME, kind_table, text};

pub(super) static TABLE: KindTable = kind_table(
    &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE],
    row,
);

pub(super) static CLASSES: KindTable =
    kind_table(&[NAME, text("Controller"), text("Parameters"), AGE], |object, now| {
        let parameters = object.pointer("/spec/parameters").map(parameters);
        vec![
            cells::name(object),
            text_at(object, "/spec/controller").into(),
            parameters.unwrap_or_else(|| "<none>".to_owned()).into(),
            cells::age(object, now),
        ]
    });

fn parameters(parameters: &Value) -> String {
    let (kind, name) = (text_at(parameters, "/kind"), text_at(parameters, "/name"));
    match text_at(parameters, "/apiGroup") {
        "" => format!("{kind}/{name}"),
        group => format!("{kind}.{group}/{name}"),
    }
}

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    vec![
        cells::name(object),
        or(text_at(object, "/spec/ingressClassName"), "<none>").into(),
        hosts(object).into(),
        addresses(object).into(),
        ports(object).into(),
        cells::age(object, now),
    ]
}

/// The first three, and how many more there are (`formatHosts`).
fn hosts(object: &Value) -> String {
    const SHOWN: usize = 3;
    let hosts = list(object, "/spec/rules").iter().map(|rule| text_at(rule, "/host"));
    let hosts: Vec<&str> = hosts.filter(|host| !host.is_empty()).collect();
    let shown = hosts.iter().take(SHOWN).copied().collect::<Vec<_>>().join(",");
    match hosts.len().saturating_sub(SHOWN) {
        0 => or(&shown, "*").to_owned(),
        more => format!("{shown} + {more} more..."),
    }
}

fn addresses(object: &Value) -> String {
    let ingress = list(object, "/status/loadBalancer/ingress").iter();
    let address = |one| or(text_at(one, "/ip"), text_at(one, "/hostname"));
    ingress.map(address).collect::<Vec<_>>().join(",")
}

/// Upstream prints 80 and 443 whatever they are; where the controller says which they are, they are those.
fn ports(object: &Value) -> String {
    let ports = list(object, "/status/loadBalancer/ingress").iter();
    let ports = ports.flat_map(|one| list(one, "/ports"));
    let told: Vec<String> = ports.map(|port| number(port, "/port").to_string()).collect();
    if !told.is_empty() {
        return told.join(", ");
    }
    let has_tls = !list(object, "/spec/tls").is_empty();
    if has_tls { "80, 443" } else { "80" }.to_owned()
}
