//! A home of its own for each test: a node that nobody else sees, driven by the real program as a user would drive it.
//!
//! Knows paths, processes and the command line; must not know what a test is about. When it is dropped, everything that was started
//! has to end, and nothing of it may be left.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use serde_json::Value;

use crate::machine::Machine;

/// Most of what is waited for happens in a second; a machine that builds beside the tests needs the rest.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// A home directory, and what runs in it.
pub struct Home {
    dir: PathBuf,
    /// What was started in the background; ended before the rest.
    children: Mutex<Vec<u32>>,
    /// Where everything runs, if not on this machine; goes after all that.
    machine: Option<Machine>,
    /// What `/` is called there, if the home has a disk of its own.
    root: Option<PathBuf>,
}

/// What a call of the program said.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The words of a command line: a line that is split at spaces, or a list.
pub trait Words {
    fn words(&self) -> Vec<String>;
}

impl Words for &str {
    fn words(&self) -> Vec<String> {
        self.split_whitespace().map(str::to_owned).collect()
    }
}

impl Words for String {
    fn words(&self) -> Vec<String> {
        self.as_str().words()
    }
}

impl<const N: usize> Words for [&str; N] {
    fn words(&self) -> Vec<String> {
        self.iter().map(|&word| word.to_owned()).collect()
    }
}

impl Words for Vec<&str> {
    fn words(&self) -> Vec<String> {
        self.iter().map(|&word| word.to_owned()).collect()
    }
}

/// Waits until `condition` holds; after the deadline says what was waited for.
pub fn within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

impl Home {
    /// A fresh home. Orphans of it come to this process, so that none becomes a zombie that nobody waits for.
    pub fn new() -> Home {
        set_child_subreaper(Some(rustix::process::getpid())).expect("any process may be a subreaper");
        let dir = tempfile::Builder::new().prefix("kubelocal-e2e-").tempdir_in("/var/tmp");
        Home {
            // The files of pods belong to subordinate users, so the directory is removed by hand.
            dir: dir.expect("a directory below /var/tmp").keep(),
            children: Mutex::default(),
            machine: None,
            root: None,
        }
    }

    /// The same home, with these settings.
    pub fn with_settings(self, text: &str) -> Home {
        fs::create_dir_all(self.path("")).expect("a directory");
        fs::write(self.path("config.yaml"), text).expect("writes");
        self
    }

    /// A fresh home on another machine.
    pub fn on(machine: Machine) -> Home {
        let mut home = Home::new();
        home.machine = Some(machine);
        home
    }

    /// A fresh home on a disk of its own, of that many mebibytes, on a machine of its own.
    pub fn on_disk(mebibytes: u32) -> Home {
        let mut home = Home::on(Machine::new());
        fs::create_dir(home.path("")).expect("a directory");
        home.root = Some(home.machine().mount_disk(&home.path(""), mebibytes));
        home
    }

    /// That machine.
    pub fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("it was made with one")
    }

    /// A path in the home.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.dir.join("home").join(name);
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").expect("it is absolute")),
            None => path,
        }
    }

    /// Writes a file of the user's, outside the watched directory, and returns its path.
    pub fn file(&self, name: &str, text: impl ToString) -> String {
        let path = self.dir.join("files").join(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
        fs::write(&path, text.to_string()).expect("writes");
        path.display().to_string()
    }

    /// Saves a file in the watched directory.
    pub fn write(&self, name: &str, text: impl ToString) -> PathBuf {
        let path = self.path("manifests").join(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
        fs::write(&path, text.to_string()).expect("writes");
        path
    }

    /// Makes scripts; returns a search path on which they come first.
    pub fn programs(&self, scripts: &[(&str, &str)]) -> String {
        let dir = self.path("../programs");
        fs::create_dir_all(&dir).expect("a directory");
        for (name, script) in scripts {
            fs::write(dir.join(name), script).expect("writes");
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).expect("ours");
        }
        format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default())
    }

    /// The program, with this home.
    pub fn command(&self, args: impl Words) -> Command {
        let program = env!("CARGO_BIN_EXE_kubelocal");
        let mut command = match &self.machine {
            Some(machine) => machine.command(program),
            None => Command::new(program),
        };
        command
            .args(args.words())
            .env("KUBELOCAL_HOME", self.dir.join("home"))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: impl Words) -> Output {
        output(self.command(args).output().expect("the program runs"))
    }

    /// Runs the program to its end with this on its standard input.
    pub fn run_with(&self, stdin: impl AsRef<[u8]>, args: impl Words) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut pipe = child.stdin.take().expect("is piped");
        let bytes = stdin.as_ref().to_vec();
        let writer = std::thread::spawn(move || pipe.write_all(&bytes));
        let answer = output(child.wait_with_output().expect("it ends"));
        // A program that refuses may not read all of it.
        let _ = writer.join().expect("the writer does not panic");
        answer
    }

    /// Runs the program, which has to succeed, and returns what it printed.
    pub fn must(&self, args: impl Words) -> String {
        let words = args.words();
        let answer = self.run(args);
        assert_eq!(answer.code, 0, "{words:?}: {}\n{}", answer.stderr, answer.stdout);
        answer.stdout
    }

    /// Runs the program, which has to fail with code 1, and returns what it said on standard error.
    pub fn fails(&self, args: impl Words) -> String {
        let words = args.words();
        let answer = self.run(args);
        assert_eq!(answer.code, 1, "{words:?}: {}\n{}", answer.stderr, answer.stdout);
        answer.stderr
    }

    /// Applies these documents and waits until all pods of the default namespace are ready. Unlike with `watch`, nobody brings back
    /// what a test deletes then.
    pub fn start(&self, documents: impl ToString) {
        let applied = self.run_with(documents.to_string(), "apply -f -");
        assert_eq!(applied.code, 0, "{}", applied.stderr);
        self.until("there are pods", || {
            !self.get("pods")["items"].as_array().is_none_or(Vec::is_empty)
        });
        self.must("wait --for=condition=Ready pod --all --timeout=60s");
    }

    /// Starts the program in the background; it is ended with the home.
    pub fn spawn(&self, command: &mut Command) -> Child {
        let child = command.spawn().expect("the program runs");
        self.children.lock().expect("nobody panics with it").push(child.id());
        child
    }

    /// `get` of something, as JSON; null if it is not there.
    pub fn get(&self, what: &str) -> Value {
        let answer = self.run(format!("get {what} -o json --ignore-not-found"));
        serde_json::from_str(&answer.stdout).unwrap_or_default()
    }

    /// A field of something; null if it is not there.
    pub fn field(&self, what: &str, pointer: &str) -> Value {
        self.get(what).pointer(pointer).cloned().unwrap_or_default()
    }

    /// A field that is a text; empty if it is not there.
    pub fn text(&self, what: &str, pointer: &str) -> String {
        self.field(what, pointer).as_str().unwrap_or_default().to_owned()
    }

    /// The names of the pods that labels choose, all of them for an empty selector.
    pub fn pods(&self, selector: &str) -> BTreeSet<String> {
        let pods = self.must(["get", "pods", "-l", selector, "-o", "name"]);
        pods.lines()
            .map(|line| line.trim_start_matches("pod/").to_owned())
            .collect()
    }

    /// The ids of all containers that run now.
    pub fn container_ids(&self) -> BTreeSet<String> {
        let ids = self.must([
            "get",
            "pods",
            "-A",
            "-o",
            "jsonpath={.items[*].status.containerStatuses[*].containerID}",
        ]);
        ids.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until the pod is ready.
    pub fn until_ready(&self, pod: &str) {
        self.until(&format!("pod {pod} is ready"), || {
            let conditions = self.field(&format!("pod {pod}"), "/status/conditions");
            let mut conditions = conditions.as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
    }

    /// Waits until the pod is in this phase.
    pub fn until_phase(&self, pod: &str, phase: &str) {
        self.until(&format!("pod {pod} is {phase}"), || {
            self.text(&format!("pod {pod}"), "/status/phase") == phase
        });
    }

    /// Waits until a container of the pod waits for this reason.
    pub fn until_waiting(&self, pod: &str, reason: &str) {
        self.until(&format!("pod {pod} waits for {reason}"), || {
            let waiting = self.text(
                &format!("pod {pod}"),
                "/status/containerStatuses/0/state/waiting/reason",
            );
            waiting == reason
        });
    }

    /// Waits until there is no such thing.
    pub fn until_gone(&self, what: &str) {
        self.until(&format!("{what} is gone"), || self.get(what).is_null());
    }

    /// Waits until the log of the pod has this in it, and returns the log.
    pub fn until_logged(&self, args: &str, text: &str) -> String {
        let mut log = String::new();
        self.until(&format!("{text:?} is in the log of {args}"), || {
            log = self.run(format!("logs {args}")).stdout;
            log.contains(text)
        });
        log
    }

    /// Waits until the condition holds; after the deadline fails with all that can be seen of the home.
    pub fn until(&self, what: &str, condition: impl FnMut() -> bool) {
        assert!(
            within(DEADLINE, condition),
            "this did not come: {what}\n{}",
            self.sight()
        );
    }

    /// Everything that helps to understand a failure.
    pub fn sight(&self) -> String {
        let mut sight = String::new();
        for args in [
            "get pods -A -o wide",
            "get sources -o yaml",
            "get pods -A -o yaml",
            "events -A",
        ] {
            let seen = self.run(args);
            let _ = writeln!(sight, "--- {args}\n{}{}", seen.stdout, seen.stderr);
        }
        let log = fs::read_to_string(self.path("node.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(60)..];
        let _ = writeln!(sight, "--- node.log\n{}", tail.join("\n"));
        sight
    }

    /// The pid of the running node.
    pub fn node_pid(&self) -> Option<Pid> {
        let lock = fs::read_to_string(self.path("node.lock")).ok()?;
        let pid = Pid::from_raw(lock.trim().parse().ok()?)?;
        rustix::process::test_kill_process(pid).ok().map(|()| pid)
    }

    /// The pid of a pod's supervisor.
    pub fn supervisor_pid(&self, uid: &str) -> Option<Pid> {
        let record = fs::read(self.path("pods").join(uid).join("supervisor.json")).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        Pid::from_raw(i32::try_from(record["pid"].as_i64()?).ok()?)
    }

    /// Kills the node as a crash would.
    pub fn kill_node(&self) {
        let pid = self.node_pid().expect("a node runs");
        kill_process(pid, Signal::KILL).expect("it is ours");
        self.reap(pid);
        self.until_ended(pid);
    }

    /// Waits until the process is no more than a zombie.
    pub fn until_ended(&self, pid: Pid) {
        let ended = within(DEADLINE, || {
            self.reap(pid);
            has_ended(pid)
        });
        assert!(ended, "{pid:?} goes on");
    }

    /// Orphans are ours to wait for.
    pub fn reap(&self, pid: Pid) {
        // It may be somebody else's child, and then there is nothing to do.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }

    /// Every process that has to do with this home: its environment, arguments, working directory or mounts name it.
    pub fn processes(&self) -> Vec<(Pid, String)> {
        let mark = self.dir.as_os_str().as_encoded_bytes();
        let own = std::process::id();
        let all = fs::read_dir("/proc").expect("there is /proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| *pid != own)
            .filter_map(|pid| {
                let proc = PathBuf::from(format!("/proc/{pid}"));
                let cmdline = fs::read(proc.join("cmdline")).unwrap_or_default();
                let names_it = [fs::read(proc.join("environ")), fs::read(proc.join("mountinfo"))]
                    .into_iter()
                    .flatten()
                    .chain([cmdline.clone()])
                    .any(|bytes| contains(&bytes, mark));
                let is_in_it = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.dir));
                let words = String::from_utf8_lossy(&cmdline).replace('\0', " ");
                let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
                let is_machine = self.machine.as_ref().is_some_and(|machine| machine.is(pid));
                (!is_machine).then_some(())?;
                (names_it || is_in_it).then_some((pid, words))
            })
            .collect()
    }

    /// The control groups that supervisors wrote down.
    pub fn control_groups(&self) -> Vec<PathBuf> {
        let pods = fs::read_dir(self.path("pods")).into_iter().flatten().flatten();
        let written = pods.filter_map(|pod| fs::read_to_string(pod.path().join("cgroup")).ok());
        written
            .flat_map(|text| text.lines().map(PathBuf::from).collect::<Vec<_>>())
            .collect()
    }

    fn end_children(&self) {
        for pid in self.children.lock().expect("nobody panics with it").drain(..) {
            let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
                continue;
            };
            // The test may have waited for it, and then it is gone.
            if fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()))
                .is_ok_and(|environ| contains(&environ, self.dir.as_os_str().as_encoded_bytes()))
            {
                let _ = kill_process(pid, Signal::KILL);
            }
            self.reap(pid);
        }
    }

    fn kill_rest(&self) {
        within(Duration::from_secs(20), || {
            let left = self.processes();
            for (pid, _) in &left {
                // It may have gone by itself since.
                let _ = kill_process(*pid, Signal::KILL);
                self.reap(*pid);
            }
            left.is_empty()
        });
    }

    /// Files of subordinate users can be removed only by root of their namespace.
    fn remove(&self) {
        if rustix::process::geteuid().is_root() {
            fs::remove_dir_all(&self.dir).expect("root may");
            return;
        }
        let removed = Command::new("unshare")
            .args(["--user", "--map-root-user", "--map-auto", "rm", "-rf"])
            .arg(&self.dir)
            .status();
        assert!(
            removed.is_ok_and(|status| status.success()),
            "{} can't be removed: `unshare --map-auto` (util-linux 2.38) does it",
            self.dir.display()
        );
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end_children();
        let groups = self.control_groups();
        let has_failed = std::thread::panicking();
        let stopped = (!has_failed).then(|| self.run("stop --pods --timeout 90s"));
        let is_over = || self.processes().is_empty();
        let left = match &stopped {
            // What is told to end takes a moment to be gone.
            Some(answer) if answer.stdout.starts_with("stopped") && !within(Duration::from_secs(10), is_over) => {
                self.processes()
            }
            _ => Vec::new(),
        };
        self.kill_rest();
        let log = fs::read_to_string(self.path("node.log")).unwrap_or_default();
        for group in &groups {
            // Only a node that runs removes what a killed supervisor left.
            let _ = fs::remove_dir(group);
        }
        self.remove();
        if let Some(answer) = stopped {
            assert_eq!(answer.code, 0, "stop --pods: {}{}", answer.stdout, answer.stderr);
            assert!(left.is_empty(), "left after stop --pods: {left:?}\n{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

fn output(answer: std::process::Output) -> Output {
    Output {
        code: answer.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
    }
}

/// Whether there is no such process any more, or only a zombie.
pub fn has_ended(pid: Pid) -> bool {
    // The first thread of a killed process may end before the others, which still hold its sockets and locks.
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    if threads.is_ok_and(|threads| threads.count() > 1) {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    state.is_empty() || state.starts_with(['Z', 'X'])
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// All files below a directory.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
