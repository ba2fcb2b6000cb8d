//! The words of `kubelocal.dev/v1alpha1 ManifestSource`: what a source of manifests is, what it made and what is wrong in it.
//! The source room writes them, the API serves them, the command line shows them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Serialize};

/// Name of the source that every node has: `<home>/manifests`.
pub const MANIFESTS_SOURCE: &str = "manifests";

/// Annotation on objects: the source that keeps them.
pub const SOURCE: &str = "kubelocal.dev/source";

/// Holds a ManifestSource until what it made is deleted.
pub const PRUNE_FINALIZER: &str = "kubelocal.dev/prune";

/// `spec` of a ManifestSource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceSpec {
    /// Absolute paths of files and directories; empty if the documents came through standard input.
    pub paths: Vec<String>,
    /// The namespace of namespaced objects that name none; empty is `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// What came through standard input, when there are no paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<String>,
    /// Overlays are built by an installed kustomize or kubectl.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// The PATH on which that program, and what it runs, is looked for; the node's own if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_path: Option<String>,
    /// The source goes with whoever registered it.
    pub ephemeral: bool,
    /// When it was last registered: each time it is read anew, whatever was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// The process with which an ephemeral source goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_pid: Option<u32>,
}

/// `status` of a ManifestSource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceStatus {
    /// The `metadata.generation` of the last reading.
    pub observed_generation: i64,
    /// `Synced`: true once what was read last is wholly in the store; false while an error stands in the way, with its
    /// reason. Unknown, or not there, before the first complete reading.
    pub conditions: Vec<Condition>,
    /// When the paths were read last with a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_change_time: Option<Time>,
    /// What the source holds in the store now.
    pub objects: Vec<SourceObject>,
    /// Errors and warnings of the last reading.
    pub problems: Vec<Problem>,
}

/// An object that a source holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceObject {
    /// `v1`, `apps/v1` …
    pub api_version: String,
    /// `Pod`, `Deployment` …
    pub kind: String,
    /// Empty for objects of the whole node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Where it is written: `file:line`. For what was built from an overlay, that is in one of its bases.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// The file, or the directory of the overlay, that it belongs to: while that can't be read, the object stays.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Of what was applied. The next node applies it again only if it reads something else, so that its start changes nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object was not taken; its last good state stays.
    #[default]
    Error,
    /// The object was taken, but something in it is not honoured as written.
    Warning,
}

/// Something wrong in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file; `-` is standard input.
    pub file: String,
    /// Line from 1; 0 if the whole file is meant.
    pub line: u32,
    /// Column from 1; 0 if the whole line is meant.
    pub column: u32,
    /// What is wrong, for people.
    pub message: String,
    /// The offending line as it is written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub excerpt: String,
}

impl std::fmt::Display for Problem {
    /// `web.yaml:7:3: unknown field "spec.foo"`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        for place in [self.line, self.column].into_iter().take_while(|place| *place > 0) {
            write!(f, ":{place}")?;
        }
        write!(f, ": {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_only_the_places_it_knows() {
        let at = |line, column| {
            let problem = Problem {
                file: "a.yaml".into(),
                line,
                column,
                message: "bad".into(),
                ..Problem::default()
            };
            problem.to_string()
        };
        assert_eq!(at(7, 3), "a.yaml:7:3: bad");
        assert_eq!(at(7, 0), "a.yaml:7: bad");
        assert_eq!(at(0, 0), "a.yaml: bad");
    }
}
