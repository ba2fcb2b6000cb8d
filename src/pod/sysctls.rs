//! Settings of the kernel that a pod wants for its namespaces (kubelet `sysctl`). Those that touch nobody else are anyone's; others the node's
//! owner allows by name. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Sysctl};

/// What every pod may set (`SafeSysctlAllowlist`, Pod Security Standards).
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// What is the IPC namespace's own, by the beginnings of names; all of `net.` is the network namespace's.
const OF_IPC: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];

/// The reason of a pod that wants what it may not have.
pub(super) const FORBIDDEN: &str = "SysctlForbidden";

/// What the pod wants, by names with dots.
pub(super) fn of_pod(pod: &Pod) -> BTreeMap<String, String> {
    let wanted = list(pod).map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()));
    wanted.collect()
}

fn list(pod: &Pod) -> impl Iterator<Item = &Sysctl> {
    let context = pod.spec.iter().filter_map(|spec| spec.security_context.as_ref());
    context.flat_map(|context| context.sysctls.iter().flatten())
}

/// Why the pod may not run, if it may not (kubelet `sysctlAllowlistAdmitHandler`). `allowed` are names, or beginnings followed by `*`.
pub(super) fn plan_refusal(pod: &Pod, allowed: &[String]) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    of_pod(pod).into_keys().find_map(|name| {
        let is_allowed = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => *pattern == name,
        };
        let is_of_ipc = OF_IPC.iter().any(|beginning| name.starts_with(beginning));
        let is_of_net = name.starts_with("net.");
        if is_of_net && spec.host_network == Some(true) {
            return Some(format!("forbidden sysctl: {name:?} not allowed with host net enabled"));
        }
        if is_of_ipc && spec.host_ipc == Some(true) {
            return Some(format!("forbidden sysctl: {name:?} not allowed with host ipc enabled"));
        }
        let is_fine = SAFE.contains(&name.as_str()) || allowed.iter().any(is_allowed);
        match is_fine && (is_of_ipc || is_of_net) {
            true => None,
            false => Some(format!("forbidden sysctl: {name:?} not allowlisted")),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn safe_settings_are_anyones_and_others_the_owners_to_allow() {
        let refusal = |name: &str, more: serde_json::Value, allowed: &[&str]| {
            let mut spec = json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
            for (field, value) in more.as_object().expect("fields") {
                spec[field] = value.clone();
            }
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a pod");
            let allowed: Vec<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
            plan_refusal(&pod, &allowed).unwrap_or_default()
        };
        let none = || json!({});
        let unlisted = |name: &str| format!("forbidden sysctl: {name:?} not allowlisted");
        for (name, more, allowed, expected) in [
            ("net.ipv4.tcp_syncookies", none(), &[][..], String::new()),
            ("net/ipv4/tcp_syncookies", none(), &[], String::new()),
            ("kernel.msgmax", none(), &[], unlisted("kernel.msgmax")),
            ("kernel.msgmax", none(), &["kernel.msg*"], String::new()),
            ("net.core.somaxconn", none(), &["net.core.somaxconn"], String::new()),
            // It is nobody's namespace's.
            ("vm.swappiness", none(), &["*"], unlisted("vm.swappiness")),
            (
                "net.ipv4.tcp_syncookies",
                json!({"hostNetwork": true}),
                &[],
                "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled".to_owned(),
            ),
        ] {
            assert_eq!(refusal(name, more, allowed), expected, "{name}");
        }
    }
}
