//! `events`: what happened, oldest first, once or as it happens.

use clap::Args;
use futures::StreamExt;
use jiff::Timestamp;
use kube::core::WatchEvent;
use serde_json::{Value, json};

use super::client::{Node, Query, Resource, items_of};
use super::context::{Context, write};
use super::error::{CliError, Result};
use super::node;
use super::print::{self, Output, TableOptions, TablePrinter};
use super::resource::Selection;
use crate::api::table::{IncludeObject, table_for};
use crate::model::{Kind, kind, text_at};

/// Show events.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Those of one object: kind/name
    #[arg(long = "for", value_name = "TYPE/NAME")]
    of: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    all_namespaces: bool,
    /// Then watch for new ones
    #[arg(short, long)]
    watch: bool,
    /// Only these types: Normal, Warning
    #[arg(long, value_delimiter = ',', value_name = "TYPES")]
    types: Vec<String>,
    /// Leave out the headings
    #[arg(long)]
    no_headers: bool,
    /// yaml, json, name or wide
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "FORMAT")]
    output: String,
}

pub(super) fn event_kind() -> &'static Kind {
    kind("v1", "Event").expect("the table of kinds has events")
}

/// Runs `events`.
///
/// # Errors
/// When an argument is wrong or the node refuses.
pub async fn run(args: &EventsArgs, context: &Context) -> Result {
    let output = Output::parse(&args.output, |path| std::fs::read_to_string(path))?;
    let collection = Resource::collection(event_kind(), context.scope(args.all_namespaces));
    let mut query: Vec<(&str, String)> = Vec::new();
    if let Some(of) = &args.of {
        let pod = kind("v1", "Pod").expect("the table of kinds has pods");
        let (kind, name) = Selection::one(std::slice::from_ref(of), pod)?;
        query.push((
            "fieldSelector",
            format!("involvedObject.kind={},involvedObject.name={name}", kind.kind),
        ));
    }
    let node = node::connect().await?;
    let list = node.get(&collection, &query).await?;
    let version = list
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .unwrap_or("0")
        .to_owned();
    let mut events: Vec<Value> = items_of(list, event_kind())
        .into_iter()
        .filter(|event| is_wanted(args, event))
        .collect();
    sort(&mut events);
    match &output {
        Output::Table { wide } => {
            let mut printer = TablePrinter::new(TableOptions {
                wide: *wide,
                no_headers: args.no_headers,
                with_namespace: args.all_namespaces,
                ..TableOptions::default()
            });
            if events.is_empty() && !args.watch {
                eprintln!("{}", nothing_found(args, context));
            }
            write(&printer.print(&table(&events, Timestamp::now())))?;
            if args.watch {
                query.push(("resourceVersion", version));
                watch(&node, &collection, &query, args, &mut printer).await?;
            }
            Ok(())
        }
        Output::Name => write(
            &events
                .iter()
                .map(|event| print::name_line(event) + "\n")
                .collect::<String>(),
        ),
        Output::Json => write(&print::json(&as_list(events))?),
        Output::Yaml => write(&print::yaml(&as_list(events))),
        Output::JsonPath(_) | Output::JsonPathAsJson(_) | Output::Columns(_) => Err(CliError::usage(
            "events prints yaml, json, name or wide; `kubelocal get events` has the other formats",
        )),
    }
}

/// Unlike `get`, kubectl's `events` prints the list as the API has it.
fn as_list(events: Vec<Value>) -> Value {
    let mut list = print::prepare(events, true, false);
    list["kind"] = "EventList".into();
    list["metadata"] = json!({});
    list
}

fn nothing_found(args: &EventsArgs, context: &Context) -> String {
    match context.scope(args.all_namespaces) {
        Some(namespace) => format!("No events found in {namespace} namespace."),
        None => "No events found.".to_owned(),
    }
}

async fn watch(
    node: &Node,
    collection: &Resource,
    query: &Query<'_>,
    args: &EventsArgs,
    printer: &mut TablePrinter,
) -> Result {
    let mut changes = node.watch(collection, query, "application/json").await?;
    while let Some(change) = changes.next().await {
        match change? {
            WatchEvent::Added(event) | WatchEvent::Modified(event) if is_wanted(args, &event) => {
                write(&printer.print(&table(&[event], Timestamp::now())))?;
            }
            WatchEvent::Error(status) => return Err(CliError::from_status(&status)),
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

fn is_wanted(args: &EventsArgs, event: &Value) -> bool {
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    args.types.is_empty() || args.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind))
}

/// Oldest first, by when they were seen last.
pub(super) fn sort(events: &mut [Value]) {
    let seen = |event: &Value| {
        let fields = [
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/eventTime",
            "/firstTimestamp",
        ];
        let text = fields
            .iter()
            .find_map(|field| event.pointer(field).and_then(Value::as_str));
        text.and_then(|text| text.parse::<Timestamp>().ok())
    };
    events.sort_by_cached_key(seen);
}

/// The events as the node's own table shows them, but for what kubectl's `events` shows otherwise than its `get events`: how
/// often, and kinds with their capitals. Rendered here, because the order is ours.
fn table(events: &[Value], now: Timestamp) -> Value {
    const LAST_SEEN: usize = 0;
    const OBJECT: usize = 3;
    let mut table = table_for("", "events").render(events, IncludeObject::Metadata, json!({}), true, now);
    let rows = table
        .get_mut("rows")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for (row, event) in rows.zip(events) {
        let text = |value: &Value, pointer: &str| text_at(value, pointer).to_owned();
        let (last, first, count) = (text(row, "/cells/0"), text(row, "/cells/7"), text(row, "/cells/8"));
        if count != "1" {
            row["cells"][LAST_SEEN] = format!("{last} (x{count} over {first})").into();
        }
        let (kind, name) = (text(event, "/involvedObject/kind"), text(event, "/involvedObject/name"));
        row["cells"][OBJECT] = format!("{kind}/{name}").into();
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_shows_how_often_it_was_and_of_which_kind() {
        let event = |count: u8| {
            json!({"metadata": {"name": "e"}, "count": count, "involvedObject": {"kind": "Pod", "name": "web"},
                "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:04:00Z"})
        };
        let now = "2026-01-01T00:05:00Z".parse().expect("a time");
        let table = table(&[event(1), event(3)], now);
        let cells = |row: usize| [0, 3].map(|cell| table["rows"][row]["cells"][cell].as_str().map(str::to_owned));
        assert_eq!(cells(0), [Some("60s".into()), Some("Pod/web".into())]);
        assert_eq!(cells(1), [Some("60s (x3 over 5m)".into()), Some("Pod/web".into())]);
    }

    #[test]
    fn events_come_oldest_first() {
        let event = |name: &str, time: &str| json!({"metadata": {"name": name}, "lastTimestamp": time});
        let mut events = [
            event("b", "2026-01-02T00:00:01Z"),
            event("a", "2026-01-02T00:00:00Z"),
            json!({"metadata": {"name": "?"}}),
        ];
        sort(&mut events);
        let names: Vec<&str> = events
            .iter()
            .filter_map(|event| event.pointer("/metadata/name")?.as_str())
            .collect();
        assert_eq!(names, ["?", "a", "b"]);
    }
}
