//! Objects as table rows: what `kubectl get` prints comes from here, because clients have no columns of their own any more.
//!
//! Pure: an object and the time in, cells out. The columns are those of Kubernetes' own printers
//! (`k8s.io/kubernetes/pkg/printers/internalversion`), so that eyes and scripts carry over. This room knows nothing of
//! the store or of HTTP; one file per kind.

use crate::admit::apply::shown;
use jiff::Timestamp;
use serde_json::{Value, json};

pub mod age;
mod cells;
mod configmaps;
mod deployments;
mod endpoints;
mod events;
mod generic;
mod ingresses;
mod limits;
mod manifestsources;
mod namespaces;
mod networkpolicies;
mod nodes;
mod persistentvolumeclaims;
mod persistentvolumes;
pub mod pods;
mod replicasets;
mod secrets;
mod services;
mod small;
mod storageclasses;

pub use cells::selector_text;
pub use nodes::roles;

/// A cell: text or a whole number.
pub type Cell = Value;

/// One column (`meta.k8s.io/v1 TableColumnDefinition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The heading; clients print it in capitals.
    pub name: &'static str,
    /// What the cells hold.
    pub holds: Holds,
    /// Shown by `-o wide` only.
    pub wide: bool,
}

/// What the cells of a column hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// The object's name: text with `format: name`.
    Name,
    /// Text.
    Text,
    /// A whole number.
    Number,
}

const NAME: Column = Column {
    name: "Name",
    holds: Holds::Name,
    wide: false,
};
const AGE: Column = text("Age");

const fn text(name: &'static str) -> Column {
    Column {
        name,
        holds: Holds::Text,
        wide: false,
    }
}

const fn wide(name: &'static str) -> Column {
    Column {
        name,
        holds: Holds::Text,
        wide: true,
    }
}

const fn number(name: &'static str) -> Column {
    Column {
        name,
        holds: Holds::Number,
        wide: false,
    }
}

/// How the objects of one kind become rows.
#[derive(Debug)]
pub struct KindTable {
    /// The columns, wide ones included.
    pub columns: &'static [Column],
    /// The cells of one object, as many as there are columns.
    pub row: fn(&Value, Timestamp) -> Vec<Cell>,
    /// What stands in a row's `conditions`: `Completed` for pods that ended.
    conditions: fn(&Value) -> Option<Value>,
}

const fn kind_table(columns: &'static [Column], row: fn(&Value, Timestamp) -> Vec<Cell>) -> KindTable {
    KindTable {
        columns,
        row,
        conditions: |_| None,
    }
}

/// The table of a kind by its resource name and group; kinds without columns of their own get name and age.
#[must_use]
pub fn table_for(group: &str, plural: &str) -> &'static KindTable {
    match (group, plural) {
        ("", "pods") => &pods::TABLE,
        ("apps", "deployments") => &deployments::TABLE,
        ("apps", "replicasets") => &replicasets::TABLE,
        ("", "configmaps") => &configmaps::TABLE,
        ("", "secrets") => &secrets::TABLE,
        ("", "namespaces") => &namespaces::TABLE,
        ("", "services") => &services::TABLE,
        ("", "persistentvolumeclaims") => &persistentvolumeclaims::TABLE,
        ("", "persistentvolumes") => &persistentvolumes::TABLE,
        ("storage.k8s.io", "storageclasses") => &storageclasses::TABLE,
        ("", "events") => &events::TABLE,
        ("", "nodes") => &nodes::TABLE,
        ("kubelocal.dev", "manifestsources") => &manifestsources::TABLE,
        ("", "endpoints") => &endpoints::TABLE,
        ("discovery.k8s.io", "endpointslices") => &endpoints::SLICES,
        ("networking.k8s.io", "ingresses") => &ingresses::TABLE,
        ("networking.k8s.io", "ingressclasses") => &ingresses::CLASSES,
        ("networking.k8s.io", "networkpolicies") => &networkpolicies::TABLE,
        ("", "serviceaccounts") => &small::ACCOUNTS,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles")
        | ("", "limitranges")
        | ("apiextensions.k8s.io", "customresourcedefinitions") => &small::CREATED,
        ("rbac.authorization.k8s.io", _) => &small::BINDINGS,
        ("node.k8s.io", "runtimeclasses") => &small::RUNTIME_CLASSES,
        ("policy", "poddisruptionbudgets") => &small::BUDGETS,
        ("coordination.k8s.io", "leases") => &small::LEASES,
        ("apps", "controllerrevisions") => &small::REVISIONS,
        ("autoscaling", "horizontalpodautoscalers") => &limits::AUTOSCALERS,
        ("", "resourcequotas") => &limits::QUOTAS,
        ("scheduling.k8s.io", "priorityclasses") => &limits::PRIORITIES,
        ("admissionregistration.k8s.io", _) => &limits::WEBHOOKS,
        _ => &generic::TABLE,
    }
}

/// What a row carries of its object (`?includeObject=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; empty is the default.
    ///
    /// # Errors
    /// The message with which the API server refuses any other word.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(format!("unrecognized includeObject value: {other:?}")),
        }
    }
}

impl KindTable {
    /// A `meta.k8s.io/v1 Table` of `objects`. `metadata` is that of the list (or, for one object, its resourceVersion). In a
    /// watch only the first event needs the columns.
    pub fn render<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Value>,
        include: IncludeObject,
        metadata: Value,
        with_columns: bool,
        now: Timestamp,
    ) -> Value {
        let rows: Vec<Value> = objects
            .into_iter()
            .map(|object| self.render_row(object, include, now))
            .collect();
        let mut table = self.envelope(metadata);
        if !with_columns {
            table["columnDefinitions"] = Value::Null;
        }
        table["rows"] = rows.into();
        table
    }

    /// A table but for its rows.
    pub fn envelope(&self, metadata: Value) -> Value {
        let columns = self.column_definitions();
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns})
    }

    /// The row of an object.
    pub fn render_row(&self, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
        let mut row = json!({ "cells": (self.row)(object, now) });
        match include {
            IncludeObject::None => {}
            IncludeObject::Metadata => {
                let metadata = object.get("metadata").cloned().unwrap_or_default();
                let partial =
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
                row["object"] = shown(partial);
            }
            IncludeObject::Object => row["object"] = shown(object.clone()),
        }
        if let Some(conditions) = (self.conditions)(object) {
            row["conditions"] = conditions;
        }
        row
    }

    fn column_definitions(&self) -> Value {
        let definition = |column: &Column| {
            let (kind, format) = match column.holds {
                Holds::Name => ("string", "name"),
                Holds::Text => ("string", ""),
                Holds::Number => ("integer", ""),
            };
            let priority = u8::from(column.wide);
            json!({"name": column.name, "type": kind, "format": format, "description": "", "priority": priority})
        };
        self.columns.iter().map(definition).collect()
    }
}

#[cfg(test)]
mod tests;
