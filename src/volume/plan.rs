//! What each volume of a pod is, from its spec and the ConfigMaps and Secrets it names. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, Pod, SecretVolumeSource, Volume};
use serde_json::Value;

use super::VolumeError;
use crate::model::{Lookup, Object};

/// Mode of files for which nothing else is said (`ConfigMapVolumeSourceDefaultMode`).
const DEFAULT_MODE: i32 = 0o644;

/// A volume and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// A directory that lives as long as the pod.
    EmptyDir,
    /// Something of the host's.
    HostPath {
        /// Where.
        path: PathBuf,
        /// `hostPath.type`; empty checks nothing.
        type_: String,
    },
    /// Files whose content we write, by relative path.
    Files(BTreeMap<String, File>),
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// What every volume of the pod is.
///
/// # Errors
/// When a source that is not optional is missing, or the volume is of a kind that can't be mounted.
pub fn plan_volumes(pod: &Pod, lookup: &Lookup<'_>) -> Result<Vec<VolumePlan>, VolumeError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.map(|volume| plan_volume(volume, namespace, lookup)).collect()
}

fn plan_volume(volume: &Volume, namespace: &str, lookup: &Lookup<'_>) -> Result<VolumePlan, VolumeError> {
    let kind = if volume.empty_dir.is_some() {
        VolumeKind::EmptyDir
    } else if let Some(host) = &volume.host_path {
        VolumeKind::HostPath {
            path: PathBuf::from(&host.path),
            type_: host.type_.clone().unwrap_or_default(),
        }
    } else if let Some(source) = &volume.config_map {
        VolumeKind::Files(config_map_files(volume, source, namespace, lookup)?)
    } else if let Some(source) = &volume.secret {
        VolumeKind::Files(secret_files(volume, source, namespace, lookup)?)
    } else {
        return Err(VolumeError::Kind(volume.name.clone()));
    };
    Ok(VolumePlan {
        name: volume.name.clone(),
        kind,
    })
}

fn config_map_files(
    volume: &Volume,
    source: &ConfigMapVolumeSource,
    namespace: &str,
    lookup: &Lookup<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let object = (lookup.find)("ConfigMap", namespace, &source.name);
    let wanted = Wanted {
        volume: &volume.name,
        what: format!("configmap {:?}", source.name),
        items: source.items.as_deref(),
        default_mode: source.default_mode.unwrap_or(DEFAULT_MODE),
        is_optional: source.optional == Some(true),
    };
    let entries = |object: &Object| {
        let plain = entries(object, "/data").map(|(key, text)| (key, text.into_bytes()));
        let binary = entries(object, "/binaryData").map(|(key, text)| (key, decoded(&text)));
        plain.chain(binary).collect()
    };
    wanted.files(object.map(|o| entries(&o)))
}

fn secret_files(
    volume: &Volume,
    source: &SecretVolumeSource,
    namespace: &str,
    lookup: &Lookup<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let name = source.secret_name.as_deref().unwrap_or_default();
    let object = (lookup.find)("Secret", namespace, name);
    let wanted = Wanted {
        volume: &volume.name,
        what: format!("secret {name:?}"),
        items: source.items.as_deref(),
        default_mode: source.default_mode.unwrap_or(DEFAULT_MODE),
        is_optional: source.optional == Some(true),
    };
    wanted.files(object.map(|o| entries(&o, "/data").map(|(key, text)| (key, decoded(&text))).collect()))
}

fn entries<'o>(object: &'o Object, pointer: &str) -> impl Iterator<Item = (String, String)> + 'o {
    let entries = object.at(pointer).and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
}

/// `admit` lets only base64 in; anything else would be an empty file.
fn decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}

/// Which entries a volume wants, whatever they come from.
struct Wanted<'a> {
    volume: &'a str,
    what: String,
    items: Option<&'a [KeyToPath]>,
    default_mode: i32,
    is_optional: bool,
}

impl Wanted<'_> {
    fn files(self, data: Option<BTreeMap<String, Vec<u8>>>) -> Result<BTreeMap<String, File>, VolumeError> {
        let Some(data) = data else {
            return if self.is_optional {
                Ok(BTreeMap::new())
            } else {
                Err(self.error(format!("{} not found", self.what)))
            };
        };
        let Some(items) = self.items else {
            let mode = permission_bits(self.default_mode);
            return Ok(data
                .into_iter()
                .map(|(key, content)| (key, File { content, mode }))
                .collect());
        };
        let mut files = BTreeMap::new();
        for item in items {
            match data.get(&item.key) {
                Some(content) => {
                    let (mode, content) = (permission_bits(item.mode.unwrap_or(self.default_mode)), content.clone());
                    files.insert(item.path.clone(), File { content, mode });
                }
                None if self.is_optional => {}
                None => return Err(self.error("references non-existent config key: ".to_owned() + &item.key)),
            }
        }
        Ok(files)
    }

    fn error(&self, why: String) -> VolumeError {
        VolumeError::Source {
            volume: self.volume.to_owned(),
            why,
        }
    }
}

fn permission_bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or_default() & 0o777
}
