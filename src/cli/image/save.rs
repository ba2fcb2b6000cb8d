//! `image save`: an archive to a file or a pipe.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
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
    write_to(&args.output, &mut archive).await
}

/// Into a pipe or a device as it comes. Into a file under a temporary name until it is whole: half an archive must not look like one.
async fn write_to(output: &Path, archive: &mut (impl futures::AsyncRead + Unpin)) -> Result {
    let at_path = |error: std::io::Error| CliError::local(format_args!("{}: {error}", output.display()));
    if fs::metadata(output).is_ok_and(|meta| !meta.is_file()) {
        let mut target = fs::OpenOptions::new().write(true).open(output).map_err(at_path)?;
        return copy(archive, &mut target).await;
    }
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut part = tempfile::Builder::new();
    // As any file that a program makes: the umask takes away what others may not.
    part.prefix(".kubelocal-save-")
        .permissions(fs::Permissions::from_mode(0o666));
    let mut part = part.tempfile_in(dir.unwrap_or(Path::new("."))).map_err(at_path)?;
    copy(archive, part.as_file_mut()).await?;
    part.as_file().sync_all().map_err(at_path)?;
    part.persist(output).map(drop).map_err(|error| at_path(error.error))
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

    #[tokio::test]
    async fn files_appear_whole_and_what_is_no_file_stays_what_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, beside) = (dir.path().join("a.tar"), dir.path().join("a.tar.part"));
        fs::write(&beside, "the user's own").expect("writes");
        for content in ["first", "second"] {
            write_to(&file, &mut content.as_bytes()).await.expect("writes");
            assert_eq!(fs::read_to_string(&file).expect("there"), content);
        }
        assert_eq!(fs::read_to_string(&beside).expect("there"), "the user's own");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 2);
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("a pipe");
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe)
        });
        write_to(&pipe, &mut "through".as_bytes()).await.expect("writes");
        assert_eq!(reader.join().expect("no panic").expect("readable"), "through");
        assert!(!fs::symlink_metadata(&pipe).expect("there").is_file());
        write_to(Path::new("/dev/null"), &mut "x".as_bytes())
            .await
            .expect("writes");
    }
}
