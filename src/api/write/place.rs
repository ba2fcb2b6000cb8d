//! What the path of a request says about its body.

use serde_json::{Value, json};

use super::Writer;
use crate::api::error::ApiError;
use crate::model::{Key, names};

impl Writer {
    /// Fills in what the path says, and refuses a body that says otherwise.
    pub(super) fn place(&self, value: &mut Value, key: Option<&Key>) -> Result<(), ApiError> {
        let kind = self.target.kind;
        self.place_as(value, (&kind.api_version(), kind.kind), key)
    }

    /// The same for a body of another kind than that of the object that the path names: (`apiVersion`, `kind`).
    pub(super) fn place_as(
        &self,
        value: &mut Value,
        (api_version, kind): (&str, &str),
        key: Option<&Key>,
    ) -> Result<(), ApiError> {
        let Some(object) = value.as_object_mut() else {
            return Err(ApiError::bad_request("the body is not an object"));
        };
        let expected = [("apiVersion", "API version", api_version), ("kind", "kind", kind)];
        for (field, what, expected) in expected {
            let found = object.entry(field).or_insert(Value::Null);
            // Some clients leave it to the path.
            if found.is_null() || found == "" {
                *found = expected.into();
            } else if *found != expected {
                let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
                return Err(ApiError::bad_request(format!(
                    "the {what} in the data ({found}) does not match the expected {what} ({expected})"
                )));
            }
        }
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        let Some(metadata) = metadata.as_object_mut() else {
            return Err(ApiError::bad_request("metadata is not an object"));
        };
        // Some clients write a null for what they leave to the path.
        metadata.retain(|_, value| !value.is_null());
        if let Some(namespace) = &self.target.namespace {
            let found = metadata.entry("namespace").or_insert_with(|| namespace.as_str().into());
            if found != namespace.as_str() {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(ApiError::bad_request(message));
            }
        }
        if let Some(key) = key {
            let name = metadata.entry("name").or_insert_with(|| key.name.as_str().into());
            if name != key.name.as_str() {
                let name = name.as_str().unwrap_or_default();
                let message = format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    key.name
                );
                return Err(ApiError::bad_request(message));
            }
        }
        Ok(())
    }

    /// New objects are made in a namespace, if their kind has one, and it is there (`NamespaceLifecycle` admission).
    pub(super) fn check_namespace(&self) -> Result<(), ApiError> {
        let kind = crate::model::kind("v1", "Namespace").expect("in the table");
        let namespace = match &self.target.namespace {
            Some(namespace) => namespace,
            None if self.target.kind.namespaced => return Err(ApiError::method_not_allowed()),
            None => return Ok(()),
        };
        let key = Key::new(kind, "", namespace);
        self.store.get(&key).map(drop).ok_or_else(|| ApiError::not_found(&key))
    }

    /// Gives an object that asks for it a name of its own.
    pub(super) fn generate_name(value: &mut Value) {
        let text = |field: &str| value.pointer(field).and_then(Value::as_str).unwrap_or_default();
        let (name, base) = (text("/metadata/name"), text("/metadata/generateName"));
        if name.is_empty() && !base.is_empty() {
            value["metadata"]["name"] = names::generated(base, &names::random_suffix()).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_name_without_one_gets_one() {
        let named = |mut value: Value| {
            Writer::generate_name(&mut value);
            value["metadata"]["name"].as_str().unwrap_or_default().len()
        };
        assert_eq!(named(json!({"metadata": {"generateName": "a-"}})), 7);
        assert_eq!(named(json!({"metadata": {"generateName": "a-", "name": "b"}})), 1);
        assert_eq!(named(json!({"metadata": {}})), 0);
    }
}
