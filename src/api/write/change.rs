//! Objects that change: as a whole, by a patch, or by server-side apply.

use http::{Response, StatusCode};
use serde_json::Value;

use super::{APPLY_PATCH, EPHEMERAL_CONTAINERS, FINALIZE, RESIZE, Writer};
use crate::admit;
use crate::api::body::{self, Answer, Body};
use crate::api::error::ApiError;
use crate::api::patch::{PatchType, patch};
use crate::applier::{self, Applied, Outcome};
use crate::model::{Key, Object, list_at, text_at};
use crate::schema::Message;
use crate::store::StoreError;

/// How often a patch is tried anew when others write between its read and its write (`k8s.io/apiserver` `MaxRetryWhenPatchConflicts`).
const TRIES: usize = 5;

/// What a write made of an object, or would have made.
pub(super) struct Replaced {
    pub object: Value,
    pub warnings: Vec<String>,
}

impl Replaced {
    fn answer(self) -> Response<Body> {
        body::with_warnings(body::object(StatusCode::OK, self.object), &self.warnings)
    }
}

impl Writer {
    pub(super) fn update(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let (mut value, told) = self.decode(bytes)?;
        self.place(&mut value, Some(&key))?;
        let mut replaced = self.with_retries(&key, |live| self.replace(live, value.clone()))?;
        replaced.warnings.splice(0..0, told);
        Ok(replaced.answer())
    }

    pub(super) fn patch(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let is_part = [EPHEMERAL_CONTAINERS, RESIZE].contains(&self.target.subresource.as_str());
        if self.content_type == APPLY_PATCH && !is_part {
            return self.apply(&key, bytes);
        }
        let how = self.patch_type()?;
        let replaced = self.with_retries(&key, |live| {
            let mut value = admit::apply::shown(live.value().clone());
            patch(&key, Message::of(key.kind()), how, &mut value, bytes)?;
            // A patch may no more rename an object, or move it, than an update.
            self.place(&mut value, Some(&key))?;
            self.replace(live, value)
        });
        replaced.map(Replaced::answer)
    }

    /// How a patch is to be read.
    pub(super) fn patch_type(&self) -> Result<PatchType, ApiError> {
        if self.query.flag("force") {
            let message = "Forbidden: may not be specified for non-apply patch";
            let reason = "FieldValueForbidden";
            return Err(ApiError::invalid_option("PatchOptions", "force", reason, message));
        }
        PatchType::of(&self.content_type).ok_or_else(|| {
            ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
                 application/apply-patch+yaml",
            )
        })
    }

    pub(super) fn live(&self, key: &Key) -> Result<std::sync::Arc<Object>, ApiError> {
        self.store.get(key).ok_or_else(|| ApiError::not_found(key))
    }

    /// Tries a change on the newest object until nobody writes in between. What the client made conditional itself fails the second
    /// time, and nobody writes then.
    pub(super) fn with_retries(
        &self,
        key: &Key,
        attempt: impl Fn(&Object) -> Result<Replaced, ApiError>,
    ) -> Result<Replaced, ApiError> {
        let version = |object: &Object| object.text("/metadata/resourceVersion").to_owned();
        for _ in 1..TRIES {
            let live = self.live(key)?;
            match attempt(&live) {
                Err(error) if error.code == StatusCode::CONFLICT && version(&*self.live(key)?) != version(&live) => {}
                done => return done,
            }
        }
        attempt(&*self.live(key)?)
    }

    /// Writes `value` over the object as it was seen, through the gate. What the gate let through fits that object alone, so nobody may
    /// have written in between, be there a `resourceVersion` in `value` or not.
    pub(super) fn replace(&self, live: &Object, mut value: Value) -> Result<Replaced, ApiError> {
        let uid = text_at(&value, "/metadata/uid");
        if !uid.is_empty() && uid != live.uid() {
            let have = live.uid();
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {have}");
            let key = live.key().clone();
            return Err(StoreError::Conflict { key, why }.into());
        }
        match self.target.subresource.as_str() {
            EPHEMERAL_CONTAINERS => value = with_part_of(live, &value, "ephemeralContainers"),
            FINALIZE => value = with_part_of(live, &value, "finalizers"),
            RESIZE => value = with_resources_of(live, &value),
            _ => {}
        }
        self.fold(&mut value);
        let mut warnings = self.settle_fields(&mut value)?;
        warnings.extend(self.warnings(&value, Some(live))?);
        let next = match self.target.subresource.as_str() {
            EPHEMERAL_CONTAINERS => admit::admit_ephemeral_containers(&value, live),
            RESIZE => admit::admit_resize(&value, live),
            _ => admit::admit(&value, Some(live)),
        };
        let next = next.map_err(|refused| self.refused(refused))?;
        let (subresource, now) = (&self.target.subresource, self.clock.now());
        let tracked = admit::apply::track_update(Some(live.value()), next.value(), &self.manager, subresource, now);
        let tracked = Object::new(tracked).expect("tracking keeps kind and name");
        let _turn = applier::turn(&self.store, live.kind());
        let next = applier::allocate(&self.store, tracked, Some(live)).map_err(|refused| self.refused(refused))?;
        let mut next = next.value().clone();
        let asked = next.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if asked.unwrap_or_default().is_empty() {
            next["metadata"]["resourceVersion"] = live.text("/metadata/resourceVersion").into();
        }
        let write = |object: &mut Object| *object.value_mut() = next;
        let written = match subresource.as_str() {
            "status" => self.store.update_status(live.key(), write)?,
            _ => self.store.update(live.key(), write)?,
        };
        let object = written.object.value().clone();
        Ok(Replaced { object, warnings })
    }

    /// Refuses what no apply may say.
    pub(super) fn check_apply(&self, config: &Value, api_version: &str) -> Result<(), ApiError> {
        let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default();
        let said = text("apiVersion");
        if said.is_empty() || text("kind").is_empty() {
            return Err(ApiError::bad_request(format!(
                "incorrect version specified in apply patch. Specified patch version: {said}, expected: {api_version}"
            )));
        }
        if self.query.text("fieldManager").is_empty() {
            let message = "Required value: is required for apply patch";
            let reason = "FieldValueRequired";
            return Err(ApiError::invalid_option(
                "PatchOptions",
                "fieldManager",
                reason,
                message,
            ));
        }
        if config
            .pointer("/metadata/managedFields")
            .is_some_and(|fields| !fields.is_null())
        {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        Ok(())
    }

    pub(super) fn apply(&self, key: &Key, bytes: &[u8]) -> Answer {
        let (mut config, mut warnings) = self.decode(bytes)?;
        self.check_apply(&config, &self.target.kind.api_version())?;
        self.place(&mut config, Some(key))?;
        self.check_namespace()?;
        self.fold(&mut config);
        warnings.extend(self.settle_fields(&mut config)?);
        self.keep_writable(&mut config);
        let live = self.store.get(key);
        warnings.extend(self.warnings(&config, live.as_deref())?);
        let applied = self.apply_config(key, &config)?;
        let code = if applied.outcome == Outcome::Created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Ok(body::with_warnings(
            body::object(code, applied.object.value().clone()),
            &warnings,
        ))
    }

    pub(super) fn apply_config(&self, key: &Key, config: &Value) -> Result<Applied, ApiError> {
        let request = applier::Request {
            config,
            key,
            manager: &self.manager,
            subresource: &self.target.subresource,
            force: self.query.flag("force"),
            may_create: self.may_create.is_ok(),
            may_resize: false,
            now: self.clock.now(),
        };
        applier::apply(&self.store, request).map_err(|error| self.not_applied(error))
    }
}

/// The object as it is, with one field of `asked` in its spec: what a subresource writes (`podEphemeralContainersStrategy`,
/// `namespaceFinalizeStrategy`).
fn with_part_of(live: &Object, asked: &Value, field: &str) -> Value {
    let mut value = live.value().clone();
    let part = asked.pointer(&format!("/spec/{field}")).cloned();
    value["spec"][field] = part.unwrap_or(Value::Null);
    let version = asked.pointer("/metadata/resourceVersion").cloned();
    value["metadata"]["resourceVersion"] = version.unwrap_or_default();
    value
}

/// The pod as it is, with the resources of `asked` for the containers that it has (`podResizeStrategy`).
fn with_resources_of(live: &Object, asked: &Value) -> Value {
    let mut value = live.value().clone();
    for list in ["/spec/containers", "/spec/initContainers"] {
        let containers = value.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut same = list_at(asked, list)
                .iter()
                .filter(|other| other["name"] == container["name"]);
            let Some(other) = same.next() else { continue };
            container["resources"] = other["resources"].clone();
        }
    }
    let version = asked.pointer("/metadata/resourceVersion").cloned();
    value["metadata"]["resourceVersion"] = version.unwrap_or_default();
    value
}
