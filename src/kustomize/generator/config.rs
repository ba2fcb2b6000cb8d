//! ConfigMaps and Secrets.

use std::collections::BTreeMap;

use super::Generate;
use super::data::{encode_base64, pairs_of, set_data};
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::graph::{Cell, Graph, Id, Put};
use crate::kustomize::kustomization::{GeneratorOptions, GeneratorSpec};
use crate::kustomize::loader::Loader;
use crate::kustomize::resource::{Resource, note};
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Form, Kind, Pos, Style, Tag};

/// Which of the two is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// Makes one object.
#[derive(Debug, Clone)]
pub struct ConfigGenerator {
    /// Which of the two.
    pub kind: ConfigKind,
    /// What it is made of.
    pub spec: GeneratorSpec,
    /// What it gets besides data.
    pub options: Option<GeneratorOptions>,
}

impl Generate for ConfigGenerator {
    fn generate(&self, world: &mut World<'_>, loader: &Loader) -> Result<Vec<Resource>> {
        let made = self.make(world, loader).at(self.spec.pos)?;
        Ok(vec![Resource::new(made)])
    }

    fn kind(&self) -> &'static str {
        match self.kind {
            ConfigKind::ConfigMap => "ConfigMapGenerator",
            ConfigKind::Secret => "SecretGenerator",
        }
    }
}

impl ConfigGenerator {
    fn make(&self, world: &mut World<'_>, loader: &Loader) -> Result<Id> {
        if self.spec.name.is_empty() {
            return Err(Error::kustomization("a configmap must have a name"));
        }
        let root = self.base(&mut world.graph)?;
        let pairs = pairs_of(world, loader, &self.spec).within(|| "loading KV pairs".to_owned())?;
        let mut data: BTreeMap<String, (Vec<u8>, Pos)> = BTreeMap::new();
        for pair in pairs {
            let (key, pos) = (pair.key.clone(), pair.pos);
            if data.insert(pair.key, (pair.value, pos)).is_some() {
                let why = format!("configmap {} illegally repeats the key `{key}`", self.spec.name);
                return Err(Error::kustomization(why).at(pos));
            }
        }
        let graph = &mut world.graph;
        if self.kind == ConfigKind::Secret {
            graph.lookup_create(root, &["data"], Kind::Mapping)?;
        }
        for (key, (value, pos)) in data {
            let (field, text) = match (self.kind, std::str::from_utf8(&value)) {
                (ConfigKind::Secret, _) => ("data", encode_base64(&value)),
                (ConfigKind::ConfigMap, Ok(text)) => ("data", text.to_owned()),
                (ConfigKind::ConfigMap, Err(_)) => ("binaryData", encode_base64(&value)),
            };
            set_data(graph, root, field, &key, &text, pos)?;
        }
        self.set_options(graph, root)?;
        Ok(root)
    }

    fn base(&self, graph: &mut Graph) -> Result<Id> {
        let pos = self.spec.pos;
        let root = graph.add(Cell {
            tag: Tag::Map,
            ..Cell::new(Kind::Mapping).at(pos)
        });
        let kind = match self.kind {
            ConfigKind::ConfigMap => "ConfigMap",
            ConfigKind::Secret => "Secret",
        };
        let mut set = |map: Id, name: &str, text: &str| {
            let value = graph.add(Cell::scalar(text, Tag::Str).at(pos));
            graph.set_field(map, name, Some(value), Put::default())
        };
        set(root, "apiVersion", "v1")?;
        set(root, "kind", kind)?;
        let metadata = graph.add(Cell::new(Kind::Mapping).at(pos));
        graph.set_field(root, "metadata", Some(metadata), Put::default())?;
        let mut set = |map: Id, name: &str, text: &str| {
            let value = graph.add(Cell::scalar(text, Tag::Str).at(pos));
            let form = if text.contains('\n') {
                Form::Literal
            } else {
                Form::Default
            };
            graph.cell_mut(value).style = Style::of(form);
            graph.set_field(map, name, Some(value), Put::default())
        };
        set(metadata, "name", &self.spec.name)?;
        if !self.spec.namespace.is_empty() {
            set(metadata, "namespace", &self.spec.namespace)?;
        }
        if self.kind == ConfigKind::Secret {
            let of_type = if self.spec.secret_type.is_empty() {
                "Opaque"
            } else {
                &self.spec.secret_type
            };
            set(root, "type", of_type)?;
        }
        Ok(root)
    }

    fn set_options(&self, graph: &mut Graph, root: Id) -> Result<()> {
        let options = self.options.as_ref();
        let texts = |texts: Option<&Option<BTreeMap<String, String>>>| texts.cloned().flatten().unwrap_or_default();
        for (key, text) in texts(options.map(|options| &options.labels)) {
            graph.set_meta_text(root, "labels", &key, &text)?;
        }
        for (key, text) in texts(options.map(|options| &options.annotations)) {
            graph.set_annotation(root, &key, &text)?;
        }
        if options.is_some_and(|options| options.immutable) {
            let value = graph.add(Cell::scalar("true", Tag::Bool).at(self.spec.pos));
            graph.set_field(root, "immutable", Some(value), Put::default())?;
        }
        if !options.is_some_and(|options| options.disable_name_suffix_hash) {
            graph.set_note(root, note::NEEDS_HASH, note::ENABLED)?;
        }
        let behavior = match self.spec.behavior.as_str() {
            known @ ("create" | "merge" | "replace") => known,
            _ => "unspecified",
        };
        graph.set_note(root, note::BEHAVIOR, behavior)
    }
}
