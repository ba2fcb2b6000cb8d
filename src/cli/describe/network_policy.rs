//! NetworkPolicies, in words.

use serde_json::Value;

use super::sheet::{Sheet, date, list, plain, text};
use crate::api::table::selector_text;

pub(super) fn describe(policy: &Value, sheet: &mut Sheet) {
    sheet.metadata(policy);
    sheet.field(0, "Created on", &date(text(policy, "/metadata/creationTimestamp")));
    sheet.line(0, "Spec:");
    let selector = policy
        .pointer("/spec/podSelector")
        .map(selector_text)
        .unwrap_or_default();
    let selector = match selector.as_str() {
        "" => "<none> (Allowing the specific traffic to all pods in this namespace)",
        selector => selector,
    };
    sheet.line(1, &format!("PodSelector: {selector}"));
    let types: Vec<&str> = list(policy, "/spec/policyTypes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let directions = [
        ("Ingress", "ingress", "from", "/spec/ingress"),
        ("Egress", "egress", "to", "/spec/egress"),
    ];
    for (kind, word, peers, rules) in directions {
        if types.contains(&kind) {
            sheet.line(1, &format!("Allowing {word} traffic:"));
            describe_rules(list(policy, rules), kind, peers, sheet);
        } else {
            sheet.line(1, &format!("Not affecting {word} traffic"));
        }
    }
    sheet.line(1, &format!("Policy Types: {}", types.join(", ")));
}

fn describe_rules(rules: &[Value], kind: &str, peers: &str, sheet: &mut Sheet) {
    if rules.is_empty() {
        sheet.line(
            2,
            &format!(
                "<none> (Selected pods are isolated for {} connectivity)",
                kind.to_lowercase()
            ),
        );
    }
    for (place, rule) in rules.iter().enumerate() {
        let ports = list(rule, "/ports");
        if ports.is_empty() {
            sheet.line(2, "To Port: <any> (traffic allowed to all ports)");
        }
        for port in ports {
            sheet.line(2, &format!("To Port: {}", port_text(port)));
        }
        let word = if peers == "from" { "From" } else { "To" };
        let all = list(rule, &format!("/{peers}"));
        if all.is_empty() {
            sheet.line(
                2,
                &format!(
                    "{word}: <any> (traffic not restricted by {})",
                    if peers == "from" { "source" } else { "destination" }
                ),
            );
        }
        for peer in all {
            sheet.line(2, &format!("{word}:"));
            describe_peer(peer, sheet);
        }
        if place + 1 < rules.len() {
            sheet.line(2, "----------");
        }
    }
}

fn port_text(port: &Value) -> String {
    let number = port.get("port").map_or_else(|| "<any>".to_owned(), plain);
    let last = port
        .get("endPort")
        .map(|last| format!("-{}", plain(last)))
        .unwrap_or_default();
    format!("{number}{last}/{}", text(port, "/protocol"))
}

fn describe_peer(peer: &Value, sheet: &mut Sheet) {
    for (field, name) in [
        ("/namespaceSelector", "NamespaceSelector"),
        ("/podSelector", "PodSelector"),
    ] {
        if let Some(selector) = peer.pointer(field) {
            let selector = selector_text(selector);
            sheet.line(
                3,
                &format!("{name}: {}", if selector.is_empty() { "<none>" } else { &selector }),
            );
        }
    }
    if let Some(block) = peer.get("ipBlock") {
        let except: Vec<&str> = list(block, "/except").iter().filter_map(Value::as_str).collect();
        sheet.line(3, "IPBlock:");
        sheet.line(4, &format!("CIDR: {}", text(block, "/cidr")));
        sheet.line(4, &format!("Except: {}", except.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_is_told_in_words() {
        let policy = json!({"metadata": {"name": "p", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": 80, "endPort": 90}],
                    "from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}},
                        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
                "egress": []}});
        let mut sheet = Sheet::default();
        describe(&policy, &mut sheet);
        let lines: Vec<&str> = sheet.text().lines().map(str::trim).collect();
        for line in [
            "PodSelector: app=web",
            "Allowing ingress traffic:",
            "To Port: 80-90/TCP",
            "NamespaceSelector: <none>",
            "PodSelector: a=b",
            "CIDR: 10.0.0.0/8",
            "Except: 10.1.0.0/16",
            "<none> (Selected pods are isolated for egress connectivity)",
            "Policy Types: Ingress, Egress",
        ] {
            assert!(lines.contains(&line), "{line}: {lines:#?}");
        }
    }
}
