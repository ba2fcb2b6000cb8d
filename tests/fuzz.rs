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
