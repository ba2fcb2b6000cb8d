//! Where nodes and problems are said to be.

use super::super::*;
use super::read;

fn at(line: u32, column: u32) -> Pos {
    Pos {
        file: FileId(7),
        line,
        column,
    }
}

#[test]
fn every_node_knows_its_line_and_column() {
    let text = "# comment\na: é b\nlist:\n- 1\n-   x: &n 'y'\nflow: {k: [v]}\n";
    let document = parse_document(text, FileId(7)).expect("sound").expect("a document");
    let root = &document.root;
    assert_eq!(root.pos, at(2, 1));
    assert_eq!(root.get("a").map(|node| node.pos), Some(at(2, 4)));
    let list = root.get("list").expect("there");
    assert_eq!(list.items()[0].pos, at(4, 3));
    assert_eq!(list.items()[1].get("x").map(|node| node.pos), Some(at(5, 8)));
    assert_eq!(
        root.get("flow")
            .and_then(|flow| flow.get("k"))
            .map(|node| node.items()[0].pos),
        Some(at(6, 12))
    );
}

#[test]
fn a_later_document_counts_the_lines_of_the_file() {
    let documents = parse_documents("a: 1\n---\n# c\nb: 2\r\n--- # x\r\n\r\nc: 3\n", FileId(7)).expect("sound");
    let places: Vec<Pos> = documents.iter().map(|document| document.root.pos).collect();
    assert_eq!(places, [at(1, 1), at(4, 1), at(7, 1)]);
}

#[test]
fn a_problem_has_the_reference_s_words_and_our_place() {
    for (text, words, line, column) in [
        ("a: b: c\n", "mapping values are not allowed in this context", 1, 5),
        ("a: 1\nb\nc: 2\n", "could not find expected ':'", 2, 1),
        ("a: [1, 2\n", "did not find expected ',' or ']'", 2, 1),
        ("a: {b\n", "did not find expected ',' or '}'", 2, 1),
        ("a: \"x\n", "found unexpected end of stream", 1, 4),
        ("a: \"\\q\"\n", "found unknown escape character", 1, 5),
        ("a:\n\tb: 1\n", "found character that cannot start any token", 2, 1),
        ("a: *x\n", "unknown anchor 'x' referenced", 1, 4),
        ("a: 1\n--- b\n", "invalid document separator: --- b", 2, 1),
        ("a: \u{1}\n", "control characters are not allowed (found U+0001)", 1, 4),
        ("a: %x\n", "found character that cannot start any token", 1, 4),
        (
            "a: |\n \tx\n",
            "found a tab character where an indentation space is expected",
            2,
            2,
        ),
        ("%YAML 1.2\n---\na: 1\n", "found incompatible YAML document", 1, 1),
        ("a: !x!y z\n", "found undefined tag handle", 1, 4),
        (
            "<<: 1\n",
            "map merge requires map or sequence of maps as the value",
            1,
            5,
        ),
    ] {
        let error = parse_documents(text, FileId(7)).expect_err(text);
        assert_eq!(
            (error.to_string().as_str(), error.pos),
            (words, at(line, column)),
            "{text:?}"
        );
    }
}

#[test]
fn a_value_that_json_cannot_say_is_refused_at_its_place() {
    for (text, words, line, column) in [
        (
            "a: 1\nb:\n  a: 1\n  a: 2\n",
            "mapping key \"a\" already defined at line 3",
            4,
            3,
        ),
        ("a: !!int x\n", "cannot decode !!str `x` as a !!int", 1, 4),
        ("a: !!binary x\n", "!!binary value contains invalid base64 data", 1, 4),
        ("a: [.nan]\n", "json: unsupported value: NaN", 1, 5),
        ("a: {b: -.inf}\n", "json: unsupported value: -Inf", 1, 8),
        ("a: {[b]: c}\n", "invalid map key: a key must be a scalar", 1, 5),
        (
            "a: 2001-01-01T00:00:00+24:00\n",
            "Time.MarshalJSON: timezone hour outside of range [0,23]",
            1,
            4,
        ),
    ] {
        let error = to_json(&read(text).expect("sound YAML").root).expect_err(text);
        assert_eq!(
            (error.to_string().as_str(), error.pos.line, error.pos.column),
            (words, line, column),
            "{text:?}"
        );
    }
}

#[test]
fn bytes_are_text_in_three_encodings_or_refused() {
    let file = FileId(7);
    assert_eq!(decode(b"\xEF\xBB\xBFa: \xC3\xA9", file).expect("text"), "a: é");
    assert_eq!(decode(b"\xFF\xFEa\0:\0", file).expect("text"), "a:");
    assert_eq!(decode(b"\xFE\xFF\0a\0:", file).expect("text"), "a:");
    let error = decode(b"a: 1\nb: \xC3\x28", file).expect_err("no text");
    assert_eq!(
        (error.problem, error.pos),
        (Problem::Encoding("invalid UTF-8 sequence"), at(2, 4))
    );
    assert!(decode(b"\xFF\xFEa", file).is_err());
    assert!(decode(b"\xFF\xFE\0\xD8", file).is_err());
}

#[test]
fn fields_are_found_and_set() {
    let mut root = read("a: 1\nb: {c: 2}\n").expect("sound").root;
    assert_eq!(root.get("b").and_then(|b| b.get_text("c")), Some("2"));
    root.set("a", Node::string("yes"));
    root.set("d", Node::bool(true));
    let mut nested = Node::mapping();
    nested.set("f", Node::null());
    root.set("e", nested);
    assert_eq!(print_node(&root), "a: yes\nb: {c: 2}\nd: true\ne:\n  f: null\n");
    assert_eq!(root.get("e").and_then(|e| e.get_text("f")), None);
}
