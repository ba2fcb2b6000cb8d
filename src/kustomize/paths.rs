//! Paths as texts: joining and cleaning as the reference does, before links are looked at.

/// A path without `.`, `..` and empty parts, by its text alone.
pub fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") | None if !is_absolute => parts.push(".."),
                _ => {
                    parts.pop();
                }
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// A path below a directory. One that begins with a slash counts as below it, too.
pub fn join(directory: &str, path: &str) -> String {
    match (directory.is_empty(), path.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(path),
        (false, true) => clean(directory),
        (false, false) => clean(&format!("{directory}/{path}")),
    }
}

/// Whether a directory is another one or below it.
pub fn is_in(directory: &str, parent: &str) -> bool {
    parent == "/" || directory == parent || directory.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

/// The last part of a path.
pub fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, cleaned) in [
            ("/a/b/../c", "/a/c"),
            ("/../a", "/a"),
            ("a/../../b", "../b"),
            ("./a//b/.", "a/b"),
            ("", "."),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), cleaned);
        }
        assert_eq!(join("/over/local", "../../base"), "/base");
        assert_eq!(join("", "a"), "a");
    }

    #[test]
    fn a_directory_is_in_itself_and_its_parents() {
        assert!(is_in("/a/b", "/a"));
        assert!(is_in("/a", "/a"));
        assert!(is_in("/a", "/"));
        assert!(!is_in("/ab", "/a"));
    }
}
