//! `describe`: everything worth knowing about an object, with the events about it, for people.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{Node, Resource, items_of};
use super::context::{Context, Failures, write};
use super::error::Result;
use super::events::{event_kind, sort as sort_events};
use super::resource::Selection;
use super::selectors::Selectors;
use super::{node, print};
use crate::api::table::age::age_of;
use crate::model;

mod container;
mod ingress;
mod network_policy;
mod nodes;
mod pod;
mod rest;
mod service;
mod sheet;
mod source;
mod volume;
mod workload;

use sheet::{Sheet, text};

/// Show all about objects, with their events.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Kinds, kinds and names, or kind/name
    #[arg(required = true, value_name = "TYPE [NAME] | TYPE/NAME")]
    resources: Vec<String>,
    #[command(flatten)]
    selectors: Selectors,
    /// With the events about it
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    show_events: bool,
}

/// Runs `describe`.
///
/// # Errors
/// When an argument is wrong or the node refuses.
pub async fn run(args: &DescribeArgs, context: &Context) -> Result {
    let selection = Selection::parse(&args.resources)?;
    if selection.has_names() {
        args.selectors.refuse_beside_names()?;
    }
    let node = node::connect().await?;
    let (mut objects, mut failures) = (Vec::new(), Failures::default());
    for resource in selection.resources(context.scope(args.selectors.all_namespaces)) {
        match node.get(&resource, &args.selectors.query()).await {
            Ok(answer) if resource.name.is_none() => objects.extend(items_of(answer, resource.kind)),
            Ok(object) => objects.push(object),
            Err(error) => failures.add(error),
        }
    }
    for (place, object) in objects.iter().enumerate() {
        let events = if args.show_events && has_events(object) {
            events_about(&node, object).await?
        } else {
            Vec::new()
        };
        let related = related_to(&node, object).await?;
        let mut sheet = describe(object, &related, Timestamp::now());
        if args.show_events && has_events(object) {
            add_events(&mut sheet, &events, Timestamp::now());
        }
        let separator = if place > 0 { "\n\n" } else { "" };
        write(&format!("{separator}{}", print::elastic(sheet.text())))?;
    }
    failures.into_result()?;
    if objects.is_empty() {
        let scope = context.scope(args.selectors.all_namespaces);
        let place = scope.map(|namespace| format!(" in {namespace} namespace."));
        eprintln!("No resources found{}", place.unwrap_or_default());
    }
    Ok(())
}

/// `related` is what [`related_to`] found.
fn describe(object: &Value, related: &[Value], now: Timestamp) -> Sheet {
    let mut sheet = Sheet::default();
    match text(object, "/kind") {
        "Pod" => pod::describe(object, &mut sheet),
        "Deployment" => workload::describe_deployment(object, related, &mut sheet),
        "ReplicaSet" => workload::describe_replica_set(object, related, &mut sheet),
        "Node" => nodes::describe(object, related, now, &mut sheet),
        "Namespace" => rest::describe_namespace(object, &mut sheet),
        "ManifestSource" => source::describe(object, &mut sheet),
        "Service" => service::describe(object, related, &mut sheet),
        "Ingress" => ingress::describe(object, &mut sheet),
        "NetworkPolicy" => network_policy::describe(object, &mut sheet),
        "Secret" => rest::describe_secret(object, &mut sheet),
        "ConfigMap" => rest::describe_config_map(object, &mut sheet),
        _ => rest::describe(object, &mut sheet),
    }
    sheet
}

/// Of these kubectl tells none.
fn has_events(object: &Value) -> bool {
    !matches!(text(object, "/kind"), "Namespace" | "Secret")
}

/// Other objects that a description speaks of: the slices of a Service, what a workload owns, the pods of a node.
async fn related_to(node: &Node, object: &Value) -> Result<Vec<Value>> {
    let (version, kind) = match text(object, "/kind") {
        "Service" => ("discovery.k8s.io/v1", "EndpointSlice"),
        "Deployment" => ("apps/v1", "ReplicaSet"),
        "ReplicaSet" | "Node" => ("v1", "Pod"),
        _ => return Ok(Vec::new()),
    };
    let kind = model::kind(version, kind).expect("in the table");
    let namespace = Some(text(object, "/metadata/namespace")).filter(|namespace| !namespace.is_empty());
    let name = text(object, "/metadata/name");
    let query = match text(object, "/kind") {
        "Service" => vec![("labelSelector", format!("{}={name}", model::SERVICE_NAME))],
        "Node" => vec![("fieldSelector", format!("spec.nodeName={name}"))],
        _ => Vec::new(),
    };
    let mut found = items_of(node.get(&Resource::collection(kind, namespace), &query).await?, kind);
    if matches!(text(object, "/kind"), "Deployment" | "ReplicaSet") {
        let uid = text(object, "/metadata/uid");
        found.retain(|other| {
            let mut owners = model::list_at(other, "/metadata/ownerReferences").iter();
            owners.any(|owner| text(owner, "/uid") == uid)
        });
    }
    Ok(found)
}

async fn events_about(node: &Node, object: &Value) -> Result<Vec<Value>> {
    let namespace = Some(text(object, "/metadata/namespace")).filter(|namespace| !namespace.is_empty());
    let name = text(object, "/metadata/name");
    let selector = format!(
        "involvedObject.name={name},involvedObject.uid={}",
        text(object, "/metadata/uid")
    );
    let collection = Resource::collection(event_kind(), namespace);
    let list = node.get(&collection, &[("fieldSelector", selector)]).await?;
    let mut events = items_of(list, event_kind());
    sort_events(&mut events);
    Ok(events)
}

fn add_events(sheet: &mut Sheet, events: &[Value], now: Timestamp) {
    if events.is_empty() {
        sheet.line(0, "Events:\t<none>");
        return;
    }
    sheet.line(0, "Events:");
    sheet.line(1, "Type\tReason\tAge\tFrom\tMessage");
    sheet.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let count = event.get("count").and_then(Value::as_i64).unwrap_or(1);
        let (first, last) = (text(event, "/firstTimestamp"), text(event, "/lastTimestamp"));
        let last = if last.is_empty() {
            text(event, "/eventTime")
        } else {
            last
        };
        let mut age = age_of(last, now);
        if count > 1 {
            age = format!("{age} (x{count} over {})", age_of(first, now));
        }
        let from = match text(event, "/source/component") {
            "" => text(event, "/reportingComponent"),
            component => component,
        };
        let message = text(event, "/message").trim().replace(['\n', '\t'], " ");
        sheet.line(
            1,
            &format!(
                "{}\t{}\t{age}\t{from}\t{message}",
                text(event, "/type"),
                text(event, "/reason")
            ),
        );
    }
}

#[cfg(test)]
mod tests;
