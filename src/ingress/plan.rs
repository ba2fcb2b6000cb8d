//! Ingresses and what they name to routes. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use serde_json::Value;

use super::class::foreign;
use super::routes::{Backend, Path, Routes};
use crate::model::{Key, Object, known_kind, list_at, text_at};
use crate::net::Protocol;
use crate::service::{backends, number};

/// How a port says that it speaks HTTP/2 without TLS (`appProtocol`).
const HTTP2: [&str; 2] = ["kubernetes.io/h2c", "grpc"];

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) ingresses: Vec<Arc<Object>>,
    pub(super) classes: Vec<Arc<Object>>,
    pub(super) services: BTreeMap<Key, Arc<Object>>,
    /// By their Service.
    pub(super) slices: BTreeMap<Key, Vec<Arc<Object>>>,
}

/// What is to be told of an Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In a word, for an event.
    pub(super) reason: &'static str,
    /// In a sentence.
    pub(super) message: String,
}

/// What is served, and for whom.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) routes: Routes,
    /// Ingresses that are served, with what is wrong with them.
    pub(super) served: BTreeMap<Key, Vec<Trouble>>,
    /// Ingresses that are not.
    pub(super) foreign: BTreeMap<Key, Trouble>,
}

/// What is served with these objects. `certificate` finds that of a Secret, or says why there is none.
pub(super) fn plan_routes(
    objects: &Objects,
    mut certificate: impl FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
) -> Plan {
    let mut plan = Plan::default();
    // Of two that want the same the older one has it.
    let mut ingresses: Vec<&Arc<Object>> = objects.ingresses.iter().filter(|one| !one.is_deleting()).collect();
    ingresses.sort_by_key(|ingress| {
        (
            ingress.creation_timestamp().unwrap_or(Timestamp::MAX),
            ingress.key().clone(),
        )
    });
    for ingress in ingresses {
        let key = ingress.key().clone();
        if let Some(foreign) = foreign(ingress, objects.classes.iter().map(AsRef::as_ref)) {
            let message = foreign.message();
            plan.foreign.insert(
                key,
                Trouble {
                    reason: "NotServed",
                    message,
                },
            );
            continue;
        }
        let mut entry = Entry {
            objects,
            ingress,
            troubles: Vec::new(),
        };
        entry.enter_rules(&mut plan.routes);
        entry.enter_certificates(&mut plan.routes, &mut certificate);
        plan.served.insert(key, entry.troubles);
    }
    plan.routes.rules.sort();
    for (key, service) in &objects.services {
        if let Some(backend) = own_backend(objects, key, service) {
            plan.routes
                .services
                .insert(format!("{}.{}", key.name, key.namespace), Arc::new(backend));
        }
    }
    plan
}

/// An Ingress that is being entered.
struct Entry<'a> {
    objects: &'a Objects,
    ingress: &'a Object,
    troubles: Vec<Trouble>,
}

impl Entry<'_> {
    fn enter_rules(&mut self, routes: &mut Routes) {
        let ingress = self.ingress;
        if let Some(backend) = ingress.at("/spec/defaultBackend") {
            let backend = self.backend(backend);
            routes.default.get_or_insert(backend);
        }
        for rule in list_at(ingress.value(), "/spec/rules") {
            for path in list_at(rule, "/http/paths") {
                let entered = Path {
                    path: match text_at(path, "/path") {
                        "" => "/".to_owned(),
                        text => text.to_owned(),
                    },
                    is_exact: text_at(path, "/pathType") == "Exact",
                    backend: self.backend(&path["backend"]),
                };
                let (host, path) = (text_at(rule, "/host"), entered.path.clone());
                if !routes.rules.enter(host, entered) {
                    let whose = if host.is_empty() { "any host" } else { host };
                    let message = format!(
                        "the path {path:?} of {whose} is not served for it: it stands in an older Ingress, or here, already"
                    );
                    self.trouble("PathTaken", message);
                }
            }
        }
    }

    /// Where this leads. What names nothing has no endpoints: clients are told that nobody is there.
    fn backend(&mut self, backend: &Value) -> Arc<Backend> {
        let Some(service) = backend.get("service") else {
            self.trouble("ResourceNotServed", "only Services can be backends here".to_owned());
            return Arc::default();
        };
        let (name, port) = (text_at(service, "/name"), &service["port"]);
        let word = match (&port["name"], &port["number"]) {
            (Value::String(name), _) => name.clone(),
            (_, number) => number.to_string(),
        };
        let key = Key::new(known_kind("v1", "Service"), &self.ingress.key().namespace, name);
        let label = format!("{}/{name}:{word}", key.namespace);
        let Some(object) = self.objects.services.get(&key) else {
            self.trouble(
                "ServiceNotFound",
                format!("there is no Service {name:?} in the namespace {:?}", key.namespace),
            );
            return Arc::new(Backend::new(label, Vec::new(), false));
        };
        let is_it = |own: &&Value| match &port["name"] {
            Value::String(name) => own["name"] == *name,
            _ => own["port"] == port["number"],
        };
        let Some(own) = list_at(object.value(), "/spec/ports").iter().find(is_it) else {
            self.trouble("PortNotFound", format!("the Service {name:?} has no port {word}"));
            return Arc::new(Backend::new(label, Vec::new(), false));
        };
        if object.text("/spec/type") == "ExternalName" {
            let message = format!("the Service {name:?} is a name elsewhere, where this controller does not lead");
            self.trouble("ServiceNotServed", message);
        }
        Arc::new(of_port(self.objects, &key, own, label))
    }

    fn enter_certificates(
        &mut self,
        routes: &mut Routes,
        certificate: &mut impl FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
    ) {
        let ingress = self.ingress;
        let of_rules = list_at(ingress.value(), "/spec/rules").iter();
        let of_rules: Vec<&str> = of_rules
            .map(|rule| text_at(rule, "/host"))
            .filter(|host| !host.is_empty())
            .collect();
        for entry in list_at(ingress.value(), "/spec/tls") {
            let name = text_at(entry, "/secretName");
            // Without one the node makes a certificate.
            if name.is_empty() {
                continue;
            }
            let found = certificate(&Key::new(known_kind("v1", "Secret"), &ingress.key().namespace, name));
            match found {
                Ok(found) => {
                    let own: Vec<&str> = list_at(entry, "/hosts").iter().filter_map(Value::as_str).collect();
                    for host in if own.is_empty() { &of_rules } else { &own } {
                        let entry = routes.certificates.entry(host.to_lowercase());
                        entry.or_insert_with(|| found.clone());
                    }
                }
                Err(why) => {
                    let message = format!("the Secret {name:?} {why}; the node's own certificate is shown instead");
                    self.trouble("CertificateNotUsed", message);
                }
            }
        }
    }

    fn trouble(&mut self, reason: &'static str, message: String) {
        let trouble = Trouble { reason, message };
        if !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }
}

fn of_port(objects: &Objects, service: &Key, port: &Value, label: String) -> Backend {
    let slices = objects.slices.get(service).map_or(&[][..], Vec::as_slice);
    let found = backends(text_at(port, "/name"), Protocol::Tcp, slices);
    let endpoints = found.into_iter().map(|one| SocketAddr::new(one.ip, one.port));
    let is_http2 = HTTP2.contains(&text_at(port, "/appProtocol"));
    Backend::new(label, endpoints.collect(), is_http2)
}

/// What a Service's own name leads to: its only port, else the one that is called `http`, that is 80, or that is the first.
fn own_backend(objects: &Objects, key: &Key, service: &Object) -> Option<Backend> {
    if service.text("/spec/type") == "ExternalName" || service.is_deleting() {
        return None;
    }
    let ports = list_at(service.value(), "/spec/ports");
    let tcp: Vec<&Value> = ports
        .iter()
        .filter(|port| matches!(text_at(port, "/protocol"), "" | "TCP"))
        .collect();
    let by_name = tcp.iter().find(|port| text_at(port, "/name") == "http");
    let by_number = || tcp.iter().find(|port| port["port"] == 80);
    let port = by_name.or_else(by_number).or(tcp.first())?;
    let number = number(&port["port"])?;
    Some(of_port(
        objects,
        key,
        port,
        format!("{}/{}:{number}", key.namespace, key.name),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::SERVICE_NAME;

    fn object(value: Value) -> Arc<Object> {
        Arc::new(Object::new(value).expect("of the table"))
    }

    fn ingress(name: &str, age: u32, spec: Value) -> Arc<Object> {
        let created = format!("2026-01-01T00:00:{:02}Z", 59 - age);
        object(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default", "creationTimestamp": created}, "spec": spec}))
    }

    /// A Service `web` with two ports and one endpoint.
    fn objects(ingresses: Vec<Arc<Object>>) -> Objects {
        let metadata = json!({"name": "web", "namespace": "default", "labels": {SERVICE_NAME: "web"}});
        let service = object(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "10.96.0.7", "ports": [
            {"name": "grpc", "port": 9000, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"},
            {"name": "http", "port": 8000, "protocol": "TCP"}]}}),
        );
        let slice = object(
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "grpc", "port": 9090, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": true}}, {"addresses": ["10.244.0.3"], "conditions": {"ready": false}}]}),
        );
        let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": "kubelocal", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": super::super::CONTROLLER}});
        let key = service.key().clone();
        Objects {
            ingresses,
            classes: vec![object(class)],
            services: [(key.clone(), service)].into(),
            slices: [(key, vec![slice])].into(),
        }
    }

    fn path(path: &str, service: &str, port: Value) -> Value {
        json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": port}}})
    }

    fn planned(objects: &Objects) -> Plan {
        plan_routes(objects, |_| Err("is not there".to_owned()))
    }

    #[test]
    fn a_path_leads_to_the_ready_endpoints_of_its_services_port() {
        let paths = json!([
            path("/", "web", json!({"name": "http"})),
            path("/grpc", "web", json!({"number": 9000}))
        ]);
        let spec = json!({"rules": [{"host": "web.example", "http": {"paths": paths}}]});
        let plan = planned(&objects(vec![ingress("a", 1, spec)]));
        assert_eq!(plan.served.values().collect::<Vec<_>>(), [&Vec::new()]);
        for (path, endpoint, is_http2) in [("/", "10.244.0.2:8080", false), ("/grpc/x", "10.244.0.2:9090", true)] {
            let backend = plan.routes.find("web.example", path).expect("it leads somewhere");
            assert_eq!(
                (backend.endpoints[0].to_string(), backend.is_http2),
                (endpoint.to_owned(), is_http2)
            );
            assert_eq!(backend.endpoints.len(), 1);
        }
        assert!(plan.routes.find("other.example", "/").is_none());
        let own = plan
            .routes
            .find("web.default.localhost", "/")
            .expect("it has a name of its own");
        assert_eq!(own.name, "default/web:8000");
    }

    #[test]
    fn what_names_nothing_leads_nowhere_and_says_so() {
        let paths = json!([
            path("/a", "none", json!({"number": 80})),
            path("/b", "web", json!({"number": 81}))
        ]);
        let spec = json!({"rules": [{"http": {"paths": paths}}], "tls": [{"secretName": "cert"}],
            "defaultBackend": {"resource": {"kind": "Bucket", "name": "b"}}});
        let plan = planned(&objects(vec![ingress("a", 1, spec)]));
        let reasons: Vec<_> = plan.served.values().flatten().map(|trouble| trouble.reason).collect();
        assert_eq!(
            reasons,
            [
                "ResourceNotServed",
                "ServiceNotFound",
                "PortNotFound",
                "CertificateNotUsed"
            ]
        );
        for path in ["/a", "/b", "/else"] {
            assert!(
                plan.routes.find("any", path).expect("is a route").endpoints.is_empty(),
                "{path}"
            );
        }
    }

    #[test]
    fn of_two_that_want_the_same_the_older_one_has_it() {
        let spec = |port: u16| json!({"rules": [{"http": {"paths": [path("/", "web", json!({"number": port}))]}}]});
        let plan = planned(&objects(vec![ingress("a", 1, spec(9000)), ingress("b", 2, spec(8000))]));
        assert_eq!(plan.routes.find("any", "/").expect("a route").name, "default/web:8000");
        let told = plan.served.iter().map(|(key, troubles)| {
            let reasons: Vec<_> = troubles.iter().map(|trouble| trouble.reason).collect();
            (key.name.as_str(), reasons)
        });
        assert_eq!(told.collect::<Vec<_>>(), [("a", vec!["PathTaken"]), ("b", vec![])]);
    }

    #[test]
    fn ingresses_of_others_are_left_alone() {
        let spec = json!({"ingressClassName": "nginx", "rules": [{"http": {"paths": [path("/", "web", json!({"number": 8000}))]}}]});
        let plan = planned(&objects(vec![ingress("a", 1, spec)]));
        assert!(plan.served.is_empty() && plan.routes.find("any", "/").is_none());
        assert_eq!(plan.foreign.len(), 1);
    }
}
