//! The fuzz targets on a bounded number of inputs: what they are meant for, damaged in every way that a seed brings up. The seed
//! is fixed, so that a change is judged by what it changed; `fuzz/run` looks further.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// One change to a text: some bytes of it give way to others.
#[derive(Debug, Clone)]
struct Damage {
    at: Index,
    length: usize,
    instead: Vec<u8>,
}

/// What readers of these formats give a meaning to, and what they have limits for.
const WORDS: [&str; 24] = [
    "\n",
    ": ",
    "- ",
    "---\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "&a ",
    "*a",
    "|\n",
    "!!str ",
    "<<: ",
    "#",
    "\0",
    "..",
    "-1",
    "18446744073709551616",
    "1e999",
    "\u{feff}",
    "$(A)",
];

fn damage() -> impl Strategy<Value = Damage> {
    let instead = prop_oneof![
        vec(any::<u8>(), 0..4),
        select(WORDS.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        (select(WORDS.to_vec()), 1usize..3000).prop_map(|(word, times)| word.repeat(times).into_bytes()),
    ];
    let length = prop_oneof![4 => 0usize..4, 1 => 0usize..400];
    (any::<Index>(), length, instead).prop_map(|(at, length, instead)| Damage { at, length, instead })
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let at = damage.at.index(bytes.len() + 1);
        let end = bytes.len().min(at + damage.length);
        bytes.splice(at..end, damage.instead.iter().copied());
    }
    bytes
}

/// Runs a target on so many damaged seeds; a failure is shown at its smallest.
fn run(target: fn(&[u8]), seeds: Vec<Vec<u8>>, cases: u32) {
    for seed in &seeds {
        target(seed);
    }
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let inputs = (select(seeds), vec(damage(), 0..6)).prop_map(|(seed, damages)| damaged(seed, &damages));
    let outcome = runner.run(&inputs, |bytes| {
        target(&bytes);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The files below a directory of this repository that end so.
fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).expect("a directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    assert!(!files.is_empty(), "{dir} has no .{extension}");
    files
}

#[test]
fn any_bytes_are_a_layer_or_none() {
    let layer = |packer: fn(Vec<u8>) -> Vec<u8>| {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind) in [
            ("dir/", tar::EntryType::Directory),
            ("dir/file", tar::EntryType::Regular),
            ("dir/link", tar::EntryType::Symlink),
            ("dir/hard", tar::EntryType::Link),
            ("dir/.wh.gone", tar::EntryType::Regular),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(0);
            header.set_link_name("dir/file").expect("short");
            tar.append_data(&mut header, path, &b""[..]).expect("memory");
        }
        packer(tar.into_inner().expect("memory"))
    };
    let gzip = |tar: Vec<u8>| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &tar).expect("memory");
        packed.finish().expect("memory")
    };
    let zstd = |tar: Vec<u8>| zstd::encode_all(&tar[..], 1).expect("memory");
    run(targets::archive, vec![layer(|tar| tar), layer(gzip), layer(zstd)], 600);
}

#[test]
fn any_bytes_are_a_manifest_or_none() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let descriptor = serde_json::json!({"mediaType": "", "digest": digest, "size": 5, "platform": {"os": "linux", "architecture": "amd64"}});
    let seeds = [
        serde_json::json!({"schemaVersion": 2, "manifests": [descriptor, descriptor]}),
        serde_json::json!({"schemaVersion": 2, "config": descriptor, "layers": [descriptor]}),
        serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["A=B"], "Cmd": ["c"]}, "rootfs": {"type": "layers", "diff_ids": [digest]}}),
    ];
    let mut seeds: Vec<Vec<u8>> = seeds.map(|seed| seed.to_string().into_bytes()).into();
    // A manifest with its config.
    seeds.push([&seeds[1][..], &seeds[2][..]].join(&0));
    run(targets::manifest, seeds, 4000);
}

#[test]
fn any_bytes_are_credentials_or_none() {
    let seeds = [
        r#"{"auths": {"docker.io": {"auth": "dXNlcjpwYXNz"}, "*.io/a": {"identitytoken": "t"}}, "credHelpers": {"a.io": "h"}, "credsStore": "s"}"#,
        r#"{"https://index.docker.io/v1/": {"username": "u", "password": "p"}}"#,
    ];
    run(
        targets::credentials,
        seeds.map(|seed| seed.as_bytes().to_vec()).into(),
        4000,
    );
}

#[test]
fn any_bytes_are_manifests_of_objects_or_none() {
    let seeds = files("manifests/demo", "yaml")
        .into_iter()
        .map(|file| fs::read(file).expect("readable"))
        .collect();
    run(targets::documents, seeds, 3000);
}

#[test]
fn any_files_are_an_overlay_or_none() {
    let mut seeds = Vec::new();
    for topic in files("tests/kustomize", "txt") {
        let text = fs::read_to_string(topic).expect("readable");
        let cases = text
            .split("\n=== ")
            .map(|case| case.split_once('\n').map_or("", |(_, files)| files));
        seeds.extend(cases.map(|case| case.as_bytes().to_vec()));
    }
    run(targets::overlay, seeds, 3000);
}

#[test]
fn any_bytes_are_frames_of_streams_or_none() {
    let recorded = ["exec", "port-forward"].map(|name| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/spdy/recorded")
            .join(name)
    });
    let seeds = recorded.map(|path| fs::read(path).expect("readable"));
    run(targets::streams, seeds.into(), 4000);
}

#[test]
fn any_bytes_are_a_body_in_protobuf_or_none() {
    // A field is its number and type, then its length, then what is in it.
    let field = |number: u8, inner: &[u8]| {
        let length = u8::try_from(inner.len()).expect("short");
        [&[number << 3 | 2, length][..], inner].concat()
    };
    let named = |api_version: &str, kind: &str, raw: &[u8]| {
        let about = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), field(1, &about), field(2, raw)].concat()
    };
    let label = field(11, &[field(1, b"a"), field(2, b"b")].concat());
    let metadata = field(1, &[field(1, b"web"), label, vec![15 << 3, 1]].concat());
    let container = field(2, &[field(1, b"c"), field(2, b"image"), field(6, &[24, 80])].concat());
    let pod = [metadata.clone(), field(2, &container)].concat();
    let seeds = vec![
        named("v1", "Pod", &pod),
        named("apps/v1", "Deployment", &metadata),
        named(
            "v1",
            "Secret",
            &[metadata, field(2, &[field(1, b"k"), field(2, b"v")].concat())].concat(),
        ),
        pod,
    ];
    run(targets::protobuf, seeds, 4000);
}

#[test]
fn any_bytes_are_a_patch_or_none() {
    let seeds = [
        r#"[{"op":"replace","path":"/spec/replicas","value":2},{"op":"copy","from":"/spec","path":"/x"},{"op":"test","path":"/a~1b","value":null}]"#,
        r#"{"metadata":{"labels":{"a":null}},"spec":{"replicas":3}}"#,
        r#"{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"name":"c","$patch":"delete"},{"name":"d","image":"x","env":[{"$patch":"replace"}]}]}}}}"#,
        r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["x/y"],"$retainKeys":["name"]},"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#,
    ];
    run(
        targets::patches,
        seeds.map(|seed| seed.as_bytes().to_vec()).into(),
        4000,
    );
}

#[test]
fn any_bytes_are_a_request_with_selectors_or_none() {
    let seeds = [
        "/api/v1/namespaces/a/pods/b/log?labelSelector=app%3Dweb%2Ctier+in+(a,b),!old,size>3&limit=1",
        "/api/v1/namespaces/a/services/http:b:80/proxy/x?fieldSelector=metadata.name%3Dx,status.phase!=Running",
        "a in (b, c),d notin (e),f,!g,h=i,j==k,l!=m,n>1,o<2",
    ];
    run(
        targets::requests,
        seeds.map(|seed| seed.as_bytes().to_vec()).into(),
        4000,
    );
}

#[test]
fn any_bytes_are_messages_of_a_websocket_or_none() {
    let frame = |first: u8, data: &[u8]| {
        let length = u8::try_from(data.len()).expect("short") | 0x80;
        [&[first, length, 0, 0, 0, 0][..], data].concat()
    };
    let seeds = vec![
        [
            frame(0x82, b"\0input"),
            frame(0x82, &[4, b'{', b'}']),
            frame(0x88, &[3, 232]),
        ]
        .concat(),
        [
            frame(0x02, b"half"),
            frame(0x89, b"ping"),
            frame(0x80, b"rest"),
            frame(0x81, b"text"),
        ]
        .concat(),
        [&[0x82, 0xff][..], &[0xff; 8], &[0; 20]].concat(),
    ];
    run(targets::websocket, seeds, 4000);
}
