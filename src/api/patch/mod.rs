//! What a patch makes of an object: JSON patches, merge patches, strategic merges. Pure; the result passes the gate like anything else.

mod strategic;

use serde_json::{Value, json};

use super::error::{ApiError, Cause};
use crate::model::Key;
use crate::schema::Message;

/// The most operations of one JSON patch (`k8s.io/apiserver` `maxJSONPatchOperations`).
const MOST_OPERATIONS: usize = 10_000;

/// What the copies of one JSON patch may add up to: upstream's limit of a body. Copies of copies double each time.
const MOST_COPIED: usize = 3 << 20;

/// The ways to patch that have no owner of fields; server-side apply is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own: as `Merge`, with lists that merge by a key.
    Strategic,
}

impl PatchType {
    /// The type that a `Content-Type` names.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }
}

/// Patches `value`, which is shaped as `message` and belongs to the object `key`.
///
/// # Errors
/// 400 for a patch that is none, 422 for one that does not fit, 413 for one that grows without bound.
pub fn patch(
    key: &Key,
    message: Option<Message>,
    how: PatchType,
    value: &mut Value,
    bytes: &[u8],
) -> Result<(), ApiError> {
    let patch: Value = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    match how {
        PatchType::Json => json_patch(key, value, patch),
        PatchType::Merge => {
            json_patch::merge(value, &patch);
            Ok(())
        }
        PatchType::Strategic => {
            let message = message.ok_or_else(|| {
                ApiError::unsupported_media_type(format!("strategic merges of {} are not known", key.kind().kind))
            })?;
            strategic::merge(value, patch, message).map_err(|error| ApiError::bad_request(error.to_string()))
        }
    }
}

fn json_patch(key: &Key, value: &mut Value, patch: Value) -> Result<(), ApiError> {
    let Value::Array(operations) = patch else {
        return Err(ApiError::bad_request(
            "error decoding patch: a JSON patch is a list of operations",
        ));
    };
    if operations.len() > MOST_OPERATIONS {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(ApiError::too_large(message));
    }
    let mut copied = 0;
    for operation in operations {
        if operation.get("op") == Some(&json!("copy")) {
            let from = operation.get("from").and_then(Value::as_str).unwrap_or_default();
            copied += value.pointer(from).map_or(0, |value| value.to_string().len());
            if copied > MOST_COPIED {
                let message = format!("the copies of a JSON patch may add up to {MOST_COPIED} bytes");
                return Err(ApiError::too_large(message));
            }
        }
        if tests_for_nothing(value, &operation) {
            continue;
        }
        let operation: json_patch::PatchOperation = serde_json::from_value(operation)
            .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
        json_patch::patch(value, std::slice::from_ref(&operation)).map_err(|error| {
            let cause = Cause {
                reason: "FieldValueInvalid".to_owned(),
                message: format!("Invalid value: {operation}: {}", error.kind),
                field: "patch".to_owned(),
            };
            ApiError::invalid(key.kind(), &key.name, vec![cause])
        })?;
    }
    Ok(())
}

/// Whether an operation asks that there be nothing in an object, and there is nothing. Upstream's library takes what is absent for null, and
/// clients ask so before they add their finalizer (`evanphx/json-patch`, `Patch.test`).
fn tests_for_nothing(value: &Value, operation: &Value) -> bool {
    let path = operation.get("path").and_then(Value::as_str).unwrap_or_default();
    let owner = path.rsplit_once('/').and_then(|(owner, _)| value.pointer(owner));
    operation.get("op") == Some(&json!("test"))
        && operation.get("value").is_none_or(Value::is_null)
        && owner.is_some_and(Value::is_object)
        && value.pointer(path).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;

    fn patched(how: PatchType, value: Value, with: &Value) -> Result<Value, u16> {
        let (kind, mut value) = (kind("v1", "Pod").expect("known"), value);
        let key = Key::new(kind, "default", "web");
        patch(&key, Message::of(kind), how, &mut value, with.to_string().as_bytes())
            .map(|()| value)
            .map_err(|error| error.code.as_u16())
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        let value = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        let with = json!({"a": {"b": null, "c": [3], "e": {"f": null, "g": 1}}});
        let wanted = json!({"a": {"c": [3], "e": {"g": 1}}, "d": 1});
        assert_eq!(patched(PatchType::Merge, value, &with), Ok(wanted));
    }

    #[test]
    fn a_json_patch_does_all_or_says_what_does_not_fit() {
        let value = json!({"a": [1, 2]});
        let with = json!([{"op": "test", "path": "/a/0", "value": 1}, {"op": "add", "path": "/a/-", "value": 3}]);
        assert_eq!(
            patched(PatchType::Json, value.clone(), &with),
            Ok(json!({"a": [1, 2, 3]}))
        );
        let with = json!([{"op": "test", "path": "/b", "value": null}, {"op": "add", "path": "/b", "value": 3}]);
        assert_eq!(
            patched(PatchType::Json, value.clone(), &with),
            Ok(json!({"a": [1, 2], "b": 3}))
        );
        for (with, code) in [
            (json!([{"op": "test", "path": "/a", "value": null}]), 422),
            (json!([{"op": "test", "path": "/b/c", "value": null}]), 422),
            (json!([{"op": "test", "path": "/a/7", "value": null}]), 422),
            (json!([{"op": "test", "path": "/a/0", "value": 2}]), 422),
            (json!([{"op": "remove", "path": "/b"}]), 422),
            (json!([{"op": "grow"}]), 400),
            (json!({}), 400),
        ] {
            assert_eq!(patched(PatchType::Json, value.clone(), &with), Err(code), "{with}");
        }
    }

    #[test]
    fn copies_of_copies_end_before_the_memory_does() {
        let doubling = |_| json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let with = Value::Array((0..100).map(doubling).collect());
        assert_eq!(
            patched(PatchType::Json, json!({"a": ["x".repeat(100)]}), &with),
            Err(413)
        );
    }
}
