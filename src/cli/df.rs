//! `df`: what the node's home takes on the disk.

use clap::Args;
use http::Method;

use super::context::write;
use super::error::Result;
use super::node;
use super::print::{self, Layout, human_size};
use crate::api::own::{DiskUsage, path};

/// Show what images, pods and volumes take on the disk.
#[derive(Debug, Args)]
pub struct DfArgs {
    /// json or yaml
    #[arg(short, long, default_value = "", hide_default_value = true, value_parser = ["", "json", "yaml"], value_name = "FORMAT")]
    output: String,
}

/// Runs `df`.
///
/// # Errors
/// When the node refuses.
pub async fn run(args: &DfArgs) -> Result {
    let node = node::connect().await?;
    let usage: DiskUsage = node.own(Method::GET, path::DF, &[], None::<&()>).await?;
    write(&match args.output.as_str() {
        "json" => print::json(&serde_json::to_value(&usage)?)?,
        "yaml" => print::yaml(&serde_json::to_value(&usage)?),
        _ => table(&usage),
    })
}

fn table(usage: &DiskUsage) -> String {
    let images = &usage.images;
    let row = |what: &str, total: String, in_use: String, size: u64, free: Option<u64>| {
        let free = free.map_or_else(|| "-".to_owned(), human_size);
        vec![what.to_owned(), total, in_use, human_size(size), free]
    };
    let none = || "-".to_owned();
    let rows = [
        ["TYPE", "TOTAL", "IN USE", "SIZE", "RECLAIMABLE"]
            .map(str::to_owned)
            .to_vec(),
        row(
            "Images",
            images.images.to_string(),
            images.in_use.to_string(),
            images.total(),
            Some(images.reclaimable),
        ),
        row("  unpacked layers", none(), none(), images.layers, None),
        row("  packed layers", none(), none(), images.blobs, None),
        row("  downloads that broke off", none(), none(), images.partial, None),
        vec!["  inodes".to_owned(), images.inodes.to_string(), none(), none(), none()],
        row("Pods", usage.pod_count.to_string(), none(), usage.pods, None),
        row("Volumes", none(), none(), usage.volumes, None),
    ];
    Layout::default().lay_out(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::own::ImageUsage;

    #[test]
    fn everything_has_a_row() {
        let usage = DiskUsage {
            images: ImageUsage {
                images: 3,
                in_use: 1,
                layers: 1_000_000,
                blobs: 500_000,
                partial: 0,
                reclaimable: 900_000,
                inodes: 42,
            },
            pods: 4096,
            pod_count: 2,
            volumes: 0,
        };
        let text = table(&usage);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[1], "Images 3 1 1.5MB 900kB");
        assert_eq!(lines[5], "inodes 42 - - -");
        assert_eq!(lines[6], "Pods 2 - 4.1kB -");
        assert_eq!(lines.len(), 8);
    }
}
