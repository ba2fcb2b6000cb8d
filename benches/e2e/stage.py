"""What every bench needs before it measures: a directory for the time of the run, an environment of its own, an end in any case."""

import argparse
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import ground


def parser(doc, rounds=5):
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--directory", default="/var/tmp", help="where to keep state for the time of the run; not on overlayfs")
    made.add_argument("--limit", type=int, default=900, help="seconds after which it gives up")
    return made


def play(options, bench):
    """Calls `bench(stage)` on a stage that is cleared away afterwards, and prints what it returns."""
    if os.getuid() == 0:
        sys.exit(f"run it as an unprivileged user with subordinate ids: setpriv --reuid USER --regid USER --init-groups {sys.argv[0]}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("the time is over"))
    signal.alarm(options.limit)
    stage = Stage(tempfile.mkdtemp(prefix="kb-", dir=options.directory))
    try:
        print(bench(stage), end="")
    finally:
        signal.alarm(0)
        stage.close()


class Stage:
    def __init__(self, directory):
        self.directory, self.subjects = directory, []
        run_dir = os.path.join(directory, "run")
        os.makedirs(run_dir, 0o700)
        self.env = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": directory, "XDG_RUNTIME_DIR": run_dir,
                    "BENCH_DIR": directory, "LANG": "C.UTF-8"}

    @functools.cached_property
    def image(self):
        """The root file system that containers have, and the archive of it."""
        return ground.make_root(self.directory)

    def add(self, kind, **more):
        """A subject of this kind (`subjects`), which is closed in the end."""
        return self.keep(kind(self.directory, self.env, *self.image, 1, **more))

    def keep(self, subject):
        """Closes it in the end."""
        self.subjects.append(subject)
        return subject

    def leave_out(self, subject):
        self.subjects.remove(subject)
        subject.close()

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)
        return path

    def close(self):
        for subject in self.subjects:
            try:
                subject.close()
            except Exception as error:
                print(f"cleaning up {subject.name}: {error}", file=sys.stderr)
        # What containers own is not the user's out here.
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", self.directory], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
