//! What a pod may know of itself (the downward API): values of its own fields, for variables and files. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};

use super::{Lookup, Quantity};

/// `fieldRef`, for environments and downward API files (`fieldpath.ExtractFieldPathAsString`).
///
/// # Errors
/// When there is no such field; the text is kubelet's.
pub fn field_value(field: &ObjectFieldSelector, pod: &Pod, lookup: &Lookup<'_>) -> Result<String, String> {
    let (metadata, spec) = (&pod.metadata, pod.spec.as_ref());
    let own = |text: Option<&String>| text.cloned().unwrap_or_default();
    let path = field.field_path.as_str();
    Ok(match path {
        "metadata.name" => own(metadata.name.as_ref()),
        "metadata.namespace" => own(metadata.namespace.as_ref()),
        "metadata.uid" => own(metadata.uid.as_ref()),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => lookup.node_name.to_owned(),
        "spec.serviceAccountName" => own(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.hostIP" => lookup.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => lookup.host_ips.join(","),
        "status.podIP" => lookup.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => lookup.pod_ips.join(","),
        _ => subscripted(path, "metadata.labels", metadata.labels.as_ref())
            .or_else(|| subscripted(path, "metadata.annotations", metadata.annotations.as_ref()))
            .ok_or_else(|| format!("unsupported fieldPath: {path}"))?,
    })
}

/// A whole map, a line for each key (`fieldpath.FormatMap`). Only files can have it; `admit` refuses it for variables.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quoted(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A text as Go's `%q` writes it, which is JSON but for control characters.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            other if u32::from(other) < 0x20 || other == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(other)))
            }
            other => out.push(other),
        }
    }
    out + "\""
}

/// `metadata.labels['key']`; a key that is not there is empty.
fn subscripted(path: &str, field: &str, map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let key = path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")?;
    Some(map.and_then(|m| m.get(key)).cloned().unwrap_or_default())
}

/// `resourceFieldRef`: limits fall back to what the node has, requests to limits (`ExtractContainerResourceValue`).
/// Of the container that it names, or of `container`.
///
/// # Errors
/// When there is no such container or resource; the text is kubelet's.
pub fn resource_value(
    field: &ResourceFieldSelector,
    pod: &Pod,
    container: Option<&Container>,
    lookup: &Lookup<'_>,
) -> Result<String, String> {
    let invalid = |text: &str| format!("unsupported container resource: {text}");
    let spec = pod.spec.as_ref();
    let inits = spec.iter().flat_map(|s| s.init_containers.iter().flatten());
    let all = spec.iter().flat_map(|s| &s.containers).chain(inits);
    let named = field.container_name.as_deref().filter(|name| !name.is_empty());
    let container = named.map_or(container, |name| all.into_iter().find(|c| c.name == name));
    let resources = container
        .ok_or_else(|| invalid(&field.resource))?
        .resources
        .clone()
        .unwrap_or_default();
    let (list, resource) = field.resource.split_once('.').ok_or_else(|| invalid(&field.resource))?;
    let lists = match list {
        "limits" => [resources.limits, None],
        "requests" => [resources.requests, resources.limits],
        _ => return Err(invalid(&field.resource)),
    };
    let asked = lists.into_iter().flatten().find_map(|list| list.get(resource).cloned());
    let quantity = match asked {
        Some(quantity) => Quantity::parse(&quantity.0).ok_or_else(|| invalid(&field.resource))?,
        None if list == "limits" => (lookup.allocatable)(resource).ok_or_else(|| invalid(&field.resource))?,
        None => Quantity::whole(0),
    };
    let divisor = field
        .divisor
        .as_ref()
        .map_or(Some(Quantity::whole(1)), |q| Quantity::parse(&q.0));
    Ok(quantity
        .divided_by(divisor.ok_or_else(|| invalid(&field.resource))?)
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_lines_and_values_are_quoted_as_go_does() {
        let map = [("b", "two \"words\"\n"), ("a", "1"), ("c", "\u{1}ü")];
        let map = map.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(lines(Some(&map)), "a=\"1\"\nb=\"two \\\"words\\\"\\n\"\nc=\"\\x01ü\"");
        assert_eq!(lines(None), "");
    }
}
