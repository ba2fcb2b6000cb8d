//! What a probe or hook asks, from its spec and its container's ports. Pure.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{ACCEPT, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::ProbeKind;

/// What services see of who asks; the level of the API is the one that the node speaks.
pub(super) const PROBE_AGENT: &str = "kube-probe/1.37";
/// The same for hooks.
const HOOK_AGENT: &str = "kube-lifecycle/1.37";

/// A probe, ready to be asked again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it asks after.
    pub kind: ProbeKind,
    /// How it asks; or why it can't, which makes every check an error.
    pub handler: Result<Handler, String>,
    /// After a run's start, this passes before the first check.
    pub initial_delay: Duration,
    /// From one check to the next.
    pub period: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Checks in a row that make a success.
    pub success_threshold: u32,
    /// Checks in a row that make a failure.
    pub failure_threshold: u32,
}

/// How something is asked of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// A command that must exit with 0.
    Exec(Vec<String>),
    /// A GET that must be answered by a status below 400.
    Http(HttpGet),
    /// A port that must accept a connection.
    Tcp(Endpoint),
    /// A health service (`grpc.health.v1.Health`) that must say SERVING.
    Grpc {
        /// Where it listens.
        endpoint: Endpoint,
        /// The service asked after; empty is the whole server.
        service: String,
    },
}

impl Handler {
    /// The same, with the pod's address for an endpoint that names no host.
    #[must_use]
    pub fn at(self, ip: Option<IpAddr>) -> Self {
        match self {
            Self::Exec(command) => Self::Exec(command),
            Self::Http(get) => Self::Http(get.at(ip)),
            Self::Tcp(endpoint) => Self::Tcp(endpoint.at(ip)),
            Self::Grpc { endpoint, service } => Self::Grpc {
                endpoint: endpoint.at(ip),
                service,
            },
        }
    }
}

impl HttpGet {
    /// The same, with the pod's address if it names no host.
    #[must_use]
    pub fn at(self, ip: Option<IpAddr>) -> Self {
        Self {
            endpoint: self.endpoint.at(ip),
            ..self
        }
    }
}

impl Endpoint {
    fn at(self, ip: Option<IpAddr>) -> Self {
        Self {
            host: self.host.or_else(|| ip.map(|ip| ip.to_string())),
            ..self
        }
    }
}

/// What a life cycle hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAction {
    /// A command that must exit with 0.
    Exec(Vec<String>),
    /// A GET that must be answered.
    Http(HttpGet),
    /// Time that must pass.
    Sleep(Duration),
}

/// Where a container listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; `None` is the pod itself.
    pub host: Option<String>,
    /// The port's number.
    pub port: u16,
}

impl Endpoint {
    /// Whom to ask; the pod itself on its loopback, where nobody named an address.
    pub(super) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("127.0.0.1")
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// Whom to ask.
    pub endpoint: Endpoint,
    /// Whether by TLS. Certificates are not checked, as upstream: probes go to an address that no certificate names.
    pub is_tls: bool,
    /// Path and query.
    pub path: String,
    /// Headers, complete but for a `Host` that is not set.
    pub headers: HeaderMap,
}

/// What the probe of a container asks.
pub fn plan_check(kind: ProbeKind, probe: &Probe, container: &Container) -> Check {
    let seconds = |value: Option<i32>, default: u64| {
        let given = value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
        Duration::from_secs(given.unwrap_or(default))
    };
    let count = |value: Option<i32>, default: u32| value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default);
    Check {
        kind,
        handler: plan_probe_handler(probe, container),
        initial_delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 10),
        timeout: seconds(probe.timeout_seconds, 1),
        success_threshold: count(probe.success_threshold, 1),
        failure_threshold: count(probe.failure_threshold, 3),
    }
}

fn plan_probe_handler(probe: &Probe, container: &Container) -> Result<Handler, String> {
    if let Some(exec) = &probe.exec {
        return Ok(Handler::Exec(exec.command.clone().unwrap_or_default()));
    }
    if let Some(get) = &probe.http_get {
        return plan_http(get, container, PROBE_AGENT).map(Handler::Http);
    }
    if let Some(socket) = &probe.tcp_socket {
        let endpoint = endpoint(socket.host.as_deref(), &socket.port, container)?;
        return Ok(Handler::Tcp(endpoint));
    }
    let grpc = probe.grpc.as_ref().ok_or("missing probe handler")?;
    Ok(Handler::Grpc {
        endpoint: endpoint(None, &IntOrString::Int(grpc.port), container)?,
        service: grpc.service.clone().unwrap_or_default(),
    })
}

/// What a life cycle hook of a container does.
///
/// # Errors
/// When it can't be done; `tcpSocket` never could be, upstream either (kubelet `handlerRunner.Run`).
pub fn plan_hook(hook: &LifecycleHandler, container: &Container) -> Result<HookAction, String> {
    if let Some(exec) = &hook.exec {
        return Ok(HookAction::Exec(exec.command.clone().unwrap_or_default()));
    }
    if let Some(get) = &hook.http_get {
        return plan_http(get, container, HOOK_AGENT).map(HookAction::Http);
    }
    let sleep = hook.sleep.as_ref().ok_or("invalid handler")?;
    Ok(HookAction::Sleep(Duration::from_secs(
        u64::try_from(sleep.seconds).unwrap_or(0),
    )))
}

fn endpoint(host: Option<&str>, port: &IntOrString, container: &Container) -> Result<Endpoint, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        // A name, or a number written as text (kubelet `ResolveContainerPort`).
        IntOrString::String(name) => named_port(name, container)
            .or_else(|| name.parse().ok())
            .ok_or_else(|| format!("couldn't find port: {name} in container: {}", container.name))?,
    };
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    Ok(Endpoint {
        host: host.filter(|host| !host.is_empty()).map(str::to_owned),
        port: port.ok_or_else(|| format!("invalid port number: {number}"))?,
    })
}

fn named_port(name: &str, container: &Container) -> Option<i32> {
    let mut ports = container.ports.iter().flatten();
    ports
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}

fn plan_http(get: &HTTPGetAction, container: &Container, agent: &'static str) -> Result<HttpGet, String> {
    let path = get.path.as_deref().unwrap_or_default();
    Ok(HttpGet {
        endpoint: endpoint(get.host.as_deref(), &get.port, container)?,
        is_tls: get.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        },
        headers: headers(get, agent)?,
    })
}

/// The headers that were asked for, and those that every probe has (`probe/http` `NewRequestForHTTPGetAction`).
fn headers(get: &HTTPGetAction, agent: &'static str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in get.http_headers.iter().flatten() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let name = name.map_err(|_| format!("invalid header name {:?}", header.name))?;
        let value = HeaderValue::from_str(&header.value);
        let value = value.map_err(|_| format!("invalid value of header {name}"))?;
        // A request has one host.
        if name == HOST {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    headers
        .entry(USER_AGENT)
        .or_insert_with(|| HeaderValue::from_static(agent));
    headers.entry(ACCEPT).or_insert_with(|| HeaderValue::from_static("*/*"));
    // An empty `Accept` asks for none at all.
    if headers[ACCEPT].is_empty() {
        headers.remove(ACCEPT);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container() -> Container {
        let ports = json!([{"name": "web", "containerPort": 8080}]);
        serde_json::from_value(json!({"name": "c", "ports": ports})).expect("a container")
    }

    fn planned(probe: serde_json::Value) -> Check {
        let probe = serde_json::from_value(probe).expect("a probe");
        plan_check(ProbeKind::Readiness, &probe, &container())
    }

    fn http(get: serde_json::Value) -> HttpGet {
        match planned(json!({"httpGet": get})).handler {
            Ok(Handler::Http(get)) => get,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_probe_leaves_out_has_kubernetes_defaults() {
        let check = planned(json!({"tcpSocket": {"port": "web"}}));
        let endpoint = Endpoint { host: None, port: 8080 };
        assert_eq!(check.handler, Ok(Handler::Tcp(endpoint)));
        let times = [check.initial_delay, check.period, check.timeout];
        assert_eq!(times, [0, 10, 1].map(Duration::from_secs));
        assert_eq!((check.success_threshold, check.failure_threshold), (1, 3));
    }

    #[test]
    fn ports_are_numbers_or_names_of_the_containers_ports() {
        for (port, expected) in [
            (json!(80), Ok(80)),
            (json!("web"), Ok(8080)),
            (json!("81"), Ok(81)),
            (
                json!("other"),
                Err("couldn't find port: other in container: c".to_owned()),
            ),
            (json!(0), Err("invalid port number: 0".to_owned())),
            (json!(70000), Err("invalid port number: 70000".to_owned())),
        ] {
            let found = planned(json!({"tcpSocket": {"port": port}})).handler;
            let found = found.map(|handler| match handler {
                Handler::Tcp(endpoint) => endpoint.port,
                other => panic!("{other:?}"),
            });
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn headers_are_those_asked_for_and_those_of_every_probe() {
        let header = |name: &str, value: &str| json!({"name": name, "value": value});
        let shown = |get: serde_json::Value| {
            let headers = http(get).headers;
            let mut lines: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(
            shown(json!({"port": 1})),
            ["accept: */*", "user-agent: kube-probe/1.37"]
        );
        let asked = [
            header("Host", "a"),
            header("X-A", "1"),
            header("x-a", "2"),
            header("Accept", ""),
            header("User-Agent", "me"),
        ];
        assert_eq!(
            shown(json!({"port": 1, "httpHeaders": asked})),
            ["host: a", "user-agent: me", "x-a: 1", "x-a: 2"]
        );
        let broken = planned(json!({"httpGet": {"port": 1, "httpHeaders": [header("X", "a\nb")]}}));
        assert_eq!(broken.handler, Err("invalid value of header x".to_owned()));
    }

    #[test]
    fn a_hook_runs_gets_or_sleeps_and_never_opens_a_socket() {
        let hook = |hook| plan_hook(&serde_json::from_value(hook).expect("a hook"), &container());
        assert_eq!(
            hook(json!({"exec": {"command": ["a", "b"]}})),
            Ok(HookAction::Exec(vec!["a".into(), "b".into()]))
        );
        assert_eq!(
            hook(json!({"sleep": {"seconds": 3}})),
            Ok(HookAction::Sleep(Duration::from_secs(3)))
        );
        assert!(matches!(
            hook(json!({"httpGet": {"port": "web"}})),
            Ok(HookAction::Http(_))
        ));
        assert_eq!(
            hook(json!({"tcpSocket": {"port": 1}})),
            Err("invalid handler".to_owned())
        );
    }
}
