//! Ingresses and what they name to routes. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use serde_json::Value;

use super::class::foreign;
use super::routes::{Backend, Endpoint, Path, Routes, Speech};
use crate::model::{CLUSTER_DOMAIN, Family, Key, Object, is_service, known_kind, list_at, text_at};
use crate::net::Protocol;
use crate::service::{backends, number};

/// How many names may stand for another, as for the name server.
const MOST_ALIASES: u8 = 8;

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
        let (name, wanted) = (text_at(service, "/name"), Wanted(&service["port"]));
        let key = Key::new(known_kind("v1", "Service"), &self.ingress.key().namespace, name);
        let label = format!("{}/{name}:{wanted}", key.namespace);
        let found = self.resolve(key, wanted, None, 0);
        let (endpoints, speech) = found.unwrap_or_else(|trouble| {
            self.trouble(trouble.reason, trouble.message);
            Default::default()
        });
        Arc::new(Backend::new(label, endpoints, speech))
    }

    /// The endpoints of a Service's port, and how they are spoken to: as the first of those says that stand for another.
    fn resolve(&mut self, key: Key, wanted: Wanted<'_>, said: Option<Speech>, aliases: u8) -> Result<Led, Trouble> {
        let trouble = |reason, message| Err(Trouble { reason, message });
        let (name, namespace) = (&key.name, &key.namespace);
        let Some(service) = self.objects.services.get(&key) else {
            let message = format!("there is no Service {name:?} in the namespace {namespace:?}");
            return trouble("ServiceNotFound", message);
        };
        let own = list_at(service.value(), "/spec/ports")
            .iter()
            .find(|own| wanted.is(own));
        let speech = match (said, own) {
            (Some(speech), _) => Some(speech),
            (None, Some(own)) if own.get("appProtocol").is_some() => Some(self.speech(&key, own)),
            (None, _) => None,
        };
        let is_elsewhere = service.text("/spec/type") == "ExternalName";
        let Some(port) = own.map(target_of).or_else(|| wanted.number().filter(|_| is_elsewhere)) else {
            return trouble("PortNotFound", format!("the Service {name:?} has no port {wanted}"));
        };
        if !is_elsewhere {
            let own = own.expect("else there is no port");
            return Ok((of_port(self.objects, &key, own), speech.unwrap_or_default()));
        }
        let other = service.text("/spec/externalName").trim_end_matches('.').to_lowercase();
        let Some(inner) = inner(&other) else {
            return Ok((vec![Endpoint::Name(other, port)], speech.unwrap_or_default()));
        };
        if aliases == MOST_ALIASES {
            let message = format!("the Service {name:?} is one of names that stand for each other in a circle");
            return trouble("ServiceNotFound", message);
        }
        self.resolve(inner, Wanted(&Value::from(port)), speech, aliases + 1)
    }

    fn speech(&mut self, service: &Key, port: &Value) -> Speech {
        let word = text_at(port, "/appProtocol");
        Speech::of(word).unwrap_or_else(|| {
            let message = format!(
                "the appProtocol {word:?} of the Service {:?} is not known here: it is spoken to by HTTP/1.1 without TLS",
                service.name
            );
            self.trouble("ProtocolNotKnown", message);
            Speech::default()
        })
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

/// Endpoints, and how they are spoken to.
type Led = (Vec<Endpoint>, Speech);

/// A Service's port as an Ingress names it: an object with a name or a number, or just a number.
#[derive(Clone, Copy)]
struct Wanted<'a>(&'a Value);

impl Wanted<'_> {
    fn is(self, own: &Value) -> bool {
        match self.0["name"].as_str() {
            Some(name) => own["name"] == name,
            None => self.number().is_some_and(|number| own["port"] == number),
        }
    }

    fn number(self) -> Option<u16> {
        number(&self.0["number"]).or_else(|| number(self.0))
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0["name"].as_str(), self.number()) {
            (Some(name), _) => f.write_str(name),
            (None, number) => write!(f, "{}", number.unwrap_or_default()),
        }
    }
}

/// The port of a name elsewhere that a Service's port stands for.
fn target_of(own: &Value) -> u16 {
    let target = number(&own["targetPort"]).filter(|target| *target > 0);
    target.or_else(|| number(&own["port"])).unwrap_or_default()
}

/// The Service of a name of the cluster.
fn inner(name: &str) -> Option<Key> {
    let rest = name.strip_suffix(CLUSTER_DOMAIN)?.strip_suffix(".svc.")?;
    let (service, namespace) = rest.split_once('.')?;
    Some(Key::new(known_kind("v1", "Service"), namespace, service))
}

/// A Service's endpoints. The node's own address has nothing but its API, which nobody is led to, neither by the address of its Service: it knows
/// its clients by certificates and tokens, not by where they come from.
fn of_port(objects: &Objects, service: &Key, port: &Value) -> Vec<Endpoint> {
    let slices = objects.slices.get(service).map_or(&[][..], Vec::as_slice);
    let found = backends(text_at(port, "/name"), Protocol::Tcp, slices);
    let addresses = found.into_iter().map(|one| SocketAddr::new(one.ip, one.port));
    let is_nodes = |ip| is_service(ip) || Family::of(ip).gateway() == ip;
    let others = addresses.filter(|address| !is_nodes(address.ip()));
    others.map(Endpoint::Address).collect()
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
    let speech = Speech::of(text_at(port, "/appProtocol")).unwrap_or_default();
    let label = format!("{}/{}:{number}", key.namespace, key.name);
    Some(Backend::new(label, of_port(objects, key, port), speech))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{GATEWAY, SERVICE_NAME};

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
                (backend.endpoints[0].authority(), backend.speech.is_http2),
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

    /// What a path of an Ingress leads to that names this port of a Service, and what is told of it.
    fn led(objects: Objects, service: &str, port: Value) -> (Vec<String>, Speech, Vec<&'static str>) {
        let spec = json!({"defaultBackend": {"service": {"name": service, "port": port}}});
        let objects = Objects {
            ingresses: vec![ingress("a", 1, spec)],
            ..objects
        };
        let plan = planned(&objects);
        let backend = plan.routes.find("any", "/").expect("is the default");
        let endpoints = backend.endpoints.iter().map(Endpoint::authority).collect();
        let reasons = plan.served.values().flatten().map(|trouble| trouble.reason);
        (endpoints, backend.speech, reasons.collect())
    }

    fn with_service(mut objects: Objects, name: &str, namespace: &str, spec: Value) -> Objects {
        let service = object(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec}));
        objects.services.insert(service.key().clone(), service);
        objects
    }

    #[test]
    fn a_port_is_spoken_to_as_its_protocol_says() {
        let speech = |is_tls, is_http2| Speech { is_tls, is_http2 };
        for (word, expected, reasons) in [
            ("https", speech(true, false), vec![]),
            ("HTTPS", speech(true, false), vec![]),
            ("kubernetes.io/wss", speech(true, false), vec![]),
            ("grpcs", speech(true, true), vec![]),
            ("grpc", speech(false, true), vec![]),
            ("kubernetes.io/h2c", speech(false, true), vec![]),
            ("kubernetes.io/ws", speech(false, false), vec![]),
            ("http", speech(false, false), vec![]),
            ("mysql", speech(false, false), vec!["ProtocolNotKnown"]),
        ] {
            let ports = json!([{"port": 443, "name": "http", "appProtocol": word}]);
            let objects = with_service(objects(vec![]), "web", "default", json!({"ports": ports}));
            let found = led(objects, "web", json!({"number": 443}));
            assert_eq!(found, (vec!["10.244.0.2:8080".to_owned()], expected, reasons), "{word}");
        }
    }

    #[test]
    fn a_name_elsewhere_is_a_backend_and_one_of_the_cluster_is_the_service_that_it_names() {
        let elsewhere = |name: &str| json!({"type": "ExternalName", "externalName": name});
        let with_port =
            |name: &str, port: Value| json!({"type": "ExternalName", "externalName": name, "ports": [port]});
        let tls = Speech {
            is_tls: true,
            is_http2: false,
        };
        let https = json!({"name": "tls", "port": 443, "targetPort": 8443, "appProtocol": "https"});
        let plain = Speech::default();
        let inner = "web.default.svc.cluster.local";
        for (spec, port, expected) in [
            (
                elsewhere("API.example.com."),
                json!({"number": 80}),
                (vec!["api.example.com.:80"], plain, vec![]),
            ),
            (
                elsewhere("api.example.com"),
                json!({"name": "tls"}),
                (vec![], plain, vec!["PortNotFound"]),
            ),
            (
                with_port("api.example.com", https.clone()),
                json!({"name": "tls"}),
                (vec!["api.example.com.:8443"], tls, vec![]),
            ),
            (
                with_port("api.example.com", https),
                json!({"number": 443}),
                (vec!["api.example.com.:8443"], tls, vec![]),
            ),
            (
                elsewhere("127.0.0.1"),
                json!({"number": 80}),
                (vec!["127.0.0.1.:80"], plain, vec![]),
            ),
            (
                elsewhere(inner),
                json!({"number": 8000}),
                (vec!["10.244.0.2:8080"], plain, vec![]),
            ),
            (
                elsewhere(inner),
                json!({"number": 81}),
                (vec![], plain, vec!["PortNotFound"]),
            ),
            (
                with_port(inner, json!({"port": 1, "targetPort": 8000, "appProtocol": "https"})),
                json!({"number": 1}),
                (vec!["10.244.0.2:8080"], tls, vec![]),
            ),
            (
                elsewhere("far.default.svc.cluster.local"),
                json!({"number": 80}),
                (vec![], plain, vec!["ServiceNotFound"]),
            ),
            (
                elsewhere("none.default.svc.cluster.local"),
                json!({"number": 80}),
                (vec![], plain, vec!["ServiceNotFound"]),
            ),
        ] {
            let said = format!("{spec} {port}");
            let found = led(with_service(objects(vec![]), "far", "default", spec), "far", port);
            let (endpoints, speech, reasons) = expected;
            let endpoints: Vec<String> = endpoints.into_iter().map(str::to_owned).collect();
            assert_eq!(found, (endpoints, speech, reasons), "{said}");
        }
    }

    #[test]
    fn nobody_is_led_to_the_nodes_api() {
        let mut objects = objects(vec![]);
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "namespace": "default"}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 6443, "protocol": "TCP"}], "endpoints": [{"addresses": [GATEWAY.to_string()]}]});
        let service = objects.services.keys().next().expect("there is one").clone();
        objects.slices.insert(service, vec![object(slice)]);
        assert_eq!(led(objects, "web", json!({"name": "http"})).0, Vec::<String>::new());
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
