//! Field specs: which fields of which kinds a transformer changes. The built-in ones are in `tables`, users add theirs by
//! `configurations` and `crds`.

mod apply;
mod config;
mod tables;

pub use self::apply::{Create, visit, visit_path};
pub use self::config::{BackReferences, TransformerConfig};
use super::decode::{At, Decode};
use super::error::{Error, Result};
use super::graph::split_escaped;
use super::resid::Gvk;

/// A field of some kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSpec {
    /// The kinds; empty parts are wildcards.
    pub gvk: Gvk,
    /// The field's path, with slashes; lists on the way need no mention.
    pub path: String,
    /// The path's parts.
    pub parts: Vec<String>,
    /// Whether the field is created where it is missing.
    pub create: bool,
}

impl FieldSpec {
    /// A field of these kinds.
    pub fn new(gvk: Gvk, path: &str, create: bool) -> Self {
        Self {
            gvk,
            path: path.to_owned(),
            parts: split_escaped(path, '/'),
            create,
        }
    }

    /// A field of all kinds.
    pub fn of_all(path: &str, create: bool) -> Self {
        Self::new(Gvk::default(), path, create)
    }

    /// Whether a spec that comes in means the same fields as this one.
    fn is_same_as(&self, incoming: &Self) -> bool {
        self.gvk.is_selected(&incoming.gvk) && self.path == incoming.path
    }
}

impl Decode for FieldSpec {
    fn decode(at: At<'_>) -> Result<Self> {
        let (mut gvk, mut path, mut create) = (Gvk::default(), String::new(), false);
        for (name, value) in at.record(&["group", "version", "kind", "path", "create"])? {
            match name {
                "group" => gvk.group = value.text()?,
                "version" => gvk.version = value.text()?,
                "kind" => gvk.kind = value.text()?,
                "path" => path = value.text()?,
                _ => create = value.boolean()?,
            }
        }
        Ok(Self::new(gvk, &path, create))
    }
}

/// Adds a spec to a list unless it is there already.
///
/// # Errors
/// If it is there with another answer to whether the field is created.
pub fn merge_one(specs: &mut Vec<FieldSpec>, incoming: &FieldSpec) -> Result<()> {
    match specs.iter().find(|spec| spec.is_same_as(incoming)) {
        Some(spec) if spec.create != incoming.create => Err(Error::kustomization("conflicting fieldspecs")),
        Some(_) => Ok(()),
        None => {
            specs.push(incoming.clone());
            Ok(())
        }
    }
}

/// Adds specs to a list unless they are there already.
///
/// # Errors
/// As [`merge_one`].
pub fn merge_all(specs: &mut Vec<FieldSpec>, incoming: &[FieldSpec]) -> Result<()> {
    incoming.iter().try_for_each(|spec| merge_one(specs, spec))
}
