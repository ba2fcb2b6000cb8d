//! The kubeconfig: what clients read, and how it joins one that is there. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_yaml::{Mapping, Value};

use super::certificates::Certificates;

/// The name of the cluster and the context.
pub const NAME: &str = "kubelocal";

/// Who the owner is for the API: the name in the client's certificate.
pub const USER: &str = "kubelocal-admin";

/// What a client needs to know.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    server: String,
    authority: String,
    certificate: String,
    key: String,
}

impl Entry {
    pub(super) fn new(port: u16, certificates: &Certificates) -> Self {
        Self {
            server: format!("https://127.0.0.1:{port}"),
            authority: STANDARD.encode(&certificates.authority.certificate),
            certificate: STANDARD.encode(&certificates.client.certificate),
            key: STANDARD.encode(&certificates.client.key),
        }
    }
}

/// A kubeconfig with nothing else in it.
pub(super) fn text(entry: &Entry) -> String {
    let Entry {
        server,
        authority,
        certificate,
        key,
    } = entry;
    format!(
        "apiVersion: v1\nkind: Config\n\
         clusters:\n- name: {NAME}\n  cluster:\n    server: {server}\n    certificate-authority-data: {authority}\n\
         users:\n- name: {USER}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
         contexts:\n- name: {NAME}\n  context:\n    cluster: {NAME}\n    user: {USER}\n\
         current-context: {NAME}\n"
    )
}

/// Why two kubeconfigs do not join.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One is not YAML.
    #[error("is not YAML: {0}")]
    NotYaml(#[from] serde_yaml::Error),
    /// One is YAML but no kubeconfig.
    #[error("is not a kubeconfig: {0} is not a {1}")]
    NotKubeconfig(&'static str, &'static str),
}

/// `present` with the entries of `ours` in the place of those of the same name. The current context stays whose it is; a file that has
/// none gets ours.
///
/// # Errors
/// See [`MergeError`].
pub fn merge(present: &str, ours: &str) -> Result<String, MergeError> {
    let read = |text: &str| -> Result<Mapping, MergeError> {
        match serde_yaml::from_str(text)? {
            Value::Null => Ok(Mapping::new()),
            Value::Mapping(config) => Ok(config),
            _ => Err(MergeError::NotKubeconfig("it", "map")),
        }
    };
    let (mut merged, ours) = (read(present)?, read(ours)?);
    for (field, value) in ["apiVersion", "kind"].iter().filter_map(|f| Some((*f, ours.get(f)?))) {
        merged.entry(field.into()).or_insert_with(|| value.clone());
    }
    for list in ["clusters", "users", "contexts"] {
        let entries = merged.entry(list.into()).or_insert(Value::Sequence(Vec::new()));
        if entries.is_null() {
            *entries = Value::Sequence(Vec::new());
        }
        let Value::Sequence(entries) = entries else {
            return Err(MergeError::NotKubeconfig(list, "list"));
        };
        for entry in ours.get(list).and_then(Value::as_sequence).into_iter().flatten() {
            match entries.iter_mut().find(|other| other.get("name") == entry.get("name")) {
                Some(other) => *other = entry.clone(),
                None => entries.push(entry.clone()),
            }
        }
    }
    let current = merged.get("current-context").and_then(Value::as_str);
    if current.is_none_or(str::is_empty) {
        merged.insert("current-context".into(), NAME.into());
    }
    Ok(serde_yaml::to_string(&Value::Mapping(merged))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(port: u16) -> String {
        text(&Entry {
            server: format!("https://127.0.0.1:{port}"),
            authority: "QQ==".to_owned(),
            certificate: "Qg==".to_owned(),
            key: "Qw==".to_owned(),
        })
    }

    #[test]
    fn an_empty_file_becomes_ours() {
        for present in ["", "clusters: null\ncurrent-context: ''\n"] {
            let merged: Value = serde_yaml::from_str(&merge(present, &ours(1)).expect("merges")).expect("YAML");
            assert_eq!(merged["current-context"], NAME);
            assert_eq!(merged["clusters"][0]["cluster"]["server"], "https://127.0.0.1:1");
        }
    }

    #[test]
    fn others_entries_and_the_current_context_stay() {
        let others =
            "current-context: prod\npreferences: {colors: true}\nclusters:\n- {name: prod, cluster: {server: x}}\n";
        let merged = merge(&merge(others, &ours(1)).expect("merges"), &ours(2)).expect("merges");
        let merged: Value = serde_yaml::from_str(&merged).expect("YAML");
        assert_eq!(merged["current-context"], "prod");
        assert_eq!(merged["preferences"]["colors"], true);
        let servers: Vec<_> = merged["clusters"]
            .as_sequence()
            .expect("a list")
            .iter()
            .map(|entry| entry["cluster"]["server"].as_str().expect("text"))
            .collect();
        assert_eq!(servers, ["x", "https://127.0.0.1:2"]);
    }

    #[test]
    fn what_is_no_kubeconfig_is_left_alone() {
        for present in ["[1]", "clusters: {a: b}", "{"] {
            assert!(merge(present, &ours(1)).is_err(), "{present}");
        }
    }
}
