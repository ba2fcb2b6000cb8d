//! Kustomize in-process: an overlay in, documents out, byte for byte as `kubectl kustomize` prints them.
//!
//! A pure function over a small view of files ([`FileSystem`]); Helm, git and the network are behind [`Tools`] and refused by
//! default. Knows nothing of the node, its store or its sources.
//!
//! ```text
//! directory ─ loader ─► kustomization ─ target ─► objects ─ steps: generate, transform, validate ─► objects
//!                            ▲                       │
//!                            └── bases, components ──┘            then once: hashes, references, variables, order, print
//! ```
//!
//! Objects live in a `graph` of shared nodes, because the reference shares them and it shows. Tables say which fields a
//! transformer changes (`fieldspec`), which lists merge by which keys (`openapi`), and which types have no namespace (`scope`).

mod cache;
mod crds;
mod decode;
mod disk;
mod error;
mod fieldspec;
mod fs;
mod generator;
mod gopattern;
mod graph;
mod kustomization;
mod loader;
mod merge;
mod openapi;
mod order;
mod origin;
mod paths;
mod plugin;
mod programs;
mod read;
mod remote;
mod replay;
mod resid;
mod resmap;
mod resource;
mod result;
mod scope;
mod selector;
mod steps;
mod target;
mod tools;
mod transformer;
mod world;
pub mod yaml;

use std::sync::Arc;

pub use self::cache::Cache;
pub use self::disk::{Contents, Disk};
use self::error::Result;
pub use self::error::Why;
use self::fieldspec::FieldSpec;
pub use self::fs::{FileSystem, MemoryFiles, Resolved};
pub use self::kustomization::FILE_NAMES;
use self::kustomization::SortOptions;
use self::loader::Loader;
use self::origin::Origin;
pub use self::programs::Programs;
pub use self::remote::RepoSpec;
use self::replay::{Record, Trace, replay};
use self::resmap::ResMap;
use self::resource::note;
pub use self::result::{Build, Built, Failure, Place};
use self::target::{Accumulator, Target};
pub use self::tools::{HelmRun, NoTools, Tools};
use self::transformer::{TextsTransformer, Transform, add_hashes, fix_references, resolve_vars, sort};
use self::world::World;

/// The version that `managedByLabel` writes, as kubectl 1.37 does.
const MANAGED_BY: &str = "kustomize-v5.8.1";

/// What the user allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether files other than kustomizations must lie below the kustomization that names them.
    pub restrict_to_root: bool,
    /// Whether charts may be rendered by helm.
    pub enable_helm: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            restrict_to_root: true,
            enable_helm: false,
        }
    }
}

/// Builds the overlay in a directory.
///
/// The path is absolute. Warnings are part of both results: they were said before the build failed.
///
/// # Errors
/// If Kustomize would refuse the overlay, or it is larger than any real one.
pub fn build(
    files: &dyn FileSystem,
    tools: &dyn Tools,
    directory: &str,
    options: &Options,
) -> std::result::Result<Build, Box<Failure>> {
    let mut world = World::new(files, tools, options, None);
    match run(&mut world, directory) {
        Ok(documents) => Ok(Build::new(world, documents)),
        Err(error) => Err(Box::new(Failure::new(world, error))),
    }
}

/// As [`build`], reusing what did not change since the last build with the same cache.
///
/// # Errors
/// As [`build`].
pub fn rebuild(
    files: &dyn FileSystem,
    tools: &dyn Tools,
    directory: &str,
    options: &Options,
    cache: &mut Cache,
) -> std::result::Result<Build, Box<Failure>> {
    if let Some(build) = replay(files, tools, directory, options, cache) {
        return Ok(build);
    }
    cache.begin();
    let mut world = World::new(files, tools, options, Some(cache));
    world.trace = Some(Trace::default());
    // A build that fails has not seen all files: what it did not see is still worth keeping.
    let documents = match run(&mut world, directory) {
        Ok(documents) => documents,
        Err(error) => return Err(Box::new(Failure::new(world, error))),
    };
    let (trace, schema) = (world.trace.take(), Arc::clone(&world.schema));
    let build = Build::new(world, documents);
    cache.end();
    cache.record = trace.and_then(|trace| Record::new(directory, options, trace, schema, &build));
    Ok(build)
}

fn run(world: &mut World<'_>, directory: &str) -> Result<Vec<Built>> {
    let map = accumulate(world, directory)?;
    result::print(world, &map)
}

fn accumulate(world: &mut World<'_>, directory: &str) -> Result<ResMap> {
    let loader = Loader::new(world, directory)?;
    let mut target = Target::load(world, loader)?;
    target.choose_schema(world)?;
    let metadata = target.kustomization.build_metadata.clone();
    target.origin = (!metadata.is_empty()).then(Origin::default);
    let Accumulator { mut map, config, vars } = target.accumulate(world, Accumulator::default())?;
    add_hashes(world, &mut map)?;
    let candidates = fix_references(world, &mut map, &config.name_reference)?;
    if let Some(trace) = &mut world.trace {
        trace.fixed_references(&world.graph, candidates, &config);
        if !vars.is_empty() || !metadata.is_empty() {
            trace.give_up();
        }
    }
    resolve_vars(world, &mut map, &vars, &config.var_reference)?;
    drop_local(world, &mut map)?;
    let order = target
        .kustomization
        .sort_options
        .clone()
        .unwrap_or_else(SortOptions::legacy);
    sort(world, &mut map, &order)?;
    let asks = |word: &str| metadata.iter().any(|there| there == word);
    if asks("managedByLabel") {
        let label = TextsTransformer {
            texts: [("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned())].into(),
            specs: vec![FieldSpec::of_all("metadata/labels", true)],
            pos: target.kustomization.place("buildMetadata"),
        };
        label.transform(world, &mut map)?;
    }
    remove_notes(world, &map, asks("originAnnotations"), asks("transformerAnnotations"))?;
    Ok(map)
}

/// Drops objects that are there for the build only. What is left may have become one object twice on its way.
fn drop_local(world: &World<'_>, map: &mut ResMap) -> Result<()> {
    let graph = &world.graph;
    map.list_mut().retain(|resource| {
        let is_local = |root| {
            let word = graph.annotation(root, "config.kubernetes.io/local-config");
            word.is_some_and(|word| word != "false")
        };
        resource
            .root
            .is_some_and(|root| !graph.is_hollow(root) && !is_local(root))
    });
    let left = std::mem::take(map);
    map.append_all(graph, left.list().to_vec())
}

/// Removes what was noted on the way. Annotations are strings in order afterwards, and gone if there are none.
fn remove_notes(world: &mut World<'_>, map: &ResMap, keeps_origin: bool, keeps_changes: bool) -> Result<()> {
    for root in map.roots() {
        let graph = &mut world.graph;
        let mut names = note::REMOVED.to_vec();
        if !keeps_origin {
            names.push(note::ORIGIN);
        }
        if !keeps_changes {
            names.push(note::TRANSFORMATIONS);
        }
        if keeps_origin && keeps_changes && graph.meta_texts(root, "annotations").is_empty() {
            continue;
        }
        graph.remove_notes(root, &names)?;
    }
    Ok(())
}
