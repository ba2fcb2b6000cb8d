//! Objects away: one, a whole collection, a pod that is asked to go.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Writer, decode};
use crate::api::body::{self, Answer};
use crate::api::error::ApiError;
use crate::api::read::Filter;
use crate::model::{Condition, Key, Object, set_condition};
use crate::store::{DeleteOptions, Deleted, Precondition, Propagation};

/// Kinds whose deletion answers with the object; for others it is a `Status` (the return types of upstream's OpenAPI).
const ANSWER_THEMSELVES: [&str; 7] = [
    "Pod",
    "Service",
    "ServiceAccount",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "ResourceQuota",
    "StorageClass",
];

impl Writer<'_> {
    pub(super) fn delete(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let body = self.delete_body(bytes)?;
        let object = match self.delete_one(&key, &body)? {
            Deleted::Pending(object) => object,
            Deleted::Gone(object) if ANSWER_THEMSELVES.contains(&key.kind().kind) => object,
            Deleted::Gone(object) => return Ok(body::json(StatusCode::OK, &gone(&object))),
        };
        Ok(body::object(StatusCode::OK, object.value().clone()))
    }

    /// Every object that the selectors choose.
    pub(super) fn delete_collection(&self, bytes: &[u8]) -> Answer {
        let body = self.delete_body(bytes)?;
        let filter = Filter::of(self.target, self.query)?;
        let mut items = Vec::new();
        for object in filter.list(&self.store).items {
            match self.delete_one(object.key(), &body) {
                Ok(Deleted::Gone(object) | Deleted::Pending(object)) => items.push(object.value().clone()),
                // Somebody else was faster.
                Err(error) if error.code == StatusCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        let kind = self.target.kind;
        let version = self.store.resource_version().to_string();
        let list = json!({
            "kind": format!("{}List", kind.kind),
            "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": version},
            "items": items.into_iter().map(crate::admit::apply::shown).collect::<Vec<_>>(),
        });
        Ok(body::json(StatusCode::OK, &list))
    }

    /// `pods/eviction`: a deletion that a disruption budget could forbid. Nothing acts on budgets here, so none does.
    pub(super) fn evict(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let eviction = decode(self.content_type, bytes, ("policy/v1", "Eviction"))?;
        let named = eviction
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !named.is_empty() && named != key.name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let options = eviction.get("deleteOptions").filter(|options| options.is_object());
        let mut options = options.cloned().unwrap_or(json!({}));
        // What would refuse the deletion refuses it before the pod says that it is evicted.
        let deleted = self.store.dry().delete(&key, &self.delete_options(&options)?)?;
        let (Deleted::Gone(pod) | Deleted::Pending(pod)) = deleted;
        if !is_dry(&options) {
            self.tell_eviction(&pod);
            // It held, and now the pod is a newer one by what was said of it.
            if let Some(conditions) = options.get_mut("preconditions").and_then(Value::as_object_mut) {
                conditions.remove("resourceVersion");
            }
        }
        self.delete_one(&key, &options)?;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(body::json(StatusCode::CREATED, &status))
    }

    fn delete_body(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        if bytes.is_empty() {
            return Ok(json!({}));
        }
        decode(self.content_type, bytes, ("v1", "DeleteOptions"))
    }

    fn delete_one(&self, key: &Key, body: &Value) -> Result<Deleted, ApiError> {
        let options = self.delete_options(body)?;
        let store = if is_dry(body) { &self.store.dry() } else { &self.store };
        Ok(store.delete(key, &options)?)
    }

    /// Says why the pod goes (`EvictionREST.addConditionAndDeletePod`).
    fn tell_eviction(&self, pod: &Object) {
        let condition = Condition {
            kind: "DisruptionTarget",
            holds: true,
            reason: "EvictionByEvictionAPI",
            message: "Eviction API: evicting",
        };
        let tell = |present: &mut Object| {
            if present.uid() == pod.uid() {
                set_condition(present, condition, self.api.clock.now());
            }
        };
        // It may be gone meanwhile, which the deletion will say.
        let _ = self.store.update_status(pod.key(), tell);
    }

    fn delete_options(&self, body: &Value) -> Result<DeleteOptions, ApiError> {
        let text = |name: &str| {
            let in_body = body.get(name).and_then(Value::as_str);
            in_body.unwrap_or(self.query.text(name)).to_owned()
        };
        let propagation = match text("propagationPolicy").as_str() {
            "" | "Background" => Propagation::Background,
            "Foreground" => Propagation::Foreground,
            "Orphan" => Propagation::Orphan,
            other => {
                return Err(ApiError::bad_request(format!(
                    "propagationPolicy: unsupported value {other:?}"
                )));
            }
        };
        let condition = |name: &str| {
            body.pointer(&format!("/preconditions/{name}"))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let precondition = Precondition {
            uid: condition("uid"),
            resource_version: condition("resourceVersion"),
        };
        let in_body = body.get("gracePeriodSeconds").and_then(Value::as_i64);
        let grace_seconds = in_body.map_or_else(|| self.query.number("gracePeriodSeconds"), |s| Ok(Some(s)))?;
        Ok(DeleteOptions {
            grace_seconds,
            propagation,
            precondition,
        })
    }
}

fn is_dry(body: &Value) -> bool {
    let words = body.get("dryRun").and_then(Value::as_array);
    words.is_some_and(|words| words.iter().any(|word| word == "All"))
}

fn gone(object: &Object) -> Value {
    let kind = object.kind();
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": object.key().name, "group": kind.group, "kind": kind.plural, "uid": object.uid()},
    })
}
