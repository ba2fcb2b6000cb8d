"""Who is measured: bare crun, podman and kubelocal, each with the same verbs.

`start(n)`, `again(n)` (the same file once more) and `down(n)` return seconds; `helpers()` are the processes that are not the
workload. Every subject keeps all it has in a directory of its own, so that it can't meet anything of the user's.
"""

import json
import os
import select
import shutil
import subprocess
import time

import ground
from ground import Failed, run

PATIENCE = 120


class Floor:
    """Bare crun: the containers and nothing around them."""

    name = "crun"

    def __init__(self, directory, env, root, _archive, most):
        self.directory = os.path.join(directory, "crun")
        os.makedirs(self.directory)
        here = os.path.dirname(os.path.abspath(__file__))
        # One user namespace for all, entered beforehand, as kubelocal's node has one; its end is the end of all in it.
        enter = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        helper = ["python3", "-B", os.path.join(here, "floor.py"), self.directory, root, json.dumps(ground.PROGRAM), str(most)]
        self.process = subprocess.Popen(enter + helper, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self):
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise Failed("crun: no answer in time")
        answer = json.loads(self.process.stdout.readline() or '"its helper ended"')
        if isinstance(answer, str) and answer != "ready":
            raise Failed(f"crun: {answer}")
        return answer

    def ask(self, *question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def start(self, count):
        return self.ask("start", count)

    def down(self, count):
        return self.ask("stop", count)

    def helpers(self):
        return []

    def version(self):
        return subprocess.run(["crun", "--version"], capture_output=True, text=True).stdout.splitlines()[0]

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Podman:
    """`podman kube play`, `--replace` and `down`, rootless, with a store of its own."""

    name = "podman"
    HELPERS = {"conmon", "catatonit", "slirp4netns", "pasta", "pasta.avx2", "aardvark-dns", "rootlessport", "exe", "podman"}

    def __init__(self, directory, env, _root, archive, most, network="none"):
        self.directory = directory
        self.before = {pid for pid, _, _ in ground.processes()}
        self.network = ["--network", network] if network else []
        state = os.path.join(directory, "podman")
        self.podman = ["podman", "--root", state, "--runroot", os.path.join(env["XDG_RUNTIME_DIR"], "podman"),
                       "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        self.state, self.peak = state, 0
        # A keyring per container meets the quota of 200 keys that users have; keys are freed late.
        self.env = dict(env, CONTAINERS_CONF=os.path.join(directory, "containers.conf"))
        with open(self.env["CONTAINERS_CONF"], "w") as file:
            file.write("[containers]\nkeyring = false\n")
        self.run("import", archive, ground.IMAGE)

    def run(self, *arguments, check=True):
        done = run(self.podman + list(arguments), self.env, PATIENCE, check)
        self.peak = max(self.peak, done.peak)
        return done

    def file(self, count):
        return os.path.join(self.directory, f"{count}.yaml")

    def start(self, count):
        return self.run("kube", "play", *self.network, self.file(count)).seconds

    def again(self, count):
        return self.run("kube", "play", "--replace", *self.network, self.file(count)).seconds

    def down(self, count):
        return self.run("kube", "down", self.file(count)).seconds

    def ids(self):
        return set(self.run("ps", "--quiet", "--no-trunc").output.split())

    def list(self):
        return self.run("pod", "ps").seconds

    def helpers(self):
        found = ((pid, name) for pid, name, _ in ground.processes() if pid not in self.before)
        return [pid for pid, name in found if name in self.HELPERS]

    def version(self):
        return self.run("--version").output.strip()

    def close(self):
        self.run("pod", "rm", "--all", "--force", "--time", "0", check=False)
        for pid in self.helpers():
            os.kill(pid, 15)
        # Files in the store belong to ids that only exist in the namespace.
        self.run("unshare", "rm", "-rf", self.state, check=False)
        for pid in self.helpers():
            os.kill(pid, 15)


class Kubelocal:
    """`kubelocal watch --once`: registers the file and returns when every pod is ready. `--settle 0`, because nobody waits here to see
    whether containers that were started run on; the others don't either."""

    name = "kubelocal"

    def __init__(self, directory, env, _root, archive, most, binary):
        self.directory = directory
        self.home = os.path.join(directory, "kubelocal")
        self.env = dict(env, KUBELOCAL_HOME=self.home)
        # A copy of its own tells this node's processes from those of other nodes of the user.
        self.binary = os.path.join(directory, "kubelocal-bench")
        shutil.copy(binary, self.binary)
        self.run("image", "import", archive, ground.IMAGE)

    def run(self, *arguments, check=True):
        return run([self.binary, *arguments], self.env, PATIENCE, check)

    def file(self, count):
        return os.path.join(self.directory, f"{count}.yaml")

    def start(self, count):
        return self.run("watch", "--once", "--settle", "0", self.file(count)).seconds

    def again(self, count):
        return self.run("watch", "--once", "--settle", "0", self.file(count)).seconds

    def apply(self, count):
        """An unchanged file through the API, with the default that kubectl users know."""
        return self.run("apply", "-f", self.file(count)).seconds

    def save(self, count):
        """Writes a watched file anew with the same text, as editors do, and waits until the node has looked at it."""
        path = self.file(count)
        shutil.copy(path, path + ".new")
        os.rename(path + ".new", path)
        time.sleep(0.5)

    def down(self, count):
        return self.run("down", self.file(count)).seconds

    def ids(self):
        pods = json.loads(self.run("get", "pods", "-o", "json").output)["items"]
        return {status["containerID"] for pod in pods for status in pod["status"]["containerStatuses"]}

    def list(self):
        return self.run("get", "pods").seconds

    def start_node(self):
        """Seconds of the first command when no node runs."""
        self.stop()
        return self.run("get", "pods").seconds

    def stop(self):
        self.run("stop", check=False)

    def node(self):
        return next(pid for pid, name, _ in self.processes() if name == "kubelocal-node")

    def processes(self):
        return [p for p in ground.processes() if self.is_ours(*p)]

    def is_ours(self, pid, name, program):
        """A supervisor's program has no name, for it is in a mount of its own; its command line names the pod's directory."""
        if name == "kubelocal-pod":
            return self.home in ground.command_line(pid)
        return program.removesuffix(" (deleted)") == self.binary

    def helpers(self):
        return [pid for pid, _, _ in self.processes()]

    def version(self):
        return self.run("--version").output.strip()

    def close(self):
        self.run("down", "--all", "--timeout", "30s", check=False)
        self.run("stop", "--pods", "--timeout", "30s", check=False)
        for pid in self.helpers():
            os.kill(pid, 9)
        # Unpacked layers belong to ids that only exist in the namespace.
        enter = ["unshare", "--user", "--map-root-user", "--map-auto"]
        subprocess.run(enter + ["rm", "-rf", self.home], check=False)
