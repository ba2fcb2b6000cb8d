//! References by name follow their objects' new names.
//!
//! An object remembers what it was called. A field that may refer to its kind and holds one of those names gets the new one;
//! where several objects had the name, namespaces, then prefixes and suffixes tell which is meant.

use std::collections::{HashMap, HashSet};

use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::fieldspec::{BackReferences, FieldSpec, visit_path};
use crate::kustomize::graph::{Cell, Graph, Id, Put};
use crate::kustomize::resid::{Gvk, ResId};
use crate::kustomize::resmap::ResMap;
use crate::kustomize::resource::{Resource, Source, note};
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Kind, Tag};

/// An object that may be referred to, as it is when references are fixed.
#[derive(Debug)]
struct Candidate {
    root: Id,
    source: Option<Source>,
    cur: ResId,
    org_namespace: String,
    prev: Vec<ResId>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

/// All candidates, and which had a name.
#[derive(Debug)]
pub struct Candidates {
    list: Vec<Candidate>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Candidate {
    fn of(graph: &Graph, resource: &Resource, root: Id) -> Result<Self> {
        let texts = |name| graph.note_list(root, name).into_iter().map(str::to_owned).collect();
        let (cur, prev) = (graph.cur_id(root), graph.prev_ids(root)?);
        Ok(Self {
            root,
            source: resource.source,
            org_namespace: prev.first().unwrap_or(&cur).effective_namespace().to_owned(),
            prefixes: texts(note::PREFIXES),
            suffixes: texts(note::SUFFIXES),
            cur,
            prev,
        })
    }

    /// Whether references to both come out alike.
    fn is_called_as(&self, other: &Self) -> bool {
        self.cur == other.cur
            && self.org_namespace == other.org_namespace
            && self.prev == other.prev
            && self.prefixes == other.prefixes
            && self.suffixes == other.suffixes
    }
}

impl Candidates {
    fn of(graph: &Graph, map: &ResMap) -> Result<Self> {
        let mut list = Vec::new();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for resource in map.list() {
            let Some(root) = resource.root else { continue };
            let candidate = Candidate::of(graph, resource, root)?;
            let names: HashSet<&str> = candidate.prev.iter().map(|id| id.name.as_str()).collect();
            for name in names {
                by_name.entry(name.to_owned()).or_default().push(list.len());
            }
            list.push(candidate);
        }
        Ok(Self { list, by_name })
    }

    /// The objects.
    pub fn roots(&self) -> impl Iterator<Item = Id> {
        self.list.iter().map(|candidate| candidate.root)
    }

    /// Where they were read.
    pub fn sources(&self) -> impl Iterator<Item = Option<Source>> {
        self.list.iter().map(|candidate| candidate.source)
    }

    /// Puts objects into the places of those that were read there before; `None` if there are none, or references to them
    /// would come out differently. Returns the places.
    pub fn replace(&mut self, graph: &Graph, map: &ResMap) -> Option<Vec<usize>> {
        let mut places = Vec::new();
        for resource in map.list() {
            let new = Candidate::of(graph, resource, resource.root?).ok()?;
            let at = self.list.iter().position(|there| there.source == new.source)?;
            if !self.list[at].is_called_as(&new) {
                return None;
            }
            self.list[at] = new;
            places.push(at);
        }
        Some(places)
    }

    /// Gives the references of the objects at some places the names that their objects have now.
    ///
    /// # Errors
    /// If a name may mean several objects that are not called the same now.
    pub fn fix(&self, graph: &mut Graph, places: &[usize], references: &[BackReferences]) -> Result<()> {
        let mut specs_of: HashMap<Gvk, Vec<(&FieldSpec, &Gvk)>> = HashMap::new();
        for at in places {
            let referrer = &self.list[*at];
            let org = referrer.prev.first().unwrap_or(&referrer.cur).gvk.clone();
            let specs = specs_of.entry(org.clone()).or_insert_with(|| {
                let all = references
                    .iter()
                    .flat_map(|kind| kind.referrers.iter().map(|spec| (spec, &kind.target)));
                all.filter(|(spec, _)| org.is_selected(&spec.gvk)).collect()
            });
            if !specs.is_empty() {
                self.fix_one(graph, *at, specs)?;
            }
        }
        Ok(())
    }

    fn fix_one(&self, graph: &mut Graph, at: usize, specs: &[(&FieldSpec, &Gvk)]) -> Result<()> {
        let referrer = &self.list[at];
        let mut fix = Fix {
            candidates: self,
            referrer: at,
            binding_namespaces: binding_namespaces(graph, referrer)?,
            target: &referrer.cur.gvk,
            is_role: false,
        };
        for (spec, target) in specs {
            fix.target = target;
            fix.is_role = spec.path.ends_with("roleRef/name");
            visit_path(graph, referrer.root, spec, None, |graph, at| fix.set(graph, at))
                .within(|| format!("updating name reference in '{}' field of '{}'", spec.path, referrer.cur))
                .at(graph.pos(referrer.root))?;
        }
        Ok(())
    }
}

/// Gives all references the names that their objects have now.
///
/// # Errors
/// If a name may mean several objects that are not called the same now.
pub fn fix_references(world: &mut World<'_>, map: &mut ResMap, references: &[BackReferences]) -> Result<Candidates> {
    let graph = &mut world.graph;
    let candidates = Candidates::of(graph, map)?;
    let all: Vec<usize> = (0..candidates.list.len()).collect();
    candidates.fix(graph, &all, references)?;
    map.list_mut();
    Ok(candidates)
}

/// Namespaces whose objects a role binding may refer to: those of its service accounts.
fn binding_namespaces(graph: &Graph, referrer: &Candidate) -> Result<HashSet<String>> {
    let mut namespaces = HashSet::new();
    let subjects = graph
        .get(referrer.root, "subjects")
        .filter(|_| referrer.cur.gvk.kind == "RoleBinding");
    for subject in subjects.into_iter().flat_map(|subjects| graph.content(subjects)) {
        let is_account = graph
            .get(*subject, "kind")
            .is_some_and(|kind| graph.text(kind) == "ServiceAccount");
        let Some(namespace) = graph.get(*subject, "namespace").filter(|_| is_account) else {
            continue;
        };
        if graph.is_null(namespace) {
            let why = format!("Invalid Input: namespace is blank for resource \"{}\"", referrer.cur);
            return Err(Error::object(why).at(graph.pos(namespace)));
        }
        namespaces.insert(graph.text(namespace).to_owned());
    }
    Ok(namespaces)
}

/// Fixing one field of one object.
struct Fix<'a> {
    candidates: &'a Candidates,
    referrer: usize,
    binding_namespaces: HashSet<String>,
    target: &'a Gvk,
    is_role: bool,
}

impl Fix<'_> {
    fn set(&self, graph: &mut Graph, at: Id) -> Result<()> {
        if graph.is_null(at) {
            return Ok(());
        }
        match graph.kind(at) {
            Kind::Scalar => self.set_scalar(graph, at),
            Kind::Mapping => self.set_mapping(graph, at),
            Kind::Sequence => {
                for item in graph.content(at).to_vec() {
                    match graph.kind(item) {
                        _ if graph.is_null(item) => {}
                        Kind::Scalar => self.set_scalar(graph, item)?,
                        Kind::Mapping => self.set_mapping(graph, item)?,
                        Kind::Sequence | Kind::Alias => {
                            let why = "a reference is expected to be either a string or a map of string";
                            return Err(Error::object(why).at(graph.pos(item)));
                        }
                    }
                }
                Ok(())
            }
            Kind::Alias => Err(Error::object("node must be a scalar, sequence or map").at(graph.pos(at))),
        }
    }

    fn set_scalar(&self, graph: &mut Graph, at: Id) -> Result<()> {
        let old = graph.text(at).to_owned();
        let found = self.select(graph, &old, None, |a, b| a.cur.name == b.cur.name)?;
        let Some(found) = found else { return Ok(()) };
        self.note(graph, found)?;
        let name = &found.cur.name;
        if *name == old || name.is_empty() {
            return Ok(());
        }
        let value = graph.add_scalar(name, Tag::None);
        graph.set_scalar(at, value)
    }

    fn set_mapping(&self, graph: &mut Graph, at: Id) -> Result<()> {
        let Some(name) = graph.get(at, "name") else {
            return Err(Error::object("path config error; no 'name' field in node").at(graph.pos(at)));
        };
        let old = graph.text(name).to_owned();
        let namespace = graph
            .get(at, "namespace")
            .map(|namespace| graph.text(namespace).to_owned());
        let is_same = |a: &Candidate, b: &Candidate| a.cur.name == b.cur.name && a.cur.namespace == b.cur.namespace;
        let Some(found) = self.select(graph, &old, namespace.as_deref(), is_same)? else {
            return Ok(());
        };
        self.note(graph, found)?;
        let (name, namespace) = (&found.cur.name, &found.cur.namespace);
        if *name == old && namespace.is_empty() {
            return Ok(());
        }
        set_text(graph, at, "name", name)?;
        match namespace.is_empty() {
            true => Ok(()),
            false => set_text(graph, at, "namespace", namespace),
        }
    }

    fn note(&self, graph: &mut Graph, found: &Candidate) -> Result<()> {
        let referrer = self.referrer().cur.to_string();
        graph.append_note(found.root, note::REF_BY, &referrer)
    }

    fn referrer(&self) -> &Candidate {
        &self.candidates.list[self.referrer]
    }

    /// The object that a name means.
    fn select(
        &self,
        graph: &Graph,
        name: &str,
        namespace: Option<&str>,
        is_same: impl Fn(&Candidate, &Candidate) -> bool,
    ) -> Result<Option<&Candidate>> {
        let had_name = self.candidates.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let role = self.is_role.then(|| role_of(graph, self.referrer().root)).flatten();
        let in_namespace = self.in_namespace(namespace);
        let mut found: Vec<&Candidate> = had_name
            .iter()
            .map(|at| &self.candidates.list[*at])
            .filter(|candidate| self.may_refer_to(candidate) && in_namespace(candidate))
            .filter(|candidate| candidate.prev.iter().any(|id| id.gvk.is_selected(self.target)))
            .filter(|candidate| {
                role.as_ref()
                    .is_none_or(|role| candidate.prev.iter().any(|id| id.gvk.is_selected(role)))
            })
            .filter(|candidate| self.is_near(candidate))
            .collect();
        if let [one] = found.as_slice() {
            return Ok(Some(one));
        }
        found.retain(|candidate| self.has_affixes_of(candidate, true));
        if found.len() > 1 {
            found.retain(|candidate| self.has_affixes_of(candidate, false));
        }
        let Some(first) = found.first() else {
            return Ok(None);
        };
        if found.iter().all(|other| is_same(first, other)) {
            return Ok(Some(first));
        }
        let ids: Vec<String> = found.iter().map(|candidate| candidate.cur.to_string()).collect();
        Err(Error::resources(format!(
            "found multiple possible referrals: {}",
            ids.join(", ")
        )))
    }

    /// Which candidates are in the namespace that stands beside a name: by their first namespaces, or if none was there by
    /// their current ones.
    fn in_namespace(&self, namespace: Option<&str>) -> impl Fn(&Candidate) -> bool {
        let wanted = namespace.map(str::to_owned);
        let by_first = wanted.as_ref().is_some_and(|wanted| {
            let mut candidates = self
                .candidates
                .list
                .iter()
                .filter(|candidate| self.may_refer_to(candidate));
            candidates.any(|candidate| candidate.org_namespace == *wanted)
        });
        move |candidate| match &wanted {
            None => true,
            Some(wanted) if by_first => candidate.org_namespace == *wanted,
            Some(wanted) => !candidate.cur.is_cluster_scoped && candidate.cur.effective_namespace() == wanted,
        }
    }

    /// Whether the object is one that this one could refer to at all.
    fn may_refer_to(&self, candidate: &Candidate) -> bool {
        let referrer = &self.referrer().cur;
        referrer.is_cluster_scoped
            || candidate.cur.is_cluster_scoped
            || candidate.cur.is_in_namespace_of(referrer)
            || self.binding_namespaces.contains(&candidate.cur.namespace)
    }

    fn is_near(&self, candidate: &Candidate) -> bool {
        let referrer = &self.referrer().cur;
        referrer.is_cluster_scoped
            || candidate.cur.is_cluster_scoped
            || candidate.cur.gvk.kind == "ServiceAccount"
            || candidate.cur.is_in_namespace_of(referrer)
    }

    fn has_affixes_of(&self, candidate: &Candidate, may_be_none: bool) -> bool {
        let referrer = self.referrer();
        let is_like = |a: &[String], b: &[String]| {
            let has_none = a.is_empty() || b.is_empty();
            (may_be_none && has_none) || end_alike(a, b)
        };
        is_like(&candidate.prefixes, &referrer.prefixes) && is_like(&candidate.suffixes, &referrer.suffixes)
    }
}

fn set_text(graph: &mut Graph, at: Id, name: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return graph.clear(at, name).map(|_| ());
    }
    let pos = graph.pos(at);
    let value = graph.add(Cell::scalar(text, Tag::None).at(pos));
    graph.set_field(at, name, Some(value), Put::default())
}

/// Whether the shorter list is the longer one's end. Nothing is like something.
fn end_alike(a: &[String], b: &[String]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    match short.is_empty() {
        true => long.is_empty(),
        false => long.ends_with(short),
    }
}

/// The type of role that a binding is for.
fn role_of(graph: &Graph, root: Id) -> Option<Gvk> {
    let role = graph.get(root, "roleRef")?;
    let text = |name| graph.get(role, name).map(|value| graph.text(value).to_owned());
    Some(Gvk {
        group: text("apiGroup")?,
        version: String::new(),
        kind: text("kind")?,
    })
}
