//! The words of our own endpoints below `/kubelocal/v1/`, shared by the server and the command line.
//!
//! Only what has no place in the Kubernetes API stands here: the node itself, the registration of sources, and
//! images. Bodies are JSON in camelCase; errors are `metav1.Status` as everywhere else.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET status` | | [`NodeStatus`] |
//! | `POST stop` | [`StopRequest`] | `{}`, then the node goes |
//! | `POST sources` | [`SourceRequest`] | [`SourceRegistered`] |
//! | `DELETE sources?name=N` | | [`SourceRemoved`] |
//! | `GET images` | | [`ImageList`] |
//! | `GET images/inspect?name=N` | | any JSON |
//! | `POST images/pull` | [`PullImage`] | a stream of [`PullUpdate`], one JSON a line |
//! | `POST images/push` | [`PushImage`] | a stream of [`PushUpdate`], one JSON a line |
//! | `POST images/prune?all=B` | | [`Reclaimed`] |
//! | `GET df` | | [`DiskUsage`] |
//! | `GET images/pulls` | | a stream of lists of [`PullState`], one JSON a line: pulls under way, whenever they moved |
//! | `POST images/adopt?name=N` | | [`Adopted`] |
//! | `POST images/load` | archive stream | [`ImageList`]: what was loaded |
//! | `POST images/import?name=N` | tar stream | [`ImageList`]: the one image |
//! | `POST images/tag` | [`TagRequest`] | `{}` |
//! | `DELETE images?name=N` | | [`ImageRemoved`] |
//! | `GET images/save?name=N` | | OCI archive stream |

use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

pub use crate::image::{ImageUsage, LayerPhase, LayerState, PullState, Reclaimed};
pub use crate::publish::PublishedPort;

/// The paths of the endpoints.
pub mod path {
    /// The node: `GET`.
    pub const STATUS: &str = "/kubelocal/v1/status";
    /// End the node: `POST`.
    pub const STOP: &str = "/kubelocal/v1/stop";
    /// Sources: `POST` registers, `DELETE ?name=` removes.
    pub const SOURCES: &str = "/kubelocal/v1/sources";
    /// Images: `GET` lists, `DELETE ?name=` removes.
    pub const IMAGES: &str = "/kubelocal/v1/images";
    /// One image in full: `GET ?name=`.
    pub const IMAGES_INSPECT: &str = "/kubelocal/v1/images/inspect";
    /// Pull an image: `POST`.
    pub const IMAGES_PULL: &str = "/kubelocal/v1/images/pull";
    /// Push an image: `POST`.
    pub const IMAGES_PUSH: &str = "/kubelocal/v1/images/push";
    /// Remove images that nothing uses: `POST ?all=`.
    pub const IMAGES_PRUNE: &str = "/kubelocal/v1/images/prune";
    /// What takes the disk: `GET`.
    pub const DF: &str = "/kubelocal/v1/df";
    /// What is being pulled: `GET`.
    pub const IMAGES_PULLS: &str = "/kubelocal/v1/images/pulls";
    /// Share an image that podman or buildah has: `POST ?name=`.
    pub const IMAGES_ADOPT: &str = "/kubelocal/v1/images/adopt";
    /// Load an OCI or docker archive: `POST`.
    pub const IMAGES_LOAD: &str = "/kubelocal/v1/images/load";
    /// Make an image of a root file system: `POST ?name=`.
    pub const IMAGES_IMPORT: &str = "/kubelocal/v1/images/import";
    /// Give an image another name: `POST`.
    pub const IMAGES_TAG: &str = "/kubelocal/v1/images/tag";
    /// Write an OCI archive: `GET ?name=`.
    pub const IMAGES_SAVE: &str = "/kubelocal/v1/images/save";
}

/// The node as `kubelocal status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// kubelocal's version.
    pub version: String,
    /// The Kubernetes version that the API announces.
    pub kubernetes_version: String,
    /// The node's process.
    pub pid: u32,
    /// When that process started.
    pub started_at: Time,
    /// `$KUBELOCAL_HOME`.
    pub home: PathBuf,
    /// How the node runs: `root`, `rootless` (the whole subordinate range is mapped) or `rootless, single id`.
    pub mode: String,
    /// The OCI runtime: `embedded` or a path.
    pub runtime: String,
    /// What the node found of cgroups, in a few words: `v2, delegated`, `v1`, `none` …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cgroups: String,
    /// All pods in the store.
    pub pods: usize,
    /// Those of them whose phase is `Running`.
    pub running_pods: usize,
    /// Memory of the node process (PSS) in bytes; absent where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The ports of the host that lead to pods, and those that should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
    /// Where Ingresses and Services by their names are served: `http://localhost:10080`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<String>,
    /// How pods reach the outside, or why they do not, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub egress: String,
    /// Which families of addresses pods have: `IPv4 and IPv6 (dual stack)`; empty without a network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Whether pods reach what listens on the host's loopback only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_loopback: bool,
    /// What cannot work on this host, or does not at the moment, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How the node is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StopRequest {
    /// Stop every pod first, gracefully. Otherwise pods run on and the next node adopts them.
    pub pods: bool,
}

/// Registers a source: from now on the node keeps the machine like it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRequest {
    /// Absolute paths of files and directories. Registering the same paths again is the same source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
    /// Documents that came through standard input, with `paths` empty: they never change, until the source goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<String>,
    /// The namespace of namespaced objects that name none; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Overlays are built by an installed kustomize or kubectl, for what is not run in-process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// The caller's PATH, on which that program, and what it runs, is looked for; the node's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_path: Option<String>,
    /// The source, and all it made, goes when its owner goes.
    #[serde(default)]
    pub ephemeral: bool,
    /// The process for which an ephemeral source lives (the caller's `getpid`), so that it goes even when that
    /// process is killed and cannot say goodbye.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_pid: Option<u32>,
}

/// The answer to [`SourceRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRegistered {
    /// Name of the `ManifestSource`.
    pub name: String,
    /// False if the source was registered before.
    pub created: bool,
}

/// The answer to removing a source: its objects are being deleted, gracefully and in parallel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRemoved {
    /// Name of the `ManifestSource`.
    pub name: String,
    /// What the source had made. Pods of workloads are not listed: they follow by owner reference.
    #[serde(default)]
    pub objects: Vec<ObjectRef>,
    /// What it had made and stays, for it holds data.
    #[serde(default)]
    pub kept: Vec<ObjectRef>,
}

/// One object, by everything that tells it from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `v1`, `apps/v1` …
    pub api_version: String,
    /// `Pod`, `Deployment` …
    pub kind: String,
    /// Empty for objects of the whole node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: a later object of the same name is another one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// Images.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageList {
    /// In no particular order.
    pub images: Vec<ImageInfo>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageInfo {
    /// Digest of the image's configuration: its identity (`sha256:…`).
    pub id: String,
    /// Its names, as Kubernetes normalizes them; empty for an image that lost its last name.
    #[serde(default)]
    pub references: Vec<String>,
    /// Size of its layers as they lie on disk, in bytes. Layers shared with other images count in each.
    pub size: u64,
    /// When it was built, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// `linux/amd64` …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub platform: String,
}

/// Pulls an image from its registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullImage {
    /// Its name.
    pub name: String,
    /// A file of credentials, in place of those where podman and docker keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_file: Option<PathBuf>,
    /// Whether the packed layers are wanted too, where only the unpacked ones are here.
    #[serde(default)]
    pub packed: bool,
}

/// Pushes an image to a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushImage {
    /// Its name or id here.
    pub name: String,
    /// The name to give it there; the same if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// A file of credentials, in place of those where podman and docker keep them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_file: Option<PathBuf>,
}

/// A line of what `images/push` answers; the last is one of the latter two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PushUpdate {
    /// It goes on.
    Progress(PullState),
    /// The registry has it.
    Pushed {
        /// Under this digest.
        digest: String,
    },
    /// It can't be sent.
    Failed {
        /// Why.
        message: String,
    },
}

/// What the node's home takes on the disk, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskUsage {
    /// Images.
    pub images: ImageUsage,
    /// Directories of pods: logs, volumes, what their containers wrote.
    pub pods: u64,
    /// How many pods there are.
    pub pod_count: usize,
    /// Data of volumes that outlive pods.
    pub volumes: u64,
}

/// A line of what `images/pull` answers; the last is one of the latter two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PullUpdate {
    /// It goes on.
    Progress(PullState),
    /// The image is here.
    Pulled {
        /// It.
        image: ImageInfo,
        /// Whether it was here before.
        was_here: bool,
        /// What the user should know of it, in sentences.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// It can't be had.
    Failed {
        /// Why.
        message: String,
    },
}

/// What became of an image that another store has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// The image; absent if it is not there, or its files can't be shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageInfo>,
}

/// Gives an image another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagRequest {
    /// Name or id of the image.
    pub source: String,
    /// Its new name.
    pub target: String,
}

/// What went with `image rm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRemoved {
    /// Names that are gone.
    #[serde(default)]
    pub untagged: Vec<String>,
    /// Ids of images of which nothing is left.
    #[serde(default)]
    pub deleted: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_request_carries_only_what_is_said() {
        let request = SourceRequest {
            paths: vec!["/a".into()],
            ..SourceRequest::default()
        };
        let json = serde_json::to_value(&request).expect("serializes");
        assert_eq!(json, serde_json::json!({"paths": ["/a"], "ephemeral": false}));
        assert_eq!(
            serde_json::from_value::<SourceRequest>(json).expect("reads back"),
            request
        );
    }
}
