//! Image tools of this machine: which there are, how they build, and how the node gets what they have.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;

use http::Method;
use tokio::process::Command;

use super::client::Node;
use super::error::{CliError, Result};
use super::image::archive_body;
use crate::api::own::{Adopted, ImageList, path};
use crate::os::find_program;

/// A tool that builds images and keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tool {
    /// buildah(1); it shares its images with podman.
    Buildah,
    /// podman(1).
    Podman,
    /// docker(1).
    Docker,
}

/// An image of a tool's: `podman:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theirs {
    /// Who has it.
    pub tool: Tool,
    /// What it is called there.
    pub name: String,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tool::Buildah => "buildah",
            Tool::Podman => "podman",
            Tool::Docker => "docker",
        })
    }
}

impl FromStr for Theirs {
    type Err = String;

    fn from_str(text: &str) -> Result<Theirs, String> {
        let wrong = || "it is TOOL:NAME, where TOOL is podman, buildah or docker".to_owned();
        let (tool, name) = text.split_once(':').ok_or_else(wrong)?;
        let tool = match tool {
            "buildah" => Tool::Buildah,
            "podman" => Tool::Podman,
            "docker" => Tool::Docker,
            _ => return Err(wrong()),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(wrong());
        }
        Ok(Theirs {
            tool,
            name: name.to_owned(),
        })
    }
}

/// What is to be built.
#[derive(Debug, Clone)]
pub struct Build<'a> {
    /// The context.
    pub directory: &'a Path,
    /// The image's name.
    pub name: &'a str,
    /// The Containerfile, if it is not where the tool looks for it.
    pub file: Option<&'a Path>,
    /// `NAME=value` each.
    pub arguments: &'a [String],
    /// The stage to end with.
    pub target: Option<&'a str>,
}

impl Tool {
    /// The first of them that is installed: buildah needs no daemon and does nothing else.
    ///
    /// # Errors
    /// When none is.
    pub fn find() -> Result<Tool> {
        let known = [Tool::Buildah, Tool::Podman, Tool::Docker];
        let found = known.into_iter().find(|tool| find_program(&tool.to_string()).is_some());
        found.ok_or_else(|| {
            let error = CliError::local("none of buildah, podman and docker is installed, and building is theirs");
            error.with_hint("apt-get install buildah, or dnf install buildah")
        })
    }

    /// Builds; what the tool says goes to standard error.
    ///
    /// # Errors
    /// When it fails.
    pub async fn build(self, build: &Build<'_>) -> Result {
        let status = Command::new(self.to_string())
            .args(plan_build(build))
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .await;
        let status = status.map_err(|error| CliError::local(format_args!("{self}: {error}")))?;
        match status.success() {
            true => Ok(()),
            false => Err(CliError::local(format_args!(
                "{self} could not build {}: {status}",
                build.name
            ))),
        }
    }
}

fn plan_build(build: &Build<'_>) -> Vec<PathBuf> {
    let mut words: Vec<PathBuf> = vec!["build".into(), "-t".into(), build.name.into()];
    if let Some(file) = build.file {
        words.extend(["-f".into(), file.to_owned()]);
    }
    for argument in build.arguments {
        words.extend(["--build-arg".into(), argument.into()]);
    }
    if let Some(target) = build.target {
        words.extend(["--target".into(), target.into()]);
    }
    words.extend(["--".into(), build.directory.to_owned()]);
    words
}

/// Brings an image of a tool's to the node: by sharing its files where that is possible, else as an archive.
///
/// # Errors
/// When the tool does not have it, or the node refuses it.
pub async fn bring(node: &Node, theirs: &Theirs) -> Result<ImageList> {
    if matches!(theirs.tool, Tool::Podman | Tool::Buildah) {
        let query = [("name", theirs.name.clone())];
        let adopted: Adopted = node.own(Method::POST, path::IMAGES_ADOPT, &query, None::<&()>).await?;
        if let Some(image) = adopted.image {
            return Ok(ImageList { images: vec![image] });
        }
    }
    match theirs.tool {
        Tool::Podman => send(node, theirs, &["save", "--quiet", "--format", "oci-archive"]).await,
        Tool::Docker => send(node, theirs, &["save"]).await,
        Tool::Buildah => send_file(node, theirs).await,
    }
}

/// Hands what the tool writes to its standard output to the node, as it comes.
async fn send(node: &Node, theirs: &Theirs, words: &[&str]) -> Result<ImageList> {
    let mut child = Command::new(theirs.tool.to_string())
        .args(words)
        .arg(&theirs.name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| CliError::local(format_args!("{}: {error}", theirs.tool)))?;
    let archive = child.stdout.take().expect("is piped");
    let query = [("name", theirs.name.clone())];
    let loaded = node.upload(path::IMAGES_LOAD, &query, archive_body(archive)).await;
    let status = child.wait().await?;
    // A node that has refused the archive closes the pipe, of which the tool dies.
    let is_refused = loaded.is_err() && status.signal() == Some(libc::SIGPIPE);
    match status.success() || is_refused {
        true => loaded,
        // The tool has said why; that the node got half an archive follows from it.
        false => Err(CliError::local(format_args!(
            "{} save {}: {status}",
            theirs.tool, theirs.name
        ))),
    }
}

/// Buildah writes archives to files only.
async fn send_file(node: &Node, theirs: &Theirs) -> Result<ImageList> {
    // It goes with its value, whatever becomes of the archive in it.
    let dir = tempfile::Builder::new().prefix("kubelocal-").tempdir()?;
    let file = dir.path().join("image.tar");
    let sent = async {
        let status = Command::new("buildah")
            .args(["push", "--quiet", "--", &theirs.name])
            .arg(format!("oci-archive:{}", file.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await?;
        if !status.success() {
            return Err(CliError::local(format_args!("buildah push {}: {status}", theirs.name)));
        }
        let query = [("name", theirs.name.clone())];
        let archive = tokio::fs::File::open(&file).await?;
        node.upload(path::IMAGES_LOAD, &query, archive_body(archive)).await
    };
    tokio::select! {
        sent = sent => sent,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(CliError::local("interrupted"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_tool_is_named_with_it() {
        let theirs = |text: &str| text.parse::<Theirs>().map(|theirs| (theirs.tool, theirs.name));
        assert_eq!(theirs("podman:app:1"), Ok((Tool::Podman, "app:1".to_owned())));
        assert_eq!(theirs("docker:r.io/app"), Ok((Tool::Docker, "r.io/app".to_owned())));
        for wrong in ["app", "nerdctl:app", "podman:", "podman:--help"] {
            assert!(theirs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_build_is_handed_on_word_by_word() {
        let build = Build {
            directory: Path::new("-odd dir"),
            name: "app:1",
            file: Some(Path::new("F")),
            arguments: &["A=b c".to_owned()],
            target: Some("stage"),
        };
        let words: Vec<String> = plan_build(&build)
            .iter()
            .map(|word| word.display().to_string())
            .collect();
        assert_eq!(
            words,
            [
                "build",
                "-t",
                "app:1",
                "-f",
                "F",
                "--build-arg",
                "A=b c",
                "--target",
                "stage",
                "--",
                "-odd dir"
            ]
        );
    }
}
