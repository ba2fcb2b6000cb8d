//! `buildMetadata`: where objects come from and what changed them, as annotations.

use serde_json::Value;

use super::paths;
use super::remote::RepoSpec;
use super::resid::ResId;
use super::yaml::{Node, from_json, print_node};

/// Where something comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    path: String,
    repo: String,
    reference: String,
    configured_in: String,
    /// The configuration: apiVersion, kind, name, namespace.
    configured_by: [String; 4],
}

impl Origin {
    /// The same with a path appended; a URL begins anew.
    #[must_use]
    pub fn append(&self, path: &str) -> Self {
        let mut appended = self.clone();
        match RepoSpec::parse(path) {
            Some(spec) => {
                appended.repo = spec.clone_url();
                appended.reference = spec.reference;
                appended.path = paths::join("", &spec.directory);
            }
            None => appended.path = paths::join(&self.path, path),
        }
        appended
    }

    /// What a built-in generator or transformer makes, configured in a kustomization file.
    pub fn by_builtin(&self, file: &str, kind: &str) -> Self {
        Self {
            path: String::new(),
            repo: self.repo.clone(),
            reference: self.reference.clone(),
            configured_in: paths::join(&self.path, file),
            configured_by: ["builtin".to_owned(), kind.to_owned(), String::new(), String::new()],
        }
    }

    /// What a generator or transformer makes whose configuration is an object from here.
    pub fn by_plugin(&self, id: &ResId) -> Self {
        Self {
            path: String::new(),
            repo: self.repo.clone(),
            reference: self.reference.clone(),
            configured_in: self.path.clone(),
            configured_by: [
                id.gvk.api_version(),
                id.gvk.kind.clone(),
                id.name.clone(),
                id.namespace.clone(),
            ],
        }
    }

    fn node(&self) -> Node {
        let mut node = Node::mapping();
        let set = |node: &mut Node, name: &str, text: &str| {
            if !text.is_empty() {
                // In quotes where a YAML 1.1 reader would take it for something else.
                let text = from_json(&Value::from(text)).unwrap_or_else(|_| Node::string(text));
                node.set(name, text);
            }
        };
        set(&mut node, "path", &self.path);
        set(&mut node, "repo", &self.repo);
        set(&mut node, "ref", &self.reference);
        set(&mut node, "configuredIn", &self.configured_in);
        let mut by = Node::mapping();
        for (name, text) in ["apiVersion", "kind", "name", "namespace"]
            .iter()
            .zip(&self.configured_by)
        {
            set(&mut by, name, text);
        }
        if !by.is_empty_mapping() {
            node.set("configuredBy", by);
        }
        node
    }

    /// The annotation's text.
    pub fn text(&self) -> String {
        print_node(&self.node())
    }

    /// The text of a list of changes, one longer than before.
    pub fn text_after(&self, before: &str) -> String {
        format!("{before}{}", print_node(&Node::sequence([self.node()])))
    }
}
