//! `crds`: field specs from OpenAPI definitions of custom resources, where extensions mark labels, annotations, names and
//! references.

use serde_json::{Map, Value};

use super::error::{Context, Error, Result};
use super::fieldspec::{BackReferences, FieldSpec, TransformerConfig, merge_one};
use super::kustomization::Entry;
use super::loader::Loader;
use super::resid::Gvk;
use super::world::World;
use super::yaml;

/// How deep types may refer to each other; a type that refers to itself has no end.
const MAX_DEPTH: usize = 64;

/// Reads the files that a kustomization names.
///
/// # Errors
/// If a file can't be read or holds no definitions.
pub fn load_crds(world: &mut World<'_>, loader: &Loader, entries: &[Entry]) -> Result<TransformerConfig> {
    let mut config = TransformerConfig::default();
    for entry in entries {
        let file = loader.load(world, &entry.text).at(entry.pos)?;
        let text = yaml::decode(&file.bytes, file.id)?;
        let unable = || format!("unable to parse open API definition from '{}'", entry.text);
        let document = yaml::parse_document(&text, file.id)
            .map_err(Error::from)
            .within(unable)?;
        let value = document.map_or(Ok(Value::Null), |document| yaml::legacy_to_json(&document.root))?;
        let definitions = match value {
            Value::Object(definitions) => definitions,
            Value::Null => Map::new(),
            _ => {
                let why = format!("{}: json: cannot unmarshal into a map of definitions", unable());
                return Err(Error::kustomization(why).at(entry.pos));
            }
        };
        for (name, definition) in &definitions {
            if !definition.is_object() && !definition.is_null() {
                let why = format!(
                    "unable to parse open API definition from '{}': {name} is no object",
                    entry.text
                );
                return Err(Error::kustomization(why).at(entry.pos));
            }
            let is_type = ["kind", "apiVersion", "metadata"]
                .iter()
                .all(|field| properties(definition).is_some_and(|p| p.contains_key(*field)));
            if is_type {
                let kind = name.rsplit('.').next().unwrap_or_default();
                let mut walk = Walk {
                    definitions: &definitions,
                    gvk: Gvk::of("", kind),
                    config: &mut config,
                };
                walk.go(name, &mut Vec::new()).at(entry.pos)?;
            }
        }
    }
    Ok(config)
}

fn properties(definition: &Value) -> Option<&Map<String, Value>> {
    let field = |name: &str| {
        definition
            .as_object()?
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    field("Schema")?.get("properties")?.as_object()
}

/// A walk through one type.
struct Walk<'a> {
    definitions: &'a Map<String, Value>,
    gvk: Gvk,
    config: &'a mut TransformerConfig,
}

impl Walk<'_> {
    fn go(&mut self, name: &str, path: &mut Vec<String>) -> Result<()> {
        if path.len() > MAX_DEPTH {
            return Err(Error::limit(format!(
                "definitions refer to each other deeper than {MAX_DEPTH}"
            )));
        }
        let Some(fields) = self.definitions.get(name).and_then(properties) else {
            return Ok(());
        };
        for (field, property) in fields {
            path.push(field.clone());
            self.mark(property, path)?;
            if let Some(target) = property.get("$ref").and_then(Value::as_str) {
                self.go(target, path)?;
            }
            path.pop();
        }
        Ok(())
    }

    fn mark(&mut self, property: &Value, path: &[String]) -> Result<()> {
        let text = |name: &str| property.get(name).and_then(Value::as_str);
        let spec = FieldSpec::new(self.gvk.clone(), &path.join("/"), false);
        if text("x-kubernetes-annotation").is_some() {
            merge_one(&mut self.config.common_annotations, &spec)?;
        }
        if text("x-kubernetes-label-selector").is_some() {
            merge_one(&mut self.config.common_labels, &spec)?;
        }
        if text("x-kubernetes-identity").is_some() {
            merge_one(&mut self.config.name_prefix, &spec)?;
        }
        let target = (
            text("x-kubernetes-object-ref-api-version"),
            text("x-kubernetes-object-ref-kind"),
        );
        if let (Some(version), Some(kind)) = target {
            let key = text("x-kubernetes-object-ref-name-key").unwrap_or("name");
            let referrer = FieldSpec::new(self.gvk.clone(), &format!("{}/{key}", path.join("/")), false);
            self.config.add_references(&BackReferences {
                target: Gvk {
                    group: String::new(),
                    version: version.to_owned(),
                    kind: kind.to_owned(),
                },
                referrers: vec![referrer],
            })?;
        }
        Ok(())
    }
}
