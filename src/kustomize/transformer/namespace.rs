//! The namespace of everything, and of what refers to it.

use super::Transform;
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::fieldspec::{Create, FieldSpec, visit};
use crate::kustomize::graph::{Graph, Id};
use crate::kustomize::resmap::ResMap;
use crate::kustomize::resource::note;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Kind, Pos, Tag};

/// Which subjects of role bindings get the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subjects {
    /// Those that are called `default`.
    #[default]
    Default,
    /// All service accounts.
    ServiceAccounts,
    /// None.
    None,
}

impl Subjects {
    /// Reads the configuration's word.
    ///
    /// # Errors
    /// If it is none of the three.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "defaultOnly" => Ok(Self::Default),
            "allServiceAccounts" => Ok(Self::ServiceAccounts),
            "none" => Ok(Self::None),
            other => Err(Error::kustomization(format!(
                "invalid value {other:?} for setRoleBindingSubjects: \
                 must be one of \"defaultOnly\", \"none\" or \"allServiceAccounts\""
            ))),
        }
    }
}

/// Sets the namespace.
#[derive(Debug, Clone)]
pub struct NamespaceTransformer {
    /// The namespace.
    pub namespace: String,
    /// Fields that name it, besides the one that all objects have.
    pub specs: Vec<FieldSpec>,
    /// Whether only fields that are empty are set.
    pub unset_only: bool,
    /// Which subjects get it.
    pub subjects: Subjects,
    /// Where it stands.
    pub pos: Pos,
}

impl Transform for NamespaceTransformer {
    fn transform(&self, world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
        if self.namespace.is_empty() {
            return Ok(());
        }
        let graph = &mut world.graph;
        for root in map.roots() {
            if graph.is_hollow(root) || graph.annotation(root, note::HELM) == Some("true") {
                continue;
            }
            graph.store_previous_id(root)?;
            graph.by(self.pos, |graph| self.apply(graph, root)).at(self.pos)?;
        }
        map.list_mut();
        self.check(graph, map)
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl NamespaceTransformer {
    /// Two objects must not become one.
    fn check(&self, graph: &Graph, map: &ResMap) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        for root in map.roots() {
            let id = graph.cur_id(root);
            if !seen.insert((id.effective_namespace().to_owned(), id.gvk.clone(), id.name.clone())) {
                let why = format!("namespace transformation produces ID conflict: {id}");
                return Err(Error::resources(why).at(graph.pos(root)).at(self.pos));
            }
        }
        Ok(())
    }

    /// Sets it in one object.
    ///
    /// # Errors
    /// If a field that names it is no scalar.
    pub fn apply(&self, graph: &mut Graph, root: Id) -> Result<()> {
        let gvk = graph.gvk(root);
        if !graph.is_cluster_scoped(&gvk) {
            let own = FieldSpec::of_all("metadata/namespace", true);
            self.set_field(graph, root, &own, Tag::None)?;
        }
        let is_binding = matches!(gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding");
        if is_binding {
            self.set_subjects(graph, root)
                .within(|| "setting namespace on (cluster)role binding subjects".to_owned())?;
        }
        let is_core = gvk.api_version() == "v1";
        for spec in &self.specs {
            let is_own = spec.path == "metadata/namespace" || (!is_core && spec.path == "metadata/name");
            let is_subject = matches!(spec.gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding")
                && spec.path == "subjects/namespace";
            let is_done = is_own || (is_binding && is_subject);
            if !is_done {
                self.set_field(graph, root, spec, Tag::Str)
                    .within(|| "namespace transformation failed".to_owned())?;
            }
        }
        Ok(())
    }

    fn set_field(&self, graph: &mut Graph, root: Id, spec: &FieldSpec, tag: Tag) -> Result<()> {
        let create = Create {
            kind: Kind::Scalar,
            tag,
        };
        visit(graph, root, spec, Some(&create), |graph, at| self.set(graph, at))
    }

    fn set(&self, graph: &mut Graph, at: Id) -> Result<()> {
        let is_set = graph.is_scalar(at) && !graph.value_text(at).is_empty();
        if self.unset_only && is_set {
            return Ok(());
        }
        let value = graph.add_scalar(&self.namespace, Tag::Str);
        graph.set_scalar(at, value)
    }

    fn set_subjects(&self, graph: &mut Graph, root: Id) -> Result<()> {
        let (field, wanted) = match self.subjects {
            Subjects::None => return Ok(()),
            Subjects::Default => ("name", "default"),
            Subjects::ServiceAccounts => ("kind", "ServiceAccount"),
        };
        let Some(subjects) = graph
            .find(root, "subjects")?
            .filter(|subjects| !graph.is_null(*subjects))
        else {
            return Ok(());
        };
        graph.expect_kind(subjects, Kind::Sequence)?;
        for subject in graph.content(subjects).to_vec() {
            let Some(found) = graph.find(subject, field)? else {
                continue;
            };
            if graph.is_null(found) {
                continue;
            }
            graph.expect_kind(found, Kind::Scalar)?;
            if graph.text(found) != wanted {
                continue;
            }
            if let Some(namespace) = graph.lookup_create(subject, &["namespace"], Kind::Scalar)? {
                self.set(graph, namespace)?;
            }
        }
        Ok(())
    }
}
