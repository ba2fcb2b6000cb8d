//! `serviceaccounts/token`: a token for whoever the owner, or a role, lets have one (`pkg/registry/core/serviceaccount/storage/token.go`).

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body::{self, Answer, Body};
use super::entry::account_at;
use super::error::ApiError;
use super::request::Target;
use super::{Api, write};
use crate::access::token::{ISSUER, Wanted};
use crate::model::{Key, kind, list_at, text_at};

const API_VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenRequest";

/// Where the keys of tokens are.
const KEYS: &str = "/openid/v1/jwks";

/// For how long a token holds that asks for nothing.
const SECONDS: i64 = 3600;
/// The shortest and longest time of a token (`validation.ValidateTokenRequest`).
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

impl Api {
    /// By what others than the node check tokens (OpenID Connect Discovery; `pkg/routes/openidmetadata.go`); `None` if a path is about
    /// something else.
    pub(super) fn issuer(&self, path: &str) -> Option<Response<Body>> {
        let (form, value) = match path {
            "/.well-known/openid-configuration" => ("application/json", configuration()),
            KEYS => ("application/jwk-set+json", self.tokens.key_set()),
            _ => return None,
        };
        Some(body::typed(StatusCode::OK, form, body::whole(value.to_string())))
    }

    pub(super) async fn request_token(&self, target: &Target, request: Request<Incoming>) -> Answer {
        let account = account_at(self, target)?;
        let mut value = write::read_object(request, (API_VERSION, KIND)).await?;
        if !value.is_object() {
            return Err(ApiError::bad_request("the body is not an object"));
        }
        let seconds = value
            .pointer("/spec/expirationSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(SECONDS);
        check_seconds(seconds)?;
        let bound = self.bound(target, &value)?;
        let audiences: Vec<String> = list_at(&value, "/spec/audiences")
            .iter()
            .filter_map(|audience| audience.as_str().map(str::to_owned))
            .collect();
        let wanted = Wanted {
            account: &account,
            bound: bound.as_deref(),
            audiences: &audiences,
            seconds,
        };
        let token = self.tokens.sign(wanted, self.clock.now());
        let token = token.map_err(|error| ApiError::internal(error.to_string()))?;
        value["apiVersion"] = API_VERSION.into();
        value["kind"] = KIND.into();
        let key = account.key();
        value["metadata"] =
            json!({"name": key.name, "namespace": key.namespace, "creationTimestamp": self.clock.now().to_string()});
        value["spec"]["expirationSeconds"] = seconds.into();
        if audiences.is_empty() {
            value["spec"]["audiences"] = json!([ISSUER]);
        }
        value["status"] = json!({"token": token.text, "expirationTimestamp": token.expires.to_string()});
        Ok(body::json(StatusCode::CREATED, &value))
    }

    /// The object with which the token is to end.
    fn bound(
        &self,
        target: &Target,
        request: &Value,
    ) -> Result<Option<std::sync::Arc<crate::model::Object>>, ApiError> {
        let text = |field: &str| text_at(request, &format!("/spec/boundObjectRef/{field}"));
        let (name, uid) = (text("name"), text("uid"));
        let of = match (text("apiVersion"), text("kind")) {
            (_, "") => return Ok(None),
            ("v1", found @ ("Pod" | "Secret")) => kind("v1", found).expect("in the table"),
            (version, found) => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {version}, Kind={found}"
                )));
            }
        };
        let key = Key::new(of, target.namespace.clone().unwrap_or_default(), name);
        let object = self.store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
        if !uid.is_empty() && uid != object.uid() {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(crate::store::StoreError::Conflict { key, why }.into());
        }
        if of.kind == "Pod" && object.text("/spec/serviceAccountName") != target.name.as_deref().unwrap_or_default() {
            let whose = object.text("/spec/serviceAccountName");
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name {whose:?}",
                target.name.as_deref().unwrap_or_default()
            )));
        }
        Ok(Some(object))
    }
}

/// What is known of who signs tokens.
fn configuration() -> Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn check_seconds(seconds: i64) -> Result<(), ApiError> {
    let why = if seconds < SHORTEST {
        format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes")
    } else if seconds > LONGEST {
        format!("Too long: may not be more than {LONGEST} bytes")
    } else {
        return Ok(());
    };
    Err(ApiError::invalid_part(
        "authentication.k8s.io",
        KIND,
        "spec.expirationSeconds",
        "FieldValueInvalid",
        why,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_ten_minutes_at_least() {
        for (seconds, is_good) in [
            (600, true),
            (599, false),
            (-1, false),
            (LONGEST, true),
            (LONGEST + 1, false),
        ] {
            let checked = check_seconds(seconds);
            assert_eq!(checked.is_ok(), is_good, "{seconds}");
        }
        let told = check_seconds(1).expect_err("too short");
        assert_eq!(
            told.message,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes"
        );
    }
}
