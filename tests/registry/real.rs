//! Pulls from Debian's `docker-registry`: plain, with a password, with tokens, with TLS.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kubelocal::image::{HostSettings, LoginFiles, PushRequest, RegistrySettings};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use crate::debian::{Debian, is_missing};
use crate::image::{Image, Layer, tar};
use crate::pulls::Ground;
use crate::scripted::{Answer, Scripted};

const TOOLS: [&str; 2] = ["docker-registry", "skopeo"];

/// `ann` with the password `secret`, for htpasswd.
const HTPASSWD: &str = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

fn some_image() -> Image {
    Image::new(vec![
        Layer::gzip(&tar(&[("base", b"base")])),
        Layer::zstd(&tar(&[("file", b"content")])),
    ])
}

fn logins(dir: &Path, host: &str, password: &str) -> LoginFiles {
    let file = dir.join("auth.json");
    let auth = STANDARD.encode(format!("ann:{password}"));
    fs::write(&file, json!({"auths": {host: {"auth": auth}}}).to_string()).expect("writes");
    LoginFiles::only(file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_from_a_plain_registry() {
    if is_missing(&TOOLS) {
        return;
    }
    let (registry, image) = (Debian::plain(), some_image());
    registry.push(&image, "app:1", None);
    let ground = Ground::new();
    let pulled = ground.pull(&registry.name("app:1")).await.expect("pulls");
    assert_eq!(pulled.image.id, image.config);
    assert_eq!(
        fs::read(pulled.image.layers[1].join("file")).expect("a file"),
        b"content"
    );
    assert!(ground.pull(&registry.name("app:1")).await.expect("is here").was_here);
    let said = ground.pull(&registry.name("app:2")).await.expect_err("is not there");
    assert!(said.contains("MANIFEST_UNKNOWN: manifest unknown"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_a_password_wants_the_right_one() {
    if is_missing(&TOOLS) {
        return;
    }
    let auth = |dir: &Path| {
        fs::write(dir.join("htpasswd"), HTPASSWD).expect("writes");
        format!("auth: {{htpasswd: {{realm: test, path: {}/htpasswd}}}}", dir.display())
    };
    let (registry, image) = (Debian::with(auth, ""), some_image());
    registry.push(&image, "app:1", Some("ann:secret"));
    for (password, words) in [
        (None, "denies access without credentials"),
        (Some("wrong"), "denies access with the credentials of"),
        (Some("secret"), ""),
    ] {
        let files = password.map_or_else(LoginFiles::default, |password| {
            logins(registry.dir.path(), &registry.host, password)
        });
        let ground = Ground::with(RegistrySettings::default(), files);
        match ground.pull(&registry.name("app:1")).await {
            Ok(pulled) => assert_eq!((pulled.image.id, words), (image.config.clone(), "")),
            Err(said) => assert!(!words.is_empty() && said.contains(words), "{said}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pushed_with_tokens_and_pulled_by_others() {
    if is_missing(&TOOLS) {
        return;
    }
    let (registry, _server) = registry_with_tokens();
    let (source, image) = (Debian::plain(), some_image());
    source.push(&image, "app:1", None);
    let files = logins(registry.dir.path(), &registry.host, "secret");
    let ground = Ground::with(RegistrySettings::default(), files.clone());
    ground.pull(&source.name("app:1")).await.expect("pulls");
    let push = |name: &str| PushRequest {
        name: name.to_owned(),
        target: Some(registry.name("copy:2")),
        logins: None,
    };
    let from = source.name("app:1");
    let digest = ground.puller.push(push(&from)).run().await.expect("pushes");
    assert_eq!(digest, image.manifest_digest());
    let again = ground.puller.push(push(&from)).run().await;
    assert!(again.is_ok(), "what is there is not sent again: {again:?}");
    let other = Ground::with(RegistrySettings::default(), files);
    let pulled = other.pull(&registry.name("copy:2")).await.expect("pulls");
    assert_eq!(pulled.image.id, image.config);
    let anonymous = Ground::new();
    anonymous.pull(&from).await.expect("pulls");
    let said = anonymous
        .puller
        .push(push(&from))
        .run()
        .await
        .expect_err("has no password");
    assert!(said.to_string().contains("denies access without credentials"), "{said}");
    let builtin = push(kubelocal::image::BUILTIN_IMAGE);
    let said = ground
        .puller
        .push(builtin)
        .run()
        .await
        .expect_err("has no packed layer");
    assert!(said.to_string().contains("packed layers"), "{said}");
}

/// Gives tokens as a token server does (distribution's `jwt` specification) to whoever has the password.
fn token_server(key: &rcgen::KeyPair, certificate: &rcgen::Certificate) -> Scripted {
    let signer = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &key.serialize_der(),
        &SystemRandom::new(),
    );
    let signer = Arc::new(signer.expect("a key"));
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(certificate.der())]});
    Scripted::answering(&[], move |request, _| {
        let expected = format!("Basic {}", STANDARD.encode("ann:secret"));
        if request.headers.get("authorization") != Some(&expected) {
            return Some(Answer::new(401, r#"{"details":"incorrect username or password"}"#));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let scope = request
            .path
            .split("scope=")
            .nth(1)?
            .split('&')
            .next()?
            .replace("%3A", ":")
            .replace("%2F", "/")
            .replace("%2C", ",");
        let mut scope = scope.split(':');
        let (_, name, actions) = (scope.next()?, scope.next()?, scope.next()?);
        let claims = json!({
            "iss": "test-issuer", "sub": "ann", "aud": "test-service", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "x",
            "access": [{"type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>()}],
        });
        let text = [&header, &claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = signer.sign(&SystemRandom::new(), text.as_bytes()).expect("signs");
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
        Some(Answer::new(200, json!({"token": token, "expires_in": 300}).to_string()))
    })
}

/// A registry and the token server that it sends to.
fn registry_with_tokens() -> (Debian, Scripted) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate =
        rcgen::CertificateParams::new(vec!["issuer".to_owned()]).and_then(|params| params.self_signed(&key));
    let certificate = certificate.expect("a certificate");
    let server = token_server(&key, &certificate);
    let auth = |dir: &Path| {
        fs::write(dir.join("bundle.pem"), certificate.pem()).expect("writes");
        format!(
            "auth: {{token: {{realm: 'http://{}/token', service: test-service, issuer: test-issuer, rootcertbundle: {}/bundle.pem}}}}",
            server.host,
            dir.display()
        )
    };
    (Debian::with(auth, ""), server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_tokens_sends_to_its_token_server() {
    if is_missing(&TOOLS) {
        return;
    }
    let ((registry, _server), image) = (registry_with_tokens(), some_image());
    registry.push(&image, "app:1", Some("ann:secret"));
    let files = logins(registry.dir.path(), &registry.host, "secret");
    let ground = Ground::with(RegistrySettings::default(), files);
    let pulled = ground.pull(&registry.name("app:1")).await.expect("pulls");
    assert_eq!(pulled.image.id, image.config);
    let said = Ground::new()
        .pull(&registry.name("app:1"))
        .await
        .expect_err("has no password");
    assert!(
        said.contains("without credentials: incorrect username or password"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_tls_is_trusted_by_its_authority_or_not_at_all() {
    if !is_missing(&TOOLS) {
        trusted_or_not(rcgen::IsCa::NoCa, ["UnknownIssuer", "BadSignature"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_whose_certificate_says_that_it_is_an_authority_is_trusted_by_itself() {
    if !is_missing(&TOOLS) {
        let is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        trusted_or_not(is_ca, ["CaUsedAsEndEntity"; 2]).await;
    }
}

/// `words` are of no trust and of trust in another certificate of the same name.
async fn trusted_or_not(is_ca: rcgen::IsCa, words: [&str; 2]) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    params.is_ca = is_ca;
    fs::write(path("cert.pem"), params.self_signed(&key).expect("a certificate").pem()).expect("writes");
    fs::write(path("key.pem"), key.serialize_pem()).expect("writes");
    let other = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    fs::write(
        path("other.pem"),
        params.self_signed(&other).expect("a certificate").pem(),
    )
    .expect("writes");
    let tls = format!(
        "  tls: {{certificate: {}, key: {}}}",
        path("cert.pem").display(),
        path("key.pem").display()
    );
    let (registry, image) = (Debian::with(|_| String::new(), &tls), some_image());
    registry.push(&image, "app:1", None);
    for (ca, insecure, words) in [
        (None, false, words[0]),
        (Some("other.pem"), false, words[1]),
        (Some("missing.pem"), false, "missing.pem"),
        (Some("cert.pem"), false, ""),
        (None, true, ""),
    ] {
        let settings = HostSettings {
            ca: ca.map(path),
            insecure,
            ..HostSettings::default()
        };
        let settings = RegistrySettings {
            hosts: [(registry.host.clone(), settings)].into(),
            ..RegistrySettings::default()
        };
        match Ground::with(settings, LoginFiles::default())
            .pull(&registry.name("app:1"))
            .await
        {
            Ok(_) => assert_eq!(words, "", "{ca:?}"),
            Err(said) => assert!(!words.is_empty() && said.contains(words), "{ca:?}: {said}"),
        }
    }
}
