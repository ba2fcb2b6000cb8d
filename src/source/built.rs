//! Overlays built in-process, and what the gate makes of each of their documents.
//!
//! Problems and objects stand at the file and line that they come from: a base, a patch, a generator. Documents that are as
//! they were are not admitted again.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admit::{Admitted, Location, Place, Problem, Severity, admit_file_in};
use crate::kustomize::{self, Build, Cache, Contents, Disk, Failure, Options, Programs};

use super::overlay::External;
use super::reader::{hash_of, read_regular};
use super::tree::Dependencies;

/// What overlays may do here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlays {
    /// Where an installed program is found that builds them, if one is to.
    pub external: Option<External>,
    /// Helm, if charts may be rendered.
    pub helm: Option<PathBuf>,
    /// Where repositories are kept, if they may be fetched.
    pub repositories: Option<PathBuf>,
}

/// What was made of an overlay's documents, by what they are.
#[derive(Debug, Default)]
pub struct Memory {
    documents: HashMap<u64, Arc<Admitted>>,
    contents: Contents,
    cache: Cache,
}

/// A reading of an overlay.
#[derive(Debug)]
pub struct BuiltOverlay {
    /// What it names, or why it can't be built.
    pub found: Result<Admitted, Problem>,
    /// What it is, to tell whether it changed; `None` if it can't be built.
    pub content: Option<u64>,
    /// What the build looked at.
    pub looked_at: Dependencies,
}

/// Builds an overlay and admits what it names. Files that changed after `settled`, in nanoseconds since 1970, are not
/// remembered.
pub fn build(
    directory: &Path,
    overlays: &Overlays,
    namespace: &str,
    settled: i128,
    memory: &mut Memory,
) -> BuiltOverlay {
    let Some(path) = directory.to_str() else {
        return BuiltOverlay {
            found: Err(problem(directory, 1, "the path is no text".to_owned())),
            content: None,
            looked_at: Dependencies::default(),
        };
    };
    let programs = Programs {
        helm: overlays.helm.clone(),
        repositories: overlays.repositories.clone(),
    };
    let options = Options {
        enable_helm: overlays.helm.is_some(),
        ..Options::default()
    };
    let disk = Disk::knowing(&memory.contents, settled);
    match kustomize::rebuild(&disk, &programs, path, &options, &mut memory.cache) {
        Ok(built) => {
            let looked_at = dependencies(&built.looked_at, &built.listed);
            let (found, content) = admit(directory, &built, namespace, memory);
            BuiltOverlay {
                found: Ok(found),
                content: Some(content),
                looked_at,
            }
        }
        Err(failure) => BuiltOverlay {
            looked_at: dependencies(&failure.looked_at, &failure.listed),
            found: Err(of_failure(directory, &failure)),
            content: None,
        },
    }
}

fn dependencies(looked_at: &BTreeSet<String>, listed: &BTreeSet<String>) -> Dependencies {
    let paths = |names: &BTreeSet<String>| names.iter().map(PathBuf::from).collect();
    Dependencies {
        paths: paths(looked_at),
        listed: paths(listed),
    }
}

fn of_failure(directory: &Path, failure: &Failure) -> Problem {
    match &failure.place {
        Some(place) => problem(Path::new(&place.file), place.line, failure.message.clone()),
        None => problem(directory, 1, failure.message.clone()),
    }
}

fn problem(file: &Path, line: u32, message: String) -> Problem {
    Problem {
        location: Location {
            file: file.into(),
            at: Place { line, column: 1 },
        },
        severity: Severity::Error,
        message,
        source_line: line_of(file, line),
    }
}

/// Moves a problem of an overlay's output to the place that its line comes from.
pub fn move_problem(problem: &mut Problem, place: Option<kustomize::Place>) {
    if let Some(place) = place {
        move_to(&mut problem.location, &place);
        problem.source_line = line_of(Path::new(&place.file), place.line);
    }
}

fn move_to(location: &mut Location, place: &kustomize::Place) {
    location.file = Path::new(&place.file).into();
    location.at = Place {
        line: place.line,
        column: 1,
    };
}

/// A line of a file, for people to see; nothing if it can't be read any more.
fn line_of(file: &Path, line: u32) -> String {
    let text = read_regular(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let at = usize::try_from(line).unwrap_or_default().saturating_sub(1);
    text.lines().nth(at).unwrap_or_default().to_owned()
}

fn admit(directory: &Path, built: &Build, namespace: &str, memory: &mut Memory) -> (Admitted, u64) {
    let (mut hashes, mut documents) = (Vec::new(), HashMap::new());
    let mut all = Admitted {
        objects: Vec::new(),
        problems: Vec::new(),
    };
    for (at, document) in built.documents().iter().enumerate() {
        let place = built.place_of_line_in(at, 1);
        let hash = hash_of(&(&document.text, place.as_ref().map(|place| (&place.file, place.line))));
        let known = memory.documents.remove(&hash);
        let admitted = known.unwrap_or_else(|| Arc::new(admit_document(directory, built, at, namespace)));
        all.objects.extend(admitted.objects.iter().cloned());
        all.problems.extend(admitted.problems.iter().cloned());
        documents.insert(hash, admitted);
        hashes.push(hash);
    }
    memory.documents = documents;
    for warning in &built.warnings {
        let message = warning.trim_start_matches("# Warning: ").to_owned();
        all.problems.push(Problem {
            severity: Severity::Warning,
            ..problem(directory, 1, message)
        });
    }
    (all, hash_of(&(hashes, &built.warnings)))
}

fn admit_document(directory: &Path, built: &Build, at: usize, namespace: &str) -> Admitted {
    let document = &built.documents()[at];
    let mut admitted = admit_file_in(directory, document.text.as_bytes(), namespace);
    let origin = |location: &Location| built.place_of_line_in(at, location.at.line);
    let move_problem = |problem: &mut Problem| move_problem(problem, origin(&problem.location));
    admitted.problems.iter_mut().for_each(move_problem);
    for object in &mut admitted.objects {
        if let Some(place) = origin(&object.location) {
            move_to(&mut object.location, &place);
        }
        object.warnings.iter_mut().for_each(move_problem);
    }
    admitted
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_overlay_built_again_with_its_memory_is_what_one_built_anew_is() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let put = |name: &str, text: &str| fs::write(root.path().join(name), text).expect("written");
        let map = |name: &str, value: &str| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: {value}}}\n")
        };
        put("kustomization.yaml", "resources: [a.yaml, b.yaml]\nnamePrefix: dev-\n");
        put("a.yaml", &map("a", "one"));
        put("b.yaml", &map("b", "one"));
        let overlays = Overlays::default();
        let mut memory = Memory::default();
        let mut seen = Vec::new();
        for value in ["one", "two", "two", "three"] {
            put("b.yaml", &map("b", value));
            let again = build(root.path(), &overlays, "default", 0, &mut memory);
            let anew = build(root.path(), &overlays, "default", 0, &mut Memory::default());
            assert_eq!(again.content, anew.content, "{value}");
            assert_eq!(again.looked_at, anew.looked_at, "{value}");
            let objects = again.found.expect("built").objects;
            let data: Vec<_> = objects
                .iter()
                .map(|object| object.config["data"]["key"].clone())
                .collect();
            assert_eq!(data, ["one", value]);
            seen.push(again.content);
        }
        assert_eq!(seen[1], seen[2]);
        assert_ne!(seen[0], seen[1]);
    }
}
