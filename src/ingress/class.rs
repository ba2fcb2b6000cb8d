//! Whose an Ingress is. Pure but for the class that is made at first.

use serde_json::json;

use crate::model::Object;
use crate::model::ingress::{IS_DEFAULT, OLD_CLASS};
use crate::store::{Store, StoreError};

/// The class of Ingresses that are served here.
pub const CLASS: &str = "kubelocal";
/// The controller that classes name whose Ingresses are served here.
pub const CONTROLLER: &str = "kubelocal.dev/ingress";

/// Makes the class if it is not there.
///
/// # Errors
/// When the store can't write.
pub fn create_class(store: &Store) -> Result<(), StoreError> {
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": CLASS, "annotations": {IS_DEFAULT: "true"}},
        "spec": {"controller": CONTROLLER},
    });
    match store.create(Object::new(class).expect("a class with a name")) {
        Ok(_) | Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Why an Ingress is not served here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It names a class of another controller.
    Other(String),
    /// It names a class that is not there.
    Unknown(String),
    /// It names none, and none of ours is the default.
    None,
}

/// Whose an Ingress is, with these classes; ours if nothing is returned.
pub(super) fn foreign<'a>(ingress: &Object, mut classes: impl Iterator<Item = &'a Object>) -> Option<Foreign> {
    let is_ours = |class: &Object| class.text("/spec/controller") == CONTROLLER;
    let annotations = ingress.annotations();
    let named = match ingress.text("/spec/ingressClassName") {
        "" => annotations.get(OLD_CLASS).copied().filter(|name| !name.is_empty()),
        name => Some(name),
    };
    match named {
        Some(name) => match classes.find(|class| class.key().name == name) {
            Some(class) if is_ours(class) => None,
            Some(_) => Some(Foreign::Other(name.to_owned())),
            None => Some(Foreign::Unknown(name.to_owned())),
        },
        None => {
            let mut defaults = classes.filter(|class| class.annotations().get(IS_DEFAULT) == Some(&"true"));
            (!defaults.any(is_ours)).then_some(Foreign::None)
        }
    }
}

impl Foreign {
    /// What is told of it, and what to do.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Other(class) => format!(
                "not served here: the class {class:?} is another controller's; Ingresses of the class {CLASS:?} are served, or of none"
            ),
            Self::Unknown(class) => format!(
                "not served here: there is no class {class:?}; make an IngressClass of this name with the controller \
                 {CONTROLLER:?}, or leave ingressClassName out"
            ),
            Self::None => format!("not served here: it names no class, and {CLASS:?} is not the default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn object(kind: &str, name: &str, annotations: Value, spec: Value) -> Object {
        let metadata = json!({"name": name, "namespace": "default", "annotations": annotations});
        let value = json!({"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
        Object::new(value).expect("of the table")
    }

    #[test]
    fn an_ingress_is_served_if_its_class_or_the_default_is_ours() {
        let class = |name: &str, controller: &str, is_default: &str| {
            object(
                "IngressClass",
                name,
                json!({IS_DEFAULT: is_default}),
                json!({"controller": controller}),
            )
        };
        let nginx = || class("nginx", "k8s.io/ingress-nginx", "false");
        let ours = |is_default| class(CLASS, CONTROLLER, is_default);
        let also = || class("also", CONTROLLER, "false");
        let (none, other) = (json!({}), |name: &str| json!({"ingressClassName": name}));
        for (classes, annotations, spec, expected) in [
            (vec![ours("true")], json!({}), none.clone(), None),
            (vec![ours("false")], json!({}), none.clone(), Some(Foreign::None)),
            (
                vec![ours("true"), nginx()],
                json!({}),
                other("nginx"),
                Some(Foreign::Other("nginx".to_owned())),
            ),
            (
                vec![ours("true")],
                json!({}),
                other("nginx"),
                Some(Foreign::Unknown("nginx".to_owned())),
            ),
            (vec![ours("false"), also()], json!({}), other("also"), None),
            (
                vec![ours("true"), nginx()],
                json!({OLD_CLASS: "nginx"}),
                none.clone(),
                Some(Foreign::Other("nginx".to_owned())),
            ),
            (vec![ours("false")], json!({OLD_CLASS: CLASS}), none, None),
        ] {
            let ingress = object("Ingress", "web", annotations, spec);
            assert_eq!(foreign(&ingress, classes.iter()), expected, "{classes:?} {ingress:?}");
        }
    }
}
