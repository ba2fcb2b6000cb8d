//! Services.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, list, number, or, text as text_at};
use super::{AGE, Cell, KindTable, NAME, kind_table, text, wide};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        text("Type"),
        text("Cluster-IP"),
        text("External-IP"),
        text("Port(s)"),
        AGE,
        wide("Selector"),
    ],
    row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let cluster_ip = list(object, "/spec/clusterIPs").first().and_then(Value::as_str);
    let cluster_ip = cluster_ip.unwrap_or(text_at(object, "/spec/clusterIP"));
    vec![
        cells::name(object),
        text_at(object, "/spec/type").into(),
        or(cluster_ip, "<none>").into(),
        external_ip(object).into(),
        ports(object).into(),
        cells::age(object, now),
        cells::labels(object.pointer("/spec/selector")),
    ]
}

fn external_ip(object: &Value) -> String {
    let external = list(object, "/spec/externalIPs").iter().filter_map(Value::as_str);
    match text_at(object, "/spec/type") {
        "ExternalName" => text_at(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = list(object, "/status/loadBalancer/ingress").iter();
            let address = |i| or(text_at(i, "/ip"), text_at(i, "/hostname"));
            let all: Vec<&str> = ingress.map(address).chain(external).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => or(&external.collect::<Vec<_>>().join(","), "<none>").to_owned(),
    }
}

fn ports(object: &Value) -> String {
    let port = |port: &Value| {
        let (number, node, protocol) = (
            number(port, "/port"),
            number(port, "/nodePort"),
            or(text_at(port, "/protocol"), "TCP"),
        );
        if node == 0 {
            format!("{number}/{protocol}")
        } else {
            format!("{number}:{node}/{protocol}")
        }
    };
    let all: Vec<String> = list(object, "/spec/ports").iter().map(port).collect();
    or(&all.join(","), "<none>").to_owned()
}
