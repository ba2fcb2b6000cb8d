//! A virtual machine: put together, run to its end, and heard.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::archive::Archive;

/// A machine without anything beside it needs a minute or two.
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

/// What a machine is made of.
pub struct Scene<'a> {
    /// What is not tested where there can be no machine.
    pub tested: &'a str,
    /// What it needs of what `scripts/setup test` leaves beside the kernel.
    pub needs: &'a [&'a str],
    /// What the kernel is told, beside its console.
    pub told: &'a str,
    /// Its files, but for the program, busybox and the kernel's module.
    pub fill: &'a dyn Fn(&mut Archive, &Path),
}

/// Runs a machine; `None` where there can be none.
pub fn run(scene: &Scene<'_>) -> Option<Said> {
    let kernel = match find(scene.needs) {
        Ok(kernel) => kernel,
        Err(missing) => {
            let required = std::env::var("KUBELOCAL_TEST_VM").is_ok_and(|word| word == "required");
            assert!(!required, "{missing}");
            println!("WARNING: {} WAS NOT TESTED: {missing}", scene.tested);
            return None;
        }
    };
    let files = tempfile::tempdir_in("/var/tmp").expect("a directory below /var/tmp");
    let mut archive = Archive::default();
    (scene.fill)(&mut archive, &kernel);
    archive.program("bin/busybox", &read(Path::new(BUSYBOX)));
    archive.file("overlay.ko", &read(&kernel.join("overlay.ko")));
    let initial = files.path().join("initrd");
    fs::write(&initial, archive.finish()).expect("writes");
    Some(hear(&kernel.join("vmlinuz"), &initial, scene.told))
}

pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The directory of the kernel and what is beside it.
fn find(needs: &[&str]) -> Result<PathBuf, String> {
    let dir =
        std::env::var_os("KUBELOCAL_TEST_KERNEL").map_or_else(|| "/var/tmp/kubelocal-kernel".into(), PathBuf::from);
    if !cfg!(target_arch = "x86_64") {
        return Err("the virtual machine is one of x86_64".to_owned());
    }
    let beside = ["vmlinuz", "overlay.ko"].iter().chain(needs).map(|file| dir.join(file));
    for file in beside.chain([BUSYBOX.into()]) {
        if !file.exists() {
            return Err(format!("{} is missing: scripts/setup test", file.display()));
        }
    }
    let found = Command::new(QEMU).arg("--version").output();
    found
        .map(|_| dir)
        .map_err(|_| format!("{QEMU} is missing: scripts/setup test"))
}

/// The program without what only debuggers read: it is memory of the machine.
pub fn program() -> Vec<u8> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_kubelocal"));
    let scratch = tempfile::tempdir_in("/var/tmp").expect("a directory below /var/tmp");
    let small = scratch.path().join("kubelocal");
    let made = Command::new("strip").arg("-o").args([&small, &program]).status();
    let is_made = made.is_ok_and(|status| status.success());
    read(if is_made { &small } else { &program })
}

/// Runs it, and collects what it says.
fn hear(kernel: &Path, archive: &Path, told: &str) -> Said {
    let mut qemu = Command::new(QEMU)
        // Software emulation: it works everywhere, /dev/kvm does not.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"])
        .args(["-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio", "-append"])
        .arg(format!("console=ttyS0 panic=-1 quiet {told}"))
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
