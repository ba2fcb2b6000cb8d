//! What registries answer and networks do, in words for people.

use std::path::PathBuf;

use reqwest::StatusCode;

use super::http::{chain, is_distrusted};
use crate::image::document::plain;

/// A registry could not be reached, refused, or said what can't be true.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or one that broke: worth another try.
    #[error("{host}: {why}")]
    Connection {
        /// Who was asked.
        host: String,
        /// What the network or TLS says.
        why: String,
    },
    /// Nothing came for as long as we wait, or next to nothing: worth another try.
    #[error("{host}: the registry stalls: {why}")]
    Stalled {
        /// Who was asked.
        host: String,
        /// What did not come.
        why: String,
    },
    /// The answer is an error, in the registry's own words.
    #[error("{what}: {host} answered {status}{words}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Who was asked.
        host: String,
        /// The HTTP status.
        status: StatusCode,
        /// `: ` and what it says about it, or nothing.
        words: String,
    },
    /// Whoever is asked wants to know who asks, and was not convinced.
    #[error("{what}: {host} denies access {login}{words}")]
    Denied {
        /// What was asked for.
        what: String,
        /// Who was asked: the registry or its token server.
        host: String,
        /// With which credentials: "without credentials", "with the credentials of …".
        login: String,
        /// `: ` and what it says about it, or nothing.
        words: String,
    },
    /// The answer is longer than it may be.
    #[error("{what}: {host} sends more than {limit} bytes")]
    TooLong {
        /// What was asked for.
        what: String,
        /// Who was asked.
        host: String,
        /// The most that is taken.
        limit: u64,
    },
    /// The answer is against the protocol.
    #[error("{what}: {host}: {why}")]
    Nonsense {
        /// What was asked for.
        what: String,
        /// Who was asked.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of certificates or credentials can't be used.
    #[error("{path}: {why}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A credential helper failed.
    #[error("{helper}: {why}")]
    Helper {
        /// The program.
        helper: String,
        /// What it said.
        why: String,
    },
    /// Nobody waits for the image any more.
    #[error("the pull was cancelled")]
    Cancelled,
}

impl RegistryError {
    /// What the HTTP client says, without the URL, which may hold a signature that opens a blob to anyone.
    pub(super) fn of(host: &str, error: reqwest::Error) -> RegistryError {
        let hint = match is_distrusted(&error) {
            true => format!(" (if you trust it: registries, {host:?}, ca in config.yaml)"),
            false => String::new(),
        };
        let is_connecting = error.is_connect();
        let is_timeout = error.is_timeout() && !is_connecting;
        let error = error.without_url();
        let (host, why) = (host.to_owned(), causes(&error) + &hint);
        match is_timeout {
            true => RegistryError::Stalled { host, why },
            false => RegistryError::Connection { host, why },
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            RegistryError::Connection { .. } | RegistryError::Stalled { .. } => true,
            RegistryError::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            RegistryError::Denied { .. }
            | RegistryError::TooLong { .. }
            | RegistryError::Nonsense { .. }
            | RegistryError::File { .. }
            | RegistryError::Helper { .. }
            | RegistryError::Cancelled => false,
        }
    }
}

/// An error and its causes, without those that only say that there is a cause.
fn causes(error: &reqwest::Error) -> String {
    const EMPTY: [&str; 5] = [
        "error sending request",
        "client error (",
        "error decoding response body",
        "error following redirect",
        "request or response body error",
    ];
    let mut said: Vec<String> = Vec::new();
    let mut causes = chain(error).peekable();
    while let Some(cause) = causes.next() {
        let text = cause.to_string();
        if text.contains("no records found") {
            return "no name server knows this name".to_owned();
        }
        let is_empty = EMPTY.iter().any(|empty| text.starts_with(empty)) && causes.peek().is_some();
        if !is_empty && !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
    }
    // Some hold what the other side wrote: names in certificates, where a redirect leads.
    said.join(": ").replace(char::is_control, " ")
}

/// Bytes of an error's body that are read: the specification's errors are one line.
pub(super) const ERROR_BODY: u64 = 16 << 10;

/// What a registry says about an error (OCI distribution specification, "Error Codes"), to stand behind a status:
/// `: MANIFEST_UNKNOWN: manifest unknown`.
pub(super) fn words_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    /// What token servers answer (RFC 6749, 5.2), and what Docker Hub's says.
    #[derive(serde::Deserialize)]
    struct Token {
        #[serde(default, alias = "error_description", alias = "message")]
        details: String,
    }
    let said = match serde_json::from_slice::<Errors>(body) {
        Ok(errors) => {
            let each = errors
                .errors
                .iter()
                .map(|e| match (e.code.as_str(), e.message.as_str()) {
                    (code, "") => code.to_owned(),
                    ("", message) => message.to_owned(),
                    (code, message) => format!("{code}: {message}"),
                });
            each.collect::<Vec<_>>().join("; ")
        }
        Err(_) => match serde_json::from_slice::<Token>(body) {
            Ok(token) if !token.details.is_empty() => token.details,
            _ => String::from_utf8_lossy(body).trim().to_owned(),
        },
    };
    let said = plain(&said);
    match said.trim() {
        "" => String::new(),
        markup if markup.starts_with('<') => String::new(),
        said => format!(": {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_speaks_for_itself() {
        let long = "x".repeat(1000);
        for (body, words) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}"#,
                ": MANIFEST_UNKNOWN: manifest unknown",
            ),
            (r#"{"errors":[{"code":"A"},{"code":"","message":"b"}]}"#, ": A; b"),
            (
                r#"{"details":"incorrect username or password"}"#,
                ": incorrect username or password",
            ),
            (r#"{"error":"x","error_description":"no such user"}"#, ": no such user"),
            ("404 page not found\n", ": 404 page not found"),
            ("<html><body>nginx</body></html>", ""),
            ("", ""),
            ("a\u{1b}[31mb", ": a [31mb"),
        ] {
            assert_eq!(words_of(body.as_bytes()), words, "{body}");
        }
        assert_eq!(words_of(long.as_bytes()).len(), crate::image::document::SHOWN + 2);
    }
}
