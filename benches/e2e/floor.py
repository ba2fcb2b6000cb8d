"""Runs inside the user namespace that `run` made: containers by bare crun, all at once, from prepared bundles.

Speaks lines of JSON: `["start", 10]` and `["stop", 10]` are answered with seconds or a text. It is what the kernel and an OCI
runtime cost when nobody decides, records or watches anything.
"""

import json
import os
import subprocess
import sys
import time


def prepare(directory, root, program, count):
    """One bundle per container; crun's own default is the template."""
    template = os.path.join(directory, "template")
    os.makedirs(template)
    subprocess.run(["crun", "spec"], cwd=template, check=True)
    with open(os.path.join(template, "config.json")) as file:
        config = json.load(file)
    config["process"].update(terminal=False, args=program)
    config["root"] = {"path": root, "readonly": False}
    # Control groups are left out everywhere: they are not everyone's to use.
    kept = [n for n in config["linux"]["namespaces"] if n["type"] not in ("cgroup", "user")]
    config["linux"]["namespaces"] = kept
    config["linux"].pop("resources", None)
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"]
    for number in range(count):
        bundle = os.path.join(directory, f"bundle-{number}")
        os.makedirs(bundle)
        config["hostname"] = f"bench-{number}"
        with open(os.path.join(bundle, "config.json"), "w") as file:
            json.dump(config, file)


def all_at_once(commands):
    """Seconds until the last of the commands has ended."""
    null = os.open("/dev/null", os.O_RDWR)
    streams = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in (0, 1, 2)]
    begun = time.monotonic()
    pids = [os.posix_spawn("/usr/bin/crun", command, os.environ, file_actions=streams) for command in commands]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    seconds = time.monotonic() - begun
    os.close(null)
    return seconds if not any(codes) else f"crun ended with {codes}"


def main():
    directory, root, program, count = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
    prepare(directory, root, program, count)
    if os.path.isdir("/sys/fs/cgroup/unified"):
        # crun refuses trees that have both versions, even when it is to touch none.
        subprocess.run(["mount", "--bind", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"], check=True)
    crun = ["crun", "--root", os.path.join(directory, "state"), "--cgroup-manager=disabled"]
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        verb, count = json.loads(line)
        if verb == "start":
            bundle = os.path.join(directory, "bundle-")
            commands = [crun + ["run", "-d", "--no-new-keyring", "-b", f"{bundle}{n}", f"bench-{n}"] for n in range(count)]
        else:
            commands = [crun + ["delete", "-f", f"bench-{n}"] for n in range(count)]
        print(json.dumps(all_at_once(commands)), flush=True)


main()
