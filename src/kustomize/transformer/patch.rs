//! Patches: strategic merges and JSON patches, and how they find their objects.

use std::collections::HashSet;

use super::Transform;
use super::json_patch::JsonPatch;
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::graph::{Graph, Id};
use crate::kustomize::kustomization::{Entry, Patch, PatchOptions, Selector};
use crate::kustomize::loader::Loader;
use crate::kustomize::merge::merge;
use crate::kustomize::read::{check, read_resources};
use crate::kustomize::resmap::ResMap;
use crate::kustomize::resource::{Resource, note};
use crate::kustomize::world::World;
use crate::kustomize::yaml::{self, FileId, Pos};

/// A text with a patch, and where it begins.
struct Text {
    text: String,
    /// The file that places in it are in.
    file: FileId,
    /// How many lines stand before it in that file.
    lines_before: u32,
}

impl Text {
    fn inline(text: &str, pos: Pos) -> Self {
        Self {
            text: text.to_owned(),
            file: pos.file,
            lines_before: pos.line.saturating_sub(1),
        }
    }

    fn of_file(world: &mut World<'_>, loader: &Loader, path: &str) -> Result<Self> {
        let file = loader.load(world, path)?;
        Ok(Self {
            text: yaml::decode(&file.bytes, file.id)?.into_owned(),
            file: file.id,
            lines_before: 0,
        })
    }

    fn shift(&self, pos: Pos) -> Pos {
        Pos {
            line: pos.line + self.lines_before,
            ..pos
        }
    }

    fn moved<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| Error {
            pos: error.pos.map(|pos| self.shift(pos)),
            ..error
        })
    }

    fn resources(&self, graph: &mut Graph) -> Result<Vec<Resource>> {
        let first = graph.count();
        let read = self.moved(read_resources(graph, &self.text, self.file))?;
        if self.lines_before > 0 {
            graph.shift_places(first, self.lines_before);
        }
        Ok(read)
    }

    /// The text as a JSON patch: JSON if it begins like a list, else YAML as kustomizations are read.
    fn json_patch(&self) -> Result<JsonPatch> {
        if self.text.is_empty() {
            return Err(Error::yaml("empty json patch operations"));
        }
        if self.text.starts_with('[') {
            let value = serde_json::from_str(&self.text).map_err(|error| {
                let pos = Pos {
                    file: self.file,
                    line: u32::try_from(error.line()).unwrap_or(1),
                    column: 1,
                };
                Error::yaml(format!("invalid JSON patch: {error}")).at(self.shift(pos))
            })?;
            return JsonPatch::new(value);
        }
        let document = self.moved(yaml::parse_document(&self.text, self.file).map_err(Error::from))?;
        let Some(document) = document else {
            return JsonPatch::new(serde_json::Value::Null);
        };
        let value = self.moved(yaml::legacy_to_json(&document.root).map_err(Error::from))?;
        let places = match &document.root.data {
            yaml::Data::Sequence(items) => items.iter().map(|item| self.shift(item.pos)).collect(),
            yaml::Data::Scalar(_) | yaml::Data::Mapping(_) | yaml::Data::Alias(_) => Vec::new(),
        };
        Ok(JsonPatch::new(value)?.standing_at(places))
    }
}

/// `patchesStrategicMerge`: patches that say themselves what they are for.
#[derive(Debug, Clone)]
pub struct StrategicMergeTransformer {
    patches: Vec<Id>,
    pos: Pos,
}

impl StrategicMergeTransformer {
    /// Loads patches; each entry is a document or the path of a file.
    ///
    /// # Errors
    /// If a file can't be read, or holds no objects.
    pub fn load(world: &mut World<'_>, loader: &Loader, entries: &[Entry], pos: Pos) -> Result<Self> {
        let mut patches = Vec::new();
        for entry in entries {
            let inline = Text::inline(&entry.text, entry.pos).resources(&mut world.graph);
            let read = match inline {
                Ok(read) => read,
                Err(_) => {
                    let text = Text::of_file(world, loader, &entry.text).at(entry.pos)?;
                    text.resources(&mut world.graph).within(|| entry.text.clone())?
                }
            };
            patches.extend(read.into_iter().filter_map(|resource| resource.root));
        }
        if patches.is_empty() {
            return Err(Error::kustomization("patch appears to be empty").at(pos));
        }
        Ok(Self { patches, pos })
    }
}

impl Transform for StrategicMergeTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        self.patches
            .iter()
            .try_for_each(|patch| self.merge_one(world, map, *patch))
    }

    fn again(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<bool> {
        for patch in &self.patches {
            if is_for_any(&world.graph, map, *patch)? {
                self.merge_one(world, map, *patch)?;
            }
        }
        Ok(true)
    }
}

impl StrategicMergeTransformer {
    fn merge_one(&self, world: &mut World<'_>, map: &mut ResMap, patch: Id) -> Result<()> {
        let id = world.graph.org_id(patch)?;
        let at = map.by_id(&world.graph, &id).at(world.graph.pos(patch)).at(self.pos)?;
        merge_into(world, map, &[at], patch)
    }
}

/// Whether a patch is for one of these objects.
fn is_for_any(graph: &Graph, map: &ResMap, patch: Id) -> Result<bool> {
    let id = graph.org_id(patch)?;
    Ok(!map.with_any_id(graph, |other| other.is(&id))?.is_empty())
}

/// What a `patches` entry turned out to be.
#[derive(Debug, Clone)]
enum Loaded {
    Merges(Vec<Id>),
    Json(JsonPatch),
    Nothing,
}

/// `patches`: either kind.
#[derive(Debug, Clone)]
pub struct PatchTransformer {
    loaded: Loaded,
    target: Option<Selector>,
    source: String,
    pos: Pos,
}

impl PatchTransformer {
    /// Loads a patch and finds out of which kind it is.
    ///
    /// # Errors
    /// If it is neither or both, or its file can't be read.
    pub fn load(world: &mut World<'_>, loader: &Loader, patch: &Patch) -> Result<Self> {
        let inline = patch.patch.trim();
        let (text, source) = match (inline.is_empty(), patch.path.is_empty()) {
            (true, true) => return Err(Error::kustomization("must specify one of patch and path").at(patch.pos)),
            (false, false) => {
                return Err(Error::kustomization("patch and path can't be set at the same time").at(patch.pos));
            }
            (false, true) => {
                let skipped = patch.patch[..patch.patch.len() - patch.patch.trim_start().len()]
                    .matches('\n')
                    .count();
                let pos = Pos {
                    line: patch.text_pos.line + u32::try_from(skipped).unwrap_or_default(),
                    ..patch.text_pos
                };
                (Text::inline(inline, pos), format!("[patch: {inline:?}]"))
            }
            (true, false) => {
                let text = Text::of_file(world, loader, &patch.path);
                let text = text.within(|| format!("failed to get the patch file from path({})", patch.path));
                (text.at(patch.pos)?, format!("[path: {:?}]", patch.path))
            }
        };
        let merges = text.resources(&mut world.graph);
        let loaded = match (merges, text.json_patch()) {
            (Ok(merges), Ok(json)) if !merges.is_empty() && !json.is_empty() => {
                let why = format!("illegally qualifies as both an SM and JSON patch: {source}");
                return Err(Error::kustomization(why).at(patch.pos));
            }
            (Err(merge), Err(json)) => {
                let pos = json.pos.or(merge.pos);
                let why = format!(
                    "unable to parse SM or JSON patch from {source}: as SM patch: {merge}; as JSON patch: {json}"
                );
                return Err(Error::kustomization(why).at(pos.unwrap_or(patch.pos)));
            }
            (Ok(merges), _) if merges.is_empty() => Loaded::Nothing,
            (Ok(merges), _) => Loaded::Merges(allow(world, &merges, patch.options)?),
            (Err(_), Ok(json)) => Loaded::Json(json),
        };
        Ok(Self {
            loaded,
            target: patch.target.clone(),
            source,
            pos: patch.pos,
        })
    }
}

/// Notes on patches what they may change.
fn allow(world: &mut World<'_>, patches: &[Resource], options: PatchOptions) -> Result<Vec<Id>> {
    let roots: Vec<Id> = patches.iter().filter_map(|patch| patch.root).collect();
    for root in &roots {
        if options.allow_name_change {
            world.graph.set_note(*root, note::ALLOW_NAME_CHANGE, note::ENABLED)?;
        }
        if options.allow_kind_change {
            world.graph.set_note(*root, note::ALLOW_KIND_CHANGE, note::ENABLED)?;
        }
    }
    Ok(roots)
}

impl Transform for PatchTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        match (&self.loaded, &self.target) {
            (Loaded::Nothing, _) => Ok(()),
            (Loaded::Merges(patches), Some(target)) => {
                let [patch] = patches.as_slice() else {
                    let why = format!(
                        "Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set \
                         `patches.target` field: {}",
                        self.source
                    );
                    return Err(Error::kustomization(why).at(self.pos));
                };
                let selected = map
                    .select(&world.graph, target)
                    .within(|| format!("unable to find patch target \"{}\" in `resources`", target.shown()))?;
                merge_into(world, map, &selected, *patch)
            }
            (Loaded::Merges(patches), None) => patches.iter().try_for_each(|patch| self.merge_one(world, map, *patch)),
            (Loaded::Json(_), None) => {
                let why = format!("must specify a target for JSON patch {}", self.source);
                Err(Error::kustomization(why).at(self.pos))
            }
            (Loaded::Json(patch), Some(target)) => {
                for at in map.select(&world.graph, target)? {
                    let root = map.list()[at].root.expect("hollow objects are not selected");
                    world.graph.store_previous_id(root)?;
                    let patched = patch_json(&mut world.graph, root, patch, self.pos)?;
                    map.list_mut()[at].root = Some(patched);
                }
                Ok(())
            }
        }
    }

    fn again(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<bool> {
        match (&self.loaded, &self.target) {
            (Loaded::Merges(patches), None) => {
                for patch in patches {
                    if is_for_any(&world.graph, map, *patch)? {
                        self.merge_one(world, map, *patch)?;
                    }
                }
            }
            (Loaded::Nothing | Loaded::Json(_) | Loaded::Merges(_), _) => self.transform(world, map)?,
        }
        Ok(true)
    }
}

impl PatchTransformer {
    fn merge_one(&self, world: &mut World<'_>, map: &mut ResMap, patch: Id) -> Result<()> {
        let id = world.graph.org_id(patch)?;
        let found = map
            .by_id(&world.graph, &id)
            .within(|| format!("no resource matches strategic merge patch \"{id}\""));
        let at = found.at(world.graph.pos(patch)).at(self.pos)?;
        let root = map.list()[at].root.expect("hollow objects are not found by their ids");
        let copy = world.graph.copy(patch).at(self.pos)?;
        let is_left = merge_one(world, root, copy)?;
        let resource = &mut map.list_mut()[at];
        resource.root = resource.root.filter(|_| is_left);
        Ok(())
    }
}

/// Merges a patch into an object and keeps what tells the object apart, unless the patch may change it. Returns whether
/// anything is left.
fn merge_one(world: &mut World<'_>, root: Id, patch: Id) -> Result<bool> {
    let graph = &mut world.graph;
    let (name, namespace) = (graph.name(root).to_owned(), graph.namespace(root).to_owned());
    let kind = graph.kind_name(root).to_owned();
    let may_change_name = graph.is_enabled(patch, note::ALLOW_NAME_CHANGE);
    let may_change_kind = graph.is_enabled(patch, note::ALLOW_KIND_CHANGE);
    if may_change_name || may_change_kind {
        graph.store_previous_id(root)?;
    }
    let pos = graph.pos(patch);
    let schema = std::sync::Arc::clone(&world.schema);
    if !merge(graph, &schema, root, patch).at(pos)? || graph.is_hollow(root) {
        return Ok(false);
    }
    if !may_change_kind {
        graph.set_top_text(root, "kind", &kind)?;
    }
    if !may_change_name {
        graph.set_name(root, &name)?;
    }
    graph.set_namespace(root, &namespace)?;
    Ok(true)
}

/// Merges a patch into all objects that are called as one of those selected.
fn merge_into(world: &mut World<'_>, map: &mut ResMap, selected: &[usize], patch: Id) -> Result<()> {
    let id_at = |graph: &Graph, at: &usize| map.list()[*at].root.map(|root| graph.cur_id(root));
    let ids: HashSet<_> = selected.iter().filter_map(|at| id_at(&world.graph, at)).collect();
    let mut list = std::mem::take(map.list_mut());
    for resource in &mut list {
        let Some(root) = resource.root.filter(|root| ids.contains(&world.graph.cur_id(*root))) else {
            continue;
        };
        let copy = adapted(&mut world.graph, patch, root)?;
        if !merge_one(world, root, copy)? {
            resource.root = None;
        }
    }
    list.retain(|resource| !resource.is_hollow(&world.graph));
    map.append_all(&world.graph, list)
}

/// A copy of a patch for one object: of its apiVersion, and with labels and annotations that are all strings.
fn adapted(graph: &mut Graph, patch: Id, object: Id) -> Result<Id> {
    let copy = graph.copy(patch)?;
    for field in ["labels", "annotations"] {
        let texts = graph.meta_texts(patch, field);
        graph.set_meta_texts(copy, field, &texts)?;
    }
    let (name, namespace) = (graph.name(patch).to_owned(), graph.namespace(patch).to_owned());
    graph.set_name(copy, &name)?;
    graph.set_namespace(copy, &namespace)?;
    let api_version = graph.gvk(object).api_version();
    let kind = graph.kind_name(patch).to_owned();
    graph.set_top_text(copy, "apiVersion", &api_version)?;
    graph.set_top_text(copy, "kind", &kind)?;
    Ok(copy)
}

/// Applies a JSON patch to an object; returns the node that the object then is. Notes about it survive.
fn patch_json(graph: &mut Graph, root: Id, patch: &JsonPatch, pos: Pos) -> Result<Id> {
    let mut notes = graph.meta_texts(root, "annotations");
    notes.retain(|name, _| note::survives_json_patches(name));
    let mut value = graph.to_json(root)?;
    let id = graph.cur_id(root);
    patch.apply(&mut value).within(|| format!("patching {id}")).at(pos)?;
    if !value.is_object() {
        return Err(Error::object(format!("a JSON patch makes something else than an object of {id}")).at(pos));
    }
    let made = graph.add_json(&value)?;
    graph.take_places(made, root, pos);
    for (path, place) in patch.written() {
        graph.move_place(made, &path, pos, place);
    }
    check(graph, made).map_err(|error| Error {
        pos: Some(pos),
        ..error
    })?;
    let mut annotations = graph.meta_texts(made, "annotations");
    annotations.extend(notes);
    graph.set_meta_texts(made, "annotations", &annotations)?;
    Ok(made)
}

/// `patchesJson6902`: JSON patches only.
#[derive(Debug, Clone)]
pub struct JsonPatchTransformer {
    patch: JsonPatch,
    target: Selector,
    pos: Pos,
}

impl JsonPatchTransformer {
    /// Loads a patch.
    ///
    /// # Errors
    /// If it is none, its file can't be read, or its target has no name.
    pub fn load(world: &mut World<'_>, loader: &Loader, patch: &Patch) -> Result<Self> {
        let wrong = |why: &str| Err(Error::kustomization(why).at(patch.pos));
        let Some(target) = patch.target.clone().filter(|target| !target.id.name.is_empty()) else {
            return wrong("must specify the target name");
        };
        let text = match (patch.path.is_empty(), patch.patch.is_empty()) {
            (true, true) => return wrong("empty file path and empty jsonOp"),
            (false, false) => return wrong("must specify a file path or jsonOp, not both"),
            (true, false) => Text::inline(&patch.patch, patch.text_pos),
            (false, true) => Text::of_file(world, loader, &patch.path).at(patch.pos)?,
        };
        let decoded = text
            .json_patch()
            .within(|| "decoding a JSON patch".to_owned())
            .at(patch.pos)?;
        if decoded.is_empty() {
            return wrong("patch appears to be empty");
        }
        Ok(Self {
            patch: decoded,
            target,
            pos: patch.pos,
        })
    }
}

impl Transform for JsonPatchTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        for at in map.select(&world.graph, &self.target)? {
            let root = map.list()[at].root.expect("hollow objects are not selected");
            let patched = patch_json(&mut world.graph, root, &self.patch, self.pos)?;
            map.list_mut()[at].root = Some(patched);
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        true
    }
}
