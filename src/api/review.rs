//! Questions about who asks and what they may: answered at once and not stored. Whoever is let in is the owner and may do everything.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body::{self, Answer};
use super::error::ApiError;
use super::{Api, write};
use crate::access::kubeconfig::USER;

/// A kind of question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Review {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
}

/// Every kind of question.
pub(super) static REVIEWS: [Review; 3] = [
    Review {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
    },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
    },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
    },
];

impl Review {
    /// The question that a path means.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        let rest = path.strip_prefix("/apis/")?;
        let mut pieces = rest.split('/');
        let (group, version, plural) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let of = |r: &&Self| (r.group, r.version, r.plural) == (group, version, plural);
        REVIEWS.iter().find(of).filter(|_| pieces.next().is_none())
    }

    fn status(&self) -> Value {
        match self.kind {
            "SelfSubjectReview" => json!({
                "userInfo": {"username": USER, "groups": ["system:masters", "system:authenticated"]},
            }),
            "SelfSubjectAccessReview" => json!({"allowed": true}),
            _ => json!({
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": false,
            }),
        }
    }
}

impl Api {
    pub(super) async fn review(&self, review: &'static Review, request: Request<Incoming>) -> Answer {
        if request.method() != http::Method::POST {
            return Err(ApiError::method_not_allowed());
        }
        let api_version = format!("{}/{}", review.group, review.version);
        let mut value = write::read_object(request, (&api_version, review.kind)).await?;
        let Some(fields) = value.as_object_mut() else {
            return Err(ApiError::bad_request("the body is not an object"));
        };
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), review.kind.into());
        fields.entry("metadata").or_insert_with(|| json!({}));
        fields.insert("status".to_owned(), review.status());
        Ok(body::json(StatusCode::CREATED, &value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_questions_are_known_whole() {
        let kind = |path: &str| Review::at(path).map(|review| review.kind);
        let whole = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(kind(whole), Some("SelfSubjectAccessReview"));
        assert_eq!(kind(&format!("{whole}/x")), None);
        assert_eq!(kind("/apis/authorization.k8s.io/v1"), None);
    }
}
