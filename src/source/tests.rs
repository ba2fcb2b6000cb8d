//! Sources on real files, saved as real editors save.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::model::SystemClock;

/// A running source and its directory; each test names what it waits for.
struct Bench {
    root: tempfile::TempDir,
    source: RunningSource,
    _stop: tokio_util::sync::DropGuard,
}

fn pod(name: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - {{name: c, image: i:1}}\n")
}

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  v: \"{value}\"\n")
}

/// Quick enough for tests, slow enough that a save in two halves is one burst.
fn timing() -> Timing {
    Timing {
        settle: Duration::from_millis(300),
        rescan: Duration::from_secs(20),
        ..Timing::default()
    }
}

impl Bench {
    fn of(files: &[(&str, String)]) -> Self {
        Self::at(files, "m", timing())
    }

    /// Watches `root/path`.
    fn at(files: &[(&str, String)], path: &str, timing: Timing) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(root.path().join("m")).expect("made");
        for (name, text) in files {
            let path = root.path().join("m").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let stop = CancellationToken::new();
        let spec = SourceSpec {
            timing,
            ..SourceSpec::at("test", root.path().join(path))
        };
        let source = spawn(spec, Arc::new(SystemClock), stop.clone());
        Self {
            root,
            source,
            _stop: stop.drop_guard(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("m").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Waits until a listing fulfils the condition.
    async fn until(&mut self, what: &str, is_there: impl Fn(&Listing) -> bool) -> Arc<Listing> {
        let last = self.source.listings.clone();
        let waited = timeout(
            Duration::from_secs(10),
            self.source.listings.wait_for(|listing| is_there(listing)),
        )
        .await;
        match waited {
            Ok(listing) => Arc::clone(&listing.expect("the source runs")),
            Err(_) => panic!("{what} did not come; last: {:#?}", last.borrow()),
        }
    }

    async fn until_named(&mut self, names: &[&str]) -> Arc<Listing> {
        self.until(&format!("{names:?}"), |listing| {
            names_of(listing) == names && listing.unsettled.is_empty()
        })
        .await
    }
}

fn is_told(listing: &Listing, words: &str) -> bool {
    listing.problems.iter().any(|problem| problem.message.contains(words))
}

fn names_of(listing: &Listing) -> Vec<&str> {
    let mut names: Vec<&str> = listing.objects.iter().map(|object| object.key.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn value_of<'a>(listing: &'a Listing, name: &str) -> &'a str {
    listing
        .objects
        .iter()
        .find(|object| object.key.name == name)
        .map_or("", |object| object.object.text("/data/v"))
}

#[tokio::test]
async fn a_directory_is_read_whole_and_told_once() {
    let mut bench = Bench::of(&[
        ("a.yaml", pod("a")),
        ("sub/b.yml", format!("{}---\n{}", map("b", "1"), map("c", "2"))),
        (
            "d.json",
            "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"d\"}}".into(),
        ),
    ]);
    let listing = bench.until_named(&["a", "b", "c", "d"]).await;
    assert!(listing.complete);
    assert_eq!(
        (listing.files_read, listing.problems.len(), &listing.noticing),
        (3, 0, &Noticing::Events)
    );
    assert_eq!(
        listing
            .objects
            .iter()
            .map(|object| object.key.kind().kind)
            .collect::<Vec<_>>(),
        ["Namespace", "ConfigMap", "ConfigMap", "Pod"]
    );
}

#[tokio::test]
async fn a_save_by_rename_is_seen() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1"))]);
    bench.until_named(&["a"]).await;
    fs::write(bench.path("a.yaml.new"), map("a", "2")).expect("written");
    fs::rename(bench.path("a.yaml.new"), bench.path("a.yaml")).expect("renamed");
    bench
        .until("the new value", |listing| value_of(listing, "a") == "2")
        .await;
}

#[tokio::test]
async fn a_save_in_place_in_two_halves_takes_nothing_away() {
    let mut bench = Bench::of(&[("a.yaml", format!("{}---\n{}", map("a", "1"), map("b", "1")))]);
    bench.until_named(&["a", "b"]).await;
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(bench.path("a.yaml"))
        .expect("opened");
    // The reader comes between the halves: what is not yet written is not gone.
    let between = bench
        .until("that it is being written", |listing| {
            is_told(listing, "open for writing")
        })
        .await;
    assert_eq!((names_of(&between), value_of(&between, "a")), (vec!["a", "b"], "1"));
    assert_eq!(
        between.unsettled,
        BTreeSet::from([bench.path("a.yaml")]),
        "nor is what it named and nobody remembers"
    );
    let text = format!("{}---\n{}", map("a", "2"), map("b", "2"));
    let (first, second) = text.split_at(text.len() / 2 + 20);
    file.write_all(first.as_bytes()).expect("written");
    file.write_all(second.as_bytes()).expect("written");
    drop(file);
    let listing = bench.until_named(&["a", "b"]).await;
    assert_eq!((value_of(&listing, "a"), value_of(&listing, "b")), ("2", "2"));
}

#[tokio::test]
async fn a_base_that_is_being_written_takes_nothing_away() {
    let overlay = "resources: [../base/a.yaml]\n".to_owned();
    let mut bench = Bench::of(&[("o/kustomization.yaml", overlay), ("base/a.yaml", map("a", "1"))]);
    bench.until("built", |listing| value_of(listing, "a") == "1").await;
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(bench.path("base/a.yaml"))
        .expect("opened");
    let is_held = |listing: &Listing| listing.unsettled.iter().any(|path| path.ends_with("m/o"));
    let between = bench.until("that it is being written", is_held).await;
    assert_eq!(value_of(&between, "a"), "1");
    file.write_all(map("a", "2").as_bytes()).expect("written");
    drop(file);
    bench
        .until("the new value", |listing| value_of(listing, "a") == "2")
        .await;
}

#[tokio::test]
async fn an_empty_file_keeps_what_it_named_until_it_is_written_or_removed() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1"))]);
    bench.until_named(&["a"]).await;
    bench.write("a.yaml", "");
    let empty = bench
        .until("that it is empty", |listing| is_told(listing, "is empty"))
        .await;
    assert_eq!(
        (empty.last_good.len(), empty.unsettled.len(), empty.leaving.len()),
        (1, 1, 0)
    );
    bench.write("a.yaml", &map("a", "2"));
    let listing = bench.until_named(&["a"]).await;
    assert_eq!((value_of(&listing, "a"), listing.problems.len()), ("2", 0));
    bench.write("a.yaml", "");
    bench
        .until("that it is empty", |listing| is_told(listing, "is empty"))
        .await;
    fs::remove_file(bench.path("a.yaml")).expect("removed");
    bench
        .until("its end", |listing| {
            listing.last_good.is_empty() && listing.unsettled.is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_broken_file_that_moves_keeps_what_it_named_until_it_can_be_read() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1")), ("stale.yaml", "x: [\n".into())]);
    bench.until("it is read", |listing| names_of(listing) == ["a"]).await;
    bench.write("a.yaml", "kind: [\n");
    bench
        .until("that it is broken", |listing| listing.problems.len() == 2)
        .await;
    fs::rename(bench.path("a.yaml"), bench.path("b.yaml")).expect("moved");
    let is_moved = |listing: &Listing| {
        listing.leaving.is_empty() && listing.last_good.iter().any(|o| o.origin.ends_with("b.yaml"))
    };
    let moved = bench.until("that it is another's now", is_moved).await;
    assert_eq!(moved.last_good.len(), 1);
    bench.write("b.yaml", &map("b", "1"));
    bench
        .until("what it says", |listing| {
            names_of(listing) == ["b"] && listing.last_good.is_empty()
        })
        .await;
    // What was broken before keeps nothing that went later.
    fs::remove_file(bench.path("b.yaml")).expect("removed");
    bench
        .until("its end", |listing| {
            listing.objects.is_empty() && listing.last_good.is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_save_by_unlink_and_create_takes_nothing_away() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1"))]);
    bench.until_named(&["a"]).await;
    fs::remove_file(bench.path("a.yaml")).expect("removed");
    let between = bench.until("the gap", |listing| listing.objects.is_empty()).await;
    assert_eq!((between.last_good.len(), between.unsettled.len()), (1, 1));
    bench.write("a.yaml", &map("a", "2"));
    let listing = bench.until_named(&["a"]).await;
    assert_eq!(value_of(&listing, "a"), "2");
}

#[tokio::test]
async fn a_removed_file_and_a_removed_document_are_gone_once_they_settled() {
    let mut bench = Bench::of(&[
        ("a.yaml", map("a", "1")),
        ("b.yaml", format!("{}---\n{}", map("b", "1"), map("c", "1"))),
    ]);
    bench.until_named(&["a", "b", "c"]).await;
    fs::remove_file(bench.path("a.yaml")).expect("removed");
    bench.write("b.yaml", &map("b", "1"));
    let listing = bench.until_named(&["b"]).await;
    assert_eq!(listing.last_good, []);
}

#[tokio::test]
async fn a_broken_file_keeps_what_it_named_and_says_where_it_is_broken() {
    let mut bench = Bench::of(&[("a.yaml", format!("{}---\n{}", map("a", "1"), map("b", "1")))]);
    bench.until_named(&["a", "b"]).await;
    bench.write("a.yaml", &format!("{}---\nkind: [\n", map("a", "2")));
    let listing = bench.until("the problem", |listing| !listing.problems.is_empty()).await;
    assert_eq!((names_of(&listing), value_of(&listing, "a")), (vec!["a"], "2"));
    assert_eq!(
        listing
            .last_good
            .iter()
            .map(|object| object.key.name.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert!(
        listing.problems[0].to_line().contains("a.yaml:"),
        "{:?}",
        listing.problems
    );
    bench.write("a.yaml", &format!("{}---\n{}", map("a", "2"), map("b", "3")));
    let listing = bench.until_named(&["a", "b"]).await;
    assert_eq!(listing.problems, []);
}

#[tokio::test]
async fn a_vanished_directory_takes_nothing_away_and_is_read_when_it_is_back() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1"))]);
    bench.until_named(&["a"]).await;
    fs::rename(bench.path(""), bench.root.path().join("away")).expect("moved");
    let listing = bench.until("its absence", |listing| !listing.complete).await;
    assert_eq!((names_of(&listing), listing.problems.len()), (vec!["a"], 1));
    fs::write(bench.root.path().join("away/a.yaml"), map("a", "2")).expect("written");
    fs::rename(bench.root.path().join("away"), bench.path("")).expect("moved");
    bench
        .until("the new value", |listing| {
            listing.complete && value_of(listing, "a") == "2"
        })
        .await;
    bench.write("b.yaml", &map("b", "1"));
    bench.until_named(&["a", "b"]).await;
}

#[tokio::test]
async fn a_path_that_is_made_later_is_read_then() {
    let mut bench = Bench::at(&[], "m/later/deep", timing());
    bench
        .until("the first reading", |listing| {
            listing.generation > 0 && !listing.complete
        })
        .await;
    fs::create_dir_all(bench.path("later/deep")).expect("made");
    bench.write("later/deep/a.yaml", &map("a", "1"));
    bench.until_named(&["a"]).await;
}

#[tokio::test]
async fn files_in_new_directories_are_seen_however_fast_they_come() {
    let mut bench = Bench::of(&[]);
    bench.until_named(&[]).await;
    fs::create_dir_all(bench.path("x/y/z")).expect("made");
    bench.write("x/y/z/a.yaml", &map("a", "1"));
    bench.until_named(&["a"]).await;
    bench.write("x/y/z/a.yaml", &map("a", "2"));
    bench
        .until("the new value", |listing| value_of(listing, "a") == "2")
        .await;
}

#[tokio::test]
async fn a_symlinks_target_is_watched_and_so_is_its_swap() {
    let mut bench = Bench::of(&[]);
    let outside = bench.root.path().join("outside");
    for (version, value) in [("v1", "1"), ("v2", "2")] {
        fs::create_dir_all(outside.join(version)).expect("made");
        fs::write(outside.join(version).join("a.yaml"), map("a", value)).expect("written");
    }
    symlink(outside.join("v1"), bench.path("..data")).expect("linked");
    symlink("..data/a.yaml", bench.path("a.yaml")).expect("linked");
    bench.until_named(&["a"]).await;
    fs::write(outside.join("v1/a.yaml"), map("a", "edited")).expect("written");
    bench
        .until("the edited target", |listing| value_of(listing, "a") == "edited")
        .await;
    symlink(outside.join("v2"), bench.path("..data_tmp")).expect("linked");
    fs::rename(bench.path("..data_tmp"), bench.path("..data")).expect("swapped");
    bench
        .until("the swapped target", |listing| value_of(listing, "a") == "2")
        .await;
}

#[tokio::test]
async fn a_linked_directory_whose_target_is_away_keeps_what_it_named_and_is_read_when_it_is_back() {
    let mut bench = Bench::of(&[("own.yaml", map("own", "1"))]);
    let (app, away) = (bench.root.path().join("app"), bench.root.path().join("away"));
    fs::create_dir(&app).expect("made");
    fs::write(app.join("a.yaml"), map("a", "1")).expect("written");
    symlink(&app, bench.path("linked")).expect("linked");
    bench.until_named(&["a", "own"]).await;
    symlink("/nowhere/at/all", bench.path("never-led-anywhere")).expect("linked");
    fs::rename(&app, &away).expect("moved");
    let link = bench.path("linked");
    let lost = bench.until("it is lost", |listing| !listing.problems.is_empty()).await;
    let places: Vec<_> = lost
        .problems
        .iter()
        .map(|problem| problem.location.file.as_ref())
        .collect();
    assert_eq!(places, [link.as_path()], "{:?}", lost.problems);
    assert!(lost.unsettled.contains(&link), "nothing of it is pruned");
    fs::write(away.join("a.yaml"), map("a", "2")).expect("written");
    fs::rename(&away, &app).expect("moved back");
    bench.until("it is back", |listing| value_of(listing, "a") == "2").await;
}

#[tokio::test]
async fn a_directory_that_is_moved_away_and_back_at_once_is_watched_on() {
    let overlay = "resources: [../base/a.yaml]\n".to_owned();
    let mut bench = Bench::of(&[("o/kustomization.yaml", overlay), ("base/a.yaml", map("a", "1"))]);
    bench.until("built", |listing| value_of(listing, "a") == "1").await;
    let (base, away) = (bench.path("base"), bench.path("away"));
    for value in ["2", "3"] {
        fs::rename(&base, &away).expect("moved");
        fs::rename(&away, &base).expect("moved back");
        // What was moved is looked at before what is in it changes, or else the walk after the move would find it.
        fs::write(bench.path("seen.yaml"), map("seen", value)).expect("written");
        bench
            .until("it was looked at", |listing| value_of(listing, "seen") == value)
            .await;
        fs::write(base.join("a.yaml"), map("a", value)).expect("written");
        bench.until("the edit", |listing| value_of(listing, "a") == value).await;
    }
}

#[tokio::test]
async fn an_object_named_twice_stays_where_it_was_and_the_other_is_refused() {
    let mut bench = Bench::of(&[("m.yaml", map("a", "1"))]);
    bench.until_named(&["a"]).await;
    bench.write("b.yaml", &map("a", "2"));
    let listing = bench.until("the refusal", |listing| !listing.problems.is_empty()).await;
    assert_eq!(value_of(&listing, "a"), "1");
    let line = listing.problems[0].to_line();
    assert!(line.contains("b.yaml:1:1") && line.contains("m.yaml:1:1"), "{line}");
    fs::remove_file(bench.path("m.yaml")).expect("removed");
    bench
        .until("the other's turn", |listing| {
            value_of(listing, "a") == "2" && listing.problems.is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_moved_file_moves_its_objects_without_a_gap() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1"))]);
    bench.until_named(&["a"]).await;
    fs::create_dir(bench.path("sub")).expect("made");
    fs::rename(bench.path("a.yaml"), bench.path("sub/a.yaml")).expect("moved");
    let listing = bench.until_named(&["a"]).await;
    assert_eq!(listing.problems, []);
    bench
        .until("its new place", |listing| {
            listing
                .objects
                .iter()
                .all(|object| object.origin.ends_with("sub/a.yaml"))
        })
        .await;
}

#[tokio::test]
async fn what_can_not_be_read_is_kept() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1")), ("sub/b.yaml", map("b", "1"))]);
    bench.until_named(&["a", "b"]).await;
    fs::set_permissions(bench.path("sub"), fs::Permissions::from_mode(0o000)).expect("set");
    bench.write("a.yaml", &map("a", "2"));
    let listing = bench
        .until("the new value", |listing| value_of(listing, "a") == "2")
        .await;
    // Root reads everything; then nothing is hidden, and b is there.
    assert!(names_of(&listing).contains(&"b"), "{listing:#?}");
    fs::set_permissions(bench.path("sub"), fs::Permissions::from_mode(0o755)).expect("set");
    bench.until_named(&["a", "b"]).await;
}

#[tokio::test]
async fn a_single_file_is_a_source_and_its_neighbours_are_not() {
    let mut bench = Bench::at(
        &[("a.yaml", map("a", "1")), ("b.yaml", map("b", "1"))],
        "m/a.yaml",
        timing(),
    );
    bench.until_named(&["a"]).await;
    fs::write(bench.path("tmp"), map("a", "2")).expect("written");
    fs::rename(bench.path("tmp"), bench.path("a.yaml")).expect("renamed");
    bench
        .until("the new value", |listing| value_of(listing, "a") == "2")
        .await;
}

#[tokio::test]
async fn unchanged_files_are_not_told_again() {
    let mut bench = Bench::of(&[("a.yaml", map("a", "1"))]);
    let first = bench.until_named(&["a"]).await.generation;
    bench.write("a.yaml", &map("a", "1"));
    bench.write("notes.txt", "x");
    bench.write("b.yaml", &map("b", "1"));
    let second = bench.until_named(&["a", "b"]).await.generation;
    assert_eq!(second, first + 1);
}

#[tokio::test]
async fn text_is_read_once() {
    let spec = SourceSpec::text(
        "stdin",
        "-",
        format!("{}---\n{}", map("a", "1"), map("a", "2")).into_bytes(),
    );
    let listing = read_once(spec, Arc::new(SystemClock)).await;
    assert!(listing.complete);
    assert_eq!((names_of(&listing), value_of(&listing, "a")), (vec!["a"], "1"));
    assert!(
        listing.problems[0]
            .to_line()
            .starts_with("-:11:9: error: configmap/a is already given at -:1:1"),
        "{:?}",
        listing.problems
    );
}

#[tokio::test]
async fn an_overlay_is_built_and_built_again_when_its_base_changes() {
    let mut bench = Bench::at(
        &[
            (
                "over/kustomization.yaml",
                "namePrefix: dev-\nresources: [../base]\n".into(),
            ),
            ("base/kustomization.yaml", "resources: [a.yaml]\n".into()),
            ("base/a.yaml", map("a", "one")),
        ],
        "m/over",
        timing(),
    );
    bench.until_named(&["dev-a"]).await;
    bench.write("base/a.yaml", &map("a", "two"));
    bench
        .until("the new value", |listing| value_of(listing, "dev-a") == "two")
        .await;
    bench.write("base/a.yaml", "kind: [");
    let listing = bench.until("the problem", |listing| !listing.problems.is_empty()).await;
    assert_eq!((listing.last_good.len(), listing.unsettled.len()), (1, 1));
    let place = listing.problems[0].location.to_string();
    assert!(place.ends_with("base/a.yaml:2:1"), "{place}");
}

#[tokio::test]
async fn what_is_wrong_in_what_was_built_is_told_where_it_was_written() {
    let listing = read_once(
        {
            let root = tempfile::tempdir().expect("a temporary directory").keep();
            for (name, text) in [
                (
                    "over/kustomization.yaml",
                    "resources: [../base]\npatches:\n- path: patch.yaml\n",
                ),
                (
                    "over/patch.yaml",
                    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: v\nunknown: 1\n",
                ),
                ("base/kustomization.yaml", "resources: [a.yaml]\n"),
                (
                    "base/a.yaml",
                    "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nother: 2\n",
                ),
            ] {
                let path = root.join(name);
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(path, text).expect("written");
            }
            SourceSpec::at("test", root.join("over"))
        },
        Arc::new(SystemClock),
    )
    .await;
    let places: Vec<String> = listing
        .problems
        .iter()
        .map(|problem| problem.location.to_string())
        .collect();
    let ends: Vec<bool> = ["base/a.yaml:6:1", "over/patch.yaml:6:1"]
        .iter()
        .map(|end| places.iter().any(|place| place.ends_with(end)))
        .collect();
    assert_eq!(ends, [true, true], "{places:?}");
}

#[tokio::test]
async fn what_a_kustomization_makes_is_told_at_its_own_lines() {
    let kustomization = "namePrefix: Up_\nlabels:\n- pairs: {a: b}\n  fields: [{path: spec/nope, create: true}]\n\
        resources: [d.yaml]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    - op: add\n      path: /spec/x1\n      \
        value: 1\n    - {op: add, path: /spec/x2, value: 1}\n";
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  selector: {matchLabels: {app: web}}\n  \
        template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: i:1}]}\n";
    let root = tempfile::tempdir().expect("a temporary directory");
    fs::write(root.path().join("kustomization.yaml"), kustomization).expect("written");
    fs::write(root.path().join("d.yaml"), deployment).expect("written");
    let listing = read_once(SourceSpec::at("test", root.path()), Arc::new(SystemClock)).await;
    let told = |what: &str| {
        let problem = listing.problems.iter().find(|problem| problem.message.contains(what));
        // Columns of text within text count from the text's own margin.
        problem.map(|problem| {
            (
                problem.location.file.ends_with("kustomization.yaml"),
                problem.location.at.line,
            )
        })
    };
    assert_eq!(told("spec.x1"), Some((true, 9)), "{:#?}", listing.problems);
    assert_eq!(told("spec.x2"), Some((true, 12)));
    assert_eq!(told("spec.nope"), Some((true, 3)));
}

#[tokio::test]
async fn an_overlay_depends_only_on_what_its_build_looked_at() {
    let mut bench = Bench::at(
        &[
            ("kustomization.yaml", "resources: [a.yaml]\n".into()),
            ("a.yaml", map("a", "one")),
            ("unused.yaml", "kind: [".into()),
        ],
        "m",
        timing(),
    );
    let listing = bench.until("the overlay", |listing| !listing.objects.is_empty()).await;
    assert_eq!(
        (names_of(&listing), listing.files_read, listing.problems.len()),
        (vec!["a"], 2, 0)
    );
    bench.write("kustomization.yaml", "resources: [a.yaml, b.yaml]\n");
    bench
        .until("the missing file", |listing| !listing.problems.is_empty())
        .await;
    bench.write("b.yaml", &map("b", "two"));
    bench.until_named(&["a", "b"]).await;
}

#[tokio::test]
async fn a_thousand_files_are_read_and_one_change_reads_one() {
    let files: Vec<(String, String)> = (0..1000)
        .map(|n| (format!("{n:04}.yaml"), map(&format!("m{n:04}"), "one")))
        .collect();
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let mut bench = Bench::of(&files);
    let before = bench.until("all", |listing| listing.objects.len() == 1000).await;
    bench.write("0500.yaml", &map("m0500", "two"));
    let after = bench
        .until("the new value", |listing| value_of(listing, "m0500") == "two")
        .await;
    let kept = before
        .objects
        .iter()
        .zip(&after.objects)
        .filter(|(before, after)| Arc::ptr_eq(before, after))
        .count();
    assert_eq!(kept, 999);
}

#[test]
fn paths_of_problems_are_those_of_the_source() {
    let spec = SourceSpec::at("x", "/m");
    assert_eq!(
        (spec.id.to_string().as_str(), spec.origin),
        ("x", Origin::Path(Path::new("/m").into()))
    );
}
