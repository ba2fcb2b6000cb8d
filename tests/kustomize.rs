//! Overlays beside Kustomize: the corpus in `tests/kustomize` has overlays and what the reference makes of them.
//!
//! Each file is a topic and holds cases that begin with `=== `, a sentence; then files (`-- path --`), and what
//! `kubectl kustomize` 1.37 printed: `-- output --` and `-- warnings --`, or `-- refused --` and its reason. What we say
//! instead of that reason, and where, is `-- ours --`. A line `build: DIR` before the files says which directory is built,
//! `no place` that a refusal has no place in a file.
//!
//! Overlays made at random are compared for a bounded time (`KUBELOCAL_TEST_RANDOM_SECONDS`, 20 if it is not set).
//!
//! Charts are rendered and compared where a helm is installed (or `scripts/clients` fetched one, or `KUBELOCAL_TEST_HELM` names
//! one).
//!
//! Where a kubectl with Kustomize 5.8 is installed (or fetched, or named by `KUBELOCAL_TEST_KUBECTL`) the records are checked against
//! it, and `KUBELOCAL_TEST_RECORD=1` writes them anew.

use std::cell::Cell;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kubelocal::kustomize::{Build, Cache, Failure, MemoryFiles, NoTools, Options, build, rebuild};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

#[path = "kustomize/charts.rs"]
mod charts;
#[path = "kustomize/hostile.rs"]
mod hostile;
#[path = "kustomize/large.rs"]
mod large;
#[path = "kustomize/random.rs"]
mod random;

/// The directory that cases are in while they are built here.
const ROOT: &str = "/case";

/// What the reference made of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Outcome {
    /// The output; `None` if it refused.
    output: Option<String>,
    /// What it said on standard error: warnings, or why it refused.
    said: String,
}

#[derive(Debug, Clone)]
struct Case {
    name: String,
    directory: String,
    /// Whether a refusal must name a place.
    has_place: bool,
    files: Vec<(String, String)>,
    recorded: Option<Outcome>,
    /// Where and why we refuse it: recorded for the corpus.
    ours: Option<String>,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kustomize")
}

fn topics() -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus()).expect("the corpus");
    let mut topics: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    topics.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    topics.sort();
    topics
}

fn parse(text: &str) -> Vec<Case> {
    let text = format!("\n{text}");
    let cases = text
        .split("\n=== ")
        .skip(1)
        .map(|case| format!("{}\n", case.trim_end_matches('\n')));
    cases.map(|case| parse_case(&case)).collect()
}

fn parse_case(text: &str) -> Case {
    let (name, rest) = text.split_once('\n').expect("a case has lines");
    let mut case = Case {
        name: name.to_owned(),
        directory: ".".to_owned(),
        has_place: true,
        files: Vec::new(),
        recorded: None,
        ours: None,
    };
    let mut current: Option<(String, String)> = None;
    let mut sections = Vec::new();
    for line in rest.split_inclusive('\n') {
        if let Some(section) = line
            .trim_end()
            .strip_prefix("-- ")
            .and_then(|line| line.strip_suffix(" --"))
        {
            sections.extend(current.replace((section.to_owned(), String::new())));
        } else if let Some((_, text)) = &mut current {
            text.push_str(line);
        } else if let Some(directory) = line.trim().strip_prefix("build: ") {
            case.directory = directory.to_owned();
        } else if line.trim() == "no place" {
            case.has_place = false;
        }
    }
    sections.extend(current);
    for (section, text) in sections {
        let recorded = || case.recorded.clone().unwrap_or_default();
        match section.as_str() {
            "ours" => case.ours = Some(text),
            "output" => {
                case.recorded = Some(Outcome {
                    output: Some(text),
                    ..recorded()
                })
            }
            "warnings" | "refused" => {
                case.recorded = Some(Outcome {
                    said: text,
                    ..recorded()
                })
            }
            _ => case.files.push((section, text)),
        }
    }
    case
}

fn write(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        writeln!(text, "=== {}", case.name).expect("written");
        if case.directory != "." {
            writeln!(text, "build: {}", case.directory).expect("written");
        }
        if !case.has_place {
            writeln!(text, "no place").expect("written");
        }
        let mut section = |name: &str, content: &str| {
            write!(text, "-- {name} --\n{content}").expect("written");
            if !content.is_empty() && !content.ends_with('\n') {
                text.push('\n');
            }
        };
        for (name, content) in &case.files {
            section(name, content);
        }
        match &case.recorded {
            Some(Outcome {
                output: Some(output),
                said,
            }) => {
                section("output", output);
                if !said.is_empty() {
                    section("warnings", said);
                }
            }
            Some(Outcome { output: None, said }) => {
                section("refused", said);
                case.ours.iter().for_each(|ours| section("ours", ours));
            }
            None => {}
        }
    }
    text
}

/// A file whose last line is `\` ends before that line's break; so files without one can be written.
fn content(text: &str) -> Vec<u8> {
    text.strip_suffix("\\\n")
        .map_or(text, |text| text.strip_suffix('\n').unwrap_or(text))
        .into()
}

fn in_memory(case: &Case) -> (MemoryFiles, String) {
    let mut files = MemoryFiles::new();
    for (name, text) in &case.files {
        files.put(&format!("{ROOT}/{name}"), content(text));
    }
    let directory = format!("{ROOT}/{}", case.directory);
    (files, directory.trim_end_matches("/.").to_owned())
}

/// What is built here, and where a refusal points.
fn ours(case: &Case) -> (Outcome, Option<String>) {
    let (files, directory) = in_memory(case);
    outcome(build(&files, &NoTools, &directory, &Options::default()))
}

fn outcome(result: Result<Build, Box<Failure>>) -> (Outcome, Option<String>) {
    match result {
        Ok(built) => {
            let said = built.warnings.iter().map(|warning| format!("{warning}\n")).collect();
            (
                Outcome {
                    output: Some(built.text()),
                    said,
                },
                None,
            )
        }
        Err(failure) => {
            let warnings = failure.warnings.iter().map(|warning| format!("{warning}\n"));
            let said = warnings.chain([format!("{}\n", failure.message)]).collect();
            (
                Outcome { output: None, said },
                failure.place.map(|place| place.to_string()),
            )
        }
    }
}

/// The program that a variable names, else what `scripts/clients` fetched, else the one on the PATH.
fn reference(variable: &str, fetched: &str, name: &str) -> PathBuf {
    let clients = env::var_os("KUBELOCAL_TEST_CLIENTS").unwrap_or_else(|| "/var/tmp/kubelocal-clients".into());
    let fetched = Path::new(&clients).join(fetched);
    let named = env::var_os(variable).map(PathBuf::from);
    named
        .or_else(|| fetched.is_file().then_some(fetched))
        .unwrap_or_else(|| name.into())
}

/// The kubectl to compare with, if it has the right Kustomize.
fn kubectl() -> Option<PathBuf> {
    let program = reference("KUBELOCAL_TEST_KUBECTL", "kubectl", "kubectl");
    let version = Command::new(&program).args(["version", "--client"]).output().ok()?;
    String::from_utf8_lossy(&version.stdout)
        .contains("Kustomize Version: v5.8.")
        .then_some(program)
}

fn theirs(program: &Path, case: &Case) -> Outcome {
    let root = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in &case.files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content(text)).expect("written");
    }
    let mut command = Command::new(program);
    command
        .arg("kustomize")
        .arg(root.path().join(&case.directory))
        .env_remove("KUBECONFIG");
    let ran = command.output().expect("kubectl runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    let real = fs::canonicalize(root.path()).expect("there");
    let lines = said.lines().map(|line| line.replace(&*real.to_string_lossy(), ROOT));
    // Go's logger begins lines with the time and its own place.
    let without_time = lines.map(
        |line| match line.split_once("] ").filter(|(head, _)| head.contains(" log.go:")) {
            Some((_, said)) => said.to_owned(),
            None => line,
        },
    );
    // Where the reference panics, its stack says nothing to anyone here.
    let without_stack = without_time.take_while(|line| !line.starts_with("goroutine "));
    Outcome {
        output: ran
            .status
            .success()
            .then(|| String::from_utf8_lossy(&ran.stdout).into_owned()),
        said: without_stack.map(|line| line + "\n").collect(),
    }
}

/// Where and why an overlay is refused here, as it is recorded.
fn refusal(outcome: &Outcome, place: Option<&String>) -> String {
    let said = outcome.said.trim_end();
    format!("{}\n{said}\n", place.map_or("no place", String::as_str))
}

/// What was said of deprecated fields before an overlay was refused, by us or by the reference.
fn deprecations(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("# Warning:")).collect()
}

fn difference(case: &Case, recorded: &Outcome) -> Option<String> {
    let (ours, place) = ours(case);
    let shown = |outcome: &Outcome| match &outcome.output {
        Some(output) => format!("{output}--- said:\n{}", outcome.said),
        None => format!("refused: {}\n", outcome.said),
    };
    let is_same = match (&ours.output, &recorded.output) {
        (Some(ours_text), Some(theirs)) => ours_text == theirs && ours.said == recorded.said,
        (None, None) => {
            let is_as_recorded = case
                .ours
                .as_ref()
                .is_none_or(|text| *text == refusal(&ours, place.as_ref()));
            (place.is_some() || !case.has_place)
                && is_as_recorded
                && deprecations(&ours.said) == deprecations(&recorded.said)
        }
        _ => false,
    };
    let at = place.map(|place| format!("(at {place})\n")).unwrap_or_default();
    (!is_same).then(|| {
        format!(
            "=== {}\n<<< ours {at}{}>>> reference\n{}",
            case.name,
            shown(&ours),
            shown(recorded)
        )
    })
}

#[test]
fn overlays_build_as_kustomize_builds_them() {
    let mut wrong = String::new();
    let mut count = 0;
    for topic in topics() {
        let text = fs::read_to_string(&topic).expect("a topic");
        for case in parse(&text) {
            count += 1;
            let Some(recorded) = &case.recorded else {
                writeln!(wrong, "=== {}: nothing is recorded", case.name).expect("written");
                continue;
            };
            if recorded.output.is_none() && case.ours.is_none() {
                writeln!(wrong, "=== {}: why it is refused is not recorded", case.name).expect("written");
            }
            if let Some(difference) = difference(&case, recorded) {
                let topic = topic.file_stem().unwrap_or_default().to_string_lossy();
                writeln!(wrong, "[{topic}] {difference}").expect("written");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 200, "the corpus has {count} cases");
}

#[test]
fn what_is_built_again_is_as_if_built_from_nothing() {
    let options = Options::default();
    for topic in topics() {
        let text = fs::read_to_string(&topic).expect("a topic");
        for case in parse(&text) {
            let (mut files, directory) = in_memory(&case);
            let mut cache = Cache::default();
            let mut check = |files: &MemoryFiles, change: &str| {
                let again = rebuild(files, &NoTools, &directory, &options, &mut cache);
                let anew = build(files, &NoTools, &directory, &options);
                assert_eq!(outcome(again), outcome(anew), "{}: {change}", case.name);
            };
            check(&files, "the first time");
            check(&files, "nothing changed");
            for (name, text) in &case.files {
                let path = format!("{ROOT}/{name}");
                // Its last line gone, its first line doubled, other numbers in it, and as it was.
                let shorter = text.trim_end().rsplit_once('\n').map_or("", |(rest, _)| rest);
                let first = text.split_inclusive('\n').next().unwrap_or_default();
                for (change, changed) in [
                    ("shorter", content(shorter)),
                    ("longer", content(&format!("{first}{text}"))),
                    ("another", content(&text.replace('1', "7").replace(": a", ": bc"))),
                    ("as it was", content(text)),
                ] {
                    files.put(&path, changed);
                    check(&files, &format!("{name} is {change}"));
                }
            }
        }
    }
}

#[test]
fn a_large_overlay_builds_as_the_installed_kubectl_builds_it() {
    let Some(program) = kubectl() else {
        eprintln!("SKIPPED: no kubectl with Kustomize 5.8 here; a large overlay was not compared with it");
        return;
    };
    let case = Case {
        name: "five hundred resources".to_owned(),
        directory: "top".to_owned(),
        has_place: true,
        files: large::overlay(500),
        recorded: None,
        ours: None,
    };
    let recorded = theirs(&program, &case);
    assert!(recorded.output.is_some(), "{}", recorded.said);
    assert_eq!(difference(&case, &recorded), None);
}

/// What was said, by its lines.
fn sorted(said: &str) -> Vec<&str> {
    let mut lines: Vec<_> = said.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_records_are_what_the_installed_kubectl_prints() {
    let Some(program) = kubectl() else {
        eprintln!("SKIPPED: no kubectl with Kustomize 5.8 here; records were not checked against it");
        return;
    };
    let records = env::var_os("KUBELOCAL_TEST_RECORD").is_some();
    let mut stale = Vec::new();
    for topic in topics() {
        let text = fs::read_to_string(&topic).expect("a topic");
        let mut cases = parse(&text);
        for case in &mut cases {
            let is = theirs(&program, case);
            let is_same = case.recorded.as_ref().is_some_and(|recorded| {
                // Why it refuses may name things in no fixed order, and its warnings come in none.
                recorded.output == is.output && (is.output.is_none() || sorted(&recorded.said) == sorted(&is.said))
            });
            if !is_same {
                stale.push(case.name.clone());
                case.recorded = Some(is);
            }
            let (outcome, place) = ours(case);
            case.ours = outcome.output.is_none().then(|| refusal(&outcome, place.as_ref()));
        }
        if records {
            fs::write(&topic, write(&cases)).expect("written");
        }
    }
    assert!(
        records || stale.is_empty(),
        "the reference prints something else for {stale:#?}"
    );
}

#[test]
fn overlays_made_at_random_build_as_the_installed_kubectl_builds_them() {
    let Some(program) = kubectl() else {
        eprintln!("SKIPPED: no kubectl with Kustomize 5.8 here; random overlays were not compared with it");
        return;
    };
    let seconds = env::var("KUBELOCAL_TEST_RANDOM_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let end = Instant::now() + Duration::from_secs(seconds);
    let config = Config {
        cases: 10,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let overlays = random::overlay();
    let (built, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    while Instant::now() < end {
        // A runner counts its cases for good, so each round has its own. Unlike the default generator of numbers, this one
        // costs nothing without optimization; what fails is printed whole, so that nobody needs the seed.
        let seed = [RandomState::new(), RandomState::new()].map(|state| state.hash_one(0).to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::XorShift, &seed.concat());
        let mut runner = TestRunner::new_with_rng(config.clone(), rng);
        let outcome = runner.run(&overlays, |case| {
            let recorded = theirs(&program, &case);
            let count = if recorded.output.is_some() { &built } else { &refused };
            count.set(count.get() + 1);
            match difference(&case, &recorded) {
                None => Ok(()),
                Some(difference) => Err(TestCaseError::fail(format!("{}\n{difference}", write(&[case])))),
            }
        });
        if let Err(TestError::Fail(reason, _)) = outcome {
            panic!("{reason}");
        }
    }
    eprintln!("{} random overlays were built, {} refused", built.get(), refused.get());
    assert!(
        built.get() > refused.get() / 4,
        "most random overlays are nonsense: {} of {}",
        refused.get(),
        built.get()
    );
}
