//! A ground to run real pods on: directories, a root file system made of busybox, a runtime, and ways to wait.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kubelocal::cgroup::Tree;
use kubelocal::runtime::native::NativeRuntime;
use kubelocal::runtime::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ExecConfig, Exit, Limits, PodUid, Runtime,
    RuntimeOptions, SandboxConfig, SandboxStatus, Seccomp, Security, Session,
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout};

/// Everything below happens in milliseconds; only a very busy machine needs more than a second.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Tells grounds, and containers, from others of this process.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// Tells the test's second process what to do.
pub const NODE_VARIABLE: &str = "KUBELOCAL_TEST_NODE";

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 28] = [
    "sh", "cat", "echo", "sleep", "true", "false", "id", "grep", "head", "yes", "ls", "pwd", "env", "stty", "tty",
    "ps", "touch", "hostname", "mkdir", "rm", "dd", "seq", "wc", "kill", "ifconfig", "unshare", "mount", "setsid",
];

/// Directories and a runtime over them.
pub struct Ground {
    pub options: RuntimeOptions,
    pub runtime: NativeRuntime,
    pub layer: PathBuf,
    number: u32,
    changes: UnboundedReceiver<PodUid>,
    dir: Scratch,
}

/// A temporary directory that shows what supervisors said if the test fails.
struct Scratch(TempDir);

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for pod in fs::read_dir(self.0.path().join("pods")).into_iter().flatten().flatten() {
                let log = fs::read_to_string(pod.path().join("supervisor.log")).unwrap_or_default();
                eprintln!("{}:\n{log}", pod.path().display());
            }
        }
        // Whatever a test leaves running goes with its supervisor.
        for pod in fs::read_dir(self.0.path().join("pods")).into_iter().flatten().flatten() {
            end_supervisor(&pod.path());
        }
    }
}

/// Those of version 1, where they may be written. Version 2 would move whoever runs the tests; it is tested in `tests/vm.rs`.
fn cgroups() -> Option<Tree> {
    let tree = kubelocal::cgroup::look().ok()?;
    matches!(tree, Tree::Split { .. }).then_some(tree)
}

fn end_supervisor(pod: &Path) {
    let record = fs::read(pod.join("supervisor.json")).unwrap_or_default();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
    let Some(pid) = record["pid"]
        .as_i64()
        .and_then(|pid| rustix::process::Pid::from_raw(pid as i32))
    else {
        return;
    };
    if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let _ = rustix::event::poll(&mut ended, None);
    }
    // The kernel takes everything but the control groups.
    let groups = fs::read_to_string(pod.join("cgroup")).unwrap_or_default();
    let groups: Vec<PathBuf> = groups.lines().map(PathBuf::from).collect();
    kubelocal::cgroup::remove_left(&groups);
}

impl Ground {
    /// A fresh ground. Says loudly what is missing on this machine.
    pub async fn new(oci_runtime: Option<&str>) -> Ground {
        assert!(
            rustix::process::geteuid().is_root(),
            "run this as root, or in a user namespace: unshare --user --map-root-user --map-auto --mount cargo nextest run"
        );
        assert!(
            Path::new(BUSYBOX).exists(),
            "{BUSYBOX} is missing: apt-get install busybox-static"
        );
        let oci_runtime = oci_runtime.map(|name| {
            let dirs = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
            let found = dirs
                .iter()
                .map(|dir| Path::new(dir).join(name))
                .find(|path| path.exists());
            found.unwrap_or_else(|| panic!("{name} is missing: apt-get install {name}"))
        });
        let dir = Scratch(tempfile::tempdir().expect("a temporary directory"));
        let layer = dir.0.path().join("layers/busybox");
        make_busybox(&layer);
        let options = RuntimeOptions {
            pods_dir: dir.0.path().join("pods"),
            run_dir: dir.0.path().join("run"),
            cgroups: cgroups(),
            oci_runtime,
            handlers: std::collections::BTreeMap::new(),
            supervisor_exe: PathBuf::from(env!("CARGO_BIN_EXE_kubelocal")),
        };
        let runtime = NativeRuntime::open(options.clone(), None)
            .await
            .expect("the runtime opens");
        let changes = runtime.changes().expect("nobody else has taken them");
        Ground {
            options,
            runtime,
            layer,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            changes,
            dir,
        }
    }

    /// A number that only this test's processes sleep for.
    pub fn word(&self) -> String {
        format!("{}.{:04}", 1_000_000 + std::process::id(), self.number)
    }

    /// The uid of the pod of this name; control groups of tests that run at once must not meet.
    pub fn uid(&self, name: &str) -> PodUid {
        PodUid(format!("uid-of-{name}-{}-{}", std::process::id(), self.number))
    }

    /// A plain pod.
    pub fn sandbox_config(&self, name: &str) -> SandboxConfig {
        SandboxConfig {
            uid: self.uid(name),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            hostname: name.to_owned(),
            host_network: false,
            share_pid: false,
            host_ipc: false,
            host_pid: false,
            sysctls: Default::default(),
            memory_dirs: Vec::new(),
            limits: Limits::default(),
            runtime_handler: String::new(),
        }
    }

    /// Another node over the same directories, which begins a pod with this container.
    pub fn node_process(&self, name: &str, config: &ContainerConfig) -> std::process::Child {
        let task = serde_json::to_string(&(&self.options, self.sandbox_config(name), config)).expect("they are JSON");
        std::process::Command::new(std::env::current_exe().expect("it is known"))
            .args(["--exact", "crash::a_node_to_be_killed", "--ignored"])
            .env(NODE_VARIABLE, task)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the test can be run again")
    }

    /// The directory of a pod.
    pub fn pod_dir(&self, pod: &PodUid) -> PathBuf {
        self.options.pods_dir.join(&pod.0)
    }

    /// What pods have in the directory of sockets, without what they share.
    pub fn run_entries(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.options.run_dir).expect("it stays").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name != "mount-points" && name != "seccomp")
            .collect()
    }

    /// A path as the pod's supervisor sees it: its `run` is mounted for itself only.
    pub fn seen_by_supervisor(&self, pod: &PodUid, path: &Path) -> PathBuf {
        let pid = self.runtime.supervisor_pid(pod).expect("it lives");
        let below_root = path.strip_prefix("/").expect("absolute");
        PathBuf::from(format!("/proc/{pid}/root")).join(below_root)
    }

    pub fn path(&self) -> &Path {
        self.dir.0.path()
    }

    /// As if the node had died and another one had come.
    pub async fn reopen(self) -> Ground {
        let Ground {
            options,
            runtime,
            layer,
            number,
            changes,
            dir,
        } = self;
        drop((runtime, changes));
        let runtime = NativeRuntime::open(options.clone(), None)
            .await
            .expect("the runtime opens");
        let changes = runtime.changes().expect("nobody else has taken them");
        Ground {
            options,
            runtime,
            layer,
            number,
            changes,
            dir,
        }
    }

    pub async fn sandbox(&self, name: &str) -> PodUid {
        self.sandbox_with(name, |_| {}).await
    }

    pub async fn sandbox_with(&self, name: &str, change: impl FnOnce(&mut SandboxConfig)) -> PodUid {
        let mut config = self.sandbox_config(name);
        change(&mut config);
        self.runtime.run_pod_sandbox(&config).await.expect("the sandbox runs");
        config.uid
    }

    /// A container that runs a shell script.
    pub fn script(&self, name: &str, script: &str) -> ContainerConfig {
        self.command(name, &["sh", "-c", script])
    }

    pub fn command(&self, name: &str, args: &[&str]) -> ContainerConfig {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        ContainerConfig {
            id: ContainerId(format!("{number:064x}")),
            name: name.to_owned(),
            attempt: 0,
            image: "busybox".to_owned(),
            image_id: "sha256:0".to_owned(),
            layers: vec![self.layer.clone()],
            root: None,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            supplemental_groups: Vec::new(),
            has_strict_groups: false,
            mounts: Vec::new(),
            log_path: self.path().join(format!("logs/{name}/{number}.log")),
            stdin: false,
            stdin_once: false,
            tty: false,
            security: security(),
            oom_score_adj: 1000,
            pid_target: None,
            limits: Limits::default(),
            hooks: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    pub async fn start(&self, pod: &PodUid, config: &ContainerConfig) {
        self.runtime
            .create_container(pod, config)
            .await
            .expect("the container is created");
        self.runtime
            .start_container(pod, &config.id)
            .await
            .expect("the container starts");
    }

    /// Runs a container to its end; returns its exit and what it wrote.
    pub async fn run(&mut self, pod: &PodUid, config: &ContainerConfig) -> (Exit, String) {
        self.start(pod, config).await;
        let exit = self.exit(pod, &config.id).await;
        (exit, logged(config))
    }

    /// Runs a container that must succeed; returns what it wrote.
    pub async fn output(&mut self, pod: &PodUid, config: &ContainerConfig) -> String {
        let (exit, output) = self.run(pod, config).await;
        assert_eq!(exit.code, 0, "{exit:?} {output}");
        output
    }

    pub async fn status(&self, pod: &PodUid) -> SandboxStatus {
        self.runtime
            .status(pod)
            .await
            .expect("statuses can be read")
            .expect("the sandbox is on record")
    }

    pub async fn container(&self, pod: &PodUid, id: &ContainerId) -> ContainerStatus {
        let status = self.status(pod).await;
        status
            .containers
            .into_iter()
            .find(|c| c.id == *id)
            .expect("the container is on record")
    }

    /// Waits until a container has ended.
    pub async fn exit(&mut self, pod: &PodUid, id: &ContainerId) -> Exit {
        let until = Instant::now() + DEADLINE;
        loop {
            let status = self.container(pod, id).await;
            if let ContainerState::Exited(exit) = status.state {
                return exit;
            }
            let left = until.saturating_duration_since(Instant::now());
            let hint = timeout(left, self.changes.recv()).await;
            assert!(hint.is_ok(), "no exit in time: {:?}", self.status(pod).await);
        }
    }

    /// Waits until the sandbox's supervisor is known to be gone.
    pub async fn gone(&mut self, pod: &PodUid) -> SandboxStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            let status = self.status(pod).await;
            if !status.alive {
                return status;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                timeout(left, self.changes.recv()).await.is_ok(),
                "still alive: {status:?}"
            );
        }
    }

    /// Waits until a container's log has this text.
    pub async fn wait_for_log(&self, config: &ContainerConfig, text: &str) {
        let what = format!("{text:?} in the log of {}", config.name);
        wait_until(&what, || logged(config).contains(text)).await;
    }

    /// Runs a command in a container; returns its exit code and output.
    pub async fn exec(&self, pod: &PodUid, id: &ContainerId, args: &[&str]) -> (i32, String) {
        let config = exec_config(args);
        let session = self.runtime.exec(pod, id, &config).await.expect("the command runs");
        finish(session).await
    }
}

pub fn security() -> Security {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    Security {
        privileged: false,
        allow_privilege_escalation: true,
        read_only_rootfs: false,
        add_capabilities: Vec::new(),
        drop_capabilities: Vec::new(),
        seccomp: Seccomp::RuntimeDefault,
        masked_paths: words(&["/proc/kcore", "/proc/keys", "/sys/firmware"]),
        read_only_paths: words(&["/proc/sys", "/proc/irq"]),
        apparmor: None,
        selinux: None,
    }
}

pub fn exec_config(args: &[&str]) -> ExecConfig {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    ExecConfig {
        args,
        tty: false,
        stdin: false,
        size: None,
        dies_with_session: false,
    }
}

/// Reads a session's streams to their ends. Returns the exit code, and standard output and error together.
pub async fn finish(session: Session) -> (i32, String) {
    let mut text = String::new();
    for stream in [session.stdout, session.stderr].into_iter().flatten() {
        let mut stream = pipe::Receiver::from_owned_fd_unchecked(stream).expect("it can be polled");
        let mut buffer = [0; 4096];
        // A terminal ends with EIO.
        while let Ok(length @ 1..) = timeout(DEADLINE, stream.read(&mut buffer))
            .await
            .expect("the stream ends")
        {
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
    let ended = timeout(DEADLINE, session.ended).await.expect("the command ends");
    (ended.expect("it ran"), text)
}

/// What a container has logged, without the format.
pub fn logged(config: &ContainerConfig) -> String {
    let text = fs::read_to_string(&config.log_path).unwrap_or_default();
    text.lines()
        .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n")
        .collect()
}

/// Polls a condition that nothing tells of.
pub async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processes whose command line has this word.
pub fn processes_with(word: &str) -> Vec<String> {
    let pids = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let line = |pid: fs::DirEntry| fs::read_to_string(pid.path().join("cmdline")).ok();
    pids.filter_map(line).filter(|line| line.contains(word)).collect()
}

fn make_busybox(layer: &Path) {
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(layer.join(dir)).expect("the directory is writable");
    }
    fs::copy(BUSYBOX, layer.join("bin/busybox")).expect("busybox can be copied");
    for applet in APPLETS {
        symlink("busybox", layer.join("bin").join(applet)).expect("the directory is writable");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34:www:/var/www:/bin/false\n";
    fs::write(layer.join("etc/passwd"), passwd).expect("the directory is writable");
    fs::write(layer.join("etc/group"), "root:x:0:\nwww:x:34:\nlogs:x:40:www\n").expect("the directory is writable");
}
