//! What a registry wants to see before it answers: a password, or a token that its token server gives for one.

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::credential::{Credential, Login};
use super::error::{ERROR_BODY, RegistryError, words_of};
use super::session::{login, read_at_most};

/// Bytes of a token server's answer. Tokens are 1 to 8 KiB, as headers have to be.
const TOKEN_BODY: u64 = 64 << 10;

/// What is to be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Pull,
    /// Read and write it.
    Push,
}

/// How the registry wants to be answered (RFC 7235; distribution's `token` specification).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenge to answer: a token where one can be had, since a password then goes to the token server alone.
pub(super) fn plan_challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers
        .get_all(WWW_AUTHENTICATE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut found = None;
    for text in texts {
        for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
            let param = |name: &str| {
                let given = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                given
                    .map(|(_, value)| value.to_unescaped())
                    .filter(|value| !value.is_empty())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = param("realm")
            {
                return Some(Challenge::Bearer {
                    realm,
                    service: param("service"),
                    scope: param("scope"),
                });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                found = Some(Challenge::Basic);
            }
        }
    }
    found
}

/// Who asks whom for what.
pub(super) struct Asker<'a> {
    pub client: &'a reqwest::Client,
    pub host: &'a str,
    pub repository: &'a str,
    /// Whether the token server may be asked without TLS: only if the registry itself is.
    pub may_be_plain: bool,
    pub credential: Option<&'a Credential>,
    pub access: Access,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default, deserialize_with = "crate::image::document::or_default")]
    token: String,
    #[serde(default, deserialize_with = "crate::image::document::or_default")]
    access_token: String,
}

impl Asker<'_> {
    /// The value of `Authorization` that answers the challenge; none if there is nothing to answer it with.
    pub(super) async fn authorization(
        &self,
        what: &str,
        challenge: &Challenge,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let text = match (challenge, self.credential.map(|credential| &credential.login)) {
            (Challenge::Basic, Some(Login::Password { user, password })) => basic(user, password),
            (Challenge::Basic, Some(Login::RegistryToken(_) | Login::IdentityToken(_)) | None) => {
                return Ok(None);
            }
            (Challenge::Bearer { .. }, Some(Login::RegistryToken(token))) => format!("Bearer {token}"),
            (Challenge::Bearer { realm, service, scope }, login) => {
                let token = self.token(what, realm, service.as_deref(), scope.as_deref(), login);
                format!("Bearer {}", token.await?)
            }
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| RegistryError::Nonsense {
            what: what.to_owned(),
            host: self.host.to_owned(),
            why: "its token, or the password, can't stand in a header".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn token(
        &self,
        what: &str,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        login: Option<&Login>,
    ) -> Result<String, RegistryError> {
        let mut url = self.realm(what, realm)?;
        let host = authority(&url);
        let wanted = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let own_scope = format!("repository:{}:{wanted}", self.repository);
        // A challenge to a read asks for `pull` alone, which would have to be asked again for every write.
        let scope = scope.filter(|_| self.access == Access::Pull).unwrap_or(&own_scope);
        let mut fields = vec![("scope", scope)];
        fields.extend(service.map(|service| ("service", service)));
        let request = match login {
            Some(Login::IdentityToken(token)) => {
                fields.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "kubelocal"),
                    ("refresh_token", token),
                ]);
                let mut form = Url::parse("form:").expect("a URL");
                form.query_pairs_mut().extend_pairs(&fields);
                let kind = "application/x-www-form-urlencoded";
                let body = form.query().unwrap_or_default().to_owned();
                self.client
                    .post(url)
                    .header(reqwest::header::CONTENT_TYPE, kind)
                    .body(body)
            }
            Some(Login::Password { user, password }) => {
                url.query_pairs_mut().extend_pairs(&fields).append_pair("account", user);
                self.client.get(url).basic_auth(user, Some(password))
            }
            Some(Login::RegistryToken(_)) | None => {
                url.query_pairs_mut().extend_pairs(&fields);
                self.client.get(url)
            }
        };
        let response = request.send().await.map_err(|error| RegistryError::of(&host, error))?;
        self.read_token(what, &host, response).await
    }

    async fn read_token(&self, what: &str, host: &str, response: reqwest::Response) -> Result<String, RegistryError> {
        let status = response.status();
        if !status.is_success() {
            let body = read_at_most(response, ERROR_BODY).await.unwrap_or_default();
            let words = words_of(&body);
            return Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(what, host, &words),
                status => RegistryError::Refused {
                    what: format!("a token for {}", self.host),
                    host: host.to_owned(),
                    status,
                    words,
                },
            });
        }
        let body = read_at_most(response, TOKEN_BODY).await;
        let body = body.map_err(|error| RegistryError::of(host, error))?;
        let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
        let token = answer.map(|answer| match answer.token.is_empty() {
            true => answer.access_token,
            false => answer.token,
        });
        token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| RegistryError::Nonsense {
                what: format!("a token for {}", self.host),
                host: host.to_owned(),
                why: "the answer has no token in it".to_owned(),
            })
    }

    /// Where tokens are had. A registry with TLS may not send passwords to a server without.
    fn realm(&self, what: &str, realm: &str) -> Result<Url, RegistryError> {
        let wrong = |why: String| RegistryError::Nonsense {
            what: what.to_owned(),
            host: self.host.to_owned(),
            why,
        };
        let url = Url::parse(realm).map_err(|error| wrong(format!("its token server {realm:?} is no URL: {error}")))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.may_be_plain => Ok(url),
            _ => Err(wrong(format!("its token server {realm:?} is not asked: it has no TLS"))),
        }
    }

    fn denied(&self, what: &str, host: &str, words: &str) -> RegistryError {
        RegistryError::Denied {
            what: what.to_owned(),
            host: host.to_owned(),
            login: login(self.credential),
            words: words.to_owned(),
        }
    }
}

/// A host with its port, if it is not the usual one.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).expect("a value"));
        }
        plan_challenge(&headers)
    }

    #[test]
    fn a_token_server_is_named_with_its_port() {
        for (url, name) in [
            ("https://auth.docker.io/token", "auth.docker.io"),
            ("http://localhost:5001/token", "localhost:5001"),
            ("https://[::1]:5001/token", "[::1]:5001"),
        ] {
            assert_eq!(authority(&Url::parse(url).expect("a URL")), name);
        }
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer = Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_owned(),
            service: Some("registry.docker.io".to_owned()),
            scope: Some("repository:library/nginx:pull".to_owned()),
        };
        let text = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/nginx:pull\"";
        assert_eq!(challenge(&[text]), Some(bearer.clone()));
        assert_eq!(challenge(&["Basic realm=\"x\"", text]), Some(bearer.clone()));
        assert_eq!(challenge(&[&format!("Basic realm=\"x\", {text}")]), Some(bearer));
        assert_eq!(challenge(&["basic realm=\"Registry Realm\""]), Some(Challenge::Basic));
        for nothing in [&[][..], &["Bearer service=\"x\""], &["Negotiate"], &["\"x"], &["=,=,"]] {
            assert_eq!(challenge(nothing), None, "{nothing:?}");
        }
    }
}
