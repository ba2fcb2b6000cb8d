//! The field specs in force for a kustomization: the built-in ones and those that it and its bases add.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use super::tables::{self, Rule};
use super::{FieldSpec, merge_all};
use crate::kustomize::decode::{At, Decode};
use crate::kustomize::error::{Context, Result};
use crate::kustomize::order::{DEFAULT_FIRST, DEFAULT_LAST};
use crate::kustomize::resid::Gvk;

/// A kind, and the fields of other kinds that refer to its objects by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackReferences {
    /// The kind that is referred to; empty parts are wildcards.
    pub target: Gvk,
    /// The fields that refer to it.
    pub referrers: Vec<FieldSpec>,
}

/// The fields that each transformer changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransformerConfig {
    /// Names that get a prefix.
    pub name_prefix: Vec<FieldSpec>,
    /// Names that get a suffix.
    pub name_suffix: Vec<FieldSpec>,
    /// Namespaces.
    pub namespace: Vec<FieldSpec>,
    /// Labels and selectors.
    pub common_labels: Vec<FieldSpec>,
    /// Labels that `labels` changes whatever it includes.
    pub labels: Vec<FieldSpec>,
    /// Labels of the object and of templates in it.
    pub template_labels: Vec<FieldSpec>,
    /// Annotations.
    pub common_annotations: Vec<FieldSpec>,
    /// References by name.
    pub name_reference: Vec<BackReferences>,
    /// Fields in which `$(VAR)` is replaced.
    pub var_reference: Vec<FieldSpec>,
    /// Images.
    pub images: Vec<FieldSpec>,
    /// Numbers of replicas.
    pub replicas: Vec<FieldSpec>,
}

/// The built-in specs, in order.
static BUILTIN: LazyLock<Arc<TransformerConfig>> = LazyLock::new(|| {
    let labels = [tables::SELECTOR_LABELS, tables::TEMPLATE_LABELS].concat_rules();
    let built = TransformerConfig {
        name_prefix: specs(tables::NAME),
        name_suffix: specs(tables::NAME),
        namespace: specs(tables::NAMESPACE),
        common_labels: labels,
        labels: Vec::new(),
        template_labels: specs(tables::TEMPLATE_LABELS),
        common_annotations: specs(tables::ANNOTATIONS),
        name_reference: tables::REFERENCES
            .iter()
            .map(|references| BackReferences {
                target: kind(references.target),
                referrers: specs(references.rules),
            })
            .collect(),
        var_reference: specs(tables::VARIABLES),
        images: specs(tables::IMAGES),
        replicas: specs(tables::REPLICAS),
    };
    Arc::new(built.sorted())
});

/// Rules of several tables as one list of specs.
trait ConcatRules {
    fn concat_rules(&self) -> Vec<FieldSpec>;
}

impl ConcatRules for [&'static [Rule]; 2] {
    fn concat_rules(&self) -> Vec<FieldSpec> {
        self.iter().flat_map(|rules| specs(rules)).collect()
    }
}

fn kind(text: &str) -> Gvk {
    let mut parts = text
        .split(' ')
        .map(|part| if part == "-" { "" } else { part }.to_owned());
    let mut next = || parts.next().unwrap_or_default();
    let (kind, version, group) = (next(), next(), next());
    Gvk { group, version, kind }
}

fn specs(rules: &[Rule]) -> Vec<FieldSpec> {
    let of_rule = |rule: &Rule| {
        let kinds = if rule.kinds.is_empty() { &[""] } else { rule.kinds };
        let of_kind = |name: &&str| {
            let gvk = kind(name);
            let spec = |path: &&str| FieldSpec::new(gvk.clone(), &format!("{}{path}", rule.prefix), rule.create);
            rule.paths.iter().map(spec).collect::<Vec<_>>()
        };
        kinds.iter().flat_map(of_kind).collect::<Vec<_>>()
    };
    rules.iter().flat_map(of_rule).collect()
}

impl TransformerConfig {
    /// The built-in specs.
    pub fn builtin() -> Arc<Self> {
        Arc::clone(&BUILTIN)
    }

    /// Both together, in order.
    ///
    /// # Errors
    /// If both have a spec for the same fields and disagree on whether they are created.
    pub fn merge(first: &Arc<Self>, second: &Arc<Self>) -> Result<Arc<Self>> {
        if Arc::ptr_eq(first, second) || **second == Self::default() {
            return Ok(Arc::clone(first));
        }
        if **first == Self::default() && Arc::ptr_eq(second, &BUILTIN) {
            return Ok(Arc::clone(second));
        }
        let mut merged = (**first).clone();
        let lists = [
            (&mut merged.name_prefix, &second.name_prefix, "NamePrefix"),
            (&mut merged.name_suffix, &second.name_suffix, "NameSuffix"),
            (&mut merged.namespace, &second.namespace, "NameSpace"),
            (
                &mut merged.common_annotations,
                &second.common_annotations,
                "CommonAnnotations",
            ),
            (&mut merged.common_labels, &second.common_labels, "CommonLabels"),
            (&mut merged.labels, &second.labels, "Labels"),
            (&mut merged.template_labels, &second.template_labels, "TemplateLabels"),
            (&mut merged.var_reference, &second.var_reference, "VarReference"),
            (&mut merged.images, &second.images, "Images"),
            (&mut merged.replicas, &second.replicas, "Replicas"),
        ];
        for (list, incoming, name) in lists {
            merge_all(list, incoming).within(|| format!("failed to merge {name} fieldSpec"))?;
        }
        for incoming in &second.name_reference {
            merged
                .add_references(incoming)
                .within(|| "failed to merge NameReference fieldSpec".to_owned())?;
        }
        Ok(Arc::new(merged.sorted()))
    }

    /// Adds the fields that refer to a kind.
    ///
    /// # Errors
    /// If a field is there already and whether it is created differs.
    pub fn add_references(&mut self, incoming: &BackReferences) -> Result<()> {
        match self
            .name_reference
            .iter_mut()
            .find(|there| there.target == incoming.target)
        {
            Some(there) => merge_all(&mut there.referrers, &incoming.referrers),
            None => {
                self.name_reference.push(incoming.clone());
                Ok(())
            }
        }
    }

    fn sorted(mut self) -> Self {
        let lists = [
            &mut self.name_prefix,
            &mut self.name_suffix,
            &mut self.namespace,
            &mut self.common_labels,
            &mut self.labels,
            &mut self.template_labels,
            &mut self.common_annotations,
            &mut self.var_reference,
            &mut self.images,
            &mut self.replicas,
        ];
        for list in lists {
            list.sort_by(|a, b| by_kind(&a.gvk, &b.gvk));
        }
        self.name_reference.sort_by(|a, b| by_kind(&a.target, &b.target));
        self
    }
}

/// The reference's order of kinds: those that others need first, then by name.
fn by_kind(a: &Gvk, b: &Gvk) -> Ordering {
    let rank = |gvk: &Gvk| {
        let first = DEFAULT_FIRST.iter().position(|kind| *kind == gvk.kind);
        let last = DEFAULT_LAST.iter().position(|kind| *kind == gvk.kind);
        match (first, last) {
            (Some(at), _) => (0, at),
            (None, None) => (1, 0),
            (None, Some(at)) => (2, at),
        }
    };
    let text = |gvk: &Gvk| {
        let or = |part: &str, other: &str| {
            if part.is_empty() {
                other.to_owned()
            } else {
                part.to_owned()
            }
        };
        format!(
            "{}_{}_{}",
            or(&gvk.group, "~G"),
            or(&gvk.version, "~V"),
            or(&gvk.kind, "~K")
        )
    };
    rank(a).cmp(&rank(b)).then_with(|| text(a).cmp(&text(b)))
}

impl Decode for BackReferences {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut references = Self::default();
        for (name, value) in at.record(&["group", "version", "kind", "fieldSpecs"])? {
            match name {
                "group" => references.target.group = value.strictly().text()?,
                "version" => references.target.version = value.strictly().text()?,
                "kind" => references.target.kind = value.strictly().text()?,
                _ => references.referrers = value.list()?,
            }
        }
        Ok(references)
    }
}

impl Decode for TransformerConfig {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut config = Self::default();
        let names = [
            "namePrefix",
            "nameSuffix",
            "namespace",
            "commonLabels",
            "labels",
            "templateLabels",
            "commonAnnotations",
            "nameReference",
            "varReference",
            "images",
            "replicas",
        ];
        for (name, value) in at.record(&names)? {
            match name {
                "namePrefix" => config.name_prefix = value.list()?,
                "nameSuffix" => config.name_suffix = value.list()?,
                "namespace" => config.namespace = value.list()?,
                "commonLabels" => config.common_labels = value.list()?,
                "labels" => config.labels = value.list()?,
                "templateLabels" => config.template_labels = value.list()?,
                "commonAnnotations" => config.common_annotations = value.list()?,
                "nameReference" => config.name_reference = value.list()?,
                "varReference" => config.var_reference = value.list()?,
                "images" => config.images = value.list()?,
                _ => config.replicas = value.list()?,
            }
        }
        Ok(config.sorted())
    }
}
