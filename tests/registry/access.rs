//! Who asks: passwords, tokens, files, helpers, Secrets; and who must never see them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kubelocal::image::{Keyring, Login, LoginFiles, PullRequest, RegistrySettings};
use serde_json::json;

use crate::image::Image;
use crate::pulls::Ground;
use crate::scripted::{Answer, Request, Scripted};

fn password(user: &str) -> Login {
    Login::Password {
        user: user.to_owned(),
        password: "secret".to_owned(),
    }
}

fn basic(user: &str) -> String {
    use base64::Engine;
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:secret"))
    )
}

/// Answers 401 unless the right header comes.
fn wants(header: String) -> impl Fn(&Request, usize) -> Option<Answer> {
    move |request, _| {
        let is_right = request.headers.get("authorization") == Some(&header);
        let challenge = Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\"");
        (!is_right && request.path != "/v2/").then_some(challenge)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_credentials_are_tried_one_after_the_other_and_then_the_users() {
    let image = Image::small("x");
    for right in ["first", "second", "user"] {
        let registry = Scripted::answering(&[("1", &image)], wants(basic(right)));
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("auth.json");
        let auths = json!({"auths": {&registry.host: {"username": "user", "password": "secret"}}});
        fs::write(&file, auths.to_string()).expect("writes");
        let ground = Ground::with(RegistrySettings::default(), LoginFiles::only(file));
        let keyring = |user: &str| Keyring::single(&registry.host, password(user), "a Secret");
        let request = PullRequest {
            name: registry.name("app:1"),
            keyrings: vec![keyring("first"), keyring("second")],
            logins: None,
            is_packed: false,
        };
        ground.puller.pull(request).done().await.expect(right);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_that_fails_is_not_in_the_way_of_given_credentials() {
    let image = Image::small("x");
    let registry = Scripted::answering(&[("1", &image)], wants(basic("given")));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.json");
    fs::write(&file, r#"{"credsStore": "kubelocal-is-not-installed"}"#).expect("writes");
    let ground = Ground::with(RegistrySettings::default(), LoginFiles::only(file));
    let request = |user: &str| PullRequest {
        name: registry.name("app:1"),
        keyrings: vec![Keyring::single(&registry.host, password(user), "a Secret")],
        logins: None,
        is_packed: false,
    };
    let said = ground
        .puller
        .pull(request("wrong"))
        .done()
        .await
        .expect_err("is refused");
    assert!(said.to_string().contains("denies access"), "{said}");
    ground.puller.pull(request("given")).done().await.expect("pulls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_is_asked_and_its_token_is_exchanged() {
    let image = Image::small("x");
    let dir = tempfile::tempdir().expect("a directory");
    // The helper is found by PATH, which is the process's: so it is a file by that name in a place that is on it.
    let helper = dir.path().join("docker-credential-kubelocal-test");
    let script = "#!/bin/sh\nread server\n[ \"$1\" = get ] && echo \"{\\\"ServerURL\\\":\\\"$server\\\",\\\"Username\\\":\\\"<token>\\\",\\\"Secret\\\":\\\"identity\\\"}\"\n";
    fs::write(&helper, script).expect("writes");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("ours");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    // SAFETY: the tests that run beside this one read the PATH only to start programs, through std, which locks it.
    unsafe { std::env::set_var("PATH", path) };
    let registry = Scripted::answering(&[("1", &image)], |request, _| {
        if request.path == "/token" {
            return Some(Answer::new(200, r#"{"access_token": "bearer"}"#));
        }
        let is_right = request
            .headers
            .get("authorization")
            .is_some_and(|header| header == "Bearer bearer");
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
        (!is_right && request.path != "/v2/").then(|| Answer::new(401, "").with("WWW-Authenticate", challenge))
    });
    let file = dir.path().join("config.json");
    fs::write(
        &file,
        json!({"credHelpers": {&registry.host: "kubelocal-test"}}).to_string(),
    )
    .expect("writes");
    let ground = Ground::with(RegistrySettings::default(), LoginFiles::only(file));
    ground.pull(&registry.name("app:1")).await.expect("pulls");
    let asked = registry.asked("/token");
    assert_eq!((asked.len(), asked[0].method.as_str()), (1, "POST"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_does_not_follow_a_redirect_to_another_host() {
    let image = Image::small("x");
    let blobs = image.blobs.clone();
    let storage = Scripted::answering(&[], move |request, _| {
        let wanted = request.path.rsplit('/').next()?;
        blobs.get(wanted).map(|bytes| Answer::new(200, bytes.clone()))
    });
    let elsewhere = storage.host.clone();
    let wants = wants(basic("ann"));
    let registry = Scripted::answering(&[("1", &image)], move |request, before| {
        let on = Answer::new(307, "").with("Location", format!("http://{elsewhere}{}", request.path));
        wants(request, before).or_else(|| request.path.contains("/blobs/").then_some(on))
    });
    let ground = Ground::new();
    let request = PullRequest {
        name: registry.name("app:1"),
        keyrings: vec![Keyring::single(&registry.host, password("ann"), "a Secret")],
        logins: None,
        is_packed: false,
    };
    ground.puller.pull(request).done().await.expect("pulls");
    let asked = storage.asked("/blobs/");
    assert_eq!(asked.len(), 2);
    assert!(
        asked
            .iter()
            .all(|request| !request.headers.contains_key("authorization")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_of_whoever_the_registry_leads_to_is_not_answered() {
    let image = Image::small("x");
    let thief = Scripted::answering(&[], |request, _| {
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        let token = Answer::new(200, r#"{"token": "t"}"#);
        let asks = Answer::new(401, "").with("WWW-Authenticate", challenge);
        Some(if request.path.starts_with("/token") {
            token
        } else {
            asks
        })
    });
    let elsewhere = thief.host.clone();
    let registry = Scripted::answering(&[("1", &image)], move |request, _| {
        let on = Answer::new(307, "").with("Location", format!("http://{elsewhere}{}", request.path));
        request.path.contains("/blobs/").then_some(on)
    });
    let request = PullRequest {
        name: registry.name("app:1"),
        keyrings: vec![Keyring::single(&registry.host, password("ann"), "a Secret")],
        logins: None,
        is_packed: false,
    };
    let refused = Ground::new().puller.pull(request).done().await.expect_err("is refused");
    assert!(refused.to_string().contains("denies access"), "{refused}");
    assert!(!thief.asked("/blobs/").is_empty());
    assert_eq!(
        thief.asked("/token").len(),
        0,
        "the password was sent to {}",
        thief.host
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_on_the_way_is_had_anew() {
    let image = Image::small("x");
    let registry = Scripted::answering(&[("1", &image)], |request, before| {
        if request.path.starts_with("/token") {
            return Some(Answer::new(200, format!("{{\"token\": \"t{before}\"}}")));
        }
        // The first token is good for the manifest, the second for the rest.
        let wanted = if request.path.contains("/blobs/") {
            "Bearer t1"
        } else {
            "Bearer t0"
        };
        let is_right = request
            .headers
            .get("authorization")
            .is_some_and(|header| header == wanted);
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        (!is_right && request.path != "/v2/").then(|| Answer::new(401, "").with("WWW-Authenticate", challenge))
    });
    Ground::new().pull(&registry.name("app:1")).await.expect("pulls");
    assert_eq!(registry.asked("/token").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_server_that_floods_or_says_nothing_is_refused() {
    let image = Image::small("x");
    for body in ["{}".to_owned(), " ".repeat(1 << 20), "[".repeat(50_000)] {
        let registry = Scripted::answering(&[("1", &image)], move |request, _| {
            if request.path.starts_with("/token") {
                return Some(Answer::new(200, body.clone()));
            }
            let host = request.headers.get("host").cloned().unwrap_or_default();
            let challenge = format!("Bearer realm=\"http://{host}/token\"");
            (request.path != "/v2/").then(|| Answer::new(401, "").with("WWW-Authenticate", challenge))
        });
        let said = Ground::new().pull(&registry.name("app:1")).await.expect_err("no token");
        assert!(said.contains("no token in it"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_wants_a_password_is_quoted_when_there_is_none() {
    let image = Image::small("x");
    let registry = Scripted::answering(&[("1", &image)], |request, _| {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"ask ann for an account"}]}"#;
        let challenge = Answer::new(401, body).with("WWW-Authenticate", "Basic realm=\"x\"");
        (request.path != "/v2/").then_some(challenge)
    });
    let said = Ground::new()
        .pull(&registry.name("app:1"))
        .await
        .expect_err("is refused");
    assert!(
        said.contains("denies access without credentials: UNAUTHORIZED: ask ann for an account"),
        "{said}"
    );
}
