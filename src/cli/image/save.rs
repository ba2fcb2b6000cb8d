//! `image save`: an archive to a file or a pipe.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use futures::AsyncReadExt;

use super::CHUNK;
use crate::api::own::path;
use crate::cli::client::Node;
use crate::cli::error::{CliError, Result};

/// Arguments of `image save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Name or id
    name: String,
    /// Where to write; - is standard output
    #[arg(short, long, default_value = "-", value_name = "FILE|-")]
    output: PathBuf,
}

/// Under a temporary name until it is whole: half an archive must not look like one.
/// Runs `image save`.
pub(super) async fn save(node: &Node, args: &SaveArgs) -> Result {
    let query = [("name", args.name.clone())];
    let mut archive = node.stream(path::IMAGES_SAVE, &query).await?;
    if args.output == Path::new("-") {
        if rustix::termios::isatty(std::io::stdout()) {
            return Err(CliError::usage("an archive is nothing for a terminal; use -o FILE"));
        }
        return copy(&mut archive, &mut std::io::stdout().lock()).await;
    }
    let mut part = args.output.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let at_path = |error: std::io::Error| CliError::local(format_args!("{}: {error}", part.display()));
    let mut file = std::fs::File::create(&part).map_err(at_path)?;
    let written = copy(&mut archive, &mut file).await;
    let written = written
        .and_then(|()| Ok(file.sync_all()?))
        .and_then(|()| Ok(std::fs::rename(&part, &args.output)?));
    if written.is_err() {
        // What is left of it is of no use; the error above says why.
        let _ = std::fs::remove_file(&part);
    }
    written
}

async fn copy(from: &mut (impl futures::AsyncRead + Unpin), to: &mut impl Write) -> Result {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).await? {
            0 => return Ok(to.flush()?),
            count => to.write_all(&chunk[..count])?,
        }
    }
}
