//! The gate itself: a file's bytes, or an object from elsewhere, to what may be stored.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::account::with_account;
use super::decode::{self, Refusal};
use super::defaults::{keep_allocated, set_defaults};
use super::fields::{self, FieldNote};
use super::path::{FieldPath, Step};
use super::problem::{Location, Problem, Severity, SourceText};
use super::runtime_class::with_class;
use super::spans::SpanTree;
use super::typed::Typed;
use super::validate::{self, Change, ErrorList};
use super::yaml::{self, Document};
use crate::model::{Honoured, Key, Kind, Object};

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admitted {
    /// Every object that may be applied, in the order of the file.
    pub objects: Vec<AdmittedObject>,
    /// Everything that is wrong, warnings included, in the order of the file.
    pub problems: Vec<Problem>,
}

impl Admitted {
    /// Whether the file is read whole: no object was refused.
    pub fn is_whole(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    }
}

/// An object of a file that may be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmittedObject {
    /// As its author wrote it, cleaned: what is applied, so that only the fields that the author names become the source's.
    pub config: Value,
    /// With defaults: what it is if nothing of it exists yet.
    pub object: Object,
    /// Where it begins.
    pub location: Location,
    /// Where every field of `config` is.
    pub spans: SpanTree,
    /// What it does less than it says; these stand in the file's problems too.
    pub warnings: Vec<Problem>,
}

/// Reads a file of manifests. Objects that name no namespace are in `default`.
pub fn admit_file(file: &Path, bytes: &[u8]) -> Admitted {
    admit_file_in(file, bytes, DEFAULT_NAMESPACE)
}

/// Reads a file of manifests whose objects are in `namespace` if they name none.
pub fn admit_file_in(file: &Path, bytes: &[u8], namespace: &str) -> Admitted {
    let file: Arc<Path> = file.into();
    let text = match yaml::text_of(bytes) {
        Ok(text) => text,
        Err((place, message)) => {
            let problem = SourceText::new(file, "").error(place, message);
            return Admitted {
                objects: Vec::new(),
                problems: vec![problem],
            };
        }
    };
    let source = SourceText::new(file, text);
    let (documents, mut problems) = yaml::documents(&source, text);
    let mut objects: Vec<AdmittedObject> = Vec::new();
    for document in documents {
        match admit_document(document, &source, namespace) {
            Ok(admitted) => {
                problems.extend(admitted.warnings.iter().cloned());
                match objects.iter().find(|other| other.object.key() == admitted.object.key()) {
                    Some(first) => problems.push(named_twice(&source, &admitted, &first.location)),
                    None => objects.push(admitted),
                }
            }
            Err(refusals) => problems.extend(refusals),
        }
    }
    problems.sort_by_key(|problem| problem.location.at);
    Admitted { objects, problems }
}

fn named_twice(source: &SourceText<'_>, object: &AdmittedObject, first: &Location) -> Problem {
    let at = object.spans.locate(&FieldPath::of(&["metadata", "name"]));
    source.error(at, format!("{} is already given at {first}", object.object.key()))
}

fn admit_document(
    document: Document,
    source: &SourceText<'_>,
    namespace: &str,
) -> Result<AdmittedObject, Vec<Problem>> {
    let Document { mut value, spans, .. } = document;
    let refused = |refusals: Vec<Refusal>| -> Vec<Problem> {
        let refusals = refusals.into_iter();
        refusals.map(|refusal| of_refusal(source, &spans, refusal)).collect()
    };
    let kind = decode::kind_for_files(&value).map_err(|refusal| refused(vec![refusal]))?;
    decode::decode_typed(kind, &value).map_err(refused)?;
    let mut notes = decode::to_config(kind, &mut value, namespace);
    notes.extend(fields::notes(kind, &value));
    if let Honoured::Stored(text) = kind.honoured {
        notes.push(FieldNote::warning(FieldPath::of(&["kind"]), text));
    }
    let mut problems: Vec<Problem> = notes.into_iter().map(|note| of_note(source, &spans, note)).collect();
    let (typed, errors) = complete(kind, &value);
    problems.extend(
        errors
            .iter()
            .map(|error| source.error(spans.locate(&error.path), error.to_string())),
    );
    problems.extend(nameless(source, &spans, &typed));
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    let object = Object::new(typed.to_value()).expect("a valid object has a known kind and a name");
    let location = Location {
        file: Arc::clone(source.file()),
        at: spans.at,
    };
    Ok(AdmittedObject {
        config: value,
        object,
        location,
        spans,
        warnings: problems,
    })
}

/// A file that is read again would make another object each time, if the server chose the names.
fn nameless(source: &SourceText<'_>, spans: &SpanTree, typed: &Typed) -> Option<Problem> {
    let metadata = typed.metadata();
    let is_named = metadata.name.as_deref().is_some_and(|name| !name.is_empty());
    (!is_named && metadata.generate_name.is_some()).then(|| {
        let at = spans.locate(&FieldPath::of(&["metadata", "generateName"]));
        source.error(at, "metadata.generateName: an object of a file needs a name of its own")
    })
}

fn of_refusal(source: &SourceText<'_>, spans: &SpanTree, refusal: Refusal) -> Problem {
    let at = if refusal.at_key {
        spans.locate_key(&refusal.path)
    } else {
        spans.locate(&refusal.path)
    };
    source.error(at, refusal.message)
}

fn of_note(source: &SourceText<'_>, spans: &SpanTree, note: FieldNote) -> Problem {
    let is_kind = note.path == FieldPath::of(&["kind"]);
    let message = if is_kind {
        note.message
    } else {
        format!("{}: {}", note.path, note.message)
    };
    source.problem(spans.locate_key(&note.path), note.severity, message)
}

/// Decodes, defaults and validates. The value has been decoded before, so that decoding can't fail.
fn complete(kind: &Kind, value: &Value) -> (Typed, ErrorList) {
    let mut typed = decode::decode_typed(kind, value).expect("cleaning a decoded object leaves it decodable");
    set_defaults(&mut typed);
    let mut errors = validate::validate(kind, &typed);
    errors.extend(validate::validate_new(&typed));
    (typed, errors)
}

/// Why an object is not stored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It is no object of a kind that may be written, or a field is unknown or of the wrong type.
    #[error("{}", join(.0))]
    Malformed(Vec<Refusal>),
    /// Fields are wrong. The message is what follows `<Kind> "name" is invalid: ` in a `metav1.Status`.
    #[error("{1}")]
    Invalid(Key, ErrorList),
    /// What the object names forbids it, or is not there. The message is what follows `pods "name" is forbidden: `.
    #[error("{1}")]
    Forbidden(Key, String),
    /// The old object can't become this one: it must be deleted first. Sources replace such pods gracefully.
    #[error("{1}")]
    NeedsReplacement(Key, ErrorList),
}

fn join(refusals: &[Refusal]) -> String {
    refusals
        .iter()
        .map(|refusal| refusal.message.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The one document of a request's body, in YAML or JSON, and the fields that it gives more than once: the last one counts.
///
/// # Errors
/// What is wrong with it, and where; or that there is not exactly one.
pub fn decode_body(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let text = yaml::text_of(bytes).map_err(|(_, message)| message)?;
    yaml::only_value(&SourceText::new(Path::new("body").into(), text), text)
}

/// Makes an object whole: decodes it strictly, defaults it, validates it, and checks that `old` may become it.
///
/// For whatever is written beside the files: the result of an apply, an API request, a controller's pod.
///
/// # Errors
/// See [`Refused`].
pub fn admit(value: &Value, old: Option<&Object>) -> Result<Object, Refused> {
    admit_change(value, old, validate::validate_update)
}

/// The same for a pod that gets ephemeral containers, which no other change may bring.
///
/// # Errors
/// See [`Refused`].
pub fn admit_ephemeral_containers(value: &Value, old: &Object) -> Result<Object, Refused> {
    admit_change(value, Some(old), validate::validate_ephemeral_update)
}

/// The same for a pod that gets other resources, which no other change may bring.
///
/// # Errors
/// See [`Refused`].
pub fn admit_resize(value: &Value, old: &Object) -> Result<Object, Refused> {
    admit_change(value, Some(old), validate::validate_resize)
}

fn admit_change(
    value: &Value,
    old: Option<&Object>,
    may_become: fn(&Typed, &Typed) -> Result<Change, ErrorList>,
) -> Result<Object, Refused> {
    let kind = decode::kind_of(value).map_err(|refusal| Refused::Malformed(vec![refusal]))?;
    let mut typed = decode::decode_typed(kind, value).map_err(Refused::Malformed)?;
    set_defaults(&mut typed);
    let old = old.map(|old| decode::decode_typed(kind, old.value()).map_err(Refused::Malformed));
    let old = old.transpose()?;
    if let Some(old) = &old {
        keep_allocated(&mut typed, old);
    }
    let object = Object::new(typed.to_value());
    let mut errors = validate::validate(kind, &typed);
    if old.is_none() {
        errors.extend(validate::validate_new(&typed));
    }
    let key = |typed: &Typed| {
        let metadata = typed.metadata();
        Key::new(
            kind,
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        )
    };
    let Some(object) = object.filter(|_| errors.is_empty()) else {
        return Err(Refused::Invalid(key(&typed), errors));
    };
    let Some(mut old) = old else { return Ok(object) };
    // What was stored before a default existed does not differ by it.
    set_defaults(&mut old);
    match may_become(&typed, &old) {
        Ok(Change::Update) => Ok(object),
        Ok(Change::Replace(errors)) => Err(Refused::NeedsReplacement(object.key().clone(), errors)),
        Err(errors) => Err(Refused::Invalid(object.key().clone(), errors)),
    }
}

/// Gives an admitted object that is about to be made what it gets from others: a pod from its service account and its class. `find` looks
/// them up.
///
/// # Errors
/// It is forbidden by them.
pub fn complete_new(
    object: Object,
    find: impl Fn(&Key) -> Option<Arc<Object>>,
    suffix: &str,
) -> Result<Object, Refused> {
    Ok(with_account(with_class(object, &find)?, &find, suffix))
}

/// What is to be said about an object that came without a file: warnings for `Warning` headers, errors for a refusal.
pub fn field_notes(value: &Value) -> Vec<FieldNote> {
    decode::kind_of(value)
        .map(|kind| fields::notes(kind, value))
        .unwrap_or_default()
}

/// Takes away the fields that the object's type does not have, and says which: for clients that do not want them refused.
pub fn drop_unknown_fields(value: &mut Value) -> Vec<String> {
    let Ok(kind) = decode::kind_of(value) else {
        return Vec::new();
    };
    // What is of a wrong type is told by the gate.
    let Some(Ok((_, unknown))) = Typed::decode(kind, value) else {
        return Vec::new();
    };
    for field in &unknown {
        remove(value, field.path.steps());
    }
    let say = |field: &super::strict::Unknown| format!("unknown field \"{}\"", field.path);
    unknown.iter().map(say).collect()
}

fn remove(value: &mut Value, steps: &[Step]) {
    let Some((first, rest)) = steps.split_first() else {
        return;
    };
    match (first, value) {
        (Step::Field(name) | Step::Key(name), Value::Object(fields)) if rest.is_empty() => drop(fields.remove(name)),
        (Step::Field(name) | Step::Key(name), Value::Object(fields)) => {
            fields.get_mut(name).into_iter().for_each(|inner| remove(inner, rest));
        }
        (Step::Index(index), Value::Array(items)) => {
            items.get_mut(*index).into_iter().for_each(|inner| remove(inner, rest));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_dropped_by_name() {
        let mut value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "colour": "red"},
            "spec": {"containers": [{"name": "c", "image": "i", "prots": []}], "x": 1}});
        let mut said = drop_unknown_fields(&mut value);
        said.sort();
        assert_eq!(
            said,
            [
                "unknown field \"metadata.colour\"",
                "unknown field \"spec.containers[0].prots\"",
                "unknown field \"spec.x\""
            ]
        );
        let clean = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        assert_eq!(value, clean);
        assert_eq!(drop_unknown_fields(&mut value), Vec::<String>::new());
    }
}
