//! Services, with the endpoints of each port.

use serde_json::Value;

use super::sheet::{Sheet, entries, list, plain, text};

/// `slices` are those of the Service.
pub(super) fn describe(service: &Value, slices: &[Value], sheet: &mut Sheet) {
    sheet.metadata(service);
    let pairs = entries(service, "/spec/selector").into_iter();
    let selector: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    sheet.field(0, "Selector", or_none(&selector.join(",")));
    sheet.field(0, "Type", text(service, "/spec/type"));
    sheet.field(0, "IP Family Policy", text(service, "/spec/ipFamilyPolicy"));
    let texts = |pointer: &str| -> String {
        let all: Vec<&str> = list(service, pointer).iter().filter_map(Value::as_str).collect();
        all.join(",")
    };
    sheet.field(0, "IP Families", or_none(&texts("/spec/ipFamilies")));
    sheet.field(0, "IP", text(service, "/spec/clusterIP"));
    sheet.field(0, "IPs", or_none(&texts("/spec/clusterIPs")));
    sheet.field(0, "External IPs", &texts("/spec/externalIPs"));
    sheet.field(0, "Desired LoadBalancer IP", text(service, "/spec/loadBalancerIP"));
    let ingress: Vec<String> = list(service, "/status/loadBalancer/ingress")
        .iter()
        .map(address)
        .collect();
    sheet.field(0, "LoadBalancer Ingress", &ingress.join(", "));
    sheet.field(0, "External Name", text(service, "/spec/externalName"));
    for port in list(service, "/spec/ports") {
        describe_port(port, slices, sheet);
    }
    sheet.field(0, "Session Affinity", text(service, "/spec/sessionAffinity"));
    sheet.field(
        0,
        "External Traffic Policy",
        text(service, "/spec/externalTrafficPolicy"),
    );
    sheet.field(
        0,
        "Internal Traffic Policy",
        text(service, "/spec/internalTrafficPolicy"),
    );
}

fn describe_port(port: &Value, slices: &[Value], sheet: &mut Sheet) {
    let name = match text(port, "/name") {
        "" => "<unset>",
        name => name,
    };
    let protocol = text(port, "/protocol");
    let number = |pointer: &str| port.pointer(pointer).map(plain).unwrap_or_default();
    sheet.line(0, &format!("Port:\t{name}\t{}/{protocol}", number("/port")));
    sheet.field(0, "TargetPort", &format!("{}/{protocol}", number("/targetPort")));
    if port.pointer("/nodePort").is_some() {
        sheet.line(0, &format!("NodePort:\t{name}\t{}/{protocol}", number("/nodePort")));
    }
    sheet.field(0, "Endpoints", or_none(&endpoints(text(port, "/name"), slices)));
}

/// The first three that are ready, and how many more there are (`formatEndpointSlices`).
fn endpoints(port: &str, slices: &[Value]) -> String {
    const SHOWN: usize = 3;
    let mut found = Vec::new();
    for slice in slices {
        let ports = list(slice, "/ports").iter().filter(|own| text(own, "/name") == port);
        for number in ports.filter_map(|port| port.get("port").map(plain)) {
            let ready = list(slice, "/endpoints").iter();
            let ready = ready.filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)));
            found.extend(ready.map(|endpoint| format!("{}:{number}", in_brackets(text(endpoint, "/addresses/0")))));
        }
    }
    let more = found.len().saturating_sub(SHOWN);
    let shown = found.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if more > 0 {
        format!("{shown} + {more} more...")
    } else {
        shown
    }
}

/// An address as it stands before a port (`net.JoinHostPort`).
fn in_brackets(address: &str) -> String {
    match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    }
}

fn address(ingress: &Value) -> String {
    let address = match text(ingress, "/ip") {
        "" => text(ingress, "/hostname"),
        ip => ip,
    };
    match text(ingress, "/ipMode") {
        "" => address.to_owned(),
        mode => format!("{address} ({mode})"),
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::print;
    use super::*;

    #[test]
    fn a_services_ports_and_endpoints_are_shown_as_kubectl_shows_them() {
        let service = json!({
            "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "clusterIP": "10.96.1.2", "clusterIPs": ["10.96.1.2"],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster",
                "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080, "protocol": "TCP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "ipMode": "Proxy"}]}},
        });
        let endpoint =
            |last: u8| json!({"addresses": [format!("10.244.0.{last}")], "conditions": {"ready": last != 9}});
        let slices = [
            json!({"ports": [{"name": "http", "port": 8080}, {"name": "x", "port": 1}],
            "endpoints": [endpoint(9), endpoint(2), endpoint(3), endpoint(4), endpoint(5)]}),
        ];
        let mut sheet = Sheet::default();
        describe(&service, &slices, &mut sheet);
        let text = print::elastic(sheet.text());
        for line in [
            "Selector:                 app=web",
            "LoadBalancer Ingress:     127.0.0.1 (Proxy)",
            "Port:                     http  80/TCP",
            "TargetPort:               web/TCP",
            "NodePort:                 http  30080/TCP",
            "Endpoints:                10.244.0.2:8080,10.244.0.3:8080,10.244.0.4:8080 + 1 more...",
            "External Traffic Policy:  Cluster",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }
}
