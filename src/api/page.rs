//! Which part of a collection a list asks for: from which moment, after which object, how many (`k8s.io/apiserver` list options). Pure.
//!
//! Pages after the first come from the same moment. The store can go back as far as it remembers changes; when it can't, the client
//! begins anew, or goes on with what there is now.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{ApiError, Cause};
use super::request::Query;
use crate::model::{Kind, Object};
use crate::store::{Snapshot, Store};

/// What a list asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    limit: Option<usize>,
    /// The moment; `None` is now.
    moment: Option<u64>,
    /// The last object of the page before: namespace and name.
    after: Option<(String, String)>,
    /// Not before this moment.
    not_older_than: u64,
}

/// The version in a token that goes on with what there is now. No list is of it.
const NOW: u64 = 0;

/// What `continue` says. Clients do not look into it.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    version: u64,
    namespace: String,
    name: String,
}

impl Page {
    /// Reads what a list's query says.
    ///
    /// # Errors
    /// 422 for options that exclude each other, 400 for what can't be read.
    pub fn of(query: &Query) -> Result<Self, ApiError> {
        let refuse = |field: &str, reason: &str, message: String| {
            Err(ApiError::invalid_option("ListOptions", field, reason, message))
        };
        let forbidden = |field: &str, why: &str| refuse(field, "FieldValueForbidden", format!("Forbidden: {why}"));
        let (version, matches) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
        let token = query.text("continue");
        if query.flag("sendInitialEvents") {
            return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        match matches {
            "" | "NotOlderThan" | "Exact" => {}
            other => {
                let message = format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\"");
                return refuse("resourceVersionMatch", "FieldValueNotSupported", message);
            }
        }
        if !matches.is_empty() && version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return forbidden("resourceVersionMatch", why);
        }
        if !matches.is_empty() && !token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            return forbidden("resourceVersionMatch", why);
        }
        if matches == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return forbidden("resourceVersionMatch", why);
        }
        let limit = query.number::<usize>("limit")?.filter(|limit| *limit > 0);
        let asked: u64 = query.number("resourceVersion")?.unwrap_or_default();
        if !token.is_empty() {
            if asked > 0 {
                let message = "specifying resource version is not allowed when using continue";
                return Err(ApiError::bad_request(message));
            }
            let token = Token::read(token)?;
            return Ok(Self {
                limit,
                moment: Some(token.version).filter(|version| *version != NOW),
                after: Some((token.namespace, token.name)),
                not_older_than: 0,
            });
        }
        Ok(Self {
            limit,
            moment: (matches == "Exact").then_some(asked),
            after: None,
            not_older_than: asked,
        })
    }

    /// Whether what there is now is new enough for who asks for one object.
    ///
    /// # Errors
    /// 504 when the moment that is asked for is yet to come.
    pub fn check_moment(query: &Query, store: &Store) -> Result<(), ApiError> {
        let asked: u64 = query.number("resourceVersion")?.unwrap_or_default();
        let now = store.resource_version();
        if asked > now {
            return Err(too_large(asked, now));
        }
        Ok(())
    }

    /// The collection at the moment that is asked for.
    ///
    /// # Errors
    /// 410 when that is no longer known, 504 when it is yet to come.
    pub fn list(&self, store: &Store, kind: &'static Kind, namespace: Option<&str>) -> Result<Snapshot, ApiError> {
        let Some(moment) = self.moment else {
            let snapshot = store.list(kind, namespace);
            return if self.not_older_than > snapshot.resource_version {
                Err(too_large(self.not_older_than, snapshot.resource_version))
            } else {
                Ok(snapshot)
            };
        };
        if moment > store.resource_version() {
            return Err(too_large(moment, store.resource_version()));
        }
        store
            .list_at(kind, namespace, moment)
            .map_err(|expired| self.expired(&expired.to_string()))
    }

    /// Its moment is forgotten. A page after others may be had of another moment, if the client asks for that.
    fn expired(&self, why: &str) -> ApiError {
        let Some((namespace, name)) = self.after.clone() else {
            return ApiError::expired(why);
        };
        let token = Token {
            version: NOW,
            namespace,
            name,
        };
        let mut error = ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the \
             continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with \
             the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the \
             first chunk was returned and now may show up in the list.",
        );
        error.resume = Some(token.write());
        error
    }

    /// Cuts the page out of the collection, and returns the list's `metadata`. `is_selected` is whether selectors chose the items:
    /// then nobody can say how many more there are.
    pub fn cut(&self, items: &mut Vec<Arc<Object>>, version: u64, is_selected: bool) -> Value {
        if let Some((namespace, name)) = &self.after {
            let last = (namespace.as_str(), name.as_str());
            items.retain(|object| (object.key().namespace.as_str(), object.key().name.as_str()) > last);
        }
        let mut metadata = json!({"resourceVersion": version.to_string()});
        let Some(limit) = self.limit.filter(|limit| *limit < items.len()) else {
            return metadata;
        };
        let remaining = items.len() - limit;
        items.truncate(limit);
        let last = items.last().expect("limits are above 0").key();
        let token = Token {
            version,
            namespace: last.namespace.clone(),
            name: last.name.clone(),
        };
        metadata["continue"] = token.write().into();
        if !is_selected {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}

impl Token {
    fn read(text: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let token = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        token.ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }

    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("texts and a number"))
    }
}

fn too_large(asked: u64, current: u64) -> ApiError {
    let mut error = ApiError::timeout(format!(
        "Timeout: Too large resource version: {asked}, current: {current}"
    ));
    error.add_cause(Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    });
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SystemClock, kind};

    fn page(query: &str) -> Result<Page, ApiError> {
        Page::of(&Query::parse(query))
    }

    fn store(names: &[&str]) -> Store {
        let store = Store::in_memory(Arc::new(SystemClock));
        for name in names {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a"}});
            store.create(Object::new(value).expect("an object")).expect("is new");
        }
        store
    }

    fn names(items: &[Arc<Object>]) -> Vec<&str> {
        items.iter().map(|object| object.key().name.as_str()).collect()
    }

    #[test]
    fn pages_follow_each_other_and_come_from_one_moment() {
        let store = store(&["a", "b", "c", "d", "e"]);
        let of = kind("v1", "ConfigMap").expect("known");
        let (mut query, mut seen) = ("limit=2".to_owned(), Vec::new());
        let mut first = None;
        loop {
            let page = page(&query).expect("reads");
            let mut snapshot = page.list(&store, of, None).expect("lists");
            let metadata = page.cut(&mut snapshot.items, snapshot.resource_version, false);
            seen.extend(names(&snapshot.items).into_iter().map(str::to_owned));
            assert_eq!(
                first.get_or_insert(snapshot.resource_version),
                &snapshot.resource_version
            );
            let Some(token) = metadata["continue"].as_str() else {
                break;
            };
            assert_eq!(metadata["remainingItemCount"], 5 - seen.len());
            query = format!("limit=2&continue={token}");
            // What happens between pages is not in them.
            for name in ["a", "d"] {
                let key = crate::model::Key::new(of, "a", name);
                let _ = store.delete(&key, &crate::store::DeleteOptions::default());
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn moments_that_are_forgotten_or_to_come_are_refused() {
        let store = store(&["a"]);
        let of = kind("v1", "ConfigMap").expect("known");
        let code = |query: &str| {
            let listed = page(query).and_then(|page| page.list(&store, of, None));
            listed.map_or_else(|error| error.code.as_u16(), |_| 200)
        };
        let now = store.resource_version();
        assert_eq!(code(&format!("resourceVersion={}", now + 1)), 504);
        assert_eq!(code(&format!("resourceVersion={now}")), 200);
        assert_eq!(code(&format!("resourceVersion={now}&resourceVersionMatch=Exact")), 200);
        assert_eq!(code("resourceVersion=1&resourceVersionMatch=Exact"), 410);
        assert_eq!(code("resourceVersion=1&resourceVersionMatch=NotOlderThan"), 200);
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        for (query, code) in [
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersionMatch=Exact&resourceVersion=0", 422),
            ("resourceVersionMatch=Nearly&resourceVersion=5", 422),
            ("sendInitialEvents=true", 422),
            ("continue=%25", 400),
            ("continue=abc&resourceVersion=5", 400),
            ("limit=x", 400),
            ("limit=0", 200),
        ] {
            assert_eq!(
                page(query).map_or_else(|error| error.code.as_u16(), |_| 200),
                code,
                "{query}"
            );
        }
    }
}
