//! `exec`, `attach`, `logs` and `cp`: the streams between a container and whoever asks.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use crate::home::Home;
use crate::images::load_busybox;
use crate::kubectl::with_each;
use crate::manifest::{container, documents, job, pod};

#[test]
fn exec_passes_codes_and_streams_on() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    home.must(format!(
        "watch --once {}",
        home.file("a.yaml", documents([pod("web", "serve"), shell]))
    ));
    assert_eq!(home.must("exec web -- /kubelocal demo echo hello"), "hello\n");
    let ended = home.run("exec web -- /kubelocal demo exit 7");
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (7, "command terminated with exit code 7\n")
    );
    let missing = home.run("exec web -- /nowhere");
    assert_ne!(missing.code, 0);
    assert!(missing.stderr.contains("/nowhere"), "{}", missing.stderr);
    let both = home.run(["exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((both.code, both.stdout.as_str()), (3, "out\n"));
    assert!(both.stderr.starts_with("err\n"), "{}", both.stderr);
    let big = "0123456789abcdef".repeat(1 << 16);
    let echoed = home.run_with(&big, "exec -i shell -- cat");
    assert_eq!(echoed.code, 0, "{}", echoed.stderr);
    assert!(
        echoed.stdout == big,
        "{} of {} bytes came back",
        echoed.stdout.len(),
        big.len()
    );
    assert!(home.fails("exec nobody -- true").contains("pods \"nobody\" not found"));
}

#[test]
fn exec_gives_a_terminal_of_the_callers_size() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    home.must(format!("watch --once {}", home.file("a.yaml", shell)));
    in_a_terminal(&home, &mut |script| {
        home.command(["exec", "-it", "shell", "--", "sh", "-c", script])
    });
    with_each(&home, |kubectl| {
        in_a_terminal(&home, &mut |script| {
            kubectl.command(&["exec", "-it", "shell", "--", "sh", "-c", script])
        });
    });
}

/// Runs what `exec` makes of a script in a terminal of 33 lines, and types on it.
fn in_a_terminal(home: &Home, exec: &mut dyn FnMut(&str) -> Command) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal)
        .and_then(|()| unlockpt(&terminal))
        .expect("it is ours");
    let size = Winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).expect("it has a size");
    let name = ptsname(&terminal, Vec::new()).expect("it has a name");
    let side = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().expect("is text"))
        .expect("opens");
    let stream = || Stdio::from(side.try_clone().expect("a descriptor"));
    let script = "test -t 0 && test -t 1; echo tty=$?; until [ \"$(stty size)\" = '33 77' ]; do :; done; echo sized; read word; echo got-$word";
    let mut command = exec(script);
    let mut child = home.spawn(command.stdin(stream()).stdout(stream()).stderr(stream()));
    drop((side, command));
    let mut terminal = std::fs::File::from(terminal);
    terminal.write_all(b"word\r").expect("it can be typed on");
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    // A terminal that nobody holds any more ends with an error.
    while let Ok(count) = terminal.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..count]);
    }
    let seen = String::from_utf8_lossy(&seen);
    assert!(
        seen.contains("tty=0") && seen.contains("sized") && seen.contains("got-word"),
        "{seen}"
    );
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn kubectl_passes_codes_and_streams_on_and_copies() {
    let home = Home::new();
    home.start(documents([
        load_busybox(&home, "sleep 1000"),
        pod("count", "count --interval 50"),
    ]));
    let big = home.file("big", "0123456789abcdef".repeat(1 << 16));
    with_each(&home, |kubectl| {
        let ended = kubectl.command(&["exec", "-i", "shell", "--", "sh", "-c", "cat; echo err >&2; exit 3"]);
        let output = with_input(ended, &big);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(output.stdout.len() == 1 << 20 && said.starts_with("err\n"), "{said}");
        let back = home.path("../files/back");
        kubectl.must(&format!("cp {big} shell:/tmp/copy"));
        kubectl.must(&format!("cp shell:/tmp/copy {}", back.display()));
        assert!(std::fs::read(&back).expect("copied") == std::fs::read(&big).expect("is there"));
        let mut attached = home.spawn(&mut kubectl.command(&["attach", "count"]));
        let mut lines = BufReader::new(attached.stdout.take().expect("is piped")).lines();
        let line = lines.next().expect("a line").expect("is text");
        assert!(line.parse::<u64>().is_ok(), "{line}");
        attached.kill().and_then(|()| attached.wait()).expect("it ends");
    });
}

fn with_input(mut command: Command, path: &str) -> Output {
    let file = std::fs::File::open(path).expect("is there");
    command.stdin(file).output().expect("runs")
}

#[test]
fn attach_joins_the_output_from_now_on() {
    let home = Home::new();
    home.must(format!(
        "watch --once {}",
        home.file("a.yaml", pod("count", "count --interval 50"))
    ));
    home.until_logged("count", "3\n");
    let mut child = home.spawn(&mut home.command("attach count"));
    let mut seen = String::new();
    let mut out = child.stdout.take().expect("is piped");
    let mut chunk = [0; 256];
    while seen.lines().count() < 4 {
        let count = out.read(&mut chunk).expect("reads");
        assert_ne!(count, 0, "it goes on: {seen}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    let first: u64 = seen.lines().next().expect("a line").parse().expect("a number");
    assert!(first > 3, "{seen}");
    child.kill().and_then(|()| child.wait()).expect("it ends");
}

#[test]
fn logs_are_cut_as_asked() {
    let home = Home::new();
    let two = job("two", "count --interval 0 --to 10").with(
        "/spec/containers",
        json!([
            container("one", "count --interval 0 --to 10"),
            container("other", "echo other")
        ]),
    );
    home.must(format!("watch --once {}", home.file("a.yaml", two)));
    assert_eq!(home.must("logs two -c one --tail 2"), "9\n10\n");
    assert_eq!(home.must("logs two -c one --tail=0"), "");
    assert_eq!(home.must("logs two -c one").lines().count(), 10);
    assert_eq!(home.must("logs two -c one --since 1h").lines().count(), 10);
    assert_eq!(home.must("logs two -c one --since-time 2999-01-01T00:00:00Z"), "");
    let stamped = home.must("logs two -c other --timestamps");
    let (time, text) = stamped.split_once(' ').expect("a time and a text");
    assert!(
        time.ends_with('Z') && time.len() == "2026-01-01T00:00:00.000000000Z".len(),
        "{stamped}"
    );
    assert_eq!(text, "other\n");
    let all = home.must("logs two --all-containers --prefix");
    assert!(
        all.contains("[pod/two/one] 10\n") && all.contains("[pod/two/other] other\n"),
        "{all}"
    );
    let said = home.fails("logs two -c none");
    assert!(said.contains("container none is not valid for pod two"), "{said}");
}

#[test]
fn logs_follow_to_the_end_and_remember_the_run_before() {
    let home = Home::new();
    home.must(format!(
        "apply -f {}",
        home.file(
            "a.yaml",
            documents([
                job("count", "count --interval 20 --to 60"),
                pod("crash", "exit 3 --after 0.1"),
                pod("teller", "echo told"),
            ])
        )
    ));
    home.until_logged("count", "1\n");
    let followed = home.must("logs -f count");
    let numbers: Vec<u32> = followed.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
    home.until("there was a run before", || {
        home.field("pod teller", "/status/containerStatuses/0/restartCount")
            .as_i64()
            >= Some(1)
    });
    assert_eq!(home.must("logs -p teller"), "told\n");
    let said = home.fails("logs -p count");
    assert!(said.contains("previous terminated container"), "{said}");
}

#[test]
fn rotation_loses_no_line() {
    let home = Home::new();
    // Numbers of up to seven digits with their times: some 50 MB in the files, of which five times ten are kept; so fewer.
    let last = 700_000;
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", job("count", &format!("count --interval 0 --to {last}")))
    ));
    home.until_phase("count", "Succeeded");
    let log = home.must("logs count");
    let mut expected = 1..=last;
    for line in log.lines() {
        assert_eq!(line, expected.next().expect("no line too many").to_string());
    }
    assert_eq!(expected.next(), None, "all lines are there");
    let uid = home.text("pod count", "/metadata/uid");
    let files = crate::home::files_below(&home.path("pods").join(uid).join("logs"));
    assert!(files.len() > 1, "it was rotated: {files:?}");
    assert_eq!(home.must("logs count --tail 1"), format!("{last}\n"));
}

#[test]
fn cp_copies_both_ways_or_says_what_is_missing() {
    let home = Home::new();
    let shell = load_busybox(&home, "sleep 1000");
    home.must(format!(
        "watch --once {}",
        home.file("a.yaml", documents([pod("web", "serve"), shell]))
    ));
    let source = home.file("dir/one", "content of one\n");
    home.must(format!("cp {source} shell:/tmp/copy"));
    assert_eq!(home.must("exec shell -- cat /tmp/copy"), "content of one\n");
    let back = home.path("../files/back");
    home.must(format!("cp shell:/tmp/copy {}", back.display()));
    assert_eq!(std::fs::read_to_string(&back).expect("copied"), "content of one\n");
    let tree = home.path("../files/dir");
    home.must(format!("cp {} shell:/tmp/tree", tree.display()));
    assert_eq!(home.must("exec shell -- cat /tmp/tree/one"), "content of one\n");
    let said = home.fails(format!("cp {source} web:/tmp/copy"));
    assert!(said.contains("has no `tar`"), "{said}");
    // More than all buffers on the way hold: `tar` ends before it is sent.
    let large = home.file("large", "x".repeat(8 << 20));
    let said = home.fails(format!("cp {large} shell:/nowhere/at/all"));
    assert!(said.contains("/nowhere/at"), "{said}");
}

#[test]
fn an_exec_ends_with_its_connection() {
    let home = Home::new();
    home.start(pod("web", "serve"));
    let mut command = home.command("exec web -- /kubelocal demo count");
    let mut exec = home.spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut said = [0];
    let mut stdout = exec.stdout.take().expect("is piped");
    stdout.read_exact(&mut said).expect("it has begun");
    home.kill_node();
    let mut status = None;
    home.until("the exec has ended", || {
        status = exec.try_wait().expect("is ours");
        status.is_some()
    });
    assert_eq!(status.expect("ended").code(), Some(1));
}

#[test]
fn a_container_is_added_to_look_around_in_a_pod() {
    let home = Home::new();
    home.start(documents([
        load_busybox(&home, "sleep 1000"),
        pod("web", "serve").with("/spec/containers/0/name", json!("app")),
    ]));
    let look = "debug web -i --image=test/busybox:1 --image-pull-policy=Never";
    let words = |more: &'static [&'static str]| look.split(' ').chain(more.iter().copied()).collect::<Vec<_>>();
    // The target's processes and, by them, its files; its own are the image's. It speaks when it is spoken to: what it said before
    // somebody listened is in its log only.
    let seen = home.run_with(
        "go\n",
        words(&[
            "-q",
            "--target=app",
            "-c",
            "a",
            "--",
            "sh",
            "-c",
            "read go; cat /proc/1/cmdline; ls /proc/1/root; exit 3",
        ]),
    );
    assert!(
        seen.stdout.contains("serve") && seen.stdout.contains("kubelocal"),
        "{seen:?}"
    );
    assert_eq!(seen.code, 3, "{seen:?}");
    let own = home.run_with(
        "read word\n",
        words(&["-q", "-c", "b", "--", "sh", "-c", "cat; cat /proc/1/cmdline; sleep 1"]),
    );
    assert!(
        own.stdout.contains("read word") && own.stdout.contains("sleep"),
        "{own:?}"
    );
    assert_eq!(home.must("logs web -c b").lines().next(), Some("read word"));
    let states = "get pod web -o jsonpath={.status.ephemeralContainerStatuses[*].state.terminated.exitCode}";
    assert_eq!(home.must(states), "3 0");
    assert_eq!(
        home.must("get pod web -o jsonpath={.status.containerStatuses[0].restartCount}"),
        "0"
    );
    let refused = home.fails("debug web --image=x -c app");
    assert!(refused.contains("Duplicate value"), "{refused}");
    with_each(&home, |kubectl| {
        let debug = kubectl.command(&[
            "debug",
            "web",
            "-i",
            "--profile=general",
            "--image=test/busybox:1",
            "--image-pull-policy=Never",
            "--",
            "sh",
        ]);
        let script = home.file("script", "echo from-kubectl\nexit\n");
        let output = with_input(debug, &script);
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(out.contains("from-kubectl"), "{output:?}");
    });
}
