//! `cp`: files and directories into and out of containers, through the container's own `tar`, as kubectl does it.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::Resource;
use super::context::Context;
use super::error::{CliError, ErrorKind, Result};
use super::node;
use super::pods::{choose_container, pod_kind};
use super::session::{self, Streams, status_of, until_lost};

/// How much of an archive travels at once.
const CHUNK: usize = 64 << 10;

/// Copy files into and out of containers. The container needs `tar`.
#[derive(Debug, Args)]
pub struct CpArgs {
    /// A local path, or [NAMESPACE/]POD:PATH
    source: String,
    /// A local path, or [NAMESPACE/]POD:PATH
    target: String,
    /// The container
    #[arg(short, long)]
    container: Option<String>,
    /// Leave owners and modes to the receiving side
    #[arg(long)]
    no_preserve: bool,
}

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    Local(PathBuf),
    Remote {
        namespace: Option<String>,
        pod: String,
        path: PathBuf,
    },
}

/// Reads `[[namespace/]pod:]path`. A path with a slash or dot before the colon is local.
fn side(text: &str) -> Result<Side> {
    let Some((pod, path)) = text.split_once(':').filter(|(pod, _)| !pod.starts_with(['/', '.'])) else {
        return Ok(Side::Local(PathBuf::from(text)));
    };
    let (namespace, pod) = match pod.split('/').collect::<Vec<_>>().as_slice() {
        [pod] => (None, (*pod).to_owned()),
        [namespace, pod] => (Some((*namespace).to_owned()), (*pod).to_owned()),
        _ => return Err(CliError::usage("path must be of the form [[namespace/]pod:]path")),
    };
    if pod.is_empty() || path.is_empty() {
        return Err(CliError::usage("filepath can not be empty"));
    }
    Ok(Side::Remote {
        namespace,
        pod,
        path: PathBuf::from(path),
    })
}

/// A container, ready to run `tar` in.
struct Container {
    pods: Api<Pod>,
    pod: String,
    name: String,
}

/// Runs `cp`.
///
/// # Errors
/// When a path is missing, the container has no `tar`, or it fails.
pub async fn run(args: &CpArgs, context: &Context) -> Result {
    match (side(&args.source)?, side(&args.target)?) {
        (Side::Local(from), Side::Remote { namespace, pod, path }) => {
            let container = container(args, context, namespace, pod).await?;
            upload(&container, &from, &path, args).await
        }
        (Side::Remote { namespace, pod, path }, Side::Local(to)) => {
            let container = container(args, context, namespace, pod).await?;
            download(&container, &path, &to).await
        }
        _ => Err(CliError::usage(
            "one of src or dest must be a local file specification, and the other in a pod",
        )),
    }
}

async fn container(args: &CpArgs, context: &Context, namespace: Option<String>, pod: String) -> Result<Container> {
    let node = node::connect().await?;
    let namespace = namespace.unwrap_or_else(|| context.namespace().to_owned());
    let object = node.get(&Resource::object(pod_kind(), &namespace, &pod), &[]).await?;
    super::exec::refuse_ended(&object, "cp")?;
    let name = choose_container(&object, args.container.as_deref(), false).map_err(super::exec::as_of_server)?;
    Ok(Container {
        pods: Api::namespaced(node.client(), &namespace),
        pod,
        name,
    })
}

impl Container {
    async fn exec(&self, command: &[&str], stdin: bool) -> Result<AttachedProcess> {
        let params = AttachParams {
            stdin,
            ..Streams { stdin, tty: false }.params(&self.name)
        };
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        self.pods
            .exec(&self.pod, &command, &params)
            .await
            .map_err(|error| self.explain(error.into(), ""))
    }

    /// What the end means; `said` is what the command wrote to its standard error.
    async fn end(&self, process: AttachedProcess, status: Option<Status>, said: &str) -> Result {
        let status = status.map(serde_json::to_value).transpose()?;
        session::end_of(process, status)
            .await
            .map_err(|error| self.explain(error, said))
    }

    /// A command that could not be run is, here, a missing `tar`.
    fn explain(&self, error: CliError, said: &str) -> CliError {
        let is_missing = matches!(error.kind, ErrorKind::Command(126 | 127))
            || ["not found", "no such file", "No such file or directory (os error 2)"]
                .iter()
                .any(|words| error.message.contains(words) && error.kind != ErrorKind::NotFound && said.is_empty());
        if is_missing {
            let message = format_args!(
                "container {} of pod {} has no `tar`, through which cp works",
                self.name, self.pod
            );
            return CliError::local(message)
                .with_hint("files can also come in by a volume: configMap, secret or hostPath");
        }
        match said.trim() {
            "" => error,
            said => CliError {
                message: format!("error: {said}"),
                ..error
            },
        }
    }
}

async fn upload(container: &Container, from: &Path, to: &Path, args: &CpArgs) -> Result {
    let metadata = std::fs::symlink_metadata(from);
    metadata.map_err(|_| CliError::usage(format_args!("{} doesn't exist in local filesystem", from.display())))?;
    let mut to = to.to_owned();
    if is_directory(container, &to).await? {
        to.push(from.file_name().unwrap_or_default());
    }
    let (parent, name) = (
        to.parent().unwrap_or(Path::new("/")),
        PathBuf::from(to.file_name().unwrap_or_default()),
    );
    let parent = parent.to_str().filter(|parent| !parent.is_empty()).unwrap_or(".");
    let mut command = vec!["tar", "-xmf", "-", "-C", parent];
    if args.no_preserve {
        command.splice(1..1, ["--no-same-permissions", "--no-same-owner"]);
    }
    let mut process = container.exec(&command, true).await?;
    let mut archive = packed(from.to_owned(), name)?;
    let (stdin, stderr) = (process.stdin(), process.stderr());
    let ended = status_of(&mut process).shared();
    let send = async {
        if let Some(mut stdin) = stdin {
            let mut chunk = vec![0; CHUNK];
            loop {
                match archive.read(&mut chunk).await? {
                    0 => break,
                    count => stdin.write_all(&chunk[..count]).await?,
                }
            }
            stdin.shutdown().await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let send = async {
        tokio::select! {
            sent = send => sent,
            // Nobody takes what the command has not read, and nothing else ends the sending.
            _ = ended.clone() => Ok(()),
        }
    };
    let (sent, said) = tokio::select! {
        both = futures::future::join(send, read_all(stderr)) => both,
        () = until_lost(ended.clone()) => (Ok(()), String::new()),
    };
    container.end(process, ended.await, &said).await?;
    // A command that ended well has read all it wanted; one that did not has told why already.
    Ok(sent?)
}

async fn is_directory(container: &Container, path: &Path) -> Result<bool> {
    let path = path
        .to_str()
        .ok_or_else(|| CliError::usage("the path in the pod is not UTF-8"))?;
    let Ok(mut process) = container.exec(&["test", "-d", path], false).await else {
        return Ok(false);
    };
    let status = status_of(&mut process).await;
    Ok(status.is_some_and(|status| status.status.as_deref() == Some("Success")))
}

/// A tar of a path, written while it is read; `name` is what the archive calls it.
fn packed(from: PathBuf, name: PathBuf) -> Result<tokio::net::unix::pipe::Receiver> {
    let (reader, writer) = std::io::pipe()?;
    std::thread::spawn(move || {
        let mut archive = tar::Builder::new(std::io::BufWriter::with_capacity(CHUNK, writer));
        archive.follow_symlinks(false);
        let packed = if from.is_dir() {
            archive.append_dir_all(&name, &from)
        } else {
            archive.append_path_with_name(&from, &name)
        };
        // An archive without its end makes the other `tar` fail, and that failure is reported.
        if let Err(error) =
            packed.and_then(|()| archive.into_inner()?.into_inner().map(drop).map_err(|e| e.into_error()))
        {
            eprintln!("error: {}: {error}", from.display());
        }
    });
    Ok(tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into())?)
}

async fn read_all(reader: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut text = Vec::new();
    if let Some(mut reader) = reader {
        // Half of an error message is better than none.
        let _ = reader.read_to_end(&mut text).await;
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn download(container: &Container, from: &Path, to: &Path) -> Result {
    let path = from
        .to_str()
        .ok_or_else(|| CliError::usage("the path in the pod is not UTF-8"))?;
    let target = if to.is_dir() {
        to.join(from.file_name().unwrap_or_default())
    } else {
        to.to_owned()
    };
    let mut process = container.exec(&["tar", "cf", "-", path], false).await?;
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let (reader, writer) = std::io::pipe()?;
    let prefix = relative(from);
    let unpacking = tokio::task::spawn_blocking(move || unpack(reader, &prefix, &target));
    let mut writer = tokio::net::unix::pipe::Sender::from_owned_fd(writer.into())?;
    let receive = async move {
        if let Some(mut stdout) = stdout {
            tokio::io::copy(&mut stdout, &mut writer).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let ended = status_of(&mut process).shared();
    let (received, said) = tokio::select! {
        both = futures::future::join(receive, read_all(stderr)) => both,
        () = until_lost(ended.clone()) => (Ok(()), String::new()),
    };
    let status = ended.await;
    let unpacked = unpacking.await.map_err(CliError::local)?;
    // `tar` says that it takes the leading slash away: no news.
    let said: Vec<&str> = said.lines().filter(|line| !line.contains("emoving leading")).collect();
    container.end(process, status, &said.join("\n")).await?;
    let count = unpacked?;
    received?;
    match count {
        0 => Err(CliError::local(format_args!("{path}: nothing was copied"))),
        _ => Ok(()),
    }
}

/// A path as archives name it: without root, `.` and `..`.
fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// Writes an archive below `target`, and tells how many entries there were. The archive is the container's word and not
/// trusted: names with `..` and links are left out, so that nothing is written anywhere else.
fn unpack(reader: impl std::io::Read, prefix: &Path, target: &Path) -> Result<usize> {
    let mut archive = tar::Archive::new(reader);
    let mut count = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if name.components().any(|part| part == Component::ParentDir) {
            eprintln!("warning: skipping {}: it leads out of the copy", name.display());
            continue;
        }
        let name = relative(&name);
        let Ok(rest) = name.strip_prefix(prefix) else { continue };
        let place = if rest.as_os_str().is_empty() {
            target.to_owned()
        } else {
            target.join(rest)
        };
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&place)?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                    std::fs::create_dir_all(parent)?;
                }
                write_file(&mut entry, &place)?;
            }
            other => {
                eprintln!("warning: skipping {}: {other:?} is not copied", name.display());
                continue;
            }
        }
        count += 1;
    }
    // What stands after the end of the archive is padding; it is read so that the writer is not cut off.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
    Ok(count)
}

fn write_file(entry: &mut tar::Entry<'_, impl std::io::Read>, place: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt;
    let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
    let at_path = |error: std::io::Error| CliError::local(format_args!("{}: {error}", place.display()));
    let mut file = std::fs::File::create(place).map_err(at_path)?;
    std::io::copy(entry, &mut file).map_err(at_path)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(at_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_local_unless_a_pod_stands_before_its_colon() {
        let remote = |namespace: Option<&str>, pod: &str, path: &str| Side::Remote {
            namespace: namespace.map(str::to_owned),
            pod: pod.into(),
            path: path.into(),
        };
        for (text, wanted) in [
            ("a/b", Side::Local("a/b".into())),
            ("./a:b", Side::Local("./a:b".into())),
            ("/a:b", Side::Local("/a:b".into())),
            ("web:/tmp/x", remote(None, "web", "/tmp/x")),
            ("ns/web:x", remote(Some("ns"), "web", "x")),
        ] {
            assert_eq!(side(text).expect(text), wanted);
        }
        assert!(side("a/b/c:x").is_err());
        assert!(side("web:").is_err());
    }

    #[test]
    fn an_archive_is_written_below_its_target_and_nowhere_else() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, data: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(kind);
            header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, data).expect("appended");
        };
        add("etc/app/", tar::EntryType::Directory, b"");
        add("etc/app/a", tar::EntryType::Regular, b"hello");
        add("etc/app/../../evil", tar::EntryType::Regular, b"evil");
        add("etc/app/link", tar::EntryType::Symlink, b"");
        add("elsewhere", tar::EntryType::Regular, b"evil");
        let bytes = builder.into_inner().expect("whole");
        let target = tmp.path().join("copy");
        let count = unpack(bytes.as_slice(), Path::new("etc/app"), &target).expect("unpacked");
        assert_eq!(count, 2);
        assert_eq!(std::fs::read(target.join("a")).expect("there"), b"hello");
        let names: Vec<_> = std::fs::read_dir(tmp.path())
            .expect("reads")
            .map(|e| e.expect("entry").file_name())
            .collect();
        assert_eq!(names, ["copy"]);
    }
}
