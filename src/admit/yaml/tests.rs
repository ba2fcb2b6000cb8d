use serde_json::json;

use super::super::problem::SourceText;
use super::*;

fn read_all(text: &str) -> (Vec<Document>, Vec<Problem>) {
    let file: Arc<Path> = Path::new("x.yaml").into();
    documents(&SourceText::new(file, text), text)
}

fn values(text: &str) -> Vec<Value> {
    let (documents, problems) = read_all(text);
    assert_eq!(problems, [], "{text}");
    documents.into_iter().map(|document| document.value).collect()
}

fn problem_lines(text: &str) -> Vec<String> {
    read_all(text).1.iter().map(Problem::to_line).collect()
}

#[test]
fn scalars_are_read_as_kubectl_reads_them() {
    assert_eq!(
        values("mode: 0644\nquoted: \"1\"\non: yes\nempty:\ntext: 'yes'\nstr: !!str 12\nblock: |\n  a\n  b\n"),
        [
            json!({"mode": 420, "quoted": "1", "true": true, "empty": null, "text": "yes", "str": "12", "block": "a\nb\n"})
        ]
    );
}

#[test]
fn documents_are_split_and_comments_are_nothing() {
    let text = "# first\n---\na: 1\n---\n# nothing here\n---\nb: 2 # two\n--- {c: 3}\n---\n";
    assert_eq!(values(text), [json!({"a": 1}), json!({"b": 2}), json!({"c": 3})]);
    assert_eq!(values(""), Vec::<Value>::new());
    assert_eq!(values("%YAML 1.1\n---\na: 1\n"), [json!({"a": 1})]);
    assert_eq!(values("a: 1\r\n---\r\nb: 2\r\n"), [json!({"a": 1}), json!({"b": 2})]);
}

#[test]
fn a_separator_inside_a_block_scalar_does_not_split() {
    assert_eq!(
        values("data:\n  x: |\n    a\n    ---\n    b\n"),
        [json!({"data": {"x": "a\n---\nb\n"}})]
    );
}

#[test]
fn a_broken_document_hides_no_other() {
    let text = "a: 1\n---\nb: [1\nc: }\n---\nd: 2\n";
    let (documents, problems) = read_all(text);
    assert_eq!(
        documents.iter().map(|d| d.value.clone()).collect::<Vec<_>>(),
        [json!({"a": 1}), json!({"d": 2})]
    );
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].location.at.line >= 3 && !problems[0].message.is_empty(),
        "{:?}",
        problems[0]
    );
    assert!(!problems[0].source_line.is_empty());
}

#[test]
fn every_node_knows_its_place_in_the_file() {
    let text = "---\nkind: Pod\nspec:\n  containers:\n  - name: a\n    image: \"b\"\n---\nkind: X\n";
    let (documents, _) = read_all(text);
    let locate = |document: usize, path: &str| {
        let at = documents[document].spans.locate(&path.into());
        (at.line, at.column)
    };
    assert_eq!(locate(0, "kind"), (2, 7));
    assert_eq!(locate(0, "spec.containers[0].image"), (6, 12));
    assert_eq!(locate(0, "spec.containers[0]"), (5, 5));
    assert_eq!(locate(0, "spec.containers"), (4, 3));
    assert_eq!(locate(1, "kind"), (8, 7));
}

#[test]
fn duplicate_keys_are_refused_with_both_places() {
    let lines = problem_lines("spec:\n  a: 1\n  b: 2\n  a: 3\n");
    assert_eq!(
        lines,
        ["x.yaml:4:3: error: duplicate field \"spec.a\", first given at 2:3"]
    );
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let text = "base: &b {x: 1, w: 2}\nlist: &l [1, 2]\none:\n  <<: *b\n  x: 9\nafter:\n  x: 9\n  <<: *b\nmany:\n  <<: [{z: 1}, *b, {z: 3}]\ncopy: *l\n";
    assert_eq!(
        values(text),
        [json!({
            "base": {"x": 1, "w": 2}, "list": [1, 2], "one": {"x": 9, "w": 2}, "after": {"x": 1, "w": 2},
            "many": {"z": 1, "x": 1, "w": 2}, "copy": [1, 2],
        })]
    );
    assert_eq!(problem_lines("a:\n  <<: 5\n").len(), 1);
    assert_eq!(values("a: {\"<<\": 5}\n"), [json!({"a": {"<<": 5}})]);
}

#[test]
fn the_place_of_a_merged_field_is_where_it_is_written() {
    let (documents, _) = read_all("base: &b\n  x: 1\none:\n  <<: *b\n");
    assert_eq!(documents[0].spans.locate(&"one.x".into()), Place { line: 2, column: 6 });
}

#[test]
fn aliases_that_explode_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let lines = problem_lines(&text);
    assert!(lines[0].contains("aliases expand to more than"), "{lines:?}");
    assert_eq!(problem_lines("a: &a [*a]\n").len(), 1);
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        assert_eq!(problem_lines(&text).len(), 1);
    }
}

#[test]
fn json_is_accepted_in_all_its_forms() {
    assert_eq!(
        values("{\n\t\"a\": \"\\u00e9\\/\",\n\t\"b\": [1, 2.5, true, null]\n}\n"),
        [json!({"a": "é/", "b": [1, 2.5, true, null]})]
    );
    assert_eq!(values("{\"a\":1}\n{\"b\":2}\n"), [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(values("{\"a\":\"\\ud83d\\ude00\"}"), [json!({"a": "😀"})]);
    let long = format!("{{\"a\":{{\"b\":\"{}\"}},\"c\":1}}", "x".repeat(5000));
    assert_eq!(values(&long)[0]["c"], json!(1));
}

#[test]
fn lists_are_taken_apart_with_their_places() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n- kind: List\n  items:\n  - kind: B\n---\napiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: p}\n";
    let (documents, problems) = read_all(text);
    assert_eq!(problems, []);
    let kinds: Vec<_> = documents
        .iter()
        .map(|d| d.value["kind"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(kinds, ["A", "B", "Pod"]);
    assert_eq!(documents[1].spans.locate(&"kind".into()), Place { line: 7, column: 11 });
    assert_eq!(documents[2].value["apiVersion"], "v1");
}

#[test]
fn bytes_that_are_not_text_are_located() {
    let (place, _) = text_of(b"a: 1\nb: \xff\n").expect_err("not UTF-8");
    assert_eq!(place, Place { line: 2, column: 4 });
    assert_eq!(text_of("\u{feff}a: 1".as_bytes()), Ok("a: 1"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~\\n\\t&*<:{}\\[\\]|>'\"é-]{0,200}") {
        let _ = read_all(&text);
    }

    #[test]
    fn json_values_are_read_back_as_written(value in json_value()) {
        let text = serde_json::to_string_pretty(&value).expect("a value prints");
        let (documents, problems) = read_all(&text);
        proptest::prop_assert_eq!(problems, vec![]);
        proptest::prop_assert_eq!(&documents[0].value, &value);
    }
}

fn json_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        "[ -~\\n\\t]{0,20}".prop_map(Value::from),
    ];
    let any_value = scalar.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z]{1,8}", any_value, 1..5).prop_map(|m| Value::Object(m.into_iter().collect()))
}
