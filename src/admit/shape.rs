//! For tests: every field path that a type has, found by letting the type deserialize itself from nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

/// Every field of the type and of what is in it, as patterns: `spec.containers[].image`, `metadata.labels.*`.
pub fn paths_of<T: DeserializeOwned>() -> BTreeSet<String> {
    let found = Rc::new(RefCell::new(BTreeSet::new()));
    let made = T::deserialize(Shape {
        path: String::new(),
        found: Rc::clone(&found),
    });
    assert!(made.is_ok(), "{:?} after {:?}", made.err(), found.borrow().last());
    found.take()
}

struct Shape {
    path: String,
    found: Rc<RefCell<BTreeSet<String>>>,
}

impl Shape {
    fn at(&self, path: String) -> Self {
        self.found.borrow_mut().insert(path.clone());
        Self {
            path,
            found: Rc::clone(&self.found),
        }
    }
}

impl<'de> Deserializer<'de> for Shape {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // What maps hold may have to be base64, and is never a time.
        let is_of_map = self.path.ends_with(".*");
        visitor.visit_str(if is_of_map { "" } else { "2026-01-01T00:00:00Z" })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let path = format!("{}[]", self.path);
        visitor.visit_seq(Once {
            names: vec![path].into_iter(),
            node: self,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Once {
            names: vec!["*".to_owned()].into_iter(),
            node: self,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // Objects refuse an apiVersion and kind that are not their own.
        let is_type = |field: &&&str| self.path.is_empty() && ["apiVersion", "kind"].contains(*field);
        let names: Vec<String> = fields
            .iter()
            .filter(|field| !is_type(field))
            .map(|field| (*field).to_owned())
            .collect();
        visitor.visit_map(Once {
            names: names.into_iter(),
            node: self,
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(false)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(0)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(0)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

struct Once {
    names: std::vec::IntoIter<String>,
    node: Shape,
}

impl<'de> SeqAccess<'de> for Once {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(path) = self.names.next() else { return Ok(None) };
        Ok(seed.deserialize(self.node.at(path)).ok())
    }
}

impl<'de> MapAccess<'de> for Once {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.names.as_slice().first() else {
            return Ok(None);
        };
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let name = self.names.next().expect("a value is asked for after its key");
        let path = if self.node.path.is_empty() {
            name
        } else {
            format!("{}.{name}", self.node.path)
        };
        seed.deserialize(self.node.at(path))
    }
}
