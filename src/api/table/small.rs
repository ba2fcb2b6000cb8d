//! Kinds of a few columns: service accounts, roles and bindings, runtime classes, budgets, leases, revisions.

use serde_json::Value;

use super::cells::{self, or};
use super::{AGE, Cell, KindTable, NAME, kind_table, number, text, wide};

pub(super) static ACCOUNTS: KindTable = kind_table(&[NAME, number("Secrets"), AGE], |object, now| {
    let secrets = cells::list(object, "/secrets").len();
    vec![cells::name(object), secrets.into(), cells::age(object, now)]
});

/// Upstream has no columns for these, and shows what it does for kinds that it does not know.
pub(super) static CREATED: KindTable = kind_table(&[NAME, text("Created At")], |object, _| {
    let created = cells::text(object, "/metadata/creationTimestamp");
    vec![cells::name(object), created.into()]
});

pub(super) static BINDINGS: KindTable = kind_table(
    &[
        NAME,
        text("Role"),
        AGE,
        wide("Users"),
        wide("Groups"),
        wide("ServiceAccounts"),
    ],
    |object, now| {
        let role = |field| cells::text(object, field);
        vec![
            cells::name(object),
            format!("{}/{}", role("/roleRef/kind"), role("/roleRef/name")).into(),
            cells::age(object, now),
            subjects(object, "User"),
            subjects(object, "Group"),
            subjects(object, "ServiceAccount"),
        ]
    },
);

fn subjects(object: &Value, kind: &str) -> Cell {
    let all = cells::list(object, "/subjects").iter();
    let names = all
        .filter(|subject| cells::text(subject, "/kind") == kind)
        .map(|subject| {
            let name = cells::text(subject, "/name");
            match cells::text(subject, "/namespace") {
                "" => name.to_owned(),
                namespace => format!("{namespace}/{name}"),
            }
        });
    names.collect::<Vec<_>>().join(", ").into()
}

pub(super) static RUNTIME_CLASSES: KindTable = kind_table(&[NAME, text("Handler"), AGE], |object, now| {
    let handler = cells::text(object, "/handler");
    vec![cells::name(object), handler.into(), cells::age(object, now)]
});

pub(super) static BUDGETS: KindTable = kind_table(
    &[
        NAME,
        text("Min Available"),
        text("Max Unavailable"),
        number("Allowed Disruptions"),
        AGE,
    ],
    |object, now| {
        let bound = |field| match object.pointer(field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => "N/A".to_owned(),
        };
        vec![
            cells::name(object),
            bound("/spec/minAvailable").into(),
            bound("/spec/maxUnavailable").into(),
            cells::number(object, "/status/disruptionsAllowed").into(),
            cells::age(object, now),
        ]
    },
);

pub(super) static LEASES: KindTable = kind_table(&[NAME, text("Holder"), AGE], |object, now| {
    let holder = cells::text(object, "/spec/holderIdentity");
    vec![cells::name(object), holder.into(), cells::age(object, now)]
});

pub(super) static REVISIONS: KindTable =
    kind_table(&[NAME, text("Controller"), number("Revision"), AGE], |object, now| {
        let owners = cells::list(object, "/metadata/ownerReferences");
        let controller = owners.iter().find(|owner| owner["controller"] == true);
        let controller = controller.map(|owner| {
            let group = cells::text(owner, "/apiVersion")
                .split_once('/')
                .map(|(group, _)| format!(".{group}"));
            let kind = cells::text(owner, "/kind").to_lowercase();
            format!("{kind}{}/{}", group.unwrap_or_default(), cells::text(owner, "/name"))
        });
        vec![
            cells::name(object),
            or(&controller.unwrap_or_default(), "<none>").into(),
            cells::number(object, "/revision").into(),
            cells::age(object, now),
        ]
    });
