//! The documents of an image (index, manifest, config) as they are found in the wild, and the choice of a platform.
//!
//! Our own few structs instead of `oci-spec`'s, because Docker's and older tools' documents have `null` where the
//! specification has an absent field, leave out media types, and carry fields that must be ignored.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;
use super::error::ImageError;

/// Characters of foreign words that are shown.
pub(super) const SHOWN: usize = 200;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The name, or only the tag, of an image in a layout.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name of an image in a layout, as containerd and Docker write it.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What points at a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default, deserialize_with = "plain_text")]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

/// The machine that an image of an index is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    #[serde(default, deserialize_with = "plain_text")]
    pub architecture: String,
    #[serde(default, deserialize_with = "plain_text")]
    pub os: String,
    #[serde(default, deserialize_with = "plain_text", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// An index, a manifest, or what turns out to be one of them: media types are often missing, so the fields tell.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ManifestOrIndex {
    #[serde(default, deserialize_with = "or_default")]
    pub schema_version: u32,
    pub manifests: Option<Vec<Descriptor>>,
    pub config: Option<Descriptor>,
    pub layers: Option<Vec<Descriptor>>,
}

/// A manifest, as we write it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub schema_version: u32,
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// An index, as we write it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub schema_version: u32,
    pub media_type: &'static str,
    pub manifests: Vec<Descriptor>,
}

/// One image in the `manifest.json` of a docker archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub config: String,
    #[serde(default, deserialize_with = "or_default")]
    pub repo_tags: Vec<String>,
    pub layers: Vec<String>,
}

/// The config blob of an image, without what nobody here asks for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    #[serde(default, deserialize_with = "or_default")]
    pub config: ImageConfig,
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<serde_json::Value>,
}

/// Which layers make up the root file system.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// How a container of the image is run if its pod does not say otherwise (`config` of the OCI image configuration).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty means root.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `8080/tcp`, in order.
    #[serde(
        deserialize_with = "port_set",
        serialize_with = "as_set",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exposed_ports: Vec<String>,
    /// `NAME=value` in order.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program; a pod's `command` takes its place, and that of `cmd` too.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The arguments; a pod's `args` take their place.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Where it is run; empty means `/`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `SIGINT` or a number; empty means SIGTERM.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// What its maker noted.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Takes `null` for what may as well be absent.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Foreign words as people may see them: no control characters for a terminal to obey, and no page of them.
pub(super) fn plain(text: &str) -> String {
    let shown = text.chars().take(SHOWN);
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Takes a short text that ends in messages and tables.
fn plain_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(plain(&or_default::<D, String>(deserializer)?))
}

/// A set in the config is a map of empty objects.
fn port_set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let map: BTreeMap<String, serde::de::IgnoredAny> = or_default(deserializer)?;
    Ok(map.into_keys().collect())
}

fn as_set<S: serde::Serializer>(keys: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(keys.iter().map(|key| (key, serde_json::json!({}))))
}

/// Reads a document, naming it if that fails.
pub(super) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::BadDocument {
        what: what.to_owned(),
        why: plain(&error.to_string()),
    })
}

/// This machine in the words of OCI (`GOARCH`).
pub(super) fn this_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What is told of an image that its config says is for another machine; nothing of one that does not say.
pub(super) fn plan_foreign(config: &ConfigFile) -> Option<String> {
    let is_own = |architecture: &str| {
        let known = these_platforms().iter().any(|(known, _)| *known == architecture);
        known || architecture == this_architecture()
    };
    let (os, architecture) = (config.os.as_str(), config.architecture.as_str());
    let is_foreign = !matches!(os, "" | "linux") || !(architecture.is_empty() || is_own(architecture));
    let or_this = |text: &str, this: &str| plain(if text.is_empty() { this } else { text });
    let this = this_architecture();
    is_foreign.then(|| {
        let (os, architecture) = (or_this(os, "linux"), or_this(architecture, this));
        format!("it is for {os}/{architecture}, and this machine is linux/{this}")
    })
}

/// An architecture and its variant, in the words of OCI.
pub(super) type Variant = (&'static str, &'static str);

/// What this machine runs, the most welcome first. The plainest variant runs everywhere and is what everybody tests, so
/// the ones for newer processors are taken where there is nothing else.
pub(super) fn these_platforms() -> &'static [Variant] {
    const AMD64: [Variant; 5] = [
        ("amd64", ""),
        ("amd64", "v1"),
        ("amd64", "v2"),
        ("amd64", "v3"),
        ("amd64", "v4"),
    ];
    match this_architecture() {
        "amd64" => &AMD64[..=processor_level()],
        "arm64" => &[("arm64", ""), ("arm64", "v8")],
        _ => &[],
    }
}

/// The level of the x86-64 psABI that this processor has.
#[cfg(target_arch = "x86_64")]
fn processor_level() -> usize {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("cmpxchg16b") && has!("popcnt") && has!("sse4.2") && has!("ssse3");
    let v3 = v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma") && has!("lzcnt");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    1 + usize::from(v2) + usize::from(v3) + usize::from(v4)
}

/// No levels elsewhere.
#[cfg(not(target_arch = "x86_64"))]
fn processor_level() -> usize {
    1
}

/// The manifest of an index that fits `linux` and the most welcome of these platforms.
///
/// An entry without platform fits only if it is the only one: layouts of one image seldom name one.
pub(super) fn plan_platform<'a>(entries: &'a [Descriptor], wanted: &[Variant]) -> Result<&'a Descriptor, ImageError> {
    if let [only] = entries
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let rank = |entry: &&Descriptor| -> Option<usize> {
        let platform = entry.platform.as_ref().filter(|platform| platform.os == "linux")?;
        let own = (platform.architecture.as_str(), platform.variant.as_str());
        wanted.iter().position(|wanted| *wanted == own)
    };
    entries
        .iter()
        .filter(|entry| rank(entry).is_some())
        .min_by_key(rank)
        .ok_or_else(|| ImageError::NoPlatform {
            wanted: format!("linux/{}", this_architecture()),
            found: platforms_of(entries),
        })
}

fn platforms_of(entries: &[Descriptor]) -> String {
    let name = |platform: &Platform| {
        [&platform.os, &platform.architecture, &platform.variant]
            .into_iter()
            .filter(|part| !part.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join("/")
    };
    let names: Vec<String> = entries
        .iter()
        .map(|e| e.platform.as_ref().map_or("one without platform".to_owned(), name))
        .take(20)
        .collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_says_of_itself_obeys_no_terminal_and_fills_none() {
        let text = format!(
            r#"{{"mediaType": "a\u001b[2J{}", "digest": "{}", "size": 1,
                "platform": {{"os": "linux\u0007", "architecture": "\u001b]0;x", "variant": "\n"}}}}"#,
            "x".repeat(1000),
            Digest::of(b"")
        );
        let entry: Descriptor = parse("x", text.as_bytes()).expect("a descriptor");
        assert!(entry.media_type.starts_with("a [2Jxx") && entry.media_type.len() == SHOWN);
        let said = plan_platform(&[entry], these_platforms())
            .expect_err("another machine's")
            .to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
        let error = parse::<Descriptor>("x", br#"{"digest": "sha256:\u001b[2J", "size": 1}"#).expect_err("no digest");
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }

    fn entry(os: &str, architecture: &str, variant: &str) -> Descriptor {
        let platform = Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        };
        let digest = Digest::of(format!("{os}{architecture}{variant}").as_bytes());
        Descriptor {
            platform: Some(platform),
            ..Descriptor::new(OCI_MANIFEST, digest, 1)
        }
    }

    #[test]
    fn the_plainest_variant_of_this_machine_is_taken() {
        let v3 = entry("linux", "amd64", "v3");
        let v1 = entry("linux", "amd64", "v1");
        let plain = entry("linux", "amd64", "");
        let arm = entry("linux", "arm64", "v8");
        let attestation = entry("unknown", "unknown", "");
        let windows = entry("windows", "amd64", "");
        let all = [
            v3.clone(),
            windows.clone(),
            v1.clone(),
            plain.clone(),
            arm.clone(),
            attestation,
        ];
        let old = [("amd64", ""), ("amd64", "v1")];
        let new = [("amd64", ""), ("amd64", "v1"), ("amd64", "v2"), ("amd64", "v3")];
        let arm64 = [("arm64", ""), ("arm64", "v8")];
        assert_eq!(plan_platform(&all, &new).ok(), Some(&plain));
        assert_eq!(plan_platform(&all, &arm64).ok(), Some(&arm));
        assert_eq!(plan_platform(&[v3.clone(), v1.clone()], &new).ok(), Some(&v1));
        let newest = [v3.clone(), windows];
        assert_eq!(plan_platform(&newest, &new).ok(), Some(&v3));
        let error = plan_platform(&newest, &old).expect_err("nothing fits").to_string();
        let this = this_architecture();
        assert_eq!(
            error,
            format!("no image for linux/{this}; there is linux/amd64/v3, windows/amd64")
        );
    }

    #[test]
    fn an_image_for_another_machine_is_told_as_such() {
        let this = this_architecture();
        for (os, architecture, told) in [
            ("linux", this, None),
            ("", "", None),
            ("linux", "", None),
            ("linux", "s390x", Some("it is for linux/s390x, ")),
            ("", "s390x", Some("it is for linux/s390x, ")),
            ("windows", "", Some("it is for windows/")),
            ("linux", "\u{1b}[2J", Some("it is for linux/ [2J, ")),
        ] {
            let config = ConfigFile {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                ..ConfigFile::default()
            };
            let said = plan_foreign(&config);
            assert_eq!(said.is_some(), told.is_some(), "{os}/{architecture}: {said:?}");
            assert!(said.unwrap_or_default().starts_with(told.unwrap_or_default()));
        }
    }

    #[test]
    fn one_image_without_platform_is_for_anyone() {
        let alone = [Descriptor::new(OCI_MANIFEST, Digest::of(b"x"), 1)];
        assert!(plan_platform(&alone, these_platforms()).is_ok());
        assert!(plan_platform(&[alone[0].clone(), alone[0].clone()], these_platforms()).is_err());
    }

    #[test]
    fn docker_configs_with_nulls_are_read() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Entrypoint":null,"Env":null,
            "ExposedPorts":{"80/tcp":{},"53/udp":{}},"Labels":null,"Volumes":null,"OnBuild":null,"Image":""},
            "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let file: ConfigFile = parse("config", text).expect("a config");
        assert_eq!(file.config.cmd, ["sh"]);
        assert_eq!(file.config.exposed_ports, ["53/udp", "80/tcp"]);
        assert!(file.config.entrypoint.is_empty() && file.rootfs.diff_ids.is_empty());
        let no_config: ConfigFile = parse("config", br#"{"config":null,"rootfs":{"diff_ids":[]}}"#).expect("a config");
        assert_eq!(no_config.config, ImageConfig::default());
    }
}
