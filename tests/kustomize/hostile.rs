//! Overlays that mean harm: each is refused at its place by a process that has no more than a node's thread has of stack, little
//! memory, and a minute.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// What a build may address, in kilobytes: a quarter of what a small laptop has. The binary and its allocator take a part.
const MEMORY: usize = 1 << 20;

/// The stack of a thread that may block, in kilobytes.
const STACK: usize = 2 << 10;

/// An overlay, why it is refused, and where: the beginning of a file's place.
struct Hostile {
    name: &'static str,
    files: Vec<(String, String)>,
    reason: &'static str,
    place: &'static str,
}

fn file(name: &str, text: impl Into<String>) -> (String, String) {
    (name.to_owned(), text.into())
}

/// A ConfigMap and what a kustomization does to it.
fn with_map(does: &str) -> Vec<(String, String)> {
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n";
    vec![
        file("kustomization.yaml", format!("resources: [a.yaml]\n{does}\n")),
        file("a.yaml", object),
    ]
}

/// A ConfigMap with this data.
fn with_data(data: &str) -> Vec<(String, String)> {
    let object = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n{data}\n");
    vec![
        file("kustomization.yaml", "resources: [a.yaml]\nnamePrefix: x-\n"),
        file("a.yaml", object),
    ]
}

fn path(parts: usize, delimiter: &str) -> String {
    vec!["a"; parts].join(delimiter)
}

fn create_label(parts: usize) -> String {
    let path = path(parts, "/");
    format!("labels:\n- pairs: {{a: b}}\n  fields:\n  - {{create: true, path: {path}}}")
}

fn create_by_replacement(parts: usize) -> String {
    let path = path(parts, ".");
    format!(
        "replacements:\n- sourceValue: q\n  targets:\n  - select: {{kind: ConfigMap}}\n    options: {{create: true}}\n    \
         fieldPaths: [data.x.{path}]"
    )
}

/// A JSON patch of these operations.
fn json_patch(operations: impl Iterator<Item = String>) -> String {
    let operations: Vec<String> = operations.collect();
    format!(
        "patches:\n- target: {{kind: ConfigMap}}\n  patch: '[{}]'",
        operations.join(", ")
    )
}

fn copy(from: &str, to: &str) -> String {
    format!("{{\"op\": \"copy\", \"from\": \"{from}\", \"path\": \"{to}\"}}")
}

/// A value that is copied into itself as often as is said.
fn replacements(count: usize, from: &str, to: &str, options: &str) -> String {
    let one = format!(
        "\n- source: {{kind: ConfigMap, fieldPath: {from}}}\n  targets:\n  - select: {{kind: ConfigMap}}\n    \
         options: {{{options}}}\n    fieldPaths: [{to}]"
    );
    format!("replacements:{}", one.repeat(count))
}

fn alias_bomb() -> String {
    let mut bomb = "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = format!("*a{}, ", level - 1).repeat(10);
        writeln!(bomb, "  a{level}: &a{level} [{}]", inner.trim_end_matches(", ")).expect("written");
    }
    bomb
}

/// Directories that name the next one, or the next two.
fn levels(count: usize, sides: &[&str]) -> Vec<(String, String)> {
    let named = |level: usize| {
        let names: Vec<String> = sides.iter().map(|side| format!("../{side}{level}")).collect();
        names.join(", ")
    };
    let mut files = vec![file(
        "kustomization.yaml",
        format!("resources: [{}]\n", named(0).replace("../", "")),
    )];
    for level in 0..count {
        for side in sides {
            let below = if level + 1 < count {
                named(level + 1)
            } else {
                "a.yaml".to_owned()
            };
            let text = format!("namePrefix: {side}-\nresources: [{below}]\n");
            files.push(file(&format!("{side}{level}/kustomization.yaml"), text));
        }
    }
    let object = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
    let last = count - 1;
    files.extend(sides.iter().map(|side| file(&format!("{side}{last}/a.yaml"), object)));
    files
}

fn hostile() -> Vec<Hostile> {
    let case = |name, files, reason, place| Hostile {
        name,
        files,
        reason,
        place,
    };
    let vars = format!(
        "vars:\n- name: A\n  objref: {{apiVersion: v1, kind: ConfigMap, name: a}}\n  fieldref: {{fieldpath: data.a}}\n\
         commonAnnotations:\n  a: {}\nconfigurations: [c.yaml]",
        "$(A)".repeat(20_000)
    );
    let mut vars = with_map(&vars);
    vars[1].1 = vars[1].1.replace("{a: b}", &format!("{{a: {}}}", "b".repeat(100_000)));
    vars.push(file("c.yaml", "varReference: [{path: metadata/annotations}]"));
    vec![
        case(
            "an alias that grows",
            with_data(&alias_bomb()),
            "excessive aliasing",
            "a.yaml:",
        ),
        case(
            "a deep list",
            with_data(&format!("  a: {}1{}", "[".repeat(100_000), "]".repeat(100_000))),
            "depth",
            "a.yaml:5",
        ),
        case(
            "a long chain of bases",
            levels(5_000, &["l"]),
            "64 levels",
            "l63/kustomization.yaml:2",
        ),
        case(
            "bases that name two each",
            levels(32, &["l", "r"]),
            "kustomizations",
            "/kustomization.yaml:2",
        ),
        case(
            "a label at the end of a long path",
            with_map(&create_label(1_000)),
            "a path of 1000 fields",
            "kustomization.yaml:5",
        ),
        case(
            "a replacement at the end of a long path",
            with_map(&create_by_replacement(4_000)),
            "a path of 4002 fields",
            "kustomization.yaml:5",
        ),
        case(
            "a JSON patch that doubles an object again and again",
            with_map(&json_patch(
                (0..100).map(|number| copy("/data", &format!("/data/k{number}"))),
            )),
            "copies more than",
            "kustomization.yaml:3",
        ),
        case(
            "a JSON patch that nests an object again and again",
            with_map(&json_patch(
                (0..5_000).flat_map(|_| [copy("/data", "/x"), copy("/x", "/data/k")]),
            )),
            "nest deeper than 256",
            "kustomization.yaml:3",
        ),
        case(
            "a replacement that nests an object again and again",
            with_map(&replacements(500, "data", "data.x.y.z", "create: true")),
            "nest deeper than 256",
            "kustomization.yaml:",
        ),
        case(
            "replacements that double an object again and again",
            with_map(&(0..100).fold("replacements:".to_owned(), |all, number| {
                let one = replacements(1, "data", &format!("data.k{number}"), "create: true");
                all + one.trim_start_matches("replacements:")
            })),
            "in one build",
            "kustomization.yaml:",
        ),
        case(
            "replacements that double a text again and again",
            with_map(&replacements(100, "data.a", "data.a", "delimiter: /, index: 9")),
            "bytes of text",
            "kustomization.yaml:",
        ),
        case("variables that make a text long", vars, "bytes of text", ".yaml:"),
    ]
}

fn put(root: &Path, files: &[(String, String)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }
}

/// Builds with a node's stack, little memory, and little time.
fn build(root: &Path) -> Output {
    let limits = format!("ulimit -v {MEMORY}; ulimit -s {STACK}; exec timeout -k 1 60 \"$@\"");
    let program = env!("CARGO_BIN_EXE_kubelocal");
    let mut command = Command::new("sh");
    command
        .args(["-c", &limits, "sh", program, "kustomize", "build"])
        .arg(root);
    command.output().expect("a shell")
}

#[test]
fn hostile_overlays_are_refused_at_their_place_and_nothing_breaks() {
    let mut wrong = String::new();
    for Hostile {
        name,
        files,
        reason,
        place,
    } in hostile()
    {
        let root = tempfile::tempdir().expect("a temporary directory");
        put(root.path(), &files);
        let output = build(root.path());
        let said = String::from_utf8_lossy(&output.stderr);
        let is_refused = output.status.code() == Some(1) && said.contains(reason) && said.contains(place);
        if !is_refused {
            let said: String = said.chars().take(600).collect();
            writeln!(wrong, "{name}: {}: {said}", output.status).expect("written");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let root = tempfile::tempdir().expect("a temporary directory");
    put(root.path(), &with_map(""));
    let object = root.path().join("a.yaml");
    fs::remove_file(&object).expect("removed");
    let made = Command::new("mkfifo").arg(&object).status().expect("mkfifo");
    assert!(made.success());
    let pipe = build(root.path());
    fs::remove_file(&object).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &object).expect("linked");
    let device = build(root.path());
    for (output, reason) in [(pipe, "no regular file"), (device, "not in or below")] {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason) && said.contains("kustomization.yaml:1"), "{said}");
    }
}

#[test]
fn what_is_as_deep_as_may_be_is_built() {
    let deep = format!("  x: {}1{}", "[".repeat(120), "]".repeat(120));
    let mut files = with_data(&deep);
    let nested = replacements(1, "data", "data.y.z", "create: true");
    let merge = "patches:\n- patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {more: 1}}'";
    let moved = json_patch([copy("/data", "/p/q/r")].into_iter()).replace("/p/q/r", "/p");
    let labels = create_label(128);
    let moved = moved.replace("patches:\n", "");
    files[0].1 = format!("resources: [a.yaml]\n{labels}\n{nested}\n{merge}\n{moved}\n");
    let root = tempfile::tempdir().expect("a temporary directory");
    put(root.path(), &files);
    let output = build(root.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
