//! One object of a build, and what is noted about it on the way.
//!
//! Notes (former names, prefixes, who refers to it) are annotations while the build lasts, because the reference keeps them
//! there and it shows: a JSON patch can remove annotations from an object that had none.

use super::error::{Error, Result};
use super::graph::{Graph, Id};
use super::resid::{Gvk, ResId};
use super::yaml::FileId;

/// Names of the annotations that are removed before the output.
pub mod note {
    /// What all of these begin with.
    pub const PREFIX: &str = "internal.config.kubernetes.io/";
    /// Former kinds, separated by commas.
    pub const PREVIOUS_KINDS: &str = "internal.config.kubernetes.io/previousKinds";
    /// Former names.
    pub const PREVIOUS_NAMES: &str = "internal.config.kubernetes.io/previousNames";
    /// Former namespaces.
    pub const PREVIOUS_NAMESPACES: &str = "internal.config.kubernetes.io/previousNamespaces";
    /// Prefixes that were put before the name.
    pub const PREFIXES: &str = "internal.config.kubernetes.io/prefixes";
    /// Suffixes that were put after it.
    pub const SUFFIXES: &str = "internal.config.kubernetes.io/suffixes";
    /// On patches: that they may change names.
    pub const ALLOW_NAME_CHANGE: &str = "internal.config.kubernetes.io/allowNameChange";
    /// On patches: that they may change kinds.
    pub const ALLOW_KIND_CHANGE: &str = "internal.config.kubernetes.io/allowKindChange";
    /// The objects that refer to it.
    pub const REF_BY: &str = "internal.config.kubernetes.io/refBy";
    /// How a generated object meets one that is there.
    pub const BEHAVIOR: &str = "internal.config.kubernetes.io/generatorBehavior";
    /// That the name gets a hash of the content.
    pub const NEEDS_HASH: &str = "internal.config.kubernetes.io/needsHashSuffix";
    /// That Helm made it, so that it keeps its namespace.
    pub const HELM: &str = "internal.config.kubernetes.io/helm-generated";
    /// Where it comes from, kept if the kustomization asks for it.
    pub const ORIGIN: &str = "config.kubernetes.io/origin";
    /// What changed it, kept if the kustomization asks for it.
    pub const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";
    /// The value of switches that are on.
    pub const ENABLED: &str = "enabled";

    /// All that are removed, those of other tools on the way included.
    pub const REMOVED: [&str; 19] = [
        PREVIOUS_KINDS,
        PREVIOUS_NAMES,
        PREFIXES,
        SUFFIXES,
        PREVIOUS_NAMESPACES,
        ALLOW_NAME_CHANGE,
        ALLOW_KIND_CHANGE,
        REF_BY,
        BEHAVIOR,
        NEEDS_HASH,
        "internal.config.kubernetes.io/path",
        "internal.config.kubernetes.io/index",
        "internal.config.kubernetes.io/seqindent",
        "internal.config.kubernetes.io/id",
        "internal.config.kubernetes.io/annotations-migration-resource-id",
        "config.kubernetes.io/path",
        "config.kubernetes.io/index",
        "config.k8s.io/id",
        HELM,
    ];

    /// Whether an annotation is one that a JSON patch can't take away.
    pub fn survives_json_patches(name: &str) -> bool {
        name.starts_with(PREFIX)
            || matches!(
                name,
                "config.kubernetes.io/path" | "config.kubernetes.io/index" | "config.k8s.io/id"
            )
    }
}

/// An object.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its node; `None` once a patch deleted it.
    pub root: Option<Id>,
    /// Variables whose values are in it.
    pub ref_vars: Vec<String>,
    /// Where it was read; nothing if it was made.
    pub source: Option<Source>,
}

/// One of a file's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: FileId,
    /// Which of its objects, from zero.
    pub index: u32,
}

impl Resource {
    /// An object with nothing noted about it.
    pub fn new(root: Id) -> Self {
        Self {
            root: Some(root),
            ref_vars: Vec::new(),
            source: None,
        }
    }

    /// Whether there is nothing left of it.
    pub fn is_hollow(&self, graph: &Graph) -> bool {
        self.root.is_none_or(|root| graph.is_hollow(root))
    }
}

impl Graph {
    /// An object's type.
    pub fn gvk(&self, root: Id) -> Gvk {
        Gvk::of(self.api_version(root), self.kind_name(root))
    }

    /// What an object is called now.
    pub fn cur_id(&self, root: Id) -> ResId {
        let gvk = self.gvk(root);
        let is_cluster_scoped = self.is_cluster_scoped(&gvk);
        ResId {
            is_cluster_scoped,
            ..ResId::unscoped(gvk, self.name(root), self.namespace(root))
        }
    }

    /// What it was called before, oldest first.
    ///
    /// # Errors
    /// If the notes about it were tampered with.
    pub fn prev_ids(&self, root: Id) -> Result<Vec<ResId>> {
        let list = |name| self.annotation(root, name).unwrap_or_default().split(',');
        if self.annotation(root, note::PREVIOUS_NAMES).is_none() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = list(note::PREVIOUS_NAMES).collect();
        let namespaces: Vec<&str> = list(note::PREVIOUS_NAMESPACES).collect();
        let kinds: Vec<&str> = list(note::PREVIOUS_KINDS).collect();
        if names.len() != namespaces.len() || names.len() != kinds.len() {
            let why = "number of previous names, number of previous namespaces, number of previous kinds not equal";
            return Err(Error::object(why).at(self.pos(root)));
        }
        let api_version = self.api_version(root);
        let ids = names.iter().zip(namespaces).zip(kinds);
        Ok(ids
            .map(|((name, namespace), kind)| ResId::unscoped(Gvk::of(api_version, kind), name, namespace))
            .collect())
    }

    /// What it was called first.
    ///
    /// # Errors
    /// As [`Graph::prev_ids`].
    pub fn org_id(&self, root: Id) -> Result<ResId> {
        Ok(self
            .prev_ids(root)?
            .into_iter()
            .next()
            .unwrap_or_else(|| self.cur_id(root)))
    }

    /// All that it is and was called, the current id first; none of them knows scopes.
    ///
    /// # Errors
    /// As [`Graph::prev_ids`].
    pub fn all_ids(&self, root: Id) -> Result<Vec<ResId>> {
        let mut ids = vec![ResId::unscoped(self.gvk(root), self.name(root), self.namespace(root))];
        ids.append(&mut self.prev_ids(root)?);
        Ok(ids)
    }

    /// Notes what it is called, before that changes.
    ///
    /// # Errors
    /// If its metadata is no mapping.
    pub fn store_previous_id(&mut self, root: Id) -> Result<()> {
        let id = self.cur_id(root);
        self.append_note(root, note::PREVIOUS_NAMES, &id.name)?;
        self.append_note(root, note::PREVIOUS_NAMESPACES, id.effective_namespace())?;
        self.append_note(root, note::PREVIOUS_KINDS, &id.gvk.kind)
    }

    /// Adds to a note that is a list. Nothing is added for an empty text.
    ///
    /// # Errors
    /// If its metadata is no mapping.
    pub fn append_note(&mut self, root: Id, name: &str, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let list = match self.annotation(root, name) {
            Some(there) => format!("{there},{text}"),
            None => text.to_owned(),
        };
        self.set_annotation(root, name, &list)
    }

    /// A note that is a list.
    pub fn note_list(&self, root: Id, name: &str) -> Vec<&str> {
        self.annotation(root, name)
            .map(|list| list.split(',').collect())
            .unwrap_or_default()
    }

    /// Whether a switch is on.
    pub fn is_enabled(&self, root: Id, name: &str) -> bool {
        self.annotation(root, name) == Some(note::ENABLED)
    }

    /// Sets a note, and makes all annotations strings in order on the way.
    ///
    /// # Errors
    /// If its metadata is no mapping.
    pub fn set_note(&mut self, root: Id, name: &str, text: &str) -> Result<()> {
        let mut annotations = self.meta_texts(root, "annotations");
        annotations.insert(name.to_owned(), text.to_owned());
        self.set_meta_texts(root, "annotations", &annotations)
    }

    /// Removes annotations, and makes the others strings in order on the way.
    ///
    /// # Errors
    /// If its metadata is no mapping.
    pub fn remove_notes(&mut self, root: Id, names: &[&str]) -> Result<()> {
        let mut annotations = self.meta_texts(root, "annotations");
        annotations.retain(|name, _| !names.contains(&name.as_str()));
        self.set_meta_texts(root, "annotations", &annotations)
    }
}
