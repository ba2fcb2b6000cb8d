//! Templates and what they show; most are from kubectl's documentation and its own tests.

use serde_json::json;

use super::*;

fn pods() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "web-1", "labels": {"app": "web", "a.b/c": "dotted"}}, "spec": {"n": 3},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]}},
        {"metadata": {"name": "web-2", "labels": {"app": "db"}}, "spec": {"n": 10.5}, "flag": true,
            "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]}},
        {"metadata": {"name": "web-3"}, "spec": {"n": 7}, "status": {"phase": "Running"}},
    ]})
}

#[test]
fn templates_render_as_kubectl_renders_them() {
    let cases = [
        ("plain", "plain"),
        ("{.kind}", "List"),
        ("{$.kind}-{@.kind}", "List-List"),
        ("kind is {.kind}.", "kind is List."),
        ("{.items[*].metadata.name}", "web-1 web-2 web-3"),
        ("{.items[0].metadata.name}", "web-1"),
        ("{.items[-1].metadata.name}", "web-3"),
        ("{.items[0:2].metadata.name}", "web-1 web-2"),
        ("{.items[:-1].metadata.name}", "web-1 web-2"),
        ("{.items[::2].metadata.name}", "web-1 web-3"),
        ("{.items[1:].metadata.name}", "web-2 web-3"),
        ("{.items[0,2].metadata.name}", "web-1 web-3"),
        ("{.items[1:1].metadata.name}", ""),
        (
            "{.items[*]['metadata.name', 'status.phase']}",
            "web-1 web-2 web-3 Running Pending Running",
        ),
        ("{.items[0]['metadata']['name']}", "web-1"),
        (r"{.items[0].metadata.labels.a\.b/c}", "dotted"),
        (r"{.items[0].metadata.labels['a\.b/c']}", "dotted"),
        ("{.items[0].metadata.labels}", r#"{"a.b/c":"dotted","app":"web"}"#),
        ("{.items[0].status.conditions.*.type}", "Ready Initialized"),
        ("{.items[0].metadata.labels.*}", "dotted web"),
        (r#"{.items[?(@.status.phase=="Running")].metadata.name}"#, "web-1 web-3"),
        (r#"{.items[?(@.status.phase != 'Running')].metadata.name}"#, "web-2"),
        (r#"{.items[0].status.conditions[?(@.type=="Ready")].status}"#, "True"),
        ("{.items[?(@.spec.n>5)].metadata.name}", "web-2 web-3"),
        ("{.items[?(@.spec.n<=7)].metadata.name}", "web-1 web-3"),
        ("{.items[?(@.flag)].metadata.name}", "web-2"),
        ("{.items[?(@.flag==true)].metadata.name}", "web-2"),
        (r#"{.items[?(@.metadata.labels.app=="web")].metadata.name}"#, "web-1"),
        ("{..name}", "web-1 web-2 web-3"),
        ("{.items[0]..type}", "Ready Initialized"),
        (
            r#"{range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}"#,
            "web-1\tRunning\nweb-2\tPending\nweb-3\tRunning\n",
        ),
        (
            "{range .items[*]}[{range .status.conditions[*]}{.type},{end}]{end}",
            "[Ready,Initialized,][Ready,][]",
        ),
        ("{.missing.deep[*].x}", ""),
        ("{.items[0].spec}", r#"{"n":3}"#),
        ("{'}'}{\"{\"}", "}{"),
        ("{.items[1].flag} {.items[1].spec.n}", "true 10.5"),
        ("{ .items[0].metadata.name }", "web-1"),
    ];
    for (template, text) in cases {
        let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(parsed.render(&pods()).as_deref(), Ok(text), "{template}");
    }
}

#[test]
fn broken_templates_are_refused() {
    let cases = [
        ("{.items", JsonPathError::Unclosed("action")),
        ("{.items[0}", JsonPathError::Unclosed("action")),
        ("{range .items[*]}{.x}", JsonPathError::UnterminatedRange),
        ("{end}", JsonPathError::NotInRange),
        ("{.items[x]}", JsonPathError::BadIndex("x".into())),
        ("{.items[?(@.x=~'y')]}", JsonPathError::BadOperator("=".into())),
        ("{hello}", JsonPathError::Unrecognized('h')),
    ];
    for (template, error) in cases {
        match (Template::parse(template), error) {
            (Err(JsonPathError::BadOperator(_)), JsonPathError::BadOperator(_)) => {}
            (parsed, error) => assert_eq!(parsed, Err(error), "{template}"),
        }
    }
}

#[test]
fn an_index_beyond_its_array_is_an_error() {
    let render = |template: &str| Template::parse(template).expect("parses").render(&pods());
    assert_eq!(
        render("{.items[5]}"),
        Err(JsonPathError::OutOfBounds { index: 5, length: 3 })
    );
    assert_eq!(
        render("{.items[-4]}"),
        Err(JsonPathError::OutOfBounds { index: -4, length: 3 })
    );
    assert_eq!(render("{.kind[0]}"), Err(JsonPathError::NotArray("List".into())));
    assert_eq!(render("{.items[::0]}"), Err(JsonPathError::BadStep));
}

#[test]
fn relaxed_paths_need_neither_braces_nor_dot() {
    for path in ["{.metadata.name}", ".metadata.name", "metadata.name", "{metadata.name}"] {
        let template = Template::parse_relaxed(path).expect("parses");
        assert_eq!(template.find(&pods()["items"][0]), Ok(vec![&json!("web-1")]), "{path}");
    }
}

#[test]
fn values_order_naturally() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for (left, right, order) in [
        (json!("web-2"), json!("web-10"), Less),
        (json!("a"), json!("b"), Less),
        (json!("a10b"), json!("a10a"), Greater),
        (json!("x"), json!("x"), Equal),
        (json!("x"), json!("xy"), Less),
        (json!(2), json!(10), Less),
        (json!(2.5), json!(2), Greater),
        (json!("2026-01-02T00:00:00Z"), json!("2026-01-10T00:00:00Z"), Less),
        (json!(null), json!("x"), Less),
    ] {
        assert_eq!(less(&left, &right), order, "{left} {right}");
    }
}

#[test]
fn custom_columns_show_values_as_go_does() {
    assert_eq!(
        sprint(&json!({"a": [1, "x"], "b": {"c": true}})),
        "map[a:[1 x] b:map[c:true]]"
    );
}
