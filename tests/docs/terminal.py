"""A reader's machine: an empty home folder, shells that run what a page says, and brokers on ports of their own."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import tomli
from docs.command_server import CLIENT
from docs.pages import ROOT, Block

#: Seconds until what should happen at once has not happened.
DEADLINE_S: Final = 30.0

#: Where the commands find the package of this tree.
SEARCH_PATH: Final = os.environ.get("PYTHONPATH") or str(ROOT / ".root")

#: What this reader takes as the password of every user.
PASSWORD: Final = "secret"

#: Ports that the pages name. In a test the system chooses others for them.
PORTS: Final = (1883, 1884, 1885, 8883, 8884, 9001)

#: Folders of the machine that the pages name; in a test they are within the reader's home.
FOLDERS: Final = (
    "/var/lib/noctule",
    "/etc/noctule",
    "/etc/mosquitto",
    "/var/lib/mosquitto",
    "/backups",
    "/run/noctule",
)

#: A broker, and programs that go on until somebody ends them: they get a terminal of their own.
_STAYS: Final = re.compile(r"\s*(?:noctule|mosquitto)(?:_sub| sub| run)\b")
_ENDS: Final = re.compile(r" -[CWE]\b| --retained-only\b| [|>&]| -C\d")

#: What the pages do with the service of the Debian package: here it is the broker of this machine.
_SERVICE: Final = re.compile(r"systemctl (start|stop|restart|reload) noctule")
_OF_THE_SERVICE: Final = "noctule run -c /etc/noctule/noctule.toml"

SIGNS_OF_A_BUG: Final = ("Traceback (most recent call last)", "Exception ignored", "ResourceWarning", "Warning:")


class CommandServer:
    """``command_server.py`` as a process, for all pages of a run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        (folder / "client.py").write_text(CLIENT, encoding="utf-8")
        self.client = folder / "client.py"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__).with_name("command_server.py")), str(self.path)],
            env=os.environ | {"PYTHONPATH": SEARCH_PATH},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Program:
    """A program that goes on running, and what it prints."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def shows(self, pattern: str, seen_as: Callable[[str], str] = str) -> None:
        """Wait until what it has printed, after ``seen_as``, has a line or lines that match."""

        def is_there() -> bool:
            return re.search(pattern, seen_as("".join(self._lines)), re.MULTILINE) is not None

        with self._changed:
            self._changed.wait_for(lambda: self._over or is_there(), DEADLINE_S)
            assert is_there(), f"expected {pattern!r}, got:\n{''.join(self._lines)}"

    def reload(self) -> None:
        """Have a broker read its configuration again; back when it has."""
        before = len(self.output)
        self._process.send_signal(signal.SIGHUP)
        self.shows(r"The configuration is in effect|Nothing has changed", lambda text: text[before:])

    def end(self) -> int:
        """Stop it as Ctrl-C's gentler sister does; its exit code comes back."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()
        return code


@dataclass
class Machine:
    """One reader's machine, for one page."""

    home: Path
    server: CommandServer
    broker: Program | None = None
    others: list[Program] = field(default_factory=list)

    #: What the programs that go on are to print before the page is at its end.
    awaited: list[tuple[Program, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A socket that is bound and does not listen keeps its port from everybody but who says SO_REUSEADDR, as the
        # broker does.
        self._reserved = []
        self.ports = {}
        for port in PORTS:
            reserved = socket.socket()
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
            self._reserved.append(reserved)
            self.ports[port] = reserved.getsockname()[1]
        for folder in FOLDERS:
            self.path(folder).mkdir(parents=True, mode=0o700)
        programs = self.home / "bin"
        programs.mkdir()
        noctule = programs / "noctule"
        asking = shlex.join([sys.executable, "-I", "-S", str(self.server.client), str(self.server.path)])
        noctule.write_text(f'#!/bin/sh\nexec {asking} "$@"\n', encoding="utf-8")
        noctule.chmod(0o755)
        # The tools read their options from here first; the port that they would take by themselves is another one.
        defaults = self.home / ".config"
        defaults.mkdir()
        for tool in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"):
            (defaults / tool).write_text(f"-p {self.ports[1883]}\n", encoding="utf-8")

    def path(self, folder: str) -> Path:
        """Where a folder of the machine is in this home."""
        return self.home / folder.lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": f"{self.home / 'bin'}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": SEARCH_PATH,
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "PASSWORD": PASSWORD,
            "NOCTULE__DATA_DIRECTORY": str(self.path("/var/lib/noctule")),
        }

    def here(self, text: str) -> str:
        """A text of a page with this machine's ports and folders."""
        for folder in FOLDERS:
            text = re.sub(rf"(?<![\w/.]){folder}\b", str(self.path(folder)), text)
        for port, real in self.ports.items():
            text = re.sub(rf"(?<![\d.]){port}\b", str(real), text)
        return text

    def as_on_the_page(self, text: str) -> str:
        """The other way round."""
        for port, real in self.ports.items():
            text = re.sub(rf"\b{real}\b", str(port), text)
        for folder in FOLDERS:
            text = text.replace(str(self.path(folder)), folder)
        return text.replace(f"{self.home}/", "").replace(str(self.home), "~")

    def write(self, name: str, text: str) -> Path:
        """A file that a page shows."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(text), encoding="utf-8")
        path.chmod(0o600)
        return path

    def prepare(self, page: str) -> None:
        """Put the files there that a page takes as given: what others than its commands have made."""
        folder = Path(__file__).with_name("prepared") / Path(page).stem
        if folder.is_dir():
            shutil.copytree(folder, self.home, dirs_exist_ok=True)

    # Shells

    def type(self, script: str, *, expect_code: int | None = 0) -> str:
        """Run a script to its end; what it printed on both streams, in the page's words.

        Where ``noctule passwd`` would ask for a password, it is given ``PASSWORD``.
        """
        script = re.sub(r"^(noctule passwd (?!.*-[DUb]\b).*)$", rf"printf '{PASSWORD}\\n' | \1", script, flags=re.M)
        done = subprocess.run(
            ["sh", "-ec" if expect_code is not None else "-c", self.here(script)],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        output = self.as_on_the_page(done.stdout)
        assert expect_code is None or done.returncode == expect_code, f"{script}\nexit {done.returncode}:\n{output}"
        for sign in SIGNS_OF_A_BUG:
            assert sign not in output, f"{script}\n{output}"
        return output

    def leave_running(self, line: str) -> Program:
        """Run a broker, or a subscriber, in a terminal of its own; it is ready when this comes back."""
        is_broker = "run" in shlex.split(line, comments=True)[:2]
        environment = self.environment
        command = line.partition(" #")[0]
        if is_broker:
            self.end_broker()
            environment |= self._listening(command)
        else:
            self.need_broker()
            command += " -d"
        program = Program(["sh", "-c", self.here(f"exec {command.strip()}")], self.home, environment)
        if is_broker:
            self.broker = program
            program.shows(r"Listening on ")
        else:
            self.others.append(program)
            program.shows(r"^Subscribed")
        return program

    def _listening(self, command: str) -> dict[str, str]:
        """What is said in the environment so that a broker listens on this machine alone, and on a port of its own.

        Files stay as they are on the page, so that ``noctule check`` says of them what it would say.
        """
        words = shlex.split(command)
        if "--listen" in words:
            return {}
        port = {"NOCTULE__LISTENERS__0__PORT": str(self.ports[1883])}
        if "-c" not in words:
            return port
        path = self.path(words[words.index("-c") + 1])
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".conf":
            count = len(re.findall(r"^listener [1-9]", text, re.MULTILINE))
            return {f"NOCTULE__LISTENERS__{index}__ADDRESS": "127.0.0.1" for index in range(count)} or port
        listeners = tomli.loads(text).get("listeners", [])
        said = {
            f"NOCTULE__LISTENERS__{index}__ADDRESS": "127.0.0.1"
            for index, listener in enumerate(listeners)
            if not {"path", "systemd_socket"} & listener.keys()
        }
        return said if any("port" in listener or "path" in listener for listener in listeners) else said | port

    def service(self, action: str) -> None:
        """What systemd would do."""
        if action == "reload":
            assert self.broker is not None
            self.broker.reload()
            return
        self.end_broker()
        if action != "stop":
            self.leave_running(_OF_THE_SERVICE)

    def need_broker(self) -> None:
        """Start a broker as ``noctule run`` does, unless one is running."""
        if self.broker is None:
            self.leave_running("noctule run")

    def end_broker(self) -> None:
        """Stop the broker if there is one; it must end as it should."""
        if self.broker is None:
            return
        program, self.broker = self.broker, None
        code = program.end()
        assert code == 0, program.output
        for sign in SIGNS_OF_A_BUG:
            assert sign not in program.output, program.output

    # Blocks

    def run_script(self, block: Block) -> None:
        """A block of commands: those that go on get a terminal of their own, the others run one after the other."""
        code = int(block.said) if block.mark == "exit code" else 0
        for script, stays in in_pieces(block.text):
            service = _SERVICE.fullmatch(script.strip())
            if service is not None:
                self.service(service[1])
            elif stays:
                self.leave_running(script)
            else:
                self._need_broker_for(script)
                self.type(script, expect_code=code)

    def run_console(self, block: Block) -> None:
        """A block of commands, each after ``$``, with what they print."""
        for command, expected in with_outputs(block.text):
            if goes_on(command):
                program = self.leave_running(command)
                if expected:
                    self.awaited.append((program, expected))
                continue
            self._need_broker_for(command)
            printed = self.type(command, expect_code=None)
            if block.mark == "figures vary":
                printed, expected = figures_apart(printed), figures_apart(expected)
            assert re.fullmatch(pattern_of(expected), printed), f"{block}: {command}\n{printed}\n--- not\n{expected}"

    def log_has(self, block: Block) -> None:
        """A block of lines that the broker has logged, each behind its time and level."""
        assert self.broker is not None, f"{block}: there is no broker"
        for line in block.text.splitlines():
            self.broker.shows(rf" {pattern_of(line)}", self.as_on_the_page)

    def _need_broker_for(self, script: str) -> None:
        if re.search(r"\b(?:noctule (?:pub|sub|rr|ping|bench)|mosquitto_(?:pub|sub|rr))\b(?!.* --help)", script):
            self.need_broker()

    def run_program(self, block: Block) -> str:
        """A block of Python; what it printed."""
        self.need_broker()
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", self.here(block.text)],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        # paho 2.2 says on standard error that it has disconnected.
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        assert not any(sign in done.stderr for sign in SIGNS_OF_A_BUG), f"{block}\n{done.stderr}"
        return done.stdout

    def finish(self) -> None:
        """At the end of the page: what was to be printed by then has been, and everything ends as it should."""
        for program, expected in self.awaited:
            program.shows(pattern_of(expected), lambda text: self.as_on_the_page(without_debugging(text)))
        for program in self.others:
            program.end()
        self.others.clear()
        self.end_broker()

    def close(self) -> None:
        """After a failure too: nothing stays."""
        for program in (*self.others, *([self.broker] if self.broker is not None else [])):
            program.end()
        for reserved in self._reserved:
            reserved.close()


def goes_on(line: str) -> bool:
    """Whether a command runs until somebody ends it."""
    return _STAYS.match(line) is not None and _ENDS.search(line) is None and "--help" not in line


def in_pieces(text: str) -> Iterator[tuple[str, bool]]:
    """A script cut where a command goes on: each piece, and whether it is one that does."""
    piece: list[str] = []
    for line in text.splitlines():
        if goes_on(line) or _SERVICE.fullmatch(line.strip()):
            if any(part.strip() for part in piece):
                yield "\n".join(piece), False
            piece = []
            yield line, True
        else:
            piece.append(line)
    if any(part.strip() for part in piece):
        yield "\n".join(piece), False


def with_outputs(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, with what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = f"{command[:-1]}{more}"
        yield command, output


def pattern_of(expected: str) -> str:
    """What is shown as a pattern: three dots in a line stand for anything in it, a line of three dots for any lines."""
    lines = []
    for line in expected.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(r"[^\n]*".join(map(re.escape, line.rstrip().split("..."))) + r"[ \t]*\n")
    return "".join(lines)


def figures_apart(text: str) -> str:
    """The text with every number the same, for what is measured."""
    return re.sub(r"[ \t]+", " ", re.sub(r"\d[\d,.:]*\d|\d", "0", text))


def without_debugging(text: str) -> str:
    """What a subscriber has printed but for the lines that ``-d`` adds."""
    return re.sub(r"^(?:Client .* (?:sending|received) .*|Subscribed \(mid: .*)\n", "", text, flags=re.MULTILINE)
