//! Field specs: which fields of which kinds a transformer changes. The built-in ones are in `tables`, users add theirs by
//! `configurations` and `crds`.

mod apply;
mod config;
mod tables;

pub use self::apply::{Create, visit, visit_path};
pub use self::config::{BackReferences, TransformerConfig};
use super::decode::{At, Decode};
use super::error::{Context, Error, Result};
use super::graph::{check_path, split_escaped};
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

impl FieldSpec {
    /// Decodes a spec. Its kinds are strings even where other numbers are accepted as such, unless all of it `coerces`.
    fn read(at: At<'_>, coerces: bool) -> Result<Self> {
        let (mut gvk, mut path, mut create) = (Gvk::default(), String::new(), false);
        for (name, value) in at.record(&["group", "version", "kind", "path", "create"])? {
            let of_type = if coerces { value } else { value.strictly() };
            match name {
                "group" => gvk.group = of_type.text()?,
                "version" => gvk.version = of_type.text()?,
                "kind" => gvk.kind = of_type.text()?,
                "path" => {
                    path = value.text()?;
                    check_path(&split_escaped(&path, '/')).at(value.pos())?;
                }
                _ => create = value.boolean()?,
            }
        }
        Ok(Self::new(gvk, &path, create))
    }

    /// The specs of a transformer of names, whose kinds may be numbers, too.
    ///
    /// # Errors
    /// If it is no list of specs.
    pub fn list_of_names(at: At<'_>) -> Result<Vec<Self>> {
        let read = |item: At<'_>| {
            if item.is_null() {
                Ok(Self::default())
            } else {
                Self::read(item, true)
            }
        };
        at.items()?.into_iter().map(read).collect()
    }
}

impl Decode for FieldSpec {
    fn decode(at: At<'_>) -> Result<Self> {
        Self::read(at, false)
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
