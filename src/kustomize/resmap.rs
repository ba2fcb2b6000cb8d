//! The objects of a kustomization in the order in which they were loaded, no two of them with the same id.

use std::collections::HashSet;

use super::error::{Error, Result};
use super::graph::{Graph, Id};
use super::kustomization::Selector;
use super::resid::{Gvk, ResId};
use super::resource::{Resource, note};
use super::selector::SelectorPattern;

/// What makes an id unique.
type Key = (String, Gvk, String);

fn key(id: &ResId) -> Key {
    (id.effective_namespace().to_owned(), id.gvk.clone(), id.name.clone())
}

/// Objects in order.
#[derive(Debug, Clone, Default)]
pub struct ResMap {
    list: Vec<Resource>,
    /// The ids of all, while nothing was changed since they were collected.
    ids: Option<HashSet<Key>>,
}

impl ResMap {
    /// The objects.
    pub fn list(&self) -> &[Resource] {
        &self.list
    }

    /// The objects, to change. Ids are collected anew afterwards.
    pub fn list_mut(&mut self) -> &mut Vec<Resource> {
        self.ids = None;
        &mut self.list
    }

    /// The nodes of all objects that are still there.
    pub fn roots(&self) -> Vec<Id> {
        self.list.iter().filter_map(|resource| resource.root).collect()
    }

    /// Adds an object.
    ///
    /// # Errors
    /// If there is one with its id.
    pub fn append(&mut self, graph: &Graph, resource: Resource) -> Result<()> {
        if let Some(root) = resource.root {
            let id = graph.cur_id(root);
            let list = &self.list;
            let ids = self.ids.get_or_insert_with(|| {
                let roots = list.iter().filter_map(|resource| resource.root);
                roots.map(|root| key(&graph.cur_id(root))).collect()
            });
            if !ids.insert(key(&id)) {
                let why = format!("may not add resource with an already registered id: {id}");
                return Err(Error::resources(why).at(graph.pos(root)));
            }
        }
        self.list.push(resource);
        Ok(())
    }

    /// Adds objects.
    ///
    /// # Errors
    /// If there is one with the id of one of them.
    pub fn append_all(&mut self, graph: &Graph, resources: impl IntoIterator<Item = Resource>) -> Result<()> {
        resources
            .into_iter()
            .try_for_each(|resource| self.append(graph, resource))
    }

    /// Drops objects of which nothing is left.
    pub fn drop_hollow(&mut self, graph: &Graph) {
        self.list_mut().retain(|resource| !resource.is_hollow(graph));
    }

    /// The places of objects that are or were called something that fits.
    ///
    /// # Errors
    /// If notes about former names were tampered with.
    pub fn with_any_id(&self, graph: &Graph, fits: impl Fn(&ResId) -> bool) -> Result<Vec<usize>> {
        let mut found = Vec::new();
        for (at, resource) in self.list.iter().enumerate() {
            let Some(root) = resource.root.filter(|root| !graph.is_hollow(*root)) else {
                continue;
            };
            if graph.prev_ids(root)?.iter().any(&fits) || fits(&graph.cur_id(root)) {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// The one object that is or was called this.
    ///
    /// # Errors
    /// If there is none or more than one.
    pub fn by_id(&self, graph: &Graph, id: &ResId) -> Result<usize> {
        let found = self.with_any_id(graph, |other| other.is(id))?;
        match found.as_slice() {
            [at] => Ok(*at),
            [] => Err(Error::resources(format!(
                "no matches for Id {id}; failed to find unique target for patch {id}"
            ))),
            _ => Err(Error::resources(format!(
                "multiple matches for Id {id}; failed to find unique target for patch {id}"
            ))),
        }
    }

    /// The places of objects that a selector selects, by their first or their current names.
    ///
    /// # Errors
    /// If the selector is none.
    pub fn select(&self, graph: &Graph, selector: &Selector) -> Result<Vec<usize>> {
        let pattern = SelectorPattern::new(selector)?;
        let mut found = Vec::new();
        for (at, resource) in self.list.iter().enumerate() {
            let Some(root) = resource.root else { continue };
            let (cur, org) = (graph.cur_id(root), graph.org_id(root)?);
            let is_meant = (pattern.fits_namespace(org.effective_namespace())
                || pattern.fits_namespace(cur.effective_namespace()))
                && (pattern.fits_name(&org.name) || pattern.fits_name(&cur.name))
                && pattern.fits_gvk(&cur.gvk)
                && pattern.fits_texts(graph, root);
            if is_meant {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// Takes in what generators made: new objects are added, others replace or are merged with those that are there.
    ///
    /// # Errors
    /// If an object that is to be replaced is not there, or one that is to be created is.
    pub fn absorb(&mut self, graph: &mut Graph, resource: Resource) -> Result<()> {
        let root = resource.root.expect("generators make objects");
        let id = graph.cur_id(root);
        let behavior = graph.annotation(root, note::BEHAVIOR).unwrap_or_default().to_owned();
        let found = self.with_any_id(graph, |other| other.is(&id))?;
        let replaces = matches!(behavior.as_str(), "merge" | "replace");
        let pos = graph.pos(root);
        match (found.as_slice(), replaces) {
            ([], false) => self.append(graph, resource),
            ([], true) => Err(Error::resources(format!("id {id} does not exist; cannot merge or replace")).at(pos)),
            ([at], true) => {
                let old = self.list[*at].root.expect("hollow objects are not found by their ids");
                take_over(graph, root, old, behavior == "merge")?;
                let ref_vars = self.list[*at].ref_vars.clone();
                self.list_mut()[*at] = Resource {
                    root: Some(root),
                    ref_vars,
                    source: None,
                };
                Ok(())
            }
            ([_], false) => {
                let behavior = if behavior.is_empty() { "unspecified" } else { &behavior };
                Err(Error::resources(format!(
                    "id {id} exists; can not use behavior: '{behavior}', behavior must be merge or replace"
                ))
                .at(pos))
            }
            (several, _) => {
                let shown: Vec<String> = several
                    .iter()
                    .filter_map(|at| self.list[*at].root)
                    .map(|root| graph.cur_id(root).to_string())
                    .collect();
                Err(Error::resources(format!(
                    "found multiple objects [{}] that could accept merge of {id}",
                    shown.join(" ")
                ))
                .at(pos))
            }
        }
    }
}

/// Gives a generated object the metadata of the one that it replaces and, if they are merged, its data below its own.
fn take_over(graph: &mut Graph, root: Id, old: Id, merges: bool) -> Result<()> {
    let origin = graph.annotation(old, note::ORIGIN).map(str::to_owned);
    let labels = merged(graph.meta_texts(old, "labels"), graph.meta_texts(root, "labels"));
    graph.set_meta_texts(root, "labels", &labels)?;
    let own = graph.meta_texts(root, "annotations");
    let theirs = graph.meta_texts(old, "annotations");
    let needs_hash = own.contains_key(note::NEEDS_HASH);
    let mut annotations = merged(theirs.clone(), own);
    for name in note::REMOVED {
        match theirs.get(name) {
            Some(text) => annotations.insert(name.to_owned(), text.clone()),
            None => annotations.remove(name),
        };
    }
    if !needs_hash {
        annotations.remove(note::NEEDS_HASH);
    }
    graph.set_meta_texts(root, "annotations", &annotations)?;
    let (name, namespace) = (graph.name(old).to_owned(), graph.namespace(old).to_owned());
    graph.set_name(root, &name)?;
    graph.set_namespace(root, &namespace)?;
    if merges {
        for field in ["data", "binaryData"] {
            super::generator::merge_data(graph, root, old, field)?;
        }
        if let Some(origin) = origin {
            graph.set_note(root, note::ORIGIN, &origin)?;
        }
    }
    Ok(())
}

fn merged<K: Ord, V>(
    mut low: std::collections::BTreeMap<K, V>,
    high: std::collections::BTreeMap<K, V>,
) -> std::collections::BTreeMap<K, V> {
    low.extend(high);
    low
}
