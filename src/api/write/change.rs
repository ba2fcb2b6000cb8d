//! Objects that change: as a whole, by a patch, or by server-side apply.

use http::{Response, StatusCode};
use serde_json::Value;

use super::{EPHEMERAL_CONTAINERS, Writer};
use crate::admit;
use crate::api::body::{self, Answer, Body};
use crate::api::error::ApiError;
use crate::api::patch::{PatchType, patch};
use crate::applier::{self, Outcome};
use crate::model::{Key, Object};
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

impl Writer<'_> {
    pub(super) fn update(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let mut value = self.decode(bytes)?;
        self.place(&mut value, Some(&key))?;
        let uid = value
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let replaced = self.with_retries(&key, |live| {
            if !uid.is_empty() && uid != live.uid() {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    live.uid()
                );
                let key = key.clone();
                return Err(StoreError::Conflict { key, why }.into());
            }
            self.replace(live, value.clone())
        });
        replaced.map(Replaced::answer)
    }

    pub(super) fn patch(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        if self.content_type == "application/apply-patch+yaml" && self.target.subresource != EPHEMERAL_CONTAINERS {
            return self.apply(&key, bytes);
        }
        let how = self.patch_type()?;
        let replaced = self.with_retries(&key, |live| {
            let mut value = live.value().clone();
            patch(&key, Message::of(key.kind()), how, &mut value, bytes)?;
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
        PatchType::of(self.content_type).ok_or_else(|| {
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
        let is_addition = self.target.subresource == EPHEMERAL_CONTAINERS;
        if is_addition {
            value = with_ephemeral_of(live, &value);
        }
        let mut warnings = self.settle_fields(&mut value)?;
        warnings.extend(self.warnings(&value, Some(live))?);
        let next = match is_addition {
            true => admit::admit_ephemeral_containers(&value, live),
            false => admit::admit(&value, Some(live)),
        };
        let next = next.map_err(|refused| self.refused(refused))?;
        let (subresource, now) = (&self.target.subresource, self.api.clock.now());
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
    fn check_apply(&self, config: &Value) -> Result<(), ApiError> {
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
        let mut config = self.decode(bytes)?;
        self.place(&mut config, Some(key))?;
        self.check_namespace()?;
        self.check_apply(&config)?;
        // What only a request says can't be owned: what is kept of it is.
        if let ("Secret", Some(fields)) = (key.kind().kind, config.as_object_mut()) {
            admit::fold_string_data(fields);
        }
        let mut warnings = self.settle_fields(&mut config)?;
        self.keep_writable(&mut config);
        let live = self.store.get(key);
        warnings.extend(self.warnings(&config, live.as_deref())?);
        let request = applier::Request {
            config: &config,
            key,
            manager: &self.manager,
            subresource: &self.target.subresource,
            force: self.query.flag("force"),
            now: self.api.clock.now(),
        };
        let applied = applier::apply(&self.store, request).map_err(|error| self.not_applied(error))?;
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
}

/// The pod as it is, with the ephemeral containers of `asked` (`podEphemeralContainersStrategy`).
fn with_ephemeral_of(live: &Object, asked: &Value) -> Value {
    let mut value = live.value().clone();
    let containers = asked.pointer("/spec/ephemeralContainers").cloned();
    value["spec"]["ephemeralContainers"] = containers.unwrap_or(Value::Null);
    let version = asked.pointer("/metadata/resourceVersion").cloned();
    value["metadata"]["resourceVersion"] = version.unwrap_or_default();
    value
}
