//! create, update, patch and delete; the subresources that write.

mod change;
mod delete;
mod place;
mod refused;
mod scale;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

pub(super) use scale::{is_scalable, scale_of};

use super::body::{self, Answer};
use super::error::ApiError;
use super::request::{Query, Target, Verb};
use super::{Api, SharedClock};
use crate::admit::{self, FieldNote, Severity, Step};
use crate::applier;
use crate::model::{Honoured, Key, Kind, Object, names, text_at};
use crate::schema;
use crate::store::Store;

/// The subresource by which a pod that is there gets one more container, and nothing else.
pub(super) const EPHEMERAL_CONTAINERS: &str = "ephemeralcontainers";

/// The subresource by which the containers of a pod that is there get other resources, and nothing else.
pub(super) const RESIZE: &str = "resize";

/// The subresource by which whoever holds a namespace lets go of it.
pub(super) const FINALIZE: &str = "finalize";

/// The content type of a server-side apply.
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// The largest body of an object: upstream's limit (`MaxRequestBodyBytes`).
const LARGEST: usize = 3 << 20;

/// From which size on a body may take long: at a tenth of a microsecond and more for each byte, what is below takes some milliseconds.
const HEAVY: usize = 64 << 10;

/// How many large bodies are worked on at a time. With one, the machine's other cores stay everybody else's; whoever waits holds a body
/// and no thread.
static HEAVY_ROOM: Semaphore = Semaphore::const_new(1);

/// How long a client may take to send a body: as long as its head may take.
const BODY: Duration = Duration::from_secs(30);

/// How much of a body that is too large is read on and thrown away: clients that still write see the answer only after that.
const SURPLUS: u64 = 32 << 20;

impl Api {
    pub(super) async fn write(
        &self,
        verb: Verb,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
        bytes: &Bytes,
        may_create: Result<(), ApiError>,
    ) -> Answer {
        let header = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let (content_type, agent) = (header(CONTENT_TYPE), header(USER_AGENT));
        if !is_done(verb, target.kind) {
            return Err(ApiError::method_not_allowed());
        }
        check_manager(query.text("fieldManager"), options_of(verb))?;
        let writer = Writer {
            clock: self.clock.clone(),
            target: target.clone(),
            query: query.clone(),
            content_type: media_type(content_type).to_owned(),
            manager: manager(query.text("fieldManager"), agent),
            store: if is_dry_run(query.all("dryRun"), options_of(verb))? {
                self.store.dry()
            } else {
                self.store.clone()
            },
            may_create,
        };
        let answer = writer.run(verb, bytes.clone()).await?;
        // What a client was told has happened survives a crash.
        let durable = self.store.durable(self.store.resource_version()).await;
        durable.map_err(|why| ApiError::internal(why.to_string()))?;
        Ok(answer)
    }
}

/// Whether something is ever done to objects of a kind: there is one node, which makes itself, and namespaces go one by one.
fn is_done(verb: Verb, kind: &Kind) -> bool {
    match kind.kind {
        "Node" => !matches!(verb, Verb::Create | Verb::Delete | Verb::DeleteCollection),
        "Namespace" => verb != Verb::DeleteCollection,
        _ => true,
    }
}

/// The name of the options of a write.
fn options_of(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Patch => "PatchOptions",
        Verb::Delete | Verb::DeleteCollection => "DeleteOptions",
        Verb::Get | Verb::List | Verb::Watch => "ListOptions",
    }
}

/// Whether nothing is to be written. A word that is not known is refused: whoever says it wants a dry run of some sort.
fn is_dry_run<'w>(words: impl Iterator<Item = &'w str>, options: &str) -> Result<bool, ApiError> {
    let mut is_dry = false;
    for word in words {
        if word != "All" {
            let message = format!("Unsupported value: {word:?}: supported values: \"All\"");
            let reason = "FieldValueNotSupported";
            return Err(ApiError::invalid_option(options, "dryRun", reason, message));
        }
        is_dry = true;
    }
    Ok(is_dry)
}

/// Whether a name fits a manager of fields (`ValidateFieldManager`).
fn check_manager(name: &str, options: &str) -> Result<(), ApiError> {
    const LONGEST: usize = 128;
    let (reason, message) = if name.len() > LONGEST {
        let message = format!("Too long: may not be more than {LONGEST} bytes");
        ("FieldValueTooLong", message)
    } else if name.chars().any(char::is_control) {
        let message = format!("Invalid value: {name:?}: should only contain printable characters");
        ("FieldValueInvalid", message)
    } else {
        return Ok(());
    };
    Err(ApiError::invalid_option(options, "fieldManager", reason, message))
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
    decode_told(content_type, bytes, default).map(|(value, _)| value)
}

/// The same, and the fields that are given more than once, of which the last one counts.
fn decode_told(content_type: &str, bytes: &[u8], default: (&str, &str)) -> Result<(Value, Vec<String>), ApiError> {
    match content_type {
        // Some clients send no type, and JSON.
        "" | "application/json" | "application/yaml" | APPLY_PATCH => {
            admit::decode_body(bytes).map_err(ApiError::bad_request)
        }
        "application/vnd.kubernetes.protobuf" => {
            let decoded = schema::decode_protobuf(bytes, default);
            let value = decoded.map_err(|error| ApiError::bad_request(error.to_string()))?;
            Ok((value, Vec::new()))
        }
        _ => Err(ApiError::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

pub(super) async fn read(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let slow = |_| ApiError::timeout("the body did not come within 30 s");
    tokio::time::timeout(BODY, read_whole(request.into_body()))
        .await
        .map_err(slow)?
}

async fn read_whole(mut body: Incoming) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(format!("Request entity too large: limit is {LARGEST}"));
    if body.size_hint().lower() > SURPLUS {
        return Err(too_large());
    }
    let read = Limited::new(&mut body, LARGEST).collect().await;
    match read {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let mut surplus = 0;
            while let Some(Ok(frame)) = body.frame().await {
                surplus += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                if surplus > SURPLUS {
                    break;
                }
            }
            Err(too_large())
        }
        Err(error) => Err(ApiError::bad_request(format!("the body can't be read: {error}"))),
    }
}

/// One write.
struct Writer {
    clock: SharedClock,
    target: Target,
    query: Query,
    content_type: String,
    manager: String,
    /// Dry in a dry run.
    store: Store,
    /// Whether an apply may make what is not there, or why not.
    may_create: Result<(), ApiError>,
}

impl Writer {
    /// Does the write. What may take long does so on a thread of its own, one after the other: the threads on which requests are
    /// answered are those of probes, names and pods' workers too.
    async fn run(self, verb: Verb, bytes: Bytes) -> Answer {
        if bytes.len() < HEAVY {
            return self.write(verb, &bytes);
        }
        let room = HEAVY_ROOM.acquire().await.expect("it is never closed");
        let done = tokio::task::spawn_blocking(move || {
            // A client that leaves does not end what is under way, so the room is the thread's.
            let _room = room;
            self.write(verb, &bytes)
        });
        done.await
            .unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
    }

    fn write(&self, verb: Verb, bytes: &[u8]) -> Answer {
        match (verb, self.target.subresource.as_str()) {
            (Verb::Create, "") => self.create(bytes),
            (Verb::Create, "eviction") => self.evict(bytes),
            (Verb::Update, "scale") => self.update_scale(bytes),
            (Verb::Patch, "scale") => self.patch_scale(bytes),
            (Verb::Update, "" | "status" | EPHEMERAL_CONTAINERS | RESIZE | FINALIZE) => self.update(bytes),
            (Verb::Patch, "" | "status" | EPHEMERAL_CONTAINERS | RESIZE) => self.patch(bytes),
            (Verb::Delete, "") => self.delete(bytes),
            (Verb::DeleteCollection, "") => self.delete_collection(bytes),
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn create(&self, bytes: &[u8]) -> Answer {
        if self.target.name.is_some() {
            return Err(ApiError::method_not_allowed());
        }
        let (mut value, mut warnings) = self.decode(bytes)?;
        self.place(&mut value, None)?;
        self.check_namespace()?;
        if !text_at(&value, "/metadata/resourceVersion").is_empty() {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        self.fold(&mut value);
        warnings.extend(self.settle_fields(&mut value)?);
        self.keep_writable(&mut value);
        warnings.extend(self.warnings(&value, None)?);
        Self::generate_name(&mut value);
        let object = admit::admit(&value, None).map_err(|refused| self.refused(refused))?;
        let now = self.clock.now();
        let tracked = admit::apply::track_update(None, object.value(), &self.manager, "", now);
        let object = Object::new(tracked).expect("tracking keeps kind and name");
        applier::check_arrival(&self.store, &object).map_err(|error| self.not_applied(error))?;
        warnings.extend(self.note_of_node(&object));
        let object = admit::complete_new(object, |key| self.store.get(key), &names::random_suffix());
        let object = object.map_err(|refused| self.refused(refused))?;
        let _turn = applier::turn(&self.store, self.target.kind);
        let object = applier::allocate(&self.store, object, None).map_err(|refused| self.refused(refused))?;
        let stored = self.store.create(object)?.value().clone();
        Ok(body::with_warnings(
            body::object(StatusCode::CREATED, stored),
            &warnings,
        ))
    }

    /// The body, and what is to be told of fields that it gives more than once: as with unknown ones, the client says what is done.
    fn decode(&self, bytes: &[u8]) -> Result<(Value, Vec<String>), ApiError> {
        let kind = self.target.kind;
        let (value, repeated) = decode_told(&self.content_type, bytes, (&kind.api_version(), kind.kind))?;
        let told: Vec<_> = repeated
            .iter()
            .map(|path| format!("duplicate field \"{path}\""))
            .collect();
        match self.query.text("fieldValidation") {
            "Strict" if !told.is_empty() => Err(self.not_strict(&told.join(", "))),
            "Ignore" => Ok((value, Vec::new())),
            _ => Ok((value, told)),
        }
    }

    /// Puts what only a request says into the words that are kept: nobody can own it otherwise, and nothing is to be told of it.
    fn fold(&self, value: &mut Value) {
        if let ("Secret", Some(fields)) = (self.target.kind.kind, value.as_object_mut()) {
            admit::fold_string_data(fields);
        }
    }

    /// What is to be said of a pod for another node.
    fn note_of_node(&self, object: &Object) -> Option<String> {
        let nodes = crate::model::kind("v1", "Node").expect("in the table");
        let is_there = |name: &str| self.store.get(&Key::new(nodes, "", name)).is_some();
        admit::note_of_node(object, is_there).map(|note| format!("{}: {}", note.path, note.message))
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
            return Err(self.not_honoured(text_at(value, "/metadata/name"), &errors));
        }
        let text = |note: FieldNote| format!("{}: {}", note.path, note.message);
        let told: HashSet<_> = match live {
            Some(live) if !warnings.is_empty() => notes_of(live.value()).map(text).collect(),
            _ => HashSet::new(),
        };
        let mut texts: Vec<_> = warnings
            .into_iter()
            .map(text)
            .filter(|text| !told.contains(text))
            .collect();
        if let (Honoured::Stored(text), None) = (self.target.kind.honoured, live) {
            texts.push(text.to_owned());
        }
        Ok(texts)
    }
}
