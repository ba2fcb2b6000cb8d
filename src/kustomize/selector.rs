//! Which objects a patch or replacement means: selectors with regular expressions, compiled.

use super::error::{Error, Result};
use super::gopattern::Pattern;
use super::graph::{Graph, Id};
use super::kustomization::Selector;
use super::resid::{Gvk, ResId};
use crate::model::LabelSelector;

/// A compiled selector.
#[derive(Debug, Clone)]
pub struct SelectorPattern {
    group: Pattern,
    version: Pattern,
    kind: Pattern,
    name: Pattern,
    namespace: Pattern,
    annotations: LabelSelector,
    labels: LabelSelector,
}

impl SelectorPattern {
    /// Compiles a selector.
    ///
    /// # Errors
    /// If a part is no pattern, or labels or annotations are selected in no known syntax.
    pub fn new(selector: &Selector) -> Result<Self> {
        let texts = |text: &str| LabelSelector::parse(text).map_err(|error| Error::kustomization(error.to_string()));
        let id = &selector.id;
        let compile = || {
            Ok(Self {
                group: Pattern::anchored(&id.gvk.group)?,
                version: Pattern::anchored(&id.gvk.version)?,
                kind: Pattern::anchored(&id.gvk.kind)?,
                name: Pattern::anchored(&id.name)?,
                namespace: Pattern::anchored(&id.namespace)?,
                annotations: texts(&selector.annotations)?,
                labels: texts(&selector.labels)?,
            })
        };
        compile().map_err(|error: Error| error.at(selector.pos))
    }

    /// Whether a type is meant.
    pub fn fits_gvk(&self, gvk: &Gvk) -> bool {
        self.group.is_in(&gvk.group) && self.version.is_in(&gvk.version) && self.kind.is_in(&gvk.kind)
    }

    /// Whether a name is meant.
    pub fn fits_name(&self, name: &str) -> bool {
        self.name.is_in(name)
    }

    /// Whether a namespace is meant.
    pub fn fits_namespace(&self, namespace: &str) -> bool {
        self.namespace.is_in(namespace)
    }

    /// Whether type, name and namespace are meant, as they are written.
    pub fn fits_id(&self, id: &ResId) -> bool {
        self.fits_gvk(&id.gvk) && self.fits_name(&id.name) && self.fits_namespace(&id.namespace)
    }

    /// Whether an object's labels and annotations are meant.
    pub fn fits_texts(&self, graph: &Graph, root: Id) -> bool {
        let fits = |selector: &LabelSelector, field: &str| {
            selector.is_empty() || {
                let texts = graph.meta_texts(root, field);
                selector.matches(&texts.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect())
            }
        };
        fits(&self.labels, "labels") && fits(&self.annotations, "annotations")
    }
}
