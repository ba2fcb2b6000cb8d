//! Which certificate a client is shown: that of the Secret for the name that it asks for, else one that the node makes for the name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use tokio::sync::watch;

use super::routes::Routes;
use crate::access::Authority;
use crate::model::Object;

/// So many certificates that the node made are kept: a client may ask for any name.
const KEPT: usize = 256;
/// The name of clients that ask for none.
const NAMELESS: &str = "localhost";

/// TLS for clients, by whatever routes there are by then.
pub(super) fn config(routes: watch::Receiver<Arc<Routes>>, authority: Authority) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let resolver = Resolver {
        routes,
        authority,
        made: Mutex::default(),
    };
    let mut config = versions
        .expect("ring has what TLS 1.2 and 1.3 ask for")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

struct Resolver {
    routes: watch::Receiver<Arc<Routes>>,
    authority: Authority,
    // Held for a look-up or an insertion.
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or(NAMELESS);
        let given = self.routes.borrow().certificate(name).cloned();
        given.or_else(|| self.make(name))
    }
}

impl Resolver {
    fn make(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let made = || self.made.lock().expect("nothing panics while it holds certificates");
        if let Some(known) = made().get(name) {
            return Some(known.clone());
        }
        let pair = self.authority.issue(name).map_err(|error| error.to_string());
        let key = pair.and_then(|(certificate, key)| certified(certificate.as_bytes(), key.as_bytes()));
        match key {
            Ok(key) => {
                let mut made = made();
                if made.len() >= KEPT {
                    made.clear();
                }
                made.insert(name.to_owned(), key.clone());
                Some(key)
            }
            Err(error) => {
                tracing::warn!(name, error, "no certificate can be made");
                None
            }
        }
    }
}

/// The certificate of a Secret of the type `kubernetes.io/tls`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence about it.
pub(super) fn of_secret(secret: &Object) -> Result<Arc<CertifiedKey>, String> {
    let part = |name: &str| {
        let encoded = secret
            .at("/data")
            .and_then(|data| data.get(name))
            .and_then(Value::as_str);
        let encoded = encoded.ok_or_else(|| format!("has no {name}"))?;
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded)
            .map_err(|_| format!("has a {name} that is not base64"))
    };
    certified(&part("tls.crt")?, &part("tls.key")?)
}

fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| format!("has a certificate that can't be read: {error}"))?;
    if chain.is_empty() {
        return Err("has no certificate in tls.crt".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("has a key that can't be read: {error}"))?;
    let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider());
    let certified = certified.map_err(|error| format!("has a certificate that can't be used: {error}"))?;
    Ok(Arc::new(certified))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use serde_json::json;

    use super::*;

    fn secret(chain: &str, key: &str) -> Object {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let data = json!({"tls.crt": encode(chain), "tls.key": encode(key)});
        Object::new(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"}, "data": data}))
            .expect("a secret")
    }

    #[test]
    fn a_secrets_certificate_is_used_and_what_is_wrong_with_it_is_said() {
        let authority = Authority::for_tests(Arc::new(crate::model::SystemClock));
        let (chain, key) = authority.issue("web.example").expect("issues");
        let (_, other) = authority.issue("web.example").expect("issues");
        assert!(of_secret(&secret(&chain, &key)).is_ok());
        for (chain, key, expected) in [
            ("", key.as_str(), "has no certificate in tls.crt"),
            (chain.as_str(), "", "has a key that can't be read"),
            (chain.as_str(), other.as_str(), "has a certificate that can't be used"),
        ] {
            let error = of_secret(&secret(chain, key)).expect_err("it can't be used");
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
