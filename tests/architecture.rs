//! The structure that ARCHITECTURE.md promises: which room may use which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Room to the rooms it may use, from the table of the code map; `None` is all.
fn allowed() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let words = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let room = words(cells[0]).into_iter().next().expect("a room's name");
        (room, (cells[2] != "all").then(|| words(cells[2])))
    })
    .collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false if path.extension().is_some_and(|e| e == "rs") => files.push(path),
            false => {}
        }
    }
    files
}

/// Files that are compiled for tests only may use what they like.
fn is_for_tests(path: &Path) -> bool {
    path.components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name == "tests" || name == "tests.rs" || name == "fixtures.rs"
    })
}

/// The part of a file that is not its tests.
fn shipped(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

#[test]
fn every_room_uses_only_the_rooms_that_the_architecture_allows() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let place = path.strip_prefix(root().join("src")).expect("below src");
        let room = place
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy()
            .replace(".rs", "");
        if ["main", "lib"].contains(&room.as_str()) || is_for_tests(place) {
            continue;
        }
        let Some(may) = allowed.get(&room) else {
            wrong.push(format!("src/{room} is not in ARCHITECTURE.md"));
            continue;
        };
        let Some(may) = may else { continue };
        let text = fs::read_to_string(&path).expect("readable");
        for (number, line) in shipped(&text).lines().enumerate() {
            let line = line.trim();
            if line.starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if allowed.contains_key(&used) && used != room && !may.contains(&used) {
                    wrong.push(format!("{}:{}: {room} may not use {used}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `println!` and its like panic where nobody can read any more or the disk is full, which ends a node, or a pod with all that runs in it.
#[test]
fn no_room_of_a_process_that_lives_long_prints_by_a_macro_that_panics() {
    let short_lived = ["cli", "demo", "doctor"].map(|room| root().join("src").join(room));
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        if is_for_tests(&path) || short_lived.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("readable");
        let prints = |line: &&str| {
            let code = line.split("//").next().unwrap_or_default();
            ["println!(", "print!("].iter().any(|word| code.contains(word))
        };
        wrong.extend(
            shipped(&text)
                .lines()
                .filter(prints)
                .map(|line| format!("{}: {line}", path.display())),
        );
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn every_room_of_the_table_exists() {
    for room in allowed().keys() {
        let exists = root().join("src").join(room).is_dir() || root().join("src").join(format!("{room}.rs")).is_file();
        assert!(exists, "ARCHITECTURE.md names src/{room}");
    }
}

#[test]
fn no_file_is_longer_than_a_reader_bears() {
    let long = rust_files(&root().join("src"))
        .into_iter()
        .filter(|path| !is_for_tests(path))
        .filter_map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            let lines = shipped(&text).lines().count();
            (lines > 700).then(|| format!("{}: {lines} lines", path.display()))
        });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
