//! Logs, commands, attachments, terminals.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use kubelocal::runtime::{AttachConfig, ExecConfig, Runtime, Stop};
use rustix::termios::Winsize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::ground::{DEADLINE, Ground, exec_config, finish, logged};

crate::with_every_runtime! {
    a_command_has_its_streams_and_its_code
    a_command_with_a_terminal_knows_its_size
    attached_input_reaches_a_container_and_once_means_once
    an_attached_reader_who_does_not_read_holds_nobody_up
    a_container_with_a_terminal_logs_and_can_be_attached
    no_line_of_a_flood_is_lost_and_logs_rotate
    what_is_written_just_before_the_end_is_logged
}

fn sender(fd: OwnedFd) -> pipe::Sender {
    pipe::Sender::from_owned_fd_unchecked(fd).expect("it can be polled")
}

/// Reads until the text has come.
async fn read_until(fd: &OwnedFd, text: &str) -> String {
    let copy = fd.try_clone().expect("descriptors are free");
    let mut stream = pipe::Receiver::from_owned_fd_unchecked(copy).expect("it can be polled");
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while !seen.contains(text) {
        let length = timeout(DEADLINE, stream.read(&mut buffer)).await;
        let length = length.unwrap_or_else(|_| panic!("{text:?} did not come, only {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&buffer[..length.expect("it can be read")]));
    }
    seen
}

async fn a_command_has_its_streams_and_its_code(ground: Ground) {
    let pod = ground.sandbox("exec").await;
    let config = ground.script("main", "sleep 1000");
    ground.start(&pod, &config).await;
    let (code, output) = ground
        .exec(&pod, &config.id, &["sh", "-c", "echo out; echo err >&2; exit 9"])
        .await;
    assert_eq!((code, output.as_str()), (9, "out\nerr\n"));
    let (code, _) = ground.exec(&pod, &config.id, &["sh", "-c", "kill -9 $$"]).await;
    assert_eq!(code, 137);
    let with_input = ExecConfig {
        stdin: true,
        ..exec_config(&["cat"])
    };
    let mut session = ground
        .runtime
        .exec(&pod, &config.id, &with_input)
        .await
        .expect("the command runs");
    let mut input = sender(session.stdin.take().expect("it was asked for"));
    input.write_all(b"there and back\n").await.expect("it is read");
    drop(input);
    assert_eq!(finish(session).await, (0, "there and back\n".to_owned()));
    assert_eq!(logged(&config), "");
    let bundle = ground.pod_dir(&pod).join("run/bundles").join(&config.id.0);
    let bundle = ground.seen_by_supervisor(&pod, &bundle);
    let left = fs::read_dir(bundle).expect("it is there").flatten();
    assert!(left.map(|file| file.file_name()).all(|name| {
        ["config.json", "embedded", "pid", "rootfs"]
            .iter()
            .any(|known| name == *known)
    }));
}

async fn a_command_with_a_terminal_knows_its_size(ground: Ground) {
    let pod = ground.sandbox("terminal").await;
    let config = ground.script("main", "sleep 1000");
    ground.start(&pod, &config).await;
    let script = "tty; read line; stty size; echo \"got $line\"; exit 6";
    let shell = ExecConfig {
        tty: true,
        stdin: true,
        size: Some((80, 24)),
        ..exec_config(&["sh", "-c", script])
    };
    let mut session = ground
        .runtime
        .exec(&pod, &config.id, &shell)
        .await
        .expect("the command runs");
    let terminal = session.terminal.take().expect("it was asked for");
    assert!(read_until(&terminal, "/dev/").await.contains("/dev/pts/"));
    let size = Winsize {
        ws_row: 33,
        ws_col: 99,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&terminal, size).expect("it is a terminal");
    let mut input = sender(session.stdin.take().expect("it was asked for"));
    input.write_all(b"words\n").await.expect("it is read");
    let (code, output) = finish(session).await;
    assert_eq!(code, 6, "{output}");
    assert!(output.contains("33 99") && output.contains("got words"), "{output}");
}

async fn attached_input_reaches_a_container_and_once_means_once(mut ground: Ground) {
    let pod = ground.sandbox("attach").await;
    let mut config = ground.script("main", "while read line; do echo \"<$line>\"; done; echo eof; exit 2");
    (config.stdin, config.stdin_once) = (true, true);
    ground.start(&pod, &config).await;
    let ask = AttachConfig { stdin: true };
    let mut session = ground
        .runtime
        .attach(&pod, &config.id, &ask)
        .await
        .expect("it can be attached to");
    let mut input = sender(session.stdin.take().expect("it was asked for"));
    input.write_all(b"one\ntwo\n").await.expect("it is read");
    read_until(session.stdout.as_ref().expect("it is copied"), "<two>").await;
    let second = ground
        .runtime
        .attach(&pod, &config.id, &ask)
        .await
        .expect("it can be attached to");
    assert!(second.stdin.is_none());
    drop(input);
    assert_eq!(finish(session).await, (2, "eof\n".to_owned()));
    assert_eq!(finish(second).await, (2, "eof\n".to_owned()));
    assert_eq!(ground.exit(&pod, &config.id).await.code, 2);
    assert_eq!(logged(&config), "<one>\n<two>\neof\n");
}

async fn an_attached_reader_who_does_not_read_holds_nobody_up(mut ground: Ground) {
    let pod = ground.sandbox("lazy").await;
    let mut config = ground.script("main", "read line; seq 300000; echo end");
    config.stdin = true;
    ground.start(&pod, &config).await;
    let ask = AttachConfig { stdin: true };
    let mut session = ground
        .runtime
        .attach(&pod, &config.id, &ask)
        .await
        .expect("it can be attached to");
    sender(session.stdin.take().expect("it was asked for"))
        .write_all(b"go\n")
        .await
        .expect("it is read");
    assert_eq!(ground.exit(&pod, &config.id).await.code, 0);
    assert!(logged(&config).ends_with("300000\nend\n"));
    drop(session);
}

async fn a_container_with_a_terminal_logs_and_can_be_attached(mut ground: Ground) {
    let pod = ground.sandbox("tty").await;
    let mut config = ground.script("main", "tty; read line; echo \"<$line>\"; stty size; exit 4");
    (config.tty, config.stdin) = (true, true);
    ground.start(&pod, &config).await;
    ground.wait_for_log(&config, "/dev/").await;
    let ask = AttachConfig { stdin: true };
    let mut session = ground
        .runtime
        .attach(&pod, &config.id, &ask)
        .await
        .expect("it can be attached to");
    let size = Winsize {
        ws_row: 11,
        ws_col: 22,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(session.terminal.as_ref().expect("it has one"), size).expect("it is a terminal");
    sender(session.stdin.take().expect("it was asked for"))
        .write_all(b"word\n")
        .await
        .expect("it is read");
    let (code, output) = finish(session).await;
    assert_eq!(code, 4);
    assert!(output.contains("<word>") && output.contains("11 22"), "{output}");
    assert_eq!(ground.exit(&pod, &config.id).await.code, 4);
    assert!(logged(&config).contains("<word>"), "{}", logged(&config));
}

async fn no_line_of_a_flood_is_lost_and_logs_rotate(mut ground: Ground) {
    let pod = ground.sandbox("flood").await;
    let config = ground.script("main", "seq 400000; echo aside >&2; exit 1");
    ground.start(&pod, &config).await;
    assert_eq!(ground.exit(&pod, &config.id).await.code, 1);
    let dir = config.log_path.parent().expect("it has one");
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("it is there")
        .flatten()
        .map(|file| file.path())
        .collect();
    // `1.log` sorts before `1.log.<time>`, but is the newest.
    files.sort_by_key(|file| (file == &config.log_path, file.clone()));
    assert!(files.len() > 1, "{files:?}");
    let read = |file: &std::path::PathBuf| fs::read_to_string(file).expect("it can be read");
    let text: String = files.iter().map(read).collect();
    let numbers = text
        .lines()
        .filter(|line| line.contains(" stdout F "))
        .filter_map(|line| line.rsplit(' ').next());
    assert!(
        numbers.eq((1..=400_000)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str))
    );
    assert!(files.iter().all(|file| size(file) <= 10 << 20), "{files:?}");
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map(|meta| meta.len()).unwrap_or(0)
}

async fn what_is_written_just_before_the_end_is_logged(mut ground: Ground) {
    let pod = ground.sandbox("last").await;
    for attempt in 0..20 {
        let mut config = ground.script(
            "main",
            "dd if=/dev/zero bs=60000 count=1 2>/dev/null; echo; echo last words",
        );
        config.attempt = attempt;
        let output = ground.output(&pod, &config).await;
        assert!(output.ends_with("last words\n"), "{} bytes", output.len());
    }
    let killed = ground.script("killed", "echo ready; sleep 1000");
    ground.start(&pod, &killed).await;
    ground.wait_for_log(&killed, "ready").await;
    ground
        .runtime
        .stop_container(&pod, &killed.id, Stop::KILL)
        .await
        .expect("it can be stopped");
    assert_eq!(ground.exit(&pod, &killed.id).await.code, 137);
}
