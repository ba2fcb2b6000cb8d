//! Texts that look like what people write, and a bit stranger.

use proptest::prelude::*;

/// A value on one line.
fn inline() -> impl Strategy<Value = String> {
    let words = [
        "a",
        "1",
        "true",
        "null",
        "~",
        "",
        "0644",
        "1.5",
        "\"q\"",
        "'it''s'",
        "\"a\\nb\"",
        "x y z",
        "a#b",
        "2001-01-01",
        "yes",
        "\"on\"",
        "!!str 1",
        "!!int \"3\"",
        "!foo x",
        "\"\\u00e9 \\t\"",
        "é",
        "\"😀\"",
        "http://x:80/p?q=1",
        "{}",
        "[]",
        "[a, b]",
        "{k: v}",
        "[a, {b: c}]",
        "{k: [1, 2], l: }",
        "0x1F",
        "1e3",
        ".5",
        "a@x",
        "\"#no\"",
        "''",
        "\"\"",
        "- ",
        "- - x",
    ];
    prop_oneof![
        6 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => (1..40_usize).prop_map(|count| "word ".repeat(count) + "end"),
        1 => (1..40_usize).prop_map(|count| format!("\"{}\"", "two  ".repeat(count))),
    ]
}

fn comment() -> impl Strategy<Value = String> {
    prop::sample::select(&["# c", "#", "#x: y", "#  two", "# - item", "# é"][..]).prop_map(str::to_owned)
}

fn behind() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => comment().prop_map(|comment| format!(" {comment}"))]
}

/// Comments and empty lines; a comment may stand to the right of where it belongs.
fn between() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        Just(String::new()),
        comment(),
        (1..4_usize, comment()).prop_map(|(by, comment)| " ".repeat(by) + &comment),
    ];
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(line, 1..4)]
}

/// A block scalar: its header and its lines.
fn block() -> impl Strategy<Value = (String, Vec<String>)> {
    let words = [
        "text",
        "more # text",
        "  indented",
        "key: v",
        "- it",
        "# hash",
        "",
        "tab\tin",
        "end ",
    ];
    let lines = prop::collection::vec(prop::sample::select(words.to_vec()).prop_map(str::to_owned), 0..4);
    let header = prop::sample::select(&["|", "|-", "|+", ">", ">-", ">+"][..]);
    (header, lines).prop_map(|(header, lines)| {
        let first = std::iter::once("first".to_owned());
        (header.to_owned(), first.chain(lines).collect())
    })
}

/// Lines of a collection that stands at the left, each field or item with what is between it and the next.
type Lines = Vec<String>;

fn indent(lines: Lines, by: usize) -> Lines {
    let indented = |line: String| if line.is_empty() { line } else { " ".repeat(by) + &line };
    lines.into_iter().map(indented).collect()
}

/// What follows a `key:` or a `-`: the rest of the line, and the lines below.
fn value(collection: impl Strategy<Value = Lines> + Clone + 'static) -> impl Strategy<Value = (String, Lines)> {
    prop_oneof![
        4 => (inline(), behind()).prop_map(|(text, behind)| (format!(" {text}{behind}"), Vec::new())),
        1 => (block(), behind()).prop_map(|((header, lines), behind)| (format!(" {header}{behind}"), indent(lines, 2))),
        2 => (behind(), between(), collection, 2..4_usize).prop_map(|(behind, between, lines, by)| {
            (behind, indent(between.into_iter().chain(lines).collect(), by))
        }),
    ]
}

fn collection(depth: u32) -> BoxedStrategy<Lines> {
    let leaf = (inline(), behind()).prop_map(|(text, behind)| vec![format!("k: {text}{behind}")]);
    leaf.boxed()
        .prop_recursive(depth, 24, 4, |inner| {
            let field = (value(inner.clone()), between());
            let mapping = prop::collection::vec(field, 1..4).prop_map(|fields| {
                let with_keys = fields.into_iter().enumerate();
                with_keys
                    .flat_map(|(at, ((rest, below), between))| {
                        std::iter::once(format!("k{at}:{rest}")).chain(below).chain(between)
                    })
                    .collect()
            });
            let item = (value(inner), between());
            let sequence = prop::collection::vec(item, 1..4).prop_map(|items| {
                let items = items.into_iter();
                items
                    .flat_map(|((rest, below), between)| {
                        std::iter::once(format!("-{rest}")).chain(below).chain(between)
                    })
                    .collect()
            });
            prop_oneof![2 => mapping, 1 => sequence]
        })
        .boxed()
}

/// A document that is a mapping.
pub fn document() -> impl Strategy<Value = String> {
    let field = (value(collection(3)), between());
    (between(), prop::collection::vec(field, 1..4)).prop_map(|(before, fields)| {
        let lines = fields
            .into_iter()
            .enumerate()
            .flat_map(|(at, ((rest, below), between))| {
                std::iter::once(format!("f{at}:{rest}")).chain(below).chain(between)
            });
        before.into_iter().chain(lines).map(|line| line + "\n").collect()
    })
}

/// A document after a few accidents.
pub fn damaged() -> impl Strategy<Value = String> {
    let pieces = [
        " ", "\n", "#", ":", "-", "?", "[", "]", "{", "}", ",", "&a ", "*a", "!", "|", ">", "'", "\"", "%", "@", "\t",
        "\\", "---", "\n---\n", "\r\n", "\u{85}", "\u{2028}", "\u{feff}", "\u{7f}", "<<: ", "!!int ", "é", "😀",
        "\n  ", "\0",
    ];
    let accident = (
        any::<prop::sample::Index>(),
        0..4_usize,
        prop::sample::select(pieces.to_vec()),
    );
    (document(), prop::collection::vec(accident, 1..5)).prop_map(|(text, accidents)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (at, removed, piece) in accidents {
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, piece.chars());
        }
        characters.into_iter().collect()
    })
}
