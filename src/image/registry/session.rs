//! One repository at one registry, asked by one user: requests that carry what the registry wants to see, and are tried
//! again where that may help.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

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
    /// For what is sent: how long a large body takes says nothing, so whoever sends watches over it.
    sender: reqwest::Client,
    credential: Option<Credential>,
    access: Access,
    stall: Duration,
    /// `https://host:port/`, once it is known.
    base: OnceLock<Url>,
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
        let reader = client(&endpoint, Some(stall))?;
        Ok(Session {
            sender: match access {
                Access::Pull => reader.clone(),
                Access::Push => client(&endpoint, None)?,
            },
            client: reader,
            endpoint,
            credential,
            access,
            stall,
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

    /// How long something may make no progress.
    pub(super) fn stall(&self) -> Duration {
        self.stall
    }

    /// `…/v2/<repository>/<rest>`.
    pub(super) async fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        let base = match self.base.get() {
            Some(base) => base,
            None => {
                let base = self.find_base().await?;
                self.base.get_or_init(|| base)
            }
        };
        let path = format!("v2/{}/{rest}", self.endpoint.repository);
        base.join(&path).map_err(|_| self.nonsense(&path, "it is no URL"))
    }

    /// Makes a request until it is answered with success, or with what another try does not change.
    ///
    /// # Errors
    /// The last try's.
    pub(super) async fn request(
        &self,
        what: &str,
        method: Method,
        url: &Url,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        retried(|| self.request_once(what, method.clone(), url, &change)).await
    }

    /// One try, with its second half if the registry first wants to know who asks. Who else answers, because the
    /// registry led there, gets to know nothing.
    pub(super) async fn request_once(
        &self,
        what: &str,
        method: Method,
        url: &Url,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let mut response = self.send(method.clone(), url, &change).await?;
        let is_asked = response.status() == StatusCode::UNAUTHORIZED && self.is_own(response.url());
        if is_asked && self.learn(what, response.headers()).await? {
            response = self.send(method, url, &change).await?;
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let asked = asked_wait(response.headers());
        let error = self.refusal(what, response).await;
        Err(Failure { error, asked })
    }

    /// Whether a URL is the registry's, by scheme, host and port.
    fn is_own(&self, url: &Url) -> bool {
        self.base.get().is_some_and(|base| base.origin() == url.origin())
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        change: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let client = match method {
            Method::PUT => &self.sender,
            _ => &self.client,
        };
        let mut request = client.request(method, url.clone());
        let known = self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // An upload may be sent to another host, which must not see it.
        if let Some(value) = known.filter(|_| self.is_own(url)) {
            request = request.header(AUTHORIZATION, value);
        }
        change(request)
            .send()
            .await
            .map_err(|error| RegistryError::of(self.host(), error))
    }

    /// Finds out what the registry wants to see. False if it does not say, or we don't have it.
    async fn learn(&self, what: &str, headers: &HeaderMap) -> Result<bool, RegistryError> {
        let Some(challenge) = access::plan_challenge(headers) else {
            return Ok(false);
        };
        let asker = access::Asker {
            client: &self.client,
            host: self.host(),
            repository: self.repository(),
            may_be_plain: self.base.get().is_some_and(|base| base.scheme() == "http"),
            credential: self.credential.as_ref(),
            access: self.access,
        };
        let Some(value) = asker.authorization(what, &challenge).await? else {
            return Ok(false);
        };
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
    async fn find_base(&self) -> Result<Url, RegistryError> {
        let host = self.host();
        let of = |scheme: &str| {
            let text = format!("{scheme}://{host}/");
            Url::parse(&text).map_err(|error| self.nonsense(&text, &error.to_string()))
        };
        let (tls, plain) = (of("https")?, of("http")?);
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

    async fn ping(&self, base: &Url) -> Result<StatusCode, reqwest::Error> {
        Ok(self.client.get(format!("{base}v2/")).send().await?.status())
    }
}

/// Why a try failed.
pub(super) struct Failure {
    pub(super) error: RegistryError,
    /// How long the registry would have us wait.
    pub(super) asked: Option<Duration>,
}

impl Failure {
    /// Whether another try may help, and soon enough.
    pub(super) fn is_passing(&self) -> bool {
        self.error.is_passing() && self.asked.is_none_or(|asked| asked <= LONGEST_WAIT)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Failure {
        Failure { error, asked: None }
    }
}

/// Tries until it is done, or until another try changes nothing.
///
/// # Errors
/// The last try's.
pub(super) async fn retried<T, F>(once: impl Fn() -> F) -> Result<T, RegistryError>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match once().await {
            Err(failure) if failure.is_passing() => {
                tokio::time::sleep(failure.asked.unwrap_or(wait)).await;
                wait *= 4;
            }
            done => return done.map_err(|failure| failure.error),
        }
    }
    once().await.map_err(|failure| failure.error)
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
