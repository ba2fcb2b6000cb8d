//! Overlays that are handed over (`--external`): built by the kustomize or kubectl that is installed, for what is not run
//! in-process: functions and programs. Both are told to run them, since that is what they were asked for.
//!
//! Holds which files such an overlay depends on, as far as that can be told from outside, and how the tool is run; what it
//! prints is read like any file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::reader::read_regular;
use super::tree::{Tree, walk_reference};
use crate::admit::yaml_values;
use crate::kustomize::FILE_NAMES;
use crate::os::{find_program_on, run_bounded};

/// How long a build may take. Overlays with remote bases clone repositories; one that hangs must not stop its source for ever.
const BUILD_LIMIT: Duration = Duration::from_secs(120);

/// How many directories the references of one overlay are followed through.
const MAX_REFERENCES: usize = 500;

/// Where and how overlays are handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct External {
    /// The PATH on which tools are looked for, and what they run in turn: that of whoever asked, which the node's own may
    /// know nothing of.
    pub search_path: OsString,
    /// Helm, if charts may be rendered.
    pub helm: Option<PathBuf>,
}

/// A tool that builds overlays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Builder {
    program: PathBuf,
    arguments: &'static [&'static str],
    external: External,
}

const KUBECTL_VERB: &str = "kustomize";

/// The tools in the order in which they are looked for, and how they are told to run functions, for which they are called.
/// Only kustomize runs those that are programs; kubectl has no such option.
const KNOWN: [(&str, &[&str]); 2] = [
    ("kustomize", &["build", "--enable-alpha-plugins", "--enable-exec"]),
    ("kubectl", &[KUBECTL_VERB, "--enable-alpha-plugins"]),
];

impl Builder {
    /// The tool that is installed.
    pub fn find(external: &External) -> Option<Self> {
        KNOWN.into_iter().find_map(|(name, arguments)| {
            Some(Self {
                program: find_program_on(&external.search_path, name)?,
                arguments,
                external: external.clone(),
            })
        })
    }

    /// Builds an overlay and returns what it prints. Blocks.
    ///
    /// # Errors
    /// Why it can't be built, in the tool's words.
    pub fn build(&self, overlay: &Path) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments)
            .arg(overlay)
            .env("PATH", &self.external.search_path);
        if let Some(helm) = &self.external.helm {
            command.arg("--enable-helm").arg("--helm-command").arg(helm);
        }
        let program = self.program.display();
        let output = run_bounded(&mut command, BUILD_LIMIT).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => format!("{program} {error}"),
            _ => format!("{program}: {error}"),
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.trim().trim_start_matches("Error: ").trim_start_matches("error: ");
        Err(if words.is_empty() {
            format!("the build ended with {}", output.status)
        } else {
            words.to_owned()
        })
    }

    /// What the tool does not do and does not say.
    pub fn caveat(&self) -> Option<&'static str> {
        (self.arguments.first() == Some(&KUBECTL_VERB)).then_some(
            "built by kubectl, which passes over functions that are programs without a word; an installed `kustomize` \
             runs them",
        )
    }
}

/// What to say where there is no tool.
pub const NO_BUILDER: &str =
    "this overlay is to be built by an external program, but neither `kustomize` nor `kubectl` is on the PATH";

/// Adds to each overlay of the tree the files outside its directory that it refers to: bases, components, patches, files.
///
/// Whatever text in a kustomization names something that exists is taken for a reference; one file too many is watched at
/// worst.
pub fn follow_references(tree: &mut Tree) {
    let overlays: Vec<PathBuf> = tree.overlays.keys().cloned().collect();
    for overlay in overlays {
        walk_reference(tree, &overlay, &overlay);
        let mut seen = BTreeSet::new();
        let mut queue = vec![overlay.clone()];
        while let Some(directory) = queue.pop() {
            if seen.len() >= MAX_REFERENCES || !seen.insert(fs::canonicalize(&directory).unwrap_or_default()) {
                continue;
            }
            for target in references_of(&directory) {
                if !target.starts_with(&overlay) {
                    walk_reference(tree, &overlay, &target);
                }
                if target.is_dir() {
                    queue.push(target);
                }
            }
        }
    }
}

fn references_of(directory: &Path) -> Vec<PathBuf> {
    let Some(text) = FILE_NAMES
        .iter()
        .find_map(|name| read_regular(&directory.join(name)).ok())
    else {
        return Vec::new();
    };
    let mut words = Vec::new();
    yaml_values(&text).iter().for_each(|value| texts(value, &mut words));
    let candidates = words.iter().map(|word| {
        // Generators name files as `key=path`.
        let path = word.rsplit_once('=').map_or(word.as_str(), |(_, path)| path);
        normal(&directory.join(path))
    });
    candidates.filter(|path| path.exists() && path != directory).collect()
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        // Whole patches stand in kustomizations as text; no path is that long or has lines.
        Value::String(text) if text.len() < 1024 && !text.contains('\n') && !text.is_empty() => {
            found.push(text.clone())
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Takes `.` and `a/..` out of a path by its text, so that it can be compared with the overlay's own.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::source::tree::walk;

    /// An installed tool that prints how it was called.
    fn install(directory: &Path, name: &str, script: &str) {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    }

    #[test]
    fn the_tool_on_the_callers_path_is_told_to_run_functions() {
        let (root, overlay) = (tempfile::tempdir().expect("made"), Path::new("/overlay"));
        let external = External {
            search_path: format!("{}:/usr/bin:/bin", root.path().display()).into(),
            helm: None,
        };
        let built = |external: &External| {
            let builder = Builder::find(external).expect("installed");
            let bytes = builder.build(overlay)?;
            Ok::<_, String>(String::from_utf8(bytes).expect("text"))
        };
        install(root.path(), "kubectl", "echo \"$@\"");
        let by_kubectl = "kustomize --enable-alpha-plugins /overlay\n";
        assert_eq!(built(&external).as_deref(), Ok(by_kubectl));
        assert!(Builder::find(&external).expect("installed").caveat().is_some());
        install(root.path(), "kustomize", "echo \"$@\"; echo \"${PATH%%:*}\"");
        let search_path = root.path().display();
        let by_kustomize = format!("build --enable-alpha-plugins --enable-exec /overlay\n{search_path}\n");
        assert_eq!(built(&external), Ok(by_kustomize));
        let with_helm = External {
            helm: Some("/x/helm".into()),
            ..external.clone()
        };
        let said = built(&with_helm).expect("built");
        assert!(
            said.contains("/overlay --enable-helm --helm-command /x/helm\n"),
            "{said}"
        );
        install(root.path(), "kustomize", "echo 'Error: no such function' >&2; exit 1");
        assert_eq!(built(&external), Err("no such function".to_owned()));
    }

    #[test]
    fn an_overlay_depends_on_all_that_it_refers_to() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        put(
            "over/kustomization.yaml",
            "resources: [../base, own.yaml]\nconfigMapGenerator:\n- name: c\n  files: [app.conf=../shared/app.conf]\n",
        );
        put("over/own.yaml", "");
        put("base/kustomization.yaml", "resources: [deep.yaml, ../deeper]\n");
        put("base/deep.yaml", "");
        put("deeper/kustomization.yaml", "resources: [../over]\n");
        put("shared/app.conf", "");
        put("unrelated/x.yaml", "");
        let over = root.path().join("over");
        let mut tree = walk(&over).expect("there");
        follow_references(&mut tree);
        let names: Vec<String> = tree.overlays[&over]
            .keys()
            .map(|path| path.strip_prefix(root.path()).expect("below").display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                "base/deep.yaml",
                "base/kustomization.yaml",
                "deeper/kustomization.yaml",
                "over/kustomization.yaml",
                "over/own.yaml",
                "shared/app.conf"
            ]
        );
        assert!(tree.directories.contains_key(&root.path().join("base")));
    }
}
