//! `image rm` and `image tag`: names, and what goes with the last of them.

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::api::own::{ImageRemoved, TagRequest, path};
use crate::cli::client::Node;
use crate::cli::context::{Failures, write};
use crate::cli::error::Result;

/// Arguments of `image rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// Arguments of `image tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Name or id
    source: String,
    /// Its new name
    target: String,
}

/// Runs `image rm`.
pub(super) async fn remove(node: &Node, args: &RmArgs) -> Result {
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

/// Runs `image tag`.
pub(super) async fn tag(node: &Node, args: &TagArgs) -> Result {
    let request = TagRequest {
        source: args.source.clone(),
        target: args.target.clone(),
    };
    let tagged = node.own::<Value>(Method::POST, path::IMAGES_TAG, &[], Some(&request));
    tagged.await.map(drop)
}
