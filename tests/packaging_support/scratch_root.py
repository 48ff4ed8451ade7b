"""Programs in a root folder of their own: with its files alone, its own network and processes, as in a container.

It needs root, and util-linux; there is no container engine in it.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

DEADLINE_S = 30.0

#: Why a test is skipped that cannot be run: no script can install this. tests/conftest.py lets it pass in CI.
NO_NAMESPACES = "namespaces cannot be made here"

#: Run by the host's Python inside the new namespaces, before the root changes.
_ENTER = """
import array, ctypes, fcntl, json, os, socket, struct, subprocess, sys
said = json.loads(sys.argv[1])
root = said["root"]
with socket.socket() as any_socket:  # the loopback device is down in a new network
    request = struct.pack("16sH14x", b"lo", 0x1 | 0x40)
    fcntl.ioctl(any_socket, 0x8914, request)
def mount(*words):
    subprocess.run(["mount", *words], check=True)
mount("--bind", root, root)
mount("-t", "proc", "proc", root + "/proc")
mount("--rbind", "/dev", root + "/dev")
for inside, outside in said["volumes"].items():
    place = root + inside
    if os.path.isfile(outside):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        open(place, "a").close()
    else:
        os.makedirs(place, exist_ok=True)
    mount("--bind", outside, place)
with open(root + "/etc/hosts", "w") as hosts:  # as an engine does
    hosts.write(said["hosts"])
if said["read_only"]:
    mount("-o", "remount,ro,bind", root)
os.chroot(root)
os.chdir(said["folder"])
os.umask(0o022)
os.setgroups([])
os.setgid(said["group"])
os.setuid(said["user"])
os.execvpe(said["words"][0], said["words"], said["environment"])
"""


class Inside:
    """A program that runs in a root folder; everything it prints is kept."""

    def __init__(
        self,
        root: Path,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        user: int = 0,
        group: int = 0,
        folder: str = "/",
        volumes: Mapping[str, Path] | None = None,
        read_only: bool = False,
        hosts: str = "127.0.0.1 localhost\n::1 localhost\n",
    ) -> None:
        said = {
            "root": str(root),
            "words": list(words),
            "environment": dict(environment),
            "user": user,
            "group": group,
            "folder": folder,
            "volumes": {inside: str(outside) for inside, outside in (volumes or {}).items()},
            "read_only": read_only,
            "hosts": hosts,
        }
        self._environment = dict(environment)
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._over = False
        self.unshare = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
                *(sys.executable, "-I", "-c", _ENTER, json.dumps(said)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The first process in there takes all others with it. --kill-child is for the time before it has another user.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
            os.kill(self.process, signal.SIGKILL)
        self.unshare.kill()
        self.unshare.wait()
        self._reader.join()
        assert self.unshare.stdout is not None
        self.unshare.stdout.close()

    def _read(self) -> None:
        assert self.unshare.stdout is not None
        for line in self.unshare.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        """What was printed so far."""
        with self._changed:
            return "\n".join(self._lines)

    @property
    def process(self) -> int:
        """The number, seen from here, of the process that is 1 in there."""
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        deadline = time.monotonic() + DEADLINE_S
        while not (found := children.read_text(encoding="ascii").split()) and self.unshare.poll() is None:
            assert time.monotonic() < deadline, "unshare starts nothing"
            time.sleep(0.01)
        return int(found[0])

    def printed(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """Wait for a line that matches, earlier ones included."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = [match for line in self._lines if (match := re.search(pattern, line))]
            return len(found) >= times or self._over

        with self._changed:
            self._changed.wait_for(look, DEADLINE_S)
        assert len(found) >= times, f"{pattern!r} was not printed, but:\n{self.output}"
        return found[-1]

    def signal(self, number: signal.Signals) -> None:
        """Send the first process in there a signal, as an engine does."""
        os.kill(self.process, number)

    def wait(self) -> int:
        """Wait for the end; the exit code."""
        code = self.unshare.wait(DEADLINE_S)
        self._reader.join()
        return code

    def stop(self) -> None:
        """Stop as an engine does; it must end in order."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0, self.output
        assert "Traceback" not in self.output

    def beside(self, *words: str, root: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the network in there; with ``root`` one of in there, as its user, with the
        environment that the first process was given."""
        enter = ["nsenter", "--target", str(self.process), "--net"]
        environment = None
        if root:
            environment = self._environment
            status = Path(f"/proc/{self.process}/status").read_text(encoding="ascii")
            user, group = (re.search(rf"^{name}:\s+(\d+)", status, re.M) for name in ("Uid", "Gid"))
            assert user is not None
            assert group is not None
            enter += ["--mount", "--pid", "--root", "--wd", f"--setuid={user[1]}", f"--setgid={group[1]}"]
        return subprocess.run(
            [*enter, "--", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


def publish_and_receive(inside: Inside, *options: str, topic: str = "t", port: int = 1883) -> None:
    """A retained message goes in with mosquitto_pub and comes out with mosquitto_sub."""
    words = ("-p", str(port), *options)
    payload = f"{time.monotonic_ns()}"
    done = inside.beside("mosquitto_pub", *words, "-t", topic, "-m", payload, "-r", "-q", "1")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + inside.output
    done = inside.beside("mosquitto_sub", *words, "-t", topic, "-C", "1", "-W", "10")
    assert (done.returncode, done.stdout) == (0, f"{payload}\n"), done.stderr + inside.output


def refused(inside: Inside, *options: str, port: int = 1883) -> bool:
    """Whether the broker answers and does not let these options in."""
    done = inside.beside("mosquitto_pub", "-p", str(port), *options, "-t", "t", "-m", "x")
    assert "Connection error" in done.stderr or done.returncode == 0, done.stderr
    return "refused" in done.stderr.lower() or "not authorised" in done.stderr.lower()


def lacking(*programs: str) -> list[str]:
    """What this machine lacks of what the tests need."""
    missing = [program for program in programs if shutil.which(program) is None]
    return missing + ([] if os.geteuid() == 0 else ["root"])


@cache
def has_namespaces() -> bool:
    """Whether the machine gives the rights that ``Inside`` needs."""
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"]
    return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0


@contextlib.contextmanager
def overlay(lower: Path, work: Path) -> Iterator[Path]:
    """A copy of a root folder that costs nothing; what is changed in it goes with it."""
    upper, scratch, merged = (work / name for name in ("upper", "scratch", "merged"))
    for folder in (upper, scratch, merged):
        folder.mkdir(parents=True)
    upper.chmod(0o755)
    # Volatile: nobody needs it on disk, and unmounting would wait for that.
    options = f"lowerdir={lower},upperdir={upper},workdir={scratch},volatile"
    done = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=False)
    if done.returncode != 0:  # no overlays here: a real copy
        subprocess.run(["cp", "-a", f"{lower}/.", str(merged)], check=True)
    try:
        yield merged
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", str(merged)], check=True)
        shutil.rmtree(work)
