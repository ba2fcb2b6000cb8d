//! What the user says about registries in `config.yaml`, and which endpoints follow from it. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::image::error::ImageError;
use crate::image::reference::{DEFAULT_DOMAIN, Reference, is_domain, is_path};

/// Where the images of the default registry's name are really served.
const DEFAULT_HOST: &str = "registry-1.docker.io";

/// What the user set about registries. Everything has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// By host as it stands in references, with its port: `docker.io`, `registry.corp:5000`.
    pub hosts: BTreeMap<String, HostSettings>,
    /// What names without a registry mean: `postgres` to `quay.io/corp/postgres`. The tag stays.
    pub short_names: BTreeMap<String, String>,
}

/// What the user set about one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HostSettings {
    /// Asked first, in order, for what this registry has: `host[:port][/prefix]`.
    pub mirrors: Vec<String>,
    /// A file of certificates (PEM) that this registry is trusted by, beside those of the machine.
    pub ca: Option<PathBuf>,
    /// Takes certificates that nobody vouches for, and plain HTTP where TLS is not spoken.
    pub insecure: bool,
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TLS with a certificate that is trusted.
    Tls,
    /// Plain HTTP, and TLS where that is what answers: nobody listens in on the loopback device.
    Loopback,
    /// TLS with any certificate, and plain HTTP where TLS is not spoken.
    Insecure,
}

/// A place where a repository can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect to: host and port.
    pub host: String,
    /// The name that credentials are kept under.
    pub domain: String,
    /// The repository's path there.
    pub repository: String,
    pub transport: Transport,
    /// Certificates beside the machine's.
    pub ca: Option<PathBuf>,
}

impl RegistrySettings {
    /// Whether all of it can be used.
    ///
    /// # Errors
    /// A sentence that names the wrong entry.
    pub fn check(&self) -> Result<(), String> {
        for (host, settings) in &self.hosts {
            if !is_domain(host) {
                return Err(format!("registries: {host:?} is not a registry's host"));
            }
            if let Some(mirror) = settings.mirrors.iter().find(|mirror| !is_mirror(mirror)) {
                return Err(format!(
                    "registries: {host}: mirror {mirror:?} is not host[:port][/prefix]"
                ));
            }
        }
        for (short, full) in &self.short_names {
            let target = Reference::parse(full).ok();
            if short.contains(['/', ':', '@']) || !is_path(short) {
                return Err(format!("shortNames: {short:?} is not a name without registry and tag"));
            }
            if target.is_none_or(|target| target.repository() != *full) {
                return Err(format!(
                    "shortNames: {short}: {full:?} is not a whole name without tag, as in quay.io/corp/postgres"
                ));
            }
        }
        Ok(())
    }

    /// Reads a reference as [`Reference::parse`] does, short names replaced.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`].
    pub fn reference(&self, name: &str) -> Result<Reference, ImageError> {
        let end = name.find([':', '@']).unwrap_or(name.len());
        let (short, rest) = name.split_at(end);
        match self.short_names.get(short) {
            Some(full) => Reference::parse(&format!("{full}{rest}")),
            None => Reference::parse(name),
        }
    }

    /// The endpoints to ask for a reference: the mirrors in their order, then the registry itself.
    pub fn plan_endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let domain = reference.domain();
        let mirrors = self.hosts.get(domain).into_iter().flat_map(|host| &host.mirrors);
        let of_mirror = |mirror: &String| match mirror.split_once('/') {
            Some((host, prefix)) => self.endpoint(host, format!("{prefix}/{}", reference.path())),
            None => self.endpoint(mirror, reference.path().to_owned()),
        };
        mirrors
            .map(of_mirror)
            .chain([self.endpoint(domain, reference.path().to_owned())])
            .collect()
    }

    fn endpoint(&self, domain: &str, repository: String) -> Endpoint {
        let settings = self.hosts.get(domain);
        let transport = match settings {
            Some(settings) if settings.insecure => Transport::Insecure,
            _ if is_loopback(domain) => Transport::Loopback,
            _ => Transport::Tls,
        };
        let host = if domain == DEFAULT_DOMAIN { DEFAULT_HOST } else { domain };
        Endpoint {
            host: host.to_owned(),
            domain: domain.to_owned(),
            repository,
            transport,
            ca: settings.and_then(|settings| settings.ca.clone()),
        }
    }
}

fn is_mirror(mirror: &str) -> bool {
    match mirror.split_once('/') {
        Some((host, prefix)) => is_domain(host) && is_path(prefix),
        None => is_domain(mirror),
    }
}

/// Whether the host is this machine whatever a name server says: 127.0.0.0/8, `[::1]`, `localhost`.
pub fn is_loopback(host: &str) -> bool {
    let name = name_of(host);
    name == "localhost"
        || name
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// A host without its port and brackets, as certificates have it.
pub fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[(&str, HostSettings)], short_names: &[(&str, &str)]) -> RegistrySettings {
        let text = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        RegistrySettings {
            hosts: hosts.iter().map(|(host, s)| ((*host).to_owned(), s.clone())).collect(),
            short_names: short_names.iter().map(text).collect(),
        }
    }

    fn mirrors(mirrors: &[&str]) -> HostSettings {
        HostSettings {
            mirrors: mirrors.iter().map(ToString::to_string).collect(),
            ..HostSettings::default()
        }
    }

    #[test]
    fn mirrors_are_asked_first_each_as_its_own_entry_says() {
        let insecure = HostSettings {
            insecure: true,
            ..HostSettings::default()
        };
        let settings = settings(
            &[
                ("docker.io", mirrors(&["m.corp:5000", "n.corp/hub", "127.0.0.1:5000"])),
                ("m.corp:5000", insecure),
            ],
            &[],
        );
        let nginx = Reference::parse("nginx").expect("a name");
        let found = settings.plan_endpoints(&nginx);
        let seen: Vec<_> = found
            .iter()
            .map(|e| (e.host.as_str(), e.repository.as_str(), e.transport))
            .collect();
        assert_eq!(
            seen,
            [
                ("m.corp:5000", "library/nginx", Transport::Insecure),
                ("n.corp", "hub/library/nginx", Transport::Tls),
                ("127.0.0.1:5000", "library/nginx", Transport::Loopback),
                ("registry-1.docker.io", "library/nginx", Transport::Tls),
            ]
        );
        assert_eq!(found[3].domain, "docker.io");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "10.0.0.1",
            "localhost.evil.com",
            "127.evil.com",
            "[::2]:5000",
            "registry",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_short_name_means_what_the_user_says_and_keeps_its_tag() {
        let settings = settings(&[], &[("pg", "quay.io/corp/postgres")]);
        for (name, means) in [
            ("pg", "quay.io/corp/postgres:latest"),
            ("pg:15", "quay.io/corp/postgres:15"),
            ("nginx:1", "docker.io/library/nginx:1"),
            ("docker.io/pg", "docker.io/library/pg:latest"),
            ("corp/pg", "docker.io/corp/pg:latest"),
        ] {
            assert_eq!(settings.reference(name).expect("a name").to_string(), means);
        }
    }

    #[test]
    fn what_can_not_be_used_is_named() {
        for (settings, word) in [
            (settings(&[("https://x", HostSettings::default())], &[]), "https://x"),
            (settings(&[("a.io", mirrors(&["http://m"]))], &[]), "http://m"),
            (settings(&[], &[("a/b", "q.io/c")]), "a/b"),
            (settings(&[], &[("a", "c")]), "\"c\""),
            (settings(&[], &[("a", "q.io/c:1")]), "q.io/c:1"),
        ] {
            let why = settings.check().expect_err("wrong");
            assert!(why.contains(word), "{why}");
        }
        assert_eq!(
            settings(&[("[::1]:5", mirrors(&["m/x"]))], &[("a", "q.io/c")]).check(),
            Ok(())
        );
    }
}
