//! Numbers of replicas.

use super::Transform;
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::fieldspec::{Create, FieldSpec, visit};
use crate::kustomize::graph::Cell;
use crate::kustomize::kustomization::Replica;
use crate::kustomize::resmap::ResMap;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Kind, Tag};

/// Sets the number of replicas of objects with a name.
#[derive(Debug, Clone)]
pub struct ReplicaTransformer {
    /// The name and the number.
    pub replica: Replica,
    /// The fields with numbers of replicas.
    pub specs: Vec<FieldSpec>,
}

impl Transform for ReplicaTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        if self.set(world, map)? {
            return Ok(());
        }
        let kinds: Vec<String> = self.specs.iter().map(|spec| spec.gvk.to_string()).collect();
        let why = format!(
            "resource with name {} does not match a config with the following GVK [{}]",
            self.replica.name,
            kinds.join(" ")
        );
        Err(Error::resources(why).at(self.replica.pos))
    }

    fn again(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<bool> {
        self.set(world, map).map(|_| true)
    }
}

impl ReplicaTransformer {
    /// Sets the number; returns whether there was any object to set it in.
    fn set(&self, world: &mut World<'_>, map: &ResMap) -> Result<bool> {
        let graph = &mut world.graph;
        let create = Create {
            kind: Kind::Scalar,
            tag: Tag::Int,
        };
        let mut was_found = false;
        for spec in &self.specs {
            let fits =
                |id: &crate::kustomize::resid::ResId| id.name == self.replica.name && id.gvk.is_selected(&spec.gvk);
            for at in map.with_any_id(graph, fits)? {
                was_found = true;
                let root = map.list()[at].root.expect("hollow objects are not found by their ids");
                visit(graph, root, spec, Some(&create), |graph, at| {
                    let count = Cell::scalar(&self.replica.count.to_string(), Tag::Int).at(self.replica.pos);
                    let value = graph.add(count);
                    graph.set_scalar(at, value)
                })
                .at(self.replica.pos)?;
            }
        }
        Ok(was_found)
    }
}
