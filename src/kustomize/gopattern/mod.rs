//! Regular expressions as Go compiles them: its syntax is read here, and what it means is said to the regex crate in that
//! crate's own, which differs in classes, escapes and flags. Both match in linear time.

mod class;
mod translate;

use regex::{Regex, RegexBuilder};

use self::translate::translate;

use super::error::{Error, Result};

/// How large a compiled pattern may be: patterns come from overlays, and repetitions of repetitions grow without end.
const MAX_COMPILED: usize = 1 << 20;

/// A pattern that matches anywhere in a text.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(pattern: &str) -> Result<Self> {
        let wrong = |why: &str| Error::kustomization(format!("error parsing regexp: {why}"));
        let translated = translate(pattern).map_err(|why| wrong(&why))?;
        let compiled = RegexBuilder::new(&translated).size_limit(MAX_COMPILED).build();
        // What is left are limits, and names of scripts that one side does not know.
        compiled.map(Self).map_err(|error| {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default();
            wrong(&format!("{}: `{pattern}`", last.trim().trim_start_matches("error: ")))
        })
    }

    /// Compiles a pattern that must match the whole text. An empty one matches all.
    ///
    /// # Errors
    /// If it is none.
    pub fn anchored(pattern: &str) -> Result<Self> {
        match pattern {
            "" => Self::new(""),
            _ => Self::new(&format!("^(?:{pattern})$")),
        }
    }

    /// Whether a text has a match.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_go_says() {
        for (pattern, texts, others) in [
            (r"[\w-.]+", &["a-b.c"][..], &["a:b"][..]),
            (r"\Qa.c\E", &["a.c"], &["abc"]),
            ("[a[b]+", &["a[b"], &["a]b"]),
            ("a{,2}", &["a{,2}"], &["aa", ""]),
            ("a{", &["a{"], &["a"]),
            ("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
            ("a{02}", &["a{02}"], &["aa"]),
            ("[a-c&&b]+", &["abc&"], &["d"]),
            ("[a-c--b]+", &["abc"], &["d"]),
            ("[a-c~~b]+", &["a~c"], &["-"]),
            ("[]a]+", &["]a"], &["b"]),
            ("[^]a]+", &["b\n"], &["]", "a"]),
            ("[a-]+", &["-a"], &["b"]),
            ("[--a]+", &["-./Z"], &["b"]),
            (r"\w+", &["aZ_9"], &["é", "\u{663}"]),
            (r"\d", &["7"], &["\u{663}"]),
            (r"\s", &[" ", "\t", "\u{c}"], &["\u{b}", "\u{a0}"]),
            (r"[^\S]", &[" "], &["a", "\u{a0}"]),
            (r"\W", &["é"], &["a"]),
            ("(?i)k", &["K", "\u{212a}"], &["x"]),
            ("(?i)[[:lower:]]", &["K", "k"], &["1"]),
            ("[[:^alpha:]]", &["1", "é"], &["a"]),
            ("[[:word]+", &["[:word"], &["x"]),
            ("(?P<x>a).c|(?<y>b)", &["abc", "b"], &["ab"]),
            ("(?s:.)(?U)a+(?-s).", &["\naa"], &["aa"]),
            (r"\x41\x{42}\103\a\v\_", &["ABC\u{7}\u{b}_"], &["x"]),
            (r"\pL\p{Greek}\P{Lu}\p{^Nd}", &["aαaa"], &["aaaa"]),
            (r"[\p{L}\d-]+", &["é7-"], &["_"]),
            (r"a\b.*", &["a b"], &["ab"]),
            (r"a\b{start}", &["a{start}"], &["a"]),
            ("^*a$", &["a"], &["b"]),
            ("()|a||b", &["", "a"], &["c"]),
            ("(?)a(?i)B", &["ab"], &["AB"]),
            ("a)(b", &["ab"], &["b"]),
            ("(?:é|#| )+", &["é# "], &["x"]),
        ] {
            let compiled = Pattern::anchored(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for text in texts {
                assert!(compiled.is_in(text), "{pattern} in {text:?}");
            }
            for text in others {
                assert!(!compiled.is_in(text), "{pattern} not in {text:?}");
            }
        }
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (pattern, reason) in [
            ("(?x) a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?i", "missing closing ): `(?i`"),
            ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
            ("(?P<a>b)(?P<a>c)", "invalid named capture: `a`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("(a{100}){100}", "invalid repeat count: `{100}`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+?{2}", "invalid nested repetition operator: `+?{2}`"),
            (r"\Q\E+", "missing argument to repetition operator: `+`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("(|+)", "missing argument to repetition operator: `+`"),
            (r"\u0061", r"invalid escape sequence: `\u`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\xZ", r"invalid escape sequence: `\xZ`"),
            (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
            (r"[\b]", r"invalid escape sequence: `\b`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("[a", "missing closing ]: `[a`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:nope:]]", "invalid character class range: `[:nope:]`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
        ] {
            let error = Pattern::new(pattern).expect_err(pattern);
            assert!(error.to_string().ends_with(reason), "{pattern}: {error}");
        }
    }
}
