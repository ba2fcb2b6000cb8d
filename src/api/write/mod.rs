//! create, update, patch and delete; the subresources that write.

mod change;
mod delete;
mod place;
mod refused;
mod scale;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) use scale::{is_scalable, scale_of};

use super::Api;
use super::body::{self, Answer};
use super::error::ApiError;
use super::request::{Query, Target, Verb};
use crate::admit::{self, Refused, Severity, Step};
use crate::applier;
use crate::model::{Honoured, Object, names};
use crate::schema;
use crate::store::Store;

/// The subresource by which a pod that is there gets one more container, and nothing else.
pub(super) const EPHEMERAL_CONTAINERS: &str = "ephemeralcontainers";

/// The largest body of an object: upstream's limit (`MaxRequestBodyBytes`).
const LARGEST: usize = 3 << 20;

impl Api {
    pub(super) async fn write(
        &self,
        verb: Verb,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
        bytes: &[u8],
    ) -> Answer {
        let header = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let (content_type, agent) = (header(CONTENT_TYPE), header(USER_AGENT));
        // There is one node, which makes itself.
        let makes_or_ends = matches!(verb, Verb::Create | Verb::Delete | Verb::DeleteCollection);
        if target.kind.kind == "Node" && makes_or_ends {
            return Err(ApiError::method_not_allowed());
        }
        let writer = Writer {
            api: self,
            target,
            query,
            content_type: media_type(content_type),
            manager: manager(query.text("fieldManager"), agent),
            store: if query.all("dryRun").any(|word| word == "All") {
                self.store.dry()
            } else {
                self.store.clone()
            },
        };
        let answer = match (verb, target.subresource.as_str()) {
            (Verb::Create, "") => writer.create(bytes)?,
            (Verb::Create, "eviction") => writer.evict(bytes)?,
            (Verb::Update, "scale") => writer.update_scale(bytes)?,
            (Verb::Patch, "scale") => writer.patch_scale(bytes)?,
            (Verb::Update, "" | "status" | EPHEMERAL_CONTAINERS) => writer.update(bytes)?,
            (Verb::Patch, "" | "status" | EPHEMERAL_CONTAINERS) => writer.patch(bytes)?,
            (Verb::Delete, "") => writer.delete(bytes)?,
            (Verb::DeleteCollection, "") => writer.delete_collection(bytes)?,
            _ => return Err(ApiError::method_not_allowed()),
        };
        // What a client was told has happened survives a crash.
        let durable = self.store.durable(self.store.resource_version()).await;
        durable.map_err(|why| ApiError::internal(why.to_string()))?;
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
pub(super) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

pub(super) fn decode(content_type: &str, bytes: &[u8], default: (&str, &str)) -> Result<Value, ApiError> {
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

pub(super) async fn read(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), LARGEST).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::too_large(format!("Request entity too large: limit is {LARGEST}"))
        } else {
            ApiError::bad_request(format!("the body can't be read: {error}"))
        }
    })
}

/// One write.
struct Writer<'a> {
    api: &'a Api,
    target: &'a Target,
    query: &'a Query,
    content_type: &'a str,
    manager: String,
    /// Dry in a dry run.
    store: Store,
}

impl Writer<'_> {
    fn create(&self, bytes: &[u8]) -> Answer {
        if self.target.name.is_some() {
            return Err(ApiError::method_not_allowed());
        }
        let mut value = self.decode(bytes)?;
        self.place(&mut value, None)?;
        self.check_namespace()?;
        let mut warnings = self.settle_fields(&mut value)?;
        self.keep_writable(&mut value);
        warnings.extend(self.warnings(&value, None)?);
        Self::generate_name(&mut value);
        let object = admit::admit(&value, None).map_err(|refused| self.refused(refused))?;
        let now = self.api.clock.now();
        let tracked = admit::apply::track_update(None, object.value(), &self.manager, "", now);
        let object = Object::new(tracked).expect("tracking keeps kind and name");
        let object = admit::with_account(object, |key| self.store.get(key), &names::random_suffix());
        let _turn = applier::turn(&self.store, self.target.kind);
        let object = applier::allocate(&self.store, object, None).map_err(|refused| self.refused(refused))?;
        let stored = self.store.create(object)?.value().clone();
        Ok(body::with_warnings(
            body::object(StatusCode::CREATED, stored),
            &warnings,
        ))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        let kind = self.target.kind;
        decode(self.content_type, bytes, (&kind.api_version(), kind.kind))
    }

    /// Does with unknown fields what the client asks for (`fieldValidation`): refuse them, which is left to the gate, or drop them
    /// with or without a word.
    fn settle_fields(&self, value: &mut Value) -> Result<Vec<String>, ApiError> {
        match self.query.text("fieldValidation") {
            "Strict" => Ok(Vec::new()),
            "" | "Warn" => Ok(admit::drop_unknown_fields(value)),
            "Ignore" => {
                admit::drop_unknown_fields(value);
                Ok(Vec::new())
            }
            other => {
                let message =
                    format!("Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
                Err(ApiError::invalid_option(
                    "Options",
                    "fieldValidation",
                    "FieldValueNotSupported",
                    message,
                ))
            }
        }
    }

    /// Takes out what this path does not write: those who act on an object report on it by `status`, where they write nothing else.
    fn keep_writable(&self, value: &mut Value) {
        let Some(fields) = value.as_object_mut().filter(|_| self.target.kind.has_status) else {
            return;
        };
        match self.target.subresource.as_str() {
            "status" => fields.retain(|name, _| ["apiVersion", "kind", "metadata", "status"].contains(&name.as_str())),
            _ => drop(fields.remove("status")),
        }
    }

    /// What is not honoured as written: dangerous omissions are refused, others told; those that `live` had already were told before.
    fn warnings(&self, value: &Value, live: Option<&Object>) -> Result<Vec<String>, ApiError> {
        // Nobody honours a status: it is a report.
        let notes_of = |value| {
            let notes = admit::field_notes(value).into_iter();
            notes.filter(|note| note.path.steps().first() != Some(&Step::Field("status".to_owned())))
        };
        let (errors, warnings): (Vec<_>, Vec<_>) = notes_of(value).partition(|note| note.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(self.refused(Refused::NotHonoured(errors)));
        }
        let told: Vec<_> = match live {
            Some(live) if !warnings.is_empty() => notes_of(live.value()).collect(),
            _ => Vec::new(),
        };
        let new = warnings.into_iter().filter(|note| !told.contains(note));
        let mut texts: Vec<_> = new.map(|note| format!("{}: {}", note.path, note.message)).collect();
        if let (Honoured::Stored(text), None) = (self.target.kind.honoured, live) {
            texts.push(text.to_owned());
        }
        Ok(texts)
    }
}
