//! `get`: objects as tables and in every form of `-o`, once or as they change.

use std::cmp::Ordering;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use futures::{AsyncReadExt, StreamExt};
use kube::core::WatchEvent;
use serde_json::Value;

use super::client::{AS_TABLE, Node, Resource};
use super::context::{Context, Failures, parse_duration, write};
use super::error::{CliError, ErrorKind, Result};
use super::files::Files;
use super::jsonpath::{self, Template};
use super::print::{self, Layout, Output, TableOptions, TablePrinter};
use super::resource::Selection;
use super::{follow, node, selectors::Selectors};

/// Show objects.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Kinds, kinds and names, or kind/name: `pods`, `deploy,rs`, `pod web`, `pod/web deploy/api`, `all`
    #[arg(required_unless_present_any = ["filenames", "kustomize", "raw"], value_name = "TYPE [NAME] | TYPE/NAME")]
    resources: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selectors: Selectors,
    /// What the API has at this path, as it is
    #[arg(long, value_name = "PATH", conflicts_with_all = ["resources", "filenames", "kustomize"])]
    raw: Option<String>,
    /// yaml, json, name, wide, jsonpath=…, jsonpath-as-json=…, jsonpath-file=…, custom-columns=… or custom-columns-file=…
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "FORMAT")]
    output: String,
    /// A column for each of these labels
    #[arg(short = 'L', long = "label-columns", value_delimiter = ',', value_name = "LABELS")]
    label_columns: Vec<String>,
    /// A column with all labels
    #[arg(long)]
    show_labels: bool,
    /// Names with their kind before them
    #[arg(long)]
    show_kind: bool,
    /// Sort by the field at this path, for example `.metadata.creationTimestamp`
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Leave out the headings
    #[arg(long)]
    no_headers: bool,
    /// Then watch for changes
    #[arg(short, long)]
    watch: bool,
    /// Watch for changes without listing first
    #[arg(long)]
    watch_only: bool,
    /// In a watch, say what happened: ADDED, MODIFIED or DELETED
    #[arg(long)]
    output_watch_events: bool,
    /// Objects that are not there are no error
    #[arg(long)]
    ignore_not_found: bool,
    /// With -o yaml and json, managedFields too
    #[arg(long)]
    show_managed_fields: bool,
    /// Accepted for the sake of habit: the node is near, and answers with all at once
    #[arg(long, value_name = "COUNT")]
    chunk_size: Option<i64>,
    /// Give up when the node has not answered after this time; 0 is without end
    #[arg(long, default_value = "0", value_parser = parse_duration, value_name = "TIME")]
    request_timeout: Duration,
}

/// Runs `get`.
///
/// # Errors
/// When an argument is wrong or the node refuses.
pub async fn run(args: &GetArgs, context: &Context) -> Result {
    let output = Output::parse(&args.output, |path: &Path| std::fs::read_to_string(path))?;
    let resources = match &args.raw {
        Some(_) => Vec::new(),
        None => chosen(args, context)?,
    };
    let sort_by = args
        .sort_by
        .as_deref()
        .map(Template::parse_relaxed)
        .transpose()
        .map_err(CliError::usage)?;
    let node = node::connect().await?;
    let get = Get {
        args,
        context,
        output,
        resources,
        sort_by,
        node,
    };
    let limit = (!args.request_timeout.is_zero()).then_some(args.request_timeout);
    if args.watch || args.watch_only {
        // A watch that was given a time ends well with it, as kubectl's does.
        follow::within(limit, get.watch()).await?;
        return Ok(());
    }
    follow::within(limit, get.once()).await?.ok_or_else(|| {
        let message = format_args!("the node did not answer within {:?}", args.request_timeout);
        CliError::new(ErrorKind::NotReached, message)
    })
}

/// What is asked for, by words or by files.
fn chosen(args: &GetArgs, context: &Context) -> Result<Vec<Resource>> {
    if !args.files.is_empty() {
        if !args.resources.is_empty() {
            return Err(CliError::usage(
                "when paths are provided as input, you may not specify resources by arguments as well",
            ));
        }
        let refs = args.files.read_refs(context.namespace())?;
        return Ok(refs.into_iter().map(|(resource, _)| resource).collect());
    }
    let selection = Selection::parse(&args.resources)?;
    if selection.has_names() {
        args.selectors.refuse_beside_names()?;
    }
    Ok(selection.resources(context.scope(args.selectors.all_namespaces)))
}

struct Get<'a> {
    args: &'a GetArgs,
    context: &'a Context,
    output: Output,
    resources: Vec<Resource>,
    sort_by: Option<Template>,
    node: Node,
}

impl Get<'_> {
    async fn once(&self) -> Result {
        match (&self.args.raw, &self.output) {
            (Some(path), _) => self.raw(path).await,
            (None, Output::Table { wide }) => self.tables(*wide).await,
            (None, _) => self.objects().await,
        }
    }

    async fn raw(&self, path: &str) -> Result {
        let mut body = self.node.stream(path, &[]).await?;
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).await?;
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)?;
        Ok(out.flush()?)
    }

    fn table_printer(&self, resource: &Resource, is_mixed: bool, wide: bool) -> TablePrinter {
        TablePrinter::new(TableOptions {
            wide,
            no_headers: self.args.no_headers,
            with_namespace: self.args.selectors.all_namespaces && resource.kind.namespaced,
            with_kind: (is_mixed || self.args.show_kind).then_some(resource.kind),
            label_columns: self.args.label_columns.clone(),
            show_labels: self.args.show_labels,
            with_events: self.args.output_watch_events,
        })
    }

    /// One table for each kind, with a blank line between.
    async fn tables(&self, wide: bool) -> Result {
        let mut query = self.args.selectors.query();
        if self.sort_by.is_some() {
            query.push(("includeObject", "Object".to_owned()));
        }
        let (mut failures, mut has_written, mut has_failed) = (Failures::default(), false, false);
        let mut tables: Vec<(&Resource, Value)> = Vec::new();
        for of_kind in self.resources.chunk_by(|a, b| a.kind == b.kind) {
            let mut whole: Option<Value> = None;
            for resource in of_kind {
                match self.node.get_table(resource, &query).await {
                    Ok(table) => append_rows(&mut whole, table),
                    Err(error) if self.is_ignored(&error) => {}
                    Err(error) => {
                        has_failed = true;
                        failures.add(error);
                    }
                }
            }
            tables.extend(whole.map(|table| (&of_kind[0], table)));
        }
        // Names that were not found bring no kind with them.
        let is_mixed = tables.iter().any(|(resource, _)| resource.kind != tables[0].0.kind);
        for (resource, table) in &mut tables {
            self.sort_rows(table)?;
            let text = self.table_printer(resource, is_mixed, wide).print(table);
            if text.is_empty() {
                continue;
            }
            let separator = if has_written && !self.args.no_headers { "\n" } else { "" };
            write(&format!("{separator}{text}"))?;
            has_written = true;
        }
        if !has_written && !has_failed && !self.args.ignore_not_found {
            eprintln!("{}", self.nothing_found());
        }
        failures.into_result()
    }

    fn is_ignored(&self, error: &CliError) -> bool {
        self.args.ignore_not_found && error.kind == ErrorKind::NotFound
    }

    fn nothing_found(&self) -> String {
        let is_namespaced = self.resources.iter().any(|resource| resource.kind.namespaced);
        match self.context.scope(self.args.selectors.all_namespaces) {
            Some(namespace) if is_namespaced => format!("No resources found in {namespace} namespace."),
            _ => "No resources found".to_owned(),
        }
    }

    fn sort_rows(&self, table: &mut Value) -> Result {
        let Some(path) = &self.sort_by else { return Ok(()) };
        let Some(rows) = table.get_mut("rows").and_then(Value::as_array_mut) else {
            return Ok(());
        };
        sort_by(rows, path, |row| row.get("object").unwrap_or(&Value::Null))
    }

    /// Whole objects, in the form of `-o`.
    async fn objects(&self) -> Result {
        let query = self.args.selectors.query();
        let (mut objects, mut failures) = (Vec::new(), Failures::default());
        // Who asks for several gets a list, however many are there.
        let is_list = !matches!(self.resources.as_slice(), [Resource { name: Some(_), .. }]);
        for resource in &self.resources {
            match self.node.get(resource, &query).await {
                Ok(answer) if resource.name.is_none() => {
                    objects.extend(super::client::items_of(answer, resource.kind));
                }
                Ok(object) => objects.push(object),
                Err(error) if self.is_ignored(&error) => {}
                Err(error) => failures.add(error),
            }
        }
        if let Some(path) = &self.sort_by {
            sort_by(&mut objects, path, |object| object)?;
        }
        if is_list || !objects.is_empty() {
            let text = self.text_of(objects, is_list, &mut Layout::default(), !self.args.no_headers)?;
            write(&text)?;
        }
        failures.into_result()
    }

    fn text_of(&self, objects: Vec<Value>, is_list: bool, layout: &mut Layout, with_headings: bool) -> Result<String> {
        let prepare = |objects| print::prepare(objects, is_list, self.args.show_managed_fields);
        match &self.output {
            Output::Json => print::json(&prepare(objects)),
            Output::Yaml => Ok(print::yaml(&prepare(objects))),
            Output::Name => Ok(objects.iter().map(|object| print::name_line(object) + "\n").collect()),
            Output::JsonPath(template) => template.render(&prepare(objects)).map_err(|error| self.misfit(&error)),
            Output::JsonPathAsJson(template) => {
                let whole = prepare(objects);
                let found = template.find(&whole).map_err(|error| self.misfit(&error))?;
                print::json(&found.into_iter().cloned().collect())
            }
            Output::Columns(columns) => columns.print(&objects, with_headings, layout),
            Output::Table { .. } => Ok(String::new()),
        }
    }

    fn misfit(&self, error: &jsonpath::JsonPathError) -> CliError {
        CliError::local(format_args!("error executing jsonpath {:?}: {error}", self.args.output))
    }

    async fn watch(&self) -> Result {
        let [resource] = self.resources.as_slice() else {
            return Err(CliError::usage(
                "watch is only supported on individual resources and resource collections - more than 1 resource was found",
            ));
        };
        let mut query = self.args.selectors.query();
        let mut collection = resource.clone();
        if let Some(name) = collection.name.take() {
            // A name that is not there is an error before it is a watch.
            self.node.get(resource, &[]).await?;
            query.push(("fieldSelector", format!("metadata.name={name}")));
        }
        match self.output {
            Output::Table { wide } => self.watch_table(&collection, query, wide).await,
            _ => self.watch_objects(&collection, query).await,
        }
    }

    async fn watch_table(&self, collection: &Resource, mut query: Vec<(&str, String)>, wide: bool) -> Result {
        let mut printer = self.table_printer(collection, false, wide);
        let mut list = self.node.get_table(collection, &query).await?;
        if !self.args.watch_only {
            self.sort_rows(&mut list)?;
            write(&printer.print_event(&list, "ADDED"))?;
        } else if let Some(rows) = list.get_mut("rows") {
            // Only the columns are wanted: a watch may leave them out.
            *rows = Value::Array(Vec::new());
            printer.print(&list);
        }
        query.push(("resourceVersion", version_of(&list)));
        let mut events = self.node.watch(collection, &query, AS_TABLE).await?;
        while let Some(event) = events.next().await {
            if let Some((word, table)) = change_of(event?)? {
                write(&printer.print_event(&table, word))?;
            }
        }
        Ok(())
    }

    async fn watch_objects(&self, collection: &Resource, mut query: Vec<(&str, String)>) -> Result {
        let mut list = self.node.get(collection, &query).await?;
        query.push(("resourceVersion", version_of(&list)));
        let (mut layout, mut is_first) = (Layout::default(), true);
        let mut show = |object: Value| {
            let separator = if self.output == Output::Yaml && !is_first {
                "---\n"
            } else {
                ""
            };
            let text = self.text_of(vec![object], false, &mut layout, is_first && !self.args.no_headers)?;
            is_first = false;
            write(&format!("{separator}{text}"))
        };
        if !self.args.watch_only {
            for object in super::client::items_of(list.take(), collection.kind) {
                show(object)?;
            }
        }
        let mut events = self.node.watch(collection, &query, "application/json").await?;
        while let Some(event) = events.next().await {
            if let Some((_, object)) = change_of(event?)? {
                show(object)?;
            }
        }
        Ok(())
    }
}

fn version_of(list: &Value) -> String {
    list.pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .unwrap_or("0")
        .to_owned()
}

/// What happened, and to what; a bookmark is nothing.
fn change_of(event: WatchEvent<Value>) -> Result<Option<(&'static str, Value)>> {
    match event {
        WatchEvent::Added(object) => Ok(Some(("ADDED", object))),
        WatchEvent::Modified(object) => Ok(Some(("MODIFIED", object))),
        WatchEvent::Deleted(object) => Ok(Some(("DELETED", object))),
        WatchEvent::Bookmark(_) => Ok(None),
        WatchEvent::Error(status) => Err(CliError::from_status(&status)),
    }
}

fn append_rows(whole: &mut Option<Value>, mut table: Value) {
    let Some(whole) = whole else {
        *whole = Some(table);
        return;
    };
    if let (Some(Value::Array(rows)), Some(Value::Array(more))) = (whole.get_mut("rows"), table.get_mut("rows")) {
        rows.append(more);
    }
}

/// Sorts by what `path` finds first in each; what has no such field comes first.
///
/// # Errors
/// When none has one: the path is wrong then.
fn sort_by(items: &mut [Value], path: &Template, object: impl Fn(&Value) -> &Value) -> Result {
    let mut keyed: Vec<(Option<Value>, Value)> = Vec::with_capacity(items.len());
    for item in items.iter() {
        let found = path.find(object(item)).map_err(CliError::local)?;
        keyed.push((found.first().map(|value| (*value).clone()), item.clone()));
    }
    if !keyed.is_empty() && keyed.iter().all(|(found, _)| found.is_none()) {
        return Err(CliError::usage(
            "couldn't find any field with the path of --sort-by in the list of objects",
        ));
    }
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => jsonpath::less(a, b),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    });
    for (place, (_, item)) in items.iter_mut().zip(keyed) {
        *place = item;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sorting_puts_missing_fields_first_and_numbers_by_size() {
        let mut items = vec![json!({"n": 10}), json!({"n": 9}), json!({"x": 1})];
        let path = Template::parse_relaxed(".n").expect("parses");
        sort_by(&mut items, &path, |item| item).expect("sorts");
        assert_eq!(items, [json!({"x": 1}), json!({"n": 9}), json!({"n": 10})]);
    }

    #[test]
    fn tables_of_single_objects_become_one() {
        let mut whole = None;
        append_rows(&mut whole, json!({"columnDefinitions": [1], "rows": ["a"]}));
        append_rows(&mut whole, json!({"columnDefinitions": [1], "rows": ["b"]}));
        assert_eq!(whole, Some(json!({"columnDefinitions": [1], "rows": ["a", "b"]})));
    }
}
