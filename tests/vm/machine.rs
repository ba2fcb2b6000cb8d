//! The virtual machine: put together, run to its end, and heard.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::archive::Archive;

/// A machine without anything beside it needs a minute.
const PATIENCE: Duration = Duration::from_secs(900);
const QEMU: &str = "qemu-system-x86_64";
const BUSYBOX: &str = "/bin/busybox";

/// What the machine said, by name.
pub struct Said {
    values: BTreeMap<String, String>,
    log: String,
}

impl Said {
    pub fn text(&self, name: &str) -> &str {
        let value = self.values.get(name);
        value.unwrap_or_else(|| panic!("the machine said nothing of {name}:\n{}", self.log))
    }

    pub fn is(&self, name: &str, value: &str) {
        assert_eq!(self.text(name), value, "{name}:\n{}", self.log);
    }

    pub fn number(&self, name: &str) -> u64 {
        let text = self.text(name);
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}:\n{}", self.log))
    }
}

/// Runs the machine with these pods; `None` where there can be none.
pub fn run(pods: &str) -> Option<Said> {
    let kernel = match find() {
        Ok(kernel) => kernel,
        Err(missing) => {
            let required = std::env::var("KUBELOCAL_TEST_VM").is_ok_and(|word| word == "required");
            assert!(!required, "{missing}");
            println!("WARNING: CGROUP V2 WAS NOT TESTED: {missing}");
            return None;
        }
    };
    let files = tempfile::tempdir_in("/var/tmp").expect("a directory below /var/tmp");
    let archive = files.path().join("initrd");
    fs::write(&archive, contents(&kernel, pods, files.path())).expect("writes");
    Some(hear(&kernel.join("vmlinuz"), &archive))
}

/// The directory of the kernel and its module.
fn find() -> Result<PathBuf, String> {
    let dir =
        std::env::var_os("KUBELOCAL_TEST_KERNEL").map_or_else(|| "/var/tmp/kubelocal-kernel".into(), PathBuf::from);
    if !cfg!(target_arch = "x86_64") {
        return Err("the virtual machine is one of x86_64".to_owned());
    }
    for file in [dir.join("vmlinuz"), dir.join("overlay.ko"), BUSYBOX.into()] {
        if !file.is_file() {
            return Err(format!("{} is missing: scripts/setup test", file.display()));
        }
    }
    let found = Command::new(QEMU).arg("--version").output();
    found
        .map(|_| dir)
        .map_err(|_| format!("{QEMU} is missing: scripts/setup test"))
}

/// All the files of the machine.
fn contents(kernel: &Path, pods: &str, scratch: &Path) -> Vec<u8> {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut archive = Archive::default();
    for dir in ["bin", "dev", "etc"] {
        archive.dir(dir);
    }
    archive.program("init", include_bytes!("init"));
    archive.program("bin/busybox", &read(Path::new(BUSYBOX)));
    archive.program("bin/kubelocal", &read(&stripped(scratch)));
    archive.file("overlay.ko", &read(&kernel.join("overlay.ko")));
    archive.file("ann.sh", include_bytes!("ann.sh"));
    archive.file("bob.sh", include_bytes!("bob.sh"));
    archive.file("pods.yaml", pods.as_bytes());
    let asked = json!({"limits": {"cpu": "100m", "memory": "32Mi"}});
    archive.file(
        "poor.yaml",
        crate::pod("poor", "sleep forever", &asked).to_string().as_bytes(),
    );
    let asked = json!({"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "50m", "memory": "8Mi"}});
    let elastic = crate::pod("elastic", "eat 40", &asked).to_string();
    archive.file("elastic.yaml", elastic.as_bytes());
    archive.file("etc/resolv.conf", b"");
    archive.file("etc/hosts", b"127.0.0.1 localhost\n");
    archive.finish()
}

/// The program without what only debuggers read: it is memory of the machine.
fn stripped(scratch: &Path) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_kubelocal"));
    let small = scratch.join("kubelocal");
    let made = Command::new("strip").arg("-o").args([&small, &program]).status();
    if made.is_ok_and(|status| status.success()) {
        small
    } else {
        program
    }
}

/// Runs it, and collects what it says.
fn hear(kernel: &Path, archive: &Path) -> Said {
    let mut qemu = Command::new(QEMU)
        // Software emulation: it works everywhere, /dev/kvm does not.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"])
        .args([
            "-nodefaults",
            "-no-reboot",
            "-nographic",
            "-serial",
            "stdio",
            "-append",
            "console=ttyS0 panic=-1 quiet",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("qemu runs");
    let output = BufReader::new(qemu.stdout.take().expect("is piped"));
    let (lines, heard) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let split = output.split(b'\n').map_while(Result::ok);
        split
            .map(|line| String::from_utf8_lossy(&line).trim_end().to_owned())
            .try_for_each(|line| lines.send(line))
    });
    let (mut said, until) = (
        Said {
            values: BTreeMap::new(),
            log: String::new(),
        },
        Instant::now() + PATIENCE,
    );
    while let Ok(line) = heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let Some((name, value)) = line
            .strip_prefix('@')
            .map(|rest| rest.split_once(' ').unwrap_or((rest, "")))
        {
            said.values.insert(name.to_owned(), value.to_owned());
        }
        said.log.push_str(&line);
        said.log.push('\n');
    }
    let _ = qemu.kill();
    let _ = qemu.wait();
    // It ends when nobody listens, or when the machine says no more.
    drop(heard);
    let _ = reader.join();
    println!("{}", said.log);
    said.text("end");
    said
}
