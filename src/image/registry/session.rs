//! One repository at one registry, asked by one user: requests that carry what the registry wants to see, and are tried
//! again where that may help.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use super::access::{self, Access};
use super::credential::Credential;
use super::error::{ERROR_BODY, RegistryError, words_of};
use super::http::{client, speaks_no_tls};
use super::settings::{Endpoint, Transport};

/// How often a request is made before its error is told.
const TRIES: u32 = 3;
/// The wait before the second try; each further one waits four times as long. What passes passes within 1.5 s or lasts.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// The longest wait that a registry may ask for by `Retry-After`; a pod's own back-off is better than a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A repository at a registry.
#[derive(Debug)]
pub struct Session {
    endpoint: Endpoint,
    client: reqwest::Client,
    credential: Option<Credential>,
    access: Access,
    /// `https://host:port`, once it is known.
    base: OnceLock<String>,
    /// What the registry wants to see, once it was asked for.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Session {
    /// Prepares; nothing is sent. `stall` is how long an answer may make no progress.
    ///
    /// # Errors
    /// When the HTTP client can't be made.
    pub fn new(
        endpoint: Endpoint,
        credential: Option<Credential>,
        access: Access,
        stall: Duration,
    ) -> Result<Session, RegistryError> {
        Ok(Session {
            client: client(&endpoint, stall)?,
            endpoint,
            credential,
            access,
            base: OnceLock::new(),
            authorization: Mutex::default(),
        })
    }

    /// Who is asked.
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// The repository's path there.
    pub fn repository(&self) -> &str {
        &self.endpoint.repository
    }

    /// `…/v2/<repository>/<rest>`.
    pub(super) async fn url(&self, rest: &str) -> Result<String, RegistryError> {
        let base = match self.base.get() {
            Some(base) => base,
            None => {
                let base = self.find_base().await?;
                self.base.get_or_init(|| base)
            }
        };
        Ok(format!("{base}/v2/{}/{rest}", self.endpoint.repository))
    }

    /// Makes a request until it is answered with success, or with what another try does not change.
    ///
    /// # Errors
    /// The last try's.
    pub(super) async fn request(
        &self,
        what: &str,
        method: Method,
        url: &str,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match self.request_once(what, method.clone(), url, &change).await {
                Err((error, asked)) if error.is_passing() && asked.is_none_or(|asked| asked <= LONGEST_WAIT) => {
                    tokio::time::sleep(asked.unwrap_or(wait)).await;
                    wait *= 4;
                }
                Err((error, _)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        let last = self.request_once(what, method, url, &change).await;
        last.map_err(|(error, _)| error)
    }

    /// One try, with its second half if the registry first wants to know who asks. With an error comes how long the
    /// registry would have us wait.
    pub(super) async fn request_once(
        &self,
        what: &str,
        method: Method,
        url: &str,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, (RegistryError, Option<Duration>)> {
        let mut response = self.send(method.clone(), url, &change).await.map_err(|e| (e, None))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let learned = self.learn(what, response.headers()).await.map_err(|e| (e, None))?;
            if learned {
                response = self.send(method, url, &change).await.map_err(|e| (e, None))?;
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let asked = asked_wait(response.headers());
        Err((self.refusal(what, response).await, asked))
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut request = self.client.request(method, url);
        let is_own = self.base.get().is_some_and(|base| url.starts_with(base.as_str()));
        let known = self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // An upload may be sent to another host, which must not see it.
        if let Some(value) = known.filter(|_| is_own) {
            request = request.header(AUTHORIZATION, value);
        }
        change(request)
            .send()
            .await
            .map_err(|error| RegistryError::of(self.host(), error))
    }

    /// Finds out what the registry wants to see. False if it does not say.
    async fn learn(&self, what: &str, headers: &HeaderMap) -> Result<bool, RegistryError> {
        let Some(challenge) = access::plan_challenge(headers) else {
            return Ok(false);
        };
        let asker = access::Asker {
            client: &self.client,
            host: self.host(),
            repository: self.repository(),
            may_be_plain: self.base.get().is_some_and(|base| base.starts_with("http:")),
            credential: self.credential.as_ref(),
            access: self.access,
        };
        let value = asker.authorization(what, &challenge).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(true)
    }

    async fn refusal(&self, what: &str, response: Response) -> RegistryError {
        let status = response.status();
        let body = read_at_most(response, ERROR_BODY).await.unwrap_or_default();
        let (what, host, words) = (what.to_owned(), self.host().to_owned(), words_of(&body));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                what,
                host,
                login: login(self.credential.as_ref()),
                words,
            },
            status => RegistryError::Refused {
                what,
                host,
                status,
                words,
            },
        }
    }

    /// Which of HTTP and TLS is spoken there.
    async fn find_base(&self) -> Result<String, RegistryError> {
        let host = self.host();
        let (tls, plain) = (format!("https://{host}"), format!("http://{host}"));
        match self.endpoint.transport {
            Transport::Tls => Ok(tls),
            Transport::Loopback => match self.ping(&plain).await {
                // What Go's TLS answers to plain HTTP.
                Ok(StatusCode::BAD_REQUEST) => Ok(tls),
                Ok(_) => Ok(plain),
                Err(error) if error.is_connect() || error.is_timeout() => Err(RegistryError::of(host, error)),
                Err(_) => Ok(tls),
            },
            Transport::Insecure => match self.ping(&tls).await {
                Ok(_) => Ok(tls),
                Err(error) if speaks_no_tls(&error) || (error.is_connect() && !has_port(host)) => Ok(plain),
                Err(error) => Err(RegistryError::of(host, error)),
            },
        }
    }

    async fn ping(&self, base: &str) -> Result<StatusCode, reqwest::Error> {
        Ok(self.client.get(format!("{base}/v2/")).send().await?.status())
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}

/// Who asked, for messages.
pub(super) fn login(credential: Option<&Credential>) -> String {
    match credential {
        Some(credential) => format!("with the credentials of {}", credential.origin),
        None => "without credentials".to_owned(),
    }
}

fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads the beginning of a body.
pub(super) async fn read_at_most(mut response: Response, limit: u64) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let left = usize::try_from(limit).unwrap_or(usize::MAX) - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(left)]);
        if chunk.len() >= left {
            break;
        }
    }
    Ok(body)
}
