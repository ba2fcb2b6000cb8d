//! `status`: the node itself. It does not start one.

use clap::Args;
use http::Method;
use jiff::Timestamp;

use super::context::write;
use super::error::{CliError, ErrorKind, Result};
use super::{node, print};
use crate::api::own::{self, NodeStatus};
use crate::api::table::age::age;

/// Show the node: whether it runs, how, and what can't work on this host.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// yaml or json
    #[arg(short, long, default_value = "", hide_default_value = true, value_parser = ["", "yaml", "json"], value_name = "FORMAT")]
    output: String,
}

/// Runs `status`.
///
/// # Errors
/// When no node runs: the exit code tells scripts.
pub async fn run(args: &StatusArgs) -> Result {
    let Some(node) = node::connect_running()? else {
        write("kubelocal is not running\n")?;
        return Err(CliError::silent(ErrorKind::NoNode));
    };
    let status: NodeStatus = node.own(Method::GET, own::path::STATUS, &[], None::<&()>).await?;
    write(&match args.output.as_str() {
        "json" => print::json(&serde_json::to_value(&status)?)?,
        "yaml" => print::yaml(&serde_json::to_value(&status)?),
        _ => text(&status, Timestamp::now()),
    })
}

fn text(status: &NodeStatus, now: Timestamp) -> String {
    let pods = match (status.pods, status.running_pods) {
        (0, _) => "none".to_owned(),
        (all, running) => format!("{running} running of {all}"),
    };
    let memory = status
        .memory_bytes
        .map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    let rows = [
        (
            "Node",
            format!(
                "running for {} (pid {})",
                age(Some(status.started_at.0), now),
                status.pid
            ),
        ),
        (
            "Version",
            format!("{}, Kubernetes {}", status.version, status.kubernetes_version),
        ),
        ("Mode", status.mode.clone()),
        ("Runtime", status.runtime.clone()),
        ("Cgroups", status.cgroups.clone()),
        ("Network", status.network.clone()),
        ("Pods", pods),
        ("Memory", memory.unwrap_or_default()),
        ("Home", status.home.display().to_string()),
        ("Ingress", status.ingress.join(" ")),
        ("Outside", status.egress.clone()),
    ];
    let line = |(word, value): &(&str, String)| format!("{:<9} {value}\n", format!("{word}:"));
    let mut text: String = rows.iter().filter(|(_, value)| !value.is_empty()).map(line).collect();
    for (place, port) in status.ports.iter().enumerate() {
        let word = if place == 0 { "Ports:" } else { "" };
        let problem = port.problem.as_ref().map(|why| format!(": not open: {why}"));
        let (address, namespace, name) = (&port.address, &port.namespace, &port.name);
        text.push_str(&format!(
            "{word:<9} {address} -> {name} in {namespace}{}\n",
            problem.unwrap_or_default()
        ));
    }
    for warning in &status.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn port(address: &str, problem: Option<&str>) -> own::PublishedPort {
        own::PublishedPort {
            address: address.into(),
            namespace: "default".into(),
            name: "pod/web".into(),
            problem: problem.map(str::to_owned),
        }
    }

    #[test]
    fn the_status_is_told_in_a_few_lines() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let status = NodeStatus {
            version: "0.1.0".into(),
            kubernetes_version: "v1.37.0".into(),
            pid: 7,
            started_at: Time(start),
            home: "/home/ada/.kubelocal".into(),
            mode: "rootless".into(),
            runtime: "embedded".into(),
            cgroups: String::new(),
            pods: 3,
            running_pods: 2,
            memory_bytes: Some(10 << 20),
            ports: vec![
                port("127.0.0.1:8080/TCP", None),
                port("127.0.0.1:80/TCP", Some("process 7 (x) has it")),
            ],
            ingress: vec!["http://localhost:10080".into()],
            egress: "pods reach the outside by TCP and UDP".into(),
            network: "IPv4 (single stack)".into(),
            host_loopback: false,
            warnings: vec!["no cgroup delegation: limits are not enforced".into()],
        };
        let now = "2026-01-01T00:05:00Z".parse().expect("a time");
        assert_eq!(
            text(&status, now),
            "Node:     running for 5m (pid 7)\nVersion:  0.1.0, Kubernetes v1.37.0\nMode:     rootless\n\
             Runtime:  embedded\nNetwork:  IPv4 (single stack)\nPods:     2 running of 3\nMemory:   10.0 MiB\nHome:     /home/ada/.kubelocal\n\
             Ingress:  http://localhost:10080\nOutside:  pods reach the outside by TCP and UDP\n\
             Ports:    127.0.0.1:8080/TCP -> pod/web in default\n          \
             127.0.0.1:80/TCP -> pod/web in default: not open: process 7 (x) has it\n\
             warning: no cgroup delegation: limits are not enforced\n"
        );
    }
}
