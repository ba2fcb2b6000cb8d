//! The streams between this terminal and a process in a container: what `exec`, `attach` and `cp` have in common.

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status as EndStatus;
use kube::api::{AttachParams, AttachedProcess};
use kube::core::Status;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::error::{CliError, ErrorKind, Result};
use super::terminal::{self, RawMode};

/// The buffers between the connection and us; kube's default of a kilobyte makes many small steps of large outputs.
const BUFFER: usize = 64 << 10;

/// Which streams a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Standard input goes to the process.
    pub stdin: bool,
    /// The process has a terminal, and its two outputs are one.
    pub tty: bool,
}

impl Streams {
    /// From `-i` and `-t`; a terminal that is not there is not promised to the process.
    #[must_use]
    pub fn from_flags(stdin: bool, tty: bool) -> Self {
        if tty && !(stdin && terminal::is_terminal()) {
            eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
            return Self { stdin, tty: false };
        }
        Self { stdin, tty }
    }

    /// In the words of the `kube` client.
    #[must_use]
    pub fn params(self, container: &str) -> AttachParams {
        AttachParams {
            stdin: self.stdin,
            stdout: true,
            stderr: !self.tty,
            tty: self.tty,
            container: Some(container.to_owned()),
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        }
    }
}

/// Joins this terminal with the process until it ends.
///
/// # Errors
/// When the process ended with another code than 0 (which becomes our own), or the connection broke.
pub async fn interact(mut process: AttachedProcess, streams: Streams) -> Result {
    let raw_mode = if streams.tty { Some(RawMode::enter()?) } else { None };
    let status = status_of(&mut process).shared();
    let outputs = futures::future::try_join(
        copy(process.stdout(), tokio::io::stdout()),
        copy(process.stderr(), tokio::io::stderr()),
    );
    let stdin = process.stdin();
    let input = async {
        if let Some(mut stdin) = stdin {
            tokio::io::copy(&mut tokio::io::stdin(), &mut stdin).await?;
            stdin.shutdown().await?;
        }
        std::future::pending::<Result>().await
    };
    let sizes = follow_size(process.terminal_size());
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = outputs => outcome.map(drop),
        outcome = input => outcome,
        outcome = sizes => outcome,
        () = until_lost(status.clone()) => Ok(()),
        // Asked to go, we leave the terminal as it was.
        _ = terminate.recv() => Err(CliError::silent(ErrorKind::Command(143))),
    };
    drop(raw_mode);
    outcome?;
    end_of(process, status.await.map(serde_json::to_value).transpose()?).await
}

/// How a process ended; `None` if nobody tells, because the connection broke.
pub fn status_of(process: &mut AttachedProcess) -> impl Future<Output = Option<EndStatus>> + use<> {
    let status = process.take_status();
    async move { status?.await }
}

/// Until the connection breaks. The `kube` client ends no output then, so that whoever reads one has to watch for this too.
pub async fn until_lost(status: impl Future<Output = Option<EndStatus>>) {
    if status.await.is_some() {
        std::future::pending().await
    }
}

/// What the end of a process means for us.
///
/// # Errors
/// When it ended with another code than 0, or we were not told how it ended.
pub async fn end_of(process: AttachedProcess, status: Option<Value>) -> Result {
    match status {
        Some(status) => result_of(&serde_json::from_value(status)?),
        None => match process.join().await {
            // What the library says then is of its protocol.
            Err(_) => Err(CliError::lost_node()),
            Ok(()) => Err(CliError::new(
                ErrorKind::NoNode,
                "the connection ended before the command did",
            )),
        },
    }
}

/// A `Status` from the error channel (`v4.channel.k8s.io`): success, an exit code, or a failure to run at all.
fn result_of(status: &Status) -> Result {
    if !status.is_failure() {
        return Ok(());
    }
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let code = causes
        .filter(|cause| cause.reason == "ExitCode")
        .find_map(|cause| cause.message.parse::<i32>().ok());
    match code {
        Some(code) => {
            let error = CliError::silent(ErrorKind::Command(u8::try_from(code & 0xff).unwrap_or(1)));
            Err(CliError {
                message: format!("command terminated with exit code {code}"),
                ..error
            })
        }
        None => Err(CliError::new(ErrorKind::Command(126), &status.message)),
    }
}

async fn copy(from: Option<impl AsyncRead + Unpin>, mut to: impl AsyncWrite + Unpin) -> Result {
    if let Some(mut from) = from {
        let mut chunk = vec![0; BUFFER];
        loop {
            match tokio::io::AsyncReadExt::read(&mut from, &mut chunk).await? {
                0 => break,
                count => {
                    to.write_all(&chunk[..count]).await?;
                    to.flush().await?;
                }
            }
        }
    }
    Ok(())
}

/// Tells the size of the terminal now and whenever it changes; never ends.
async fn follow_size(sender: Option<futures::channel::mpsc::Sender<kube::api::TerminalSize>>) -> Result {
    let Some(mut sender) = sender else {
        return std::future::pending().await;
    };
    let mut changes = signal(SignalKind::window_change())?;
    loop {
        if let Some(size) = terminal::size() {
            // A full channel holds an older size; the next change will tell the newest.
            let _ = sender.try_send(size);
        }
        changes.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_of_a_session_becomes_an_exit_code() {
        let end = |status: Value| result_of(&serde_json::from_value(status).expect("a Status"));
        assert!(end(json!({"metadata": {}, "status": "Success"})).is_ok());
        let error = end(json!({"status": "Failure", "reason": "NonZeroExitCode", "message": "m",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}));
        let error = error.expect_err("three");
        assert_eq!(
            (error.exit_code(), error.message.as_str()),
            (3, "command terminated with exit code 3")
        );
        let error = end(json!({"status": "Failure", "message": "exec: \"x\": not found"})).expect_err("not run");
        assert_eq!(error.exit_code(), 126);
    }
}
