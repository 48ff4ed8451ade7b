"""What keeping costs: QoS 1 to a session that is offline, at each level of durability, and with a log alone.

    python benchmarks/durable.py                 # about a minute
    python benchmarks/durable.py --repetitions 5

128 publishers with 20 messages of 100 bytes in flight, broker on one core, load on the other, every store in turn
within each repetition. Nobody takes the messages: every one of them has to be kept. The last rows are a flood from one
publisher to one subscriber whose sessions are not kept, so that the store has nothing to do.
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
BUILD = REPOSITORY / "build" / "benchmarks"

#: So much that no queue is full.
UNLIMITED = {"NOCTULE__LIMITS__MAX_QUEUED_MESSAGES": "100000000", "NOCTULE__LIMITS__MAX_QUEUED_BYTES": "100GB"}

OFFLINE = ("--publishers", "128", "--subscribers", "0", "--payload", "100")
FLOOD = ("--publishers", "1", "--subscribers", "1", "--payload", "64")


@dataclass(frozen=True)
class Row:
    """One kind of work with one store."""

    title: str
    durability: str
    load: tuple[str, ...]
    with_session: bool
    with_log: bool = False


ROWS = (
    Row("SQLite, disk", "disk", OFFLINE, with_session=True),
    Row("a log alone, disk", "disk", OFFLINE, with_session=True, with_log=True),
    Row("SQLite, os", "os", OFFLINE, with_session=True),
    Row("memory", "memory", OFFLINE, with_session=True),
    Row("1 → 1, disk", "disk", FLOOD, with_session=False),
    Row("1 → 1, memory", "memory", FLOOD, with_session=False),
)


@dataclass
class Figures:
    """What was measured of one row, a value for each repetition."""

    cpu_us: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)


@contextmanager
def broker(row: Row, folder: Path) -> Iterator[tuple[int, int]]:
    """A running broker: its process number and its port."""
    command = [sys.executable, "-m", "noctule", "run", "--listen", "127.0.0.1:0", "--data", str(folder / "data")]
    command += ["--durability", row.durability]
    if row.with_log:
        settings = folder / "noctule.toml"
        settings.write_text(
            f'[plugins.log]\nplugin = "{HERE / "log_store.py"}"\npath = "{folder / "log"}"\n', encoding="utf-8"
        )
        command += ["-c", str(settings)]
    environment = {**os.environ, **UNLIMITED, "PYTHONPATH": str(REPOSITORY / ".root")}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, {0})
    ) as process:
        assert process.stderr is not None
        port = 0
        for line in process.stderr:
            found = re.search(r"mqtt://127\.0\.0\.1:(\d+)", line)
            if found:
                port = int(found[1])
                break
        try:
            if not port:
                raise SystemExit("the broker did not start")
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def leave_session(port: int) -> None:
    """A session that wants everything, and whose client is gone."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"\x10\x0f\x00\x04MQTT\x04\x00\x00\x00\x00\x03off")
        client.recv(4)
        client.sendall(b"\x82\x06\x00\x01\x00\x01#\x01")
        client.recv(5)
        client.sendall(b"\xe0\x00")


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def measure(row: Row, seconds: float) -> tuple[float, float]:
    """CPU in microseconds for each acknowledged message, and how many there were in a second."""
    with tempfile.TemporaryDirectory(prefix="noctule-durable-") as name, broker(row, Path(name)) as (pid, port):
        if row.with_session:
            leave_session(port)
        time.sleep(0.3)
        before = cpu_s(pid)
        load = [str(BUILD / "load"), "--port", str(port), "--scenario", "flood", "--qos", "1", "--in-flight", "20"]
        load += [*row.load, "--seconds", str(seconds), "--messages", "1000000000", "--core", "1"]
        done = subprocess.run(load, capture_output=True, text=True, check=True)
        spent = cpu_s(pid) - before
    result = json.loads(done.stdout)
    if result["unacknowledged"] or result["lost"]:
        raise SystemExit(f"{row.title}: {result['unacknowledged']} unacknowledged, {result['lost']} lost")
    return spent / result["sent"] * 1e6, result["sent"] / result["seconds"]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load, for each row in each repetition")
    arguments = parser.parse_args()
    if not (BUILD / "load").exists():
        raise SystemExit("build the load generator first: python benchmarks/run.py --quick --scenarios 1-1")
    figures = {row.title: Figures() for row in ROWS}
    for _ in range(arguments.repetitions):
        for row in ROWS:
            cpu_us, per_second = measure(row, arguments.seconds)
            figures[row.title].cpu_us.append(cpu_us)
            figures[row.title].per_second.append(per_second)
    print("| store | CPU µs / message | acknowledged / s |")
    print("| --- | --- | --- |")
    for title, found in figures.items():
        cpu = f"{statistics.median(found.cpu_us):.2f} ({min(found.cpu_us):.2f} to {max(found.cpu_us):.2f})"
        print(f"| {title} | {cpu} | {statistics.median(found.per_second):,.0f} |")
    pairs = zip(figures["SQLite, disk"].cpu_us, figures["a log alone, disk"].cpu_us, strict=True)
    print(f"\nSQLite ÷ log, median of the repetitions: {statistics.median(ours / log for ours, log in pairs):.2f}")
    pairs = zip(figures["1 → 1, disk"].cpu_us, figures["1 → 1, memory"].cpu_us, strict=True)
    print(f"1 → 1, disk ÷ memory: {statistics.median(ours / log for ours, log in pairs):.3f}")


if __name__ == "__main__":
    main()
