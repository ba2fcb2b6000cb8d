//! The Container Device Interface's files (CNCF TAG, specification 1.1), read strictly. Pure.
//!
//! What of an edit can't be done here is an error of the file and not left out: a container that gets half of a device fails in ways
//! that nobody understands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Edits, Hook, Mount, Node, NodeKind, OWN_VENDOR};

/// Versions that differ in fields only, all of which are known.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

/// Where in a container's making hooks are run here. `poststop` is not among them: nothing runs a runtime when a container has ended.
const HOOKS: [&str; 5] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
];

/// A spec has five.
const MAX_DEPTH: usize = 64;

/// More of a kind than any machine has.
const MAX_DEVICES: usize = 4096;

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    /// `vendor.com/class`.
    pub kind: String,
    /// Devices in the file's order.
    pub devices: Vec<(String, Edits)>,
    /// What comes with each of them.
    pub common: Edits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawSpec {
    cdi_version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    devices: Vec<RawDevice>,
    #[serde(default)]
    container_edits: RawEdits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawDevice {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: RawEdits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct RawEdits {
    env: Vec<String>,
    device_nodes: Vec<RawNode>,
    net_devices: Vec<serde_json::Value>,
    mounts: Vec<RawMount>,
    hooks: Vec<RawHook>,
    intel_rdt: Option<serde_json::Value>,
    additional_gids: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawNode {
    path: String,
    #[serde(default)]
    host_path: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    permissions: String,
    // A node is the host's own, so these are what they are there.
    #[serde(default, rename = "major")]
    _major: Option<i64>,
    #[serde(default, rename = "minor")]
    _minor: Option<i64>,
    #[serde(default, rename = "fileMode")]
    _file_mode: Option<u32>,
    #[serde(default, rename = "uid")]
    _uid: Option<u32>,
    #[serde(default, rename = "gid")]
    _gid: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawMount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawHook {
    hook_name: String,
    path: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    timeout: Option<u32>,
}

/// Reads a file's text.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn parse(text: &str, is_json: bool) -> Result<Spec, String> {
    let raw: RawSpec = match is_json {
        true => serde_json::from_str(text).map_err(|e| e.to_string())?,
        false if is_too_deep(text) => return Err(format!("it nests more than {MAX_DEPTH} brackets")),
        false => serde_yaml::from_str(text).map_err(|e| e.to_string())?,
    };
    let version = raw.cdi_version.strip_prefix('v').unwrap_or(&raw.cdi_version);
    if !VERSIONS.contains(&version) {
        return Err(format!("cdiVersion {:?} is not known", raw.cdi_version));
    }
    check_kind(&raw.kind)?;
    if raw.devices.is_empty() {
        return Err("it names no device".to_owned());
    }
    if raw.devices.len() > MAX_DEVICES {
        return Err(format!("it names more than {MAX_DEVICES} devices"));
    }
    let common = edits(raw.container_edits).map_err(|why| format!("containerEdits: {why}"))?;
    let mut devices: Vec<(String, Edits)> = Vec::new();
    for device in raw.devices {
        let name = device.name;
        if !is_device_name(&name) {
            return Err(format!("device {name:?}: this is no name for a device"));
        }
        if devices.iter().any(|(other, _)| *other == name) {
            return Err(format!("device {name:?} is named twice"));
        }
        let own = edits(device.container_edits).map_err(|why| format!("device {name:?}: {why}"))?;
        devices.push((name, own));
    }
    Ok(Spec {
        kind: raw.kind,
        devices,
        common,
    })
}

/// Whether brackets are opened in brackets more often than any spec does it. Reading them takes time that grows with the square of that.
fn is_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// Whether a kind is a resource that a pod can ask for.
fn check_kind(kind: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let (vendor, class) = kind.split_once('/').unwrap_or((kind, ""));
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let is_class = class.len() <= 63
        && class.starts_with(|c: char| c.is_ascii_alphanumeric())
        && class.ends_with(|c: char| c.is_ascii_alphanumeric())
        && class.chars().all(is_inner);
    if vendor.len() > 253 || !vendor.split('.').all(is_label) || !is_class {
        return Err(format!("kind {kind:?} is not like vendor.com/class"));
    }
    let is_reserved = ["kubernetes.io", "k8s.io", OWN_VENDOR]
        .iter()
        .any(|owner| vendor == *owner || vendor.ends_with(&format!(".{owner}")));
    match is_reserved {
        true => Err(format!("kind {kind:?}: {vendor} is no vendor's name")),
        false => Ok(()),
    }
}

fn is_device_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    name.len() <= 253
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_inner)
}

fn edits(raw: RawEdits) -> Result<Edits, String> {
    if !raw.net_devices.is_empty() {
        return Err("netDevices can't be given to containers here".to_owned());
    }
    if raw.intel_rdt.is_some() {
        return Err("intelRdt can't be set here".to_owned());
    }
    let is_variable = |entry: &String| entry.find('=').is_some_and(|at| at > 0) && !entry.contains('\0');
    if let Some(entry) = raw.env.iter().find(|entry| !is_variable(entry)) {
        return Err(format!("env {entry:?} is not like NAME=value"));
    }
    Ok(Edits {
        env: raw.env,
        nodes: raw.device_nodes.into_iter().map(node).collect::<Result<_, _>>()?,
        mounts: raw.mounts.into_iter().map(mount).collect::<Result<_, _>>()?,
        hooks: raw.hooks.into_iter().map(hook).collect::<Result<_, _>>()?,
        // Root's group is no addition, as CDI has it.
        groups: raw.additional_gids.into_iter().filter(|gid| *gid != 0).collect(),
    })
}

/// An absolute path that leads nowhere else than it says.
fn absolute(what: &str, path: String) -> Result<String, String> {
    let is_fine = path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..");
    match is_fine {
        true => Ok(path),
        false => Err(format!("{what} {path:?} is no absolute path")),
    }
}

fn node(raw: RawNode) -> Result<Node, String> {
    let path = absolute("device node", raw.path)?;
    let host_path = match raw.host_path.as_str() {
        "" => path.clone(),
        _ => absolute("hostPath", raw.host_path)?,
    };
    let kind = match raw.kind.as_str() {
        "" => None,
        "c" | "u" => Some(NodeKind::Character),
        "b" => Some(NodeKind::Block),
        "p" => Some(NodeKind::Pipe),
        other => return Err(format!("device node {path:?}: type {other:?} is none of b, c, u and p")),
    };
    if !raw.permissions.chars().all(|c| "rwm".contains(c)) {
        let why = format!("permissions {:?} are not made of r, w and m", raw.permissions);
        return Err(format!("device node {path:?}: {why}"));
    }
    Ok(Node {
        path,
        host_path: host_path.into(),
        kind,
        is_written: raw.permissions.is_empty() || raw.permissions.contains('w'),
    })
}

fn mount(raw: RawMount) -> Result<Mount, String> {
    let path = absolute("containerPath", raw.container_path)?;
    let host_path = absolute("hostPath", raw.host_path)?;
    if !["", "none", "bind"].contains(&raw.kind.as_str()) {
        return Err(format!("mount {path:?}: type {:?} is not bind", raw.kind));
    }
    let mut made = Mount {
        path,
        host_path: PathBuf::from(host_path),
        is_read_only: false,
        options: Vec::new(),
    };
    for option in raw.options {
        match option.as_str() {
            "ro" => made.is_read_only = true,
            "rw" => made.is_read_only = false,
            "nosuid" | "nodev" | "noexec" => made.options.push(option),
            // What every mount of a container is.
            "bind" | "rbind" | "private" | "rprivate" | "suid" | "dev" | "exec" => {}
            other => return Err(format!("mount {:?}: option {other:?} can't be had here", made.path)),
        }
    }
    Ok(made)
}

fn hook(raw: RawHook) -> Result<Hook, String> {
    if !HOOKS.contains(&raw.hook_name.as_str()) {
        return Err(format!("hook {:?} is not run here", raw.hook_name));
    }
    Ok(Hook {
        name: raw.hook_name,
        path: absolute("hook", raw.path)?.into(),
        args: raw.args,
        env: raw.env,
        timeout: raw.timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(kind: &str, edits: &str) -> String {
        format!("cdiVersion: 0.6.0\nkind: {kind}\ndevices:\n- name: \"0\"\n  containerEdits: {edits}\n")
    }

    #[test]
    fn a_vendors_file_is_read() {
        let text = r#"
cdiVersion: "0.7.0"
kind: nvidia.com/gpu
annotations: {a: b}
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes: [{path: /dev/nvidiactl}]
  mounts:
  - {hostPath: /usr/lib/libcuda.so, containerPath: /usr/lib/libcuda.so, options: [ro, nosuid, nodev, rbind, rprivate]}
  hooks:
  - {hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, update-ldcache], timeout: 5}
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/nvidia0, hostPath: /dev/nvidia3, type: c, permissions: r, major: 195, minor: 0}]
    additionalGids: [44, 0]
- name: GPU-1:2
  annotations: {}
"#;
        let spec = parse(text, false).expect("is good");
        assert_eq!(spec.kind, "nvidia.com/gpu");
        let names: Vec<_> = spec.devices.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["0", "GPU-1:2"]);
        let node = &spec.devices[0].1.nodes[0];
        let expected = Node {
            path: "/dev/nvidia0".to_owned(),
            host_path: "/dev/nvidia3".into(),
            kind: Some(NodeKind::Character),
            is_written: false,
        };
        assert_eq!(*node, expected);
        assert_eq!(spec.devices[0].1.groups, [44], "root's group is none to be added");
        assert_eq!(spec.devices[1].1, Edits::default());
        let mount = &spec.common.mounts[0];
        assert!(mount.is_read_only && mount.options == ["nosuid", "nodev"], "{mount:?}");
        assert!(spec.common.nodes[0].is_written);
        assert_eq!(spec.common.hooks[0].timeout, Some(5));
        let json = r#"{"cdiVersion": "v1.0.0", "kind": "a.b/c", "devices": [{"name": "x"}]}"#;
        assert_eq!(parse(json, true).expect("is good").kind, "a.b/c");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "missing field"),
            ("[1]", "invalid"),
            ("cdiVersion: 0.6.0\nkind: a.b/c\ndevices: []\n", "it names no device"),
            (
                "cdiVersion: 9.0.0\nkind: a.b/c\ndevices: [{name: a}]\n",
                "cdiVersion \"9.0.0\" is not known",
            ),
            (
                "cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{name: a}, {name: a}]\n",
                "device \"a\" is named twice",
            ),
            (
                "cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{name: ../a}]\n",
                "device \"../a\": this is no name",
            ),
            (
                "cdiVersion: 0.6.0\nkind: a.b/c\ndevices: [{name: a, x: 1}]\n",
                "unknown field",
            ),
            (&with("gpu", "{}"), "kind \"gpu\" is not like vendor.com/class"),
            (&with("Vendor.com/c", "{}"), "is not like vendor.com/class"),
            (&with("a.b/c/d", "{}"), "is not like vendor.com/class"),
            (&with("kubernetes.io/c", "{}"), "kubernetes.io is no vendor's name"),
            (&with("x.kubelocal.dev/c", "{}"), "is no vendor's name"),
            (
                &with("a.b/c", "{env: [A]}"),
                "device \"0\": env \"A\" is not like NAME=value",
            ),
            (&with("a.b/c", "{env: [=A]}"), "is not like NAME=value"),
            (
                &with("a.b/c", "{deviceNodes: [{path: dev/x}]}"),
                "device node \"dev/x\" is no absolute path",
            ),
            (
                &with("a.b/c", "{deviceNodes: [{path: /dev/../etc}]}"),
                "is no absolute path",
            ),
            (
                &with("a.b/c", "{deviceNodes: [{path: /dev/x, type: s}]}"),
                "type \"s\" is none of",
            ),
            (
                &with("a.b/c", "{deviceNodes: [{path: /dev/x, permissions: rx}]}"),
                "permissions \"rx\"",
            ),
            (
                &with("a.b/c", "{mounts: [{hostPath: /a, containerPath: /b, type: tmpfs}]}"),
                "is not bind",
            ),
            (
                &with(
                    "a.b/c",
                    "{mounts: [{hostPath: /a, containerPath: /b, options: [sync]}]}",
                ),
                "option \"sync\"",
            ),
            (
                &with("a.b/c", "{hooks: [{hookName: poststop, path: /x}]}"),
                "hook \"poststop\" is not run here",
            ),
            (
                &with("a.b/c", "{hooks: [{hookName: prestart, path: x}]}"),
                "hook \"x\" is no absolute path",
            ),
            (&with("a.b/c", "{intelRdt: {closID: a}}"), "intelRdt can't be set here"),
            (
                &with("a.b/c", "{netDevices: [{hostInterfaceName: a, name: b}]}"),
                "netDevices can't",
            ),
        ] {
            let error = parse(text, false).expect_err(text);
            assert!(error.contains(why), "{text}\n{error}");
        }
    }

    #[test]
    fn no_text_does_harm() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let dashes = "- ".repeat(100_000);
        let bomb = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
            let before = format!("*a{}", n - 1);
            format!("{text}a{n}: &a{n} [{before}, {before}, {before}, {before}]\n")
        });
        for text in [deep.as_str(), &dashes, &bomb, "\0", "{", "kind: !!binary x", "- ? - :"] {
            parse(text, false).expect_err("is nothing");
            parse(text, true).expect_err("is nothing");
        }
    }
}
