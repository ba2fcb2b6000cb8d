//! Judging what the pods' network depends on.

use super::{Facts, PASST, Verdict, error, fine, install, sysctl, warning};

type Tried = Option<Result<(), String>>;

/// What was tried out on this machine.
fn tried(check: &'static str, outcome: &Tried, found: &str, refused: impl Fn(&str) -> Verdict) -> Verdict {
    match outcome {
        Some(Ok(())) => fine(check, found),
        Some(Err(why)) => refused(why),
        None => warning(check, "could not be tried out", None),
    }
}

pub(super) fn network(facts: &Facts) -> Verdict {
    const CHECK: &str = "network namespaces";
    tried(CHECK, &facts.probe.network_namespace, "can be made", |why| {
        error(
            CHECK,
            format!("are refused: {why}"),
            sysctl("user.max_net_namespaces=15000"),
        )
    })
}

pub(super) fn service_rules(facts: &Facts) -> Verdict {
    const CHECK: &str = "rules of Services";
    tried(CHECK, &facts.probe.service_rules, "are taken by the kernel", |why| {
        warning(
            CHECK,
            format!(
                "are refused: {why}; the node's own proxy serves Services: connections take longer, endpoints see the node as their \
                 client, and NetworkPolicies are not enforced"
            ),
            Some(modules(
                "nf_tables nft_chain_nat nft_nat nft_masq nft_ct nft_numgen nft_hash nft_reject_ipv4",
            )),
        )
    })
}

pub(super) fn egress_rules(facts: &Facts) -> Verdict {
    const CHECK: &str = "ways out";
    tried(CHECK, &facts.probe.egress_rules, "are there for pods", |why| {
        warning(
            CHECK,
            format!("are refused: {why}; pods reach nothing outside of their network"),
            Some(modules("nf_tables nft_tproxy nft_socket nft_log nfnetlink_log")),
        )
    })
}

/// Loads modules of the kernel, now and at every boot.
fn modules(names: &str) -> String {
    let lines = names.replace(' ', "\\n");
    format!("printf '{lines}\\n' | sudo tee -a /etc/modules-load.d/kubelocal.conf && sudo modprobe -a {names}")
}

pub(super) fn pasta(facts: &Facts) -> Verdict {
    const CHECK: &str = "pasta";
    if !facts.wants_pasta {
        return fine(
            CHECK,
            "is not asked for: the node's own sockets carry what pods send outside",
        );
    }
    if !facts.has_pasta {
        let found =
            "is not installed, and the settings ask for it (egress.via): pods reach nothing outside of their network";
        return warning(CHECK, found, Some(install(facts, PASST)));
    }
    match facts.ping_groups {
        Some((first, last)) if !(first..=last).contains(&facts.gid) => warning(
            CHECK,
            format!(
                "is there, but may not send echoes: pods ping nobody outside (net.ipv4.ping_group_range has no group {})",
                facts.gid
            ),
            sysctl("net.ipv4.ping_group_range=0 2147483647"),
        ),
        _ => fine(CHECK, "is there, and may send echoes"),
    }
}

pub(super) fn tun(facts: &Facts) -> Verdict {
    const CHECK: &str = "/dev/net/tun";
    match facts.has_tun {
        true => fine(CHECK, "can be opened"),
        false => warning(
            CHECK,
            "can't be opened: pods that ask for it can't have it, nor can pasta (`egress: {via: pasta}`)",
            Some(
                "sudo modprobe tun && echo tun | sudo tee /etc/modules-load.d/tun.conf && sudo chmod 0666 /dev/net/tun"
                    .to_owned(),
            ),
        ),
    }
}
