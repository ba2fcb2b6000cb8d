//! `-f`, `-R` and `-k`: manifests that a verb works on, read from files, directories, overlays and standard input.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::client::Resource;
use super::error::{CliError, ErrorKind, Result};
use crate::admit::{AdmittedObject, FieldPath, Location, Problem, Severity, SourceText, SpanTree, admit_file_in};
use crate::kustomize::{self, Build};
use crate::model::KINDS;
use crate::source::{Builder, External, NO_BUILDER, move_problem};

/// Which manifests.
#[derive(Debug, Clone, Default, Args)]
pub struct Files {
    /// A file, a directory, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH|-")]
    filenames: Vec<String>,
    /// With a directory, those below it too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// A directory with a kustomization.yaml
    #[arg(short = 'k', long = "kustomize", value_name = "DIR", conflicts_with = "filenames")]
    kustomize: Option<String>,
    /// Have an installed kustomize or kubectl build overlays and run the functions and programs that they name
    #[arg(long)]
    external: bool,
}

/// One object of a file.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The object as its author wrote it, with its namespace filled in.
    pub object: Value,
    /// What to ask the node about it.
    pub resource: Resource,
    text: Arc<Text>,
    spans: SpanTree,
}

/// A file's name and content, kept to show lines of it.
#[derive(Debug)]
struct Text {
    name: PathBuf,
    content: Vec<u8>,
    /// The overlay that it was built from, which knows where each line comes from.
    built: Option<Build>,
}

impl Text {
    /// The same problem where the line comes from that it is about.
    fn at_origin(&self, mut problem: Problem) -> Problem {
        let line = problem.location.at.line;
        move_problem(
            &mut problem,
            self.built.as_ref().and_then(|built| built.place_of_line(line)),
        );
        problem
    }
}

impl Manifest {
    /// The file as the user named it.
    #[must_use]
    pub fn file(&self) -> String {
        self.text.name.display().to_string()
    }

    /// An error at the place of a field, as `metav1.Status` names it (`spec.containers[0].image`).
    #[must_use]
    pub fn error_at(&self, field: &str, message: &str) -> Problem {
        let content = String::from_utf8_lossy(&self.text.content);
        let source = SourceText::new(self.text.name.as_path().into(), &content);
        let message = if field.is_empty() {
            message.to_owned()
        } else {
            format!("{field}: {message}")
        };
        let problem = source.error(self.spans.locate(&FieldPath::from(field)), message);
        self.text.at_origin(problem)
    }
}

impl Manifest {
    /// What the file says at and below a field: paths, values and where they were written. Nothing if it does not name the field.
    #[must_use]
    pub fn fields(&self, below: &FieldPath) -> Vec<(FieldPath, &Value, Location)> {
        let content = String::from_utf8_lossy(&self.text.content);
        let source = SourceText::new(self.text.name.as_path().into(), &content);
        let leaves = self.spans.leaves(below).into_iter();
        let written = leaves.filter_map(|(path, at)| {
            let value = path.find(&self.object)?;
            let location = self.text.at_origin(source.error(at, String::new())).location;
            Some((path, value, location))
        });
        written.collect()
    }
}

impl Files {
    /// One path, as if it had been given with `-f`, directories with all below them.
    #[must_use]
    pub fn of_path(path: &Path, external: bool) -> Self {
        Self {
            filenames: vec![path.to_string_lossy().into_owned()],
            recursive: true,
            external,
            ..Self::default()
        }
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filenames.is_empty() && self.kustomize.is_none()
    }

    /// Every object of the manifests, in the order in which they can be made: what others need first. They have passed the
    /// same gate that the node has; its warnings go to standard error.
    ///
    /// # Errors
    /// When a path is missing or anything in a file is refused; every problem is in the message, with its place.
    pub fn read(&self, namespace: &str) -> Result<Vec<Manifest>> {
        let (mut manifests, mut problems) = (Vec::new(), Vec::new());
        for text in self.texts()? {
            let text = Arc::new(text);
            let admitted = admit_file_in(&text.name, &text.content, namespace);
            problems.extend(admitted.problems.into_iter().map(|problem| text.at_origin(problem)));
            manifests.extend(admitted.objects.into_iter().map(|object| manifest(object, &text)));
        }
        let (errors, warnings): (Vec<Problem>, Vec<Problem>) = problems
            .into_iter()
            .partition(|problem| problem.severity == Severity::Error);
        for warning in warnings {
            eprintln!("{warning}");
        }
        refuse(&errors)?;
        // The table of kinds lists what others need last.
        manifests
            .sort_by_key(|manifest| std::cmp::Reverse(KINDS.iter().position(|kind| kind == manifest.resource.kind)));
        Ok(manifests)
    }

    /// Only what the manifests name, each with its file.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn read_refs(&self, namespace: &str) -> Result<Vec<(Resource, String)>> {
        let manifests = self.read(namespace)?;
        Ok(manifests
            .into_iter()
            .map(|manifest| (manifest.resource.clone(), manifest.file()))
            .collect())
    }

    fn texts(&self) -> Result<Vec<Text>> {
        if let Some(directory) = &self.kustomize {
            return Ok(vec![self.overlay(Path::new(directory))?]);
        }
        let mut texts = Vec::new();
        for name in &self.filenames {
            if name == "-" {
                let mut content = Vec::new();
                std::io::stdin().read_to_end(&mut content)?;
                texts.push(Text {
                    name: "-".into(),
                    content,
                    built: None,
                });
            } else if name.starts_with("http://") || name.starts_with("https://") {
                return Err(CliError::usage(format_args!(
                    "{name}: manifests are not fetched; `curl {name} | kubelocal apply -f -` does"
                )));
            } else {
                self.read_path(Path::new(name), &mut texts)?;
            }
        }
        Ok(texts)
    }

    fn overlay(&self, directory: &Path) -> Result<Text> {
        if self.external {
            handed_over(directory)
        } else {
            built(directory)
        }
    }

    fn read_path(&self, path: &Path, texts: &mut Vec<Text>) -> Result {
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => CliError::usage(format_args!("the path {path:?} does not exist")),
            _ => at_path(path, &error),
        })?;
        if !metadata.is_dir() {
            texts.push(read_file(path)?);
        } else if is_overlay(path) {
            texts.push(self.overlay(path)?);
        } else {
            self.read_directory(path, texts)?;
        }
        Ok(())
    }

    fn read_directory(&self, directory: &Path, texts: &mut Vec<Text>) -> Result {
        let entries = std::fs::read_dir(directory).map_err(|error| at_path(directory, &error))?;
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<PathBuf>>>()?;
        paths.sort();
        for path in paths {
            if path.is_dir() {
                if self.recursive {
                    self.read_directory(&path, texts)?;
                }
            } else if is_manifest(&path) {
                texts.push(read_file(&path)?);
            }
        }
        Ok(())
    }
}

/// All errors at once, so that a file is mended in one go.
///
/// # Errors
/// There is one.
pub fn refuse(errors: &[Problem]) -> Result {
    if errors.is_empty() {
        return Ok(());
    }
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(CliError {
        message: errors.join("\n"),
        ..CliError::silent(ErrorKind::Local)
    })
}

fn manifest(admitted: AdmittedObject, text: &Arc<Text>) -> Manifest {
    let key = admitted.object.key();
    Manifest {
        resource: Resource::object(key.kind(), &key.namespace, &key.name),
        object: admitted.config,
        text: Arc::clone(text),
        spans: admitted.spans,
    }
}

fn read_file(path: &Path) -> Result<Text> {
    let content = std::fs::read(path).map_err(|error| at_path(path, &error))?;
    Ok(Text {
        name: path.to_owned(),
        content,
        built: None,
    })
}

fn at_path(path: &Path, error: &std::io::Error) -> CliError {
    CliError::local(format_args!("{}: {error}", path.display()))
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn is_overlay(directory: &Path) -> bool {
    kustomize::FILE_NAMES.iter().any(|name| directory.join(name).is_file())
}

/// An overlay's documents.
fn built(directory: &Path) -> Result<Text> {
    let options = kustomize::Options::default();
    let built = super::kustomize::build_at(directory, &kustomize::Programs::default(), &options)?;
    Ok(Text {
        name: directory.to_owned(),
        content: built.text().into_bytes(),
        built: Some(built),
    })
}

/// An overlay's documents, from whichever program is installed.
fn handed_over(directory: &Path) -> Result<Text> {
    let external = External {
        search_path: std::env::var_os("PATH").unwrap_or_default(),
        helm: None,
    };
    let at_directory = |why: &str| CliError::local(format_args!("{}: {why}", directory.display()));
    let builder = Builder::find(&external)
        .ok_or_else(|| at_directory(NO_BUILDER).with_hint("install `kustomize` or `kubectl`"))?;
    if let Some(caveat) = builder.caveat() {
        eprintln!("# Warning: {caveat}");
    }
    Ok(Text {
        name: directory.to_owned(),
        content: builder.build(directory).map_err(|why| at_directory(&why))?,
        built: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&Path]) -> Files {
        let filenames = paths.iter().map(|path| path.display().to_string()).collect();
        Files {
            filenames,
            ..Files::default()
        }
    }

    #[test]
    fn a_directory_is_read_in_order_and_what_others_need_comes_first() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| std::fs::write(tmp.path().join(name), text).expect("written");
        write(
            "a.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: a}]}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: x}\n",
        );
        write(
            "b.json",
            "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"x\"}}",
        );
        write("notes.txt", "not a manifest");
        let manifests = files(&[tmp.path()]).read("default").expect("reads");
        let paths: Vec<String> = manifests.iter().map(|manifest| manifest.resource.path()).collect();
        let wanted = [
            "/api/v1/namespaces/x",
            "/api/v1/namespaces/x/configmaps/c",
            "/api/v1/namespaces/default/pods/web",
        ];
        assert_eq!(paths, wanted);
        assert_eq!(manifests[2].object["metadata"]["namespace"], "default");
    }

    #[test]
    fn every_error_is_told_at_its_place() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let path = tmp.path().join("a.yaml");
        std::fs::write(&path, "apiVersion: v1\nkind: Foo\n---\nkind: Pod\n---\na: [\n").expect("written");
        let error = files(&[&path]).read("default").expect_err("three errors").message;
        for place in ["a.yaml:2:", "a.yaml:4:", "a.yaml:6:"] {
            assert!(error.contains(place), "{place} in {error}");
        }
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = files(&[Path::new("/no/such/path")])
            .read("default")
            .expect_err("missing");
        assert_eq!(error.message, "error: the path \"/no/such/path\" does not exist");
    }

    #[test]
    fn an_error_of_the_server_is_shown_in_the_file() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let path = tmp.path().join("a.yaml");
        std::fs::write(
            &path,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  key: value\n",
        )
        .expect("written");
        let manifests = files(&[&path]).read("default").expect("reads");
        let shown = manifests[0]
            .error_at("data", "Forbidden: field is immutable")
            .to_string();
        assert!(
            shown.contains("a.yaml:4:1: error: data: Forbidden: field is immutable\n"),
            "{shown}"
        );
    }
}
