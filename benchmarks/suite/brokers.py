"""The brokers that are compared: read from brokers.toml, installed where that says how, started and stopped."""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from suite.fixtures import write_fixtures
from suite.places import BUILD, HERE, BenchmarkError, say

_READY_S: Final = 20.0
_RESTART_S: Final = 180.0  # a million messages are written and read again
_STOP_S: Final = 5.0
_PORTS: Final = (12_000, 32_000)  # below what Linux takes for outgoing connections
_INSTALL_S: Final = 300.0
_PR_SET_PDEATHSIG: Final = 1
_KEYS: Final = {
    *("command", "port", "pid_file", "pid_command", "environment", "files", "setups", "scenarios", "version"),
    *("install", "installed", "hint"),
}


@dataclass(frozen=True, slots=True)
class Broker:
    """How to start one broker."""

    name: str
    command: tuple[str, ...]
    port: int | None = None
    pid_file: str = ""
    pid_command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    setups: tuple[tuple[str, str], ...] = (("plain", ""),)
    scenarios: tuple[str, ...] | None = None
    version: tuple[str, ...] = ()
    install: tuple[tuple[str, ...], ...] = ()
    installed: str = ""
    hint: str = ""

    def can_do(self, names: Sequence[str], setup: str) -> bool:
        """Whether it takes part in a scenario that goes by these names (its own, its group's) with this set-up."""
        return setup in dict(self.setups) and (self.scenarios is None or not set(names).isdisjoint(self.scenarios))


def _words(name: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise BenchmarkError(f"brokers: {name}.{key} must be a list of words")
    return tuple(value)


def read_broker(name: str, entry: Mapping[str, Any]) -> Broker:
    """Make a broker of its table. BenchmarkError says what is wrong with it."""
    unknown = set(entry) - _KEYS
    if unknown:
        raise BenchmarkError(f"brokers: {name} has {', '.join(sorted(unknown))}; known are {', '.join(sorted(_KEYS))}")
    command = _words(name, "command", entry.get("command"))
    if not command:
        raise BenchmarkError(f"brokers: {name} has no command")
    port = entry.get("port")
    if port is not None and not (isinstance(port, int) and 0 < port < 65536):
        raise BenchmarkError(f"brokers: {name}.port must be a number from 1 to 65535")
    everything = [*command, *(str(text) for text in entry.get("files", {}).values())]
    setups = dict(entry.get("setups", {}))
    setups.setdefault("plain", "")
    if port is None and not any("{port}" in text for text in [*everything, *setups.values()]):
        raise BenchmarkError(f"brokers: {name} is told no port: put {{port}} into its command or files, or give port")
    return Broker(
        name,
        command,
        port,
        str(entry.get("pid_file", "")),
        _words(name, "pid_command", entry.get("pid_command", [])),
        tuple(entry.get("environment", {}).items()),
        tuple(entry.get("files", {}).items()),
        tuple(setups.items()),
        _words(name, "scenarios", entry["scenarios"]) if "scenarios" in entry else None,
        _words(name, "version", entry.get("version", [])),
        tuple(_words(name, "install", words) for words in entry.get("install", [])),
        str(entry.get("installed", "")),
        str(entry.get("hint", "")),
    )


def read_brokers(files: Sequence[Path]) -> dict[str, Broker]:
    """Read the files one after the other; of two brokers with one name the later counts."""
    brokers = {}
    for path in files:
        try:
            with path.open("rb") as file:
                document = tomllib.load(file)
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BenchmarkError(f"{path}: {error}") from None
        for name, entry in document.items():
            if not isinstance(entry, dict):
                raise BenchmarkError(f"{path}: '{name}' stands outside a broker's table")
            brokers[name] = read_broker(name, entry)
    return brokers


def fill(text: str, places: Mapping[str, str]) -> str:
    """Put the values into the {places} of a text."""
    everywhere = {"python": sys.executable, "build": str(BUILD), "here": str(HERE), "user": getpass.getuser()}
    for name, value in {**everywhere, **places}.items():
        text = text.replace("{" + name + "}", value)
    return text


def install(broker: Broker) -> str | None:
    """Install it where that is needed and said how. What went wrong, or None."""
    if not broker.install or Path(fill(broker.installed, {})).exists():
        return None
    say(f"{broker.name}: installing into {BUILD}")
    for words in broker.install:
        command = [fill(word, {}) for word in words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        except OSError as error:
            return f"cannot be installed: {error}" + (f" ({broker.hint})" if broker.hint else "")
        except subprocess.TimeoutExpired:
            return f"cannot be installed: '{shlex.join(command)}' takes longer than {_INSTALL_S:g} s"
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
            return f"cannot be installed: '{shlex.join(command)}' ends with {done.returncode} ({last[0][:200]})"
    return None


def is_missing(broker: Broker) -> str | None:
    """Why the program cannot be run at all, or None."""
    program = fill(broker.command[0], {})
    if shutil.which(program) is not None:
        return None
    return f"no program '{program}' on this machine" + (f" ({broker.hint})" if broker.hint else "")


def version_of(broker: Broker) -> str:
    """The first line that its command for the version prints."""
    if not broker.version:
        return "version unknown"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = [fill(part, {}) for part in broker.version]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        lines = answer.stdout.strip().splitlines()
        if lines:
            return lines[0][:100]
    return "version unknown"


# ---- processes ------------------------------------------------------------------------------------------------------


def child_set_up(cores: Sequence[int]) -> Callable[[], None]:
    """What a child does before its program starts: choose its cores, and end with this process."""
    library = ctypes.CDLL(None)

    def set_up() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if cores:
            os.sched_setaffinity(0, cores)

    return set_up


def stop(process: subprocess.Popen[Any], patience_s: float = _STOP_S) -> None:
    """End a process that we started, with its group: asked first, then forced."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    # The group is the child's own (start_new_session): what it has left behind ends with it.
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one until its parent looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """Choose a loopback port that nobody uses at this moment, and that the system gives to no outgoing connection."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(*_PORTS)))
            return int(probe.getsockname()[1])


def answers(port: int, speaks_mqtt: bool) -> bool:
    """Whether the port takes connections and, where it speaks MQTT at once, answers CONNECT (even by a refusal)."""
    body = b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x05ready"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            if not speaks_mqtt:
                return True
            client.sendall(bytes((0x10, len(body))) + body)
            answer = b""
            while len(answer) < 4:
                chunk = client.recv(4 - len(answer))
                if not chunk:
                    return False
                answer += chunk
            if answer[3] == 0:
                client.sendall(b"\xe0\x00")
            return answer[:2] == b"\x20\x02"
    except OSError:
        return False


class RunningBroker:
    """A broker that runs; ``pid`` is the process whose use of the machine counts."""

    def __init__(self, broker: Broker, setup: str, cores: Sequence[int], folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.port = broker.port or free_port()
        self.http_port = free_port()
        self.pid = 0
        self._speaks_mqtt = setup not in ("tls", "ws", "wss")
        self._cores = cores
        self._process: subprocess.Popen[bytes] | None = None
        self._places = {"port": str(self.port), "http_port": str(self.http_port), "dir": str(folder)}
        write_fixtures(folder, setup)
        text_of_setup = fill(dict(broker.setups)[setup], self._places)
        for name, text in broker.files:
            (folder / name).write_text(fill(text, {**self._places, "setup": text_of_setup}))

    def start(self, patience_s: float = _READY_S) -> float:
        """Start it, and wait until it answers: after how many seconds. BenchmarkError if it does not."""
        began = time.monotonic()
        if self.broker.port is not None and answers(self.port, speaks_mqtt=False):
            raise BenchmarkError(f"cannot be started: somebody is on port {self.port} already")
        output = self.folder / "output.log"
        try:
            with output.open("wb") as log:
                self._process = subprocess.Popen(
                    [fill(part, self._places) for part in self.broker.command],
                    cwd=self.folder,
                    env=os.environ | {name: fill(value, self._places) for name, value in self.broker.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=child_set_up(self._cores),
                    start_new_session=True,
                )
        except OSError as error:
            raise BenchmarkError(f"cannot be started: {error}") from None
        while not answers(self.port, self._speaks_mqtt):
            ended = self._process.poll() is not None and not self.broker.pid_file and not self.broker.pid_command
            if ended or time.monotonic() > began + patience_s:
                last = output.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
                raise BenchmarkError(f"does not answer on its port ({last[0][:200]})")
            time.sleep(0.01)
        took = time.monotonic() - began
        self.pid = self._find_pid()
        return took

    def _find_pid(self) -> int:
        assert self._process is not None
        if not self.broker.pid_file and not self.broker.pid_command:
            return self._process.pid
        text = ""
        try:
            if self.broker.pid_file:
                text = Path(fill(self.broker.pid_file, self._places)).read_text()
            else:
                command = [fill(part, self._places) for part in self.broker.pid_command]
                text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
            pid = int(text.split()[0])
        except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
            raise BenchmarkError(f"does not tell its process number ({error})") from None
        if self._cores:
            # It was not our child's set-up that chose its core.
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), self._cores)
        return pid

    def stop(self, patience_s: float = _STOP_S) -> None:
        """Stop it; a process of which it told the number as well."""
        if self._process is None:
            return
        if self.pid and self.pid != self._process.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + patience_s
            while is_running(self.pid) and time.monotonic() < deadline:
                time.sleep(0.02)
        stop(self._process, patience_s)
        self._process = None

    def restart(self) -> float:
        """Stop it and start it again with what it has kept: seconds from the start until it answers."""
        self.stop(_RESTART_S)
        return self.start(_RESTART_S)


@contextlib.contextmanager
def running(broker: Broker, setup: str, cores: Sequence[int]) -> Iterator[RunningBroker]:
    """Start a broker; it is stopped at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        server = RunningBroker(broker, setup, cores, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
