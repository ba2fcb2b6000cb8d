//! `scale`: the number of replicas of whatever has some, in one form for all kinds (`autoscaling/v1 Scale`).

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::change::Replaced;
use super::{APPLY_PATCH, Writer, decode};
use crate::api::body::{self, Answer, Body};
use crate::api::error::{ApiError, Cause};
use crate::api::patch::patch;
use crate::api::table::selector_text;
use crate::model::{Key, Kind, Object};
use crate::schema::Message;

/// What is sent and received: `apiVersion` and `kind`.
const SCALE: (&str, &str) = ("autoscaling/v1", "Scale");

/// Whether objects of a kind have replicas to scale.
pub(in crate::api) fn is_scalable(kind: &Kind) -> bool {
    kind.group == "apps" && ["Deployment", "ReplicaSet"].contains(&kind.kind)
}

/// The scale of an object.
pub(in crate::api) fn scale_of(object: &Object) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.at(&format!("/metadata/{field}")) {
            metadata[field] = value.clone();
        }
    }
    let selector = object.at("/spec/selector").map(selector_text).unwrap_or_default();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": object.number("/spec/replicas").unwrap_or_default()},
        "status": {"replicas": object.number("/status/replicas").unwrap_or_default(), "selector": selector},
    })
}

impl Writer {
    pub(super) fn update_scale(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let mut scale = decode(&self.content_type, bytes, SCALE)?;
        self.place_as(&mut scale, SCALE, Some(&key))?;
        let replaced = self.with_retries(&key, |live| self.set_scale(live, &scale))?;
        Ok(answer(replaced))
    }

    pub(super) fn patch_scale(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        if self.content_type == APPLY_PATCH {
            return self.apply_scale(&key, bytes);
        }
        let how = self.patch_type()?;
        let replaced = self.with_retries(&key, |live| {
            let mut scale = scale_of(live);
            patch(
                &key,
                Message::of_version("autoscaling", "v1", "Scale"),
                how,
                &mut scale,
                bytes,
            )?;
            self.place_as(&mut scale, SCALE, Some(&key))?;
            self.set_scale(live, &scale)
        })?;
        Ok(answer(replaced))
    }

    /// Applies the number of replicas alone, to what has them.
    fn apply_scale(&self, key: &Key, bytes: &[u8]) -> Answer {
        let mut scale = decode(&self.content_type, bytes, SCALE)?;
        self.check_apply(&scale, SCALE.0)?;
        self.place_as(&mut scale, SCALE, Some(key))?;
        let replicas = replicas_of(&scale, &key.name)?;
        let kind = key.kind();
        let config = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": {"replicas": replicas},
        });
        let applied = self.apply_config(key, &config)?;
        Ok(body::json(StatusCode::OK, &scale_of(&applied.object)))
    }

    fn set_scale(&self, live: &Object, scale: &Value) -> Result<Replaced, ApiError> {
        let replicas = replicas_of(scale, &live.key().name)?;
        let mut value = live.value().clone();
        value["spec"]["replicas"] = replicas;
        let version = scale.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        value["metadata"]["resourceVersion"] = version.unwrap_or_default().into();
        self.replace(live, value)
    }
}

/// How many replicas a scale asks for.
fn replicas_of(scale: &Value, name: &str) -> Result<Value, ApiError> {
    // As in protobuf and Go, a number that is not there is 0.
    let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| json!(0));
    let wanted = 0..=i64::from(i32::MAX);
    if replicas.as_i64().is_some_and(|replicas| wanted.contains(&replicas)) {
        return Ok(replicas);
    }
    let cause = Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
        field: "spec.replicas".to_owned(),
    };
    Err(ApiError::invalid_as("autoscaling", "Scale", name, vec![cause]))
}

/// The scale after a write.
fn answer(replaced: Replaced) -> Response<Body> {
    let Replaced { object, warnings } = replaced;
    let object = Object::new(object).expect("a stored object has a kind and a name");
    body::with_warnings(body::json(StatusCode::OK, &scale_of(&object)), &warnings)
}
