//! The fields of a kustomization that make objects: ConfigMaps, Secrets, Helm charts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Entry;
use crate::kustomize::decode::{At, Decode};
use crate::kustomize::error::Result;
use crate::kustomize::yaml::Pos;

/// What generated objects get besides data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// Their labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Their annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Whether their names stay without the hash of their content.
    pub disable_name_suffix_hash: bool,
    /// Whether they are immutable.
    pub immutable: bool,
}

impl Decode for GeneratorOptions {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in at.record(&["labels", "annotations", "disableNameSuffixHash", "immutable"])? {
            match name {
                "labels" if !value.is_null() => options.labels = Some(value.texts()?),
                "annotations" if !value.is_null() => options.annotations = Some(value.texts()?),
                "disableNameSuffixHash" => options.disable_name_suffix_hash = value.boolean()?,
                "immutable" => options.immutable = value.boolean()?,
                _ => {}
            }
        }
        Ok(options)
    }
}

impl GeneratorOptions {
    /// The options of one generator under those of all: its own labels and annotations win, switches add up.
    pub fn under(own: Option<&Self>, global: Option<&Self>) -> Option<Self> {
        let Some(global) = global else {
            return own.cloned();
        };
        let mut merged = own.cloned().unwrap_or_default();
        let fill = |own: &mut Option<BTreeMap<String, String>>, global: &Option<BTreeMap<String, String>>| {
            if let Some(global) = global {
                let own = own.get_or_insert_default();
                for (key, value) in global {
                    own.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
        };
        fill(&mut merged.labels, &global.labels);
        fill(&mut merged.annotations, &global.annotations);
        merged.disable_name_suffix_hash |= global.disable_name_suffix_hash;
        merged.immutable |= global.immutable;
        Some(merged)
    }
}

/// A ConfigMap or Secret to make.
#[derive(Debug, Clone, Default)]
pub struct GeneratorSpec {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `create`, `merge` or `replace`.
    pub behavior: String,
    /// `key=value`.
    pub literals: Vec<Entry>,
    /// `path` or `key=path`.
    pub files: Vec<Entry>,
    /// Files of `key=value` lines.
    pub envs: Vec<Entry>,
    /// What it gets besides data.
    pub options: Option<GeneratorOptions>,
    /// A Secret's type.
    pub secret_type: String,
    /// Where this stands.
    pub pos: Pos,
}

const SPEC_FIELDS: [&str; 9] = [
    "namespace",
    "name",
    "behavior",
    "literals",
    "files",
    "envs",
    "env",
    "options",
    "type",
];

impl GeneratorSpec {
    /// Sets a field; says whether there is such a field.
    ///
    /// # Errors
    /// If the value has another shape.
    pub fn set(&mut self, name: &str, value: At<'_>) -> Result<bool> {
        match name {
            "namespace" => self.namespace = value.text()?,
            "name" => self.name = value.text()?,
            "behavior" => self.behavior = value.text()?,
            "literals" => self.literals = value.list()?,
            "files" => self.files = value.list()?,
            "envs" => self.envs.splice(0..0, value.list::<Entry>()?).for_each(drop),
            "env" => {
                let env: Entry = value.or_default()?;
                if !env.text.is_empty() {
                    self.envs.push(env);
                }
            }
            "options" => self.options = value.optional()?,
            "type" => self.secret_type = value.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads one that is a plugin's configuration: what is not known is not looked at, and name and namespace may stand in
    /// `metadata`.
    ///
    /// # Errors
    /// If a field has another shape.
    pub fn of_plugin(at: At<'_>) -> Result<Self> {
        let mut spec = Self {
            pos: at.pos(),
            ..Self::default()
        };
        let (mut name, mut namespace) = (String::new(), String::new());
        let [a, b, c, d, e, f, g, h, i] = SPEC_FIELDS;
        let (fields, _) = at.open_record(&[a, b, c, d, e, f, g, h, i, "metadata"])?;
        // `env` is moved to `envs` in kustomizations only.
        for (field, value) in fields.into_iter().filter(|(field, _)| *field != "env") {
            if spec.set(field, value)? || value.is_null() {
                continue;
            }
            for (field, value) in value.open_record(&["name", "namespace"])?.0 {
                match field {
                    "name" => name = value.text()?,
                    _ => namespace = value.text()?,
                }
            }
        }
        if spec.name.is_empty() {
            spec.name = name;
        }
        if spec.namespace.is_empty() {
            spec.namespace = namespace;
        }
        Ok(spec)
    }
}

impl Decode for GeneratorSpec {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut spec = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.record(&SPEC_FIELDS)? {
            spec.set(name, value)?;
        }
        Ok(spec)
    }
}

/// What holds for all Helm charts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelmGlobals {
    /// The directory that charts are in; `charts` if it is not said.
    pub chart_home: String,
    /// Helm's own directory.
    pub config_home: String,
}

impl Decode for HelmGlobals {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut globals = Self::default();
        for (name, value) in at.record(&["chartHome", "configHome"])? {
            match name {
                "chartHome" => globals.chart_home = value.text()?,
                _ => globals.config_home = value.text()?,
            }
        }
        Ok(globals)
    }
}

/// A Helm chart to render.
#[derive(Debug, Clone, Default)]
pub struct HelmChart {
    /// The chart's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The repository that it is pulled from.
    pub repo: String,
    /// The release's name.
    pub release_name: String,
    /// The release's namespace.
    pub namespace: String,
    /// Further files of values.
    pub additional_values_files: Vec<String>,
    /// The file of values.
    pub values_file: String,
    /// Values.
    pub values_inline: Option<Value>,
    /// How values and the file's come together.
    pub values_merge: String,
    /// Switches that are set, as Helm's flags.
    pub flags: Vec<&'static str>,
    /// API versions that the chart may think are there.
    pub api_versions: Vec<String>,
    /// The Kubernetes version that the chart may think is there.
    pub kube_version: String,
    /// A template for the release's name.
    pub name_template: String,
    /// Where charts are and Helm's directory, in the deprecated form.
    globals: HelmGlobals,
    /// Where this stands.
    pub pos: Pos,
}

/// Switches and Helm's flags for them, in the order in which the reference hands them over.
const SWITCHES: [(&str, &str); 5] = [
    ("includeCRDs", "--include-crds"),
    ("skipTests", "--skip-tests"),
    ("skipHooks", "--no-hooks"),
    ("debug", "--debug"),
    ("devel", "--devel"),
];

const CHART_FIELDS: [&str; 29] = [
    "name",
    "version",
    "repo",
    "releaseName",
    "namespace",
    "additionalValuesFiles",
    "valuesFile",
    "valuesInline",
    "valuesMerge",
    "includeCRDs",
    "skipHooks",
    "apiVersions",
    "kubeVersion",
    "nameTemplate",
    "skipTests",
    "debug",
    "devel",
    // The deprecated form's.
    "chartName",
    "chartVersion",
    "chartRepoUrl",
    "chartHome",
    "chartRepoName",
    "helmBin",
    "helmHome",
    "values",
    "valuesLocal",
    "releaseNamespace",
    "extraArgs",
    "configHome",
];

impl Decode for HelmChart {
    fn decode(at: At<'_>) -> Result<Self> {
        let mut chart = Self {
            pos: at.pos(),
            ..Self::default()
        };
        let mut set = Vec::new();
        for (name, value) in at.record(&CHART_FIELDS)? {
            if SWITCHES.iter().any(|(switch, _)| *switch == name) {
                if value.boolean()? {
                    set.push(name);
                }
            } else {
                chart.set(name, value)?;
            }
        }
        let flags = SWITCHES.iter().filter(|(switch, _)| set.contains(switch));
        chart.flags = flags.map(|(_, flag)| *flag).collect();
        Ok(chart)
    }
}

impl HelmChart {
    fn set(&mut self, name: &str, value: At<'_>) -> Result<()> {
        match name {
            "name" | "chartName" => self.name = value.text()?,
            "version" | "chartVersion" => self.version = value.text()?,
            "repo" | "chartRepoUrl" => self.repo = value.text()?,
            "releaseName" => self.release_name = value.text()?,
            "namespace" => self.namespace = value.text()?,
            "additionalValuesFiles" => self.additional_values_files = value.list()?,
            "valuesFile" | "values" => self.values_file = value.text()?,
            "valuesInline" | "valuesLocal" if !value.is_null() => {
                self.values_inline = Some(value.graph.to_legacy_json(value.id)?);
            }
            "valuesMerge" => self.values_merge = value.text()?,
            "apiVersions" => self.api_versions = value.list()?,
            "kubeVersion" => self.kube_version = value.text()?,
            "nameTemplate" => self.name_template = value.text()?,
            "chartHome" => self.globals.chart_home = value.text()?,
            "helmHome" | "configHome" => self.globals.config_home = value.text()?,
            // The deprecated form's other fields are read and not used.
            _ => {}
        }
        Ok(())
    }

    /// Takes what holds for all charts out of charts in the deprecated form, unless it is said elsewhere.
    pub fn move_globals(old: &[Self], globals: &mut HelmGlobals) {
        if *globals != HelmGlobals::default() {
            return;
        }
        for chart in old {
            if !chart.globals.config_home.is_empty() {
                globals.config_home.clone_from(&chart.globals.config_home);
            }
            if !chart.globals.chart_home.is_empty() {
                globals.chart_home.clone_from(&chart.globals.chart_home);
            }
        }
    }
}
