//! Ingresses and their classes (`ValidateIngressCreate`, `ValidateIngressClass`).

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressServiceBackend, IngressSpec,
};

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::names;

const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// What no path may have, and how none may end: it would mean something else to whoever looks at it next.
const SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const ENDS: [&str; 2] = ["/..", "/."];
/// The longest name of a controller (`maxLenForIngressClassController`).
const MAX_CONTROLLER: usize = 250;

/// Checks an Ingress.
pub fn validate_ingress(ingress: &Ingress, path: &FieldPath, errors: &mut ErrorList) {
    let spec = ingress.spec.clone().unwrap_or_default();
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(path, &spec.rules, detail));
    }
    if let Some(backend) = &spec.default_backend {
        validate_backend(backend, &path.field("defaultBackend"), errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = path.field("rules").index(index);
        validate_host(rule.host.as_deref().unwrap_or_default(), &at.field("host"), errors);
        let Some(http) = &rule.http else { continue };
        let paths = at.field("http").field("paths");
        if http.paths.is_empty() {
            errors.push(FieldError::required(&paths, ""));
        }
        for (index, one) in http.paths.iter().enumerate() {
            validate_path(one, &paths.index(index), errors);
        }
    }
    validate_tls(&spec, path, errors);
    if let Some(class) = &spec.ingress_class_name {
        for message in names::dns_subdomain(class) {
            errors.push(FieldError::invalid(&path.field("ingressClassName"), class, message));
        }
    }
}

fn validate_tls(spec: &IngressSpec, path: &FieldPath, errors: &mut ErrorList) {
    for (index, entry) in spec.tls.iter().flatten().enumerate() {
        let at = path.field("tls").index(index);
        for (index, host) in entry.hosts.iter().flatten().enumerate() {
            for message in host_errors(host) {
                errors.push(FieldError::invalid(&at.field("hosts").index(index), host, message));
            }
        }
        let secret = entry.secret_name.as_ref().filter(|name| !name.is_empty());
        for message in secret.map(|name| names::dns_subdomain(name)).unwrap_or_default() {
            errors.push(FieldError::invalid(&at.field("secretName"), &secret, message));
        }
    }
}

fn validate_host(host: &str, path: &FieldPath, errors: &mut ErrorList) {
    if host.is_empty() {
        return;
    }
    if host.parse::<IpAddr>().is_ok() {
        errors.push(FieldError::invalid(
            path,
            &host,
            "must be a DNS name, not an IP address",
        ));
        return;
    }
    for message in host_errors(host) {
        errors.push(FieldError::invalid(path, &host, message));
    }
}

/// What is wrong with a name, or all names one level below one (`IsWildcardDNS1123Subdomain`).
fn host_errors(host: &str) -> Vec<String> {
    match host.strip_prefix("*.") {
        Some(rest) => names::dns_subdomain(rest),
        None if host.contains('*') => {
            vec!["a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain".to_owned()]
        }
        None => names::dns_subdomain(host),
    }
}

fn validate_path(one: &HTTPIngressPath, path: &FieldPath, errors: &mut ErrorList) {
    let text = one.path.as_deref().unwrap_or_default();
    let at = path.field("path");
    let mut wrong = |detail: String| errors.push(FieldError::invalid(&at, &text, detail));
    match one.path_type.as_str() {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                wrong("must be an absolute path".to_owned());
            }
            for sequence in SEQUENCES.iter().filter(|sequence| text.contains(**sequence)) {
                wrong(format!("must not contain '{sequence}'"));
            }
            for sequence in ENDS.iter().filter(|sequence| text.ends_with(**sequence)) {
                wrong(format!("cannot end with '{sequence}'"));
            }
        }
        "ImplementationSpecific" if text.is_empty() || text.starts_with('/') => {}
        "ImplementationSpecific" => wrong("must be an absolute path".to_owned()),
        "" => {
            let at = path.field("pathType");
            errors.push(FieldError::required(&at, "pathType must be specified"));
        }
        other => {
            let at = path.field("pathType");
            errors.push(FieldError::not_supported(&at, other, &PATH_TYPES));
        }
    }
    validate_backend(&one.backend, &path.field("backend"), errors);
}

fn validate_backend(backend: &IngressBackend, path: &FieldPath, errors: &mut ErrorList) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(
                path,
                &"",
                "cannot set both resource and service backends",
            ));
        }
        (Some(_), None) => {}
        (None, None) => errors.push(FieldError::required(path, "resource or service backend is required")),
        (None, Some(service)) => validate_service(service, path, errors),
    }
}

fn validate_service(service: &IngressServiceBackend, path: &FieldPath, errors: &mut ErrorList) {
    let at = path.field("service");
    if service.name.is_empty() {
        errors.push(FieldError::required(&at.field("name"), ""));
    } else {
        for message in names::dns_1035_label(&service.name) {
            errors.push(FieldError::invalid(&at.field("name"), &service.name, message));
        }
    }
    let port = service.port.clone().unwrap_or_default();
    let (name, number) = (port.name.unwrap_or_default(), port.number.unwrap_or_default());
    let at = at.field("port");
    match (name.as_str(), number) {
        ("", 0) => errors.push(FieldError::required(path, "port name or number is required")),
        ("", number) => {
            if let Some(message) = names::port_number(number.into()) {
                errors.push(FieldError::invalid(&at.field("number"), &number, message));
            }
        }
        (name, 0) => {
            for message in names::port_name(name) {
                errors.push(FieldError::invalid(&at.field("name"), &name, message));
            }
        }
        _ => errors.push(FieldError::invalid(
            path,
            &"",
            "cannot set both port name & port number",
        )),
    }
}

/// Checks a class.
pub fn validate_class(class: &IngressClass, path: &FieldPath, errors: &mut ErrorList) {
    let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
    let controller = controller.unwrap_or_default();
    let at = path.field("controller");
    if controller.len() > MAX_CONTROLLER {
        errors.push(FieldError::too_long(&at, MAX_CONTROLLER));
    }
    if !controller.is_empty() && !controller.contains('/') {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(&at, &controller, detail));
    }
}

/// Checks a class's change: whose it is stays.
pub fn validate_class_update(new: &IngressClass, old: &IngressClass, errors: &mut ErrorList) {
    let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
    if controller(new) != controller(old) {
        let at = FieldPath::of(&["spec", "controller"]);
        errors.push(FieldError::invalid(&at, &controller(new), "field is immutable"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(spec: Value) -> Vec<String> {
        let ingress = json!({"metadata": {"name": "web"}, "spec": spec});
        let ingress = serde_json::from_value(ingress).expect("is of the type");
        let mut errors = ErrorList::default();
        validate_ingress(&ingress, &FieldPath::of(&["spec"]), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    fn rule(host: &str, mut path: Value) -> Value {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let fields = path.as_object_mut().expect("an object");
        fields.entry("backend").or_insert(backend);
        json!({"rules": [{"host": host, "http": {"paths": [path]}}]})
    }

    #[test]
    fn what_upstream_takes_is_taken() {
        let default = json!({"service": {"name": "web", "port": {"name": "http"}}});
        for spec in [
            rule("web.example", json!({"path": "/", "pathType": "Prefix"})),
            rule("*.web.example", json!({"path": "/a.b/c", "pathType": "Exact"})),
            rule("", json!({"pathType": "ImplementationSpecific"})),
            json!({"defaultBackend": default, "tls": [{}, {"hosts": ["*.a.b"], "secretName": "s"}]}),
        ] {
            assert_eq!(errors(spec.clone()), Vec::<String>::new(), "{spec}");
        }
    }

    #[test]
    fn what_upstream_refuses_is_refused_at_its_field() {
        let path = |text: &str| rule("a.b", json!({"path": text, "pathType": "Prefix"}));
        let backend = |backend: Value| rule("a.b", json!({"path": "/", "pathType": "Exact", "backend": backend}));
        let number = json!({"service": {"name": "web", "port": {"number": 70_000}}});
        for (spec, expected) in [
            (
                json!({}),
                "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
            ),
            (
                path("web"),
                "PATH.path: Invalid value: \"web\": must be an absolute path",
            ),
            (
                path("/a//b"),
                "PATH.path: Invalid value: \"/a//b\": must not contain '//'",
            ),
            (
                path("/a/.."),
                "PATH.path: Invalid value: \"/a/..\": cannot end with '/..'",
            ),
            (
                rule("10.0.0.1", json!({"path": "/", "pathType": "Prefix"})),
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ),
            (
                rule("a.b", json!({"path": "/", "pathType": ""})),
                "PATH.pathType: Required value: pathType must be specified",
            ),
            (
                backend(json!({})),
                "PATH.backend: Required value: resource or service backend is required",
            ),
            (
                backend(json!({"service": {"name": "web"}})),
                "PATH.backend: Required value: port name or number is required",
            ),
            (
                backend(number),
                "PATH.backend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
        ] {
            assert_eq!(errors(spec), [expected.replace("PATH", "spec.rules[0].http.paths[0]")]);
        }
    }
}
