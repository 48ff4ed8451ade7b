"""Output that cannot be written: one line, an exit code that says so, no traceback; for every command."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO

import pytest
from noctule.cli.main import main
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.testing.running import RunningBroker
from noctule.testing.store_contract import FULL as STORED

FULL = Path("/dev/full")
SAID = "noctule: standard output cannot be written"

COMMANDS = [
    "--help",
    "config schema",
    "check",
    "convert {folder}/mosquitto.conf",
    "passwd -b -c - ann secret",
    "store check {folder}/store",
    "store stats {folder}/store",
    "sub --help",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    (folder / "mosquitto.conf").write_text("listener 1883\nallow_anonymous true\n")
    store = SqliteStore(Config(path=folder / "store", reserve_bytes=0))
    store.open()
    list(store.restore())
    store.commit(STORED, sync=True)
    store.close()
    return folder


def run(words: list[str], output: IO[bytes], *, is_buffered: bool = True) -> tuple[int, list[str]]:
    """The exit code, and what is said on stderr but for warnings."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    if not is_buffered:
        environment["PYTHONUNBUFFERED"] = "1"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "noctule", *words],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    return done.returncode, [
        line for line in done.stderr.splitlines() if ": warning: " not in line and not line.startswith("differs: ")
    ]


@contextmanager
def closed_pipe() -> Iterator[IO[bytes]]:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        yield pipe


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(folder: Path, command: str) -> None:
    with FULL.open("wb") as full:
        assert run(command.format(folder=folder).split(), full) == (1, [f"{SAID}: No space left on device"])


@pytest.mark.parametrize("command", ["--help", "config example", "store export {folder}/store"])
@pytest.mark.parametrize("is_buffered", [True, False])
def test_a_reader_that_has_gone(folder: Path, command: str, is_buffered: bool) -> None:
    with closed_pipe() as pipe:
        done = run(command.format(folder=folder).split(), pipe, is_buffered=is_buffered)
    assert done == (1, [])


def test_messages_that_nobody_reads() -> None:
    """From within the tasks of a client it comes out as one line too."""
    with RunningBroker(allow_anonymous=True) as broker, closed_pipe() as pipe:
        broker.publish("a", "b", retain=True)
        assert run(["sub", "-p", str(broker.port), "-t", "a"], pipe) == (1, [])


def test_an_export_to_a_full_disk_leaves_no_half_of_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(_rows: object, file: TextIO) -> int:
        file.write("half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("noctule.cli.store.json_lines.write", write)
    output = folder / "export"
    assert main(["store", "export", str(folder / "store"), "-o", str(output)]) == 1
    assert capsys.readouterr().err == f"noctule: {output} cannot be written: No space left on device\n"
    assert not output.exists()
