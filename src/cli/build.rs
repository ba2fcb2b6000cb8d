//! `build`: hands a Containerfile to a tool that builds, and brings the image to the node. And `--build` of other verbs: images
//! that are directories beside their manifests, as `podman kube play --build` has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::builder::{Build, Theirs, Tool, bring};
use super::client::Node;
use super::context::write;
use super::error::{CliError, Result};
use super::files::Manifest;
use super::node;
use super::print::short_id;
use crate::model::value_at;

/// Names of the file that says how to build, in the order in which the tools look for them.
const RECIPES: [&str; 2] = ["Containerfile", "Dockerfile"];

/// Build an image with buildah, podman or docker, and bring it to the node.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// What to call the image
    #[arg(short, long = "tag", value_name = "NAME")]
    tag: String,
    /// The Containerfile, if it is not in DIR
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A value for an ARG of the Containerfile; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// The stage to end with
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Which of them builds; the first that is installed if none is named
    #[arg(long, value_enum)]
    tool: Option<Tool>,
    /// The build's context
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

/// Runs `build`.
///
/// # Errors
/// When no tool is installed, the build fails, or the node refuses the image.
pub async fn run(args: &BuildArgs) -> Result {
    let tool = match args.tool {
        Some(tool) => tool,
        None => Tool::find()?,
    };
    let build = Build {
        directory: &args.directory,
        name: &args.tag,
        file: args.file.as_deref(),
        arguments: &args.build_arg,
        target: args.target.as_deref(),
    };
    tool.build(&build).await?;
    tell(&node::connect().await?, tool, &args.tag).await
}

/// Builds every image of these manifests that is a directory beside them.
///
/// # Errors
/// As [`run`].
pub async fn build_beside(node: &Node, manifests: &[Manifest]) -> Result {
    let wanted = plan_builds(manifests, |directory| recipe_in(directory).is_some());
    if wanted.is_empty() {
        return Err(CliError::usage(
            "--build: no image of these manifests is a directory with a Containerfile beside them",
        ));
    }
    let tool = Tool::find()?;
    for (name, directory) in wanted {
        let recipe = recipe_in(&directory);
        let build = Build {
            directory: &directory,
            name: &name,
            file: recipe.as_deref(),
            arguments: &[],
            target: None,
        };
        tool.build(&build).await?;
        tell(node, tool, &name).await?;
    }
    Ok(())
}

async fn tell(node: &Node, tool: Tool, name: &str) -> Result {
    let theirs = Theirs {
        tool,
        name: name.to_owned(),
    };
    for image in bring(node, &theirs).await?.images {
        write(&format!("Built image: {} ({})\n", name, short_id(&image.id)))?;
    }
    Ok(())
}

fn recipe_in(directory: &Path) -> Option<PathBuf> {
    RECIPES
        .iter()
        .map(|name| directory.join(name))
        .find(|file| file.is_file())
}

/// Names of images, and the directories that they are built from.
fn plan_builds(manifests: &[Manifest], is_context: impl Fn(&Path) -> bool) -> BTreeSet<(String, PathBuf)> {
    let mut builds = BTreeSet::new();
    for manifest in manifests {
        let file = manifest.file();
        let beside = Path::new(&file).parent().unwrap_or(Path::new("")).to_owned();
        for image in images_of(&manifest.object) {
            let plain = image.split(['@', ':']).next().unwrap_or(image);
            let directory = beside.join(plain);
            // A directory below, and no other: a name can't lead elsewhere.
            let is_below = !plain.is_empty() && !plain.starts_with('/') && !plain.split('/').any(|part| part == "..");
            if is_below && is_context(&directory) {
                builds.insert((image.to_owned(), directory));
            }
        }
    }
    builds
}

/// The images of a pod, or of a workload's template.
fn images_of(object: &Value) -> Vec<&str> {
    let lists = ["initContainers", "containers"];
    let specs = ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    let containers = specs
        .iter()
        .flat_map(|spec| {
            lists
                .iter()
                .filter_map(move |list| value_at(object, &format!("{spec}/{list}"))?.as_array())
        })
        .flatten();
    containers
        .filter_map(|container| container.get("image")?.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_of_pods_and_templates_are_found() {
        let pod = json!({"spec": {"containers": [{"image": "a"}, {}], "initContainers": [{"image": "b"}]}});
        assert_eq!(images_of(&pod), ["b", "a"]);
        let deployment = json!({"spec": {"template": {"spec": {"containers": [{"image": "c:1"}]}}}});
        assert_eq!(images_of(&deployment), ["c:1"]);
        assert!(images_of(&json!({"data": {}})).is_empty());
    }
}
