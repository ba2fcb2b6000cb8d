//! What a kustomization does with its objects, in the reference's order: generators, transformers, validators.

use super::error::{Context, Error, Result};
use super::fieldspec::{Create, FieldSpec, TransformerConfig, merge_all, merge_one, visit};
use super::generator::{ConfigGenerator, ConfigKind, Generate, HelmGenerator};
use super::graph::{Graph, Id, Put};
use super::kustomization::{Entry, GeneratorOptions, Kustomization};
use super::origin::Origin;
use super::plugin::{self, Plugin};
use super::read::read_resources;
use super::replay::aims_of;
use super::resource::note;
use super::target::{Accumulator, Target};
use super::transformer::{
    Affix, AffixTransformer, ImageTransformer, JsonPatchTransformer, NamespaceTransformer, PatchTransformer,
    ReplacementTransformer, ReplicaTransformer, StrategicMergeTransformer, Subjects, Texts, TextsTransformer,
    Transform,
};
use super::world::World;
use super::yaml::{Kind, Pos, Tag};

/// Sets one annotation, creating what is missing.
///
/// # Errors
/// If there is something else where annotations should be.
pub fn annotate(graph: &mut Graph, root: Id, name: &str, text: &str) -> Result<()> {
    let spec = FieldSpec::of_all("metadata/annotations", true);
    let create = Create {
        kind: Kind::Mapping,
        tag: Tag::Map,
    };
    visit(graph, root, &spec, Some(&create), |graph, at| {
        let value = graph.add_scalar(text, Tag::Str);
        graph.set_field(at, name, Some(value), Put::default())
    })
}

/// `configMapGenerator` and `secretGenerator`.
fn config_generators(kustomization: &Kustomization) -> Vec<Box<dyn Generate>> {
    let fields = [
        (
            ConfigKind::ConfigMap,
            &kustomization.config_map_generator,
            "configMapGenerator",
        ),
        (ConfigKind::Secret, &kustomization.secret_generator, "secretGenerator"),
    ];
    let mut all: Vec<Box<dyn Generate>> = Vec::new();
    for (kind, specs, field) in fields {
        for spec in specs {
            let mut spec = spec.clone();
            if !spec.pos.is_known() {
                spec.pos = kustomization.place(field);
            }
            let global = kustomization.generator_options.as_ref();
            let options = GeneratorOptions::under(spec.options.as_ref(), global);
            all.push(Box::new(ConfigGenerator { kind, spec, options }));
        }
    }
    all
}

/// Runs the generators and takes in what they make.
pub fn generate(target: &Target, world: &mut World<'_>, acc: &mut Accumulator) -> Result<()> {
    let kustomization = &target.kustomization;
    let mut generators = config_generators(kustomization);
    for chart in &kustomization.helm_charts {
        let mut chart = chart.clone();
        if chart.namespace.is_empty() {
            let own = &kustomization.namespace;
            chart
                .namespace
                .clone_from(if own.is_empty() { &target.helm_namespace } else { own });
        }
        let made = HelmGenerator::new(world, &target.loader, chart, kustomization.helm_globals.clone())
            .within(|| "trouble configuring builtin HelmChartInflationGenerator".to_owned())?;
        generators.push(Box::new(made));
    }
    let mut all: Vec<(Box<dyn Generate>, Option<Origin>)> = Vec::new();
    for generator in generators {
        let origin = target
            .origin
            .as_ref()
            .map(|origin| origin.by_builtin(target.file_name, generator.kind()));
        all.push((generator, origin));
    }
    for (loaded, origin, root) in plugins(target, world, &kustomization.generators)? {
        match loaded {
            Plugin::Generator(generator) => all.push((generator, origin)),
            Plugin::Transformer(_) => {
                let why = format!(
                    "failed to load generator: plugin {} not a generator",
                    world.graph.cur_id(root)
                );
                return Err(Error::kustomization(why).at(world.graph.pos(root)));
            }
        }
    }
    for (generator, origin) in all {
        for resource in generator.generate(world, &target.loader)? {
            let root = resource.root.expect("generators make objects");
            if let Some(origin) = origin
                .as_ref()
                .filter(|_| world.graph.annotation(root, note::ORIGIN).is_none())
            {
                world.graph.set_note(root, note::ORIGIN, &origin.text())?;
            }
            let absorbed = acc.map.absorb(&mut world.graph, resource);
            absorbed.within(|| format!("merging from generator {}", generator.kind()))?;
        }
    }
    Ok(())
}

/// Configured plugins: documents first, then files and directories.
fn plugins(target: &Target, world: &mut World<'_>, entries: &[Entry]) -> Result<Vec<(Plugin, Option<Origin>, Id)>> {
    let mut acc = Accumulator::default();
    let mut paths = Vec::new();
    for entry in entries {
        let first = world.graph.count();
        let Ok(inline) = read_resources(&mut world.graph, &entry.text, entry.pos.file) else {
            paths.push(entry.clone());
            continue;
        };
        world.graph.shift_places(first, entry.pos.line);
        if let Some(origin) = &target.origin {
            let text = origin.append(target.file_name).text();
            for root in inline.iter().filter_map(|resource| resource.root) {
                world.graph.set_note(root, note::ORIGIN, &text)?;
            }
        }
        acc.map.append_all(&world.graph, inline)?;
    }
    let acc = target.resources(world, acc, &paths)?;
    let mut loaded = Vec::new();
    for root in acc.map.roots() {
        let id = world.graph.cur_id(root);
        let has_origin = world.graph.annotation(root, note::ORIGIN).is_some();
        let origin = target.origin.as_ref().filter(|_| has_origin).map(|origin| {
            let file = world.graph.annotation(root, note::ORIGIN).and_then(path_of_origin);
            file.map_or_else(|| origin.clone(), |file| Origin::default().append(&file))
                .by_plugin(&id)
        });
        loaded.push((plugin::load(world, &target.loader, root)?, origin, root));
    }
    Ok(loaded)
}

/// The path in an origin's text.
fn path_of_origin(text: &str) -> Option<String> {
    let document = super::yaml::parse_document(text, super::yaml::FileId::default()).ok()??;
    document.root.get_text("path").map(str::to_owned)
}

/// Runs the transformers.
pub fn transform(target: &Target, world: &mut World<'_>, acc: &mut Accumulator) -> Result<()> {
    let mut all: Vec<(Box<dyn Transform>, Option<Origin>)> = Vec::new();
    for (kind, transformer) in builtin(target, world, &acc.config)? {
        let origin = target
            .origin
            .as_ref()
            .map(|origin| origin.by_builtin(target.file_name, kind));
        all.push((transformer, origin));
    }
    all.extend(configured(target, world, &target.kustomization.transformers)?);
    for (transformer, origin) in all {
        let aims = world
            .trace
            .is_some()
            .then(|| aims_of(&*transformer, &world.graph, &acc.map));
        transformer.transform(world, &mut acc.map)?;
        if let Some(origin) = origin {
            for root in acc.map.roots() {
                note_change(&mut world.graph, root, &origin)?;
            }
        }
        acc.map.drop_hollow(&world.graph);
        if let Some(trace) = &mut world.trace {
            trace.ran(transformer, aims.unwrap_or_default(), &acc.map);
        }
    }
    Ok(())
}

/// An object without an origin was made by the transformer; others were changed by it, even if nothing in them was.
fn note_change(graph: &mut Graph, root: Id, origin: &Origin) -> Result<()> {
    if graph.annotation(root, note::ORIGIN).is_none() {
        return graph.set_note(root, note::ORIGIN, &origin.text());
    }
    let before = graph
        .annotation(root, note::TRANSFORMATIONS)
        .unwrap_or_default()
        .to_owned();
    graph.set_note(root, note::TRANSFORMATIONS, &origin.text_after(&before))
}

type Configured = Vec<(Box<dyn Transform>, Option<Origin>)>;

fn configured(target: &Target, world: &mut World<'_>, entries: &[Entry]) -> Result<Configured> {
    let mut all = Vec::new();
    for (loaded, origin, root) in plugins(target, world, entries)? {
        match loaded {
            Plugin::Transformer(transformer) => all.push((transformer, origin)),
            Plugin::Generator(_) => {
                let why = format!("plugin {} not a transformer", world.graph.cur_id(root));
                return Err(Error::kustomization(why).at(world.graph.pos(root)));
            }
        }
    }
    Ok(all)
}

/// Runs the validators, which must not change anything but for a label that says that they ran. To write what was there before is a
/// change, too: the reference compares nodes.
pub fn validate(target: &Target, world: &mut World<'_>, acc: &mut Accumulator) -> Result<()> {
    for (validator, _) in configured(target, world, &target.kustomization.validators)? {
        if let Some(trace) = &mut world.trace {
            trace.give_up();
        }
        let before = states(&world.graph, acc, |_| None)?;
        validator.transform(world, &mut acc.map)?;
        let mark = |root| mark_of(&world.graph, root);
        if before != states(&world.graph, acc, mark)? {
            let pos = target.kustomization.place("validators");
            return Err(Error::resources("validator shouldn't modify the resource map").at(pos));
        }
    }
    Ok(())
}

/// What an object says, and where each of its nodes was written; none if it differs from whatever it was before.
type State = Option<(serde_json::Value, Vec<Pos>)>;

/// The states of all objects, without the labels of those that bear a mark.
fn states(graph: &Graph, acc: &Accumulator, without: impl Fn(Id) -> Option<Mark>) -> Result<Vec<State>> {
    let state = |root| {
        let mark = without(root);
        if matches!(mark, Some(Mark::AmongOthers)) {
            return Ok(None);
        }
        let (mut value, mut places) = (graph.to_json(root)?, Vec::new());
        let skipped = mark.and_then(|_| graph.metadata(root));
        if let (Some(_), Some(metadata)) = (skipped, value.pointer_mut("/metadata")) {
            metadata.as_object_mut().and_then(|fields| fields.remove("labels"));
        }
        collect_places(graph, root, skipped, &mut places);
        Ok(Some((value, places)))
    };
    acc.map.roots().into_iter().map(state).collect()
}

/// The label by which validators say that they ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It is the only label: taken off, nothing is left of it.
    Alone,
    /// The reference writes the others anew when it takes it off.
    AmongOthers,
}

fn mark_of(graph: &Graph, root: Id) -> Option<Mark> {
    let labels = graph
        .metadata(root)
        .and_then(|metadata| graph.get(metadata, "labels"))?;
    graph.get(labels, "validated-by")?;
    Some(match graph.fields(labels).count() {
        1 => Mark::Alone,
        _ => Mark::AmongOthers,
    })
}

/// The places of all nodes, but for the labels of the metadata that is given.
fn collect_places(graph: &Graph, at: Id, without_labels: Option<Id>, places: &mut Vec<Pos>) {
    places.push(graph.pos(at));
    let is_skipped = |key: Id| without_labels == Some(at) && graph.text(key) == "labels";
    if graph.is_mapping(at) {
        for (key, value) in graph.fields(at).filter(|(key, _)| !is_skipped(*key)) {
            places.push(graph.pos(key));
            collect_places(graph, value, without_labels, places);
        }
    } else {
        for item in graph.content(at) {
            collect_places(graph, *item, without_labels, places);
        }
    }
}

type Builtin = Vec<(&'static str, Box<dyn Transform>)>;

/// The transformers that a kustomization's fields stand for, in the order in which they run. All are made, and their files
/// read, before the first one runs.
fn builtin(target: &Target, world: &mut World<'_>, config: &TransformerConfig) -> Result<Builtin> {
    let (kustomization, loader) = (&target.kustomization, &target.loader);
    let mut all: Builtin = Vec::new();
    if !kustomization.patches_strategic_merge.is_empty() {
        let pos = kustomization.place("patchesStrategicMerge");
        let made = StrategicMergeTransformer::load(world, loader, &kustomization.patches_strategic_merge, pos)?;
        all.push(("PatchStrategicMergeTransformer", Box::new(made)));
    }
    for patch in &kustomization.patches {
        let made = PatchTransformer::load(world, loader, patch);
        let made = made.within(|| "trouble configuring builtin PatchTransformer".to_owned())?;
        all.push(("PatchTransformer", Box::new(made)));
    }
    if !kustomization.namespace.is_empty() {
        let made = NamespaceTransformer {
            namespace: kustomization.namespace.clone(),
            specs: config.namespace.clone(),
            unset_only: false,
            subjects: Subjects::Default,
            pos: kustomization.place("namespace"),
        };
        all.push(("NamespaceTransformer", Box::new(made)));
    }
    add_affixes(kustomization, config, &mut all)?;
    add_labels(kustomization, config, &mut all)?;
    if !kustomization.common_annotations.is_empty() {
        let pos = kustomization.place("commonAnnotations");
        all.push((
            "AnnotationsTransformer",
            texts(&kustomization.common_annotations, &config.common_annotations, pos),
        ));
    }
    for patch in &kustomization.patches_json6902 {
        let made = JsonPatchTransformer::load(world, loader, patch);
        let made = made.within(|| "trouble configuring builtin PatchJson6902Transformer".to_owned())?;
        all.push(("PatchJson6902Transformer", Box::new(made)));
    }
    for replica in &kustomization.replicas {
        let (replica, specs) = (replica.clone(), config.replicas.clone());
        all.push((
            "ReplicaCountTransformer",
            Box::new(ReplicaTransformer { replica, specs }),
        ));
    }
    for image in &kustomization.images {
        let (image, specs) = (image.clone(), config.images.clone());
        all.push(("ImageTagTransformer", Box::new(ImageTransformer { image, specs })));
    }
    if !kustomization.replacements.is_empty() {
        let made = ReplacementTransformer::load(world, loader, &kustomization.replacements)?;
        all.push(("ReplacementTransformer", Box::new(made)));
    }
    Ok(all)
}

fn texts(texts: &Texts, specs: &[FieldSpec], pos: Pos) -> Box<dyn Transform> {
    let (texts, specs) = (texts.clone(), specs.to_vec());
    Box::new(TextsTransformer { texts, specs, pos })
}

fn add_affixes(kustomization: &Kustomization, config: &TransformerConfig, all: &mut Builtin) -> Result<()> {
    let affixes = [
        (
            "PrefixTransformer",
            Affix::Prefix,
            &kustomization.name_prefix,
            &config.name_prefix,
            "namePrefix",
        ),
        (
            "SuffixTransformer",
            Affix::Suffix,
            &kustomization.name_suffix,
            &config.name_suffix,
            "nameSuffix",
        ),
    ];
    for (kind, affix, text, specs, field) in affixes {
        if !text.is_empty() {
            let made = AffixTransformer {
                affix,
                text: text.clone(),
                specs: specs.clone(),
                pos: kustomization.place(field),
            };
            all.push((kind, Box::new(made)));
        }
    }
    Ok(())
}

/// `labels` and `commonLabels`. Where there is one of them, the other runs, too, with nothing to do.
fn add_labels(kustomization: &Kustomization, config: &TransformerConfig, all: &mut Builtin) -> Result<()> {
    const KIND: &str = "LabelTransformer";
    if kustomization.labels.is_empty() && kustomization.common_labels.is_empty() {
        return Ok(());
    }
    for label in &kustomization.labels {
        let mut specs = label.fields.clone();
        let mut merge = || {
            merge_all(&mut specs, &config.labels)?;
            if label.include_selectors {
                return merge_all(&mut specs, &config.common_labels);
            }
            if label.include_templates {
                merge_all(&mut specs, &config.template_labels)?;
            }
            merge_one(&mut specs, &FieldSpec::of_all("metadata/labels", true))
        };
        merge().within(|| "failed to merge labels".to_owned()).at(label.pos)?;
        all.push((KIND, texts(&label.pairs, &specs, label.pos)));
    }
    let pos = kustomization.place("commonLabels");
    all.push((KIND, texts(&kustomization.common_labels, &config.common_labels, pos)));
    Ok(())
}
