//! A value added to fields or to paths in them: only reachable as a configured transformer.

use super::{NamespaceTransformer, Subjects, Transform};
use crate::kustomize::decode::{At, Decode};
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::graph::split_escaped;
use crate::kustomize::kustomization::Selector;
use crate::kustomize::loader::Loader;
use crate::kustomize::paths;
use crate::kustomize::resmap::ResMap;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{self, Kind, Pos, Tag};

/// A field that gets the value.
#[derive(Debug, Clone, Default)]
struct Target {
    selector: Option<Selector>,
    field_path: String,
    position: i64,
}

impl Decode for Target {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut target = Self::default();
        for (name, value) in at.record(&["selector", "fieldPath", "filePathPosition"])? {
            match name {
                "selector" => target.selector = value.optional()?,
                "fieldPath" => target.field_path = value.text()?,
                _ => target.position = value.integer()?,
            }
        }
        Ok(target)
    }
}

/// Adds a value.
#[derive(Debug, Clone)]
pub struct ValueAddTransformer {
    value: String,
    targets: Vec<Target>,
    pos: Pos,
}

impl ValueAddTransformer {
    /// Reads its configuration. The parts are taken out before files are read, since those change the graph.
    ///
    /// # Errors
    /// If there is no target or a target has no field.
    pub fn load(world: &mut World<'_>, loader: &Loader, id: crate::kustomize::graph::Id) -> Result<Self> {
        let at = At::root(&world.graph, id).lenient();
        let (mut value, mut targets, mut file, pos) = (String::new(), Vec::new(), String::new(), at.pos());
        for (name, field) in at.record(&["value", "targets", "targetFilePath"])? {
            match name {
                "value" => value = field.text()?.trim().to_owned(),
                "targets" => targets = field.list::<Target>()?,
                _ => file = field.text()?,
            }
        }
        if value.is_empty() {
            paths::base(loader.root()).clone_into(&mut value);
        }
        if !file.is_empty() {
            let file = loader.load(world, &file).at(pos)?;
            let text = yaml::decode(&file.bytes, file.id)?;
            if let Some(document) = yaml::parse_document(&text, file.id)? {
                let root = world.graph.import(document.root)?;
                for (_, field) in At::root(&world.graph, root).lenient().record(&["targets"])? {
                    targets.extend(field.list::<Target>()?);
                }
            }
        }
        if targets.is_empty() {
            return Err(Error::kustomization("must specify at least one target").at(pos));
        }
        for target in &targets {
            if target.field_path.is_empty() {
                return Err(Error::kustomization("fieldPath cannot be empty").at(pos));
            }
            if target.position < 0 {
                let why = format!("value of FilePathPosition ({}) cannot be negative", target.position);
                return Err(Error::kustomization(why).at(pos));
            }
        }
        Ok(Self { value, targets, pos })
    }
}

impl Transform for ValueAddTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        for target in &self.targets {
            let selected = match &target.selector {
                Some(selector) => map.select(&world.graph, selector)?,
                None => (0..map.list().len()).collect(),
            };
            for at in selected {
                if let Some(root) = map.list()[at].root {
                    self.add(world, root, target).at(self.pos)?;
                }
            }
        }
        map.list_mut();
        Ok(())
    }
}

impl ValueAddTransformer {
    fn add(&self, world: &mut World<'_>, root: crate::kustomize::graph::Id, target: &Target) -> Result<()> {
        let graph = &mut world.graph;
        if target.field_path == "metadata/namespace" {
            let namespace = NamespaceTransformer {
                namespace: self.value.clone(),
                specs: Vec::new(),
                unset_only: false,
                subjects: Subjects::Default,
                pos: self.pos,
            };
            return namespace.apply(graph, root);
        }
        let path = split_escaped(&format!("/{}", target.field_path), '/');
        let Some(field) = graph.lookup_create(root, &path, Kind::Scalar)? else {
            return Ok(());
        };
        graph.expect_kind(field, Kind::Scalar)?;
        let text = match target.position {
            0 => self.value.clone(),
            position => insert(graph.text(field), position, &self.value),
        };
        let value = graph.add_scalar(&text, Tag::None);
        graph.set_scalar(field, value)
    }
}

/// A path with a part inserted at a position that counts from one; beyond the end it goes to the end.
fn insert(path: &str, position: i64, part: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let at = usize::try_from(position - 1).unwrap_or_default().min(parts.len());
    parts.insert(at, part);
    paths::clean(&format!("{}{}", if is_absolute { "/" } else { "" }, parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::insert;

    #[test]
    fn a_part_is_inserted_into_a_path() {
        for (path, position, result) in [
            ("", 1, "x"),
            ("/", 1, "/x"),
            ("a", 1, "x/a"),
            ("/a", 1, "/x/a"),
            ("a", 9, "a/x"),
            ("/a", 2, "/a/x"),
            ("a/b/c", 3, "a/b/x/c"),
            ("/a/b/c", 3, "/a/b/x/c"),
        ] {
            assert_eq!(insert(path, position, "x"), result);
        }
    }
}
