"""How much memory a broker needs for what it holds, and how much CPU for what clients do one at a time.

    python benchmarks/sizing.py                    # about a minute
    python benchmarks/sizing.py --counts 1000,5000

Starts ``noctule run`` anew for each row, with its store on disk as it is by default, gives it so many of a thing, and
reads its resident memory before and after. Prints a Markdown table: bytes for each of them, at each count. The
columns are the measured curve: where they are alike, memory grows in proportion. A second table has CPU time, of all
threads, for things that clients do one after the other, so that the broker wakes up for each: the dearest way.

Linux only. Connections are counted within the limit of open files (``ulimit -n``), which is raised as far as it goes.
"""

import argparse
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PAYLOAD_BYTES: Final = 100
_DEADLINE_S: Final = 60.0
_CONNACK: Final = b"\x20\x02"

#: Subscriptions, retained messages and queued messages that one client is asked for at a time.
_BATCH: Final = 1_000


def text(value: str) -> bytes:
    """A string as MQTT writes it."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def packet(first: int, body: bytes) -> bytes:
    """A control packet with its Remaining Length."""
    left, size = len(body), b""
    while True:
        left, digit = divmod(left, 128)
        size += bytes([digit | 128 if left else digit])
        if not left:
            return bytes([first]) + size + body


class Connection:
    """A client of MQTT 3.1.1. What is acknowledged after a sync of the disk is sent for many, and then waited for."""

    def __init__(self, port: int, client_id: str, *, clean: bool = True) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_S)
        self._last = b""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(packet(0x10, text("MQTT") + bytes([4, 2 if clean else 0]) + b"\x00\x00" + text(client_id)))

    def connected(self) -> "Connection":
        """Wait for CONNACK."""
        self.expect(_CONNACK, 4)
        return self

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def expect(self, beginning: bytes, size: int) -> None:
        """Read so many bytes, which have to begin like that."""
        read = b""
        while len(read) < size:
            more = self._socket.recv(size - len(read))
            if not more:
                raise ConnectionError(f"the broker has closed the connection after {read!r}")
            read += more
        if not read.startswith(beginning):
            raise ConnectionError(f"expected {beginning!r}, got {read!r}")
        self._last = read

    def subscribe(self, filters: list[str]) -> None:
        """One SUBSCRIBE for all of them, at QoS 1."""
        body = b"\x00\x01" + b"".join(text(one) + b"\x01" for one in filters)
        self.send(packet(0x82, body))

    def acknowledge_last(self) -> None:
        """PUBACK for the message that was read last."""
        size = 2 + int.from_bytes(self._last[2:4], "big")
        self.send(b"\x40\x02" + self._last[2 + size : 4 + size])

    def subscribed(self, count: int = 1) -> None:
        """Wait for SUBACK."""
        answer = packet(0x90, b"\x00\x01" + b"\x01" * count)
        self.expect(answer, len(answer))

    def publish(self, topics: list[str], *, retain: bool = False) -> None:
        """One message of QoS 1 to each of them; back when all are acknowledged."""
        payload = bytes(PAYLOAD_BYTES)
        sent = []
        for number, topic in enumerate(topics, 1):
            body = text(topic) + number.to_bytes(2, "big") + payload
            sent.append(packet(0x33 if retain else 0x32, body))
        self.send(b"".join(sent))
        self.expect(b"\x40\x02", 4 * len(topics))

    def ping(self) -> None:
        """PINGREQ, and its answer."""
        self.send(b"\xc0\x00")
        self.expect(b"\xd0\x00", 2)

    def leave(self) -> None:
        self.send(b"\xe0\x00")
        self._socket.close()


Filling = Callable[[int, int], list[Connection]]


def open_many(port: int, first: int, count: int, *, clean: bool = True) -> list[Connection]:
    """So many clients with numbers from ``first`` on, connected."""
    found = [Connection(port, f"client-{number}", clean=clean) for number in range(first, first + count)]
    return [connection.connected() for connection in found]


def subscribe_each(connections: list[Connection], first: int) -> None:
    """A subscription of its own for each client."""
    for number, connection in enumerate(connections, first):
        connection.subscribe([f"plant/{number}/set"])
    for connection in connections:
        connection.subscribed()


def batches(count: int) -> Iterator[tuple[int, int]]:
    """The first number and the size of each part."""
    for first in range(0, count, _BATCH):
        yield first, min(_BATCH, count - first)


def idle_connections(port: int, count: int) -> list[Connection]:
    """Clients that are connected and do nothing."""
    return [one for first, size in batches(count) for one in open_many(port, first, size)]


def subscribed_connections(port: int, count: int) -> list[Connection]:
    """The same, each with a subscription of its own."""
    found = idle_connections(port, count)
    subscribe_each(found, 0)
    return found


def sessions(port: int, count: int) -> list[Connection]:
    """Sessions whose clients are away, each with a subscription."""
    for first, size in batches(count):
        connections = open_many(port, first, size, clean=False)
        subscribe_each(connections, first)
        for connection in connections:
            connection.leave()
    return []


def subscriptions(port: int, count: int) -> list[Connection]:
    """Subscriptions to a topic of three levels each, of a client for each thousand."""
    found = []
    for first, size in batches(count):
        connection = Connection(port, f"client-{first}").connected()
        connection.subscribe([f"plant/{number}/set" for number in range(first, first + size)])
        connection.subscribed(size)
        found.append(connection)
    return found


def retained_messages(port: int, count: int) -> list[Connection]:
    """Retained messages of 100 bytes, each at a topic of three levels."""
    connection = Connection(port, "publisher").connected()
    for first, size in batches(count):
        connection.publish([f"plant/{number}/state" for number in range(first, first + size)], retain=True)
    return [connection]


def queued_messages(port: int, count: int) -> list[Connection]:
    """Messages of 100 bytes that wait for clients that are away, a thousand for each."""
    for first, _ in batches(count):
        (waiting,) = open_many(port, first, 1, clean=False)
        subscribe_each([waiting], first)
        waiting.leave()
    connection = Connection(port, "publisher").connected()
    for first, size in batches(count):
        connection.publish([f"plant/{first}/set"] * size)
    return [connection]


ROWS: Final[dict[str, Filling]] = {
    "idle connection": idle_connections,
    "idle connection with a subscription": subscribed_connections,
    "session with a subscription, client away": sessions,
    "subscription": subscriptions,
    f"retained message of {PAYLOAD_BYTES} bytes": retained_messages,
    f"waiting message of {PAYLOAD_BYTES} bytes, QoS 1": queued_messages,
}


@contextmanager
def broker(command: list[str]) -> Iterator[tuple[int, int]]:
    """A broker of its own: its process number and its port."""
    data = tempfile.mkdtemp(prefix="noctule-sizing-")
    process = subprocess.Popen(
        [*command, "run", "--listen", "127.0.0.1:0", "--data", data],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(r"Listening on mqtt://127\.0\.0\.1:(\d+)", line)
            if found:
                yield process.pid, int(found[1])
                break
        else:
            raise SystemExit("the broker did not start")
    finally:
        process.terminate()
        process.communicate(timeout=_DEADLINE_S)
        shutil.rmtree(data, ignore_errors=True)


def resident_bytes(process: int) -> int:
    """The memory of a process that is in use."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024


def measure(command: list[str], fill: Filling, count: int) -> tuple[float, int]:
    """Bytes for each of ``count`` things, and what the broker has in use before."""
    with broker(command) as (process, port):
        warm = Connection(port, "warm").connected()
        before = resident_bytes(process)
        held = fill(port, count)
        after = resident_bytes(process)
        for connection in [warm, *held]:
            connection.leave()
    return (after - before) / count, before


def pings(port: int, count: int) -> Iterator[None]:
    """Keep Alive of clients that do nothing else."""
    connections = open_many(port, 0, 100)
    yield
    for number in range(count):
        connections[number % len(connections)].ping()
    yield
    for connection in connections:
        connection.leave()


def visits(port: int, count: int) -> Iterator[None]:
    """Clients that connect, and leave."""
    yield
    for number in range(count):
        open_many(port, number, 1)[0].leave()
    yield


def lone_messages(port: int, count: int) -> Iterator[None]:
    """Messages of QoS 1 from one client to another that has no lasting session: in and out."""
    (subscriber, publisher) = open_many(port, 0, 2)
    subscriber.subscribe(["plant/0/set"])
    subscriber.subscribed()
    delivered = len(packet(0x32, text("plant/0/set") + b"\x00\x00" + bytes(PAYLOAD_BYTES)))
    yield
    for _ in range(count):
        publisher.publish(["plant/0/set"])
        subscriber.expect(b"\x32", delivered)
        subscriber.acknowledge_last()
    yield
    subscriber.leave()
    publisher.leave()


def kept_messages(port: int, count: int) -> Iterator[None]:
    """Messages of QoS 1 for a client that is away: each is synced to the disk before its acknowledgement."""
    (away,) = open_many(port, 0, 1, clean=False)
    subscribe_each([away], 0)
    away.leave()
    (publisher,) = open_many(port, 1, 1)
    yield
    for _ in range(count):
        publisher.publish(["plant/0/set"])
    yield
    publisher.leave()


CPU_ROWS: Final[dict[str, Callable[[int, int], Iterator[None]]]] = {
    "PINGREQ": pings,
    "connect and disconnect": visits,
    "message of QoS 1, in and out and acknowledged": lone_messages,
    "message of QoS 1 that is kept on disk": kept_messages,
}


def cpu_ns(process: int) -> int:
    """The CPU time of a process so far, of all its threads."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks)


def measure_cpu(command: list[str], work: Callable[[int, int], Iterator[None]], count: int) -> float:
    """Microseconds of the broker's CPU time for each of ``count`` things."""
    with broker(command) as (process, port):
        steps = work(port, count)
        next(steps)
        before = cpu_ns(process)
        next(steps)
        after = cpu_ns(process)
        next(steps, None)
    return (after - before) / 1_000 / count


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how much memory a broker needs for what it holds.")
    parser.add_argument("--counts", default="1000,10000,18000", help="how many of each, divided by commas")
    parser.add_argument("--times", type=int, default=2_000, help="how often each thing is done for CPU time")
    parser.add_argument("--rows", default="", help="only rows whose name has this in it")
    parser.add_argument("--noctule", default=f"{sys.executable} -m noctule", help="the command of the broker")
    arguments = parser.parse_args()
    counts = [int(one) for one in arguments.counts.split(",")]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if max(counts) + 100 > hard:
        parser.error(f"only {hard} files may be open (ulimit -n)")
    print("| bytes for each of | " + " | ".join(f"{count:,}" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    bases = []
    for name, fill in ROWS.items():
        if arguments.rows not in name:
            continue
        figures = []
        for count in counts:
            figure, base = measure(arguments.noctule.split(), fill, count)
            figures.append(figure)
            bases.append(base)
        print(f"| {name} | " + " | ".join(f"{figure:,.0f}" for figure in figures) + " |", flush=True)
    if bases:
        print(f"\nThe broker itself: {min(bases) / 1e6:,.0f} MB.")
    print("\n| one at a time | CPU µs for each |\n|---|---|")
    for name, work in CPU_ROWS.items():
        if arguments.rows in name:
            print(f"| {name} | {measure_cpu(arguments.noctule.split(), work, arguments.times):,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
