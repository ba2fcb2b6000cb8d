//! Records of what the reference makes of texts, and the reference itself where it is installed.
//!
//! `builds.json` has fields of a resource and what `kubectl kustomize` printed of it, `trees.json` documents inside of a
//! string and what a replacement of their field `zz` made of them: the one place where the reference prints a tree with
//! comments. `KUBELOCAL_TEST_RECORD=1` writes the records anew.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::super::*;
use super::{build, generate, read};

const RESOURCE: &str = "apiVersion: v1\nkind: A\nmetadata:\n  name: x\n";

struct Record {
    name: String,
    text: String,
    /// `None` if the reference refused the text.
    outcome: Option<String>,
}

fn path(file: &str) -> PathBuf {
    // Seen from the directory in which the package's tests run.
    [env!("CARGO_MANIFEST_DIR"), "tests/kustomize/yaml", file]
        .iter()
        .collect()
}

fn records(file: &str) -> Vec<Record> {
    let text = fs::read_to_string(path(file)).expect("the records are part of the package");
    let records: Vec<Value> = serde_json::from_str(&text).expect("the records are JSON");
    let joined = |lines: &Value| {
        let lines = lines.as_array()?;
        Some(
            lines
                .iter()
                .map(|line| line.as_str().expect("a line"))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    };
    let record = |record: &Value| Record {
        name: record["name"].as_str().expect("a name").to_owned(),
        text: joined(&record["in"]).expect("lines"),
        outcome: joined(&record["out"]),
    };
    records.iter().map(record).collect()
}

fn write(file: &str, records: &[Record]) {
    let lines = |text: &String| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let records: Vec<Value> = records
        .iter()
        .map(
            |record| json!({"name": record.name, "in": lines(&record.text), "out": record.outcome.as_ref().map(lines)}),
        )
        .collect();
    let text = serde_json::to_string_pretty(&records).expect("strings are JSON");
    fs::write(path(file), text + "\n").expect("the package's directory can be written");
}

fn our_build(fields: &str) -> Option<String> {
    build(&format!("{RESOURCE}{fields}")).ok()
}

fn our_tree(text: &str) -> Option<String> {
    let mut document = parse_document(text, FileId::default()).ok()??;
    let mut value = document.root.get("zz")?.clone();
    value.data = Data::Scalar("V".to_owned());
    document.root.set("zz", value);
    Some(print_document(&document).trim().to_owned())
}

fn assert_same(kind: &str, text: &str, ours: Option<&str>, theirs: Option<&str>) {
    assert!(
        ours == theirs,
        "{kind}\n--- text\n{text}\n--- ours\n{ours:#?}\n--- the reference\n{theirs:#?}"
    );
}

#[test]
fn builds_are_printed_as_the_reference_recorded_them() {
    for record in records("builds.json") {
        assert_same(
            &record.name,
            &record.text,
            our_build(&record.text).as_deref(),
            record.outcome.as_deref(),
        );
    }
}

#[test]
fn trees_are_printed_as_the_reference_recorded_them() {
    for record in records("trees.json") {
        assert_same(
            &record.name,
            &record.text,
            our_tree(&record.text).as_deref(),
            record.outcome.as_deref(),
        );
    }
}

/// The kubectl to compare with, if it has the right Kustomize.
fn kubectl() -> Option<PathBuf> {
    let program = env::var_os("KUBELOCAL_TEST_KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from);
    let version = Command::new(&program).args(["version", "--client"]).output().ok()?;
    if String::from_utf8_lossy(&version.stdout).contains("Kustomize Version: v5.8.") {
        return Some(program);
    }
    eprintln!("SKIPPED: no kubectl with Kustomize 5.8 here; KUBELOCAL_TEST_KUBECTL can name one");
    None
}

fn kustomize(program: &PathBuf, kustomization: &str, resources: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("kustomization.yaml"), kustomization).expect("written");
    fs::write(directory.path().join("resources.yaml"), resources).expect("written");
    let output = Command::new(program)
        .arg("kustomize")
        .arg(directory.path())
        .output()
        .expect("kubectl runs");
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).expect("kubectl prints text"))
}

fn their_build(program: &PathBuf, fields: &str) -> Option<String> {
    kustomize(program, "resources: [resources.yaml]\n", &format!("{RESOURCE}{fields}"))
}

/// What the reference makes of documents, each inside of a ConfigMap of its own; of none if it refuses one.
fn their_trees(program: &PathBuf, texts: &[&str]) -> Option<Vec<String>> {
    let kustomization = json!({
        "resources": ["resources.yaml"],
        "replacements": [{
            "source": {"kind": "ConfigMap", "name": "a", "fieldPath": "data.v"},
            "targets": [{
                "select": {"kind": "ConfigMap"}, "reject": [{"name": "a"}], "fieldPaths": ["data.f.zz"]
            }],
        }],
    });
    let map = |name: &str, key: &str, text: &str| {
        let data = Node::string(text).with_form(Form::DoubleQuoted);
        let quoted = print_node(&data);
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  {key}: {quoted}")
    };
    let mut resources = map("a", "v", "V");
    for (number, text) in texts.iter().enumerate() {
        write!(resources, "---\n{}", map(&format!("c{number:05}"), "f", text)).expect("written");
    }
    let output = kustomize(program, &kustomization.to_string(), &resources)?;
    let documents = parse_documents(&output, FileId::default()).expect("the reference prints YAML");
    let printed = documents
        .iter()
        .filter_map(|document| document.root.get("data")?.get_text("f"));
    Some(printed.map(str::to_owned).collect())
}

#[test]
fn the_records_are_what_the_reference_does() {
    let Some(program) = kubectl() else { return };
    let is_recording = env::var_os("KUBELOCAL_TEST_RECORD").is_some();
    let their_tree = |text: &str| their_trees(&program, &[text]).and_then(|mut texts| texts.pop());
    let check = |file: &str, theirs: &dyn Fn(&str) -> Option<String>| {
        let mut records = records(file);
        for record in &mut records {
            let outcome = theirs(&record.text);
            if is_recording {
                record.outcome = outcome;
            } else {
                assert_same(
                    &record.name,
                    &record.text,
                    record.outcome.as_deref(),
                    outcome.as_deref(),
                );
            }
        }
        if is_recording {
            write(file, &records);
        }
    };
    check("builds.json", &|text| their_build(&program, text));
    check("trees.json", &their_tree);
}

#[test]
fn generated_trees_are_printed_as_the_reference_does() {
    let Some(program) = kubectl() else { return };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = generate::document();
    let mut sample = || {
        strategy
            .new_tree(&mut runner)
            .expect("documents are generated without rejections")
            .current()
    };
    // Those that we refuse would hide all others of their batch. That both refuse the same is what the records show.
    let texts: Vec<String> = (0..400)
        .map(|_| sample() + "zz: 1\n")
        .filter(|text| read(text).is_ok())
        .collect();
    for batch in texts.chunks(50) {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        let theirs = their_trees(&program, &batch).expect("the reference reads what we read");
        for (text, theirs) in batch.iter().zip(theirs) {
            assert_same("generated", text, our_tree(text).as_deref(), Some(&theirs));
        }
    }
}
