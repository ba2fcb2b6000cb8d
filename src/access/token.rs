//! Tokens of service accounts: signed sentences about who somebody is, and for whom and how long that holds (JSON Web Tokens, RFC 7519,
//! with the claims of `k8s.io/kubernetes/pkg/serviceaccount`). Signing and checking are pure but for the randomness of a signature.
//!
//! A signature says that the node wrote a token. Whether the account and the pod that it names still exist is for the store to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::AccessError;
use crate::model::{Object, whole_second};

/// Who signs, and for whom a token is meant that says nothing else: the name by which pods know the API.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The longest token that is looked at. Ours have about a thousand bytes.
const LONGEST: usize = 8 << 10;

/// How much clocks may differ: it is one machine's, but it may be set while the node runs.
const LEEWAY: SignedDuration = SignedDuration::from_secs(10);

/// The node's key for tokens.
pub struct TokenKey {
    pair: EcdsaKeyPair,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is meant.
    pub aud: Vec<String>,
    /// When it ends, in seconds.
    pub exp: i64,
    /// When it was signed.
    pub iat: i64,
    /// Who signed it.
    pub iss: String,
    /// Its own name.
    pub jti: String,
    /// Of whom it speaks.
    #[serde(rename = "kubernetes.io")]
    pub about: About,
    /// From when on it holds.
    pub nbf: i64,
    /// The same in one word: `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
}

/// Of whom a token speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The account's namespace.
    pub namespace: String,
    /// The pod that it was made for, if it was: it holds no longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    /// The Secret that it was made for, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    /// The account.
    pub serviceaccount: Named,
}

/// One object of that name, and no later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Named {
    /// This object.
    pub fn of(object: &Object) -> Self {
        Self {
            name: object.key().name.clone(),
            uid: object.uid().to_owned(),
        }
    }
}

/// A token that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The account.
    pub account: &'a Object,
    /// The Pod or Secret with which it ends.
    pub bound: Option<&'a Object>,
    /// For whom; nobody means the API.
    pub audiences: &'a [String],
    /// For how long.
    pub seconds: i64,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What its holder shows.
    pub text: String,
    /// When it ends.
    pub expires: Timestamp,
}

impl TokenKey {
    /// A new key, as it is kept.
    ///
    /// # Errors
    /// [`AccessError::Use`]: the system gives no random bytes.
    pub(crate) fn make() -> Result<String, AccessError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(|error| AccessError::Use(error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(document.as_ref()))
    }

    /// The key that was kept.
    ///
    /// # Errors
    /// [`AccessError::Use`]: it is none.
    pub fn read(kept: &str) -> Result<Self, AccessError> {
        let unusable = |error: &dyn std::fmt::Display| AccessError::Use(format!("the key of tokens: {error}"));
        let document = URL_SAFE_NO_PAD.decode(kept).map_err(|error| unusable(&error))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &SystemRandom::new());
        pair.map(|pair| Self { pair }).map_err(|error| unusable(&error))
    }

    /// Signs a token.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn sign(&self, wanted: Wanted<'_>, now: Timestamp) -> Result<Token, AccessError> {
        let expires = whole_second(
            now.saturating_add(SignedDuration::from_secs(wanted.seconds))
                .unwrap_or(now),
        );
        let claims = plan_claims(wanted, &uuid::Uuid::new_v4().to_string(), now, expires);
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = serde_json::to_value(claims).expect("claims are text and numbers");
        let mut text = format!(
            "{}.{}",
            part(&serde_json::json!({"alg": "ES256", "kid": self.id(), "typ": "JWT"})),
            part(&claims)
        );
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes());
        let signature = signature.map_err(|error| AccessError::Use(error.to_string()))?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        Ok(Token { text, expires })
    }

    /// How tokens name the key that they were signed with.
    fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.pair.public_key().as_ref()))
    }

    /// The public half, by which others check tokens (a JSON Web Key Set, RFC 7517).
    pub fn key_set(&self) -> serde_json::Value {
        // A byte that says "not compressed", then both coordinates (SEC 1, 2.3.3).
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        serde_json::json!({"keys": [
            {"use": "sig", "kty": "EC", "kid": self.id(), "crv": "P-256", "alg": "ES256", "x": x, "y": y},
        ]})
    }

    /// What a token says, if we signed it for one of these audiences and it holds now.
    pub fn check(&self, token: &str, audiences: &[String], now: Timestamp) -> Option<Claims> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        key.verify(signed.as_bytes(), &decode(signature)?).ok()?;
        let header: serde_json::Value = serde_json::from_slice(&decode(header)?).ok()?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let is_for_us = claims.iss == ISSUER && header["alg"] == "ES256";
        let is_now = (now - LEEWAY).as_second() < claims.exp && claims.nbf <= (now + LEEWAY).as_second();
        let is_meant = claims.aud.iter().any(|audience| audiences.contains(audience));
        (is_for_us && is_now && is_meant).then_some(claims)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must not come into a log.
        f.debug_struct("TokenKey").finish_non_exhaustive()
    }
}

fn plan_claims(wanted: Wanted<'_>, id: &str, now: Timestamp, expires: Timestamp) -> Claims {
    let key = wanted.account.key();
    let bound = |kind: &str| wanted.bound.filter(|bound| bound.kind().kind == kind).map(Named::of);
    Claims {
        aud: match wanted.audiences {
            [] => vec![ISSUER.to_owned()],
            audiences => audiences.to_vec(),
        },
        exp: expires.as_second(),
        iat: now.as_second(),
        iss: ISSUER.to_owned(),
        jti: id.to_owned(),
        about: About {
            namespace: key.namespace.clone(),
            pod: bound("Pod"),
            secret: bound("Secret"),
            serviceaccount: Named::of(wanted.account),
        },
        nbf: now.as_second(),
        sub: account_name(&key.namespace, &key.name),
    }
}

/// How a service account is called as a user (`serviceaccount.MakeUsername`).
pub fn account_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str) -> Object {
        let metadata = json!({"name": name, "namespace": "team", "uid": format!("uid-of-{name}")});
        Object::new(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})).expect("has a kind and a name")
    }

    fn key() -> TokenKey {
        TokenKey::read(&TokenKey::make().expect("random bytes")).expect("a key")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn a_token_says_who_its_holder_is_until_it_ends() {
        let (key, account, pod) = (key(), object("ServiceAccount", "builder"), object("Pod", "web"));
        let wanted = Wanted {
            account: &account,
            bound: Some(&pod),
            audiences: &[],
            seconds: 600,
        };
        let token = key.sign(wanted, at(1_000)).expect("signs");
        assert_eq!(token.expires, at(1_600));
        let claims = key.check(&token.text, &[ISSUER.to_owned()], at(1_500)).expect("holds");
        assert_eq!(claims.sub, "system:serviceaccount:team:builder");
        assert_eq!(claims.about.pod, Some(Named::of(&pod)));
        for (audience, second) in [(ISSUER, 1_700), (ISSUER, 900), ("vault", 1_500)] {
            assert_eq!(
                key.check(&token.text, &[audience.to_owned()], at(second)),
                None,
                "{audience} {second}"
            );
        }
    }

    #[test]
    fn others_check_a_token_by_the_key_that_it_names() {
        let (key, account) = (key(), object("ServiceAccount", "builder"));
        let wanted = Wanted {
            account: &account,
            bound: None,
            audiences: &[],
            seconds: 600,
        };
        let text = key.sign(wanted, at(1_000)).expect("signs").text;
        let (signed, signature) = text.rsplit_once('.').expect("has one");
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("ours");
        let header = decode(signed.split('.').next().expect("has one"));
        let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
        let public = &key.key_set()["keys"][0];
        assert_eq!(public["kid"], header["kid"]);
        let coordinate = |name: &str| decode(public[name].as_str().expect("text"));
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        assert_eq!(public.verify(signed.as_bytes(), &decode(signature)), Ok(()));
    }

    #[test]
    fn what_another_key_signed_or_anybody_changed_says_nothing() {
        let (ours, account) = (key(), object("ServiceAccount", "builder"));
        let wanted = Wanted {
            account: &account,
            bound: None,
            audiences: &[],
            seconds: 600,
        };
        let text = ours.sign(wanted, at(1_000)).expect("signs").text;
        let audiences = [ISSUER.to_owned()];
        assert!(ours.check(&text, &audiences, at(1_000)).is_some());
        assert!(key().check(&text, &audiences, at(1_000)).is_none());
        let parts: Vec<&str> = text.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
        let mut claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("ours");
        claims
            .iter_mut()
            .filter(|byte| **byte == b'1')
            .for_each(|byte| *byte = b'9');
        let claims = URL_SAFE_NO_PAD.encode(claims);
        for forged in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{claims}.{}", parts[0], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            String::new(),
            ".".repeat(9_000),
        ] {
            assert!(ours.check(&forged, &audiences, at(1_000)).is_none(), "{forged:.80}");
        }
    }
}
