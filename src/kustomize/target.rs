//! One kustomization and what it accumulates: the objects that it names, changed as it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crds::load_crds;
use super::decode::{At, Decode};
use super::error::{Context, Error, Result, Why};
use super::fieldspec::TransformerConfig;
use super::kustomization::{Entry, FILE_NAMES, Kustomization, Var};
use super::loader::Loader;
use super::origin::Origin;
use super::remote::RepoSpec;
use super::resid::ResId;
use super::resmap::ResMap;
use super::resource::{Resource, note};
use super::steps;
use super::world::World;
use super::yaml;

/// What has been accumulated.
#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    /// The objects.
    pub map: ResMap,
    /// The field specs in force.
    pub config: Arc<TransformerConfig>,
    /// The variables by name.
    pub vars: BTreeMap<String, Var>,
}

/// A kustomization that is being built.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it says.
    pub kustomization: Kustomization,
    /// What its file is called.
    pub file_name: &'static str,
    /// Where it loads from.
    pub loader: Loader,
    /// Where it is, if the output is to say so.
    pub origin: Option<Origin>,
    /// The namespace that charts get from the kustomizations that led here.
    pub helm_namespace: String,
}

impl Target {
    /// Reads a kustomization's file.
    ///
    /// # Errors
    /// If there is none or more than one, or what it says can't be.
    pub fn load(world: &mut World<'_>, loader: Loader) -> Result<Self> {
        world.count_kustomization()?;
        let mut found = None;
        for name in FILE_NAMES {
            if let Ok(file) = loader.load(world, name) {
                if found.is_some() {
                    let why = format!("Found multiple kustomization files under: {}", loader.root());
                    let second = yaml::Pos {
                        file: file.id,
                        line: 1,
                        column: 1,
                    };
                    return Err(Error::load(why).at(second));
                }
                found = Some((name, file));
            }
        }
        let Some((file_name, file)) = found else {
            return Err(Error::load(format!(
                "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{}'",
                loader.root()
            )));
        };
        let invalid = || "invalid Kustomization".to_owned();
        let text = yaml::decode(&file.bytes, file.id)
            .map_err(Error::from)
            .within(invalid)?;
        let document = yaml::parse_document(&text, file.id)
            .map_err(Error::from)
            .within(invalid)?;
        let empty = yaml::Node::mapping().at(yaml::Pos {
            file: file.id,
            line: 1,
            column: 1,
        });
        let mut root = document.map_or(empty, |document| document.root);
        yaml::expand_aliases(&mut root).map_err(Error::from).within(invalid)?;
        let root = world.graph.import(root)?;
        let at = At::root(&world.graph, root);
        let kustomization = Kustomization::read(at)?;
        world.warnings.extend(kustomization.warnings.iter().cloned());
        kustomization.check(at)?;
        kustomization.check_type(loader.root())?;
        Ok(Self {
            kustomization,
            file_name,
            loader,
            origin: None,
            helm_namespace: String::new(),
        })
    }

    /// Follows the kustomization's choice of a schema.
    ///
    /// # Errors
    /// If there is no such schema.
    pub fn choose_schema(&self, world: &mut World<'_>) -> Result<()> {
        let openapi = &self.kustomization.openapi;
        let pos = self.kustomization.place("openapi");
        let file = openapi
            .get("path")
            .map(|path| self.loader.load(world, path).at(pos))
            .transpose()?;
        world.choose_schema(openapi.get("version").map(String::as_str), file.as_ref(), pos)
    }

    /// Adds all that the kustomization says to what there is.
    ///
    /// # Errors
    /// If anything that it says can't be done.
    pub fn accumulate(&self, world: &mut World<'_>, acc: Accumulator) -> Result<Accumulator> {
        let resources = self.resources(world, acc, &self.kustomization.resources);
        let mut acc = resources.within(|| "accumulating resources".to_owned())?;
        let own = self.own_config(world)?;
        acc.config = TransformerConfig::merge(&acc.config, &own).within(|| "merging config".to_owned())?;
        let crds = load_crds(world, &self.loader, &self.kustomization.crds).within(|| "loading CRDs".to_owned())?;
        acc.config = TransformerConfig::merge(&acc.config, &Arc::new(crds)).within(|| "merging CRDs".to_owned())?;
        steps::generate(self, world, &mut acc)?;
        let mut acc = self
            .components(world, acc)
            .within(|| "accumulating components".to_owned())?;
        steps::transform(self, world, &mut acc)?;
        steps::validate(self, world, &mut acc)?;
        add_vars(world, &mut acc, &self.kustomization.vars).within(|| "merging vars".to_owned())?;
        Ok(acc)
    }

    fn own_config(&self, world: &mut World<'_>) -> Result<Arc<TransformerConfig>> {
        let mut added = Arc::new(TransformerConfig::default());
        for entry in &self.kustomization.configurations {
            let file = self.loader.load(world, &entry.text).at(entry.pos)?;
            let text = yaml::decode(&file.bytes, file.id)?;
            let Some(mut document) = yaml::parse_document(&text, file.id)? else {
                continue;
            };
            yaml::expand_aliases(&mut document.root)?;
            let root = world.graph.import(document.root)?;
            let at = At::root(&world.graph, root).coercing();
            at.check_keys()?;
            let config = if at.is_null() {
                TransformerConfig::default()
            } else {
                TransformerConfig::decode(at)?
            };
            added = TransformerConfig::merge(&added, &Arc::new(config)).at(entry.pos)?;
        }
        let added_at = self.kustomization.place("configurations");
        TransformerConfig::merge(&TransformerConfig::builtin(), &added).at(added_at)
    }

    /// Adds files and directories.
    ///
    /// # Errors
    /// If one is neither, or what is in it can't be added.
    pub fn resources(&self, world: &mut World<'_>, mut acc: Accumulator, entries: &[Entry]) -> Result<Accumulator> {
        for entry in entries {
            let Err(as_file) = self.add_file(world, &mut acc, &entry.text) else {
                continue;
            };
            let is_of_content =
                as_file.pos.is_some() || matches!(as_file.why, Why::Forbidden(_) | Why::Limit(_) | Why::Resources(_));
            if is_of_content && RepoSpec::parse(&entry.text).is_none() {
                return Err(as_file.at(entry.pos));
            }
            let loader = self.loader.below(world, &entry.text);
            let failed = || format!("accumulation err='{as_file}'");
            let loader = loader.within(failed).at(entry.pos)?;
            acc = self
                .add_directory(world, acc, &entry.text, loader, false)
                .at(entry.pos)?;
        }
        Ok(acc)
    }

    fn components(&self, world: &mut World<'_>, mut acc: Accumulator) -> Result<Accumulator> {
        for entry in &self.kustomization.components {
            let loader = self.loader.below(world, &entry.text).at(entry.pos)?;
            acc = self
                .add_directory(world, acc, &entry.text, loader, true)
                .at(entry.pos)?;
        }
        Ok(acc)
    }

    fn add_file(&self, world: &mut World<'_>, acc: &mut Accumulator, path: &str) -> Result<()> {
        let read = |world: &mut World<'_>| {
            let file = self.loader.load(world, path)?;
            world.read_objects(&file)
        };
        let resources = read(world).within(|| format!("accumulating resources from '{path}'"))?;
        if let Some(origin) = &self.origin {
            let text = origin.append(path).text();
            for root in resources.iter().filter_map(|resource| resource.root) {
                steps::annotate(&mut world.graph, root, note::ORIGIN, &text)?;
            }
        }
        let merged = append_unique(world, &mut acc.map, resources);
        merged.within(|| format!("merging resources from '{path}'"))
    }

    fn add_directory(
        &self,
        world: &mut World<'_>,
        acc: Accumulator,
        path: &str,
        loader: Loader,
        is_component: bool,
    ) -> Result<Accumulator> {
        let root = loader.root().to_owned();
        let mut sub = Self::load(world, loader).within(|| format!("couldn't make target for path '{root}'"))?;
        sub.kustomization
            .build_metadata
            .clone_from(&self.kustomization.build_metadata);
        sub.origin = self.origin.as_ref().map(|origin| origin.append(path));
        let namespace = &self.kustomization.namespace;
        sub.helm_namespace.clone_from(if namespace.is_empty() {
            &self.helm_namespace
        } else {
            namespace
        });
        sub.choose_schema(world)?;
        match (is_component, sub.kustomization.is_component()) {
            (true, false) => {
                let why = format!(
                    "expected kind 'Component' for path '{root}' but got '{}'",
                    sub.kustomization.kind
                );
                return Err(Error::load(why));
            }
            (false, true) => return Err(Error::load(format!("expected kind != 'Component' for path '{root}'"))),
            (true, true) | (false, false) => {}
        }
        let recursed = || format!("recursed accumulation of path '{root}'");
        let (mut acc, added) = match is_component {
            true => (Accumulator::default(), sub.accumulate(world, acc).within(recursed)?),
            false => (acc, sub.accumulate(world, Accumulator::default()).within(recursed)?),
        };
        world.count_handed_up(added.map.list().len())?;
        merge(world, &mut acc, added).within(|| format!("recursed merging from path '{root}'"))?;
        Ok(acc)
    }
}

/// Adds objects; a file that is added twice is told from two files with the same object by where they stand.
fn append_unique(world: &World<'_>, map: &mut ResMap, resources: Vec<Resource>) -> Result<()> {
    map.append_all(&world.graph, resources)
}

fn merge(world: &World<'_>, acc: &mut Accumulator, added: Accumulator) -> Result<()> {
    acc.map.append_all(&world.graph, added.map.list().to_vec())?;
    acc.config = TransformerConfig::merge(&acc.config, &added.config)?;
    added.vars.into_values().try_for_each(|var| add_var(acc, var))
}

fn add_var(acc: &mut Accumulator, var: Var) -> Result<()> {
    let (name, pos) = (var.name.clone(), var.pos);
    match acc.vars.insert(name.clone(), var) {
        None => Ok(()),
        Some(_) => Err(Error::kustomization(format!("var '{name}' already encountered")).at(pos)),
    }
}

/// Adds variables, and notes on objects which of them are theirs.
fn add_vars(world: &World<'_>, acc: &mut Accumulator, vars: &[Var]) -> Result<()> {
    for var in vars {
        let target = ResId::unscoped(var.target.gvk.clone(), &var.target.name, &var.target.namespace);
        let fits = |id: &ResId| match target.namespace.is_empty() {
            true => target.has_gvkn_of(id),
            false => target.is(id),
        };
        match acc.map.with_any_id(&world.graph, fits)?.as_slice() {
            [] => {}
            [at] => acc.map.list_mut()[*at].ref_vars.push(var.name.clone()),
            several => {
                let why = format!(
                    "found {} resId matches for var {} (unable to disambiguate)",
                    several.len(),
                    var.name
                );
                return Err(Error::resources(why).at(var.pos));
            }
        }
    }
    vars.iter().cloned().try_for_each(|var| add_var(acc, var))
}
