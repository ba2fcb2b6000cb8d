//! A stand-in for a machine with a network: namespaces of its own, and a cable to others that are "the internet". Nothing that happens there
//! leaves this machine. Whoever is root there is the user who runs the tests.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// The machine's address; 203.0.113.0/24 is for documentation (RFC 5737).
pub const OWN: &str = "203.0.113.2";
/// A host of the internet, which is the machine's gateway.
pub const OUTSIDE: &str = "203.0.113.1";
/// Its address of IPv6, as it stands before a port; 2001:db8::/32 is for documentation (RFC 3849). The machine has no default route there.
pub const OUTSIDE_V6: &str = "[2001:db8:1::1]";

/// Makes both, with networks that can't be reached and are forbidden beside it; says the pid of who is in the internet, and waits. `$1` is the file that is to be the machine's resolv.conf. Loopback is
/// up first, because processes wait for no one.
const MAKE: &str = r#"
set -e
PATH=$PATH:/usr/sbin:/sbin
mount --bind "$1" "$(readlink -f /etc/resolv.conf)"
ip link set lo up
unshare --net sleep infinity &
internet=$!
while [ "$(readlink /proc/$internet/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do :; done
ip link add wan type veth peer name cable netns $internet
ip address add 203.0.113.2/24 dev wan
ip link set wan up
nsenter --target $internet --net sh -e -c 'ip link set lo up; ip address add 203.0.113.1/24 dev cable; ip link set cable up'
ip route add default via 203.0.113.1
# A kernel without IPv6 fails the tests that are about it, and no others.
ip address add 2001:db8:1::2/64 dev wan nodad || :
nsenter --target $internet --net ip address add 2001:db8:1::1/64 dev cable nodad || :
ip route add unreachable 2001:db8:2::/48 || :
ip route add unreachable 198.51.100.0/24
ip route add prohibit 198.18.0.0/15
echo $internet
wait
"#;

/// The machine; its processes end with it.
pub struct Machine {
    holder: Child,
    internet: String,
    files: TempDir,
}

impl Machine {
    /// Makes one, and has the internet answer HTTP at port 80 and datagrams at port 5353.
    pub fn new() -> Machine {
        let files = tempfile::tempdir().expect("a directory");
        let resolver = files.path().join("resolv.conf");
        fs::write(&resolver, "").expect("writes");
        let is_root = rustix::process::geteuid().is_root();
        let user: &[&str] = if is_root {
            &[]
        } else {
            &["--user", "--map-root-user", "--map-auto"]
        };
        let mut holder = Command::new("unshare");
        holder
            .args(user)
            .args(["--net", "--mount", "sh", "-c", MAKE, "machine"])
            .arg(&resolver)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut holder, 0);
        let mut holder = holder.spawn().expect("unshare (util-linux 2.38) is there");
        let mut said = BufReader::new(holder.stdout.take().expect("is piped"));
        let mut internet = String::new();
        said.read_line(&mut internet).expect("it speaks");
        assert!(
            !internet.is_empty(),
            "no machine can be made: `ip` (iproute2), `unshare --map-auto` and `nsenter` (util-linux 2.38) do it"
        );
        let machine = Machine {
            holder,
            internet: internet.trim().to_owned(),
            files,
        };
        machine.serve_outside("serve --port 80");
        machine.serve_outside("answer --port 5353");
        machine
    }

    /// Puts a disk of that many mebibytes at a directory of the machine; returns what `/` is called there from here.
    pub fn mount_disk(&self, directory: &Path, mebibytes: u32) -> PathBuf {
        let mut mount = self.command("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=700"), "disk"]);
        let done = mount.arg(directory).status();
        assert!(done.is_ok_and(|status| status.success()), "a tmpfs can be mounted");
        PathBuf::from(format!("/proc/{}/root", self.holder.id()))
    }

    /// Whether a process is the machine itself.
    pub fn is(&self, pid: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        // The process group is the third field after the name (proc_pid_stat(5)), which may hold anything.
        let group = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(2));
        group == Some(self.holder.id().to_string().as_str())
    }

    /// Runs a program on the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.enter(&self.holder.id().to_string(), &["--net", "--mount"]);
        command.arg(program);
        command
    }

    /// Has `ip` change the machine's network.
    pub fn ip(&self, words: &str) {
        let script = "PATH=$PATH:/usr/sbin:/sbin; exec ip \"$@\"";
        let mut command = self.command("sh");
        let done = command
            .args(["-c", script, "ip"])
            .args(words.split_whitespace())
            .status();
        assert!(done.is_ok_and(|status| status.success()), "ip {words}");
    }

    /// Writes the machine's resolv.conf.
    pub fn set_resolver(&self, text: &str) {
        fs::write(self.resolver(), text).expect("writes");
    }

    fn resolver(&self) -> PathBuf {
        self.files.path().join("resolv.conf")
    }

    /// Starts a demo program on the machine.
    pub fn serve(&self, words: &str) {
        let command = self.command(env!("CARGO_BIN_EXE_kubelocal"));
        self.demo(command, words);
    }

    /// Starts a demo program in the internet.
    pub fn serve_outside(&self, words: &str) {
        let mut command = self.enter(&self.internet, &["--net"]);
        command.arg(env!("CARGO_BIN_EXE_kubelocal"));
        self.demo(command, words);
    }

    /// What a demo program says that runs on the machine, or in the internet.
    pub fn said(&self, is_outside: bool, words: &str) -> String {
        let program = env!("CARGO_BIN_EXE_kubelocal");
        let mut command = match is_outside {
            true => self.enter(&self.internet, &["--net"]),
            false => self.command(program),
        };
        if is_outside {
            command.arg(program);
        }
        let output = command.arg("demo").args(words.split_whitespace()).output();
        let output = output.expect("nsenter (util-linux) is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whoever is started lives in the holder's group, and ends with it.
    fn demo(&self, mut command: Command, words: &str) {
        let group = i32::try_from(self.holder.id()).expect("pids are small");
        std::os::unix::process::CommandExt::process_group(&mut command, group);
        let started = command
            .arg("demo")
            .args(words.split_whitespace())
            .env("POD_NAME", "outside")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        // Ended with the group; it is this process' child, and reaped with it.
        drop(started.expect("nsenter (util-linux) is there"));
    }

    fn enter(&self, pid: &str, namespaces: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", pid]).args(namespaces);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user"]);
        }
        command.arg("--");
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let group = i32::try_from(self.holder.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.holder.wait();
    }
}
