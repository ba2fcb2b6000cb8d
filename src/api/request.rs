//! Requests taken apart: which resource, which verb, which options. Pure.

use http::Method;

use super::error::ApiError;
use crate::model::{KINDS, Key, Kind};

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The kind.
    pub kind: &'static Kind,
    /// The namespace; `None` is all, or a kind that has none.
    pub namespace: Option<String>,
    /// The object's name; `None` is the collection.
    pub name: Option<String>,
    /// `status`, `log`, `exec` …; empty for the object itself.
    pub subresource: String,
}

impl Target {
    /// Reads `/api/v1/namespaces/default/pods/web/log` and its like; `None` if it is no resource of ours.
    pub fn parse(path: &str) -> Option<Self> {
        let pieces: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (group, version, rest) = match pieces.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        // `namespaces/x/pods` is in a namespace; `namespaces`, `namespaces/x` and `namespaces/x/status` are about one.
        let (namespace, rest) = match rest {
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, ""),
            [plural, name] => (*plural, Some((*name).to_owned()), ""),
            [plural, name, subresource] => (*plural, Some((*name).to_owned()), *subresource),
            _ => return None,
        };
        let of = |k: &&Kind| k.group == group && k.version == version && k.plural == plural;
        let kind = KINDS.iter().find(of)?;
        let is_placed = kind.namespaced || namespace.is_none();
        let has_place = !kind.namespaced || namespace.is_some() || name.is_none();
        (is_placed && has_place).then(|| Self {
            kind,
            namespace,
            name,
            subresource: subresource.to_owned(),
        })
    }

    /// The key of the object that the path names.
    ///
    /// # Errors
    /// 405 when it names a collection.
    pub fn key(&self) -> Result<Key, ApiError> {
        let name = self.name.as_deref().ok_or_else(ApiError::method_not_allowed)?;
        Ok(Key::new(self.kind, self.namespace.as_deref().unwrap_or_default(), name))
    }
}

/// What is to be done (`k8s.io/apiserver` `RequestInfo.Verb`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// A collection.
    List,
    /// A collection's changes.
    Watch,
    /// A new object.
    Create,
    /// A whole object anew.
    Update,
    /// A part of an object.
    Patch,
    /// An object away.
    Delete,
    /// A collection away.
    DeleteCollection,
}

impl Verb {
    /// The verb of a request.
    ///
    /// # Errors
    /// 405 for methods that mean nothing on the target.
    pub fn of(method: &Method, target: &Target, query: &Query) -> Result<Self, ApiError> {
        let is_object = target.name.is_some();
        match (method.as_str(), is_object) {
            ("GET", false) if query.flag("watch") => Ok(Self::Watch),
            ("GET", false) => Ok(Self::List),
            ("GET", true) => Ok(Self::Get),
            ("POST", false) => Ok(Self::Create),
            ("POST", true) if !target.subresource.is_empty() => Ok(Self::Create),
            ("PUT", true) => Ok(Self::Update),
            ("PATCH", true) => Ok(Self::Patch),
            ("DELETE", true) => Ok(Self::Delete),
            ("DELETE", false) => Ok(Self::DeleteCollection),
            _ => Err(ApiError::method_not_allowed()),
        }
    }
}

/// Query parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d%20e`.
    pub fn parse(text: &str) -> Self {
        let pair = |piece: &str| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        };
        Self(text.split('&').filter(|p| !p.is_empty()).map(pair).collect())
    }

    /// The first value of a parameter; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a parameter says yes: `true`, `True`, `1` (some clients are not written in Go).
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "True" | "1" | "t" | "TRUE")
    }

    /// A number, if the parameter is there.
    ///
    /// # Errors
    /// 400 when it is not a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        match self.text(name) {
            "" => Ok(None),
            text => {
                let refused = || ApiError::bad_request(format!("{name}: {text:?} is not a number"));
                text.parse().map(Some).map_err(|_| refused())
            }
        }
    }
}

/// Undoes percent-encoding; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_collections_objects_and_their_parts() {
        let cases = [
            ("/api/v1/pods", Some(("pods", None, None, ""))),
            ("/api/v1/namespaces/a/pods", Some(("pods", Some("a"), None, ""))),
            (
                "/api/v1/namespaces/a/pods/web/log",
                Some(("pods", Some("a"), Some("web"), "log")),
            ),
            ("/api/v1/namespaces", Some(("namespaces", None, None, ""))),
            ("/api/v1/namespaces/a", Some(("namespaces", None, Some("a"), ""))),
            (
                "/api/v1/namespaces/a/status",
                Some(("namespaces", None, Some("a"), "status")),
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments/d%2Dx",
                Some(("deployments", Some("a"), Some("d-x"), "")),
            ),
            ("/apis/apps/v1beta1/deployments", None),
            ("/api/v1/pods/web", None),
            ("/api/v1/namespaces/a/nodes", None),
            ("/healthz", None),
        ];
        for (path, expected) in cases {
            let target = Target::parse(path);
            let parts = target.as_ref().map(|t| {
                (
                    t.kind.plural,
                    t.namespace.as_deref(),
                    t.name.as_deref(),
                    &*t.subresource,
                )
            });
            assert_eq!(parts, expected, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded_and_repeated_parameters_kept() {
        let query = Query::parse("command=sh&command=-c&labelSelector=app%3Dweb&watch=True&limit=x");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c"]);
        assert_eq!(query.text("labelSelector"), "app=web");
        assert!(query.flag("watch"));
        assert!(query.number::<u64>("limit").is_err());
    }
}
