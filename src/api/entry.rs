//! Who asks, and whether they may. The owner comes by the unix socket or with a certificate and may do everything; a service account comes
//! with a token and may do what roles say that the owner made.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Api;
use super::error::ApiError;
use super::request::{Target, Verb};
use crate::access::rights::{Caller, Deed, Roles};
use crate::access::token::{Claims, ISSUER};
use crate::model::{Key, Kind, Object, kind};

/// Where roles are.
const RIGHTS: &str = "rbac.authorization.k8s.io";

/// What is known of a connection before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// It is the owner's: by the rights of the socket, or by a certificate.
    Owner,
    /// It is anybody's, until a request shows a token.
    Stranger,
}

impl Api {
    /// Who makes a request.
    ///
    /// # Errors
    /// 401 for nobody we know; 403 for somebody who speaks for others and may not.
    pub(super) fn caller(&self, connection: Connection, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let caller = match connection {
            Connection::Owner => Caller::owner(),
            Connection::Stranger => {
                let token = headers
                    .get(AUTHORIZATION)
                    .and_then(|value| value.to_str().ok())
                    .and_then(bearer);
                let known = token.and_then(|token| self.holder(token, &[ISSUER.to_owned()]));
                known.map(|(caller, _)| caller).ok_or_else(ApiError::unauthorized)?
            }
        };
        self.impersonated(caller, headers)
    }

    /// Whose a token is, if it is still good: the account is there, and so is what the token was made for.
    pub(super) fn holder(&self, token: &str, audiences: &[String]) -> Option<(Caller, Claims)> {
        let claims = self.tokens.check(token, audiences, self.clock.now())?;
        let about = &claims.about;
        let is_there = |kind_name: &str, named: &crate::access::token::Named| {
            let of = kind("v1", kind_name).expect("in the table");
            let found = self.store.get(&Key::new(of, &about.namespace, &named.name));
            found.is_some_and(|object| object.uid() == named.uid)
        };
        let account = &about.serviceaccount;
        let is_good = is_there("ServiceAccount", account)
            && about.pod.as_ref().is_none_or(|pod| is_there("Pod", pod))
            && about.secret.as_ref().is_none_or(|secret| is_there("Secret", secret));
        if !is_good {
            return None;
        }
        let mut caller = Caller::account(&about.namespace, &account.name, &account.uid);
        caller.pod = about.pod.as_ref().map(|pod| (pod.name.clone(), pod.uid.clone()));
        Some((caller, claims))
    }

    /// The one for whom a caller wants to speak (`kubectl --as`).
    fn impersonated(&self, caller: Caller, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let (user, groups) = (text("impersonate-user"), headers.get_all("impersonate-group"));
        let groups: Vec<String> = groups
            .iter()
            .filter_map(|group| group.to_str().ok().map(str::to_owned))
            .collect();
        let has_more = headers.keys().any(|name| {
            let name = name.as_str();
            name == "impersonate-uid" || name.starts_with("impersonate-extra-")
        });
        if user.is_empty() && groups.is_empty() && !has_more {
            return Ok(caller);
        }
        if user.is_empty() {
            let what = if groups.is_empty() { "more" } else { "groups" };
            let message = format!("requested {what} without impersonating a user");
            return Err(ApiError::bad_request(message));
        }
        let account = user
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'));
        let (resource, namespace, name) = match account {
            Some((namespace, name)) => ("serviceaccounts", namespace, name),
            None => ("users", "", user),
        };
        self.authorize(&caller, &impersonation(resource, namespace, name))?;
        for group in &groups {
            self.authorize(&caller, &impersonation("groups", "", group))?;
        }
        let mut other = match account {
            Some((namespace, name)) => Caller::account(namespace, name, ""),
            None => Caller {
                name: user.to_owned(),
                ..Caller::default()
            },
        };
        if !groups.is_empty() {
            other.groups = groups;
        }
        if !other.groups.iter().any(|group| group == "system:authenticated") {
            other.groups.push("system:authenticated".to_owned());
        }
        Ok(other)
    }

    /// Whether somebody may do something.
    pub(super) fn is_allowed(&self, caller: &Caller, deed: &Deed) -> bool {
        // Most requests are the owner's: for them nothing is looked up.
        caller.is_owner() || self.with_roles(&deed.namespace, |roles| roles.is_allowed(caller, deed))
    }

    /// Calls `ask` with the roles that may matter in a namespace.
    pub(super) fn with_roles<T>(&self, namespace: &str, ask: impl FnOnce(&Roles<'_>) -> T) -> T {
        let of = |name: &str| kind(&format!("{RIGHTS}/v1"), name);
        let list = |name: &str, namespace: Option<&str>| {
            let kind: &'static Kind = of(name).expect("in the table");
            self.store.list(kind, namespace).items
        };
        let find = |name: &str, namespace: &str, role: &str| {
            let of = of(name).filter(|_| ["Role", "ClusterRole"].contains(&name))?;
            self.store.get(&Key::new(of, namespace, role))
        };
        let here = if namespace.is_empty() {
            Vec::new()
        } else {
            list("RoleBinding", Some(namespace))
        };
        ask(&Roles {
            everywhere: list("ClusterRoleBinding", None),
            here,
            find: &find,
            all: &|| list("ClusterRole", None),
        })
    }

    /// Refuses what somebody may not do.
    ///
    /// # Errors
    /// 403.
    pub(super) fn authorize(&self, caller: &Caller, deed: &Deed) -> Result<(), ApiError> {
        if !self.is_allowed(caller, deed) {
            return Err(ApiError::forbidden(deed, &deed.refusal(caller)));
        }
        // Who may write roles could give itself everything: so only who has everything may.
        let gives_rights = deed.group == RIGHTS && !["get", "list", "watch"].contains(&deed.verb.as_str());
        let everything = Deed {
            verb: "*".to_owned(),
            group: "*".to_owned(),
            resource: "*".to_owned(),
            ..Deed::default()
        };
        if gives_rights && !self.is_allowed(caller, &everything) {
            let why = format!(
                "User {:?} may not do everything, and so may not write roles",
                caller.name
            );
            return Err(ApiError::forbidden(deed, &why));
        }
        Ok(())
    }
}

/// The token in a header.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn impersonation(resource: &str, namespace: &str, name: &str) -> Deed {
    Deed {
        verb: "impersonate".to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Deed::default()
    }
}

/// What a request about a resource does.
pub(super) fn deed_of(target: &Target, verb: Verb) -> Deed {
    let verb = match verb {
        // A websocket is opened by GET; what it does is the same.
        Verb::Get if ["exec", "attach", "portforward"].contains(&target.subresource.as_str()) => "create",
        Verb::Get => "get",
        Verb::List => "list",
        Verb::Watch => "watch",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch => "patch",
        Verb::Delete => "delete",
        Verb::DeleteCollection => "deletecollection",
    };
    // A namespace is in itself, so that roles of it can speak of it.
    let own = (target.kind.kind == "Namespace").then(|| target.name.clone()).flatten();
    Deed {
        verb: verb.to_owned(),
        group: target.kind.group.to_owned(),
        resource: target.kind.plural.to_owned(),
        subresource: target.subresource.clone(),
        namespace: target.namespace.clone().or(own).unwrap_or_default(),
        name: target.name.clone().unwrap_or_default(),
        path: String::new(),
    }
}

/// What a request does whose path is about no resource.
pub(super) fn deed_at(method: &http::Method, path: &str) -> Deed {
    Deed {
        verb: method.as_str().to_lowercase(),
        path: path.to_owned(),
        ..Deed::default()
    }
}

/// The account that a token is asked for.
pub(super) fn account_at(api: &Api, target: &Target) -> Result<std::sync::Arc<Object>, ApiError> {
    let key = target.key()?;
    api.store.get(&key).ok_or_else(|| ApiError::not_found(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_whatever_the_case_of_its_scheme() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("abc", None),
        ] {
            assert_eq!(bearer(header), token, "{header}");
        }
    }

    #[test]
    fn what_a_request_does_has_the_words_of_roles() {
        let deed = |path: &str, verb| {
            let deed = deed_of(&Target::parse(path).expect("a resource"), verb);
            [
                deed.verb,
                deed.group,
                deed.resource,
                deed.subresource,
                deed.namespace,
                deed.name,
            ]
            .join(" ")
        };
        for (path, verb, expected) in [
            (
                "/api/v1/namespaces/a/pods/web/exec",
                Verb::Get,
                "create  pods exec a web",
            ),
            ("/api/v1/namespaces/a/pods/web/log", Verb::Get, "get  pods log a web"),
            ("/apis/apps/v1/deployments", Verb::Watch, "watch apps deployments   "),
            ("/api/v1/namespaces/a", Verb::Get, "get  namespaces  a a"),
        ] {
            assert_eq!(deed(path, verb), expected);
        }
    }
}
