//! A change of some files' objects, worked into the build before it.
//!
//! A build notes what it looked at, and which transformers ran on the objects of which files. Where only such files changed,
//! and what others may see of their objects (type and metadata) is as it was, no other object can come out differently: the
//! transformers, which look at one object at a time, run again on these alone. What does not fit, an error included, is
//! left to a whole build.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::cache::Cache;
use super::fieldspec::TransformerConfig;
use super::fs::{FileSystem, Resolved};
use super::graph::Graph;
use super::openapi::Schema;
use super::resmap::ResMap;
use super::resource::{Resource, Source};
use super::result::{Build, print_one};
use super::tools::Tools;
use super::transformer::{Candidates, Transform, add_hashes};
use super::world::{File, World};
use super::yaml::FileId;
use super::{Options, drop_local, remove_notes};

/// How many times the nodes and the text of a whole build may be there before one is due: those of objects that were
/// replaced stay.
const MAX_GROWTH: usize = 2;

/// What a build notes on its way.
#[derive(Debug, Default)]
pub struct Trace {
    resolved: HashMap<String, Option<Resolved>>,
    read: HashMap<String, Seen>,
    steps: Vec<Step>,
    whole: Option<Whole>,
    is_void: bool,
}

/// A file that was read, or was not there.
#[derive(Debug, Default)]
struct Seen {
    id: FileId,
    bytes: Option<Arc<[u8]>>,
    /// How often it was read, and how often for its objects.
    times: u32,
    for_objects: u32,
}

/// A transformer, and the files whose objects it ran on.
#[derive(Debug)]
struct Step {
    transformer: Box<dyn Transform>,
    files: HashSet<FileId>,
    /// Where the objects come from that it is for, if its own file may change.
    aims: Vec<Option<Source>>,
}

/// Where the objects come from that a transformer is for, as far as it follows its file.
pub fn aims_of(transformer: &dyn Transform, graph: &Graph, map: &ResMap) -> Vec<Option<Source>> {
    let places = transformer.aims_at(graph, map).into_iter();
    places.map(|at| map.list()[at].source).collect()
}

/// What changed since a build.
#[derive(Debug, Default)]
struct Changed {
    /// Files of objects.
    objects: Vec<File>,
    /// Files that transformers were made from.
    patches: Vec<File>,
}

/// What references were fixed by.
#[derive(Debug)]
struct Whole {
    candidates: Candidates,
    config: Arc<TransformerConfig>,
}

impl Trace {
    /// The build uses what can't be worked out for one object alone, or comes from elsewhere than files.
    pub fn give_up(&mut self) {
        self.is_void = true;
    }

    /// Links were followed.
    pub fn resolved(&mut self, path: &str, found: Option<&Resolved>) {
        self.resolved.insert(path.to_owned(), found.cloned());
    }

    /// A file was read, or is not there.
    pub fn read(&mut self, path: &str, file: Option<&File>) {
        let seen = self.read.entry(path.to_owned()).or_default();
        seen.times += 1;
        seen.id = file.map(|file| file.id).unwrap_or_default();
        seen.bytes = file.map(|file| Arc::clone(&file.bytes));
    }

    /// A file was read for its objects.
    pub fn read_objects(&mut self, path: &str) {
        self.read.entry(path.to_owned()).or_default().for_objects += 1;
    }

    /// A transformer ran, which was for the objects that come from there.
    pub fn ran(&mut self, transformer: Box<dyn Transform>, aims: Vec<Option<Source>>, map: &ResMap) {
        let sources = map.list().iter().filter_map(|resource| resource.source);
        let files = sources.map(|source| source.file).collect();
        self.steps.push(Step {
            transformer,
            files,
            aims,
        });
    }

    /// References were fixed.
    pub fn fixed_references(&mut self, graph: &Graph, candidates: Candidates, config: &Arc<TransformerConfig>) {
        // Objects are noted on those that they refer to, which fails where something else is in that place.
        self.is_void |= !candidates.roots().all(|root| {
            let annotations = graph
                .metadata(root)
                .and_then(|metadata| graph.get(metadata, "annotations"));
            annotations.is_none_or(|annotations| graph.is_null(annotations) || graph.is_mapping(annotations))
        });
        self.whole = Some(Whole {
            candidates,
            config: Arc::clone(config),
        });
    }
}

/// A build and how it came about.
#[derive(Debug)]
pub struct Record {
    directory: String,
    options: Options,
    trace: Trace,
    whole: Whole,
    schema: Arc<Schema>,
    build: Build,
    /// How many nodes, and how many bytes of text, it had before anything was worked in.
    nodes: usize,
    bytes: usize,
}

impl Record {
    /// Keeps a build, if changes can be worked into it.
    pub fn new(
        directory: &str,
        options: &Options,
        mut trace: Trace,
        schema: Arc<Schema>,
        build: &Build,
    ) -> Option<Self> {
        let whole = trace.whole.take().filter(|_| !trace.is_void)?;
        Some(Self {
            directory: directory.to_owned(),
            options: options.clone(),
            trace,
            whole,
            schema,
            build: build.clone(),
            nodes: build.graph().count(),
            bytes: build.graph().bytes(),
        })
    }

    /// The files of objects and of patches that changed; `None` if anything else did.
    fn changed(&self, files: &dyn FileSystem) -> Option<Changed> {
        let is_same = |(path, was): (&String, &Option<Resolved>)| files.resolve(path).ok() == *was;
        if !self.trace.resolved.iter().all(is_same) {
            return None;
        }
        let mut changed = Changed::default();
        for (path, seen) in &self.trace.read {
            let bytes = files.read(path).ok();
            if is_equal(bytes.as_ref(), seen.bytes.as_ref()) {
                continue;
            }
            let bytes = bytes.filter(|_| seen.times == 1)?;
            let file = File { id: seen.id, bytes };
            match seen.for_objects {
                0 if self.steps_of(seen.id).count() == 1 => changed.patches.push(file),
                1 => changed.objects.push(file),
                _ => return None,
            }
        }
        Some(changed)
    }

    /// The places of the transformers that were made from a file.
    fn steps_of(&self, file: FileId) -> impl Iterator<Item = usize> {
        let steps = self.trace.steps.iter().enumerate();
        steps.filter_map(move |(at, step)| (step.transformer.file() == Some(file)).then_some(at))
    }

    /// Makes transformers anew from their changed files; adds the files of the objects that they are for.
    fn reload(&mut self, world: &mut World<'_>, changed: &Changed) -> Option<Vec<File>> {
        let mut all: BTreeMap<FileId, File> = changed.objects.iter().map(|file| (file.id, file.clone())).collect();
        for patch in &changed.patches {
            let at = self.steps_of(patch.id).next()?;
            let step = &mut self.trace.steps[at];
            step.transformer = step.transformer.reload(world, patch).ok()??;
            for source in &step.aims {
                let id = (*source)?.file;
                let seen = self.trace.read.values().find(|seen| seen.id == id)?;
                let is_plain = (seen.times, seen.for_objects) == (1, 1);
                let bytes = seen.bytes.clone().filter(|_| is_plain)?;
                all.entry(id).or_insert(File { id, bytes });
            }
        }
        Some(all.into_values().collect())
    }

    /// Works changed files in; `None` if that can't be done, after which nothing here is of use.
    fn work_in(&mut self, world: &mut World<'_>, changed: &[File]) -> Option<()> {
        let mut map = ResMap::default();
        for file in changed {
            let objects = world.read_again(file)?;
            let mut own = ResMap::default();
            own.append_all(&world.graph, objects).ok()?;
            self.transform(world, file.id, &mut own)?;
            map.append_all(&world.graph, own.list().to_vec()).ok()?;
        }
        add_hashes(world, &mut map).ok()?;
        let files: HashSet<FileId> = changed.iter().map(|file| file.id).collect();
        let is_changed = |source: &Option<Source>| source.is_some_and(|source| files.contains(&source.file));
        let Whole { candidates, config } = &mut self.whole;
        let replaced = candidates.replace(&world.graph, &map)?;
        if replaced.len() != candidates.sources().filter(is_changed).count() {
            return None;
        }
        candidates
            .fix(&mut world.graph, &replaced, &config.name_reference)
            .ok()?;
        drop_local(world, &mut map).ok()?;
        remove_notes(world, &map, false, false).ok()?;
        let mut left = self
            .build
            .documents()
            .iter()
            .filter(|document| is_changed(&document.source))
            .count();
        for Resource { root, source, .. } in map.list() {
            let text = print_one(&world.graph, (*root)?).ok()?;
            self.build.replace(*source, (*root)?, text)?;
            left = left.checked_sub(1)?;
        }
        (left == 0).then_some(())
    }

    /// Runs the transformers that ran on a file's objects. What was changed before may bring them to others than before.
    fn transform(&mut self, world: &mut World<'_>, file: FileId, map: &mut ResMap) -> Option<()> {
        for step in self.trace.steps.iter_mut().filter(|step| step.files.contains(&file)) {
            step.aims
                .retain(|source| source.is_none_or(|source| source.file != file));
            step.aims.extend(aims_of(&*step.transformer, &world.graph, map));
            if !step.transformer.again(world, map).ok()? {
                return None;
            }
            map.drop_hollow(&world.graph);
        }
        Some(())
    }

    fn note(&mut self, changed: Changed) {
        for file in changed.objects.into_iter().chain(changed.patches) {
            let name = &self.build.file_names()[file.id.0 as usize];
            if let Some(seen) = self.trace.read.get_mut(name) {
                seen.bytes = Some(file.bytes);
            }
        }
    }
}

fn is_equal(a: Option<&Arc<[u8]>>, b: Option<&Arc<[u8]>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The build before with what changed since worked in; `None` if all has to be built again.
pub fn replay(
    files: &dyn FileSystem,
    tools: &dyn Tools,
    directory: &str,
    options: &Options,
    cache: &mut Cache,
) -> Option<Build> {
    // Taken out: what fails half-way is not left for the next time.
    let mut record = cache.record.take()?;
    if record.directory != directory || record.options != *options {
        return None;
    }
    let changed = record.changed(files)?;
    if !(changed.objects.is_empty() && changed.patches.is_empty()) {
        let mut world = World::new(files, tools, options, Some(cache));
        world.schema = Arc::clone(&record.schema);
        world.name_files(record.build.file_names());
        // Copied only if someone still holds the build before.
        std::mem::swap(&mut world.graph, record.build.graph_mut());
        let files = record.reload(&mut world, &changed)?;
        record.work_in(&mut world, &files)?;
        std::mem::swap(&mut world.graph, record.build.graph_mut());
        record.note(changed);
    }
    let build = record.build.clone();
    let graph = build.graph();
    if graph.count() <= record.nodes * MAX_GROWTH && graph.bytes() <= record.bytes * MAX_GROWTH {
        cache.record = Some(record);
    }
    Some(build)
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryFiles, NoTools, build, rebuild};
    use super::*;

    const TOP: &str = "\
resources: [../base]
namespace: dev
namePrefix: dev-
labels:
- pairs: {env: dev}
  includeSelectors: true
images:
- {name: nginx, newTag: '2'}
replicas:
- {name: other, count: 2}
patches:
- path: patch.yaml
- target: {kind: Deployment}
  patch: '[{\"op\": \"add\", \"path\": \"/spec/paused\", \"value\": true}]'
configMapGenerator:
- name: settings
  literals: [a=b]
";

    const PATCH: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {minReadySeconds: 3}
";

    fn deployment(name: &str, image: &str, settings: &str) -> String {
        format!(
            "\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  template:
    spec:
      containers:
      - name: main
        image: {image}
        envFrom:
        - configMapRef: {{name: {settings}}}
"
        )
    }

    fn files() -> MemoryFiles {
        let mut files = MemoryFiles::new();
        files.put("/base/kustomization.yaml", "resources: [web.yaml, other.yaml]");
        files.put("/base/web.yaml", deployment("web", "nginx:1", "settings"));
        files.put("/base/other.yaml", deployment("other", "nginx:1", "settings"));
        files.put("/top/kustomization.yaml", TOP);
        files.put("/top/patch.yaml", PATCH);
        files
    }

    /// Changes a file of an overlay that was built. Returns what was worked in, and what a whole build makes of it.
    fn change(top: &str, file: &str, text: String) -> (Option<Build>, Build) {
        let (mut files, options, mut cache) = (files(), Options::default(), Cache::default());
        files.put("/top/kustomization.yaml", top);
        rebuild(&files, &NoTools, "/top", &options, &mut cache).expect("built");
        files.put(file, text);
        let again = replay(&files, &NoTools, "/top", &options, &mut cache);
        let anew = build(&files, &NoTools, "/top", &options).expect("built");
        (again, anew)
    }

    #[test]
    fn what_others_do_not_see_is_worked_in() {
        for (file, text) in [
            ("/base/web.yaml", deployment("web", "nginx:1-alpine", "settings")),
            (
                "/base/web.yaml",
                format!("# moved\n{}", deployment("web", "redis", "other-settings")),
            ),
            ("/base/other.yaml", deployment("other", "nginx", "dev-settings")),
            ("/top/patch.yaml", PATCH.replace('3', "4")),
            (
                "/top/patch.yaml",
                PATCH.replace("minReadySeconds: 3", "replicas: 7, paused: false"),
            ),
            ("/top/patch.yaml", format!("# a comment\n\n{PATCH}")),
            (
                "/top/patch.yaml",
                PATCH.replace("name: web", "name: web, labels: {a: b}"),
            ),
        ] {
            let (again, anew) = change(TOP, file, text.clone());
            let again = again.unwrap_or_else(|| panic!("not worked in: {text}"));
            assert_eq!(again.text(), anew.text());
            assert_eq!(again.looked_at, anew.looked_at);
            for line in 1..=u32::try_from(anew.text().lines().count()).expect("few") {
                assert_eq!(
                    again.place_of_line(line),
                    anew.place_of_line(line),
                    "line {line} of {text}"
                );
            }
        }
    }

    #[test]
    fn what_others_may_see_is_built_anew() {
        let web = deployment("web", "nginx:1", "settings");
        for (file, text) in [
            ("/base/web.yaml", deployment("web2", "nginx:1", "settings")),
            ("/base/web.yaml", web.replace("app: web", "app: web2")),
            (
                "/base/web.yaml",
                format!("{web}---\n{}", deployment("more", "nginx:1", "settings")),
            ),
            ("/top/patch.yaml", PATCH.replace("name: web", "name: other")),
            (
                "/top/patch.yaml",
                PATCH.replace("spec: {minReadySeconds: 3}", "$patch: delete"),
            ),
            ("/top/patch.yaml", PATCH.replace("kind: Deployment", "kind: [")),
            (
                "/base/kustomization.yaml",
                "resources: [other.yaml, web.yaml]".to_owned(),
            ),
        ] {
            let (mut files, options, mut cache) = (files(), Options::default(), Cache::default());
            rebuild(&files, &NoTools, "/top", &options, &mut cache).expect("built");
            files.put(file, text.clone());
            let again = replay(&files, &NoTools, "/top", &options, &mut cache);
            assert!(again.is_none(), "worked in: {text}");
        }
    }

    #[test]
    fn a_json_patch_in_a_file_is_worked_into_all_that_it_selects() {
        let top = TOP.replace("- path: patch.yaml", "- {path: patch.yaml, target: {kind: Deployment}}");
        let operation = |value: u32| format!("- {{op: add, path: /spec/minReadySeconds, value: {value}}}\n");
        let (mut files, options, mut cache) = (files(), Options::default(), Cache::default());
        files.put("/top/kustomization.yaml", top);
        for value in 0..5 {
            files.put("/top/patch.yaml", operation(value));
            let again = replay(&files, &NoTools, "/top", &options, &mut cache);
            // Later ones are built anew from time to time, since replaced nodes stay.
            assert!(again.is_some() || value != 1, "the second is worked in");
            let again = again.map_or_else(|| rebuild(&files, &NoTools, "/top", &options, &mut cache), Ok);
            let anew = build(&files, &NoTools, "/top", &options).expect("built");
            assert_eq!(again.expect("built").text(), anew.text(), "edit {value}");
        }
    }

    #[test]
    fn an_overlay_in_which_objects_look_at_each_other_is_built_anew() {
        let replacement = "
replacements:
- source: {kind: Deployment, name: web, fieldPath: 'spec.template.spec.containers.0.image'}
  targets:
  - select: {kind: Deployment, name: other}
    fieldPaths: ['spec.template.spec.containers.0.image']
";
        let text = deployment("web", "redis:7", "settings");
        let (again, anew) = change(&format!("{TOP}{replacement}"), "/base/web.yaml", text);
        assert!(again.is_none());
        assert_eq!(anew.text().matches("image: redis:7").count(), 2);
    }

    #[test]
    fn many_changes_in_a_row_come_out_as_one_build() {
        let (mut files, options, mut cache) = (files(), Options::default(), Cache::default());
        for edit in 0..100 {
            let name = ["web", "other"][edit % 2];
            let image = format!("nginx:{edit}@sha256:{edit}");
            files.put(&format!("/base/{name}.yaml"), deployment(name, &image, "settings"));
            let again = rebuild(&files, &NoTools, "/top", &options, &mut cache).expect("built");
            let anew = build(&files, &NoTools, "/top", &options).expect("built");
            assert_eq!(again.text(), anew.text(), "edit {edit}");
            assert!(
                again.graph().count() < 4 * anew.graph().count(),
                "nodes that are not needed go"
            );
        }
    }
}
