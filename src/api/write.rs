//! create, update, patch and delete.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Api;
use super::body::{self, Answer};
use super::error::{ApiError, Cause};
use super::request::{Query, Target, Verb};
use crate::admit::{self, ErrorList, FieldNote, Refused, Severity};
use crate::applier::{self, ApplyError, Outcome};
use crate::model::{Key, Kind, Object};
use crate::schema;
use crate::store::{DeleteOptions, Deleted, Precondition, Propagation};

/// The largest body of an object: upstream's limit (`MaxRequestBodyBytes`).
const LARGEST: usize = 3 << 20;

impl Api {
    pub(super) async fn write(&self, verb: Verb, target: &Target, query: &Query, request: Request<Incoming>) -> Answer {
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let (content_type, agent) = (header(CONTENT_TYPE), header(USER_AGENT));
        let writer = Writer {
            api: self,
            target,
            query,
            content_type: media_type(&content_type),
            manager: manager(query.text("fieldManager"), &agent),
            is_dry_run: query.all("dryRun").any(|word| word == "All"),
        };
        let bytes = read(request).await?;
        let answer = match verb {
            Verb::Create => writer.create(&bytes)?,
            Verb::Update => writer.update(&bytes)?,
            Verb::Patch => writer.patch(&bytes)?,
            Verb::Delete => writer.delete(&bytes)?,
            Verb::Get | Verb::List | Verb::Watch | Verb::DeleteCollection => return Err(ApiError::method_not_allowed()),
        };
        // What a client was told has happened survives a crash.
        self.store.durable(self.store.resource_version()).await;
        Ok(answer)
    }
}

/// The manager of fields that a request writes (`managedfields.ManagerOrUserAgent`).
fn manager(named: &str, agent: &str) -> String {
    if named.is_empty() {
        agent.split('/').next().unwrap_or_default().to_owned()
    } else {
        named.to_owned()
    }
}

/// A body as JSON.
pub(super) async fn read_json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, ApiError> {
    let bytes = read(request).await?;
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::bad_request(format!("the body is not what is expected here: {e}")))
}

/// A body as an object, in whatever form it comes. What it leaves out of its kind is `default`: (`apiVersion`, `kind`).
pub(super) async fn read_object(request: Request<Incoming>, default: (&str, &str)) -> Result<Value, ApiError> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let content_type = media_type(content_type.unwrap_or_default()).to_owned();
    decode(&content_type, &read(request).await?, default)
}

/// A content type without its parameters.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn decode(content_type: &str, bytes: &[u8], default: (&str, &str)) -> Result<Value, ApiError> {
    match content_type {
        // Some clients send no type, and JSON.
        "" | "application/json" | "application/yaml" | "application/apply-patch+yaml" => {
            admit::decode_body(bytes).map_err(ApiError::bad_request)
        }
        "application/vnd.kubernetes.protobuf" => {
            schema::decode_protobuf(bytes, default).map_err(|error| ApiError::bad_request(error.to_string()))
        }
        _ => Err(ApiError::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

async fn read(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), LARGEST).collect().await;
    body.map(|body| body.to_bytes())
        .map_err(|e| ApiError::bad_request(format!("the body can't be read: {e}")))
}

/// One write.
struct Writer<'a> {
    api: &'a Api,
    target: &'a Target,
    query: &'a Query,
    content_type: &'a str,
    manager: String,
    is_dry_run: bool,
}

impl Writer<'_> {
    fn create(&self, bytes: &[u8]) -> Answer {
        let mut value = self.decode(bytes)?;
        self.place(&mut value, None)?;
        self.check_namespace()?;
        let warnings = self.warnings(&value)?;
        let object = admit::admit(&value, None).map_err(|refused| self.refused(refused))?;
        let stored = if self.is_dry_run {
            object.into_value()
        } else {
            let now = self.api.clock.now();
            let tracked = admit::apply::track_update(None, object.value(), &self.manager, "", now);
            let object = Object::new(tracked).expect("tracking keeps kind and name");
            self.api.store.create(object)?.value().clone()
        };
        Ok(body::with_warnings(
            body::object(StatusCode::CREATED, stored),
            &warnings,
        ))
    }

    fn update(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let mut value = self.decode(bytes)?;
        self.place(&mut value, Some(&key))?;
        let warnings = self.warnings(&value)?;
        let written = self.replace(&key, &value)?;
        Ok(body::with_warnings(body::object(StatusCode::OK, written), &warnings))
    }

    fn patch(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        match self.content_type {
            "application/apply-patch+yaml" => self.apply(&key, bytes),
            "application/merge-patch+json" => {
                let patch = serde_json::from_slice(bytes).map_err(|e| ApiError::bad_request(e.to_string()))?;
                let live = self.api.store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
                let mut value = live.value().clone();
                merge(&mut value, patch);
                let warnings = self.warnings(&value)?;
                let written = self.replace(&key, &value)?;
                Ok(body::with_warnings(body::object(StatusCode::OK, written), &warnings))
            }
            other => Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: \
                 application/merge-patch+json, application/apply-patch+yaml"
            ))),
        }
    }

    fn apply(&self, key: &Key, bytes: &[u8]) -> Answer {
        let mut config = self.decode(bytes)?;
        self.place(&mut config, Some(key))?;
        self.check_namespace()?;
        let warnings = self.warnings(&config)?;
        if self.query.text("fieldManager").is_empty() {
            let message =
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
            return Err(ApiError::bad_request(message));
        }
        let request = applier::Request {
            config: &config,
            key,
            manager: &self.manager,
            force: self.query.flag("force"),
            dry_run: self.is_dry_run,
            now: self.api.clock.now(),
        };
        let applied = applier::apply(&self.api.store, request).map_err(|error| self.not_applied(error))?;
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

    fn delete(&self, bytes: &[u8]) -> Answer {
        let key = self.target.key()?;
        let body: Value = if bytes.is_empty() {
            json!({})
        } else {
            decode(self.content_type, bytes, ("v1", "DeleteOptions"))?
        };
        let options = self.delete_options(&body)?;
        let is_dry_run = self.is_dry_run || body.pointer("/dryRun/0").is_some_and(|word| word == "All");
        if is_dry_run {
            let live = self.api.store.check_delete(&key, &options)?;
            return Ok(body::object(StatusCode::OK, live.value().clone()));
        }
        let (Deleted::Gone(object) | Deleted::Pending(object)) = self.api.store.delete(&key, &options)?;
        Ok(body::object(StatusCode::OK, object.value().clone()))
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

    fn decode(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        let kind = self.target.kind;
        decode(self.content_type, bytes, (&kind.api_version(), kind.kind))
    }

    /// Fills in what the path says, and refuses a body that says otherwise.
    fn place(&self, value: &mut Value, key: Option<&Key>) -> Result<(), ApiError> {
        let kind = self.target.kind;
        let Some(object) = value.as_object_mut() else {
            return Err(ApiError::bad_request("the body is not an object"));
        };
        object.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        object.entry("kind").or_insert_with(|| kind.kind.into());
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        let Some(metadata) = metadata.as_object_mut() else {
            return Err(ApiError::bad_request("metadata is not an object"));
        };
        if let Some(namespace) = &self.target.namespace {
            let same = metadata.entry("namespace").or_insert_with(|| namespace.as_str().into()) == namespace.as_str();
            if !same {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(ApiError::bad_request(message));
            }
        }
        if let Some(key) = key {
            let name = metadata.entry("name").or_insert_with(|| key.name.as_str().into());
            if name != key.name.as_str() {
                let message = format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    key.name
                );
                return Err(ApiError::bad_request(message));
            }
        }
        Ok(())
    }

    /// New objects need their namespace to be there (`NamespaceLifecycle` admission).
    fn check_namespace(&self) -> Result<(), ApiError> {
        let kind = crate::model::kind("v1", "Namespace").expect("in the table");
        let Some(namespace) = &self.target.namespace else {
            return Ok(());
        };
        let key = Key::new(kind, "", namespace);
        self.api
            .store
            .get(&key)
            .map(drop)
            .ok_or_else(|| ApiError::not_found(&key))
    }

    /// Writes `value` over the object, through the gate.
    fn replace(&self, key: &Key, value: &Value) -> Result<Value, ApiError> {
        let live = self.api.store.get(key).ok_or_else(|| ApiError::not_found(key))?;
        let next = admit::admit(value, Some(&live)).map_err(|refused| self.refused(refused))?;
        let (subresource, now) = (&self.target.subresource, self.api.clock.now());
        let mut next = admit::apply::track_update(Some(live.value()), next.value(), &self.manager, subresource, now);
        if self.is_dry_run {
            return Ok(next);
        }
        let asked = next
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_conditional = !asked.is_empty();
        let write = |object: &mut Object| {
            if !is_conditional {
                next["metadata"]["resourceVersion"] = object.text("/metadata/resourceVersion").into();
            }
            *object.value_mut() = next;
        };
        let written = match self.target.subresource.as_str() {
            "status" => self.api.store.update_status(key, write)?,
            _ => self.api.store.update(key, write)?,
        };
        Ok(written.object.value().clone())
    }

    /// What is not honoured as written: dangerous omissions are refused, others told.
    fn warnings(&self, value: &Value) -> Result<Vec<String>, ApiError> {
        let (errors, warnings): (Vec<_>, Vec<_>) = admit::field_notes(value)
            .into_iter()
            .partition(|note| note.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(self.refused(Refused::NotHonoured(errors)));
        }
        Ok(warnings
            .into_iter()
            .map(|note| format!("{}: {}", note.path, note.message))
            .collect())
    }

    fn refused(&self, refused: Refused) -> ApiError {
        let kind = self.target.kind;
        match refused {
            Refused::Malformed(_) => {
                let message = format!(
                    "{} in version {:?} cannot be handled as a {}: strict decoding error: {refused}",
                    kind.kind, kind.version, kind.kind
                );
                ApiError::bad_request(message)
            }
            Refused::Invalid(key, errors) | Refused::NeedsReplacement(key, errors) => invalid(kind, &key.name, &errors),
            Refused::NotHonoured(notes) => {
                let name = self.target.name.clone().unwrap_or_default();
                ApiError::invalid(kind, &name, notes.iter().map(forbidden).collect())
            }
        }
    }

    fn not_applied(&self, error: ApplyError) -> ApiError {
        match error {
            ApplyError::Conflicts(conflicts) => {
                let cause = |conflict: &admit::apply::Conflict| Cause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: conflict.message.clone(),
                    field: conflict.field.clone(),
                };
                ApiError::conflict(conflicts.to_string(), conflicts.0.iter().map(cause).collect())
            }
            ApplyError::Refused(refused) => self.refused(*refused),
            ApplyError::Store(error) => error.into(),
        }
    }
}

fn invalid(kind: &'static Kind, name: &str, errors: &ErrorList) -> ApiError {
    let causes = errors.iter().map(|error| Cause {
        reason: error.kind.reason().to_owned(),
        message: error.body(),
        field: error.path.to_string(),
    });
    ApiError::invalid(kind, name, causes.collect())
}

fn forbidden(note: &FieldNote) -> Cause {
    Cause {
        reason: "FieldValueForbidden".to_owned(),
        message: format!("Forbidden: {}", note.message),
        field: note.path.to_string(),
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().expect("made one above");
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}
