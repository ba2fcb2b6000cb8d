//! `image`: the node's images, loaded from archives, made from root file systems, named and removed.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use futures::AsyncReadExt;
use http::Method;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::client::Node;
use super::context::{Failures, write};
use super::error::{CliError, Result};
use super::node;
use super::print::{self, Layout};
use crate::api::own::{ImageInfo, ImageList, ImageRemoved, TagRequest, path};
use crate::api::table::age::age;

/// How much of an archive travels at once.
const CHUNK: usize = 256 << 10;

/// Work with the node's images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Load images from an OCI or docker archive, or an OCI layout directory
    Load(LoadArgs),
    /// Make an image of a tar of a root file system
    Import(ImportArgs),
    /// List images
    Ls(LsArgs),
    /// Show an image's configuration and layers
    Inspect(NameArgs),
    /// Remove images
    Rm(RmArgs),
    /// Write an image as an OCI archive
    Save(SaveArgs),
    /// Give an image another name
    Tag(TagArgs),
}

/// Arguments of `image load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The archive or layout, or - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
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

/// Arguments of `image ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// json or yaml
    #[arg(short, long, default_value = "", hide_default_value = true, value_parser = ["", "json", "yaml"], value_name = "FORMAT")]
    output: String,
    /// Leave out the headings
    #[arg(long)]
    no_headers: bool,
}

/// An image by name.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name or id
    name: String,
}

/// Arguments of `image rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// Arguments of `image save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Name or id
    name: String,
    /// Where to write; - is standard output
    #[arg(short, long, default_value = "-", value_name = "FILE|-")]
    output: PathBuf,
}

/// Arguments of `image tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Name or id
    source: String,
    /// Its new name
    target: String,
}

/// Runs `image …`.
///
/// # Errors
/// When a file can't be read or written, or the node refuses.
pub async fn run(verb: &ImageVerb) -> Result {
    let node = node::connect().await?;
    match verb {
        ImageVerb::Load(args) => load(&node, &args.file).await,
        ImageVerb::Import(args) => import(&node, args).await,
        ImageVerb::Ls(args) => list(&node, args).await,
        ImageVerb::Inspect(args) => {
            let query = [("name", args.name.clone())];
            let image: Value = node.own(Method::GET, path::IMAGES_INSPECT, &query, None::<&()>).await?;
            write(&print::json(&image)?)
        }
        ImageVerb::Rm(args) => remove(&node, args).await,
        ImageVerb::Save(args) => save(&node, args).await,
        ImageVerb::Tag(args) => {
            let request = TagRequest {
                source: args.source.clone(),
                target: args.target.clone(),
            };
            node.own::<Value>(Method::POST, path::IMAGES_TAG, &[], Some(&request))
                .await
                .map(drop)
        }
    }
}

async fn load(node: &Node, file: &Path) -> Result {
    let answer: ImageList = if file.is_dir() {
        node.upload(path::IMAGES_LOAD, &[], body_of(packed(file)?)).await?
    } else {
        node.upload(path::IMAGES_LOAD, &[], body_of(open(file).await?)).await?
    };
    tell_loaded("Loaded", &answer)
}

async fn import(node: &Node, args: &ImportArgs) -> Result {
    let query = [("name", args.name.clone())];
    let answer: ImageList = node
        .upload(path::IMAGES_IMPORT, &query, body_of(open(&args.file).await?))
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

fn body_of(
    reader: impl AsyncRead + Send + Unpin + 'static,
) -> impl hyper::body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static {
    let frames = futures::stream::try_unfold(reader, |mut reader| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let count = (&mut reader).take(CHUNK as u64).read_buf(&mut chunk).await?;
        Ok((count > 0).then(|| (Frame::data(Bytes::from(chunk)), reader)))
    });
    StreamBody::new(frames)
}

async fn list(node: &Node, args: &LsArgs) -> Result {
    let mut list: ImageList = node.own(Method::GET, path::IMAGES, &[], None::<&()>).await?;
    list.images
        .sort_by(|a, b| (&a.references, &a.id).cmp(&(&b.references, &b.id)));
    write(&match (args.output.as_str(), args.quiet) {
        ("json", _) => print::json(&serde_json::to_value(&list)?)?,
        ("yaml", _) => print::yaml(&serde_json::to_value(&list)?),
        (_, true) => list.images.iter().map(|image| format!("{}\n", image.id)).collect(),
        (_, false) => table(&list.images, !args.no_headers, Timestamp::now()),
    })
}

fn table(images: &[ImageInfo], with_headings: bool, now: Timestamp) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    if with_headings {
        rows.push(
            ["IMAGE", "ID", "PLATFORM", "SIZE", "CREATED"]
                .map(str::to_owned)
                .to_vec(),
        );
    }
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let created = image
            .created
            .as_ref()
            .map_or_else(|| "<unknown>".to_owned(), |time| age(Some(time.0), now));
        let names = if image.references.is_empty() {
            vec!["<none>".to_owned()]
        } else {
            image.references.clone()
        };
        rows.extend(names.into_iter().map(|name| {
            vec![
                name,
                id.clone(),
                image.platform.clone(),
                human_size(image.size),
                created.clone(),
            ]
        }));
    }
    Layout::default().lay_out(&rows)
}

fn human_size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 999.5 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 || size >= 99.95 {
        format!("{size:.0}{}", units[unit])
    } else {
        format!("{size:.1}{}", units[unit])
    }
}

async fn remove(node: &Node, args: &RmArgs) -> Result {
    let mut failures = Failures::default();
    for name in &args.names {
        let query = [("name", name.clone())];
        match node
            .own::<ImageRemoved>(Method::DELETE, path::IMAGES, &query, None::<&()>)
            .await
        {
            Ok(removed) => {
                let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}\n"));
                let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}\n"));
                write(&untagged.chain(deleted).collect::<String>())?;
            }
            Err(error) => failures.add(error),
        }
    }
    failures.into_result()
}

/// Under a temporary name until it is whole: half an archive must not look like one.
async fn save(node: &Node, args: &SaveArgs) -> Result {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_by_every_name() {
        let image = ImageInfo {
            id: format!("sha256:{}", "ab".repeat(32)),
            references: vec!["docker.io/library/a:1".into(), "docker.io/library/b:2".into()],
            size: 12_345_678,
            created: None,
            platform: "linux/amd64".into(),
        };
        let text = table(&[image], true, Timestamp::UNIX_EPOCH);
        assert_eq!(
            text,
            "IMAGE                   ID             PLATFORM      SIZE     CREATED\n\
             docker.io/library/a:1   abababababab   linux/amd64   12.3MB   <unknown>\n\
             docker.io/library/b:2   abababababab   linux/amd64   12.3MB   <unknown>\n"
        );
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0kB"),
            (123_456, "123kB"),
            (1_500_000_000, "1.5GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
