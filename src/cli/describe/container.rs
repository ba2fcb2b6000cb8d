//! Containers of pods and of templates, in the order of kubectl's `describeContainers`.

use serde_json::Value;

use super::sheet::{Place, Sheet, date, entries, list, plain, text};
use crate::model::Quantity;

/// The containers of `spec`; `statuses` are there if it is a pod's.
pub(super) fn describe(title: &str, specs: &[Value], statuses: &[Value], about: &About<'_>, sheet: &mut Sheet) {
    if !specs.is_empty() {
        sheet.line(about.place.level(), &format!("{title}:"));
    }
    for spec in specs {
        sheet.name(about.place, text(spec, "/name"));
        let status = statuses.iter().find(|status| status.get("name") == spec.get("name"));
        container(spec, status, about, sheet);
    }
}

/// Whose containers they are.
pub(super) struct About<'a> {
    /// Where they stand.
    pub place: Place,
    /// The pod, of which its containers may know fields; a template has no fields yet.
    pub pod: Option<&'a Value>,
}

fn container(spec: &Value, status: Option<&Value>, about: &About<'_>, sheet: &mut Sheet) {
    if let Some(status) = status {
        sheet.cell(2, "Container ID", text(status, "/containerID"));
    }
    sheet.cell(2, "Image", text(spec, "/image"));
    if let Some(status) = status {
        sheet.cell(2, "Image ID", text(status, "/imageID"));
    }
    ports("Port", "/containerPort", spec, sheet);
    ports("Host Port", "/hostPort", spec, sheet);
    words("Command", list(spec, "/command"), sheet);
    words("Args", list(spec, "/args"), sheet);
    if let Some(status) = status {
        progress(status, sheet);
    }
    amounts("Limits", entries(spec, "/resources/limits"), sheet);
    amounts("Requests", entries(spec, "/resources/requests"), sheet);
    for (title, pointer) in [
        ("Liveness", "/livenessProbe"),
        ("Readiness", "/readinessProbe"),
        ("Startup", "/startupProbe"),
    ] {
        sheet.field(2, title, &spec.pointer(pointer).map(probe).unwrap_or_default());
    }
    environment_from(list(spec, "/envFrom"), sheet);
    environment(spec, about.pod, sheet);
    mounts(spec, sheet);
}

fn progress(status: &Value, sheet: &mut Sheet) {
    state("State", status.get("state"), sheet);
    let last = status.get("lastState").and_then(Value::as_object);
    if last.is_some_and(|last| !last.is_empty()) {
        state("Last State", status.get("lastState"), sheet);
    }
    let is_ready = status.get("ready") == Some(&Value::Bool(true));
    sheet.field(2, "Ready", if is_ready { "True" } else { "False" });
    let restarts = status.get("restartCount").map_or_else(|| "0".to_owned(), plain);
    sheet.field(2, "Restart Count", &restarts);
}

/// A line for each line of each word.
fn words(title: &str, words: &[Value], sheet: &mut Sheet) {
    if !words.is_empty() {
        sheet.line(2, &format!("{title}:"));
    }
    for word in words {
        for line in plain(word).split('\n') {
            sheet.line(3, &line.replace('\t', " "));
        }
    }
}

fn amounts(title: &str, amounts: Vec<(&str, String)>, sheet: &mut Sheet) {
    if !amounts.is_empty() {
        sheet.line(2, &format!("{title}:"));
    }
    for (name, amount) in amounts {
        sheet.field(3, name, &amount);
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

fn environment_from(sources: &[Value], sheet: &mut Sheet) {
    if !sources.is_empty() {
        sheet.line(2, "Environment Variables from:");
    }
    for source in sources {
        let (kind, of) = match source.get("configMapRef") {
            Some(map) => ("ConfigMap", map),
            None => ("Secret", source.get("secretRef").unwrap_or(&Value::Null)),
        };
        let prefix = match text(source, "/prefix") {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        let line = format!("{}\t{kind}{prefix}\tOptional: {}", text(of, "/name"), is_optional(of));
        sheet.line(3, &line);
    }
}

fn is_optional(reference: &Value) -> bool {
    reference.get("optional") == Some(&Value::Bool(true))
}

fn environment(spec: &Value, pod: Option<&Value>, sheet: &mut Sheet) {
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
        let name = text(variable, "/name");
        match variable.get("valueFrom") {
            Some(source) => sheet.line(3, &format!("{name}:\t{}", origin(source, spec, pod))),
            None => {
                let mut lines = text(variable, "/value").split('\n').map(|line| line.replace('\t', " "));
                sheet.cell(3, name, &lines.next().unwrap_or_default());
                lines.for_each(|line| sheet.line(3, &format!("\t{line}")));
            }
        }
    }
}

/// Where a value comes from; of a Secret never the value itself.
fn origin(source: &Value, spec: &Value, pod: Option<&Value>) -> String {
    let from = |pointer: &str| text(source, pointer).replace('\t', " ");
    let Some((kind, of)) = source.as_object().and_then(|source| source.iter().next()) else {
        return String::new();
    };
    match kind.as_str() {
        "secretKeyRef" => format!(
            "<set to the key '{}' in secret '{}'>\tOptional: {}",
            from("/secretKeyRef/key"),
            from("/secretKeyRef/name"),
            is_optional(of)
        ),
        "configMapKeyRef" => format!(
            "<set to the key '{}' of config map '{}'>\tOptional: {}",
            from("/configMapKeyRef/key"),
            from("/configMapKeyRef/name"),
            is_optional(of)
        ),
        "fieldRef" => {
            let path = from("/fieldRef/fieldPath");
            let value = pod.map(|pod| field_of(pod, &path)).unwrap_or_default();
            format!("{value} ({}:{path})", from("/fieldRef/apiVersion"))
        }
        _ => {
            let resource = from("/resourceFieldRef/resource");
            format!("{} ({resource})", resource_of(of, &resource, spec))
        }
    }
}

/// A field of the pod's metadata; others kubectl does not look up either (`fieldpath.ExtractFieldPathAsString`).
fn field_of<'a>(pod: &'a Value, path: &str) -> &'a str {
    match path {
        "metadata.name" => text(pod, "/metadata/name"),
        "metadata.namespace" => text(pod, "/metadata/namespace"),
        "metadata.uid" => text(pod, "/metadata/uid"),
        _ => ["labels", "annotations"]
            .iter()
            .find_map(|map| {
                let key = path.strip_prefix(&format!("metadata.{map}['"))?.strip_suffix("']")?;
                pod.get("metadata")?.get(map)?.get(key)?.as_str()
            })
            .unwrap_or_default(),
    }
}

/// What the container asks of a resource, in the divisors that the reference names.
fn resource_of(reference: &Value, resource: &str, spec: &Value) -> String {
    let asked = resource.split_once('.').and_then(|(list, name)| {
        let amount = spec.get("resources")?.get(list)?.get(name)?;
        Quantity::parse(&plain(amount))
    });
    let divisor = reference
        .get("divisor")
        .and_then(|divisor| Quantity::parse(&plain(divisor)));
    let value = asked
        .unwrap_or(Quantity::ZERO)
        .divided_by(divisor.unwrap_or(Quantity::whole(1)));
    match (value, resource) {
        (0, "limits.cpu" | "limits.memory") => "node allocatable".to_owned(),
        _ => value.to_string(),
    }
}

fn mounts(spec: &Value, sheet: &mut Sheet) {
    let mut mounts: Vec<&Value> = list(spec, "/volumeMounts").iter().collect();
    mounts.sort_by_key(|mount| text(mount, "/mountPath"));
    sheet.line(
        2,
        if mounts.is_empty() {
            "Mounts:\t<none>"
        } else {
            "Mounts:"
        },
    );
    for mount in mounts {
        let is_read_only = mount.get("readOnly") == Some(&Value::Bool(true));
        let mode = if is_read_only { "ro" } else { "rw" };
        let path = match text(mount, "/subPath") {
            "" => String::new(),
            path => format!(",path={path:?}"),
        };
        let (path_in, name) = (text(mount, "/mountPath"), text(mount, "/name"));
        sheet.line(3, &format!("{path_in} from {name} ({mode}{path})"));
    }
}
