//! Credentials as docker and podman write them down: which entry of a file is for which repository. Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::image::document::or_default;
use crate::image::reference::DEFAULT_DOMAIN;

/// How to prove who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password, or an access token in its place.
        password: String,
    },
    /// A token that the token server takes for a password (`identitytoken`).
    IdentityToken(String),
    /// A token that the registry itself takes (`registrytoken`).
    RegistryToken(String),
}

/// A login and where it was found.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credential {
    /// What it is.
    pub login: Login,
    /// Where it was found, for messages.
    pub origin: String,
}

/// Messages and logs never show what is secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Password { .. } => "Password",
            Login::IdentityToken(_) => "IdentityToken",
            Login::RegistryToken(_) => "RegistryToken",
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.login, self.origin)
    }
}

/// The credentials of one file or Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Keyring {
    entries: Vec<(Pattern, Credential)>,
    /// Programs that know the credentials of a host.
    helpers: BTreeMap<String, String>,
    /// The program that knows those of all other hosts.
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default, deserialize_with = "or_default")]
    auths: BTreeMap<String, Entry>,
    #[serde(default, deserialize_with = "or_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    creds_store: String,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default, deserialize_with = "or_default")]
    auth: String,
    #[serde(default, deserialize_with = "or_default")]
    username: String,
    #[serde(default, deserialize_with = "or_default")]
    password: String,
    #[serde(default, deserialize_with = "or_default")]
    identitytoken: String,
    #[serde(default, deserialize_with = "or_default")]
    registrytoken: String,
}

impl Keyring {
    /// Reads `config.json` or `auth.json`, or a Secret of type `kubernetes.io/dockerconfigjson`.
    ///
    /// # Errors
    /// A sentence; it shows nothing of the credentials.
    pub fn parse(text: &[u8], origin: &str) -> Result<Keyring, String> {
        let file: File = serde_json::from_slice(text).map_err(|error| where_wrong(&error))?;
        let mut keyring = Keyring::of_entries(file.auths, origin)?;
        keyring.helpers = file
            .cred_helpers
            .into_iter()
            .map(|(host, name)| (plain_host(&host), name))
            .collect();
        keyring.store = Some(file.creds_store).filter(|name| !name.is_empty());
        Ok(keyring)
    }

    /// Reads the older `.dockercfg`, or a Secret of type `kubernetes.io/dockercfg`.
    ///
    /// # Errors
    /// As [`Keyring::parse`].
    pub fn parse_legacy(text: &[u8], origin: &str) -> Result<Keyring, String> {
        let entries = serde_json::from_slice(text).map_err(|error| where_wrong(&error))?;
        Keyring::of_entries(entries, origin)
    }

    /// The same without programs to ask: whoever may write a Secret may not start anything here.
    #[must_use]
    pub fn without_helpers(self) -> Keyring {
        Keyring {
            entries: self.entries,
            ..Keyring::default()
        }
    }

    /// One login for one registry.
    #[must_use]
    pub fn single(domain: &str, login: Login, origin: &str) -> Keyring {
        let credential = Credential {
            login,
            origin: origin.to_owned(),
        };
        Keyring {
            entries: vec![(Pattern::parse(domain), credential)],
            ..Keyring::default()
        }
    }

    fn of_entries(entries: BTreeMap<String, Entry>, origin: &str) -> Result<Keyring, String> {
        let mut found = Vec::new();
        for (key, entry) in entries {
            if let Some(login) = login_of(&key, entry)? {
                let origin = origin.to_owned();
                found.push((Pattern::parse(&key), Credential { login, origin }));
            }
        }
        // The most specific first: more of the path, then fewer wildcards.
        found.sort_by_key(|(pattern, _)| (std::cmp::Reverse(pattern.path.len()), pattern.host.matches('*').count()));
        Ok(Keyring {
            entries: found,
            ..Keyring::default()
        })
    }

    /// The credentials for a repository, the most specific first.
    pub fn find<'k>(&'k self, domain: &'k str, repository: &'k str) -> impl Iterator<Item = &'k Credential> {
        let fits = move |(pattern, _): &&(Pattern, Credential)| pattern.fits(domain, repository);
        self.entries.iter().filter(fits).map(|(_, credential)| credential)
    }

    /// The program to ask for a registry's credentials.
    pub(super) fn helper(&self, domain: &str) -> Option<&str> {
        self.helpers.get(domain).or(self.store.as_ref()).map(String::as_str)
    }
}

/// Serde's own message may quote what it read.
fn where_wrong(error: &serde_json::Error) -> String {
    format!(
        "it is not the JSON of credentials: line {} column {}",
        error.line(),
        error.column()
    )
}

fn login_of(key: &str, entry: Entry) -> Result<Option<Login>, String> {
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Login::RegistryToken(entry.registrytoken)));
    }
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Login::IdentityToken(entry.identitytoken)));
    }
    let (mut user, mut password) = (entry.username, entry.password);
    if !entry.auth.is_empty() {
        let wrong = || format!("{key}: auth is not user:password in base64");
        let decoded = STANDARD.decode(entry.auth.trim()).map_err(|_| wrong())?;
        let text = String::from_utf8(decoded).map_err(|_| wrong())?;
        let (before, behind) = text.split_once(':').ok_or_else(wrong)?;
        // Docker pads with zero bytes.
        (user, password) = (before.to_owned(), behind.trim_end_matches('\0').to_owned());
    }
    Ok((!user.is_empty()).then_some(Login::Password { user, password }))
}

/// What an entry is for: `quay.io`, `*.corp`, `quay.io/org`, `https://index.docker.io/v1/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pattern {
    host: String,
    path: String,
}

impl Pattern {
    fn parse(key: &str) -> Pattern {
        let host = plain_host(key);
        let bare = key
            .strip_prefix("https://")
            .or(key.strip_prefix("http://"))
            .unwrap_or(key);
        let path = bare.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
        let path = match path {
            "v1" | "v2" => "",
            path => path,
        };
        Pattern {
            host,
            path: path.to_owned(),
        }
    }

    fn fits(&self, domain: &str, repository: &str) -> bool {
        let is_below = self.path.is_empty()
            || repository
                .strip_prefix(&self.path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_below && fits_host(&self.host, domain)
    }
}

/// A key's host; all names of the default registry are one.
fn plain_host(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or(key.strip_prefix("http://"))
        .unwrap_or(key);
    match bare.split('/').next().unwrap_or(bare) {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_DOMAIN.to_owned(),
        host => host.to_owned(),
    }
}

/// Kubelet's globs: each label by itself, so that `*.io` is not `a.b.io`; the port must be the same.
fn fits_host(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == host;
    }
    let split = |text: &str| -> (Vec<String>, Option<String>) {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.to_owned())),
            None => (text, None),
        };
        (name.split('.').map(str::to_owned).collect(), port)
    };
    let ((wanted, wanted_port), (labels, port)) = (split(pattern), split(host));
    wanted_port == port && wanted.len() == labels.len() && wanted.iter().zip(&labels).all(|(w, l)| fits_label(w, l))
}

fn fits_label(pattern: &str, label: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = label.strip_prefix(first) else {
        return false;
    };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    let parts: Vec<&str> = parts.collect();
    let (last, middle) = parts.split_last().expect("there is a star");
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str) -> Login {
        Login::Password {
            user: user.to_owned(),
            password: "secret".to_owned(),
        }
    }

    fn users(keyring: &Keyring, domain: &str, repository: &str) -> Vec<String> {
        let user = |credential: &Credential| match &credential.login {
            Login::Password { user, .. } => user.clone(),
            Login::IdentityToken(token) | Login::RegistryToken(token) => token.clone(),
        };
        keyring.find(domain, repository).map(user).collect()
    }

    fn entry(user: &str) -> String {
        format!("{{\"auth\": \"{}\"}}", STANDARD.encode(format!("{user}:secret")))
    }

    #[test]
    fn the_most_specific_entry_comes_first() {
        let text = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {}, "quay.io": {}, "quay.io/org": {}, "quay.io/org/app": {},
                "*.corp": {}, "a.corp": {}, "reg.corp:5000": {}}}}}"#,
            entry("hub"),
            entry("all"),
            entry("org"),
            entry("app"),
            entry("glob"),
            entry("exact"),
            entry("port"),
        );
        let keyring = Keyring::parse(text.as_bytes(), "a file").expect("a keyring");
        for (domain, repository, expected) in [
            ("docker.io", "library/nginx", &["hub"][..]),
            ("quay.io", "other/app", &["all"]),
            ("quay.io", "org/app", &["app", "org", "all"]),
            ("quay.io", "org/application", &["org", "all"]),
            ("a.corp", "x", &["exact", "glob"]),
            ("b.corp", "x", &["glob"]),
            ("x.b.corp", "x", &[]),
            ("b.corp:5000", "x", &[]),
            ("reg.corp:5000", "x", &["port"]),
            ("evil-quay.io", "org", &[]),
        ] {
            assert_eq!(users(&keyring, domain, repository), expected, "{domain}/{repository}");
        }
    }

    #[test]
    fn every_form_of_login_is_read() {
        let text = format!(
            r#"{{"auths": {{"a.io": {{"username": "u", "password": "secret"}}, "b.io": {{"auth": null, "identitytoken": "i"}},
                "c.io": {{"registrytoken": "r"}}, "d.io": {{}}, "e.io": {{"auth": "{}"}}}},
                "credHelpers": {{"f.io": "ecr-login"}}, "credsStore": "pass"}}"#,
            STANDARD.encode("u:secret\0\0")
        );
        let keyring = Keyring::parse(text.as_bytes(), "a file").expect("a keyring");
        let login = |domain| {
            keyring
                .find(domain, "x")
                .next()
                .map(|credential| credential.login.clone())
        };
        assert_eq!(login("a.io"), Some(password("u")));
        assert_eq!(login("b.io"), Some(Login::IdentityToken("i".into())));
        assert_eq!(login("c.io"), Some(Login::RegistryToken("r".into())));
        assert_eq!(login("d.io"), None);
        assert_eq!(login("e.io"), Some(password("u")));
        assert_eq!(
            (keyring.helper("f.io"), keyring.helper("g.io")),
            (Some("ecr-login"), Some("pass"))
        );
        assert_eq!(keyring.without_helpers().helper("f.io"), None);
        let legacy = Keyring::parse_legacy(format!("{{\"a.io\": {}}}", entry("old")).as_bytes(), "x");
        assert_eq!(users(&legacy.expect("a keyring"), "a.io", "x"), ["old"]);
    }

    #[test]
    fn what_is_wrong_is_said_without_what_is_secret() {
        for text in [
            "[\"hunter2\"]",
            r#"{"auths": {"a.io": {"auth": "hunter2!"}}}"#,
            r#"{"auths": {"a.io": "hunter2"}}"#,
        ] {
            let why = Keyring::parse(text.as_bytes(), "x").expect_err("wrong");
            assert!(!why.contains("hunter2"), "{why}");
        }
        let shown = format!("{:?}", Keyring::single("a.io", password("u"), "here"));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn globs_are_within_a_label() {
        for (pattern, label, fits) in [
            ("*", "abc", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "abc", true),
            ("a*d", "abc", false),
            ("abc", "abc", true),
            ("ab", "abc", false),
            ("*b", "abc", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits_label(pattern, label), fits, "{pattern} {label}");
        }
    }
}
