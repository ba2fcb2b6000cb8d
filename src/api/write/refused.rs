//! Refusals of the gate and of server-side apply, in the words of `metav1.Status`.

use super::Writer;
use crate::admit::{self, ErrorList, FieldNote, Refused};
use crate::api::error::{ApiError, Cause};
use crate::applier::ApplyError;
use crate::model::Kind;

impl Writer<'_> {
    pub(super) fn refused(&self, refused: Refused) -> ApiError {
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
            Refused::Forbidden(key, why) => ApiError::forbidden_object(&key, &why),
            Refused::NotHonoured(notes) => {
                let name = self.target.name.clone().unwrap_or_default();
                ApiError::invalid(kind, &name, notes.iter().map(forbidden).collect())
            }
        }
    }

    pub(super) fn not_applied(&self, error: ApplyError) -> ApiError {
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
