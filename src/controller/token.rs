//! Secrets that hold the token of a service account (`pkg/controller/serviceaccount/tokens_controller.go`): filled in with a token, the
//! authority's certificate and the namespace, and gone with the account.
//!
//! Upstream deletes at once a Secret whose account is not there. Here it waits: files and charts name an account beside its Secret, in any
//! order. One that was filled in for an account that is gone, or is another one by now, is deleted.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::account::{authority_of, certificate};
use super::plan::{Plan, Write};
use super::{Controller, Signer};
use crate::access::AccessError;
use crate::access::token::Wanted;
use crate::model::{Key, Kind, Object, kind};
use crate::store::{Change, Store};

/// The type of these Secrets, and the annotations that name their account.
const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// How long such a token holds: it ends with its Secret, and not by the time. A token has to name one, so it names a hundred years.
const SECONDS: i64 = 100 * 365 * 24 * 3600;

/// Decides for Secrets.
pub(super) struct Tokens;

impl Controller for Tokens {
    fn name(&self) -> &'static str {
        "serviceaccount-token-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        secrets(store, None, |_| true)
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let key = change.object.key();
        let namespace = Some(key.namespace.as_str());
        if is_token(&change.object) {
            vec![key.clone()]
        } else if key.kind() == kind_of_accounts() {
            secrets(store, namespace, |secret| account_of(secret) == key.name)
        } else if *key == authority_of(&key.namespace) {
            secrets(store, namespace, |_| true)
        } else {
            Vec::new()
        }
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let Some(secret) = store.get(key).filter(|secret| is_token(secret)) else {
            return Plan::default();
        };
        let account = store.get(&Key::new(kind_of_accounts(), &key.namespace, account_of(&secret)));
        let authority = store.get(&authority_of(&key.namespace));
        plan_token(&secret, account, authority.as_deref())
    }
}

fn plan_token(secret: &Object, account: Option<Arc<Object>>, authority: Option<&Object>) -> Plan {
    let mut plan = Plan::default();
    if secret.is_deleting() {
        return plan;
    }
    let made_for = secret.annotations().get(UID).copied().unwrap_or_default();
    let account = account.filter(|account| !account.is_deleting());
    let is_same = account.as_ref().is_some_and(|account| account.uid() == made_for);
    let Some(account) = account.filter(|_| made_for.is_empty() || is_same) else {
        if !made_for.is_empty() {
            plan.write(Write::delete(secret));
        }
        return plan;
    };
    let mut wanted = secret.clone();
    wanted.metadata_mut()["annotations"][UID] = account.uid().into();
    let mut put = |field: &str, text: &str| wanted.value_mut()["data"][field] = STANDARD.encode(text).into();
    put("namespace", &secret.key().namespace);
    if let Some(authority) = authority {
        put("ca.crt", certificate(authority));
    }
    if text_of(secret, "token").is_empty() {
        plan.write(Write::Sign {
            secret: wanted,
            account,
        });
    } else if wanted != *secret {
        plan.write(Write::Update(wanted));
    }
    plan
}

/// Puts a token into a Secret: it holds for as long as that Secret is there.
pub(super) fn sign(secret: &mut Object, account: &Object, signer: &Signer) -> Result<(), AccessError> {
    let wanted = Wanted {
        account,
        bound: Some(secret),
        audiences: &[],
        seconds: SECONDS,
    };
    let token = signer.key.sign(wanted, signer.clock.now())?;
    secret.value_mut()["data"]["token"] = json!(STANDARD.encode(token.text));
    Ok(())
}

fn is_token(object: &Object) -> bool {
    object.key().kind() == kind_of_secrets() && object.text("/type") == TYPE
}

fn account_of(secret: &Object) -> &str {
    secret.annotations().get(NAME).copied().unwrap_or_default()
}

fn text_of<'a>(secret: &'a Object, field: &str) -> &'a str {
    let data = secret.at("/data").and_then(|data| data.get(field));
    data.and_then(Value::as_str).unwrap_or_default()
}

fn secrets(store: &Store, namespace: Option<&str>, which: impl Fn(&Object) -> bool) -> Vec<Key> {
    let all = store.list(kind_of_secrets(), namespace).items;
    let tokens = all.iter().filter(|secret| is_token(secret) && which(secret));
    tokens.map(|secret| secret.key().clone()).collect()
}

fn kind_of_secrets() -> &'static Kind {
    kind("v1", "Secret").expect("in the table")
}

fn kind_of_accounts() -> &'static Kind {
    kind("v1", "ServiceAccount").expect("in the table")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Fixture, config, secret, words, written};
    use super::*;

    fn account(name: &str) -> Arc<Object> {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}")}});
        Arc::new(Object::new(account).expect("an account"))
    }

    fn token() -> Fixture {
        secret("token", TYPE).annotation(NAME, "robot")
    }

    fn planned(secret: &Fixture, account: Option<Arc<Object>>) -> Plan {
        let mut authority = config("kube-root-ca.crt").object();
        authority.value_mut()["data"] = json!({"ca.crt": "certificate"});
        plan_token(&secret.object(), account, Some(&authority))
    }

    #[test]
    fn a_token_is_made_once_and_goes_with_its_account() {
        let robot = || Some(account("robot"));
        let filled = |uid: &str| {
            let mut filled = token().annotation(UID, uid).object();
            filled.value_mut()["data"] = json!({"token": "eA==", "namespace": "ZGVmYXVsdA==",
                "ca.crt": "Y2VydGlmaWNhdGU="});
            Fixture::like(filled)
        };
        let sign = "sign secret/token for serviceaccount/robot";
        for (case, secret, account, wanted) in [
            ("new", token(), robot(), vec![sign]),
            ("its account is yet to come", token(), None, vec![]),
            ("it is there", filled("uid-of-robot"), robot(), vec![]),
            (
                "its account is gone",
                filled("uid-of-robot"),
                None,
                vec!["delete secret/token Background"],
            ),
            (
                "its account is another one",
                filled("uid-of-earlier"),
                robot(),
                vec!["delete secret/token Background"],
            ),
            ("it goes already", filled("uid-of-robot").deleting(), None, vec![]),
        ] {
            assert_eq!(words(&planned(&secret, account)), wanted, "{case}");
        }
    }

    #[test]
    fn what_it_holds_follows_the_account_and_the_authority() {
        let plan = planned(&token(), Some(account("robot")));
        let signed = written(&plan, "sign secret/token for serviceaccount/robot");
        assert_eq!(text_of(signed, "namespace"), "ZGVmYXVsdA==");
        assert_eq!(text_of(signed, "ca.crt"), "Y2VydGlmaWNhdGU=");
        assert_eq!(signed.annotations().get(UID).copied(), Some("uid-of-robot"));
        let mut old = signed.clone();
        old.value_mut()["data"] = json!({"token": "eA==", "ca.crt": "b2xk", "namespace": "ZGVmYXVsdA=="});
        let plan = planned(&Fixture::like(old), Some(account("robot")));
        let updated = written(&plan, "update secret/token");
        assert_eq!(text_of(updated, "ca.crt"), "Y2VydGlmaWNhdGU=");
        assert_eq!(text_of(updated, "token"), "eA==");
    }
}
