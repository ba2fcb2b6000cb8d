//! Where a request leads: hosts, paths, and the endpoints behind them. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::sign::CertifiedKey;

/// The domain of Services' own names: every resolver takes names below it for this machine (RFC 6761).
const OWN_DOMAIN: &str = ".localhost";

/// Everything that is served.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) rules: Rules,
    /// Where requests go that no rule is for.
    pub(super) default: Option<Arc<Backend>>,
    /// Services by `name.namespace`.
    pub(super) services: BTreeMap<String, Arc<Backend>>,
    /// Certificates by host; `*.` begins those of all names one level below.
    pub(super) certificates: BTreeMap<String, Arc<CertifiedKey>>,
}

/// The rules by their host: a name, all names one level below another one (`*.example.com`), or any, which is empty.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<String, Vec<Path>>);

/// A path of a rule.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) path: String,
    pub(super) is_exact: bool,
    pub(super) backend: Arc<Backend>,
}

/// What a connection to a backend leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    /// An endpoint of a Service.
    Address(SocketAddr),
    /// A name elsewhere and a port (`ExternalName`), as the host resolves it whenever it is connected.
    Name(String, u16),
}

/// How a port is spoken to. Each may be without the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Speech {
    pub(super) is_tls: bool,
    /// HTTP/2 from the first byte, as gRPC needs it.
    pub(super) is_http2: bool,
}

/// The endpoints of a Service's port.
#[derive(Debug, Default)]
pub(super) struct Backend {
    /// `namespace/service:port`, for messages.
    pub(super) name: String,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) speech: Speech,
    turn: AtomicUsize,
}

impl Endpoint {
    /// As a URI names it: a name ends with a dot, so that one that looks like an address is not taken for an endpoint's.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Name(name, port) => format!("{name}.:{port}"),
        }
    }

    /// What [`authority`](Self::authority) made.
    pub(super) fn of_authority(text: &str) -> Option<Endpoint> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let (name, port) = text.rsplit_once(":")?;
        Some(Self::Name(name.strip_suffix('.')?.to_owned(), port.parse().ok()?))
    }
}

impl Speech {
    /// What a port's `appProtocol` says, in the words of Kubernetes and of other controllers; `None` for words that are not known here.
    pub(super) fn of(app_protocol: &str) -> Option<Speech> {
        let (is_tls, is_http2) = match app_protocol.to_ascii_lowercase().as_str() {
            "" | "http" | "ws" | "kubernetes.io/ws" => (false, false),
            "kubernetes.io/h2c" | "h2c" | "grpc" => (false, true),
            "https" | "wss" | "kubernetes.io/wss" => (true, false),
            "grpcs" => (true, true),
            _ => return None,
        };
        Some(Speech { is_tls, is_http2 })
    }
}

impl Backend {
    pub(super) fn new(name: String, endpoints: Vec<Endpoint>, speech: Speech) -> Backend {
        Backend {
            name,
            endpoints,
            speech,
            turn: AtomicUsize::new(0),
        }
    }

    /// The endpoints in the order in which a request tries them: each one begins with another.
    pub(super) fn turn(&self) -> Vec<Endpoint> {
        let mut endpoints = self.endpoints.clone();
        if !endpoints.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len();
            endpoints.rotate_left(first);
        }
        endpoints
    }
}

impl Rules {
    /// Enters a path; of two that are the same the first one counts. Says whether this one does.
    pub(super) fn enter(&mut self, host: &str, path: Path) -> bool {
        let paths = self.0.entry(host.to_lowercase()).or_default();
        let is_new = !paths
            .iter()
            .any(|other| other.path == path.path && other.is_exact == path.is_exact);
        if is_new {
            paths.push(path);
        }
        is_new
    }

    /// Has the longest paths tried first, and exact ones before others.
    pub(super) fn sort(&mut self) {
        for paths in self.0.values_mut() {
            paths.sort_by_key(|path| (std::cmp::Reverse(path.path.trim_end_matches('/').len()), !path.is_exact));
        }
    }
}

impl Path {
    /// Whether a request's path is this one or, unless it is exact, below it: element by element.
    fn matches(&self, path: &str) -> bool {
        if self.is_exact {
            return self.path == path;
        }
        let prefix = self.path.trim_end_matches('/');
        let rest = path.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Routes {
    /// Where a request leads; `None` if nowhere. A Service's own name is more than a rule for any host, and less than one for it.
    pub(super) fn find(&self, host: &str, path: &str) -> Option<&Arc<Backend>> {
        let host = bare(host);
        let named = [Some(host.clone()), above(&host)].into_iter().flatten();
        for name in named {
            if let Some(paths) = self.rules.0.get(&name) {
                return backend(paths, path).or(self.default.as_ref());
            }
        }
        if let Some(service) = self.service(&host) {
            return Some(service);
        }
        let of_any = self.rules.0.get("").and_then(|paths| backend(paths, path));
        of_any.or(self.default.as_ref())
    }

    /// All that requests may lead to.
    pub(super) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let of_rules = self.rules.0.values().flatten().map(|path| &path.backend);
        of_rules.chain(&self.default).chain(self.services.values())
    }

    fn service(&self, host: &str) -> Option<&Arc<Backend>> {
        self.services.get(host.strip_suffix(OWN_DOMAIN)?)
    }

    /// The certificate that was given for a name.
    pub(super) fn certificate(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = bare(name);
        let by_name = self.certificates.get(&name);
        by_name.or_else(|| self.certificates.get(&above(&name)?))
    }
}

fn backend<'a>(paths: &'a [Path], path: &str) -> Option<&'a Arc<Backend>> {
    paths.iter().find(|one| one.matches(path)).map(|one| &one.backend)
}

/// A host's name without a port, a last dot and capitals.
fn bare(host: &str) -> String {
    // An address of IPv6 stands in brackets, and no rule is for it.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_end_matches('.').to_lowercase()
}

/// How rules call all names beside this one.
fn above(name: &str) -> Option<String> {
    let (first, rest) = name.split_once('.')?;
    (!first.is_empty() && !rest.is_empty()).then(|| format!("*.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Arc<Backend> {
        Arc::new(Backend::new(name.to_owned(), Vec::new(), Speech::default()))
    }

    fn routes(paths: &[(&str, &str, bool)]) -> Routes {
        let mut routes = Routes::default();
        for (host, path, is_exact) in paths {
            let path = Path {
                path: (*path).to_owned(),
                is_exact: *is_exact,
                backend: named(&format!("{host}{path}{}", if *is_exact { "!" } else { "" })),
            };
            routes.rules.enter(host, path);
        }
        routes.rules.sort();
        routes
    }

    fn found<'a>(routes: &'a Routes, host: &str, path: &str) -> &'a str {
        routes.find(host, path).map_or("", |backend| backend.name.as_str())
    }

    #[test]
    fn paths_match_as_the_table_of_kubernetes_says() {
        for (path, is_exact, asked, expected) in [
            ("/", false, "/foo/bar", true),
            ("/foo", true, "/foo", true),
            ("/foo", true, "/bar", false),
            ("/foo", true, "/foo/", false),
            ("/foo/", true, "/foo", false),
            ("/foo", false, "/foo", true),
            ("/foo", false, "/foo/", true),
            ("/foo/", false, "/foo", true),
            ("/foo/", false, "/foo/", true),
            ("/aaa/bb", false, "/aaa/bbb", false),
            ("/aaa/bbb", false, "/aaa/bbb", true),
            ("/aaa/bbb/", false, "/aaa/bbb", true),
            ("/aaa/bbb", false, "/aaa/bbb/ccc", true),
            ("/aaa/bbb", false, "/aaa/bbbxyz", false),
        ] {
            let routes = routes(&[("", path, is_exact)]);
            assert_eq!(
                routes.find("any", asked).is_some(),
                expected,
                "{path} {is_exact} {asked}"
            );
        }
    }

    #[test]
    fn the_longest_path_wins_and_an_exact_one_before_others() {
        let routes = routes(&[
            ("", "/", false),
            ("", "/aaa", false),
            ("", "/aaa", true),
            ("", "/aaa/bbb", false),
        ]);
        for (asked, expected) in [
            ("/aaa", "/aaa!"),
            ("/aaa/x", "/aaa"),
            ("/aaa/bbb/c", "/aaa/bbb"),
            ("/c", "/"),
        ] {
            assert_eq!(found(&routes, "any", asked), expected, "{asked}");
        }
    }

    #[test]
    fn hosts_are_names_or_all_names_one_level_below() {
        let mut routes = routes(&[("foo.com", "/", false), ("*.foo.com", "/w", false), ("", "/", false)]);
        routes.services.insert("web.default".to_owned(), named("web"));
        for (host, path, expected) in [
            ("foo.com", "/", "foo.com/"),
            ("FOO.com:8080", "/", "foo.com/"),
            ("foo.com.", "/", "foo.com/"),
            ("bar.foo.com", "/w", "*.foo.com/w"),
            // The host has rules of its own, and none is for this path.
            ("bar.foo.com", "/", ""),
            ("baz.bar.foo.com", "/w", "/"),
            ("web.default.localhost:10080", "/any", "web"),
            ("db.default.localhost", "/", "/"),
            ("[::1]:80", "/", "/"),
            ("", "/", "/"),
        ] {
            assert_eq!(found(&routes, host, path), expected, "{host}{path}");
        }
    }

    #[test]
    fn requests_take_turns() {
        let endpoints =
            ["10.244.0.2:80", "10.244.0.3:80"].map(|text| Endpoint::of_authority(text).expect("an address"));
        let backend = Backend::new(String::new(), endpoints.to_vec(), Speech::default());
        let firsts = [(); 3].map(|()| backend.turn().remove(0));
        assert_eq!(firsts, [0, 1, 0].map(|at: usize| endpoints[at].clone()));
        assert!(Backend::default().turn().is_empty());
    }
}
