//! The kustomization file: its fields and what is checked in itself, before anything that it names is looked at.

mod fields;
mod generators;
mod selectors;

use std::collections::BTreeMap;

pub use self::fields::{Image, Label, Patch, PatchOptions, Replica, SortOptions, Var};
pub use self::generators::{GeneratorOptions, GeneratorSpec, HelmChart, HelmGlobals};
pub use self::selectors::{
    FieldOptions, Replacement, ReplacementEntry, ReplacementSource, ReplacementTarget, Selector,
};
use super::decode::{At, Decode};
use super::error::{Context, Error, Result};
use super::yaml::Pos;

/// The names that a kustomization file may have.
pub const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

const KIND: &str = "Kustomization";

/// The kind of a kustomization that adds to the one that names it instead of standing alone.
pub const COMPONENT: &str = "Component";

/// A text in a list: most are paths, some are documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub pos: Pos,
}

impl Decode for Entry {
    fn decode(at: At<'_>) -> Result<Self> {
        Ok(Self {
            text: at.text()?,
            pos: at.pos(),
        })
    }
}

/// A kustomization.
#[derive(Debug, Clone, Default)]
pub struct Kustomization {
    /// `Kustomization` or `Component`.
    pub kind: String,
    /// The version of its format.
    pub api_version: String,
    /// Which schema to merge by: `version` or `path`.
    pub openapi: BTreeMap<String, String>,
    /// Put before names.
    pub name_prefix: String,
    /// Put after names.
    pub name_suffix: String,
    /// The namespace of everything.
    pub namespace: String,
    /// Labels for objects, selectors and templates.
    pub common_labels: BTreeMap<String, String>,
    /// Labels with a choice of places.
    pub labels: Vec<Label>,
    /// Annotations for objects and templates.
    pub common_annotations: BTreeMap<String, String>,
    /// Strategic merge patches: files or texts.
    pub patches_strategic_merge: Vec<Entry>,
    /// JSON patches.
    pub patches_json6902: Vec<Patch>,
    /// Patches of either kind.
    pub patches: Vec<Patch>,
    /// Images to rename, retag or pin.
    pub images: Vec<Image>,
    /// Values to copy from field to field.
    pub replacements: Vec<ReplacementEntry>,
    /// Numbers of replicas.
    pub replicas: Vec<Replica>,
    /// Variables.
    pub vars: Vec<Var>,
    /// The order of the output, if the kustomization says one.
    pub sort_options: Option<SortOptions>,
    /// Files and directories.
    pub resources: Vec<Entry>,
    /// Directories with components.
    pub components: Vec<Entry>,
    /// Files with OpenAPI definitions of custom resources.
    pub crds: Vec<Entry>,
    /// ConfigMaps to make.
    pub config_map_generator: Vec<GeneratorSpec>,
    /// Secrets to make.
    pub secret_generator: Vec<GeneratorSpec>,
    /// What all generators are to do.
    pub generator_options: Option<GeneratorOptions>,
    /// What holds for all charts.
    pub helm_globals: HelmGlobals,
    /// Helm charts to render.
    pub helm_charts: Vec<HelmChart>,
    /// Files with field specs.
    pub configurations: Vec<Entry>,
    /// Configured generators: files, directories or documents.
    pub generators: Vec<Entry>,
    /// Configured transformers: files, directories or documents.
    pub transformers: Vec<Entry>,
    /// Configured transformers that must change nothing.
    pub validators: Vec<Entry>,
    /// What to write into the output about the build.
    pub build_metadata: Vec<String>,
    /// Where the fields stand.
    pub places: BTreeMap<&'static str, Pos>,
    /// Fields that are there but deprecated, in the reference's order and words.
    pub warnings: Vec<String>,
    says_nothing: bool,
}

/// The fields in any order; two that stand in are `bases` and `imageTags`.
const FIELDS: [&str; 34] = [
    "kind",
    "apiVersion",
    "metadata",
    "openapi",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "labels",
    "commonAnnotations",
    "patchesStrategicMerge",
    "patchesJson6902",
    "patches",
    "images",
    "imageTags",
    "replacements",
    "replicas",
    "vars",
    "sortOptions",
    "resources",
    "components",
    "crds",
    "bases",
    "configMapGenerator",
    "secretGenerator",
    "helmGlobals",
    "helmCharts",
    "helmChartInflationGenerator",
    "generatorOptions",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "buildMetadata",
];

/// Deprecated fields and the ones that came after them, in the order in which the reference warns.
const DEPRECATED: [(&str, &str, &str); 6] = [
    ("bases", "resources", ""),
    ("commonLabels", "labels", ""),
    ("imageTags", "images", ""),
    ("patchesJson6902", "patches", ""),
    ("patchesStrategicMerge", "patches", ""),
    ("vars", "replacements", "[EXPERIMENTAL] "),
];

impl Kustomization {
    /// Reads a kustomization. Warnings are to be shown even if [`Kustomization::check`] or
    /// [`Kustomization::check_type`] fails, so those are apart.
    ///
    /// # Errors
    /// If a field is unknown or has another shape.
    pub fn read(at: At<'_>) -> Result<Self> {
        let mut read = Self::default();
        let (mut bases, mut image_tags, mut old_charts) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in at.record(&FIELDS).within(|| "invalid Kustomization".to_owned())? {
            if !value.is_null() {
                read.places.insert(name, value.pos());
            }
            match name {
                "bases" => bases = entries(value)?,
                "imageTags" => image_tags = value.list()?,
                "helmChartInflationGenerator" => old_charts = value.list::<HelmChart>()?,
                _ => read.set(name, value).within(|| "invalid Kustomization".to_owned())?,
            }
        }
        read.warnings = read.deprecations();
        let is_empty = read.is_empty() && bases.is_empty() && image_tags.is_empty() && old_charts.is_empty();
        read.resources.append(&mut bases);
        read.images.append(&mut image_tags);
        HelmChart::move_globals(&old_charts, &mut read.helm_globals);
        read.helm_charts.append(&mut old_charts);
        read.default_kind();
        read.says_nothing = is_empty;
        Ok(read)
    }

    /// Checks that something is said.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, at: At<'_>) -> Result<()> {
        match self.says_nothing {
            true => Err(Error::kustomization("kustomization.yaml is empty").at(at.pos())),
            false => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: At<'_>) -> Result<()> {
        match name {
            "kind" => self.kind = value.text()?,
            "apiVersion" => self.api_version = value.text()?,
            "openapi" => self.openapi = value.texts()?,
            "namePrefix" => self.name_prefix = value.text()?,
            "nameSuffix" => self.name_suffix = value.text()?,
            "namespace" => self.namespace = value.text()?,
            "commonLabels" => self.common_labels = value.texts()?,
            "labels" => self.labels = value.list()?,
            "commonAnnotations" => self.common_annotations = value.texts()?,
            "patchesStrategicMerge" => self.patches_strategic_merge = entries(value)?,
            "patchesJson6902" => self.patches_json6902 = value.list()?,
            "patches" => self.patches = value.list()?,
            "images" => self.images = value.list()?,
            "replacements" => self.replacements = value.list()?,
            "replicas" => self.replicas = value.list()?,
            "vars" => self.vars = value.list()?,
            "sortOptions" => self.sort_options = value.optional()?,
            _ => return self.set_operand(name, value),
        }
        Ok(())
    }

    fn set_operand(&mut self, name: &str, value: At<'_>) -> Result<()> {
        match name {
            "resources" => self.resources = entries(value)?,
            "components" => self.components = entries(value)?,
            "crds" => self.crds = entries(value)?,
            "configMapGenerator" => self.config_map_generator = value.list()?,
            "secretGenerator" => self.secret_generator = value.list()?,
            "generatorOptions" => self.generator_options = value.optional()?,
            "helmGlobals" => self.helm_globals = value.or_default()?,
            "helmCharts" => self.helm_charts = value.list()?,
            "configurations" => self.configurations = entries(value)?,
            "generators" => self.generators = entries(value)?,
            "transformers" => self.transformers = entries(value)?,
            "validators" => self.validators = entries(value)?,
            "buildMetadata" => self.build_metadata = value.list()?,
            "metadata" if !value.is_null() => check_metadata(value)?,
            _ => {}
        }
        Ok(())
    }

    fn deprecations(&self) -> Vec<String> {
        let there = DEPRECATED.iter().filter(|(old, _, _)| self.places.contains_key(old));
        there
            .map(|(old, new, mark)| {
                format!(
                    "# Warning: '{old}' is deprecated. Please use '{new}' instead. \
                     {mark}Run 'kustomize edit fix' to update your Kustomization automatically."
                )
            })
            .collect()
    }

    /// Whether no field says anything. An empty list says that it is empty; an empty text says nothing.
    fn is_empty(&self) -> bool {
        let is_said = |name: &&str| match *name {
            "kind" | "apiVersion" | "bases" | "imageTags" | "helmChartInflationGenerator" => false,
            "namePrefix" => !self.name_prefix.is_empty(),
            "nameSuffix" => !self.name_suffix.is_empty(),
            "namespace" => !self.namespace.is_empty(),
            _ => true,
        };
        !self.places.keys().any(is_said)
    }

    fn default_kind(&mut self) {
        if self.kind.is_empty() {
            KIND.clone_into(&mut self.kind);
        }
        if self.api_version.is_empty() {
            required_version(&self.kind).clone_into(&mut self.api_version);
        }
    }

    /// Checks kind and version.
    ///
    /// # Errors
    /// If they are not those of a kustomization.
    pub fn check_type(&self, root: &str) -> Result<()> {
        let mut wrong = Vec::new();
        let mut pos = None;
        if self.kind != KIND && self.kind != COMPONENT {
            wrong.push(format!("kind should be {KIND} or {COMPONENT}"));
            pos = self.places.get("kind");
        }
        let required = required_version(&self.kind);
        if self.api_version != required {
            wrong.push(format!("apiVersion for {} should be {required}", self.kind));
            pos = pos.or(self.places.get("apiVersion"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let why = format!("Failed to read kustomization file under {root}:\n{}", wrong.join("\n"));
        Err(Error::kustomization(why).at(pos.copied().unwrap_or_default()))
    }

    /// Whether it is a component.
    pub fn is_component(&self) -> bool {
        self.kind == COMPONENT
    }

    /// Where a field stands.
    pub fn place(&self, name: &str) -> Pos {
        self.places.get(name).copied().unwrap_or_default()
    }
}

/// Texts and where they stand; null is an empty one.
fn entries(at: At<'_>) -> Result<Vec<Entry>> {
    at.items()?.into_iter().map(Entry::decode).collect()
}

fn required_version(kind: &str) -> &'static str {
    match kind {
        COMPONENT => "kustomize.config.k8s.io/v1alpha1",
        _ => "kustomize.config.k8s.io/v1beta1",
    }
}

fn check_metadata(at: At<'_>) -> Result<()> {
    for (name, value) in at.record(&["name", "namespace", "labels", "annotations"])? {
        match name {
            "name" | "namespace" => value.text().map(|_| ())?,
            _ => value.texts().map(|_| ())?,
        }
    }
    Ok(())
}
