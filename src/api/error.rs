//! What went wrong, as `metav1.Status`: the one place that gives errors their reason, code and shape.

use http::StatusCode;
use serde_json::{Value, json};

use crate::access::rights::Deed;
use crate::image::ImageError;
use crate::model::{Key, Kind};
use crate::store::StoreError;

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub code: StatusCode,
    /// Kubernetes' word (`metav1.StatusReason`).
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// What a list goes on with all the same, though no longer of one moment.
    pub resume: Option<String>,
}

/// `metav1.StatusDetails`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// The plural resource, or for invalid objects the kind: as upstream does.
    pub kind: String,
    /// One entry per fault.
    pub causes: Vec<Cause>,
}

/// `metav1.StatusCause`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Kubernetes' word (`metav1.CauseType`).
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field's path.
    pub field: String,
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            resume: None,
        }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 404 for a path that means nothing.
    pub fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// 404 for an object.
    pub fn not_found(key: &Key) -> Self {
        let (kind, name) = (key.kind(), &key.name);
        let error = Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("{} {name:?} not found", kind.resource()),
        );
        error.about(kind, name)
    }

    /// 404 for what is no object of the store; `resource` is `podmetrics.metrics.k8s.io` and its like.
    pub fn not_found_as(resource: &str, name: &str) -> Self {
        let message = format!("{resource} {name:?} not found");
        let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
        let mut error = Self::new(StatusCode::NOT_FOUND, "NotFound", message);
        error.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        }));
        error
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 409 between field managers.
    pub fn conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        let mut error = Self::new(StatusCode::CONFLICT, "Conflict", message);
        error.details = Some(Box::new(Details {
            causes,
            ..Details::default()
        }));
        error
    }

    /// 410.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 415.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// 422: the object's content is refused, one cause per fault.
    pub fn invalid(kind: &'static Kind, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_as(kind.group, kind.kind, name, causes)
    }

    /// 422: an option of a request is refused (`ListOptions`, `PatchOptions` …).
    pub fn invalid_option(kind: &str, field: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::invalid_part("meta.k8s.io", kind, field, reason, message)
    }

    /// The same for what is no object of the store.
    pub fn invalid_part(group: &str, kind: &str, field: &str, reason: &str, message: impl Into<String>) -> Self {
        let cause = Cause {
            reason: reason.to_owned(),
            message: message.into(),
            field: field.to_owned(),
        };
        Self::invalid_as(group, kind, "", vec![cause])
    }

    /// 422 for what has a name and is of a kind that is not in the table.
    pub fn invalid_as(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let what = match group {
            "" => kind.to_owned(),
            group => format!("{kind}.{group}"),
        };
        let message = format!("{what} {name:?} is invalid: {}", faults(&causes));
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        error.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
        }));
        error
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403.
    pub fn forbidden(deed: &Deed, why: &str) -> Self {
        let resource = match deed.group.as_str() {
            "" => deed.resource.clone(),
            group => format!("{}.{group}", deed.resource),
        };
        let what = match (resource.as_str(), deed.name.as_str()) {
            ("", _) => String::new(),
            (resource, "") => format!("{resource} is "),
            (resource, name) => format!("{resource} {name:?} is "),
        };
        let mut error = Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("{what}forbidden: {why}"));
        error.details = Some(Box::new(Details {
            name: deed.name.clone(),
            group: deed.group.clone(),
            kind: deed.resource.clone(),
            causes: Vec::new(),
        }));
        error
    }

    /// 403 for an object that what it names forbids.
    pub fn forbidden_object(key: &Key, why: &str) -> Self {
        let (kind, name) = (key.kind(), &key.name);
        let message = format!("{} {name:?} is forbidden: {why}", kind.resource());
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 504.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    /// Adds what clients look for besides the reason.
    pub fn add_cause(&mut self, cause: Cause) {
        self.details.get_or_insert_default().causes.push(cause);
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    fn about(mut self, kind: &'static Kind, name: &str) -> Self {
        let (group, kind) = (kind.group.to_owned(), kind.plural.to_owned());
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group,
            kind,
            causes: Vec::new(),
        }));
        self
    }

    /// The answer's body.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if let Some(token) = &self.resume {
            status["metadata"]["continue"] = token.as_str().into();
        }
        if let Some(details) = &self.details {
            let cause = |c: &Cause| json!({"reason": c.reason, "message": c.message, "field": c.field});
            let causes: Vec<_> = details.causes.iter().map(cause).collect();
            let mut about =
                json!({"name": details.name, "group": details.group, "kind": details.kind, "causes": causes});
            about
                .as_object_mut()
                .expect("made above")
                .retain(|_, v| *v != json!("") && *v != json!([]));
            status["details"] = about;
        }
        status
    }
}

fn faults(causes: &[Cause]) -> String {
    // A fault of the whole has no path; upstream writes it so.
    let place = |c: &Cause| {
        if c.field.is_empty() {
            "[]".to_owned()
        } else {
            c.field.clone()
        }
    };
    let faults: Vec<_> = causes.iter().map(|c| format!("{}: {}", place(c), c.message)).collect();
    if faults.len() == 1 {
        faults.concat()
    } else {
        format!("[{}]", faults.join(", "))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let (code, reason, key) = match &error {
            StoreError::NotFound(key) => (StatusCode::NOT_FOUND, "NotFound", Some(key)),
            StoreError::AlreadyExists(key) => (StatusCode::CONFLICT, "AlreadyExists", Some(key)),
            StoreError::Conflict { key, .. } => (StatusCode::CONFLICT, "Conflict", Some(key)),
            StoreError::Terminating(key) | StoreError::Immortal(key) => (StatusCode::FORBIDDEN, "Forbidden", Some(key)),
            StoreError::NewFinalizers(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid", None),
        };
        let plain = Self::new(code, reason, message);
        let mut told = key.map_or(plain.clone(), |key| plain.about(key.kind(), &key.name));
        if let StoreError::Terminating(key) = &error {
            // Controllers tell by it that there is no use in trying again.
            told.add_cause(Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {} is being terminated", key.namespace),
                field: "metadata.namespace".to_owned(),
            });
        }
        told
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        let (code, reason) = match &error {
            ImageError::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
            ImageError::InUse(_) | ImageError::BuiltIn(_) => (StatusCode::CONFLICT, "Conflict"),
            ImageError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            _ => (StatusCode::BAD_REQUEST, "BadRequest"),
        };
        Self::new(code, reason, error.to_string())
    }
}
