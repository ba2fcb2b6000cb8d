//! What each volume of a pod is, from its spec, its own fields and the ConfigMaps and Secrets it names. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, SecretVolumeSource, Volume,
};
use serde_json::Value;

use super::ownership::only_user;
use super::{Ownership, VolumeError};
use crate::model::{Lookup, Object, downward, storage};

/// Mode of files for which nothing else is said (`ConfigMapVolumeSourceDefaultMode`).
const DEFAULT_MODE: i32 = 0o644;
/// Mode of tokens that a group reads, before it may.
const TOKEN_MODE: u32 = 0o600;

/// A volume and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
    /// Whose it becomes before it is used: of directories that may hold something already.
    pub ownership: Option<Ownership>,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// A directory that lives as long as the pod.
    EmptyDir,
    /// One in memory, which the pod's sandbox has.
    Memory,
    /// Layers of an image, which whoever starts a container has.
    Image,
    /// Something of the host's.
    HostPath {
        /// Where.
        path: PathBuf,
        /// `hostPath.type`; empty checks nothing.
        type_: String,
    },
    /// A directory of the host's that was given to pods, and is therefore owned as they ask.
    Local(PathBuf),
    /// A directory that we make, and that stays when the pod goes.
    Persistent(PathBuf),
    /// Files whose content we write, by relative path.
    Files {
        /// The files.
        files: BTreeMap<String, File>,
        /// The group that they belong to, if not root's.
        group: Option<u32>,
    },
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Whose it is, if not the node's own.
    pub owner: Option<u32>,
}

impl File {
    fn of_node(content: Vec<u8>, mode: u32) -> Self {
        let owner = None;
        Self { content, mode, owner }
    }
}

/// What every volume of the pod is.
///
/// # Errors
/// When a source that is not optional is missing, or the volume is of a kind that can't be mounted.
pub fn plan_volumes(pod: &Pod, lookup: &Lookup<'_>) -> Result<Vec<VolumePlan>, VolumeError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let place = Place { pod, namespace, lookup };
    volumes.map(|volume| plan_volume(volume, place)).collect()
}

/// Where what a volume names is found.
#[derive(Clone, Copy)]
struct Place<'a> {
    pod: &'a Pod,
    namespace: &'a str,
    lookup: &'a Lookup<'a>,
}

fn plan_volume(volume: &Volume, place: Place<'_>) -> Result<VolumePlan, VolumeError> {
    let name = &volume.name;
    let group = fs_group(place.pod);
    let files = |mut files: BTreeMap<String, File>| {
        if group.is_some() {
            // The group reads what it is given (`roMask`).
            files.values_mut().for_each(|file| file.mode |= 0o440);
        }
        VolumeKind::Files { files, group }
    };
    let kind = if let Some(empty) = &volume.empty_dir {
        match empty.medium.as_deref() {
            Some("Memory") => VolumeKind::Memory,
            _ => VolumeKind::EmptyDir,
        }
    } else if volume.image.is_some() {
        VolumeKind::Image
    } else if let Some(host) = &volume.host_path {
        VolumeKind::HostPath {
            path: PathBuf::from(&host.path),
            type_: host.type_.clone().unwrap_or_default(),
        }
    } else if let Some(source) = &volume.config_map {
        files(config_map_files(name, source, place)?)
    } else if let Some(source) = &volume.secret {
        files(secret_files(name, source, place)?)
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        files(downward_files(name, items, mode, place)?)
    } else if let Some(source) = &volume.projected {
        files(projected_files(name, source, place)?)
    } else if let Some(claim) = &volume.persistent_volume_claim {
        claimed(name, &claim.claim_name, place)?
    } else if volume.ephemeral.is_some() {
        let pod = place.pod.metadata.name.as_deref().unwrap_or_default();
        claimed(name, &storage::own_claim_name(pod, name), place)?
    } else {
        return Err(VolumeError::Kind(volume.name.clone()));
    };
    let ownership = match kind {
        VolumeKind::EmptyDir | VolumeKind::Persistent(_) | VolumeKind::Local(_) => group.map(|group| Ownership {
            group,
            only_on_mismatch: has_policy(place.pod, "OnRootMismatch"),
        }),
        VolumeKind::Memory | VolumeKind::Image | VolumeKind::HostPath { .. } | VolumeKind::Files { .. } => None,
    };
    Ok(VolumePlan {
        name: volume.name.clone(),
        kind,
        ownership,
    })
}

/// `securityContext.fsGroup`.
pub fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

fn has_policy(pod: &Pod, policy: &str) -> bool {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    context.is_some_and(|context| context.fs_group_change_policy.as_deref() == Some(policy))
}

/// Where the volume of a claim lies.
fn claimed(volume: &str, claim: &str, place: Place<'_>) -> Result<VolumeKind, VolumeError> {
    let failed = |why: String| VolumeError::Source {
        volume: volume.to_owned(),
        why,
    };
    let found = (place.lookup.find)("PersistentVolumeClaim", place.namespace, claim);
    let found = found.ok_or_else(|| failed(format!("persistentvolumeclaim {claim:?} not found")))?;
    let created = place.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    // A pod that had it before goes on.
    if found.deletion_timestamp().is_some_and(|ending| created > Some(ending)) {
        return Err(failed(format!("persistentvolumeclaim {claim:?} is being deleted")));
    }
    if found.text("/status/phase") != "Bound" {
        return Err(failed(format!(
            "persistentvolumeclaim {claim:?} is not bound to a volume yet"
        )));
    }
    let name = found.text("/spec/volumeName");
    let persistent = (place.lookup.find)("PersistentVolume", "", name);
    let persistent = persistent.ok_or_else(|| failed(format!("persistentvolume {name:?} not found")))?;
    if let Some(path) = storage::provisioned_path(&persistent) {
        return Ok(VolumeKind::Persistent(path.to_owned()));
    }
    match (
        persistent.text("/spec/hostPath/path"),
        persistent.text("/spec/local/path"),
    ) {
        ("", "") => Err(VolumeError::Kind(volume.to_owned())),
        ("", local) => Ok(VolumeKind::Local(PathBuf::from(local))),
        (path, _) => Ok(VolumeKind::HostPath {
            path: PathBuf::from(path),
            type_: persistent.text("/spec/hostPath/type").to_owned(),
        }),
    }
}

/// Several sources in one directory; where two say the same path the later one counts.
fn projected_files(
    volume: &str,
    source: &ProjectedVolumeSource,
    place: Place<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let default_mode = source.default_mode.or(Some(DEFAULT_MODE));
    let mut files = BTreeMap::new();
    for part in source.sources.iter().flatten() {
        if let Some(map) = &part.config_map {
            let map = ConfigMapVolumeSource {
                name: map.name.clone(),
                items: map.items.clone(),
                optional: map.optional,
                default_mode,
                ..ConfigMapVolumeSource::default()
            };
            files.extend(config_map_files(volume, &map, place)?);
        } else if let Some(secret) = &part.secret {
            let secret = SecretVolumeSource {
                secret_name: Some(secret.name.clone()),
                items: secret.items.clone(),
                optional: secret.optional,
                default_mode,
                ..SecretVolumeSource::default()
            };
            files.extend(secret_files(volume, &secret, place)?);
        } else if let Some(own) = &part.downward_api {
            let items = own.items.as_deref().unwrap_or_default();
            let mode = default_mode.unwrap_or(DEFAULT_MODE);
            files.extend(downward_files(volume, items, mode, place)?);
        } else if let Some(token) = &part.service_account_token {
            let content = (place.lookup.token)(token).map_err(|why| VolumeError::Source {
                volume: volume.to_owned(),
                why,
            })?;
            // Where it is given to a user or a group, it is nobody else's (kubelet `collectData`).
            let owner = only_user(place.pod);
            let mode = match owner.or(fs_group(place.pod)) {
                Some(_) => TOKEN_MODE,
                None => permission_bits(default_mode.unwrap_or(DEFAULT_MODE)),
            };
            let content = content.into_bytes();
            let file = File { content, mode, owner };
            files.insert(token.path.clone(), file);
        } else {
            // `admit` refuses the other kinds.
            return Err(VolumeError::Kind(volume.to_owned()));
        }
    }
    Ok(files)
}

/// The pod's own fields as files.
fn downward_files(
    volume: &str,
    items: &[DownwardAPIVolumeFile],
    default_mode: i32,
    place: Place<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let file = |item: &DownwardAPIVolumeFile| {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => downward::field_value(field, place.pod, place.lookup),
            (None, Some(field)) => downward::resource_value(field, place.pod, None, place.lookup),
            (None, None) => Err(format!("{:?} names no field", item.path)),
        };
        let mode = permission_bits(item.mode.unwrap_or(default_mode));
        let content = value?.into_bytes();
        Ok((item.path.clone(), File::of_node(content, mode)))
    };
    let files: Result<_, String> = items.iter().map(file).collect();
    files.map_err(|why| VolumeError::Source {
        volume: volume.to_owned(),
        why,
    })
}

fn config_map_files(
    volume: &str,
    source: &ConfigMapVolumeSource,
    place: Place<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let object = (place.lookup.find)("ConfigMap", place.namespace, &source.name);
    let wanted = Wanted {
        volume,
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
    volume: &str,
    source: &SecretVolumeSource,
    place: Place<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let name = source.secret_name.as_deref().unwrap_or_default();
    let object = (place.lookup.find)("Secret", place.namespace, name);
    let wanted = Wanted {
        volume,
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
                .map(|(key, content)| (key, File::of_node(content, mode)))
                .collect());
        };
        let mut files = BTreeMap::new();
        for item in items {
            match data.get(&item.key) {
                Some(content) => {
                    let (mode, content) = (permission_bits(item.mode.unwrap_or(self.default_mode)), content.clone());
                    files.insert(item.path.clone(), File::of_node(content, mode));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn planned(volumes: Value) -> Result<String, String> {
        let container = json!({"name": "c", "resources": {"limits": {"memory": "64Mi"}}});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b", "c": "d"}},
            "spec": {"containers": [container], "volumes": [volumes]},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let find = |kind: &str, namespace: &str, name: &str| {
            let metadata = json!({"name": name, "namespace": namespace});
            let data = match (kind, name) {
                ("ConfigMap", "map") => json!({"k": "of map", "l": "more"}),
                ("Secret", "secret") => json!({"k": "b2Ygc2VjcmV0"}),
                _ => return None,
            };
            let object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data});
            Some(Arc::new(Object::new(object).expect("an object")))
        };
        let lookup = Lookup {
            find: &find,
            node_name: "node",
            host_ips: &[],
            pod_ips: &[],
            links: &[],
            allocatable: &|_| None,
            token: &|wanted| Ok(format!("token for {:?}", wanted.audience)),
        };
        let plans = plan_volumes(&pod, &lookup).map_err(|e| e.to_string())?;
        let VolumeKind::Files { files, .. } = &plans[0].kind else {
            return Err(format!("{plans:?}"));
        };
        let shown = files.iter().map(|(path, file)| {
            let text = String::from_utf8_lossy(&file.content);
            format!("{path} {:o} {text}", file.mode)
        });
        Ok(shown.collect::<Vec<_>>().join("; "))
    }

    /// What a claim `c` with this status leads to, if the volume `v` is this.
    fn led(status: Value, spec: Value) -> Result<VolumeKind, String> {
        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "volumes": [volume]},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let find = |kind: &str, namespace: &str, name: &str| {
            let metadata = json!({"name": name, "namespace": namespace});
            let object = match (kind, name) {
                ("PersistentVolumeClaim", "c") => json!({"spec": {"volumeName": "v"}, "status": status}),
                ("PersistentVolume", "v") => json!({"spec": spec}),
                _ => return None,
            };
            let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
            let fields = object.as_object().expect("an object").clone();
            value.as_object_mut().expect("an object").extend(fields);
            Some(Arc::new(Object::new(value).expect("an object")))
        };
        let lookup = Lookup {
            find: &find,
            node_name: "node",
            host_ips: &[],
            pod_ips: &[],
            links: &[],
            allocatable: &|_| None,
            token: &|wanted| Ok(format!("token for {:?}", wanted.audience)),
        };
        let mut plans = plan_volumes(&pod, &lookup).map_err(|e| e.to_string())?;
        Ok(plans.remove(0).kind)
    }

    #[test]
    fn a_claim_leads_to_its_volume_once_it_is_bound() {
        let bound = || json!({"phase": "Bound"});
        let host = VolumeKind::HostPath {
            path: "/a".into(),
            type_: "DirectoryOrCreate".to_owned(),
        };
        let spec = json!({"hostPath": {"path": "/a", "type": "DirectoryOrCreate"}});
        assert_eq!(led(bound(), spec.clone()), Ok(host));
        assert_eq!(
            led(bound(), json!({"local": {"path": "/b"}})),
            Ok(VolumeKind::Local("/b".into()))
        );
        for (status, spec, why) in [
            (json!({"phase": "Pending"}), spec, "is not bound"),
            (
                bound(),
                json!({"nfs": {"path": "/c", "server": "s"}}),
                "can't be mounted here",
            ),
        ] {
            assert!(led(status, spec).is_err_and(|error| error.contains(why)), "{why}");
        }
    }

    #[test]
    fn a_token_that_one_user_or_a_group_reads_is_nobody_elses() {
        let volume = json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}});
        let mode = |context: Value| {
            let containers = json!([{"name": "c"}]);
            let spec = json!({"containers": containers, "securityContext": context, "volumes": [volume]});
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod");
            let lookup = Lookup {
                find: &|_, _, _| None,
                node_name: "node",
                host_ips: &[],
                pod_ips: &[],
                links: &[],
                allocatable: &|_| None,
                token: &|_| Ok("secret".to_owned()),
            };
            let plans = plan_volumes(&pod, &lookup).expect("a token can be had");
            let VolumeKind::Files { files, .. } = &plans[0].kind else {
                panic!("{plans:?}")
            };
            (files["t"].mode, files["t"].owner)
        };
        assert_eq!(mode(json!({})), (0o644, None));
        assert_eq!(mode(json!({"fsGroup": 2000})), (0o640, None));
        assert_eq!(mode(json!({"runAsUser": 1000})), (0o600, Some(1000)));
        assert_eq!(mode(json!({"runAsUser": 1000, "fsGroup": 2000})), (0o640, Some(1000)));
    }

    #[test]
    fn the_pods_own_fields_are_files() {
        let items = json!([
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "one", "fieldRef": {"fieldPath": "metadata.labels['a']"}, "mode": 256},
            {"path": "memory", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}},
        ]);
        let volume = json!({"name": "v", "downwardAPI": {"items": items}});
        let files = "labels 644 a=\"b\"\nc=\"d\"; memory 644 64; one 400 b";
        assert_eq!(planned(volume).as_deref(), Ok(files));
        let other = json!([{"path": "x", "resourceFieldRef": {"containerName": "other", "resource": "limits.cpu"}}]);
        let refused = planned(json!({"name": "v", "downwardAPI": {"items": other}}));
        assert!(refused.is_err_and(|e| e.contains("unsupported container resource")));
    }

    #[test]
    fn a_projected_volume_has_the_files_of_all_its_sources_and_the_later_ones_count() {
        let sources = json!([
            {"configMap": {"name": "map"}},
            {"secret": {"name": "secret", "items": [{"key": "k", "path": "k"}]}},
            {"configMap": {"name": "none", "optional": true}},
            {"downwardAPI": {"items": [{"path": "d/name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]);
        let volume = json!({"name": "v", "projected": {"sources": sources, "defaultMode": 416}});
        let files = "d/name 640 p; k 640 of secret; l 640 more";
        assert_eq!(planned(volume).as_deref(), Ok(files));
        let missing = planned(json!({"name": "v", "projected": {"sources": [{"secret": {"name": "none"}}]}}));
        assert!(missing.is_err_and(|e| e.contains("secret \"none\" not found")));
    }
}
