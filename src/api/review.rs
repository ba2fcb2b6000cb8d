//! Questions about who somebody is and what they may: answered at once and not stored.

use http::header::ACCEPT;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body::{self, Answer};
use super::error::ApiError;
use super::{Api, write};
use crate::access::rights::{Caller, Deed};
use crate::access::token::ISSUER;
use crate::model::{Honoured, Kind, list_at, text_at};

/// Every kind of question.
pub(super) static REVIEWS: [Kind; 7] = [
    of(
        "authentication.k8s.io",
        "SelfSubjectReview",
        "selfsubjectreviews",
        "selfsubjectreview",
    ),
    of("authentication.k8s.io", "TokenReview", "tokenreviews", "tokenreview"),
    of(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
    ),
    of(
        "authorization.k8s.io",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
    ),
    of(
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
        "subjectaccessreview",
    ),
    Kind {
        namespaced: true,
        ..of(
            "authorization.k8s.io",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
        )
    },
    // What kubectl 1.27 asks for.
    Kind {
        version: "v1beta1",
        ..of(
            "authentication.k8s.io",
            "SelfSubjectReview",
            "selfsubjectreviews",
            "selfsubjectreview",
        )
    },
];

const fn of(group: &'static str, kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: false,
        has_status: false,
        honoured: Honoured::Acted,
    }
}

/// The question that a path means, and the namespace in which it is asked.
pub(super) fn at(path: &str) -> Option<(&'static Kind, &str)> {
    let pieces: Vec<&str> = path.strip_prefix("/apis/")?.split('/').collect();
    let (group, version, namespace, plural) = match pieces.as_slice() {
        [group, version, plural] => (*group, *version, "", *plural),
        [group, version, "namespaces", namespace, plural] => (*group, *version, *namespace, *plural),
        _ => return None,
    };
    let of = |kind: &&Kind| {
        (kind.group, kind.version, kind.plural, kind.namespaced) == (group, version, plural, !namespace.is_empty())
    };
    REVIEWS.iter().find(of).map(|kind| (kind, namespace))
}

/// What asking it does.
fn deed_of(review: &Kind, namespace: &str) -> Deed {
    Deed {
        namespace: namespace.to_owned(),
        verb: "create".to_owned(),
        group: review.group.to_owned(),
        resource: review.plural.to_owned(),
        ..Deed::default()
    }
}

/// What a question about access asks for.
fn deed_in(spec: &Value) -> Deed {
    let text = |field: &str| text_at(spec, field).to_owned();
    let of = |field: &str| text(&format!("/resourceAttributes/{field}"));
    if spec["resourceAttributes"].is_object() {
        return Deed {
            verb: of("verb"),
            group: of("group"),
            resource: of("resource"),
            subresource: of("subresource"),
            namespace: of("namespace"),
            name: of("name"),
            path: String::new(),
        };
    }
    Deed {
        verb: text("/nonResourceAttributes/verb"),
        path: text("/nonResourceAttributes/path"),
        ..Deed::default()
    }
}

/// Of whom a question asks that is about somebody else.
fn caller_in(spec: &Value) -> Caller {
    let groups = list_at(spec, "/groups").iter().filter_map(Value::as_str);
    Caller {
        name: text_at(spec, "/user").to_owned(),
        uid: text_at(spec, "/uid").to_owned(),
        groups: groups.map(str::to_owned).collect(),
        pod: None,
    }
}

/// Whether a client takes nothing but a form that objects of the store have, a table or metadata alone: an answer to a question has none.
fn wants_other_form(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.split(',').all(|clause| clause.contains("as=")))
}

impl Api {
    pub(super) async fn review(
        &self,
        (review, namespace): (&'static Kind, &str),
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Answer {
        if request.method() != http::Method::POST {
            return Err(ApiError::method_not_allowed());
        }
        self.authorize(caller, &deed_of(review, namespace))?;
        if wants_other_form(request.headers()) {
            return Err(ApiError::not_acceptable());
        }
        let api_version = review.api_version();
        let mut value = write::read_object(request, (&api_version, review.kind)).await?;
        let Some(fields) = value.as_object_mut() else {
            return Err(ApiError::bad_request("the body is not an object"));
        };
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), review.kind.into());
        fields.entry("metadata").or_insert_with(|| json!({}));
        let spec = fields.get("spec").unwrap_or(&Value::Null);
        let status = match review.kind {
            "SelfSubjectReview" => json!({"userInfo": caller.to_value()}),
            "TokenReview" => self.token_status(spec),
            "SelfSubjectAccessReview" => self.access_status(caller, spec),
            "LocalSubjectAccessReview" if text_at(spec, "/resourceAttributes/namespace") != namespace => {
                let why = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
                return Err(ApiError::bad_request(why));
            }
            "SubjectAccessReview" | "LocalSubjectAccessReview" => self.access_status(&caller_in(spec), spec),
            _ => self.rules_status(caller, text_at(spec, "/namespace")),
        };
        fields.insert("status".to_owned(), status);
        Ok(body::json(StatusCode::CREATED, &value))
    }

    fn access_status(&self, caller: &Caller, spec: &Value) -> Value {
        let deed = deed_in(spec);
        if self.is_allowed(caller, &deed) {
            json!({"allowed": true})
        } else {
            json!({"allowed": false, "reason": deed.refusal(caller)})
        }
    }

    fn token_status(&self, spec: &Value) -> Value {
        let asked = list_at(spec, "/audiences").iter().filter_map(Value::as_str);
        let mut audiences: Vec<String> = asked.map(str::to_owned).collect();
        if audiences.is_empty() {
            audiences.push(ISSUER.to_owned());
        }
        match self.holder(text_at(spec, "/token"), &audiences) {
            Some((caller, claims)) => {
                audiences.retain(|audience| claims.aud.contains(audience));
                json!({"authenticated": true, "user": caller.to_value(), "audiences": audiences})
            }
            None => json!({"authenticated": false, "error": "the token is not one that holds now"}),
        }
    }

    fn rules_status(&self, caller: &Caller, namespace: &str) -> Value {
        let mut rules = if caller.is_owner() {
            vec![
                json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
                json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
            ]
        } else {
            self.with_roles(namespace, |roles| roles.rules_of(caller))
        };
        let resources: Vec<_> = rules.extract_if(.., |rule| rule.get("resources").is_some()).collect();
        json!({"resourceRules": resources, "nonResourceRules": rules, "incomplete": false})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_questions_are_known_whole() {
        fn kind(path: &str) -> Option<(&str, &str)> {
            at(path).map(|(review, namespace)| (review.kind, namespace))
        }
        let whole = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(kind(whole), Some(("SelfSubjectAccessReview", "")));
        let local = "/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews";
        assert_eq!(kind(local), Some(("LocalSubjectAccessReview", "a")));
        assert_eq!(kind("/apis/authorization.k8s.io/v1/localsubjectaccessreviews"), None);
        assert_eq!(kind(&format!("{whole}/x")), None);
        assert_eq!(kind("/apis/authorization.k8s.io/v1"), None);
    }
}
