//! URLs of repositories and files in lists of resources: what they name, decided by their text alone.

use std::time::Duration;

use jiff::SignedDuration;

use super::paths;

/// A directory in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSpec {
    /// Scheme, user and host, up to the path.
    pub host: String,
    /// The repository's path on the host.
    pub repo_path: String,
    /// The directory in the repository.
    pub directory: String,
    /// The branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// Whether submodules are fetched, too.
    pub submodules: bool,
    /// How long each command of git may take.
    pub timeout: Duration,
}

/// How long a command of git may take if the URL says nothing else: what the reference waits.
const GIT_LIMIT: Duration = Duration::from_secs(27);

/// The longest time that a URL may ask for: a source waits for it.
const MAX_GIT_LIMIT: Duration = Duration::from_secs(3600);

/// The schemes, in the order in which they are tried.
const SCHEMES: [&str; 4] = ["ssh://", "https://", "http://", "file://"];

/// Whether a path is a URL of a single file.
pub fn is_file(path: &str) -> bool {
    path.split_once("://")
        .is_some_and(|(scheme, _)| matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https"))
}

impl RepoSpec {
    /// Reads a URL. `None` if it is a path of files here.
    pub fn parse(url: &str) -> Option<Self> {
        if url.starts_with('/') {
            return None;
        }
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (host, rest) = split_host(address)?;
        let (repo_path, directory) = split_path(rest, host.starts_with("file://"))?;
        let directory = directory.strip_prefix('/').unwrap_or(directory);
        let exits = paths::clean(directory).split('/').next() == Some("..");
        if repo_path.is_empty() || exits {
            return None;
        }
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| value)
        };
        Some(Self {
            host,
            repo_path: repo_path.to_owned(),
            directory: directory.to_owned(),
            reference: value("ref").or(value("version")).unwrap_or_default().to_owned(),
            submodules: !matches!(value("submodules"), Some("false" | "0" | "f" | "F" | "False" | "FALSE")),
            timeout: value("timeout")
                .and_then(duration)
                .unwrap_or(GIT_LIMIT)
                .min(MAX_GIT_LIMIT),
        })
    }

    /// What git clones.
    pub fn clone_url(&self) -> String {
        format!("{}{}", self.host, self.repo_path)
    }
}

/// A number of seconds, or a time with its unit. What is neither, or not more than nothing, says nothing.
fn duration(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().map(SignedDuration::from_secs);
    let time: SignedDuration = seconds.or_else(|| text.parse().ok())?;
    Duration::try_from(time).ok().filter(|time| !time.is_zero())
}

fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn split_host(address: &str) -> Option<(String, &str)> {
    let address = without_prefix(address, "git::").unwrap_or(address);
    let found = SCHEMES
        .iter()
        .find_map(|scheme| without_prefix(address, scheme).map(|rest| (*scheme, rest)));
    let (scheme, rest) = found.unwrap_or(("", address));
    let (user, rest) = split_user(rest);
    let is_github = without_prefix(rest, "github.com/")
        .or(without_prefix(rest, "github.com:"))
        .is_some();
    let is_scp_like = scheme.is_empty() && (!user.is_empty() || is_github);
    if scheme.is_empty() && !is_scp_like {
        return None;
    }
    if scheme == "file://" {
        return Some((scheme.to_owned(), &address[address.len() - rest.len() - user.len()..]));
    }
    let slash = rest.find('/');
    let colon = rest
        .find(':')
        .filter(|colon| is_scp_like && *colon > 0 && slash.is_none_or(|slash| *colon < slash));
    let (host, path) = match colon.or(slash) {
        Some(at) => rest.split_at(at + 1),
        None => (rest, ""),
    };
    match (is_github, host.is_empty()) {
        (true, _) if scheme == "ssh://" || !user.is_empty() => Some((format!("{user}github.com:"), path)),
        (true, _) => Some(("https://github.com/".to_owned(), path)),
        (false, true) => None,
        (false, false) => Some((format!("{scheme}{user}{host}"), path)),
    }
}

fn split_user(text: &str) -> (&str, &str) {
    let is_user = |user: &str| {
        user.starts_with(|c: char| c.is_ascii_alphabetic())
            && user.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    match text.split_once('@') {
        Some((user, _)) if is_user(user) => text.split_at(user.len() + 1),
        _ => ("", text),
    }
}

/// The repository's path and the directory in it: split where a marker says so, else after owner and name.
fn split_path(path: &str, is_all: bool) -> Option<(&str, &str)> {
    if let Some(at) = path.find("_git/") {
        let start = at + "_git/".len();
        let end = path[start..].find('/').map_or(path.len(), |length| start + length);
        return Some((&path[..end], path[end..].strip_prefix('/').unwrap_or_default()));
    }
    if let Some(at) = path.find("//") {
        return Some((&path[..at], &path[at + 2..]));
    }
    if let Some(at) = path.find(".git") {
        return Some(path.split_at(at + ".git".len()));
    }
    if is_all {
        return Some((path, ""));
    }
    let second = path.match_indices('/').nth(1).map(|(at, _)| at);
    match (path.contains('/'), second) {
        (false, _) => None,
        (true, None) => Some((path, "")),
        (true, Some(at)) => Some((&path[..at], &path[at + 1..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_directory_in_a_repository() {
        for (url, clone, directory, reference) in [
            (
                "github.com/owner/repo/deploy?ref=v1",
                "https://github.com/owner/repo",
                "deploy",
                "v1",
            ),
            (
                "https://github.com/owner/repo//deploy/base?ref=main",
                "https://github.com/owner/repo",
                "deploy/base",
                "main",
            ),
            (
                "git@github.com:owner/repo.git/deploy",
                "git@github.com:owner/repo.git",
                "/deploy",
                "",
            ),
            ("https://example.com/a/b/c", "https://example.com/a/b", "c", ""),
            ("file:///srv/repo.git//sub", "file:///srv/repo.git", "sub", ""),
            ("ssh://git@host.org/team/repo", "ssh://git@host.org/team/repo", "", ""),
        ] {
            let spec = RepoSpec::parse(url).expect("a repository");
            assert_eq!(spec.clone_url(), clone, "{url}");
            assert_eq!(spec.directory, directory.trim_start_matches('/'), "{url}");
            assert_eq!(spec.reference, reference, "{url}");
        }
    }

    #[test]
    fn a_url_says_how_long_git_may_take() {
        for (query, seconds) in [
            ("", 27.0),
            ("?timeout=61", 61.0),
            ("?timeout=1m30s&ref=v1", 90.0),
            ("?timeout=500ms", 0.5),
            ("?timeout=0", 27.0),
            ("?timeout=-5", 27.0),
            ("?timeout=soon", 27.0),
            ("?timeout=999999999999", 3600.0),
        ] {
            let spec = RepoSpec::parse(&format!("github.com/owner/repo{query}")).expect("a repository");
            assert_eq!(spec.timeout, Duration::from_secs_f64(seconds), "{query}");
        }
    }

    #[test]
    fn paths_of_files_are_no_repositories() {
        for path in [
            "../base",
            "base",
            "/base",
            "deployment.yaml",
            "a@b.yaml",
            "github.com",
            "https://x.org/one",
        ] {
            assert_eq!(RepoSpec::parse(path), None, "{path}");
        }
    }
}
