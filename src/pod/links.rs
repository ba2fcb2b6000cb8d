//! Variables by which containers find Services (kubelet `getServiceEnvVarMap`, `pkg/kubelet/envvars`). Pure.

use std::sync::Arc;

use serde_json::json;

use crate::model::{Object, list_at};

/// The variables of these Services: `WEB_SERVICE_HOST`, `WEB_SERVICE_PORT` and those of Docker's links. A Service without an address has
/// none.
pub(super) fn service_links(services: &[Arc<Object>]) -> Vec<(String, String)> {
    services.iter().flat_map(|service| links_of(service)).collect()
}

/// The variables of a pod on the host's network, from where no Service is reached: those of the API, which listens on the host's loopback.
pub(super) fn links_on_host(api: &Object, port: u16) -> Vec<(String, String)> {
    let mut here = api.clone();
    let spec = &mut here.value_mut()["spec"];
    spec["clusterIP"] = "127.0.0.1".into();
    spec["ports"] = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    links_of(&here)
}

fn links_of(service: &Object) -> Vec<(String, String)> {
    let ip = service.text("/spec/clusterIP");
    if matches!(ip, "" | "None") {
        return Vec::new();
    }
    let prefix = variable(&service.key().name);
    // Before a port an address of IPv6 stands in brackets (`net.JoinHostPort`).
    let host = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    };
    let ports = list_at(service.value(), "/spec/ports").iter();
    let ports: Vec<_> = ports
        .map(|port| {
            let (name, protocol) = (
                port["name"].as_str().unwrap_or_default(),
                port["protocol"].as_str().unwrap_or("TCP"),
            );
            (name, protocol, port["port"].as_i64().unwrap_or_default())
        })
        .collect();
    let mut links = vec![(format!("{prefix}_SERVICE_HOST"), ip.to_owned())];
    if let Some((_, protocol, port)) = ports.first() {
        links.push((format!("{prefix}_SERVICE_PORT"), port.to_string()));
        links.push((
            format!("{prefix}_PORT"),
            format!("{}://{host}:{port}", protocol.to_lowercase()),
        ));
    }
    for (name, protocol, port) in ports {
        if !name.is_empty() {
            links.push((format!("{prefix}_SERVICE_PORT_{}", variable(name)), port.to_string()));
        }
        let (own, small) = (format!("{prefix}_PORT_{port}_{protocol}"), protocol.to_lowercase());
        links.push((own.clone(), format!("{small}://{host}:{port}")));
        links.push((format!("{own}_PROTO"), small));
        links.push((format!("{own}_PORT"), port.to_string()));
        links.push((format!("{own}_ADDR"), ip.to_owned()));
    }
    links
}

/// A name in the letters of variables.
fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn links(spec: Value) -> Vec<String> {
        let metadata = json!({"name": "my-web", "namespace": "default"});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        let service = Arc::new(Object::new(service).expect("a Service"));
        let links = service_links(&[service]).into_iter();
        links.map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn each_port_has_the_variables_of_a_link_and_the_first_those_of_the_service() {
        let spec = json!({"clusterIP": "10.96.1.2", "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]});
        assert_eq!(
            links(spec),
            [
                "MY_WEB_SERVICE_HOST=10.96.1.2",
                "MY_WEB_SERVICE_PORT=80",
                "MY_WEB_PORT=tcp://10.96.1.2:80",
                "MY_WEB_SERVICE_PORT_HTTP=80",
                "MY_WEB_PORT_80_TCP=tcp://10.96.1.2:80",
                "MY_WEB_PORT_80_TCP_PROTO=tcp",
                "MY_WEB_PORT_80_TCP_PORT=80",
                "MY_WEB_PORT_80_TCP_ADDR=10.96.1.2",
                "MY_WEB_SERVICE_PORT_DNS=53",
                "MY_WEB_PORT_53_UDP=udp://10.96.1.2:53",
                "MY_WEB_PORT_53_UDP_PROTO=udp",
                "MY_WEB_PORT_53_UDP_PORT=53",
                "MY_WEB_PORT_53_UDP_ADDR=10.96.1.2",
            ]
        );
    }

    #[test]
    fn on_the_hosts_network_the_api_is_on_loopback() {
        let metadata = json!({"name": "kubernetes", "namespace": "default"});
        let spec = json!({"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]});
        let api = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        let links = links_on_host(&Object::new(api).expect("a Service"), 6443);
        let value = |name: &str| {
            links
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(value("KUBERNETES_SERVICE_HOST"), Some("127.0.0.1"));
        assert_eq!(value("KUBERNETES_SERVICE_PORT"), Some("6443"));
        assert!(links.iter().all(|(_, value)| !value.contains("10.96.")), "{links:?}");
    }

    #[test]
    fn a_service_without_an_address_has_no_variables() {
        assert!(links(json!({"clusterIP": "None", "ports": [{"port": 80}]})).is_empty());
        assert!(links(json!({"type": "ExternalName", "externalName": "x.org"})).is_empty());
    }
}
