//! What a pod is called and whom it asks for names: its files below `/etc` (kubelet `pkg/kubelet/network/dns`, `kubelet_pods.go`). Pure.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig, PodSpec};

use crate::model::{CLUSTER_DOMAIN, Resolver};

/// The longest name that the kernel takes (`uname(2)`).
const MAX_KERNEL_NAME: usize = 64;
/// What resolvers take of a file (kubelet `MaxDNSNameservers`, `MaxDNSSearchPaths`, `MaxDNSSearchListChars`).
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_LETTERS: usize = 2048;

/// What a pod is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// The first part.
    pub hostname: String,
    /// The rest, from `spec.subdomain`; empty without.
    pub domain: String,
}

impl PodName {
    /// The name that the pod's spec gives it (kubelet `GeneratePodHostNameAndDomain`).
    pub fn of(pod: &Pod) -> PodName {
        let spec = pod.spec.as_ref();
        let own = spec.and_then(|s| s.hostname.as_deref()).filter(|name| !name.is_empty());
        let name = own.or(pod.metadata.name.as_deref()).unwrap_or_default();
        let subdomain = spec.and_then(|s| s.subdomain.as_deref()).unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        PodName {
            // A hostname has at most 63 characters and does not end in a dash or dot (`truncatePodHostnameIfNeeded`).
            hostname: name.get(..63).unwrap_or(name).trim_end_matches(['-', '.']).to_owned(),
            domain: if subdomain.is_empty() {
                String::new()
            } else {
                format!("{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}")
            },
        }
    }

    /// What the kernel is told: with `setHostnameAsFQDN` the whole name.
    ///
    /// # Errors
    /// It is too long; the text is kubelet's.
    pub fn kernel_name(&self, pod: &Pod) -> Result<String, String> {
        let spec = pod.spec.as_ref();
        let is_whole = spec.and_then(|s| s.set_hostname_as_fqdn).unwrap_or(false) && !self.domain.is_empty();
        if !is_whole {
            return Ok(self.hostname.clone());
        }
        let whole = format!("{}.{}", self.hostname, self.domain);
        if whole.len() > MAX_KERNEL_NAME {
            return Err(format!(
                "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {whole} is too long \
                 ({MAX_KERNEL_NAME} characters is the max, {} characters requested)",
                whole.len()
            ));
        }
        Ok(whole)
    }
}

/// `/etc/hosts` of a pod (`managedHostsFileContent`, `nodeHostsFileContent`): with the host's network `host` is the host's own.
pub fn hosts_file(pod: &Pod, ips: &[IpAddr], host: Option<&str>) -> String {
    let mut text = match host {
        Some(host) => format!("# Kubernetes-managed hosts file (host network).\n{host}"),
        None => own_hosts(&PodName::of(pod), ips),
    };
    let aliases: Vec<_> = pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten()).collect();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

fn own_hosts(name: &PodName, ips: &[IpAddr]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    // Without a network a pod still knows itself.
    let own = if ips.is_empty() {
        &[IpAddr::from([127, 0, 0, 1])][..]
    } else {
        ips
    };
    for ip in own {
        let PodName { hostname, domain } = name;
        if domain.is_empty() {
            text.push_str(&format!("{ip}\t{hostname}\n"));
        } else {
            text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n"));
        }
    }
    text
}

impl Resolver {
    /// A pod's resolver (`GetPodDNS`): `host` is the host's, `cluster` who knows the cluster's names; without the latter every policy is
    /// `Default`. Name servers of the host that only the host reaches are asked by way of the latter.
    pub fn of(pod: &Pod, host: &str, cluster: Option<IpAddr>) -> Resolver {
        let spec = pod.spec.clone().unwrap_or_default();
        let host = Resolver::read(host);
        let mut resolver = match (source(&spec), cluster) {
            (Source::Nobody, _) => Resolver::default(),
            (Source::Cluster, Some(ip)) => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                Resolver::of_cluster(namespace, ip, host.searches)
            }
            (Source::Host, Some(ip)) if !spec.host_network.unwrap_or(false) => host.for_pods(ip),
            (Source::Cluster, None) | (Source::Host, _) => host,
        };
        if let Some(config) = &spec.dns_config {
            resolver.append(config);
        }
        resolver.limited()
    }

    fn of_cluster(namespace: &str, ip: IpAddr, host_searches: Vec<String>) -> Resolver {
        let own = ["svc.", ""].map(|prefix| format!("{prefix}{CLUSTER_DOMAIN}"));
        let searches = [format!("{namespace}.{}", own[0])].into_iter().chain(own);
        Resolver {
            servers: vec![ip.to_string()],
            searches: distinct(searches.chain(host_searches)),
            options: vec!["ndots:5".to_owned()],
        }
    }

    /// As pods may use it: what is on the host's loopback (as systemd-resolved is) or link, or has an address of IPv6, which pods may not have, is
    /// asked by `own`, which stands for the host's resolvers as a whole.
    fn for_pods(mut self, own: IpAddr) -> Resolver {
        let is_reached = |server: &String| {
            let address = server.parse::<Ipv4Addr>();
            address.is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_link_local())
        };
        if !self.servers.iter().all(is_reached) {
            self.servers = vec![own.to_string()];
        }
        self
    }

    fn append(&mut self, config: &PodDNSConfig) {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        self.servers = distinct(self.servers.drain(..).chain(list(&config.nameservers)));
        self.searches = distinct(self.searches.drain(..).chain(list(&config.searches)));
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            let is_same = |other: &String| other.split(':').next() == Some(&name);
            let written = match option.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            };
            match self.options.iter_mut().find(|other| is_same(other)) {
                Some(present) => *present = written,
                None => self.options.push(written),
            }
        }
    }

    fn limited(mut self) -> Resolver {
        self.servers.truncate(MAX_SERVERS);
        self.searches.truncate(MAX_SEARCHES);
        while self.searches.join(" ").len() > MAX_SEARCH_LETTERS {
            self.searches.pop();
        }
        self
    }
}

/// Who answers a pod's questions.
enum Source {
    Nobody,
    Cluster,
    Host,
}

fn source(spec: &PodSpec) -> Source {
    match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => Source::Nobody,
        // From the host's network neither the cluster's name server nor its Services are reached: a question for a name of the cluster would
        // leave the machine, for whoever has that address out there. So who is there asks whom the host asks, and the gate says so.
        "ClusterFirst" | "ClusterFirstWithHostNet" if !spec.host_network.unwrap_or(false) => Source::Cluster,
        _ => Source::Host,
    }
}

fn distinct(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    for word in words {
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HOST: &str =
        "# by hand\nnameserver 192.0.2.53\nsearch old\nsearch corp.example. lab\noptions timeout:2 rotate\n";

    fn pod(spec: Value) -> Pod {
        let metadata = json!({"name": "web-0", "namespace": "shop"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
    }

    fn with_containers(mut spec: Value) -> Pod {
        spec["containers"] = json!([]);
        pod(spec)
    }

    #[test]
    fn whom_a_pod_asks_follows_its_policy() {
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lab\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
        let host = "search corp.example lab\nnameserver 192.0.2.53\noptions timeout:2 rotate\n";
        for (spec, expected) in [
            (json!({}), cluster),
            (json!({"dnsPolicy": "ClusterFirst"}), cluster),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), host),
            (
                json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
                host,
            ),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet"}), cluster),
            (json!({"dnsPolicy": "Default"}), host),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.2.3.4"]}}),
                "nameserver 1.2.3.4\n",
            ),
        ] {
            let resolver = Resolver::of(
                &with_containers(spec.clone()),
                HOST,
                Some(IpAddr::from([10, 96, 0, 10])),
            );
            assert_eq!(resolver.to_text(), expected, "{spec}");
        }
        let without = Resolver::of(&with_containers(json!({})), HOST, None);
        assert_eq!(without.to_text(), host, "nobody knows the cluster's names");
    }

    #[test]
    fn name_servers_that_only_the_host_reaches_are_asked_by_way_of_the_nodes_own() {
        let dns = Some(IpAddr::from([10, 96, 0, 10]));
        let default = json!({"dnsPolicy": "Default"});
        for (file, expected) in [
            (
                "nameserver 127.0.0.53\nsearch lab\n",
                "search lab\nnameserver 10.96.0.10\n",
            ),
            ("nameserver 192.0.2.53\nnameserver ::1\n", "nameserver 10.96.0.10\n"),
            ("nameserver 169.254.169.253\n", "nameserver 10.96.0.10\n"),
            ("nameserver 192.0.2.53\n", "nameserver 192.0.2.53\n"),
            ("", ""),
        ] {
            let resolver = Resolver::of(&with_containers(default.clone()), file, dns);
            assert_eq!(resolver.to_text(), expected, "{file:?}");
        }
        let on_host = with_containers(json!({"dnsPolicy": "Default", "hostNetwork": true}));
        let resolver = Resolver::of(&on_host, "nameserver 127.0.0.53\n", dns);
        assert_eq!(resolver.to_text(), "nameserver 127.0.0.53\n");
    }

    #[test]
    fn a_pods_own_words_are_added_and_its_options_count() {
        let config = json!({
            "nameservers": ["10.96.0.10", "1.1.1.1", "2.2.2.2", "3.3.3.3"],
            "searches": ["lab", "more"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        });
        let pod = with_containers(json!({"dnsConfig": config}));
        let resolver = Resolver::of(&pod, "search lab\n", Some(IpAddr::from([10, 96, 0, 10])));
        assert_eq!(
            resolver.to_text(),
            "search shop.svc.cluster.local svc.cluster.local cluster.local lab more\n\
             nameserver 10.96.0.10\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn a_search_list_that_no_resolver_takes_is_cut() {
        let searches: Vec<String> = (0..40).map(|number| format!("{number}.{}", "x".repeat(80))).collect();
        let pod = with_containers(json!({"dnsPolicy": "None", "dnsConfig": {"searches": searches}}));
        let text = Resolver::of(&pod, "", None).to_text();
        assert!(text.len() <= MAX_SEARCH_LETTERS + "search \n".len(), "{}", text.len());
    }

    #[test]
    fn the_hosts_file_knows_the_pod_by_all_its_names() {
        let alias = json!([{"ip": "192.0.2.1", "hostnames": ["a", "b"]}]);
        let spec = json!({"hostname": "db", "subdomain": "data", "hostAliases": alias});
        let ips = [IpAddr::from([10, 244, 0, 7])];
        let text = hosts_file(&with_containers(spec), &ips, None);
        let tail =
            "10.244.0.7\tdb.data.shop.svc.cluster.local\tdb\n\n# Entries added by HostAliases.\n192.0.2.1\ta\tb\n";
        assert!(
            text.starts_with("# Kubernetes-managed hosts file.\n") && text.ends_with(tail),
            "{text}"
        );
        let plain = hosts_file(&with_containers(json!({})), &ips, None);
        assert!(plain.ends_with("ip6-allrouters\n10.244.0.7\tweb-0\n"), "{plain}");
        let on_host = hosts_file(&with_containers(json!({})), &ips, Some("127.0.0.1 me\n"));
        assert_eq!(
            on_host,
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n"
        );
    }

    #[test]
    fn the_kernel_is_told_the_whole_name_only_if_asked_and_if_it_fits() {
        let name = |spec: Value| {
            let pod = with_containers(spec);
            PodName::of(&pod).kernel_name(&pod)
        };
        assert_eq!(name(json!({"subdomain": "s"})), Ok("web-0".to_owned()));
        assert_eq!(name(json!({"setHostnameAsFQDN": true})), Ok("web-0".to_owned()));
        let whole = name(json!({"setHostnameAsFQDN": true, "subdomain": "s"}));
        assert_eq!(whole, Ok("web-0.s.shop.svc.cluster.local".to_owned()));
        let long = name(json!({"setHostnameAsFQDN": true, "subdomain": "s".repeat(50)}));
        assert!(long.expect_err("too long").contains("79 characters requested"));
    }
}
