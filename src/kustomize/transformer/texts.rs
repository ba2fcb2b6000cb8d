//! Labels and annotations.

use std::collections::BTreeMap;

use super::Transform;
use crate::kustomize::error::{Context, Result};
use crate::kustomize::fieldspec::{Create, FieldSpec, visit};
use crate::kustomize::graph::{Cell, Graph, Put};
use crate::kustomize::resmap::ResMap;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Kind, Pos, Tag};

/// Names and texts.
pub type Texts = BTreeMap<String, String>;

/// Sets texts in mappings.
#[derive(Debug, Clone)]
pub struct TextsTransformer {
    /// What is set.
    pub texts: Texts,
    /// The mappings.
    pub specs: Vec<FieldSpec>,
    /// Where the texts stand.
    pub pos: Pos,
}

impl Transform for TextsTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        let create = Create {
            kind: Kind::Mapping,
            tag: Tag::Map,
        };
        let graph = &mut world.graph;
        for root in map.roots() {
            for (name, text) in &self.texts {
                // One node for all places of an object: see the graph's first lines.
                let value = graph.add(Cell::scalar(text, Tag::Str).at(self.pos));
                for spec in &self.specs {
                    let set = |graph: &mut Graph, at| graph.set_field(at, name, Some(value), Put::default());
                    let set_all = |graph: &mut Graph| visit(graph, root, spec, Some(&create), set);
                    graph.by(self.pos, set_all).at(self.pos)?;
                }
            }
        }
        map.drop_hollow(graph);
        Ok(())
    }

    fn is_local(&self) -> bool {
        true
    }
}
