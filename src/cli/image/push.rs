//! `image push`: the other way, with the same bars.

use std::path::PathBuf;

use clap::Args;
use futures::{AsyncBufReadExt, TryStreamExt};

use super::pull::View;
use crate::api::own::{PushImage, PushUpdate, path};
use crate::cli::client::Node;
use crate::cli::context::write;
use crate::cli::error::{CliError, Result};

/// Arguments of `image push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Name or id
    name: String,
    /// The name to give it at the registry, if it is another
    target: Option<String>,
    /// A file of credentials, in place of those that podman and docker use
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    authfile: Option<PathBuf>,
    /// Say nothing but the digest
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `image push`.
pub(super) async fn push(node: &Node, args: &PushArgs) -> Result {
    let request = PushImage {
        name: args.name.clone(),
        target: args.target.clone(),
        auth_file: args.authfile.as_ref().map(std::path::absolute).transpose()?,
    };
    let mut view = View::for_output("pushing", args.quiet);
    let mut lines = node.updates(path::IMAGES_PUSH, &request).await?.lines();
    while let Some(line) = lines.try_next().await? {
        match serde_json::from_str(&line)? {
            PushUpdate::Progress(state) => write(&view.show(&state))?,
            PushUpdate::Failed { message } => {
                write(&view.clear())?;
                return Err(CliError::local(format_args!("{}: {message}", args.name)));
            }
            PushUpdate::Pushed { digest } if args.quiet => return write(&format!("{digest}\n")),
            PushUpdate::Pushed { digest } => {
                let target = args.target.as_ref().unwrap_or(&args.name);
                return write(&format!("{}Pushed: {target}\n{digest}\n", view.clear()));
            }
        }
    }
    Err(CliError::local(format_args!(
        "{}: the node ended the connection",
        args.name
    )))
}
