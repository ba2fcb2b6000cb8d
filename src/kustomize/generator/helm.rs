//! Helm charts, rendered by the helm that is installed. What to run is decided here; running it is the tools' work.

use super::Generate;
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::kustomization::{HelmChart, HelmGlobals};
use crate::kustomize::loader::Loader;
use crate::kustomize::merge::merge;
use crate::kustomize::openapi::Schema;
use crate::kustomize::paths;
use crate::kustomize::read::read_resources;
use crate::kustomize::resource::{Resource, note};
use crate::kustomize::tools::HelmRun;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Html, go_json};

/// The directory of charts where nothing else is said.
const CHART_HOME: &str = "charts";

/// Renders one chart.
#[derive(Debug, Clone)]
pub struct HelmGenerator {
    chart: HelmChart,
    globals: HelmGlobals,
}

impl HelmGenerator {
    /// Checks what can be checked before anything is run.
    ///
    /// # Errors
    /// If Helm is not allowed here, or the chart is not said.
    pub fn new(world: &mut World<'_>, loader: &Loader, chart: HelmChart, globals: HelmGlobals) -> Result<Self> {
        let pos = chart.pos;
        if !world.options.enable_helm {
            return Err(Error::forbidden("must specify --enable-helm").at(pos));
        }
        if chart.name.is_empty() {
            return Err(Error::kustomization("chart name cannot be empty").at(pos));
        }
        if !matches!(chart.values_merge.as_str(), "" | "merge" | "override" | "replace") {
            return Err(Error::kustomization("valuesMerge must be one of [merge override replace]").at(pos));
        }
        let mut made = Self { chart, globals };
        if made.chart.values_file.is_empty() {
            made.chart.values_file = paths::join(&made.chart_home(loader), &format!("{}/values.yaml", made.chart.name));
        }
        for file in &mut made.chart.additional_values_files {
            loader
                .load(world, file)
                .within(|| "could not load additionalValuesFile".to_owned())
                .at(pos)?;
            *file = paths::join(loader.root(), file);
        }
        Ok(made)
    }

    fn chart_home(&self, loader: &Loader) -> String {
        let home = if self.globals.chart_home.is_empty() {
            CHART_HOME
        } else {
            &self.globals.chart_home
        };
        let home = if home.starts_with('/') {
            home.to_owned()
        } else {
            paths::join(loader.root(), home)
        };
        match self.chart.version.is_empty() || self.chart.repo.is_empty() {
            true => home,
            false => paths::join(&home, &format!("{}-{}", self.chart.name, self.chart.version)),
        }
    }

    /// What `helm template` is told, but for the file of values, which is written when it runs.
    fn arguments(&self, home: &str) -> (Vec<String>, Vec<String>) {
        let chart = &self.chart;
        let mut before = vec!["template".to_owned()];
        before.push(match chart.release_name.as_str() {
            "" => "--generate-name".to_owned(),
            name => name.to_owned(),
        });
        before.push(paths::join(home, &chart.name));
        let pair = |list: &mut Vec<String>, flag: &str, value: &str| {
            if !value.is_empty() {
                list.extend([flag.to_owned(), value.to_owned()]);
            }
        };
        pair(&mut before, "--namespace", &chart.namespace);
        pair(&mut before, "--name-template", &chart.name_template);
        let mut after = Vec::new();
        for file in &chart.additional_values_files {
            pair(&mut after, "-f", file);
        }
        for version in &chart.api_versions {
            pair(&mut after, "--api-versions", version);
        }
        pair(&mut after, "--kube-version", &chart.kube_version);
        after.extend(chart.flags.iter().map(|flag| (*flag).to_owned()));
        (before, after)
    }

    fn pull(&self, home: &str) -> Vec<String> {
        let chart = &self.chart;
        let mut pull = ["pull", "--untar", "--untardir", home].map(str::to_owned).to_vec();
        if chart.repo.starts_with("oci://") {
            pull.push(format!("{}/{}", chart.repo.trim_end_matches('/'), chart.name));
        } else {
            pull.extend(["--repo".to_owned(), chart.repo.clone(), chart.name.clone()]);
        }
        if !chart.version.is_empty() {
            pull.extend(["--version".to_owned(), chart.version.clone()]);
        }
        if chart.flags.contains(&"--devel") {
            pull.push("--devel".to_owned());
        }
        pull
    }

    fn values(&self, world: &mut World<'_>, loader: &Loader) -> Result<String> {
        let inline = self
            .chart
            .values_inline
            .clone()
            .filter(|values| values.as_object().is_none_or(|map| !map.is_empty()));
        let Some(inline) = inline else {
            let file = loader.load(world, &self.chart.values_file)?;
            return Ok(String::from_utf8_lossy(&file.bytes).into_owned());
        };
        if self.chart.values_merge == "replace" {
            return Ok(go_json(&inline, Html::AsIs));
        }
        let file = loader.load(world, &self.chart.values_file)?;
        let text = String::from_utf8_lossy(&file.bytes).into_owned();
        let graph = &mut world.graph;
        let made = graph.add_json_text(&inline, self.chart.pos)?;
        let (Some(theirs), Some(inline)) = (graph.parse_inner(&text)?, made) else {
            return Ok(go_json(&inline, Html::AsIs));
        };
        let (low, high) = if self.chart.values_merge == "merge" {
            (inline, theirs)
        } else {
            (theirs, inline)
        };
        merge(graph, &Schema::default(), low, high).within(|| "could not merge values".to_owned())?;
        Ok(go_json(&graph.to_json(low)?, Html::AsIs))
    }
}

impl Generate for HelmGenerator {
    fn generate(&self, world: &mut World<'_>, loader: &Loader) -> Result<Vec<Resource>> {
        let home = self.chart_home(loader);
        let (before_values, after_values) = self.arguments(&home);
        let chart = paths::join(&home, &self.chart.name);
        if !world.exists(&chart) {
            if self.chart.repo.is_empty() {
                let why = format!("no repo specified for pull, no chart found at '{chart}'");
                return Err(Error::kustomization(why).at(self.chart.pos));
            }
            let pull = HelmRun::Pull(self.pull(&home));
            world.helm(&pull, &self.globals.config_home).at(self.chart.pos)?;
        }
        world.depend_on_all_in(&chart);
        let run = HelmRun::Template {
            before_values,
            values: self.values(world, loader).at(self.chart.pos)?,
            after_values,
        };
        let output = world.helm(&run, &self.globals.config_home).at(self.chart.pos)?;
        let file = world.name_file(&format!("{chart} (rendered by helm)"));
        let made = read_resources(&mut world.graph, &output, file)?;
        for resource in &made {
            let root = resource.root.expect("what was read is there");
            world.graph.set_annotation(root, note::HELM, "true")?;
        }
        Ok(made)
    }

    fn kind(&self) -> &'static str {
        "HelmChartInflationGenerator"
    }
}
