//! What is asked for, as people write it: names as in DNS, and ports by number or name. Pure.

use std::fmt;
use std::net::IpAddr;

use super::wiring::slices_of;
use crate::model::{CLUSTER_DOMAIN, Object, list_at, text_at};

/// A port as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port<'a> {
    /// Nothing is said.
    Any,
    Number(u16),
    /// One of a Service, or of a container.
    Named(&'a str),
}

/// Where a name may be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// That of an endpoint of the Service (`hostname.subdomain`).
    pub(super) hostname: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
}

impl Port<'_> {
    /// Its number.
    ///
    /// # Errors
    /// None is said, or it can't be known here.
    pub(super) fn number(self) -> Result<u16, String> {
        match self {
            Port::Number(number) => Ok(number),
            Port::Any => Err("which port? TO:PORT".to_owned()),
            Port::Named(word) => Err(format!(
                "{word:?} is no port: only Services and pods have ports with names"
            )),
        }
    }

    /// As it stands in a sentence that goes without it, too.
    pub(super) fn after_a_space(self) -> String {
        match self {
            Port::Any => String::new(),
            Port::Number(_) | Port::Named(_) => format!(" {self}"),
        }
    }
}

impl fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Any => f.write_str("any"),
            Port::Number(number) => write!(f, "{number}"),
            Port::Named(word) => f.write_str(word),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hostname {
            Some(hostname) => write!(f, "{hostname} of {}/{}", self.namespace, self.name),
            None => write!(f, "{}/{}", self.namespace, self.name),
        }
    }
}

/// Splits a target from its port.
///
/// # Errors
/// What stands there is no port.
pub(super) fn split_port(text: &str) -> Result<(&str, Port<'_>), String> {
    // An address of IPv6 stands in brackets where it has a port.
    let is_bare = text.ends_with(']') || text.parse::<std::net::Ipv6Addr>().is_ok();
    let Some((target, word)) = text.rsplit_once(':').filter(|_| !is_bare) else {
        return Ok((text, Port::Any));
    };
    let is_name = word.bytes().any(|byte| byte.is_ascii_lowercase())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match word.parse() {
        Ok(number) => Ok((target, Port::Number(number))),
        Err(_) if is_name => Ok((target, Port::Named(word))),
        Err(_) => Err(format!("{word:?} is no port")),
    }
}

/// Where a name is looked for by a pod of a namespace, in the order of its `resolv.conf`: `web`, `web.shop`, `web-0.web`, and each of them up to
/// the whole `web-0.web.shop.svc.cluster.local`.
pub(super) fn places<'a>(name: &'a str, own: &'a str) -> Vec<Place<'a>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let short = name
        .strip_suffix(CLUSTER_DOMAIN)
        .and_then(|rest| rest.strip_suffix('.'))
        .unwrap_or(name);
    let (short, is_whole) = short.strip_suffix(".svc").map_or((short, false), |rest| (rest, true));
    let parts: Vec<&str> = short.split('.').collect();
    let place = |hostname, name, namespace| Place {
        hostname,
        name,
        namespace,
    };
    match parts[..] {
        [name] => vec![place(None, name, own)],
        [name, namespace] if is_whole => vec![place(None, name, namespace)],
        [first, second] => vec![place(Some(first), second, own), place(None, first, second)],
        [hostname, name, namespace] => vec![place(Some(hostname), name, namespace)],
        _ => Vec::new(),
    }
}

pub(super) fn find<'a>(objects: &'a [Object], namespace: &str, name: &str) -> Option<&'a Object> {
    objects
        .iter()
        .find(|one| one.key().namespace == namespace && one.key().name == name)
}

/// The addresses of a Service's ready endpoints, whatever their ports: it may have none.
pub(super) fn lone_endpoints(service: &Object, slices: &[Object]) -> Vec<String> {
    let endpoints = slices_of(service, slices).flat_map(|slice| list_at(slice.value(), "/endpoints"));
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let written = |address: &str| match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    ready
        .map(|endpoint| written(text_at(endpoint, "/addresses/0")))
        .collect()
}

/// The address of the endpoint that a headless Service knows by a hostname: the one that the pod says, or its address with dashes.
pub(super) fn endpoint_called(service: &Object, hostname: &str, slices: &[Object]) -> Option<IpAddr> {
    if service.text("/spec/clusterIP") != "None" {
        return None;
    }
    let mut endpoints = slices_of(service, slices).flat_map(|slice| list_at(slice.value(), "/endpoints"));
    let endpoint = endpoints.find(|endpoint| match text_at(endpoint, "/hostname") {
        "" => text_at(endpoint, "/addresses/0").replace(['.', ':'], "-") == hostname,
        own => own == hostname,
    })?;
    text_at(endpoint, "/addresses/0").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_where_pods_look_for_them() {
        let place = |hostname: Option<&'static str>, name, namespace| Place {
            hostname,
            name,
            namespace,
        };
        for (name, expected) in [
            ("web", vec![place(None, "web", "own")]),
            (
                "web.shop",
                vec![place(Some("web"), "shop", "own"), place(None, "web", "shop")],
            ),
            ("web.shop.svc", vec![place(None, "web", "shop")]),
            ("web.shop.svc.cluster.local.", vec![place(None, "web", "shop")]),
            ("db-0.db.shop", vec![place(Some("db-0"), "db", "shop")]),
            (
                "db-0.db.shop.svc.cluster.local",
                vec![place(Some("db-0"), "db", "shop")],
            ),
            ("a.b.c.d", vec![]),
        ] {
            assert_eq!(places(name, "own"), expected, "{name}");
        }
    }

    #[test]
    fn a_port_is_a_number_or_a_name() {
        for (text, expected) in [
            ("web", Ok(("web", Port::Any))),
            ("web:80", Ok(("web", Port::Number(80)))),
            ("web:http", Ok(("web", Port::Named("http")))),
            ("web:70000", Err("\"70000\" is no port".to_owned())),
            ("web:", Err("\"\" is no port".to_owned())),
            ("web:h/x", Err("\"h/x\" is no port".to_owned())),
        ] {
            assert_eq!(split_port(text), expected, "{text}");
        }
    }
}
