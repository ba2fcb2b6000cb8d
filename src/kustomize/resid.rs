//! What tells objects apart: group, version and kind; name and namespace.

use std::fmt;

use super::scope::is_cluster_scoped;

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What stands for the namespace of objects that have none.
const NO_NAMESPACE: &str = "_non_namespaceable_";

/// A type of objects. Empty parts are wildcards where a type selects others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Gvk {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
}

impl Gvk {
    /// A type from an apiVersion and a kind.
    pub fn of(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    /// The apiVersion.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether `selector` selects this type.
    pub fn is_selected(&self, selector: &Gvk) -> bool {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        fits(&selector.group, &self.group) && fits(&selector.version, &self.version) && fits(&selector.kind, &self.kind)
    }

    /// Whether objects of this type certainly have no namespace.
    pub fn is_cluster_scoped(&self) -> bool {
        is_cluster_scoped(&self.group, &self.version, &self.kind)
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: &'_ str, other: &'static str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_owned()
            }
        };
        let (kind, version, group) = (
            or(&self.kind, "[noKind]"),
            or(&self.version, "[noVer]"),
            or(&self.group, "[noGrp]"),
        );
        write!(f, "{kind}.{version}.{group}")
    }
}

/// What an object is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ResId {
    /// Its type.
    pub gvk: Gvk,
    /// Its name.
    pub name: String,
    /// Its namespace as it is written; may be empty.
    pub namespace: String,
    /// Whether objects of this type are known to have no namespace. Former ids do not know it, as in the reference.
    pub is_cluster_scoped: bool,
}

impl ResId {
    /// An id that counts as having a namespace, whatever its type.
    pub fn unscoped(gvk: Gvk, name: &str, namespace: &str) -> Self {
        Self {
            gvk,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            is_cluster_scoped: false,
        }
    }

    /// The namespace for comparing: never empty.
    pub fn effective_namespace(&self) -> &str {
        match self.namespace.as_str() {
            _ if self.is_cluster_scoped => NO_NAMESPACE,
            "" => DEFAULT_NAMESPACE,
            namespace => namespace,
        }
    }

    /// Whether both are in the same namespace.
    pub fn is_in_namespace_of(&self, other: &ResId) -> bool {
        self.effective_namespace() == other.effective_namespace()
    }

    /// Whether type and name are the same.
    pub fn has_gvkn_of(&self, other: &ResId) -> bool {
        self.name == other.name && self.gvk == other.gvk
    }

    /// Whether both call the same object.
    pub fn is(&self, other: &ResId) -> bool {
        self.is_in_namespace_of(other) && self.has_gvkn_of(other)
    }

    /// Whether `selector` selects this object; its empty parts are wildcards.
    pub fn is_selected_by(&self, selector: &ResId) -> bool {
        (selector.name.is_empty() || selector.name == self.name)
            && (selector.namespace.is_empty() || selector.is_in_namespace_of(self))
            && self.gvk.is_selected(&selector.gvk)
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.gvk == Gvk::default() && self.name.is_empty() && self.namespace.is_empty()
    }
}

impl fmt::Display for ResId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "[noName]" } else { &self.name };
        let namespace = if self.namespace.is_empty() {
            "[noNs]"
        } else {
            &self.namespace
        };
        write!(f, "{}/{name}.{namespace}", self.gvk)
    }
}
