//! The schema that strategic merges follow: which lists merge, and by which keys.
//!
//! The built-in one is what Kustomize 5.8 builds in, reduced to what bears on merges; a kustomization may name a file with
//! another one (`openapi.path`), which then replaces it.

mod custom;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

pub use self::custom::read_definitions;

/// The built-in schema's one name.
pub const BUILTIN_VERSION: &str = "v1.21.2";

static BUILTIN: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(parse(include_str!("builtin.txt"))));

/// A type's number in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeId(usize);

/// What is known of a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Field {
    /// The keys by which the items of its list merge; empty for a set of scalars. `None` if its list is replaced.
    pub merge_keys: Option<Vec<String>>,
    /// The type of its value, or of its items.
    pub target: Option<TypeId>,
    /// Whether it is a list.
    pub is_list: bool,
}

/// A type: its fields, and what its other fields are if it is a mapping of names that are not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Type {
    /// Its fields.
    pub fields: HashMap<String, Field>,
    /// All others.
    pub others: Option<Field>,
    /// Whether fields that are not listed are known not to merge, as opposed to not being known.
    pub is_complete: bool,
}

/// Types by number and by apiVersion and kind.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    types: Vec<Type>,
    by_kind: HashMap<(String, String), TypeId>,
    /// Whether types have namespaces, for those that the schema tells of.
    pub scopes: HashMap<(String, String), bool>,
}

/// Where a merge stands in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nothing is known: an object in here may yet say its own type.
    Unknown,
    /// A field that is known, but neither merges nor has known fields.
    Leaf,
    /// A value of a type.
    Type(TypeId),
    /// A list.
    List(Field),
}

impl Schema {
    /// The built-in one.
    pub fn builtin() -> Arc<Self> {
        Arc::clone(&BUILTIN)
    }

    /// A schema of these types.
    pub fn new(
        types: Vec<Type>,
        by_kind: HashMap<(String, String), TypeId>,
        scopes: HashMap<(String, String), bool>,
    ) -> Self {
        Self { types, by_kind, scopes }
    }

    /// Where an object of this type begins.
    pub fn of(&self, api_version: &str, kind: &str) -> Place {
        let found = self.by_kind.get(&(api_version.to_owned(), kind.to_owned()));
        found.map_or(Place::Unknown, |id| Place::Type(*id))
    }

    /// Where a field of a place is.
    pub fn field(&self, place: &Place, name: &str) -> Place {
        let Place::Type(id) = place else {
            return match place {
                Place::Leaf => Place::Leaf,
                _ => Place::Unknown,
            };
        };
        let of_type = &self.types[id.0];
        match of_type.fields.get(name).or(of_type.others.as_ref()) {
            Some(field) if field.is_list => Place::List(field.clone()),
            Some(Field {
                target: Some(target), ..
            }) => Place::Type(*target),
            Some(_) => Place::Leaf,
            None if of_type.is_complete => Place::Leaf,
            None => Place::Unknown,
        }
    }

    /// Where an item of a place is.
    pub fn items(place: &Place) -> Place {
        match place {
            Place::List(Field {
                target: Some(target), ..
            }) => Place::Type(*target),
            Place::List(_) | Place::Leaf => Place::Leaf,
            Place::Unknown | Place::Type(_) => Place::Unknown,
        }
    }
}

/// Reads the built-in table; its first lines say how it is written.
fn parse(text: &str) -> Schema {
    let mut schema = Schema::default();
    let mut names = HashMap::new();
    let mut id_of = |schema: &mut Schema, name: &str| {
        *names.entry(name.to_owned()).or_insert_with(|| {
            schema.types.push(Type {
                is_complete: true,
                ..Type::default()
            });
            TypeId(schema.types.len() - 1)
        })
    };
    let mut current = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["kind", api_version, kind, name] => {
                let id = id_of(&mut schema, name);
                schema
                    .by_kind
                    .insert(((*api_version).to_owned(), (*kind).to_owned()), id);
            }
            ["type", name] => current = Some(id_of(&mut schema, name)),
            [field, rest @ ..] => {
                let merge_keys = rest.iter().find_map(|word| word.strip_prefix('*'));
                let merge_keys = merge_keys.map(|keys| {
                    keys.split(',')
                        .filter(|key| !key.is_empty())
                        .map(str::to_owned)
                        .collect()
                });
                let target = rest
                    .iter()
                    .find_map(|word| word.strip_prefix('>'))
                    .map(|name| id_of(&mut schema, name));
                let is_list = merge_keys.is_some() || *field == "volumeClaimTemplates";
                let of_type = current.expect("the table names a type before its fields");
                schema.types[of_type.0].fields.insert(
                    (*field).to_owned(),
                    Field {
                        merge_keys,
                        target,
                        is_list,
                    },
                );
            }
            [] => {}
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(schema: &Schema, api_version: &str, kind: &str, path: &[&str]) -> Option<Vec<String>> {
        let mut place = schema.of(api_version, kind);
        for name in path {
            place = match *name {
                "[]" => Schema::items(&place),
                _ => schema.field(&place, name),
            };
        }
        match place {
            Place::List(field) => field.merge_keys,
            _ => None,
        }
    }

    #[test]
    fn lists_merge_by_the_keys_of_their_types() {
        let schema = Schema::builtin();
        let containers = ["spec", "template", "spec", "containers"];
        assert_eq!(
            keys(&schema, "apps/v1", "Deployment", &containers),
            Some(vec!["name".to_owned()])
        );
        let ports = [&containers[..], &["[]", "ports"]].concat();
        assert_eq!(
            keys(&schema, "apps/v1", "Deployment", &ports),
            Some(vec!["containerPort".to_owned(), "protocol".to_owned()])
        );
        let args = [&containers[..], &["[]", "args"]].concat();
        assert_eq!(keys(&schema, "apps/v1", "Deployment", &args), None);
        assert_eq!(
            keys(&schema, "v1", "Pod", &["metadata", "finalizers"]),
            Some(Vec::new())
        );
        assert_eq!(
            keys(
                &schema,
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                &["spec", "metrics"]
            ),
            None
        );
    }

    #[test]
    fn unknown_types_are_told_from_known_ones_without_lists() {
        let schema = Schema::builtin();
        assert_eq!(schema.of("example.com/v1", "Foo"), Place::Unknown);
        let config_map = schema.of("v1", "ConfigMap");
        assert_eq!(schema.field(&config_map, "data"), Place::Leaf);
    }
}
