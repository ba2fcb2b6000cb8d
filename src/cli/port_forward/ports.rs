//! Which port of which pod is meant. Pure.

use std::str::FromStr;

use serde_json::Value;

use crate::cli::pods::name_of;

/// `[LOCAL:]REMOTE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Where to listen: 0 is any free port, `None` the same as the other side's.
    pub local: Option<u16>,
    /// What to connect to.
    pub remote: Port,
}

/// A port by its number or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// `80`.
    Number(u16),
    /// `http`.
    Name(String),
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = match text.split_once(':') {
            None => (None, text),
            Some(("", remote)) => (Some(0), remote),
            Some((local, remote)) => {
                let local = local.parse();
                (
                    Some(local.map_err(|_| format!("{text:?} does not begin with a port"))?),
                    remote,
                )
            }
        };
        let remote = match remote.parse() {
            Ok(0) => return Err("remote port must be > 0".to_owned()),
            Ok(number) => Port::Number(number),
            Err(_) if remote.starts_with(|c: char| c.is_ascii_alphabetic()) => Port::Name(remote.to_owned()),
            Err(_) => return Err(format!("{remote:?} is neither a port nor a port's name")),
        };
        Ok(Self { local, remote })
    }
}

/// The port on which a user expects an object's `wanted` port: as it calls it itself.
///
/// # Errors
/// In kubectl's words, when it has none of that name.
pub fn plan_local(object: &Value, pod: &Value, wanted: &Port) -> Result<u16, String> {
    match (object["kind"].as_str(), wanted) {
        (_, Port::Number(number)) => Ok(*number),
        (Some("Service"), Port::Name(_)) => number(service_port(object, wanted)?.get("port")),
        (_, Port::Name(name)) => container_port(pod, name),
    }
}

/// The pod's port that is meant by an object's `wanted` port: of a Service it is what its port leads to.
///
/// # Errors
/// In kubectl's words, when there is none.
pub fn plan_remote(object: &Value, pod: &Value, wanted: &Port) -> Result<u16, String> {
    let is_service = object["kind"] == "Service";
    match wanted {
        Port::Name(name) if !is_service => container_port(pod, name),
        Port::Number(number) if !is_service => Ok(*number),
        // Nothing leads anywhere there: names of a headless Service are the pods' own addresses.
        Port::Number(number) if object.pointer("/spec/clusterIP") == Some(&"None".into()) => Ok(*number),
        Port::Number(_) | Port::Name(_) => {
            let port = service_port(object, wanted)?;
            match port.get("targetPort") {
                Some(Value::String(name)) => container_port(pod, name),
                Some(target) if target != 0 => number(Some(target)),
                Some(_) | None => number(port.get("port")),
            }
        }
    }
}

fn service_port<'s>(service: &'s Value, wanted: &Port) -> Result<&'s Value, String> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let found = ports.into_iter().flatten().find(|port| match wanted {
        Port::Number(number) => port["port"] == *number,
        Port::Name(name) => port["name"] == name.as_str(),
    });
    found.ok_or_else(|| {
        let service = name_of(service);
        match wanted {
            Port::Number(number) => format!("Service {service} does not have a service port {number}"),
            Port::Name(name) => format!("Service '{service}' does not have a named port '{name}'"),
        }
    })
}

fn container_port(pod: &Value, name: &str) -> Result<u16, String> {
    let lists = ["/spec/containers", "/spec/initContainers"];
    let containers = lists.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    let mut ports = containers
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten();
    let found = ports.find(|port| port["name"] == name);
    let found = found.ok_or_else(|| format!("Pod '{}' does not have a named port '{name}'", name_of(pod)))?;
    number(found.get("containerPort"))
}

fn number(value: Option<&Value>) -> Result<u16, String> {
    let number = value
        .and_then(Value::as_u64)
        .and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| "a port without a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_read_as_kubectl_reads_them() {
        let mapping = |local, remote| Ok(Mapping { local, remote });
        let name = |name: &str| Port::Name(name.to_owned());
        assert_eq!("80".parse(), mapping(None, Port::Number(80)));
        assert_eq!("8080:80".parse(), mapping(Some(8080), Port::Number(80)));
        assert_eq!(":80".parse(), mapping(Some(0), Port::Number(80)));
        assert_eq!("8080:http".parse(), mapping(Some(8080), name("http")));
        assert_eq!("https".parse(), mapping(None, name("https")));
        for wrong in ["", ":", "x:80", "80:0", "80:-1", "80000:80", "1:2:3"] {
            assert!(wrong.parse::<Mapping>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_lead_where_the_object_says() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "ports": [{"name": "web", "containerPort": 8080}]}]}});
        let service = json!({"kind": "Service", "metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1", "ports": [
            {"name": "http", "port": 80, "targetPort": "web"}, {"port": 81}, {"port": 82, "targetPort": 9000}]}});
        let headless = json!({"kind": "Service", "metadata": {"name": "s"}, "spec": {"clusterIP": "None"}});
        let name = |name: &str| Port::Name(name.to_owned());
        for (object, wanted, local, remote) in [
            (&pod, Port::Number(80), Ok(80), Ok(80)),
            (&pod, name("web"), Ok(8080), Ok(8080)),
            (&service, Port::Number(80), Ok(80), Ok(8080)),
            (&service, name("http"), Ok(80), Ok(8080)),
            (&service, Port::Number(81), Ok(81), Ok(81)),
            (&service, Port::Number(82), Ok(82), Ok(9000)),
            (
                &service,
                Port::Number(83),
                Ok(83),
                Err("Service s does not have a service port 83"),
            ),
            (
                &service,
                name("x"),
                Err("Service 's' does not have a named port 'x'"),
                Err("Service 's' does not have a named port 'x'"),
            ),
            (&headless, Port::Number(5432), Ok(5432), Ok(5432)),
            (
                &pod,
                name("x"),
                Err("Pod 'p' does not have a named port 'x'"),
                Err("Pod 'p' does not have a named port 'x'"),
            ),
        ] {
            assert_eq!(
                plan_local(object, &pod, &wanted),
                local.map_err(str::to_owned),
                "{wanted:?}"
            );
            assert_eq!(
                plan_remote(object, &pod, &wanted),
                remote.map_err(str::to_owned),
                "{wanted:?}"
            );
        }
    }
}
