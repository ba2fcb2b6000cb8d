//! `config.yaml`: the user's settings.

mod images;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::Deserialize;

use crate::device;
use crate::egress;
use crate::image::{HostSettings, Marks, RegistrySettings, StoreOptions};
use crate::ingress;
use crate::os::find_program;
use crate::pod::{EvictionSettings, Graces, Thresholds};
use crate::service;
use crate::source::Overlays;

use images::ImageSettings;

/// Settings of a node. Everything has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Config {
    /// The OCI runtime: `embedded` (the default), or the name or path of `crun`, `runc` or `youki`.
    pub runtime: Option<String>,
    /// Runtimes that pods may choose by a RuntimeClass, by the handler's name: programs by name or path, or `embedded`. `kubelocal` is the
    /// embedded one, and `crun`, `runc` and `youki` are those of the PATH, if nothing else is said.
    pub runtimes: BTreeMap<String, String>,
    /// Overlays may name repositories, which git fetches once and which stay as they are until `cache/repositories` is
    /// emptied.
    pub remote_bases: bool,
    /// Overlays may name charts, which an installed helm renders.
    pub helm: bool,
    /// Registries by host: mirrors, certificate authorities, insecure ones.
    pub registries: BTreeMap<String, HostSettings>,
    /// What names without a registry mean.
    pub short_names: BTreeMap<String, String>,
    /// The port of the API on loopback; without a word the one of the last time, or any that is free.
    pub api_port: Option<u16>,
    /// How much of the disk images may take.
    pub images: ImageSettings,
    /// What pods reach outside of their network.
    pub egress: EgressSettings,
    /// By which means Services are served: `rules` of the kernel, the node's own `proxy`, or `auto` (the default): the proxy where the kernel
    /// takes no rules.
    pub services: service::Means,
    /// Where Ingresses are served.
    pub ingress: IngressSettings,
    /// Settings of the kernel that pods may make for their namespaces beside the safe ones: names, or beginnings followed by `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// How long pods have to end when the node gets SIGTERM: `30s`. If nothing is said they go on without it.
    pub shutdown_grace_period: Option<String>,
    /// How much of that is kept for critical pods, which end last.
    pub shutdown_grace_period_critical_pods: Option<String>,
    /// How many processes and threads a pod may have; any number if nothing is said.
    pub pod_pids_limit: Option<u64>,
    /// How many containers may have a device at a time, by resource: `nvidia.com/gpu: {sharedBy: 4}`. One may, if nothing is said, and any
    /// number those of `kubelocal.dev/`.
    pub devices: device::Settings,
    /// Below how much of something pods are evicted at once, by signals: `memory.available: 100Mi`.
    pub eviction_hard: Option<BTreeMap<String, String>>,
    /// Below how much of something pods are evicted when it has been so for a while,
    pub eviction_soft: BTreeMap<String, String>,
    /// and for how long.
    pub eviction_soft_grace_period: BTreeMap<String, String>,
    /// How long the node says that it is short of something after it was.
    pub eviction_pressure_transition_period: Option<String>,
    /// How much more of something there has to be before pods are evicted no longer.
    pub eviction_minimum_reclaim: BTreeMap<String, String>,
    /// How many seconds pods get to end that are evicted because it has been so for a while, if they do not say less themselves.
    pub eviction_max_pod_grace_period: u32,
}

/// Where Ingresses are served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct IngressSettings {
    /// At which address of the host; at loopback if nothing is said.
    pub address: Option<IpAddr>,
    /// The port for HTTP; 10080, and 80 where that is allowed, if nothing is said.
    pub http_port: Option<u16>,
    /// The port for HTTPS; 10443, and 443 where that is allowed, if nothing is said.
    pub https_port: Option<u16>,
}

/// What pods reach outside of their network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EgressSettings {
    /// Whether they reach anything; yes if nothing is said.
    pub enabled: Option<bool>,
    /// By what; the node's own sockets if nothing is said.
    pub via: ViaSetting,
    /// Whether `host.containers.internal` and `host.docker.internal` lead to the host's loopback.
    pub host_loopback: bool,
}

/// What carries what pods send outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ViaSetting {
    /// The node's own sockets.
    #[default]
    Node,
    /// pasta, of the package `passt`.
    Pasta,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}", path = .0.display(), source = .1)]
    Read(PathBuf, io::Error),
    /// It is not what it should be; the text has line and column.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    Invalid(PathBuf, String),
    /// The chosen runtime is not there.
    #[error("{path}: {field}: {name:?} is not a program on the PATH", path = .0.display(), field = .1, name = .2)]
    NoRuntime(PathBuf, String, String),
}

impl Config {
    /// Reads the file; one that is not there says nothing.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ConfigError::Read(path.to_owned(), error)),
        };
        let invalid = |why: String| ConfigError::Invalid(path.to_owned(), why);
        let parsed: Option<Self> = serde_yaml::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        let mut config = parsed.unwrap_or_default();
        // A path without a root is beside this file.
        let beside = path.parent().unwrap_or(Path::new("/"));
        for (host, settings) in &mut config.registries {
            let Some(ca) = settings.ca.as_mut() else { continue };
            *ca = beside.join(&ca);
            // Else the first pull would be told, and not whoever wrote the file.
            let opened = std::fs::File::open(&ca);
            opened.map_err(|error| invalid(format!("registries: {host}: ca: {}: {error}", ca.display())))?;
        }
        config.registry_settings().check().map_err(invalid)?;
        config.images.marks().map_err(invalid)?;
        config.plan_shutdown().map_err(invalid)?;
        config.check_devices().map_err(invalid)?;
        config.plan_thresholds().map_err(invalid)?;
        Ok(config)
    }

    fn check_devices(&self) -> Result<(), String> {
        let wrong = self
            .devices
            .iter()
            .find(|(_, word)| word.shared_by > device::MOST_SHARED);
        wrong.map_or(Ok(()), |(name, word)| {
            let most = device::MOST_SHARED;
            Err(format!(
                "devices: {name}: sharedBy: {} is more than {most}",
                word.shared_by
            ))
        })
    }

    /// What pods reach outside; `api_port` is the port of the node's own API on loopback.
    pub fn egress(&self, is_forbidden: bool, api_port: u16) -> egress::Settings {
        egress::Settings {
            is_on: !is_forbidden && self.egress.enabled.unwrap_or(true),
            via: match self.egress.via {
                ViaSetting::Node => egress::Via::Node,
                ViaSetting::Pasta => egress::Via::Pasta,
            },
            host_loopback: self.egress.host_loopback,
            api_port,
        }
    }

    /// Where Ingresses are served, and which port of the host's loopback they do not lead to, if they lead there at all.
    pub fn ingress(&self, state: &Path, loopback_but: Option<u16>) -> ingress::Settings {
        ingress::Settings {
            address: self.ingress.address,
            http: self.ingress.http_port,
            https: self.ingress.https_port,
            loopback_but,
            memory: state.join("ingress-ports"),
        }
    }

    /// How much images may take.
    pub fn marks(&self) -> Marks {
        self.images.marks().expect("was checked when it was read")
    }

    /// What pods get when whoever starts and stops services ends the node; `None` if they go on without it.
    pub fn shutdown_graces(&self) -> Option<Graces> {
        self.plan_shutdown().expect("was checked when it was read")
    }

    /// Of what there may not be too little.
    pub fn thresholds(&self) -> Thresholds {
        self.plan_thresholds().expect("was checked when it was read")
    }

    fn plan_thresholds(&self) -> Result<Thresholds, String> {
        Thresholds::plan(EvictionSettings {
            hard: self.eviction_hard.as_ref(),
            soft: &self.eviction_soft,
            soft_graces: &self.eviction_soft_grace_period,
            transition: self.eviction_pressure_transition_period.as_deref(),
            reclaim: &self.eviction_minimum_reclaim,
            max_grace: self.eviction_max_pod_grace_period,
        })
    }

    /// As the kubelet has it (`ValidateKubeletConfiguration`).
    fn plan_shutdown(&self) -> Result<Option<Graces>, String> {
        let (all, critical) = ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods");
        let read = |name: &str, text: &Option<String>| match text.as_deref() {
            None | Some("0") => Ok(SignedDuration::ZERO),
            Some(text) => {
                let read = text.parse::<SignedDuration>().ok().filter(|time| !time.is_negative());
                read.ok_or_else(|| format!("{name}: {text:?} is no time as in 1m30s"))
            }
        };
        let most = read(all, &self.shutdown_grace_period)?;
        let of_critical = read(critical, &self.shutdown_grace_period_critical_pods)?;
        let second = SignedDuration::from_secs(1);
        for (name, time) in [(all, most), (critical, of_critical)] {
            if !time.is_zero() && time < second {
                return Err(format!("{name}: {time:#} must be either zero or otherwise >= 1 sec"));
            }
        }
        if of_critical > most {
            return Err(format!("{critical}: {of_critical:#} must be <= {all} {most:#}"));
        }
        Ok((!most.is_zero()).then_some(Graces {
            ordinary: Some(most - of_critical),
            critical: Some(of_critical),
        }))
    }

    fn registry_settings(&self) -> RegistrySettings {
        RegistrySettings {
            hosts: self.registries.clone(),
            short_names: self.short_names.clone(),
        }
    }

    /// What the image store is told. `is_root` is whether the node is real root's.
    pub fn store_options(&self, is_root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> StoreOptions {
        let shares = self.images.share.unwrap_or(true);
        StoreOptions {
            registries: self.registry_settings(),
            shared: plan_storage(is_root, variable).into_iter().filter(|_| shares).collect(),
            ..StoreOptions::default()
        }
    }

    /// What overlays may do; `home` is where fetched repositories are kept.
    pub fn overlays(&self, home: &Path) -> Overlays {
        let helm = || find_program("helm").unwrap_or_else(|| PathBuf::from("helm"));
        Overlays {
            external: None,
            helm: self.helm.then(helm),
            repositories: self.remote_bases.then(|| home.join("cache/repositories")),
        }
    }

    /// The external OCI runtime, if one is chosen.
    ///
    /// # Errors
    /// When it can't be found.
    pub fn oci_runtime(&self, path: &Path) -> Result<Option<PathBuf>, ConfigError> {
        self.runtime
            .as_deref()
            .map_or(Ok(None), |name| runtime_named(path, "runtime", name))
    }

    /// The OCI runtimes that pods may choose, by their handlers' names; `None` is the embedded one.
    ///
    /// # Errors
    /// When one that the settings name can't be found.
    pub fn handlers(&self, path: &Path) -> Result<BTreeMap<String, Option<PathBuf>>, ConfigError> {
        let installed = |name: &&str| Some(((*name).to_owned(), Some(find_program(name)?)));
        let mut found: BTreeMap<_, _> = WELL_KNOWN.iter().filter_map(installed).collect();
        found.insert(EMBEDDED_HANDLER.to_owned(), None);
        for (handler, name) in &self.runtimes {
            let field = format!("runtimes: {handler}");
            found.insert(handler.clone(), runtime_named(path, &field, name)?);
        }
        Ok(found)
    }
}

/// Handlers that need no word in the settings where the program is installed.
const WELL_KNOWN: [&str; 3] = ["crun", "runc", "youki"];
/// The handler that is always there.
const EMBEDDED_HANDLER: &str = "kubelocal";

fn runtime_named(path: &Path, field: &str, name: &str) -> Result<Option<PathBuf>, ConfigError> {
    if name == "embedded" {
        return Ok(None);
    }
    let found = if name.contains('/') {
        Some(PathBuf::from(name))
    } else {
        find_program(name)
    };
    let missing = || ConfigError::NoRuntime(path.to_owned(), field.to_owned(), name.to_owned());
    found.filter(|file| file.is_file()).map(Some).ok_or_else(missing)
}

/// Where podman, buildah and skopeo keep images if nobody told them otherwise (containers-storage.conf(5)).
fn plan_storage(is_root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from("/var/lib/containers/storage"));
    }
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    Some(data?.join("containers/storage"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, text).expect("writes");
        std::fs::write(dir.path().join("corp.pem"), "").expect("writes");
        Config::read(&file)
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(read("").expect("reads"), Config::default());
    }

    #[test]
    fn pods_may_choose_what_is_installed_and_what_the_settings_name() {
        let path = Path::new("config.yaml");
        let plain = Config::default().handlers(path).expect("needs nothing");
        assert_eq!(plain.get("kubelocal"), Some(&None));
        let named = read("runtimes: {shell: /bin/sh, crun: embedded}\n").expect("reads");
        let named = named.handlers(path).expect("they are there");
        assert_eq!(named.get("shell"), Some(&Some(PathBuf::from("/bin/sh"))));
        assert_eq!(named.get("crun"), Some(&None), "the settings' word counts");
        let missing = read("runtimes: {fast: no-such-program}\n").expect("reads");
        let error = missing.handlers(path).expect_err("there is none").to_string();
        assert_eq!(
            error,
            "config.yaml: runtimes: fast: \"no-such-program\" is not a program on the PATH"
        );
    }

    #[test]
    fn pods_end_with_the_node_only_where_the_settings_give_them_time() {
        let seconds = |seconds| Some(SignedDuration::from_secs(seconds));
        let said = |text: &str| read(text).map(|config| config.shutdown_graces());
        assert_eq!(said("").expect("reads"), None);
        assert_eq!(said("shutdownGracePeriod: 0s").expect("reads"), None);
        let both = "shutdownGracePeriod: 1m30s\nshutdownGracePeriodCriticalPods: 10s\n";
        let graces = Graces {
            ordinary: seconds(80),
            critical: seconds(10),
        };
        assert_eq!(said(both).expect("reads"), Some(graces));
        for (text, why) in [
            (
                "shutdownGracePeriod: soon",
                "shutdownGracePeriod: \"soon\" is no time as in 1m30s",
            ),
            (
                "shutdownGracePeriod: -5s",
                "shutdownGracePeriod: \"-5s\" is no time as in 1m30s",
            ),
            (
                "shutdownGracePeriod: 100ms",
                "shutdownGracePeriod: 100ms must be either zero or otherwise >= 1 sec",
            ),
            (
                "shutdownGracePeriodCriticalPods: 10s",
                "shutdownGracePeriodCriticalPods: 10s must be <= shutdownGracePeriod 0s",
            ),
        ] {
            let error = read(text).expect_err("is refused").to_string();
            assert!(error.ends_with(why), "{error}");
        }
    }

    #[test]
    fn overlays_run_no_programs_unless_that_is_allowed() {
        let home = Path::new("/home");
        assert_eq!(Config::default().overlays(home), Overlays::default());
        let allowed = read("remoteBases: true\nhelm: true\n").expect("reads").overlays(home);
        assert_eq!(allowed.repositories, Some(home.join("cache/repositories")));
        assert!(allowed.helm.is_some());
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        let error = read("runtime: crun\nruntim: x\n")
            .expect_err("a misspelt setting")
            .to_string();
        assert!(error.contains("runtim") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn registries_are_checked_when_the_file_is_read() {
        let text = "registries:\n  docker.io: {mirrors: [mirror.corp]}\n  mirror.corp: {ca: corp.pem, insecure: true}\nshortNames: {pg: quay.io/a/b}\n";
        let config = read(text).expect("reads");
        assert_eq!(config.registries["docker.io"].mirrors, ["mirror.corp"]);
        let ca = config.registries["mirror.corp"].ca.clone().expect("is set");
        assert!(ca.is_absolute() && ca.ends_with("corp.pem"), "{ca:?}");
        let error = read("registries: {a.io: {ca: missing.pem}}\n")
            .expect_err("no such file")
            .to_string();
        assert!(
            error.contains("a.io: ca: ") && error.contains("missing.pem: No such file"),
            "{error}"
        );
        let error = read("registries: {docker.io: {mirrors: [\"http://x\"]}}\n")
            .expect_err("no host")
            .to_string();
        assert!(error.contains("http://x") && error.contains("config.yaml"), "{error}");
    }

    #[test]
    fn pods_reach_the_outside_unless_a_flag_or_the_file_says_no_and_never_the_loopback_by_default() {
        let (node, pasta) = (egress::Via::Node, egress::Via::Pasta);
        for (text, is_forbidden, is_on, host_loopback, via) in [
            ("", false, true, false, node),
            ("", true, false, false, node),
            ("egress: {enabled: false}", false, false, false, node),
            ("egress: {enabled: true}", true, false, false, node),
            ("egress: {hostLoopback: true}", false, true, true, node),
            ("egress: {via: pasta}", false, true, false, pasta),
            ("egress: {via: node}", false, true, false, node),
        ] {
            let expected = egress::Settings {
                is_on,
                via,
                host_loopback,
                api_port: 6443,
            };
            assert_eq!(
                read(text).expect("reads").egress(is_forbidden, 6443),
                expected,
                "{text}"
            );
        }
        assert!(read("egress: off").is_err(), "it has parts");
        assert!(read("egress: {via: slirp}").is_err(), "nobody knows it");
    }

    #[test]
    fn other_stores_are_where_podman_keeps_its_own() {
        let variable = |name: &str| (name == "HOME").then(|| PathBuf::from("/h"));
        let shared = |text: &str, is_root| read(text).expect("reads").store_options(is_root, variable).shared;
        assert_eq!(shared("", false), [PathBuf::from("/h/.local/share/containers/storage")]);
        assert_eq!(shared("", true), [PathBuf::from("/var/lib/containers/storage")]);
        assert!(shared("images: {share: false}", false).is_empty());
    }
}
