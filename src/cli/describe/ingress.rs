//! Ingresses, with their rules.

use serde_json::Value;

use super::sheet::{Sheet, list, plain, text};

pub(super) fn describe(ingress: &Value, sheet: &mut Sheet) {
    sheet.metadata(ingress);
    let addresses = list(ingress, "/status/loadBalancer/ingress");
    let names = addresses.iter().map(|one| match text(one, "/ip") {
        "" => text(one, "/hostname"),
        ip => ip,
    });
    sheet.line(0, &format!("Address:\t{}", names.collect::<Vec<_>>().join(",")));
    let ports = addresses.iter().flat_map(|one| list(one, "/ports"));
    let ports: Vec<String> = ports.filter_map(|port| port.get("port").map(plain)).collect();
    sheet.field(0, "Ports", &ports.join(", "));
    let class = match text(ingress, "/spec/ingressClassName") {
        "" => "<none>",
        class => class,
    };
    sheet.field(0, "Ingress Class", class);
    let default = ingress.pointer("/spec/defaultBackend");
    sheet.field(
        0,
        "Default backend",
        &default.map_or_else(|| "<default>".to_owned(), backend),
    );
    let tls = list(ingress, "/spec/tls");
    if !tls.is_empty() {
        sheet.line(0, "TLS:");
    }
    for entry in tls {
        let hosts: Vec<&str> = list(entry, "/hosts").iter().filter_map(Value::as_str).collect();
        let shown = match text(entry, "/secretName") {
            "" => "the node's own certificate".to_owned(),
            secret => secret.to_owned(),
        };
        sheet.line(1, &format!("{shown} terminates {}", hosts.join(",")));
    }
    describe_rules(ingress, sheet);
}

fn describe_rules(ingress: &Value, sheet: &mut Sheet) {
    sheet.line(0, "Rules:");
    sheet.line(1, "Host\tPath\tBackends");
    sheet.line(1, "----\t----\t--------");
    let rules = list(ingress, "/spec/rules");
    for rule in rules {
        let host = match text(rule, "/host") {
            "" => "*",
            host => host,
        };
        sheet.line(1, &format!("{host}\t"));
        for path in list(rule, "/http/paths") {
            let target = path.get("backend").map(backend).unwrap_or_default();
            let (path, kind) = (text(path, "/path"), text(path, "/pathType"));
            sheet.line(1, &format!("\t{path}\t{target} ({kind})"));
        }
    }
    if let Some(default) = ingress.pointer("/spec/defaultBackend").filter(|_| rules.is_empty()) {
        sheet.line(1, &format!("*\t*\t{}", backend(default)));
    }
}

fn backend(backend: &Value) -> String {
    match backend.get("resource") {
        Some(resource) => format!("{}/{}", text(resource, "/kind"), text(resource, "/name")),
        None => {
            let port = backend.pointer("/service/port");
            let port = port.and_then(|port| port.get("name").or_else(|| port.get("number")));
            let port = port.map(plain).unwrap_or_default();
            format!("{}:{port}", text(backend, "/service/name"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ingress_is_told_with_its_rules() {
        let ingress = json!({"metadata": {"name": "web", "namespace": "default"},
            "spec": {"ingressClassName": "kubelocal", "tls": [{"hosts": ["a.example"], "secretName": "cert"}],
                "rules": [{"host": "a.example", "http": {"paths": [
                    {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"name": "http"}}}}]}}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1", "ports": [{"port": 10080}]}]}}});
        let mut sheet = Sheet::default();
        describe(&ingress, &mut sheet);
        let lines: Vec<&str> = sheet.text().lines().map(str::trim).collect();
        for line in [
            "Address:\t127.0.0.1",
            "cert terminates a.example",
            "a.example",
            "/\tweb:http (Prefix)",
        ] {
            assert!(lines.contains(&line), "{line}: {lines:#?}");
        }
    }
}
