//! Objects away: one, a whole collection, a pod that is asked to go.

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions as InBody;
use serde_json::{Value, json};

use super::{Writer, decode, is_dry_run};
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

impl Writer {
    pub(super) fn delete(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let asked = self.asked(&self.delete_body(bytes)?)?;
        let object = match self.delete_one(&key, &asked)? {
            Deleted::Pending(object) => object,
            Deleted::Gone(object) if ANSWER_THEMSELVES.contains(&key.kind().kind) => object,
            Deleted::Gone(object) => return Ok(body::json(StatusCode::OK, &gone(&object))),
        };
        Ok(body::object(StatusCode::OK, object.value().clone()))
    }

    /// Every object that the selectors choose, or the first of them up to the limit (`Store.DeleteCollection`).
    pub(super) fn delete_collection(&self, bytes: &[u8]) -> Answer {
        let asked = self.asked(&self.delete_body(bytes)?)?;
        let filter = Filter::of(&self.target, &self.query)?;
        let limit = self.query.number::<usize>("limit")?.filter(|limit| *limit > 0);
        let mut items = Vec::new();
        for object in filter
            .list(&self.store)
            .items
            .into_iter()
            .take(limit.unwrap_or(usize::MAX))
        {
            match self.delete_one(object.key(), &asked) {
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
        let eviction = of_kind(
            decode(&self.content_type, bytes, ("policy/v1", "Eviction"))?,
            "Eviction",
        )?;
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
        let asked = self.asked(options.unwrap_or(&json!({})))?;
        // What would refuse the deletion refuses it before the pod says that it is evicted.
        let (Deleted::Gone(pod) | Deleted::Pending(pod)) = self.store.dry().delete(&key, &asked.options)?;
        let mut asked = asked;
        if !asked.is_dry_run {
            self.tell_eviction(&pod);
            // It held, and now the pod is a newer one by what was said of it.
            asked.options.precondition.resource_version = None;
        }
        self.delete_one(&key, &asked)?;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(body::json(StatusCode::CREATED, &status))
    }

    fn delete_body(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        if bytes.is_empty() {
            return Ok(json!({}));
        }
        of_kind(
            decode(&self.content_type, bytes, ("v1", "DeleteOptions"))?,
            "DeleteOptions",
        )
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
                set_condition(present, condition, self.clock.now());
            }
        };
        // It may be gone meanwhile, which the deletion will say.
        let _ = self.store.update_status(pod.key(), tell);
    }

    fn delete_one(&self, key: &Key, asked: &Asked) -> Result<Deleted, ApiError> {
        let store = if asked.is_dry_run {
            &self.store.dry()
        } else {
            &self.store
        };
        Ok(store.delete(key, &asked.options)?)
    }

    /// What is asked for, by the body or else the query.
    fn asked(&self, body: &Value) -> Result<Asked, ApiError> {
        let malformed = |why: serde_json::Error| ApiError::bad_request(format!("DeleteOptions: {why}"));
        let body: InBody = serde_json::from_value(body.clone()).map_err(malformed)?;
        let words = body.dry_run.iter().flatten().map(String::as_str);
        let in_query = self.query.text("propagationPolicy");
        let policy = body
            .propagation_policy
            .as_deref()
            .or((!in_query.is_empty()).then_some(in_query));
        let orphans = match self.query.text("orphanDependents") {
            "" => body.orphan_dependents,
            _ => Some(self.query.flag("orphanDependents")),
        };
        let in_query = self.query.number("gracePeriodSeconds")?;
        let preconditions = body.preconditions.unwrap_or_default();
        Ok(Asked {
            is_dry_run: is_dry_run(words, "DeleteOptions")?,
            options: DeleteOptions {
                grace_seconds: body.grace_period_seconds.or(in_query),
                propagation: propagation_of(policy, orphans)?,
                precondition: Precondition {
                    uid: preconditions.uid,
                    resource_version: preconditions.resource_version,
                },
            },
        })
    }
}

/// A body that says nothing of its kind, or this one; in whichever group, as upstream has it.
fn of_kind(body: Value, kind: &str) -> Result<Value, ApiError> {
    match body.get("kind").and_then(Value::as_str) {
        None | Some("") => Ok(body),
        Some(named) if named == kind => Ok(body),
        Some(_) => Err(ApiError::bad_request(format!(
            "decoded object cannot be converted to {kind}"
        ))),
    }
}

/// What a client asks for when it deletes.
struct Asked {
    options: DeleteOptions,
    is_dry_run: bool,
}

/// What becomes of dependents (`ValidateDeleteOptions`).
fn propagation_of(policy: Option<&str>, orphans: Option<bool>) -> Result<Propagation, ApiError> {
    let refuse = |reason, message: String| {
        Err(ApiError::invalid_option(
            "DeleteOptions",
            "propagationPolicy",
            reason,
            message,
        ))
    };
    match (policy, orphans) {
        (Some(policy), Some(_)) => {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            refuse("FieldValueInvalid", format!("Invalid value: {policy:?}: {why}"))
        }
        (None, None | Some(false)) | (Some("Background"), None) => Ok(Propagation::Background),
        (None, Some(true)) | (Some("Orphan"), None) => Ok(Propagation::Orphan),
        (Some("Foreground"), None) => Ok(Propagation::Foreground),
        (Some(other), None) => {
            let known = r#""Foreground", "Background", "Orphan", "nil""#;
            let message = format!("Unsupported value: {other:?}: supported values: {known}");
            refuse("FieldValueNotSupported", message)
        }
    }
}

fn gone(object: &Object) -> Value {
    let kind = object.kind();
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": object.key().name, "group": kind.group, "kind": kind.plural, "uid": object.uid()},
    })
}
