//! Prefixes and suffixes of names.

use super::Transform;
use crate::kustomize::error::{Context, Result};
use crate::kustomize::fieldspec::{Create, FieldSpec, visit};
use crate::kustomize::graph::Graph;
use crate::kustomize::resid::ResId;
use crate::kustomize::resmap::ResMap;
use crate::kustomize::resource::note;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Kind, Pos, Tag};

/// Which end of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affix {
    /// Before it.
    Prefix,
    /// After it.
    Suffix,
}

/// Adds to names.
#[derive(Debug, Clone)]
pub struct AffixTransformer {
    /// Which end.
    pub affix: Affix,
    /// What is added.
    pub text: String,
    /// The fields with names.
    pub specs: Vec<FieldSpec>,
    /// Where the text stands.
    pub pos: Pos,
}

/// Names of these are not the overlay's to change: others know them by them.
fn is_skipped(id: &ResId) -> bool {
    let gvk = &id.gvk;
    matches!(gvk.kind.as_str(), "CustomResourceDefinition" | "Namespace")
        || (gvk.kind == "APIService" && gvk.group == "apiregistration.k8s.io")
}

impl Transform for AffixTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        let graph = &mut world.graph;
        for root in map.roots() {
            let id = graph.org_id(root)?;
            if is_skipped(&id) {
                continue;
            }
            for spec in self.specs.iter().filter(|spec| id.gvk.is_selected(&spec.gvk)) {
                if spec.path == "metadata/name" {
                    self.note(graph, root)?;
                }
                graph
                    .by(self.pos, |graph| self.change(graph, root, spec))
                    .at(self.pos)?;
            }
        }
        map.drop_hollow(graph);
        Ok(())
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl AffixTransformer {
    fn note(&self, graph: &mut Graph, root: crate::kustomize::graph::Id) -> Result<()> {
        let name = match self.affix {
            Affix::Prefix => note::PREFIXES,
            Affix::Suffix => note::SUFFIXES,
        };
        graph.append_note(root, name, &self.text)?;
        match self.text.is_empty() {
            true => Ok(()),
            false => graph.store_previous_id(root),
        }
    }

    fn change(&self, graph: &mut Graph, root: crate::kustomize::graph::Id, spec: &FieldSpec) -> Result<()> {
        let create = Create {
            kind: Kind::Scalar,
            tag: Tag::Str,
        };
        visit(graph, root, spec, Some(&create), |graph, at| {
            let name = graph.text(at);
            let name = match self.affix {
                Affix::Prefix => format!("{}{name}", self.text),
                Affix::Suffix => format!("{name}{}", self.text),
            };
            let value = graph.add_scalar(&name, Tag::None);
            graph.set_scalar(at, value)
        })
    }
}
