//! Paths as archives write them, made safe: relative to the tree's root, without `.` and `..`. Pure.

use std::fmt;

use super::error::UnpackError;
use crate::image::limits::Limits;

/// A clean path below the tree's root: components joined by single slashes; empty is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TreePath(Vec<u8>);

impl TreePath {
    /// Cleans a path of an archive. Absolute paths are taken as below the root, as every tool does.
    ///
    /// # Errors
    /// [`UnpackError::Refused`] for `..`, NUL and what the kernel would not take.
    pub(super) fn clean(raw: &[u8], limits: &Limits) -> Result<TreePath, UnpackError> {
        let refused = |why| {
            Err(UnpackError::Refused {
                path: printable::text(raw),
                why,
            })
        };
        if raw.len() > limits.path {
            return refused("the path is too long");
        }
        if raw.contains(&0) {
            return refused("the path contains a zero byte");
        }
        let components: Vec<&[u8]> = raw
            .split(|byte| *byte == b'/')
            .filter(|part| !matches!(*part, b"" | b"."))
            .collect();
        if components.contains(&b"..".as_slice()) {
            return refused("the path contains \"..\"");
        }
        if components.len() > limits.depth {
            return refused("the path has too many components");
        }
        Ok(TreePath(components.join(&b'/')))
    }

    /// From bytes that [`TreePath::as_bytes`] gave.
    pub(super) fn from_clean(bytes: &[u8]) -> TreePath {
        TreePath(bytes.to_vec())
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parent and name; the root has neither.
    pub(super) fn split(&self) -> Option<(TreePath, &[u8])> {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            _ if self.0.is_empty() => None,
            Some(slash) => Some((TreePath(self.0[..slash].to_vec()), &self.0[slash + 1..])),
            None => Some((TreePath(Vec::new()), &self.0)),
        }
    }

    /// The entry of this name in this directory.
    pub(super) fn child(&self, name: &[u8]) -> TreePath {
        match self.is_root() {
            true => TreePath(name.to_vec()),
            false => TreePath([self.as_bytes(), b"/", name].concat()),
        }
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable::text(&self.0))
    }
}

/// Bytes of archives for people and for the standard library.
pub(super) mod printable {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    /// The beginning of a path: hostile ones are long, or meant for a terminal.
    pub(in super::super) fn text(bytes: &[u8]) -> String {
        const SHOWN: usize = 200;
        let (start, more) = bytes.get(..SHOWN).map_or((bytes, ""), |start| (start, "…"));
        let shown = String::from_utf8_lossy(start).replace(char::is_control, "\u{fffd}");
        shown + more
    }

    pub(in super::super) fn os_str(bytes: &[u8]) -> &OsStr {
        OsStr::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_obey_no_terminal() {
        assert_eq!(printable::text(b"a\x1b[2J\n\xff"), "a\u{fffd}[2J\u{fffd}\u{fffd}");
        assert!(printable::text(&[b'x'; 300]).len() < 210);
    }

    #[test]
    fn paths_are_cleaned_and_never_lead_out() {
        let limits = Limits {
            path: 40,
            depth: 4,
            ..Limits::default()
        };
        for (raw, clean) in [
            ("./", Some("")),
            ("", Some("")),
            ("./a//b/./c/", Some("a/b/c")),
            ("/etc/passwd", Some("etc/passwd")),
            ("...", Some("...")),
            ("..", None),
            ("a/../b", None),
            ("a/..", None),
            ("a\0b", None),
            ("a/b/c/d/e", None),
            ("a234567890123456789012345678901234567890x", None),
        ] {
            let found = TreePath::clean(raw.as_bytes(), &limits)
                .ok()
                .map(|path| path.to_string());
            assert_eq!(found.as_deref(), clean, "{raw:?}");
        }
    }
}
