//! Pods (`PodDescriber` of kubectl).

use serde_json::Value;

use super::sheet::{Sheet, date, entries, list, plain, text};
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
    containers(
        pod,
        "Init Containers",
        "/spec/initContainers",
        "/status/initContainerStatuses",
        sheet,
    );
    containers(
        pod,
        "Containers",
        "/spec/containers",
        "/status/containerStatuses",
        sheet,
    );
    containers(
        pod,
        "Ephemeral Containers",
        "/spec/ephemeralContainers",
        "/status/ephemeralContainerStatuses",
        sheet,
    );
    sheet.conditions(pod);
    volumes(pod, sheet);
    sheet.field(0, "QoS Class", text(pod, "/status/qosClass"));
    let selectors: Vec<String> = entries(pod, "/spec/nodeSelector")
        .into_iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    sheet.values(0, "Node-Selectors", &selectors);
    let tolerations: Vec<String> = list(pod, "/spec/tolerations").iter().map(toleration).collect();
    sheet.values(0, "Tolerations", &tolerations);
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

fn containers(pod: &Value, title: &str, specs: &str, statuses: &str, sheet: &mut Sheet) {
    let specs = list(pod, specs);
    if !specs.is_empty() {
        sheet.line(0, &format!("{title}:"));
    }
    for spec in specs {
        let status = list(pod, statuses)
            .iter()
            .find(|status| status.get("name") == spec.get("name"));
        sheet.line(1, &format!("{}:", text(spec, "/name")));
        container(spec, status.unwrap_or(&Value::Null), sheet);
    }
}

fn container(spec: &Value, status: &Value, sheet: &mut Sheet) {
    sheet.field(2, "Container ID", text(status, "/containerID"));
    sheet.field(2, "Image", text(spec, "/image"));
    sheet.field(2, "Image ID", text(status, "/imageID"));
    container_spec(spec, sheet);
    state("State", status.get("state"), sheet);
    if status
        .pointer("/lastState")
        .and_then(Value::as_object)
        .is_some_and(|last| !last.is_empty())
    {
        state("Last State", status.get("lastState"), sheet);
    }
    let is_ready = status.get("ready") == Some(&Value::Bool(true));
    sheet.field(2, "Ready", if is_ready { "True" } else { "False" });
    sheet.field(
        2,
        "Restart Count",
        &status.get("restartCount").map_or_else(|| "0".to_owned(), plain),
    );
    environment_and_mounts(spec, sheet);
}

/// What a template says of a container too: ports, command, resources and probes.
fn container_spec(spec: &Value, sheet: &mut Sheet) {
    ports("Port", "/containerPort", spec, sheet);
    ports("Host Port", "/hostPort", spec, sheet);
    for (title, pointer) in [("Command", "/command"), ("Args", "/args")] {
        let words = list(spec, pointer);
        if !words.is_empty() {
            sheet.line(2, &format!("{title}:"));
        }
        for word in words {
            sheet.line(3, &plain(word).replace('\t', " "));
        }
    }
    for (title, pointer) in [("Limits", "/resources/limits"), ("Requests", "/resources/requests")] {
        let all = entries(spec, pointer);
        if !all.is_empty() {
            sheet.line(2, &format!("{title}:"));
        }
        for (name, amount) in all {
            sheet.field(3, name, &amount);
        }
    }
    for (title, pointer) in [
        ("Liveness", "/livenessProbe"),
        ("Readiness", "/readinessProbe"),
        ("Startup", "/startupProbe"),
    ] {
        sheet.field(2, title, &spec.pointer(pointer).map(probe).unwrap_or_default());
    }
}

/// `Ports:  80/TCP, 53/UDP`. A port that is not set is 0 (`describeContainerPorts` of kubectl).
fn ports(title: &str, number: &str, spec: &Value, sheet: &mut Sheet) {
    let port = |port: &Value| {
        let protocol = match text(port, "/protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        format!(
            "{}/{protocol}",
            port.pointer(number).map_or_else(|| "0".to_owned(), plain)
        )
    };
    let ports: Vec<String> = list(spec, "/ports").iter().map(port).collect();
    match ports.as_slice() {
        [] => sheet.field(2, title, "<none>"),
        [port] => sheet.field(2, title, port),
        _ => sheet.field(2, &format!("{title}s"), &ports.join(", ")),
    }
}

/// `http-get http://:8080/healthz delay=0s timeout=1s period=10s #success=1 #failure=3`.
fn probe(probe: &Value) -> String {
    let number = |field: &str, default: i64| probe.get(field).and_then(Value::as_i64).unwrap_or(default);
    let port = |of: &str| probe.pointer(&format!("/{of}/port")).map(plain).unwrap_or_default();
    let how = if let Some(get) = probe.get("httpGet") {
        let scheme = text(get, "/scheme").to_lowercase();
        let scheme = if scheme.is_empty() { "http" } else { scheme.as_str() };
        format!(
            "http-get {scheme}://{}:{}{}",
            text(get, "/host"),
            port("httpGet"),
            text(get, "/path")
        )
    } else if probe.get("tcpSocket").is_some() {
        format!("tcp-socket {}:{}", text(probe, "/tcpSocket/host"), port("tcpSocket"))
    } else if probe.get("grpc").is_some() {
        format!("grpc <pod>:{} {}", port("grpc"), text(probe, "/grpc/service"))
    } else {
        let words: Vec<String> = list(probe, "/exec/command").iter().map(plain).collect();
        format!("exec [{}]", words.join(" "))
    };
    format!(
        "{how} delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3)
    )
}

fn state(title: &str, state: Option<&Value>, sheet: &mut Sheet) {
    let found = ["running", "waiting", "terminated"]
        .iter()
        .find_map(|word| Some((*word, state?.get(word)?)));
    let Some((word, state)) = found else {
        return sheet.field(2, title, "Waiting");
    };
    let (first, rest) = word.split_at(1);
    sheet.field(2, title, &format!("{}{rest}", first.to_uppercase()));
    sheet.field(3, "Reason", text(state, "/reason"));
    sheet.field(3, "Message", text(state, "/message"));
    for (name, field) in [("Exit Code", "exitCode"), ("Signal", "signal")] {
        sheet.field(3, name, &state.get(field).map(plain).unwrap_or_default());
    }
    sheet.field(3, "Started", &date(text(state, "/startedAt")));
    sheet.field(3, "Finished", &date(text(state, "/finishedAt")));
}

fn environment_and_mounts(spec: &Value, sheet: &mut Sheet) {
    let from: Vec<String> = list(spec, "/envFrom").iter().map(env_source).collect();
    if !from.is_empty() {
        sheet.line(2, "Environment Variables from:");
        for source in from {
            sheet.line(3, &source);
        }
    }
    let variables = list(spec, "/env");
    sheet.line(
        2,
        if variables.is_empty() {
            "Environment:\t<none>"
        } else {
            "Environment:"
        },
    );
    for variable in variables {
        sheet.line(
            3,
            &format!(
                "{}:\t{}",
                text(variable, "/name"),
                env_value(variable).replace('\t', " ")
            ),
        );
    }
    let mounts = list(spec, "/volumeMounts");
    sheet.line(
        2,
        if mounts.is_empty() {
            "Mounts:\t<none>"
        } else {
            "Mounts:"
        },
    );
    for mount in mounts {
        let mode = if mount.get("readOnly") == Some(&Value::Bool(true)) {
            "ro"
        } else {
            "rw"
        };
        let path = match text(mount, "/subPath") {
            "" => String::new(),
            path => format!(",path={path:?}"),
        };
        sheet.line(
            3,
            &format!(
                "{} from {} ({mode}{path})",
                text(mount, "/mountPath"),
                text(mount, "/name")
            ),
        );
    }
}

fn env_source(source: &Value) -> String {
    let optional = |of: &str| source.pointer(&format!("/{of}/optional")) == Some(&Value::Bool(true));
    match (text(source, "/configMapRef/name"), text(source, "/secretRef/name")) {
        ("", secret) => format!("{secret}\tSecret\tOptional: {}", optional("secretRef")),
        (map, _) => format!("{map}\tConfigMap\tOptional: {}", optional("configMapRef")),
    }
}

/// Never the value of a Secret: only where it comes from.
fn env_value(variable: &Value) -> String {
    let from = |pointer: &str| text(variable, &format!("/valueFrom/{pointer}"));
    match variable
        .pointer("/valueFrom")
        .and_then(Value::as_object)
        .and_then(|from| from.keys().next())
    {
        None => text(variable, "/value").to_owned(),
        Some(kind) => match kind.as_str() {
            "secretKeyRef" => format!(
                "<set to the key '{}' in secret '{}'>",
                from("secretKeyRef/key"),
                from("secretKeyRef/name")
            ),
            "configMapKeyRef" => format!(
                "<set to the key '{}' of config map '{}'>",
                from("configMapKeyRef/key"),
                from("configMapKeyRef/name")
            ),
            "fieldRef" => format!(" ({}:{})", from("fieldRef/apiVersion"), from("fieldRef/fieldPath")),
            _ => from("resourceFieldRef/resource").to_owned(),
        },
    }
}

fn volumes(pod: &Value, sheet: &mut Sheet) {
    let volumes = list(pod, "/spec/volumes");
    sheet.line(
        0,
        if volumes.is_empty() {
            "Volumes:\t<none>"
        } else {
            "Volumes:"
        },
    );
    for volume in volumes {
        sheet.line(1, &format!("{}:", text(volume, "/name")));
        let source = volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name");
        let Some((kind, source)) = source else { continue };
        let (first, rest) = kind.split_at(1);
        sheet.field(2, "Type", &format!("{}{rest}", first.to_uppercase()));
        for (name, value) in source
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_object() && !value.is_array())
        {
            let (first, rest) = name.split_at(1);
            sheet.field(2, &format!("{}{rest}", first.to_uppercase()), &plain(value));
        }
    }
}

/// The containers of a workload's template.
pub(super) fn template(object: &Value, sheet: &mut Sheet) {
    sheet.line(0, "Pod Template:");
    let labels: Vec<String> = entries(object, "/spec/template/metadata/labels")
        .into_iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    sheet.values(1, "Labels", &labels);
    for (title, pointer) in [
        ("Init Containers", "/spec/template/spec/initContainers"),
        ("Containers", "/spec/template/spec/containers"),
    ] {
        let specs = list(object, pointer);
        if !specs.is_empty() {
            sheet.line(1, &format!("{title}:"));
        }
        for spec in specs {
            sheet.line(2, &format!("{}:", text(spec, "/name")));
            sheet.field(2, "Image", text(spec, "/image"));
            container_spec(spec, sheet);
            environment_and_mounts(spec, sheet);
        }
    }
}
