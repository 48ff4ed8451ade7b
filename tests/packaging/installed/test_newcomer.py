"""The first hour of a newcomer, by the README alone: a fresh Debian, a user without rights, and its commands."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from packaging_support.debian_root import certificates, pip_configuration, quick_compiler
from packaging_support.scratch_root import NO_NAMESPACES, Inside, has_namespaces, lacking, overlay

ROOT = Path(__file__).parent.parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MISSING = lacking("debootstrap", "unshare", "nsenter", "mosquitto_pub", "mosquitto_sub")
DEADLINE_S = 60.0
BUILD_DEADLINE_S = 600.0

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=f"the machine lacks {', '.join(MISSING)}"),
    pytest.mark.skipif(not has_namespaces(), reason=f"{NO_NAMESPACES} (test_wheel.py needs none)"),
]

#: What each command of the README is to whoever types it.
WAITED_FOR = ("noctule", "cat", "mkdir", "cp", "python", "python3")
OF_MAKE = "make"

#: They belong to other ways of installing, each with tests of its own, or fetch the tree that is here.
ELSEWHERE = ("docker", "apt", "apt-get", "sudo", "git", "cd", "systemctl", "service")

#: The password that is typed where one is asked for.
PASSWORD = "correct horse"


@dataclass(frozen=True)
class Block:
    """A block of code of the README."""

    language: Literal["sh", "python"]
    text: str

    @property
    def commands(self) -> list[str]:
        """Its commands, each with the lines that belong to it."""
        found: list[str] = []
        end = ""
        for line in self.text.splitlines():
            if end or (found and found[-1].endswith("\\")):
                found[-1] += f"\n{line}"
                end = "" if line == end else end
                continue
            if not line.strip() or line.startswith("#"):
                continue
            found.append(line)
            here = re.search(r"<<-?\s*['\"]?(\w+)", line)
            end = here[1] if here else ""
        return [re.sub(r"\s+# .*$", "", command) if "\n" not in command else command for command in found]


def blocks_of(text: str) -> list[Block]:
    """The blocks in their order: what is indented is typed into a shell, what is fenced says what it is."""
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```|(?<=\n\n)((?:    [^\n]*\n|\n(?=    ))+)", text, re.M | re.S):
        language, fenced, indented = match.groups()
        if indented is not None:
            found.append(Block("sh", re.sub(r"^    ", "", indented, flags=re.M)))
        elif language in ("sh", "shell", "bash"):
            found.append(Block("sh", fenced))
        elif language == "console":  # what is printed stands between the commands
            found.append(Block("sh", "".join(re.findall(r"^\$ (.*\n)", fenced, re.M))))
        elif language == "python":
            found.append(Block("python", fenced))
    return found


@dataclass
class Newcomer:
    """Somebody with an account on a fresh Debian, and as many terminals as wanted."""

    inside: Inside
    root: Path
    user: int
    home: str
    terminals: list["Terminal"] = field(default_factory=list)

    def _words(self, command: str, *, online: bool, as_root: bool) -> list[str]:
        enter = ["nsenter", "--target", str(self.inside.process), "--mount", "--pid", "--root"]
        enter += [] if online else ["--net"]
        user, home = (0, "/root") if as_root else (self.user, self.home)
        path = f"{home}/environment/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return [
            *(*enter, f"--setuid={user}", f"--setgid={user}", "--", "env", "-i", f"HOME={home}", f"PATH={path}"),
            *("LC_ALL=C.UTF-8", "PYTHONUNBUFFERED=1", "DEBIAN_FRONTEND=noninteractive", "sh", "-c"),
            f"cd {home}/noctule 2>/dev/null\n{command}",
        ]

    def tries(
        self, command: str, *, online: bool = False, as_root: bool = False, typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Type a command and wait for its end. ``online``: in this machine's network, as apt and pip need."""
        return subprocess.run(
            self._words(command, online=online, as_root=as_root),
            input=typed,
            capture_output=True,
            text=True,
            timeout=BUILD_DEADLINE_S if online else DEADLINE_S,
            check=False,
        )

    def types(self, command: str, *, online: bool = False, as_root: bool = False, typed: str = "") -> str:
        """Type a command that must succeed; what it printed."""
        done = self.tries(command, online=online, as_root=as_root, typed=typed)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def types_until_nothing_is_missing(self, command: str) -> None:
        """Type a command that builds; what it says is missing is installed as it says."""
        done = self.tries(command, online=True)
        advice = re.search(r"Debian, Ubuntu: +(apt-get install .*)", done.stdout + done.stderr)
        if done.returncode != 0 and advice is not None:
            self.types(f"{advice[1]} -y -q --no-install-recommends", online=True, as_root=True)
            done = self.tries(command, online=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def leaves_running(self, command: str) -> "Terminal":
        """Type a command into a terminal of its own."""
        terminal = Terminal(self._words(f"exec {command}", online=False, as_root=False), command)
        self.terminals.append(terminal)
        return terminal


class Terminal:
    """A command that runs on."""

    def __init__(self, words: Sequence[str], command: str) -> None:
        self.command = command
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def shows(self, pattern: str) -> None:
        """Wait for a line that matches, earlier ones included."""

        def look() -> bool:
            return self._over or any(re.search(pattern, line) for line in self._lines)

        with self._changed:
            self._changed.wait_for(look, DEADLINE_S)
            assert any(re.search(pattern, line) for line in self._lines), "\n".join([self.command, *self._lines])

    def end(self) -> int:
        """Ctrl-C's gentler sister; the exit code."""
        # nsenter waits for its child, which is the command, and does not pass signals on.
        child = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text() or 0)
        with contextlib.suppress(ProcessLookupError):
            if child:
                os.kill(child, signal.SIGTERM)
        try:
            return self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.kill(child or self._process.pid, signal.SIGKILL)
            raise
        finally:
            self._process.wait(DEADLINE_S)
            self._reader.join(DEADLINE_S)
            assert self._process.stdout is not None
            self._process.stdout.close()


@pytest.fixture
def newcomer(debian: Path, source: Path, tmp_path: Path) -> Iterator[Newcomer]:
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(overlay(debian, tmp_path / "machine"))
        (root / "etc/pip.conf").write_text(pip_configuration("/etc/authorities.pem"), encoding="utf-8")
        if authorities := certificates():
            shutil.copy(authorities, root / "etc/authorities.pem")
        quick_compiler(root / "usr/local/bin")
        subprocess.run(["chroot", str(root), "useradd", "--create-home", "ann"], check=True)
        home = root / "home/ann"
        shutil.copytree(source, home / "noctule", symlinks=True)
        user = home.stat().st_uid
        for folder, _, names in os.walk(home):
            for name in (".", *names):
                os.chown(Path(folder, name), user, user, follow_symlinks=False)
        hosts = Path("/etc/hosts").read_text(encoding="utf-8")
        inside = stack.enter_context(Inside(root, ["sh", "-c", "echo up; exec sleep infinity"], {}, hosts=hosts))
        inside.printed("^up$")
        somebody = Newcomer(inside, root, user, "/home/ann")
        try:
            yield somebody
        finally:
            for terminal in somebody.terminals:
                terminal.end()


def test_the_readme(newcomer: Newcomer) -> None:
    """Every command and every program of it, in its order, as they stand there."""
    # What the README says is needed, as far as the error of the first command cannot tell: make itself, and the
    # environment "of your own".
    newcomer.types("apt-get install -y -q --no-install-recommends make python3-venv", online=True, as_root=True)
    newcomer.types("python3 -m venv $HOME/environment", online=True)
    broker: Terminal | None = None
    subscribers: list[Terminal] = []
    received = 0
    blocks = blocks_of(README)
    assert any("noctule run" in block.commands for block in blocks)
    for number, block in enumerate(blocks):
        if block.language == "python":
            # "with `pip install paho-mqtt`" stands in the text before.
            said_before = README[: README.index(block.text)]
            for package in re.findall(r"`(pip install [\w-]+)`", said_before):
                newcomer.types(package, online=True)
            (newcomer.root / f"tmp/program{number}.py").write_text(block.text, encoding="utf-8")
            assert "21.5" in newcomer.types(f"python /tmp/program{number}.py")
            continue
        for command in block.commands:
            program, *words = command.split()
            if program in ELSEWHERE:
                continue
            if command.startswith(("make run", "noctule run")):
                if broker is not None:
                    for terminal in (*subscribers, broker):
                        terminal.end()
                        newcomer.terminals.remove(terminal)
                    subscribers.clear()
                if program == OF_MAKE:
                    # The first time it builds first, for which pip needs the network.
                    newcomer.types_until_nothing_is_missing("make build")
                broker = newcomer.leaves_running(command)
                broker.shows(r"Listening on mqtt://\S+:1883")
            elif program == OF_MAKE:
                assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M), command
            elif program == "pip":
                newcomer.types_until_nothing_is_missing(command)
            elif command.startswith(("noctule sub", "mosquitto_sub")):
                if program == "mosquitto_sub":
                    newcomer.types("apt-get install -y -q mosquitto-clients", online=True, as_root=True)
                subscribers.append(newcomer.leaves_running(f"{command} -d"))
                subscribers[-1].shows("SUBACK|Subscribed")
            elif command.startswith(("noctule pub", "mosquitto_pub")):
                newcomer.types(command)
                payload = re.search(r" -m (\S+)", command)
                assert payload is not None, command
                for subscriber in subscribers:
                    subscriber.shows(rf"(^| ){re.escape(payload[1])}$")
                    received += 1
            else:
                assert program in WAITED_FOR, f"what is {command!r} to a newcomer?"
                newcomer.types(command, typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert received
    assert broker is not None
    assert broker.end() == 0
    newcomer.terminals.remove(broker)
