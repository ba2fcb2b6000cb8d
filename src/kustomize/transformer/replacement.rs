//! Replacements: values copied from one field to others.

use serde_json::Value;

use super::Transform;
use crate::kustomize::decode::{At, Decode};
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::graph::{Graph, Id, smart_split};
use crate::kustomize::kustomization::{
    FieldOptions, Replacement, ReplacementEntry, ReplacementSource, ReplacementTarget, Selector,
};
use crate::kustomize::loader::Loader;
use crate::kustomize::resmap::ResMap;
use crate::kustomize::selector::SelectorPattern;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{self, Comments, Document, FileId, Kind, Tag};

/// The field that is meant where none is said.
const DEFAULT_FIELD: &str = "metadata.name";

/// Copies values.
#[derive(Debug, Clone)]
pub struct ReplacementTransformer {
    replacements: Vec<Replacement>,
}

impl ReplacementTransformer {
    /// Loads replacements that are in files.
    ///
    /// # Errors
    /// If a file can't be read or holds something else.
    pub fn load(world: &mut World<'_>, loader: &Loader, entries: &[ReplacementEntry]) -> Result<Self> {
        let mut replacements = Vec::new();
        for entry in entries {
            let own = &entry.replacement;
            if entry.path.is_empty() {
                replacements.push(own.clone());
                continue;
            }
            if own.source.is_some() || own.targets.as_ref().is_some_and(|targets| !targets.is_empty()) {
                return Err(Error::kustomization("cannot specify both path and inline replacement").at(own.pos));
            }
            let file = loader.load(world, &entry.path).at(own.pos)?;
            let text = yaml::decode(&file.bytes, file.id)?;
            let document = yaml::parse_document(&text, file.id)?;
            let Some(mut document) = document else {
                let why = "unsupported replacement type encountered within replacement path: invalid";
                return Err(Error::kustomization(why).at(own.pos));
            };
            yaml::expand_aliases(&mut document.root)?;
            let root = world.graph.import(document.root)?;
            let at = At::root(&world.graph, root).lenient();
            match world.graph.kind(root) {
                Kind::Sequence => replacements.extend(at.list::<Replacement>()?),
                Kind::Mapping => replacements.push(Replacement::decode(at)?),
                Kind::Scalar | Kind::Alias => {
                    let why = "unsupported replacement type encountered within replacement path: string";
                    return Err(Error::kustomization(why).at(at.pos()));
                }
            }
        }
        Ok(Self { replacements })
    }
}

impl Transform for ReplacementTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        let graph = &mut world.graph;
        let roots = map.roots();
        for replacement in &self.replacements {
            replace(graph, &roots, replacement).at(replacement.pos)?;
        }
        map.drop_hollow(graph);
        Ok(())
    }
}

fn replace(graph: &mut Graph, roots: &[Id], replacement: &Replacement) -> Result<()> {
    let value = match (&replacement.source_value, &replacement.source, &replacement.targets) {
        (None, None, _) | (_, _, None) => {
            return Err(Error::kustomization(
                "replacements must specify a source and at least one target",
            ));
        }
        (Some(_), Some(_), _) => {
            return Err(Error::kustomization(
                "value and resource selectors are mutually exclusive",
            ));
        }
        (Some(value), None, _) => {
            let value = graph.add_scalar(value, Tag::None);
            graph.cell_mut(value).pos = replacement.pos;
            value
        }
        (None, Some(source), _) => value_of(graph, roots, source)?,
    };
    let targets = replacement.targets.iter().flatten();
    for target in targets {
        apply(graph, roots, value, target).at(target.pos)?;
    }
    Ok(())
}

/// The node that a value is copied from.
fn value_of(graph: &mut Graph, roots: &[Id], source: &ReplacementSource) -> Result<Id> {
    let mut found = None;
    for root in roots {
        if graph.all_ids(*root)?.iter().any(|id| id.is_selected_by(&source.id)) && found.replace(*root).is_some() {
            return Err(Error::resources(format!(
                "multiple matches for selector {}",
                source.shown()
            )));
        }
    }
    let Some(root) = found else {
        return Err(Error::resources(format!("nothing selected by {}", source.shown())));
    };
    let path = if source.field_path.is_empty() {
        DEFAULT_FIELD
    } else {
        &source.field_path
    };
    let node = graph
        .lookup(root, &smart_split(path, '.'))
        .within(|| "error looking up replacement source".to_owned())?
        .filter(|node| !graph.is_hollow(*node));
    let Some(node) = node else {
        let why = format!("fieldPath `{path}` is missing for replacement source {}", source.id);
        return Err(Error::object(why).at(graph.pos(root)));
    };
    part_of(graph, node, &source.options)
}

/// The part of a text that is meant.
fn part_of(graph: &mut Graph, node: Id, options: &FieldOptions) -> Result<Id> {
    if options.delimiter.is_empty() {
        return Ok(node);
    }
    if !graph.is_scalar(node) {
        return Err(Error::object("delimiter option can only be used with scalar nodes").at(graph.pos(node)));
    }
    let text = graph.value_text(node).to_owned();
    let part = usize::try_from(options.index)
        .ok()
        .and_then(|at| text.split(options.delimiter.as_str()).nth(at));
    let Some(part) = part else {
        let why = format!("options.index {} is out of bounds for value {text}", options.index);
        return Err(Error::object(why).at(graph.pos(node)));
    };
    let part = part.to_owned();
    let copy = graph.copy(node)?;
    graph.set_text(copy, part);
    Ok(copy)
}

fn apply(graph: &mut Graph, roots: &[Id], value: Id, target: &ReplacementTarget) -> Result<()> {
    let Some(select) = &target.select else {
        return Err(Error::kustomization("target must specify resources to select"));
    };
    let select = SelectorPattern::new(select).within(|| "error creating target selector".to_owned())?;
    let mut reject: Vec<(&Selector, SelectorPattern)> = Vec::new();
    for selector in &target.reject {
        reject.push((selector, SelectorPattern::new(selector)?));
    }
    for root in roots {
        let ids = graph.all_ids(*root)?;
        let is_rejected = reject.iter().any(|(selector, pattern)| {
            let by_texts = !selector.annotations.is_empty() || !selector.labels.is_empty();
            (by_texts && pattern.fits_texts(graph, *root))
                || (!selector.id.is_empty() && ids.iter().any(|id| pattern.fits_id(id)))
        });
        if !is_rejected && select.fits_texts(graph, *root) && ids.iter().any(|id| select.fits_id(id)) {
            copy_to(graph, *root, value, target)?;
        }
    }
    Ok(())
}

fn copy_to(graph: &mut Graph, root: Id, value: Id, target: &ReplacementTarget) -> Result<()> {
    let default = [DEFAULT_FIELD.to_owned()];
    let paths = if target.field_paths.is_empty() {
        &default[..]
    } else {
        &target.field_paths
    };
    for path in paths {
        let create = target.options.create.then(|| graph.kind(value));
        let parts = smart_split(path, '.');
        if copy_into_text(graph, root, value, &parts, create).is_ok() {
            continue;
        }
        let verb = if create.is_some() { "find or create" } else { "find" };
        let missing = || format!("unable to {verb} field {path:?} in replacement target");
        let found = graph.query(root, &parts, create).within(missing)?.unwrap_or_default();
        if found.is_empty() {
            return Err(Error::object(missing()).at(graph.pos(root)));
        }
        for at in found {
            set(graph, at, value, &target.options)?;
        }
        if create.is_some() || !graph.is_scalar(value) {
            graph.check_depth(root)?;
        }
    }
    Ok(())
}

fn set(graph: &mut Graph, at: Id, value: Id, options: &FieldOptions) -> Result<()> {
    let value = graph.copy(value)?;
    if !options.delimiter.is_empty() {
        if !graph.is_scalar(at) {
            return Err(Error::object("delimiter option can only be used with scalar nodes").at(graph.pos(at)));
        }
        let own = graph.value_text(value).to_owned();
        let text = graph.text(at).to_owned();
        graph.check_room_for(text.len() + own.len() + options.delimiter.len())?;
        let mut parts: Vec<&str> = text.split(options.delimiter.as_str()).collect();
        match usize::try_from(options.index) {
            Err(_) => parts.insert(0, &own),
            Ok(index) if index >= parts.len() => parts.push(&own),
            Ok(index) => parts[index] = &own,
        }
        let joined = parts.join(&options.delimiter);
        graph.set_text(value, joined);
    }
    put(graph, at, value);
    Ok(())
}

/// A scalar takes the text and keeps its own type; anything else becomes the value.
fn put(graph: &mut Graph, at: Id, value: Id) {
    if graph.is_scalar(at) {
        let (text, pos) = (graph.cell(value).text.clone(), graph.pos(value));
        graph.set_text(at, text);
        if pos.is_known() {
            graph.cell_mut(at).pos = pos;
        }
    } else {
        graph.assign(at, value);
    }
}

/// Where a path leads into a text that is itself YAML or JSON, the value is set in there and the text written anew.
fn copy_into_text(graph: &mut Graph, root: Id, value: Id, parts: &[String], create: Option<Kind>) -> Result<()> {
    let none = || Error::object("no structured data found in path");
    let mut holder = None;
    for length in 1..parts.len() {
        let Ok(Some(node)) = graph.lookup(root, &parts[..length]) else {
            continue;
        };
        if graph.is_scalar(node) {
            let text = graph.text(node).to_owned();
            if let Ok(document) = yaml::parse_document(&text, FileId::default()) {
                holder = Some((node, text, document, &parts[length..]));
                break;
            }
        }
    }
    let (node, text, document, rest) = holder.ok_or_else(none)?;
    let Document { root: inner, comments } = document.ok_or_else(none)?;
    let inner = graph.import(inner)?;
    let found = graph.query(inner, rest, create)?.unwrap_or_default();
    if found.is_empty() {
        return Err(Error::object("unable to find field in structured data"));
    }
    for at in found {
        put(graph, at, value);
    }
    let written = write_text(graph, inner, comments, &text)?;
    graph.check_room_for(written.len())?;
    graph.set_text(node, written);
    Ok(())
}

/// The text in the form in which it was: JSON on one or several lines, or YAML.
fn write_text(graph: &Graph, inner: Id, comments: Comments, before: &str) -> Result<String> {
    let printed = yaml::print_document(&Document {
        root: graph.export(inner),
        comments,
    });
    if !before.trim().starts_with(['{', '[']) {
        return Ok(printed.trim().to_owned());
    }
    let read_back = yaml::parse_document(&printed, FileId::default())?;
    let value = match read_back {
        Some(document) => value_of_any(&document.root)?,
        None => Value::Null,
    };
    Ok(match before.contains('\n') && before.contains("  ") {
        true => yaml::go_json_pretty(&value),
        false => yaml::go_json(&value, yaml::Html::Escaped),
    })
}

fn value_of_any(node: &yaml::Node) -> Result<Value> {
    // The reader of objects wants a mapping or a list at the top; a text may also be a lone scalar.
    match node.kind() {
        Kind::Mapping | Kind::Sequence => Ok(yaml::to_json(node)?),
        Kind::Scalar | Kind::Alias => {
            let list = yaml::to_json(&yaml::Node::sequence([node.clone()]))?;
            Ok(list.get(0).cloned().unwrap_or(Value::Null))
        }
    }
}
