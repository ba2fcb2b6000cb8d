//! `image ls`: a row for every name.

use clap::Args;
use http::Method;
use jiff::Timestamp;

use crate::api::own::{ImageInfo, ImageList, path};
use crate::api::table::age::age;
use crate::cli::client::Node;
use crate::cli::context::write;
use crate::cli::error::Result;
use crate::cli::print::{self, Layout, human_size, short_id};

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

/// Runs `image ls`.
pub(super) async fn list(node: &Node, args: &LsArgs) -> Result {
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
        let id = short_id(&image.id);
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
}
