"""A disk that loses its power: what a process did to a directory, written down, and what would be left of it.

What is written is on such a disk only when its file is synced, and a name only when its directory is. Of the rest any
part may be there or not, in any order, and a write may be torn between two sectors.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

HERE = Path(__file__).parent
SECTOR_BYTES = 512

#: The file with which a process says how far it has come; it is none of the store's.
ACKED = "acked"


def build_shim(folder: Path) -> Path:
    """Compile ``disk_trace.c``."""
    library = folder / "disk_trace.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [
            *compiler.split(),
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            library,
            HERE / "disk_trace.c",
            "-ldl",
        ],
        check=True,
    )
    return library


class Event(NamedTuple):
    """One thing that was done: made (O), written (W), cut to ``offset`` (T), synced (S), not synced in spite of a
    call (F), renamed to ``data`` (R), removed (U)."""

    kind: str
    name: str
    offset: int
    data: bytes


@dataclass
class Run:
    """What a process did, and how it ended."""

    events: Sequence[Event]
    code: int
    errors: str

    def count(self, kinds: str) -> int:
        """How many writes (``"WT"``) or syncs (``"SF"``) can be made to fail."""
        return sum(event.kind in kinds and event.name != ACKED for event in self.events)


def trace(shim: Path, directory: Path, script: Path, *arguments: str) -> Run:
    """Run a Python script on a directory and write down what it does."""
    log = directory.with_name(directory.name + ".trace")
    directory.mkdir(exist_ok=True)
    places = {"DISK_TRACE_DIRECTORY": str(directory), "DISK_TRACE_LOG": str(log)}
    process = _python(shim, [str(script), str(directory), *arguments], places)
    return Run(list(_events(log.read_bytes())), process.returncode, process.stderr)


def trace_all(shim: Path, folder: Path, script: Path, failures: Sequence[str], *arguments: str) -> Iterator[Run]:
    """Run the ``main`` of a script in one process once for each failure, each in a directory of its own.

    The directories are ``0``, ``1``, ... in ``folder``. A failure is as ``disk_trace_start`` takes it, or
    ``room BYTES``.
    """
    process = _python(shim, [str(HERE / "many_runs.py"), str(script), str(folder), ",".join(failures), *arguments], {})
    assert process.returncode == 0, process.stderr
    for index in range(len(failures)):
        code, _, errors = (folder / f"{index}.result").read_text().partition("\n")
        yield Run(list(_events((folder / f"{index}.trace").read_bytes())), int(code), errors)


def _python(shim: Path, command: Sequence[str], places: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_PRELOAD": str(shim),
        **places,
    }
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def _events(log: bytes) -> Iterator[Event]:
    at = 0
    while at < len(log):
        kind, name_bytes, offset, data_bytes = struct.unpack_from("<cIQQ", log, at)
        at += 21
        name = log[at : at + name_bytes].decode()
        at += name_bytes
        yield Event(kind.decode(), name, offset, log[at : at + data_bytes])
        at += data_bytes


@dataclass
class _File:
    """What is safe, what was written since, and what a failed sync has lost for good."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        if event.kind == "T":
            del self.safe[event.offset :]
            self.safe.extend(bytes(event.offset - len(self.safe)))
        else:
            end = event.offset + len(event.data)
            self.safe.extend(bytes(max(0, end - len(self.safe))))
            self.safe[event.offset : end] = event.data


class Disk:
    """Takes events one after the other; at any moment the power can go."""

    def __init__(self) -> None:
        #: Names as the process sees them, and as they are after a loss of power.
        self.names: dict[str, _File] = {}
        self.safe_names: dict[str, _File] = {}

        #: How far the process said that it had come.
        self.acked = 0

    def take(self, event: Event) -> None:
        """Do to the disk what was done."""
        kind, name, _, data = event
        if name == ACKED:
            if kind == "W":
                self.acked = int(data)
            return
        if kind == "S" and name == ".":
            self.safe_names = dict(self.names)
        elif kind == "S":
            file = self.names[name]
            for pending in file.pending:
                file.apply(pending)
            file.pending.clear()
        elif kind == "F" and name != ".":
            self.names[name].pending.clear()  # the system has thrown the pages away: no later sync writes them
        elif kind == "O":
            self.names[name] = _File()
        elif kind in "WT":
            self.names[name].pending.append(event)
        elif kind == "R":
            self.names[data.decode()] = self.names.pop(name)
        elif kind == "U":
            self.names.pop(name, None)

    def write_to(self, directory: Path, chance: Random | None = None) -> None:
        """Make a directory of what is left. Without ``chance``: nothing that was not synced; else any part of it."""
        directory.mkdir()
        names: Mapping[str, _File] = self.safe_names
        if chance is not None and chance.random() < 0.5:
            names = self.names
        for name, file in names.items():
            left = _File(bytearray(file.safe))
            for event in file.pending if chance is not None else ():
                if chance.random() < 0.5:
                    left.apply(_torn(event, chance))
            (directory / name).write_bytes(left.safe)


def _torn(event: Event, chance: Random) -> Event:
    """Now and then only the first sectors of a write."""
    if event.kind != "W" or chance.random() < 0.7:
        return event
    return event._replace(data=event.data[: chance.randrange(0, len(event.data) + 1, SECTOR_BYTES)])
