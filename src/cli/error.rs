//! What goes wrong on the command line, in kubectl's words, and the one place that maps it to exit codes.

use std::process::ExitCode;

use kube::core::Status;

/// The answer of every verb.
pub type Result<T = (), E = CliError> = std::result::Result<T, E>;

/// Why a verb failed: what to print, what may help, and how the process is to exit.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The whole line (or lines) for standard error; empty when all has been said.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// The fields that the server refused, each with its message.
    pub causes: Vec<(String, String)>,
}

/// Kinds of failure, as far as the exit code or a caller tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line itself is wrong.
    Usage,
    /// The API says that the object is not there.
    NotFound,
    /// The API says that the object is there already.
    AlreadyExists,
    /// The API refused for another reason.
    Api,
    /// No node answers and none could be started.
    NoNode,
    /// Something local failed: a file, a terminal, a stream.
    Local,
    /// A wait came to its time-out, or a condition became impossible.
    NotReached,
    /// `diff` found differences.
    Differs,
    /// `diff` could not look for some.
    NotCompared,
    /// A command in a container ended with this code.
    Command(u8),
    /// Whoever read our output is gone.
    PipeClosed,
}

impl CliError {
    /// `error: <message>`, as kubectl prints what did not come from the server.
    pub fn new(kind: ErrorKind, message: impl std::fmt::Display) -> Self {
        Self {
            kind,
            message: format!("error: {message}"),
            hint: None,
            causes: Vec::new(),
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Something local failed.
    pub fn local(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Local, message)
    }

    /// The node was stopped or died while we spoke with it.
    #[must_use]
    pub fn lost_node() -> Self {
        Self::new(ErrorKind::NoNode, "the node ended the connection").with_hint(
            "pods run on without it; `kubelocal status` tells whether it still runs, `$KUBELOCAL_HOME/node.log` why not",
        )
    }

    /// A failure of which everything has been printed already.
    #[must_use]
    pub fn silent(kind: ErrorKind) -> Self {
        Self {
            kind,
            message: String::new(),
            hint: None,
            causes: Vec::new(),
        }
    }

    /// The same failure with an advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A `metav1.Status` in kubectl's words (`cmdutil.StandardErrorMessage`).
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let kind = match status.reason.as_str() {
            "NotFound" => ErrorKind::NotFound,
            "AlreadyExists" => ErrorKind::AlreadyExists,
            _ => ErrorKind::Api,
        };
        Self {
            kind,
            message: status_message(status),
            hint: None,
            causes: Vec::new(),
        }
    }

    /// How the process is to exit: kubectl knows 0 and 1, and passes on the code of `exec`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Usage
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Api
            | ErrorKind::NoNode
            | ErrorKind::Local
            | ErrorKind::NotReached
            | ErrorKind::Differs => 1,
            // With 1 scripts would take it for a difference (`cmdutil.CheckDiffErr`).
            ErrorKind::NotCompared => 2,
            ErrorKind::Command(code) => code,
            // What a shell reports for a process that died of SIGPIPE, as kubectl does.
            ErrorKind::PipeClosed => 141,
        }
    }

    /// Prints it and tells the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("{}", shown(self.message.trim_end()));
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.exit_code())
    }
}

/// A message as a terminal may have it: archives, registries and manifests have words of their own in some.
pub(super) fn shown(message: &str) -> String {
    let is_layout = |c| matches!(c, '\n' | '\t');
    message.replace(|c: char| c.is_control() && !is_layout(c), "?")
}

impl From<kube::Error> for CliError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from_status(&status),
            other => match lost_node(&other) {
                true => Self::lost_node(),
                false => Self::new(ErrorKind::Api, with_sources(&other)),
            },
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::silent(ErrorKind::PipeClosed),
            _ => Self::local(error),
        }
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(std::io::ErrorKind::BrokenPipe) => Self::silent(ErrorKind::PipeClosed),
            _ => Self::local(error),
        }
    }
}

/// Whether the connection ended under the request: the node was stopped or died.
fn lost_node(error: &kube::Error) -> bool {
    sources(error).any(|source| {
        source
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_incomplete_message)
            || source.downcast_ref::<std::io::Error>().is_some_and(|io| {
                // The last two: it went between two requests, and its socket is left without a listener or is gone too.
                matches!(
                    io.kind(),
                    std::io::ErrorKind::ConnectionReset
                        | std::io::ErrorKind::BrokenPipe
                        | std::io::ErrorKind::ConnectionRefused
                        | std::io::ErrorKind::NotFound
                        // In the middle of an answer.
                        | std::io::ErrorKind::UnexpectedEof
                )
            })
    })
}

fn sources<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// An error with all its causes, each told once.
pub(super) fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for source in sources(error).map(ToString::to_string) {
        if text.is_empty() {
            text = source;
        } else if !text.contains(&source) {
            text = format!("{text}: {source}");
        }
    }
    text
}

fn status_message(status: &Status) -> String {
    if status.reason == "Invalid" {
        return invalid_message(status);
    }
    match status.reason.as_str() {
        "" => format!("Error from server: {}", status.message),
        reason => format!("Error from server ({reason}): {}", status.message),
    }
}

/// `The Pod "x" is invalid: spec.x: …`, or one bullet for each cause.
fn invalid_message(status: &Status) -> String {
    let Some(details) = &status.details else {
        return format!("The request is invalid: {}", status.message);
    };
    let mut text = "The request is invalid".to_owned();
    if !details.kind.is_empty() || !details.name.is_empty() {
        text = format!("The {} {:?} is invalid", details.kind, details.name);
    } else if details.causes.is_empty() {
        text = format!("{text}: {}", status.message);
    }
    let causes = details.causes.iter().map(|cause| match cause.field.as_str() {
        "" => cause.message.clone(),
        field => format!("{field}: {}", cause.message),
    });
    match causes.collect::<Vec<_>>().as_slice() {
        [] => text,
        [one] => format!("{text}: {one}"),
        many => many
            .iter()
            .fold(format!("{text}: "), |text, cause| format!("{text}\n* {cause}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: serde_json::Value) -> CliError {
        CliError::from_status(&serde_json::from_value(json).expect("a Status"))
    }

    #[test]
    fn errors_of_the_server_read_as_kubectl_prints_them() {
        let cases = [
            (
                serde_json::json!({"reason": "NotFound", "message": "pods \"x\" not found", "code": 404}),
                "Error from server (NotFound): pods \"x\" not found",
            ),
            (
                serde_json::json!({"message": "boom", "code": 500}),
                "Error from server: boom",
            ),
            (
                serde_json::json!({"reason": "Invalid", "message": "m", "details": {"kind": "Pod", "name": "x",
                    "causes": [{"field": "spec.a", "message": "Required value"}]}}),
                "The Pod \"x\" is invalid: spec.a: Required value",
            ),
            (
                serde_json::json!({"reason": "Invalid", "message": "m", "details": {"kind": "Pod", "name": "x",
                    "causes": [{"field": "a", "message": "m"}, {"message": "n"}]}}),
                "The Pod \"x\" is invalid: \n* a: m\n* n",
            ),
            (
                serde_json::json!({"reason": "Invalid", "message": "m", "details": {}}),
                "The request is invalid: m",
            ),
        ];
        for (json, text) in cases {
            assert_eq!(status(json).message, text);
        }
    }

    #[test]
    fn only_a_command_brings_an_exit_code_of_its_own() {
        assert_eq!(CliError::usage("x").exit_code(), 1);
        assert_eq!(CliError::silent(ErrorKind::Command(42)).exit_code(), 42);
    }
}
