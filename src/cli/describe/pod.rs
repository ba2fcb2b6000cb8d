//! Pods (`PodDescriber` of kubectl).

use serde_json::Value;

use super::container::{self, About};
use super::sheet::{Place, Sheet, date, entries, list, plain, text};
use super::volume;
use crate::api::table::pods::summarize;

pub(super) fn describe(pod: &Value, sheet: &mut Sheet) {
    sheet.field(0, "Name", text(pod, "/metadata/name"));
    sheet.field(0, "Namespace", text(pod, "/metadata/namespace"));
    sheet.field(
        0,
        "Priority",
        &pod.pointer("/spec/priority").map_or_else(|| "0".to_owned(), plain),
    );
    sheet.field(0, "Service Account", text(pod, "/spec/serviceAccountName"));
    let node = [text(pod, "/spec/nodeName"), text(pod, "/status/hostIP")]
        .map(|part| if part.is_empty() { "<none>" } else { part });
    sheet.field(0, "Node", &node.join("/"));
    sheet.field(0, "Start Time", &date(text(pod, "/status/startTime")));
    sheet.labels(pod);
    let phase = text(pod, "/status/phase");
    let deleted = text(pod, "/metadata/deletionTimestamp");
    if deleted.is_empty() {
        sheet.field(0, "Status", phase);
    } else {
        sheet.field(0, "Status", &format!("Terminating (since {})", date(deleted)));
        let grace = pod
            .pointer("/metadata/deletionGracePeriodSeconds")
            .map(plain)
            .unwrap_or_default();
        sheet.field(0, "Termination Grace Period", &format!("{grace}s"));
    }
    let shown = summarize(pod).status;
    if shown != phase && deleted.is_empty() {
        sheet.field(0, "State", &shown);
    }
    sheet.field(0, "Reason", text(pod, "/status/reason"));
    sheet.field(0, "Message", text(pod, "/status/message"));
    sheet.field(0, "IP", text(pod, "/status/podIP"));
    let addresses = list(pod, "/status/podIPs");
    if !addresses.is_empty() {
        sheet.line(0, "IPs:");
    }
    for address in addresses {
        sheet.field(1, "IP", text(address, "/ip"));
    }
    sheet.controller(pod);
    let about = About {
        place: Place::Pod,
        pod: Some(pod),
    };
    for (title, specs, statuses) in [
        (
            "Init Containers",
            "/spec/initContainers",
            "/status/initContainerStatuses",
        ),
        ("Containers", "/spec/containers", "/status/containerStatuses"),
        (
            "Ephemeral Containers",
            "/spec/ephemeralContainers",
            "/status/ephemeralContainerStatuses",
        ),
    ] {
        container::describe(title, list(pod, specs), list(pod, statuses), &about, sheet);
    }
    sheet.conditions(pod);
    volume::describe(list(pod, "/spec/volumes"), Place::Pod, sheet);
    sheet.field(0, "QoS Class", text(pod, "/status/qosClass"));
    placement(pod.get("spec").unwrap_or(&Value::Null), Place::Pod, sheet);
}

/// Where pods of this `spec` may run.
fn placement(spec: &Value, place: Place, sheet: &mut Sheet) {
    let selectors = entries(spec, "/nodeSelector").into_iter();
    let selectors: Vec<String> = selectors.map(|(key, value)| format!("{key}={value}")).collect();
    sheet.values(place.level(), "Node-Selectors", &selectors);
    let tolerations: Vec<String> = list(spec, "/tolerations").iter().map(toleration).collect();
    sheet.values(place.level(), "Tolerations", &tolerations);
}

/// `key=value:NoExecute op=Exists for 300s`, without what is not set (`printTolerationsInner` of kubectl).
fn toleration(toleration: &Value) -> String {
    let part = |sign: &str, field: &str| match text(toleration, field) {
        "" => String::new(),
        value => format!("{sign}{value}"),
    };
    let operator = match text(toleration, "/operator") {
        "Exists" if text(toleration, "/value").is_empty() => " op=Exists",
        _ => "",
    };
    let seconds = toleration
        .get("tolerationSeconds")
        .map(|seconds| format!(" for {}s", plain(seconds)));
    let key = [part("", "/key"), part("=", "/value"), part(":", "/effect")].concat();
    format!("{key}{operator}{}", seconds.unwrap_or_default())
        .trim_start()
        .to_owned()
}

/// The pods that a workload makes (`DescribePodTemplate`).
pub(super) fn template(object: &Value, sheet: &mut Sheet) {
    sheet.line(0, "Pod Template:");
    let pairs = |pointer: &str, sign: &str| -> Vec<String> {
        let all = entries(object, pointer).into_iter();
        all.map(|(key, value)| format!("{key}{sign}{value}")).collect()
    };
    sheet.values(1, "Labels", &pairs("/spec/template/metadata/labels", "="));
    let annotations = pairs("/spec/template/metadata/annotations", ": ");
    if !annotations.is_empty() {
        sheet.values(1, "Annotations", &annotations);
    }
    let spec = object.pointer("/spec/template/spec").unwrap_or(&Value::Null);
    sheet.field(1, "Service Account", text(spec, "/serviceAccountName"));
    let place = Place::Template;
    let about = About { place, pod: None };
    container::describe("Init Containers", list(spec, "/initContainers"), &[], &about, sheet);
    container::describe("Containers", list(spec, "/containers"), &[], &about, sheet);
    volume::describe(list(spec, "/volumes"), place, sheet);
    sheet.field(1, "Priority Class Name", text(spec, "/priorityClassName"));
    placement(spec, place, sheet);
}
