//! Objects of kinds that are kept and shown, and on which nothing acts: decoded strictly by the table of Kubernetes' types, so that no such
//! kind needs code of its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::path::{FieldPath, Step};
use super::strict::{Mismatch, Unknown, decode, type_of};
use super::suggest::nearest;
use crate::schema::{Field, Message, Shape};

/// An object as it was written, without what its type does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its metadata.
    pub metadata: ObjectMeta,
    value: Value,
}

impl serde::Serialize for Stored {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl Stored {
    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Takes an object of a type that the table does not have: nothing of it is known but what every object has.
    ///
    /// # Errors
    /// Metadata that is none.
    pub fn untyped(value: &Value) -> Result<(Self, Vec<Unknown>), Mismatch> {
        let metadata = value.get("metadata").unwrap_or(&Value::Null);
        let decoded = decode(metadata).map_err(below_metadata)?;
        let (metadata, unknown) = (decoded.typed, decoded.unknown);
        let value = value.clone();
        Ok((
            Self { metadata, value },
            unknown.into_iter().map(unknown_below_metadata).collect(),
        ))
    }

    /// Decodes an object of this type.
    ///
    /// # Errors
    /// The first value that is not of its field's type.
    pub fn decode(message: Message, value: &Value) -> Result<(Self, Vec<Unknown>), Mismatch> {
        let mut walk = Walk {
            path: FieldPath::root(),
            unknown: Vec::new(),
        };
        let Value::Object(fields) = value else {
            return Err(walk.mismatch(value, "object"));
        };
        let mut fields = fields.clone();
        let names = ["apiVersion", "kind"].map(|name| (name.to_owned(), fields.remove(name).unwrap_or_default()));
        let mut kept = Map::from_iter(names);
        kept.append(&mut walk.fields(message, &fields)?);
        let metadata = match kept.get("metadata") {
            Some(metadata) => decode(metadata).map_err(below_metadata)?.typed,
            None => ObjectMeta::default(),
        };
        let value = Value::Object(kept);
        Ok((Self { metadata, value }, walk.unknown))
    }
}

fn below_metadata(mut mismatch: Mismatch) -> Mismatch {
    mismatch.path = Some(in_metadata(&mismatch.path.unwrap_or_default()));
    mismatch
}

fn unknown_below_metadata(mut unknown: Unknown) -> Unknown {
    unknown.path = in_metadata(&unknown.path);
    unknown
}

fn in_metadata(below: &FieldPath) -> FieldPath {
    let mut path = FieldPath::of(&["metadata"]);
    below.steps().iter().for_each(|step| path.push(step.clone()));
    path
}

struct Walk {
    path: FieldPath,
    unknown: Vec<Unknown>,
}

type Result<T, E = Mismatch> = std::result::Result<T, E>;

impl Walk {
    /// Those fields that the type has; what is null is not there.
    fn fields(&mut self, message: Message, fields: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut kept = Map::new();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            self.path.push(Step::Field(name.clone()));
            match message.field(name) {
                Some(field) => drop(kept.insert(name.clone(), self.field(field, value)?)),
                None => self.unknown.push(Unknown {
                    path: self.path.clone(),
                    suggestion: near(message, name),
                }),
            }
            self.path.pop();
        }
        Ok(kept)
    }

    fn field(&mut self, field: Field, value: &Value) -> Result<Value> {
        match (field.shape, value) {
            (Shape::One, value) => self.one(field, value),
            (Shape::List, Value::Array(items)) => {
                let mut kept = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    kept.push(self.one(field, item)?);
                    self.path.pop();
                }
                Ok(Value::Array(kept))
            }
            (Shape::Map, Value::Object(entries)) => {
                let mut kept = Map::new();
                for (key, entry) in entries {
                    self.path.push(Step::Key(key.clone()));
                    kept.insert(key.clone(), self.one(field, entry)?);
                    self.path.pop();
                }
                Ok(Value::Object(kept))
            }
            (Shape::List, _) => Err(self.mismatch(value, "array")),
            (Shape::Map, _) => Err(self.mismatch(value, "object")),
        }
    }

    fn one(&mut self, field: Field, value: &Value) -> Result<Value> {
        let is_number_of =
            |least: i64, most: i64| value.as_i64().is_some_and(|number| (least..=most).contains(&number));
        let (fits, wanted) = match field.value {
            "string" | "bytes" => (value.is_string(), "string"),
            "bool" => (value.is_boolean(), "bool"),
            "int32" => (is_number_of(i32::MIN.into(), i32::MAX.into()), "int32"),
            "int64" => (is_number_of(i64::MIN, i64::MAX), "int64"),
            "double" => (value.is_number(), "float64"),
            name => match (name.rsplit('.').next().unwrap_or(name), value) {
                ("Time" | "MicroTime", value) => (value.is_string(), "string"),
                ("Quantity" | "IntOrString", value) => (value.is_string() || value.is_number(), "string or number"),
                // Whatever whoever reads it takes.
                ("RawExtension" | "FieldsV1" | "Duration", _) => (true, ""),
                (_, Value::Object(fields)) => {
                    let message = field.message().expect("the table has every type that a field names");
                    return self.fields(message, fields).map(Value::Object);
                }
                _ => (false, "object"),
            },
        };
        match fits {
            true => Ok(value.clone()),
            false => Err(self.mismatch(value, wanted)),
        }
    }

    fn mismatch(&self, value: &Value, wanted: &str) -> Mismatch {
        let found = type_of(value);
        Mismatch {
            path: Some(self.path.clone()),
            message: format!("cannot unmarshal {found} into a field of type {wanted}"),
        }
    }
}

/// The field that may have been meant.
fn near(message: Message, name: &str) -> Option<&'static str> {
    nearest(name, message.fields().map(|field| field.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decoded(kind: &str, value: Value) -> Result<(Value, Vec<String>), String> {
        let message = Message::of_version("rbac.authorization.k8s.io", "v1", kind)
            .or_else(|| Message::of_version("autoscaling", "v2", kind))
            .or_else(|| Message::of_version("policy", "v1", kind))
            .expect("in the table");
        let (stored, unknown) = Stored::decode(message, &value)
            .map_err(|mismatch| format!("{}: {}", mismatch.path.unwrap_or_default(), mismatch.message))?;
        let told = |unknown: Unknown| format!("{} {}", unknown.path, unknown.suggestion.unwrap_or_default());
        let value = serde_json::to_value(stored).expect("is JSON");
        Ok((value, unknown.into_iter().map(told).collect()))
    }

    #[test]
    fn what_the_type_has_is_kept_and_the_rest_is_told() {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "labels": {"a": "b"}},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
        assert_eq!(decoded("Role", role.clone()), Ok((role.clone(), Vec::new())));
        let mut wrong = role.clone();
        wrong["rules"][0]["verb"] = json!(["get"]);
        wrong["metadata"]["nmae"] = json!("x");
        wrong["rules"][0]["resourceNames"] = Value::Null;
        let told = vec!["metadata.nmae name".to_owned(), "rules[0].verb verbs".to_owned()];
        assert_eq!(decoded("Role", wrong), Ok((role, told)));
    }

    #[test]
    fn values_are_of_their_fields_types() {
        let budget =
            |spec: Value| decoded("PodDisruptionBudget", json!({"metadata": {"name": "b"}, "spec": spec})).map(drop);
        for available in [json!(1), json!("50%")] {
            assert_eq!(budget(json!({"minAvailable": available})), Ok(()));
        }
        for (spec, why) in [
            (
                json!({"minAvailable": []}),
                "spec.minAvailable: cannot unmarshal array into a field of type string or number",
            ),
            (
                json!({"selector": "a"}),
                "spec.selector: cannot unmarshal string into a field of type object",
            ),
            (
                json!({"selector": {"matchLabels": {"a": 1}}}),
                "spec.selector.matchLabels[a]: cannot unmarshal number into a field of type string",
            ),
            (json!([]), "spec: cannot unmarshal array into a field of type object"),
        ] {
            assert_eq!(budget(spec), Err(why.to_owned()));
        }
        let scaler = |most: Value| decoded("HorizontalPodAutoscaler", json!({"spec": {"maxReplicas": most}})).map(drop);
        assert_eq!(scaler(json!(3)), Ok(()));
        assert!(scaler(json!(1u64 << 40)).is_err() && scaler(json!("3")).is_err());
        let named = decoded("Role", json!({"metadata": {"creationTimestamp": "yesterday"}}));
        assert!(named.is_err_and(|why| why.starts_with("metadata.creationTimestamp: ")));
    }
}
