"""What ``noctule bench`` says of a broker that loses and repeats messages, and what it shows on a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from suite.brokers import read_broker, running

LOSSY = str(Path(__file__).with_name("lossy_broker.py"))
BENCH = [sys.executable, "-m", "noctule", "bench"]
COMMON = ["--warm-up", "0", "-h", "127.0.0.1"]


@contextmanager
def lossy(*options: str) -> Iterator[str]:
    """A port with such a broker."""
    broker = read_broker("lossy", {"command": [sys.executable, LOSSY, "{port}", *options]})
    with running(broker, "plain", ()) as server:
        yield str(server.port)


def bench(port: str, words: str) -> dict[str, Any]:
    done = subprocess.run(
        [*BENCH, *words.split(), *COMMON, "-p", port, "--json", "-"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


@pytest.mark.parametrize("words", ["fan-in --publishers 4", "shared --publishers 3 --subscribers 4"])
def test_losses_are_counted(words: str) -> None:
    with lossy("--lose", "10") as port:
        result = bench(port, f"{words} --rate 400 --duration 0.5")
    assert result["sent"] > 100
    assert result["lost"] == result["sent"] // 10
    assert result["received"] == result["sent"] - result["lost"]
    assert result["repeated"] == 0


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("fan-in --publishers 4", "--repeat"),
        ("shared --publishers 3 --subscribers 4", "--repeat"),
        ("shared --publishers 3 --subscribers 4", "--repeat-elsewhere"),
    ],
)
def test_repetitions_are_counted_and_are_no_deliveries(words: str, option: str) -> None:
    with lossy(option, "10") as port:
        result = bench(port, f"{words} --rate 400 --duration 0.5")
    assert result["repeated"] == result["sent"] // 10
    assert (result["received"], result["lost"]) == (result["sent"], 0)


def test_progress_is_live_on_a_terminal() -> None:
    with lossy() as port:
        ours, theirs = pty.openpty()
        words = [*BENCH, "fan-in", "--publishers", "2", "--rate", "200", "--duration", "1.2", *COMMON, "-p", port]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65_536)
            except OSError:  # the other side is closed
                break
        os.close(ours)
        output = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 0
    lines = re.findall(r"([0-9.]+) s  sent +([0-9,]+)/s  received +([0-9,]+)/s  p50 +[0-9.]+ ms", shown.decode())
    assert len(lines) >= 2
    assert float(lines[0][0]) < float(lines[1][0])
    assert "latency     p50" in output
    assert "lost        0" in output
