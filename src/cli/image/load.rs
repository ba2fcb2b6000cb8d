//! `image load` and `image import`: archives, layouts and root file systems from files and pipes.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::CHUNK;
use crate::api::own::{ImageList, path};
use crate::cli::builder::{Theirs, bring};
use crate::cli::client::Node;
use crate::cli::context::write;
use crate::cli::error::{CliError, Result};

/// Arguments of `image load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The archive or layout, or - for standard input
    #[arg(value_name = "FILE|-", required_unless_present = "from")]
    file: Option<PathBuf>,
    /// An image that podman, buildah or docker has on this machine
    #[arg(long, value_name = "TOOL:NAME", conflicts_with = "file")]
    from: Option<Theirs>,
}

/// Arguments of `image import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A tar of a root file system, or - for standard input
    #[arg(value_name = "ROOTFS.tar|-")]
    file: PathBuf,
    /// What to call the image
    name: String,
}

/// Runs `image load`.
pub(super) async fn load(node: &Node, args: &LoadArgs) -> Result {
    if let Some(theirs) = &args.from {
        return tell_loaded("Loaded", &bring(node, theirs).await?);
    }
    let file = args.file.as_deref().unwrap_or(Path::new("-"));
    let answer: ImageList = if file.is_dir() {
        node.upload(path::IMAGES_LOAD, &[], archive_body(packed(file)?)).await?
    } else {
        node.upload(path::IMAGES_LOAD, &[], archive_body(open(file).await?))
            .await?
    };
    tell_loaded("Loaded", &answer)
}

/// Runs `image import`.
pub(super) async fn import(node: &Node, args: &ImportArgs) -> Result {
    let query = [("name", args.name.clone())];
    let answer: ImageList = node
        .upload(path::IMAGES_IMPORT, &query, archive_body(open(&args.file).await?))
        .await?;
    tell_loaded("Imported", &answer)
}

fn tell_loaded(word: &str, list: &ImageList) -> Result {
    for image in &list.images {
        let names = if image.references.is_empty() {
            image.id.clone()
        } else {
            image.references.join(", ")
        };
        write(&format!("{word} image: {names}\n"))?;
    }
    Ok(())
}

async fn open(file: &Path) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
    if file == Path::new("-") {
        return Ok(Box::new(tokio::io::stdin()));
    }
    let opened = tokio::fs::File::open(file).await;
    let opened = opened.map_err(|error| CliError::local(format_args!("{}: {error}", file.display())))?;
    Ok(Box::new(opened))
}

/// A directory as a tar that is written while it is read: layouts can be large.
fn packed(directory: &Path) -> Result<tokio::net::unix::pipe::Receiver> {
    let (reader, writer) = std::io::pipe()?;
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        let mut archive = tar::Builder::new(std::io::BufWriter::with_capacity(CHUNK, writer));
        // When this fails the reader sees an archive without its end, and the node refuses it.
        let _ = archive
            .append_dir_all(".", directory)
            .and_then(|()| archive.into_inner()?.flush());
    });
    Ok(tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())?)
}

/// An archive as a request's body.
pub(in crate::cli) fn archive_body(
    reader: impl AsyncRead + Send + Unpin + 'static,
) -> impl hyper::body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static {
    let frames = futures::stream::try_unfold(reader, |mut reader| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let count = (&mut reader).take(CHUNK as u64).read_buf(&mut chunk).await?;
        Ok((count > 0).then(|| (Frame::data(Bytes::from(chunk)), reader)))
    });
    StreamBody::new(frames)
}
