//! JSON into Kubernetes' types, strictly: every unknown field is reported with a suggestion, and a value of the wrong
//! type is refused with its path.
//!
//! Holds one `serde` deserializer over `serde_json::Value`. Generic tools (`serde_ignored`, `serde_path_to_error`) can say
//! which field was ignored and where a value did not fit, but not which fields there would have been, nor what Go makes of
//! a null (`env: [{name: A, value: }]` is an empty string there). Knows nothing of files or kinds.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::path::{FieldPath, Step};
use super::suggest::nearest;

/// A field that the type does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its path.
    pub path: FieldPath,
    /// A field that the type does have and that is spelt much the same.
    pub suggestion: Option<&'static str>,
}

/// Why a value is no value of the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Mismatch {
    /// Where, once known: the innermost field that was being read.
    pub path: Option<FieldPath>,
    /// Why, without the path.
    pub message: String,
}

/// What a value was decoded to, and the fields that were left out because the type has none such.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<T> {
    /// The typed value.
    pub typed: T,
    /// What it does not hold.
    pub unknown: Vec<Unknown>,
}

/// Decodes a value to a type.
///
/// # Errors
/// The first value that is not of its field's type.
pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<Decoded<T>, Mismatch> {
    let context = RefCell::new(Context::default());
    let typed = T::deserialize(Node {
        value,
        context: &context,
        stringly: false,
    })?;
    Ok(Decoded {
        typed,
        unknown: context.into_inner().unknown,
    })
}

#[derive(Default)]
struct Context {
    path: FieldPath,
    unknown: Vec<Unknown>,
}

#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value,
    context: &'a RefCell<Context>,
    /// Whether this is the inner value of a newtype that may be text or number (`Quantity`).
    stringly: bool,
}

/// What JSON calls a value, in the words of Go's decoder.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Node<'_> {
    fn mismatch(&self, wanted: &str) -> Mismatch {
        let found = type_of(self.value);
        let hint = match self.value {
            Value::Bool(_) | Value::Number(_) if wanted == "string" => format!(" (quote it: \"{}\")", self.value),
            Value::String(text) if wanted != "string" && is_scalar_of(text, wanted) => {
                format!(" (write it without quotes: {text})")
            }
            _ => String::new(),
        };
        self.fail(format!("cannot unmarshal {found} into a field of type {wanted}{hint}"))
    }

    fn fail(&self, message: String) -> Mismatch {
        Mismatch {
            path: Some(self.context.borrow().path.clone()),
            message,
        }
    }

    fn with_path(&self, error: Mismatch) -> Mismatch {
        match error.path {
            Some(_) => error,
            None => self.fail(error.message),
        }
    }

    fn integer<'de, V: Visitor<'de>>(self, wanted: &str, visitor: V) -> Result<V::Value, Mismatch> {
        let visited = match self.value {
            Value::Null => visitor.visit_i64(0),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => visitor.visit_i64(value),
                (None, Some(value)) => visitor.visit_u64(value),
                (None, None) => {
                    return Err(self.fail(format!(
                        "cannot unmarshal number {number} into a field of type {wanted}"
                    )));
                }
            },
            _ => return Err(self.mismatch(wanted)),
        };
        // The only error that a visitor of integers has is that the type is too small.
        visited.map_err(|_: Mismatch| {
            self.fail(format!(
                "cannot unmarshal number {} into a field of type {wanted}",
                self.value
            ))
        })
    }

    fn fields<'de, V: Visitor<'de>>(
        self,
        map: &'de Map<String, Value>,
        is_struct: bool,
        visitor: V,
    ) -> Result<V::Value, Mismatch>
    where
        Self: 'de,
    {
        visitor.visit_map(Entries {
            entries: map.iter(),
            pending: None,
            node: self,
            is_struct,
        })
    }
}

/// Whether quotes are all that keep the text from being of the type.
fn is_scalar_of(text: &str, wanted: &str) -> bool {
    match wanted {
        "boolean" => matches!(text, "true" | "false"),
        _ => wanted.starts_with("int") && text.parse::<i64>().is_ok(),
    }
}

impl serde::de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: None,
            message: message.to_string(),
        }
    }
}

macro_rules! integers {
    ($($method:ident $name:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.integer($name, visitor)
        }
    )*};
}

macro_rules! by_value {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Mismatch;

    integers! {
        deserialize_i8 "int8" deserialize_i16 "int16" deserialize_i32 "int32" deserialize_i64 "int64"
        deserialize_u8 "uint8" deserialize_u16 "uint16" deserialize_u32 "uint32" deserialize_u64 "uint64"
    }

    by_value! { deserialize_char deserialize_bytes deserialize_unit }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let visited = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => visitor.visit_i64(value),
                (None, Some(value)) => visitor.visit_u64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                node: self,
            }),
            Value::Object(map) => self.fields(map, false, visitor),
        };
        visited.map_err(|error: Mismatch| match error.path {
            None if self.stringly => self.mismatch("quantity"),
            _ => self.with_path(error),
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            _ => Err(self.mismatch("boolean")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value.as_f64() {
            Some(value) => visitor.visit_f64(value),
            None => Err(self.mismatch("number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_borrowed_str(""),
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => return Err(self.mismatch("string")),
        }
        .map_err(|error: Mismatch| self.with_path(error))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        let stringly = name == "Quantity";
        visitor
            .visit_newtype_struct(Self { stringly, ..self })
            .map_err(|error| self.with_path(error))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_seq(Items {
                items: [].iter().enumerate(),
                node: self,
            }),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                node: self,
            }),
            _ => Err(self.mismatch("list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_map(NoEntries),
            Value::Object(map) => self.fields(map, false, visitor),
            _ => Err(self.mismatch("map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let map = match self.value {
            Value::Null => return visitor.visit_map(NoEntries),
            Value::Object(map) => map,
            _ => return Err(self.mismatch(name)),
        };
        for field in map.keys().filter(|field| !known.contains(&field.as_str())) {
            let mut context = self.context.borrow_mut();
            let path = context.path.field(field);
            context.unknown.push(Unknown {
                path,
                suggestion: nearest(field, known.iter().copied()),
            });
        }
        self.fields(map, true, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(self.mismatch("string")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
    node: Node<'de>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some((index, value)) = self.items.next() else {
            return Ok(None);
        };
        inside(self.node, Step::Index(index), value, seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de> {
    entries: serde_json::map::Iter<'de>,
    pending: Option<(&'de str, &'de Value)>,
    node: Node<'de>,
    is_struct: bool,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.pending = Some((key, value));
        let key: StrDeserializer<'_, Mismatch> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let (key, value) = self.pending.take().expect("serde asks for a value only after its key");
        let step = if self.is_struct {
            Step::Field(key.to_owned())
        } else {
            Step::Key(key.to_owned())
        };
        inside(self.node, step, value, seed)
    }
}

/// Reads what is at `step`. The path stays where it is on errors, which end the whole decoding.
fn inside<'de, T: DeserializeSeed<'de>>(
    node: Node<'de>,
    step: Step,
    value: &'de Value,
    seed: T,
) -> Result<T::Value, Mismatch> {
    node.context.borrow_mut().path.push(step);
    let inner = Node {
        value,
        context: node.context,
        stringly: false,
    };
    let read = seed.deserialize(inner).map_err(|error| inner.with_path(error))?;
    node.context.borrow_mut().path.pop();
    Ok(read)
}

/// Null where a struct or map is expected: Go leaves the zero value.
struct NoEntries;

impl<'de> MapAccess<'de> for NoEntries {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _: K) -> Result<Option<K::Value>, Mismatch> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _: V) -> Result<V::Value, Mismatch> {
        Err(serde::de::Error::custom("there is no value"))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
    use serde_json::json;

    use super::*;

    fn unknown(value: Value) -> Vec<(String, Option<&'static str>)> {
        let decoded = decode::<Pod>(&value).expect("types fit");
        decoded
            .unknown
            .into_iter()
            .map(|u| (u.path.to_string(), u.suggestion))
            .collect()
    }

    fn mismatch(value: Value) -> String {
        let error = decode::<Pod>(&value).expect_err("types do not fit");
        format!("{}: {}", error.path.expect("the path is known"), error.message)
    }

    fn pod(container: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}})
    }

    #[test]
    fn every_unknown_field_is_reported_with_a_suggestion() {
        let value = json!({
            "apiVersion": "v1", "kind": "Pod", "bogus": 1,
            "spec": {"restartPolcy": "Never", "containers": [{"name": "a", "imagePullpolicy": "x", "env": [{"nme": "A"}]}]},
        });
        assert_eq!(
            unknown(value),
            [
                ("bogus".into(), None),
                ("spec.restartPolcy".into(), Some("restartPolicy")),
                ("spec.containers[0].imagePullpolicy".into(), Some("imagePullPolicy")),
                ("spec.containers[0].env[0].nme".into(), Some("name")),
            ]
        );
    }

    #[test]
    fn values_of_the_wrong_type_are_refused_as_go_refuses_them() {
        let table = [
            (
                json!({"env": [{"name": "A", "value": 8080}]}),
                "spec.containers[0].env[0].value: cannot unmarshal number into a field of type string (quote it: \"8080\")",
            ),
            (
                json!({"env": [{"name": "A", "value": true}]}),
                "spec.containers[0].env[0].value: cannot unmarshal bool into a field of type string (quote it: \"true\")",
            ),
            (
                json!({"ports": [{"containerPort": "80"}]}),
                "spec.containers[0].ports[0].containerPort: cannot unmarshal string into a field of type int32 (write it without quotes: 80)",
            ),
            (
                json!({"ports": [{"containerPort": 1.5}]}),
                "spec.containers[0].ports[0].containerPort: cannot unmarshal number 1.5 into a field of type int32",
            ),
            (
                json!({"ports": [{"containerPort": 3_000_000_000_u64}]}),
                "spec.containers[0].ports[0].containerPort: cannot unmarshal number 3000000000 into a field of type int32",
            ),
            (
                json!({"tty": "true"}),
                "spec.containers[0].tty: cannot unmarshal string into a field of type boolean (write it without quotes: true)",
            ),
            (
                json!({"args": "sleep 1"}),
                "spec.containers[0].args: cannot unmarshal string into a field of type list",
            ),
            (
                json!({"resources": []}),
                "spec.containers[0].resources: cannot unmarshal array into a field of type ResourceRequirements",
            ),
            (
                json!({"resources": {"limits": {"cpu": true}}}),
                "spec.containers[0].resources.limits[cpu]: cannot unmarshal bool into a field of type quantity",
            ),
        ];
        for (container, message) in table {
            assert_eq!(mismatch(pod(container)), message);
        }
    }

    #[test]
    fn nulls_are_zero_values_as_in_go() {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": null, "data": {"a": null, "b": ""}});
        let decoded = decode::<ConfigMap>(&value).expect("nulls are fine");
        assert_eq!(decoded.typed.data.expect("data")["a"], "");
        let value = pod(json!({"name": null, "env": [{"name": "A", "value": null}], "args": null, "resources": null}));
        let decoded = decode::<Pod>(&value).expect("nulls are fine");
        assert!(decoded.typed.spec.expect("spec").containers[0].args.is_none());
    }

    #[test]
    fn values_of_several_types_are_taken() {
        let limits = pod(json!({"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}));
        assert!(decode::<Pod>(&limits).is_ok());
        for target in [json!(80), json!("http")] {
            let value =
                json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80, "targetPort": target}]}});
            assert!(decode::<Service>(&value).is_ok());
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "aGk="}});
        assert_eq!(
            decode::<Secret>(&secret).expect("base64").typed.data.expect("data")["a"].0,
            b"hi"
        );
    }

    #[test]
    fn what_a_type_itself_refuses_has_a_path_too() {
        let value = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "*"}});
        let error = decode::<Secret>(&value).expect_err("no base64");
        assert_eq!(error.path.expect("known").to_string(), "data[a]");
        let time = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"creationTimestamp": "yesterday"}});
        assert!(mismatch(time).starts_with("metadata.creationTimestamp: "));
    }
}
