//! Generators and transformers that are configured by objects of their own, in `generators`, `transformers` and
//! `validators`. Only the built-in ones are here; functions and programs are refused.

use super::decode::{At, Decode};
use super::error::{Context, Error, Result};
use super::fieldspec::FieldSpec;
use super::generator::{ConfigGenerator, ConfigKind, Generate, HelmGenerator, IamPolicyGenerator};
use super::graph::Id;
use super::kustomization::{Entry, GeneratorSpec, HelmChart, HelmGlobals, Image, Patch, Replica};
use super::loader::Loader;
use super::resmap::ResMap;
use super::transformer::{
    Affix, AffixTransformer, ImageTransformer, JsonPatchTransformer, NamespaceTransformer, PatchTransformer,
    ReplacementTransformer, ReplicaTransformer, StrategicMergeTransformer, Subjects, Texts, TextsTransformer,
    Transform, ValueAddTransformer, add_hashes,
};
use super::world::World;
use super::yaml::Pos;

/// The apiVersion of configurations of what is built in.
const BUILTIN: &str = "builtin";

/// What a configuration turned out to be.
pub enum Plugin {
    /// It makes objects.
    Generator(Box<dyn Generate>),
    /// It changes them.
    Transformer(Box<dyn Transform>),
}

/// Makes a plugin of its configuration.
///
/// # Errors
/// If it is not built in, or its configuration is wrong.
pub fn load(world: &mut World<'_>, loader: &Loader, root: Id) -> Result<Plugin> {
    let graph = &mut world.graph;
    let id = graph.org_id(root)?;
    let pos = graph.pos(root);
    if graph.api_version(root) != BUILTIN {
        let why = format!(
            "external plugins disabled; unable to load external plugin '{}': functions and programs are not run here, \
             but `--external` hands the overlay to an installed kustomize or kubectl",
            id.gvk.kind
        );
        return Err(Error::forbidden(why).at(pos));
    }
    let value = graph.to_json(root)?;
    let config = graph.add_json_text(&value, pos)?.unwrap_or(root);
    graph.take_places(config, root, pos);
    let kind = id.gvk.kind.clone();
    let loaded = match generator(world, loader, config, &kind) {
        Some(generator) => generator.map(Plugin::Generator),
        None => transformer(world, loader, config, &kind).map(Plugin::Transformer),
    };
    loaded.within(|| format!("plugin {id} fails configuration")).at(pos)
}

fn generator(world: &mut World<'_>, loader: &Loader, config: Id, kind: &str) -> Option<Result<Box<dyn Generate>>> {
    let at = At::root(&world.graph, config).lenient();
    let of_kind = |kind: ConfigKind| {
        let spec = GeneratorSpec::of_plugin(at)?;
        let options = spec.options.clone();
        Ok(Box::new(ConfigGenerator { kind, spec, options }) as Box<dyn Generate>)
    };
    match kind {
        "ConfigMapGenerator" => Some(of_kind(ConfigKind::ConfigMap)),
        "SecretGenerator" => Some(of_kind(ConfigKind::Secret)),
        "IAMPolicyGenerator" => Some(IamPolicyGenerator::of_plugin(at).map(|made| Box::new(made) as Box<dyn Generate>)),
        "HelmChartInflationGenerator" => {
            let read = HelmChart::decode(at).and_then(|chart| Ok((chart, HelmGlobals::decode(at)?)));
            Some(read.and_then(|(chart, globals)| {
                HelmGenerator::new(world, loader, chart, globals).map(|made| Box::new(made) as Box<dyn Generate>)
            }))
        }
        _ => None,
    }
}

/// The fields that configurations of transformers have.
#[derive(Default)]
struct Config {
    texts: Texts,
    specs: Option<Vec<FieldSpec>>,
    prefix: String,
    suffix: String,
    namespace: String,
    unset_only: bool,
    subjects: Subjects,
    image: Image,
    replica: Replica,
    patch: Patch,
    json_op: Patch,
    paths: Vec<Entry>,
    pos: Pos,
}

impl Config {
    fn read(at: At<'_>, kind: &str) -> Result<Self> {
        let mut config = Self {
            pos: at.pos(),
            ..Self::default()
        };
        let known = [
            "labels",
            "annotations",
            "fieldSpecs",
            "prefix",
            "suffix",
            "metadata",
            "unsetOnly",
            "setRoleBindingSubjects",
            "imageTag",
            "replica",
            "paths",
            "patches",
            "path",
            "patch",
            "target",
            "options",
            "jsonOp",
        ];
        for (name, value) in at.record(&known)? {
            config.set(kind, name, value)?;
        }
        config.json_op.target.clone_from(&config.patch.target);
        config.json_op.path.clone_from(&config.patch.path);
        for patch in [&mut config.patch, &mut config.json_op] {
            patch.pos = at.pos();
        }
        Ok(config)
    }

    fn set(&mut self, kind: &str, name: &str, value: At<'_>) -> Result<()> {
        match (kind, name) {
            ("LabelTransformer", "labels") | ("AnnotationsTransformer", "annotations") => self.texts = value.texts()?,
            (_, "fieldSpecs") if value.is_null() => {}
            ("PrefixTransformer" | "SuffixTransformer" | "PrefixSuffixTransformer", "fieldSpecs") => {
                self.specs = Some(FieldSpec::list_of_names(value)?);
            }
            (_, "fieldSpecs") => self.specs = Some(value.list()?),
            (_, "prefix") => self.prefix = value.text()?,
            (_, "suffix") => self.suffix = value.text()?,
            ("NamespaceTransformer", "metadata") if !value.is_null() => {
                for (_, namespace) in value.open_record(&["namespace"])?.0 {
                    self.namespace = namespace.text()?;
                }
            }
            ("NamespaceTransformer", "unsetOnly") => self.unset_only = value.boolean()?,
            ("NamespaceTransformer", "setRoleBindingSubjects") => {
                self.subjects = Subjects::parse(&value.text()?).at(value.pos())?;
            }
            ("ImageTagTransformer", "imageTag") => self.image = value.or_default()?,
            ("ReplicaCountTransformer", "replica") => self.replica = value.or_default()?,
            // Files first, whichever field stands first.
            ("PatchStrategicMergeTransformer", "paths") => drop(self.paths.splice(0..0, value.list::<Entry>()?)),
            ("PatchStrategicMergeTransformer", "patches") => self.paths.extend(value.optional::<Entry>()?),
            ("PatchTransformer" | "PatchJson6902Transformer", "path") => self.patch.path = value.text()?,
            ("PatchTransformer", "patch") => self.patch.patch = value.text()?,
            ("PatchTransformer" | "PatchJson6902Transformer", "target") => self.patch.target = value.optional()?,
            ("PatchTransformer", "options") => self.patch.options = value.or_default()?,
            ("PatchJson6902Transformer", "jsonOp") => self.json_op.patch = value.text()?,
            _ => {}
        }
        Ok(())
    }
}

/// Prefix, then suffix: what `PrefixSuffixTransformer` is. Hashes: what `HashTransformer` is.
#[derive(Debug)]
enum Compound {
    Both(AffixTransformer, AffixTransformer),
    Hashes,
}

impl Transform for Compound {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        match self {
            Self::Both(first, second) => {
                first.transform(world, map)?;
                second.transform(world, map)
            }
            Self::Hashes => add_hashes(world, map),
        }
    }
}

fn transformer(world: &mut World<'_>, loader: &Loader, root: Id, kind: &str) -> Result<Box<dyn Transform>> {
    let config = Config::read(At::root(&world.graph, root).lenient(), kind)?;
    let pos = config.pos;
    let specs = config.specs.clone().unwrap_or_default();
    let affix = |affix: Affix, text: &str| match &config.specs {
        Some(specs) => Ok(AffixTransformer {
            affix,
            text: text.to_owned(),
            specs: specs.clone(),
            pos,
        }),
        None => Err(Error::kustomization("fieldSpecs is not expected to be nil").at(pos)),
    };
    Ok(match kind {
        "LabelTransformer" | "AnnotationsTransformer" => Box::new(TextsTransformer {
            texts: config.texts,
            specs,
            pos,
        }),
        "NamespaceTransformer" => Box::new(NamespaceTransformer {
            namespace: config.namespace,
            specs,
            unset_only: config.unset_only,
            subjects: config.subjects,
            pos,
        }),
        "PrefixTransformer" => Box::new(affix(Affix::Prefix, &config.prefix)?),
        "SuffixTransformer" => Box::new(affix(Affix::Suffix, &config.suffix)?),
        "PrefixSuffixTransformer" => Box::new(Compound::Both(
            affix(Affix::Prefix, &config.prefix)?,
            affix(Affix::Suffix, &config.suffix)?,
        )),
        "HashTransformer" => Box::new(Compound::Hashes),
        "ImageTagTransformer" => Box::new(ImageTransformer {
            image: Image { pos, ..config.image },
            specs,
        }),
        "ReplicaCountTransformer" => Box::new(ReplicaTransformer {
            replica: config.replica,
            specs,
        }),
        "PatchTransformer" => Box::new(PatchTransformer::load(world, loader, &config.patch)?),
        "PatchJson6902Transformer" => Box::new(JsonPatchTransformer::load(world, loader, &config.json_op)?),
        "PatchStrategicMergeTransformer" => {
            Box::new(StrategicMergeTransformer::load(world, loader, &config.paths, pos)?)
        }
        "ReplacementTransformer" => {
            let at = At::root(&world.graph, root).lenient();
            let mut entries = Vec::new();
            for (_, value) in at.record(&["replacements"])? {
                entries = value.list()?;
            }
            Box::new(ReplacementTransformer::load(world, loader, &entries)?)
        }
        "ValueAddTransformer" => Box::new(ValueAddTransformer::load(world, loader, root)?),
        _ => return Err(Error::kustomization(format!("unable to load builtin {}", world.graph.gvk(root))).at(pos)),
    })
}
