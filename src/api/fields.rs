//! Field selectors: `metadata.name=web,status.phase!=Failed`.

use serde_json::Value;

use super::error::ApiError;
use crate::model::{Kind, Object};

/// Conditions on fields that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    pointer: String,
    value: String,
    is_equal: bool,
}

/// Which fields may be asked for (`k8s.io/kubernetes/pkg/apis/*/v1/conversion.go`); every kind has its name and namespace.
fn is_supported(kind: &'static Kind, field: &str) -> bool {
    const POD: [&str; 7] = [
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
    ];
    const EVENT: [&str; 11] = [
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ];
    let own: &[&str] = match kind.kind {
        "Pod" => &POD,
        "Event" => &EVENT,
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        "ReplicaSet" => &["status.replicas"],
        "Node" => &["spec.unschedulable"],
        _ => &[],
    };
    ["metadata.name", "metadata.namespace"].contains(&field) || own.contains(&field)
}

impl FieldSelector {
    /// Reads a selector for objects of `kind`.
    ///
    /// # Errors
    /// 400 for text that is none, and for fields that can't be asked for.
    pub fn parse(text: &str, kind: &'static Kind) -> Result<Self, ApiError> {
        let conditions = text.split(',').filter(|piece| !piece.is_empty());
        conditions
            .map(|piece| Condition::parse(piece, kind))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether every condition holds.
    pub fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|condition| condition.holds(object))
    }
}

impl Condition {
    fn parse(text: &str, kind: &'static Kind) -> Result<Self, ApiError> {
        let split = |operator| text.split_once(operator);
        let (field, value, is_equal) = split("!=")
            .map(|(f, v)| (f, v, false))
            .or_else(|| split("==").or_else(|| split("=")).map(|(f, v)| (f, v, true)))
            .ok_or_else(|| ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{text}'")))?;
        if !is_supported(kind, field) {
            return Err(ApiError::bad_request(format!("field label not supported: {field}")));
        }
        let pointer = match field {
            "source" => "/source/component".to_owned(),
            field => format!("/{}", field.replace('.', "/")),
        };
        Ok(Self {
            pointer,
            value: value.to_owned(),
            is_equal,
        })
    }

    fn holds(&self, object: &Object) -> bool {
        let found = match object.at(&self.pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        (found == self.value) == self.is_equal
    }
}
