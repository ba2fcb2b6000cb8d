//! What is printed, letter by letter.

use serde_json::{Value, json};

use super::*;
use crate::model::kind;

fn table(rows: Value) -> Value {
    json!({"columnDefinitions": [
        {"name": "Name", "format": "name", "priority": 0}, {"name": "Ready", "priority": 0},
        {"name": "Desired", "type": "integer"}, {"name": "IP", "priority": 1}], "rows": rows})
}

fn row(name: &str, desired: i64) -> Value {
    json!({"cells": [name, "1/1", desired, "10.0.0.1"],
        "object": {"metadata": {"namespace": "default", "labels": {"app": "web", "x/tier": "a"}}}})
}

fn print(options: TableOptions) -> String {
    TablePrinter::new(options).print(&table(json!([row("web", 1), row("a-longer-name", 12)])))
}

#[test]
fn a_table_looks_as_kubectl_prints_it() {
    assert_eq!(
        print(TableOptions::default()),
        "NAME            READY   DESIRED\n\
         web             1/1     1\n\
         a-longer-name   1/1     12\n"
    );
}

#[test]
fn every_option_adds_its_column() {
    let options = TableOptions {
        wide: true,
        with_namespace: true,
        with_kind: kind("apps/v1", "Deployment"),
        label_columns: vec!["x/tier".into(), "none".into()],
        show_labels: true,
        ..TableOptions::default()
    };
    assert_eq!(
        print(options),
        "NAMESPACE   NAME                            READY   DESIRED   IP         TIER   NONE   LABELS\n\
         default     deployment.apps/web             1/1     1         10.0.0.1   a             app=web,x/tier=a\n\
         default     deployment.apps/a-longer-name   1/1     12        10.0.0.1   a             app=web,x/tier=a\n"
    );
}

#[test]
fn headings_come_once_and_widths_stay_through_a_watch() {
    let mut printer = TablePrinter::new(TableOptions {
        with_events: true,
        ..TableOptions::default()
    });
    assert_eq!(
        printer.print_event(&table(json!([row("a-longer-name", 1)])), "ADDED"),
        "EVENT   NAME            READY   DESIRED\n\
         ADDED   a-longer-name   1/1     1\n"
    );
    let mut later = table(json!([row("web", 1)]));
    later["columnDefinitions"] = Value::Null;
    assert_eq!(
        printer.print_event(&later, "MODIFIED"),
        "MODIFIED   web             1/1     1\n"
    );
}

#[test]
fn without_headers_there_are_only_rows() {
    let text = print(TableOptions {
        no_headers: true,
        ..TableOptions::default()
    });
    assert_eq!(text, "web             1/1   1\na-longer-name   1/1   12\n");
    assert_eq!(TablePrinter::new(TableOptions::default()).print(&table(json!([]))), "");
}

#[test]
fn a_cell_stays_on_its_line_and_can_not_drive_the_terminal() {
    let rows = json!([{"cells": ["a\nb", "\u{1b}[31mred", null, ""]}]);
    let text = TablePrinter::new(TableOptions {
        no_headers: true,
        ..TableOptions::default()
    })
    .print(&table(rows));
    assert_eq!(text, "a...   ?[31mred   \n");
}

#[test]
fn objects_are_named_with_kind_and_group() {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    assert_eq!(name_line(&object), "deployment.apps/web");
    assert_eq!(
        name_line(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}})),
        "pod/web"
    );
}

#[test]
fn yaml_has_sorted_keys_and_no_managed_fields() {
    let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "managedFields": [{}],
        "annotations": {"n": "1", "b": "true", "text": "a\nb\n"}}, "spec": {"containers": [{"name": "a", "args": []}]}});
    let text = yaml(&prepare(vec![object], false, false));
    assert_eq!(
        text,
        "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    b: \"true\"\n    \"n\": \"1\"\n    text: |\n      a\n      b\n  \
         name: web\nspec:\n  containers:\n  - args: []\n    name: a\n"
    );
}

#[test]
fn several_objects_are_a_list() {
    let list = prepare(
        vec![json!({"metadata": {"name": "a", "managedFields": []}}), json!({})],
        true,
        true,
    );
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"][0]["metadata"]["managedFields"], json!([]), "asked for");
    let text = json(&list).expect("prints");
    assert!(
        text.starts_with("{\n    \"apiVersion\": \"v1\",\n    \"items\": ["),
        "{text}"
    );
}

#[test]
fn custom_columns_show_paths_under_headings() {
    let parse = |format: &str| Output::parse(format, |_| Ok("N  A\n.metadata.name {.a}".into())).expect("parses");
    let objects = [
        json!({"metadata": {"name": "web"}, "a": [1, 2]}),
        json!({"metadata": {"name": "x"}}),
    ];
    let wanted = "N     A\nweb   [1 2]\nx     <none>\n";
    for format in [
        "custom-columns=N:.metadata.name,A:.a",
        "custom-columns=N:metadata.name,A:{.a}",
        "custom-columns-file=f",
    ] {
        let Output::Columns(columns) = parse(format) else {
            panic!("columns")
        };
        assert_eq!(
            columns.print(&objects, true, &mut Layout::default()).expect("prints"),
            wanted,
            "{format}"
        );
    }
    let Output::Columns(columns) = parse("custom-columns=A:.a[*],B:.a[0,1]") else {
        panic!("columns")
    };
    assert_eq!(
        columns
            .print(&objects[..1], false, &mut Layout::default())
            .expect("prints"),
        "1,2   1,2\n"
    );
}

#[test]
fn formats_are_refused_by_name() {
    let refuse = |format: &str| Output::parse(format, |_| Ok(String::new())).expect_err(format).message;
    assert!(refuse("go-template={{.x}}").starts_with("error: go-template is Go's own template language"));
    assert!(refuse("xml").starts_with("error: unable to match a printer suitable for the output format \"xml\""));
    assert_eq!(
        refuse("jsonpath"),
        "error: template format specified but no template given"
    );
    assert_eq!(
        refuse("custom-columns="),
        "error: custom-columns format specified but no custom columns given"
    );
    assert!(refuse("jsonpath={.x").starts_with("error: error parsing jsonpath {.x, unclosed action"));
    assert!(refuse("custom-columns=NAME").contains("expected <header>:<json-path-expr>"));
}
