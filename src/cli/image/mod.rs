//! `image`: the node's images. One file per verb, or two that belong together; here is what they are and who runs them.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::client::Node;
use super::context::write;
use super::error::Result;
use super::{node, print};
use crate::api::own::path;

mod history;
mod load;
mod ls;
mod prune;
mod pull;
mod push;
mod rm;
mod save;

pub(super) use load::archive_body;

/// How much of an archive travels at once.
const CHUNK: usize = 256 << 10;

/// Work with the node's images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Pull an image from its registry
    Pull(pull::PullArgs),
    /// Push an image to a registry
    Push(push::PushArgs),
    /// Load images from an OCI or docker archive, or an OCI layout directory
    Load(load::LoadArgs),
    /// Make an image of a tar of a root file system
    Import(load::ImportArgs),
    /// List images
    Ls(ls::LsArgs),
    /// Show an image's configuration and layers
    Inspect(NameArgs),
    /// Show how an image was made
    History(history::HistoryArgs),
    /// Remove images
    Rm(rm::RmArgs),
    /// Remove images that nothing uses
    Prune(prune::PruneArgs),
    /// Write an image as an OCI archive
    Save(save::SaveArgs),
    /// Give an image another name
    Tag(rm::TagArgs),
}

/// An image by name.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name or id
    name: String,
}

/// Runs `image …`.
///
/// # Errors
/// When a file can't be read or written, or the node refuses.
pub async fn run(verb: &ImageVerb) -> Result {
    let node = node::connect().await?;
    match verb {
        ImageVerb::Pull(args) => pull::pull(&node, args).await,
        ImageVerb::Push(args) => push::push(&node, args).await,
        ImageVerb::History(args) => history::history(&node, args).await,
        ImageVerb::Prune(args) => prune::prune(&node, args).await,
        ImageVerb::Load(args) => load::load(&node, args).await,
        ImageVerb::Import(args) => load::import(&node, args).await,
        ImageVerb::Ls(args) => ls::list(&node, args).await,
        ImageVerb::Inspect(args) => inspect(&node, args).await,
        ImageVerb::Rm(args) => rm::remove(&node, args).await,
        ImageVerb::Save(args) => save::save(&node, args).await,
        ImageVerb::Tag(args) => rm::tag(&node, args).await,
    }
}

async fn inspect(node: &Node, args: &NameArgs) -> Result {
    let query = [("name", args.name.clone())];
    let image: Value = node.own(Method::GET, path::IMAGES_INSPECT, &query, None::<&()>).await?;
    write(&print::json(&image)?)
}
