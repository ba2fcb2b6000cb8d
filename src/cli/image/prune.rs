//! `image prune`: images that nothing uses.

use std::io::{BufRead, Write};

use clap::Args;
use http::Method;

use crate::api::own::{Reclaimed, path};
use crate::cli::client::Node;
use crate::cli::context::write;
use crate::cli::error::{CliError, Result};
use crate::cli::print::human_size;
use crate::cli::terminal;

/// Arguments of `image prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// All that nothing uses, and not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Runs `image prune`.
pub(super) async fn prune(node: &Node, args: &PruneArgs) -> Result {
    // What has no name was replaced; what has one may have been built here and be nowhere else.
    if args.all && !args.force && !is_agreed()? {
        return Ok(());
    }
    let query = [("all", args.all.to_string())];
    let gone: Reclaimed = node.own(Method::POST, path::IMAGES_PRUNE, &query, None::<&()>).await?;
    let mut text: String = gone.images.iter().map(|name| format!("Deleted: {name}\n")).collect();
    text.push_str(&format!("Reclaimed: {}\n", human_size(gone.bytes)));
    write(&text)
}

fn is_agreed() -> Result<bool> {
    if !terminal::is_terminal() {
        return Err(CliError::usage(
            "--all removes images that may be nowhere else; without a terminal to ask on it needs --force",
        ));
    }
    eprint!("Remove all images that no pod uses, also those built here? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
