//! Refusals of the gate and of server-side apply, in the words of `metav1.Status`.

use super::Writer;
use crate::access::rights::Deed;
use crate::admit::{self, ErrorList, FieldNote, Refused};
use crate::api::error::{ApiError, Cause};
use crate::applier::ApplyError;
use crate::model::Kind;

impl Writer {
    pub(super) fn refused(&self, refused: Refused) -> ApiError {
        let kind = self.target.kind;
        match refused {
            Refused::Malformed(_) => self.not_strict(&refused.to_string()),
            Refused::Invalid(key, errors) | Refused::NeedsReplacement(key, errors) => invalid(kind, &key.name, &errors),
            Refused::Forbidden(key, why) => ApiError::forbidden_object(&key, &why),
        }
    }

    /// What is not as its type wants it.
    pub(super) fn not_strict(&self, why: &str) -> ApiError {
        let kind = self.target.kind;
        let what = format!(
            "{} in version {:?} cannot be handled as a {}",
            kind.kind, kind.version, kind.kind
        );
        ApiError::bad_request(format!("{what}: strict decoding error: {why}"))
    }

    /// What would be dangerous to leave out.
    pub(super) fn not_honoured(&self, name: &str, notes: &[FieldNote]) -> ApiError {
        ApiError::invalid(self.target.kind, name, notes.iter().map(forbidden).collect())
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
            ApplyError::Absent(key) => self.may_create.clone().err().unwrap_or(ApiError::not_found(&key)),
            ApplyError::Forbidden { key, why } => {
                let deed = Deed {
                    group: key.kind().group.to_owned(),
                    resource: key.kind().plural.to_owned(),
                    name: key.name,
                    ..Deed::default()
                };
                ApiError::forbidden(&deed, &why)
            }
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
