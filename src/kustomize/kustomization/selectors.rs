//! Selectors and replacements.

use crate::kustomize::decode::{At, Decode};
use crate::kustomize::error::Result;
use crate::kustomize::resid::ResId;
use crate::kustomize::yaml::Pos;

/// Which objects are meant. Its texts are regular expressions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Type, name and namespace; empty parts are wildcards.
    pub id: ResId,
    /// Annotations, in the syntax of label selectors.
    pub annotations: String,
    /// Labels.
    pub labels: String,
    /// Where this stands.
    pub pos: Pos,
}

const ID_FIELDS: [&str; 5] = ["group", "version", "kind", "name", "namespace"];

fn set_id(id: &mut ResId, name: &str, value: At<'_>) -> Result<()> {
    let text = value.strictly().text()?;
    match name {
        "group" => id.gvk.group = text,
        "version" => id.gvk.version = text,
        "kind" => id.gvk.kind = text,
        "name" => id.name = text,
        _ => id.namespace = text,
    }
    Ok(())
}

impl Decode for Selector {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut selector = Self {
            pos: at.pos(),
            ..Self::default()
        };
        let [group, version, kind, name, namespace] = ID_FIELDS;
        let known = [
            group,
            version,
            kind,
            name,
            namespace,
            "annotationSelector",
            "labelSelector",
        ];
        for (name, value) in at.record(&known)? {
            match name {
                "annotationSelector" => selector.annotations = value.text()?,
                "labelSelector" => selector.labels = value.text()?,
                _ => set_id(&mut selector.id, name, value)?,
            }
        }
        Ok(selector)
    }
}

/// How a field's text is taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldOptions {
    /// What separates the parts; empty if it is one.
    pub delimiter: String,
    /// Which part.
    pub index: i64,
    /// Whether a target is created.
    pub create: bool,
}

impl Decode for FieldOptions {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in at.record(&["delimiter", "index", "encoding", "create"])? {
            match name {
                "delimiter" => options.delimiter = value.text()?,
                "index" => options.index = value.integer()?,
                "create" => options.create = value.boolean()?,
                // Kustomize reads it and does nothing with it.
                _ => value.text().map(|_| ())?,
            }
        }
        Ok(options)
    }
}

/// Where a replacement's value comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplacementSource {
    /// The object; empty parts are wildcards.
    pub id: ResId,
    /// The field.
    pub field_path: String,
    /// How its text is taken apart.
    pub options: FieldOptions,
}

impl Decode for ReplacementSource {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut source = Self::default();
        let [group, version, kind, name, namespace] = ID_FIELDS;
        for (name, value) in at.record(&[group, version, kind, name, namespace, "fieldPath", "options"])? {
            match name {
                "fieldPath" => source.field_path = value.text()?,
                "options" => source.options = value.or_default()?,
                _ => set_id(&mut source.id, name, value)?,
            }
        }
        Ok(source)
    }
}

/// Where a replacement's value goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplacementTarget {
    /// Objects that get it.
    pub select: Option<Selector>,
    /// Objects among them that do not.
    pub reject: Vec<Selector>,
    /// The fields.
    pub field_paths: Vec<String>,
    /// How their texts are taken apart.
    pub options: FieldOptions,
    /// Where this stands.
    pub pos: Pos,
}

impl Decode for ReplacementTarget {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut target = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.record(&["select", "reject", "fieldPaths", "options"])? {
            match name {
                "select" => target.select = value.optional()?,
                "reject" => target.reject = value.list()?,
                "fieldPaths" => target.field_paths = value.list()?,
                _ => target.options = value.or_default()?,
            }
        }
        Ok(target)
    }
}

/// A value to copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replacement {
    /// Where it comes from.
    pub source: Option<ReplacementSource>,
    /// The value itself.
    pub source_value: Option<String>,
    /// Where it goes; `None` if that is not said at all.
    pub targets: Option<Vec<ReplacementTarget>>,
    /// Where this stands.
    pub pos: Pos,
}

/// A replacement, or the file that it is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplacementEntry {
    /// The file; empty if the replacement stands here.
    pub path: String,
    /// The replacement.
    pub replacement: Replacement,
}

impl Decode for ReplacementEntry {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut entry = Self::default();
        entry.replacement.pos = at.pos();
        for (name, value) in at.record(&["source", "targets", "sourceValue", "path"])? {
            match name {
                "path" => entry.path = value.text()?,
                _ => entry.replacement.set(name, value)?,
            }
        }
        Ok(entry)
    }
}

impl Replacement {
    fn set(&mut self, name: &str, value: At<'_>) -> Result<()> {
        match name {
            "source" => self.source = value.optional()?,
            "targets" if value.is_null() => {}
            "targets" => self.targets = Some(value.list()?),
            _ => self.source_value = value.optional()?,
        }
        Ok(())
    }
}

impl Decode for Replacement {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut replacement = Self {
            pos: at.pos(),
            ..Self::default()
        };
        // A file of replacements is decoded leniently: what is not known in it is not looked at.
        let (fields, _) = at.open_record(&["source", "targets", "sourceValue"])?;
        for (name, value) in fields {
            replacement.set(name, value)?;
        }
        Ok(replacement)
    }
}

impl Selector {
    /// A selector as the reference prints it in errors.
    pub fn shown(&self) -> String {
        format!("{}:a={}:l={}", self.id, self.annotations, self.labels)
    }
}

impl ReplacementSource {
    /// A source as the reference prints it in errors.
    pub fn shown(&self) -> String {
        let mut parts = vec![self.id.to_string()];
        if !self.field_path.is_empty() {
            parts.push(self.field_path.clone());
        }
        let options = &self.options;
        if !options.delimiter.is_empty() || options.create {
            parts.push(format!(
                "{}({}), create={}",
                options.delimiter, options.index, options.create
            ));
        }
        parts.join(":")
    }
}
