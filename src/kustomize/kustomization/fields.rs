//! The fields of a kustomization that change objects: labels, patches, images, replicas, variables, order.

use std::collections::BTreeMap;

use super::Selector;
use crate::kustomize::decode::{At, Decode};
use crate::kustomize::error::Result;
use crate::kustomize::fieldspec::FieldSpec;
use crate::kustomize::order::{DEFAULT_FIRST, DEFAULT_LAST};
use crate::kustomize::resid::Gvk;
use crate::kustomize::yaml::Pos;

/// Labels and where they go.
#[derive(Debug, Clone, Default)]
pub struct Label {
    /// The labels.
    pub pairs: BTreeMap<String, String>,
    /// Whether selectors and templates get them, too.
    pub include_selectors: bool,
    /// Whether templates get them, too.
    pub include_templates: bool,
    /// Further fields that get them.
    pub fields: Vec<FieldSpec>,
    /// Where this stands.
    pub pos: Pos,
}

impl Decode for Label {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut label = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.record(&["pairs", "includeSelectors", "includeTemplates", "fields"])? {
            match name {
                "pairs" => label.pairs = value.texts()?,
                "includeSelectors" => label.include_selectors = value.boolean()?,
                "includeTemplates" => label.include_templates = value.boolean()?,
                _ => label.fields = value.list()?,
            }
        }
        Ok(label)
    }
}

/// What a patch may change that tells objects apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatchOptions {
    /// Whether it may change names.
    pub allow_name_change: bool,
    /// Whether it may change kinds.
    pub allow_kind_change: bool,
}

impl Decode for PatchOptions {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in at.record(&["allowNameChange", "allowKindChange"])? {
            match name {
                "allowNameChange" => options.allow_name_change = value.boolean()?,
                _ => options.allow_kind_change = value.boolean()?,
            }
        }
        Ok(options)
    }
}

/// A patch and what it is for.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// The file that it is in; empty if it is inline.
    pub path: String,
    /// Its text, if it is inline.
    pub patch: String,
    /// Which objects it is for; without, it says itself.
    pub target: Option<Selector>,
    /// What it may change.
    pub options: PatchOptions,
    /// Where this stands.
    pub pos: Pos,
    /// Where the inline text begins.
    pub text_pos: Pos,
}

impl Decode for Patch {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut patch = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.record(&["path", "patch", "target", "options"])? {
            match name {
                "path" => patch.path = value.text()?,
                "patch" => {
                    patch.patch = value.text()?;
                    patch.text_pos = super::super::read::text_pos(value.graph, value.id);
                }
                "target" => patch.target = value.optional()?,
                _ => patch.options = value.or_default()?,
            }
        }
        Ok(patch)
    }
}

/// An image to change.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The image's name, a regular expression.
    pub name: String,
    /// Its new name.
    pub new_name: String,
    /// What is put after its tag.
    pub tag_suffix: String,
    /// Its new tag.
    pub new_tag: String,
    /// Its new digest.
    pub digest: String,
    /// Where this stands.
    pub pos: Pos,
}

impl Decode for Image {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut image = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.record(&["name", "newName", "tagSuffix", "newTag", "digest"])? {
            match name {
                "name" => image.name = value.text()?,
                "newName" => image.new_name = value.text()?,
                "tagSuffix" => image.tag_suffix = value.text()?,
                "newTag" => image.new_tag = value.text()?,
                _ => image.digest = value.text()?,
            }
        }
        Ok(image)
    }
}

/// A number of replicas.
#[derive(Debug, Clone, Default)]
pub struct Replica {
    /// The object's name.
    pub name: String,
    /// How many.
    pub count: i64,
    /// Where this stands.
    pub pos: Pos,
}

impl Decode for Replica {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut replica = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.record(&["name", "count"])? {
            match name {
                "name" => replica.name = value.text()?,
                _ => replica.count = value.integer()?,
            }
        }
        Ok(replica)
    }
}

/// The object that a variable's value is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VarTarget {
    /// Its type.
    pub gvk: Gvk,
    /// Its name in its file.
    pub name: String,
    /// Its namespace; empty for any.
    pub namespace: String,
}

impl Decode for VarTarget {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut target = Self::default();
        let mut api_version = String::new();
        for (name, value) in at.record(&["apiVersion", "group", "version", "kind", "name", "namespace"])? {
            match name {
                "apiVersion" => api_version = value.text()?,
                "group" => target.gvk.group = value.text()?,
                "version" => target.gvk.version = value.text()?,
                "kind" => target.gvk.kind = value.text()?,
                "name" => target.name = value.text()?,
                _ => target.namespace = value.text()?,
            }
        }
        let parts: Vec<&str> = api_version.split('/').collect();
        match parts.as_slice() {
            [] | [""] => {}
            [version] => (*version).clone_into(&mut target.gvk.version),
            [group, version] => {
                (*group).clone_into(&mut target.gvk.group);
                (*version).clone_into(&mut target.gvk.version);
            }
            _ => {}
        }
        Ok(target)
    }
}

/// A variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Var {
    /// Its name, which stands in `$(…)`.
    pub name: String,
    /// The object that its value is in.
    pub target: VarTarget,
    /// The field that its value is.
    pub field_path: String,
    /// Where this stands.
    pub pos: Pos,
}

impl Decode for Var {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut var = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.record(&["name", "objref", "fieldref"])? {
            match name {
                "name" => var.name = value.text()?,
                "objref" => var.target = value.or_default()?,
                _ if value.is_null() => {}
                _ => {
                    for (_, path) in value.record(&["fieldPath"])? {
                        var.field_path = path.text()?;
                    }
                }
            }
        }
        if var.field_path.is_empty() {
            "metadata.name".clone_into(&mut var.field_path);
        }
        Ok(var)
    }
}

/// The order of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortOptions {
    /// `legacy` or `fifo`.
    pub order: String,
    /// Kinds that come first and kinds that come last, if the kustomization says so.
    pub legacy: Option<(Vec<String>, Vec<String>)>,
    /// Where this stands.
    pub pos: Pos,
}

impl SortOptions {
    /// The order without a word about it.
    pub fn legacy() -> Self {
        Self {
            order: "legacy".to_owned(),
            legacy: None,
            pos: Pos::default(),
        }
    }

    /// Kinds that come first and kinds that come last.
    pub fn kinds(&self) -> (Vec<String>, Vec<String>) {
        let owned = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
        self.legacy
            .clone()
            .unwrap_or_else(|| (owned(DEFAULT_FIRST), owned(DEFAULT_LAST)))
    }
}

impl Decode for SortOptions {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut options = Self {
            order: String::new(),
            legacy: None,
            pos: at.pos(),
        };
        for (name, value) in at.record(&["order", "legacySortOptions"])? {
            match name {
                "order" => options.order = value.text()?,
                _ if value.is_null() => {}
                _ => {
                    let (mut first, mut last) = (Vec::new(), Vec::new());
                    for (name, kinds) in value.record(&["orderFirst", "orderLast"])? {
                        match name {
                            "orderFirst" => first = kinds.list()?,
                            _ => last = kinds.list()?,
                        }
                    }
                    options.legacy = Some((first, last));
                }
            }
        }
        Ok(options)
    }
}
