//! Texts that want to cost much: they are refused, or cost no more than their length.

use super::super::*;
use super::{build, read};

fn problem(text: &str) -> Problem {
    parse_documents(text, FileId::default())
        .expect_err("a hostile text is refused")
        .problem
}

#[test]
fn deep_nesting_is_refused_and_what_is_allowed_fits_on_a_test_thread() {
    let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(problem(&nested(100_000)), Problem::TooDeep);
    assert_eq!(problem(&"{a: ".repeat(100_000)), Problem::TooDeep);
    assert_eq!(problem(&"- ".repeat(100_000)), Problem::TooDeep);
    assert_eq!(problem(&"? ".repeat(100_000)), Problem::TooDeep);
    let lines: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(problem(&lines), Problem::TooDeep);

    let deepest = read(&nested(MAX_DEPTH - 2)).expect("allowed");
    assert!(print_document(&deepest).starts_with("a: [[["));
    assert!(build(&nested(MAX_DEPTH - 2)).expect("allowed").starts_with("a:\n- - -"));
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert_eq!(problem(&bomb), Problem::ExcessiveAliasing);
    let tree = read(&bomb).expect("unexpanded it is small");
    assert_eq!(
        legacy_to_json(&tree.root).expect_err("refused").problem,
        Problem::ExcessiveAliasing
    );
    assert_eq!(
        to_json(&tree.root).expect_err("refused").problem,
        Problem::ExcessiveAliasing
    );
}

#[test]
fn aliases_of_a_long_text_are_refused() {
    let text = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(1000));
    assert_eq!(problem(&text), Problem::ExcessiveAliasing);
}

#[test]
fn aliases_that_deepen_are_refused() {
    let mut text = "a0: &a0 []\n".to_owned();
    for level in 1..200 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(problem(&text), Problem::TooDeep);
}

#[test]
fn anchors_within_anchors_do_not_copy_a_long_text_at_every_level() {
    let levels = MAX_DEPTH - 2;
    let text = format!(
        "{}\"{}\"{}",
        "&a [".repeat(levels),
        "x".repeat(1 << 20),
        "]".repeat(levels)
    );
    assert_eq!(problem(&text), Problem::ExcessiveAliasing);
}

#[test]
fn an_anchor_that_contains_itself_is_refused() {
    assert_eq!(problem("a: &x [*x]"), Problem::AnchorContainsItself("x".into()));
    assert_eq!(problem("a: &x\n  <<: *x\n"), Problem::AnchorContainsItself("x".into()));
}

#[test]
fn a_text_beyond_the_limit_is_refused() {
    let long = " ".repeat(MAX_TEXT + 1);
    assert_eq!(problem(&long), Problem::TooLong(long.len()));
    assert_eq!(
        decode(long.as_bytes(), FileId::default()).expect_err("refused").problem,
        Problem::TooLong(long.len())
    );
}

/// Each of these takes seconds or more if something is looked at once more for each line or field before it.
#[test]
fn long_texts_of_one_kind_are_read_in_one_pass() {
    let many = 60_000;
    let fields: String = (0..many).map(|number| format!("k{number}: {number}\n")).collect();
    for text in [
        "# comment\n".repeat(many) + "a: 1\n",
        "a: 1\n".to_owned() + &"    # right\n # left\n\n".repeat(many),
        format!("a: [{}]\n", "# c\n x,\n".repeat(many)),
        format!("a: [{}]\n", "[], ".repeat(many)),
        format!("a: \"{}\"\n", "\\n\\\n  ".repeat(many)),
        format!("a: {}\n", "word\n ".repeat(many)),
        format!("a: |\n{}", "  \n  x\n".repeat(many)),
        format!("a: &a {{x: 1}}\nb:\n{}", "- &a {y: 2}\n".repeat(many)),
        "---\n# nothing\n".repeat(many) + "---\na: 1\n",
        format!("x: &x\n{}y:\n  <<: *x\n{}", indented(&fields), indented(&fields)),
        format!("a:\n{}", indented(&fields)),
    ] {
        let documents = parse_documents(&text, FileId::default()).expect("long but sound");
        let document = documents.first().expect("one document");
        assert!(!print_document(document).is_empty());
        assert!(print_value(&document_to_json(document).expect("sound")).is_ok());
    }
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}

#[test]
fn keys_that_compare_in_circles_are_sorted_all_the_same() {
    let text: String = (0..200)
        .map(|n| format!("? \"{}a{}-{}\"\n: 1\n", n % 7, n % 5, "9".repeat(n % 30)))
        .collect();
    let value = legacy_to_json(&read(&text).expect("sound").root).expect("sound");
    assert!(print_value(&value).is_ok());
}
