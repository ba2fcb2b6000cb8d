//! What is where: addresses, cables, Services, ports, policies, ways out. Pure.

use super::World;
use super::ips_of;
use crate::api::own::NodeStatus;
use crate::api::table::selector_text;
use crate::cli::print::Layout;
use crate::model::{DNS, Family, Object, PodIps, SERVICE_NAME, cut_off, link_name, list_at, stack_of, text_at};
use crate::policy::{Direction, Facts};

/// All of it, for people.
pub(super) fn show(world: &World, status: &NodeStatus) -> String {
    let facts = world.facts();
    let (is_open, why) = world.ways_out();
    let families = world.families();
    let each = |text: &dyn Fn(Family) -> String| {
        let texts = families.iter().map(|family| text(*family));
        texts.collect::<Vec<_>>().join("; ")
    };
    let heads = [
        ("Families", stack_of(families).to_owned()),
        (
            "Pods",
            each(&|family| format!("{}, the node is {}", family.pods(), family.gateway())),
        ),
        (
            "Services",
            format!(
                "{}, names are asked of {DNS}",
                each(&|family| family.services().to_string())
            ),
        ),
        ("Served", world.carried().unwrap_or_default().to_owned()),
        ("Outside", format!("{}: {why}", if is_open { "open" } else { "closed" })),
        ("Ingress", status.ingress.join(" ")),
    ];
    let heads = heads.iter().filter(|(_, text)| !text.is_empty());
    let mut text: String = heads
        .map(|(word, text)| format!("{:<10}{text}\n", format!("{word}:")))
        .collect();
    let ports = status.ports.iter().map(|port| {
        let state = port.problem.clone().unwrap_or_else(|| "open".to_owned());
        vec![port.address.clone(), port.namespace.clone(), port.name.clone(), state]
    });
    let tables = [
        (
            &["NAMESPACE", "POD", "ADDRESS", "LINK", "INGRESS", "EGRESS"][..],
            world.pods.iter().map(|pod| pod_row(pod, world, &facts)).collect(),
        ),
        (
            &["NAMESPACE", "SERVICE", "ADDRESS", "PORT", "ENDPOINTS"][..],
            world
                .services
                .iter()
                .flat_map(|service| service_rows(service, &world.slices))
                .collect(),
        ),
        (
            &["PORT OF THIS MACHINE", "NAMESPACE", "FOR", "STATE"][..],
            ports.collect::<Vec<_>>(),
        ),
        (
            &["NAMESPACE", "POLICY", "PODS", "TYPES", "SELECTED"][..],
            world.policies.iter().map(|policy| policy_row(policy, &facts)).collect(),
        ),
        (
            &["NAMESPACE", "INGRESS", "HOSTS", "CLASS"][..],
            world.ingresses.iter().map(ingress_row).collect(),
        ),
    ];
    for (heading, rows) in tables
        .into_iter()
        .filter(|(_, rows): &(_, Vec<Vec<String>>)| !rows.is_empty())
    {
        let heading = heading.iter().map(|word| (*word).to_owned()).collect();
        text.push('\n');
        text.push_str(&Layout::default().lay_out(&[vec![heading], rows].concat()));
    }
    text
}

fn pod_row(pod: &Object, world: &World, facts: &Facts) -> Vec<String> {
    let ips = ips_of(pod);
    let mut namespaces = world.namespaces.iter();
    let own = namespaces.find(|one| one.key().name == pod.key().namespace);
    let is_cut_off = ips.is_some() && own.is_some_and(|own| cut_off(own).is_some());
    let is_on_host = pod.at("/spec/hostNetwork").is_some_and(|value| *value == true);
    let isolated = |direction: Direction| {
        let policies = facts
            .pods
            .get(pod.uid())
            .map(|known| facts.isolating(known, direction))
            .unwrap_or_default();
        // Who is cut off from the outside reaches other pods as policies have it.
        let cut_off = (direction == Direction::Egress && is_cut_off).then(|| "cut off".to_owned());
        match policies.is_empty() {
            true => cut_off.unwrap_or_else(|| "open".to_owned()),
            false => cut_off.into_iter().chain(policies).collect::<Vec<_>>().join(","),
        }
    };
    vec![
        pod.key().namespace.clone(),
        pod.key().name.clone(),
        ips.map_or_else(|| if is_on_host { "the host's" } else { "<none>" }.to_owned(), listed),
        ips.map_or_else(|| "-".to_owned(), |ips| link_name(ips.first)),
        isolated(Direction::Ingress),
        isolated(Direction::Egress),
    ]
}

/// Its addresses as people read them.
pub(super) fn listed(ips: PodIps) -> String {
    let texts = ips.iter().map(|ip| ip.to_string());
    texts.collect::<Vec<_>>().join(",")
}

fn service_rows(service: &Object, slices: &[Object]) -> Vec<Vec<String>> {
    let all: Vec<&str> = list_at(service.value(), "/spec/clusterIPs")
        .iter()
        .filter_map(|ip| ip.as_str())
        .collect();
    let all = all.join(",");
    let row = |port: String, endpoints: String| {
        let address = match (service.text("/spec/type"), service.text("/spec/clusterIP")) {
            ("ExternalName", _) => service.text("/spec/externalName"),
            (_, "") => "<none>",
            (_, ip) if all.is_empty() => ip,
            _ => &all,
        };
        vec![
            service.key().namespace.clone(),
            service.key().name.clone(),
            address.to_owned(),
            port,
            endpoints,
        ]
    };
    let ports = list_at(service.value(), "/spec/ports");
    if ports.is_empty() {
        return vec![row("-".to_owned(), "-".to_owned())];
    }
    let of_port = |port: &serde_json::Value| {
        let endpoints = endpoints(service, text_at(port, "/name"), None, slices);
        let shown = match endpoints.is_empty() {
            true => "none is ready".to_owned(),
            false => endpoints.join(","),
        };
        let (number, protocol) = (&port["port"], port["protocol"].as_str().unwrap_or("TCP"));
        row(format!("{number}/{protocol}"), shown)
    };
    ports.iter().map(of_port).collect()
}

/// The slices of a Service.
pub(super) fn slices_of<'a>(service: &'a Object, slices: &'a [Object]) -> impl Iterator<Item = &'a Object> {
    slices.iter().filter(|slice| {
        slice.key().namespace == service.key().namespace
            && slice.labels().get(SERVICE_NAME) == Some(&service.key().name.as_str())
    })
}

/// The ready endpoints of a Service's port, of one family or of all.
pub(super) fn endpoints(service: &Object, port: &str, family: Option<Family>, slices: &[Object]) -> Vec<String> {
    let own = slices_of(service, slices)
        .filter(|slice| family.is_none_or(|family| slice.text("/addressType") == family.as_str()));
    let mut found = Vec::new();
    for slice in own {
        let ports = list_at(slice.value(), "/ports")
            .iter()
            .filter(|one| text_at(one, "/name") == port);
        for number in ports.filter_map(|port| port["port"].as_u64()) {
            let ready = list_at(slice.value(), "/endpoints").iter();
            let ready = ready.filter(|endpoint| endpoint["conditions"]["ready"] != false);
            let at = |address: &str| match address.contains(':') {
                true => format!("[{address}]:{number}"),
                false => format!("{address}:{number}"),
            };
            found.extend(ready.map(|endpoint| at(text_at(endpoint, "/addresses/0"))));
        }
    }
    found
}

fn policy_row(policy: &Object, facts: &Facts) -> Vec<String> {
    let key = policy.key();
    let types: Vec<&str> = list_at(policy.value(), "/spec/policyTypes")
        .iter()
        .filter_map(|kind| kind.as_str())
        .collect();
    let selector = policy.at("/spec/podSelector").map(selector_text).unwrap_or_default();
    let read = facts
        .policies
        .iter()
        .find(|one| one.namespace == key.namespace && one.name == key.name);
    let selected = read.map_or(0, |read| facts.pods.values().filter(|pod| read.selects(pod)).count());
    vec![
        key.namespace.clone(),
        key.name.clone(),
        if selector.is_empty() {
            "all".to_owned()
        } else {
            selector
        },
        types.join(","),
        selected.to_string(),
    ]
}

fn ingress_row(ingress: &Object) -> Vec<String> {
    let hosts = list_at(ingress.value(), "/spec/rules")
        .iter()
        .map(|rule| match text_at(rule, "/host") {
            "" => "*",
            host => host,
        });
    let class = match ingress.text("/spec/ingressClassName") {
        "" => "<none>",
        class => class,
    };
    vec![
        ingress.key().namespace.clone(),
        ingress.key().name.clone(),
        hosts.collect::<Vec<_>>().join(","),
        class.to_owned(),
    ]
}
