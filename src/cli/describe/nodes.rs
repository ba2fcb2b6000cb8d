//! The node, with what its pods ask of it (`describeNode` of kubectl; without a lease, because there is nobody to renew one for).

use jiff::Timestamp;
use serde_json::Value;

use super::sheet::{Sheet, date, entries, list, plain, text};
use crate::api::table::{age::age_of, roles};
use crate::model::Quantity;

/// `pods` are those that run on it.
pub(super) fn describe(node: &Value, pods: &[Value], now: Timestamp, sheet: &mut Sheet) {
    sheet.field(0, "Name", text(node, "/metadata/name"));
    sheet.field(0, "Roles", &roles(node));
    sheet.labels(node);
    let created = date(text(node, "/metadata/creationTimestamp"));
    sheet.field(0, "CreationTimestamp", &created);
    let taints: Vec<String> = list(node, "/spec/taints").iter().map(taint).collect();
    sheet.values(0, "Taints", &taints);
    let is_closed = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    sheet.field(0, "Unschedulable", &is_closed.to_string());
    conditions(node, sheet);
    sheet.line(0, "Addresses:");
    for address in list(node, "/status/addresses") {
        sheet.cell(1, text(address, "/type"), text(address, "/address"));
    }
    for (title, pointer) in [("Capacity", "/status/capacity"), ("Allocatable", "/status/allocatable")] {
        sheet.line(0, &format!("{title}:"));
        for (name, amount) in entries(node, pointer) {
            sheet.cell(1, name, &amount);
        }
    }
    system(node, sheet);
    sheet.field(0, "PodCIDR", text(node, "/spec/podCIDR"));
    let ranges: Vec<&str> = list(node, "/spec/podCIDRs").iter().filter_map(Value::as_str).collect();
    sheet.field(0, "PodCIDRs", &ranges.join(","));
    let pods: Vec<&Value> = pods.iter().filter(|pod| !is_over(pod)).collect();
    describe_pods(node, &pods, now, sheet);
    describe_sums(node, &pods, sheet);
}

fn taint(taint: &Value) -> String {
    let value = match text(taint, "/value") {
        "" => String::new(),
        value => format!("={value}"),
    };
    format!("{}{value}:{}", text(taint, "/key"), text(taint, "/effect"))
}

fn conditions(node: &Value, sheet: &mut Sheet) {
    sheet.line(0, "Conditions:");
    sheet.line(
        1,
        "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage",
    );
    sheet.line(
        1,
        "----\t------\t-----------------\t------------------\t------\t-------",
    );
    for condition in list(node, "/status/conditions") {
        let cell = |field: &str| text(condition, field).replace('\t', " ");
        let time = |field: &str| date(text(condition, field));
        let cells = [
            cell("/type"),
            cell("/status"),
            time("/lastHeartbeatTime"),
            time("/lastTransitionTime"),
            cell("/reason"),
            cell("/message"),
        ];
        sheet.line(1, &cells.join(" \t"));
    }
}

fn system(node: &Value, sheet: &mut Sheet) {
    sheet.line(0, "System Info:");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        sheet.cell(1, title, text(node, &format!("/status/nodeInfo/{field}")));
    }
}

fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn describe_pods(node: &Value, pods: &[&Value], now: Timestamp, sheet: &mut Sheet) {
    sheet.line(0, &format!("Non-terminated Pods:\t({} in total)", pods.len()));
    sheet.line(
        1,
        "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge",
    );
    sheet.line(
        1,
        "---------\t----\t\t------------\t----------\t---------------\t-------------\t---",
    );
    for pod in pods {
        let share = |resource: &str, which: &str| share(node, resource, asked(pod, which, resource));
        let cells = [
            text(pod, "/metadata/namespace").to_owned(),
            text(pod, "/metadata/name").to_owned(),
            String::new(),
            share("cpu", "requests"),
            share("cpu", "limits"),
            share("memory", "requests"),
            share("memory", "limits"),
            age_of(text(pod, "/metadata/creationTimestamp"), now),
        ];
        sheet.line(1, &cells.join("\t"));
    }
}

fn describe_sums(node: &Value, pods: &[&Value], sheet: &mut Sheet) {
    sheet.line(0, "Allocated resources:");
    sheet.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    sheet.line(1, "Resource\tRequests\tLimits");
    sheet.line(1, "--------\t--------\t------");
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        let sum = |which: &str| {
            let all = pods.iter().map(|pod| asked(pod, which, resource)).sum();
            share(node, resource, all)
        };
        sheet.line(1, &format!("{resource}\t{}\t{}", sum("requests"), sum("limits")));
    }
}

/// What a pod asks, in thousandths: its containers together, or the init container that asks for more
/// (`PodRequests` of `k8s.io/component-helpers`). Sidecars count with the containers.
fn asked(pod: &Value, which: &str, resource: &str) -> i128 {
    let of = |container: &Value| {
        let amount = container.get("resources").and_then(|all| all.get(which)?.get(resource));
        amount.map_or(0, thousandths)
    };
    let is_sidecar = |container: &&Value| text(container, "/restartPolicy") == "Always";
    let (sidecars, inits): (Vec<_>, Vec<_>) = list(pod, "/spec/initContainers").iter().partition(is_sidecar);
    let together = list(pod, "/spec/containers")
        .iter()
        .chain(sidecars)
        .map(of)
        .sum::<i128>();
    inits.into_iter().map(of).fold(together, i128::max)
}

fn thousandths(amount: &Value) -> i128 {
    let milli = Quantity::parse("1m").expect("is a quantity");
    Quantity::parse(&plain(amount)).map_or(0, |amount| amount.divided_by(milli))
}

/// `100m (5%)`, of what the node has.
fn share(node: &Value, resource: &str, thousandths_asked: i128) -> String {
    let all = node.pointer("/status/allocatable").and_then(|all| all.get(resource));
    let all = all.map_or(0, thousandths);
    let percent = if all == 0 { 0 } else { thousandths_asked * 100 / all };
    format!("{} ({percent}%)", amount(thousandths_asked))
}

/// In the largest unit that leaves no fraction.
fn amount(thousandths: i128) -> String {
    let whole = thousandths / 1000;
    match thousandths % 1000 {
        _ if thousandths == 0 => "0".to_owned(),
        0 => [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)]
            .iter()
            .find(|(_, unit)| whole % unit == 0)
            .map_or_else(
                || whole.to_string(),
                |(suffix, unit)| format!("{}{suffix}", whole / unit),
            ),
        _ => format!("{thousandths}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_told_in_units_that_fit() {
        for (thousandths, text) in [
            (0, "0"),
            (100, "100m"),
            (2_000, "2"),
            ((64 << 20) * 1000, "64Mi"),
            (1_500, "1500m"),
        ] {
            assert_eq!(amount(thousandths), text);
        }
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_its_largest_init_container() {
        let container =
            |cpu: &str, policy: &str| json!({"restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
        let pod = |init: &str| {
            json!({"spec": {"containers": [container("100m", ""), container("1", "")],
                "initContainers": [container(init, ""), container("50m", "Always")]}})
        };
        assert_eq!(asked(&pod("1"), "requests", "cpu"), 1150);
        assert_eq!(asked(&pod("3"), "requests", "cpu"), 3000);
        assert_eq!(asked(&pod("3"), "limits", "cpu"), 0);
    }
}
