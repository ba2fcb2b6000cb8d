"""What every subject stands on: one root file system, one shape of pod, and how time, memory and CPU are read.

Knows nothing of the subjects. Memory is PSS, because helpers share their program's pages and RSS would count them many times.
"""

import glob
import io
import os
import socket
import subprocess
import sys
import tarfile
import time

# Process 1 of a container has no default handlers: without the trap every stop would take the whole grace period.
PROGRAM = ["/bin/sh", "-c", "trap 'exit 0' TERM; /bin/httpd -f -p 8080 & wait"]
IMAGE = "localhost/bench:1"
APPLETS = ["sh", "httpd", "sleep"]


def make_root(directory):
    """A root file system with one static program, as a directory and as a tar. Returns both paths."""
    root, archive = os.path.join(directory, "root"), os.path.join(directory, "root.tar")
    for name in ["bin", "etc", "proc", "dev", "sys", "tmp"]:
        os.makedirs(os.path.join(root, name))
    with open("/bin/busybox", "rb") as source, open(os.path.join(root, "bin/busybox"), "wb") as target:
        target.write(source.read())
    os.chmod(os.path.join(root, "bin/busybox"), 0o755)
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(root, "bin", applet))

    def as_root(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    with tarfile.open(archive, "w") as tar:
        for name in sorted(os.listdir(root)):
            tar.add(os.path.join(root, name), name, filter=as_root)
    return root, archive


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def binary():
    """The program to measure: `KUBELOCAL`, or the newest release build."""
    if "KUBELOCAL" in os.environ:
        return os.path.abspath(os.environ["KUBELOCAL"])
    repository = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(repository, "target"))
    found = glob.glob(os.path.join(target, "*/release/kubelocal")) + glob.glob(os.path.join(target, "release/kubelocal"))
    return max(found, key=os.path.getmtime) if found else sys.exit("no release binary: cargo build --release, or set KUBELOCAL")


def manifest(count):
    """`count` pods of one container each, in one file."""
    text = io.StringIO()
    for number in range(count):
        text.write(
            "apiVersion: v1\nkind: Pod\nmetadata:\n"
            f"  name: bench-{number}\n"
            "spec:\n  containers:\n  - name: main\n"
            f"    image: {IMAGE}\n    imagePullPolicy: Never\n"
            f'    command: ["{PROGRAM[0]}", "{PROGRAM[1]}"]\n'
            f'    args: ["{PROGRAM[2]}"]\n'
            "---\n"
        )
    return text.getvalue()


class Failed(Exception):
    """A command of a subject failed or did not end in time."""


class Run:
    """A command that ended: seconds, peak RSS in KiB, what it printed."""

    def __init__(self, seconds, peak, output):
        self.seconds, self.peak, self.output = seconds, peak, output


def run(command, env, timeout, check=True):
    """Runs a command to its end. Its output goes through a file, so that helpers that inherit it do not hold us up."""
    with open(os.path.join(env["BENCH_DIR"], "output"), "w+b") as output:
        begun = time.monotonic()
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        pid, status, usage = wait_for(process.pid, begun + timeout)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if check and process.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit {process.returncode}\n{text[:1000]}")
    return Run(seconds, usage.ru_maxrss, text)


def wait_for(pid, deadline):
    """`wait4` with a deadline, through a pidfd: polling would cost the subjects CPU."""
    import select

    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
            os.kill(pid, 9)
            os.wait4(pid, 0)
            raise Failed(f"process {pid} did not end in time")
        return os.wait4(pid, 0)
    finally:
        os.close(descriptor)


def processes():
    """(pid, name, program) of every process of this user that can be looked into."""
    for directory in glob.glob("/proc/[0-9]*"):
        try:
            if os.stat(directory).st_uid != os.getuid():
                continue
            with open(directory + "/comm") as comm:
                name = comm.read().strip()
            yield int(os.path.basename(directory)), name, os.readlink(directory + "/exe")
        except OSError:
            continue


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as words:
            return words.read()
    except OSError:
        return ""


def pss(pid):
    """PSS in KiB; 0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def peak_rss(pid):
    """Peak RSS in KiB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def cpu(pids):
    """Milliseconds on a CPU of these processes, threads that have ended included; in steps of the kernel's tick, 10 ms."""
    ticks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                # The name may hold anything, so fields are counted from its closing parenthesis.
                fields = stat.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def sleeps(pids):
    """How often threads of these processes went to sleep, which they do once for every time they wake."""
    count = 0
    for thread in (thread for pid in pids for thread in glob.glob(f"/proc/{pid}/task/*")):
        try:
            with open(thread + "/status") as status:
                count += next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt"))
        except (OSError, StopIteration):
            continue
    return count
