//! Walking to the fields that a spec means.

use super::FieldSpec;
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::graph::{Graph, Id};
use crate::kustomize::resid::{Gvk, ResId};
use crate::kustomize::yaml::{Kind, Tag};

/// What is made where a field is missing: a node of this kind, and this type where there is a null.
#[derive(Debug, Clone)]
pub struct Create {
    /// The kind of the field's value.
    pub kind: Kind,
    /// Its type if it was null.
    pub tag: Tag,
}

/// One walk.
struct Walk<'a, F> {
    create: Option<&'a Create>,
    may_create: bool,
    change: F,
}

/// Calls `change` for every field of an object that a spec means. Nothing happens if the object is of another kind, or the
/// field is missing and not to be created.
///
/// # Errors
/// If something on the way is neither a mapping nor a list, or `change` fails.
pub fn visit<F>(graph: &mut Graph, root: Id, spec: &FieldSpec, create: Option<&Create>, change: F) -> Result<()>
where
    F: FnMut(&mut Graph, Id) -> Result<()>,
{
    match is_meant(graph, root, &spec.gvk) {
        true => visit_path(graph, root, spec, create, change),
        false => Ok(()),
    }
}

/// Whether an object is of a kind that a spec means. Asked for every object and every spec, so nothing is made for it.
fn is_meant(graph: &Graph, root: Id, wanted: &Gvk) -> bool {
    let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    if !fits(&wanted.kind, graph.kind_name(root)) {
        return false;
    }
    let api_version = graph.api_version(root);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    fits(&wanted.group, group) && fits(&wanted.version, version)
}

/// As [`visit`], whatever the object's kind.
///
/// # Errors
/// As [`visit`].
pub fn visit_path<F>(graph: &mut Graph, root: Id, spec: &FieldSpec, create: Option<&Create>, change: F) -> Result<()>
where
    F: FnMut(&mut Graph, Id) -> Result<()>,
{
    graph.check_room().at(graph.pos(root))?;
    let mut walk = Walk {
        create,
        may_create: spec.create && create.is_some(),
        change,
    };
    walk.go(graph, root, &spec.parts).within(|| {
        let id = ResId::unscoped(graph.gvk(root), graph.name(root), graph.namespace(root));
        format!("considering field '{}' of object {id}", spec.path)
    })
}

impl<F> Walk<'_, F>
where
    F: FnMut(&mut Graph, Id) -> Result<()>,
{
    fn go(&mut self, graph: &mut Graph, at: Id, path: &[String]) -> Result<()> {
        let Some(part) = path.first() else {
            return (self.change)(graph, at);
        };
        if graph.is_null(at) {
            return Ok(());
        }
        match graph.kind(at) {
            Kind::Sequence => {
                let items = graph.content(at).to_vec();
                items.into_iter().try_for_each(|item| self.go(graph, item, path))
            }
            Kind::Mapping => self.field(graph, at, part, &path[1..]),
            Kind::Scalar | Kind::Alias => Err(Error::object("expected sequence or mapping node").at(graph.pos(at))),
        }
    }

    fn field(&mut self, graph: &mut Graph, at: Id, part: &str, rest: &[String]) -> Result<()> {
        let (name, is_list) = match part.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        if name.is_empty() {
            return Err(Error::object("cannot set or create an empty field name"));
        }
        let made = match self.create.filter(|_| self.may_create && !is_list) {
            None => is_list.then_some((Kind::Sequence, Tag::None)),
            Some(create) if rest.is_empty() => Some((create.kind, create.tag.clone())),
            Some(_) => Some((Kind::Mapping, Tag::Map)),
        };
        let found = match &made {
            Some((kind, _)) if !is_list => graph.lookup_create(at, &[name], *kind),
            _ => graph.lookup(at, &[name]),
        };
        let Some(field) = found.within(|| format!("fieldName: {name}"))? else {
            return Ok(());
        };
        if let Some((kind, tag)) = made.filter(|_| graph.is_null(field)) {
            let cell = graph.cell_mut(field);
            cell.kind = kind;
            cell.tag = tag;
        }
        self.go(graph, field, rest)
    }
}
