"""A load over TLS and WebSocket: one publisher and one subscriber, or connections alone. run.py starts it.

    python benchmarks/transports.py --port 8883 --way tls --work many --ca ca.crt

It speaks with run.py as the load generator in C does: the words "ready" and "finished" on standard error, a line on
standard input after each, and one JSON object on standard output.

The loop is closed: a window of messages is sent by one write and waited for. With TLS all of them are in one record
("many"), as whoever writes a buffer full of packets sends them, or each is in its own ("each"); in WebSocket each
message has a frame of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

PAYLOAD_BYTES = 64
WINDOW = 200
IDLE_S = 30.0  # for making all idle connections
HOLD_TOGETHER = 50  # of them are made at one time
WAYS = ("tcp", "tls", "ws", "wss")
WORKS = ("many", "each", "one", "connect", "idle")
CONNECT = b"\x10%c\x00\x04MQTT\x04\x02\x00\x00\x00%c"


class Connection:
    """One MQTT 3.1.1 client over one of the ways."""

    def __init__(self, port: int, way: str, context: ssl.SSLContext, client_id: bytes) -> None:
        self.is_web = "ws" in way
        connected = socket.create_connection(("127.0.0.1", port), 10)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connected
        self._tls: ssl.SSLObject | None = None
        if way in ("tls", "wss"):
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
            self._shake_hands(self._tls)
        self._rest = b""
        if self.is_web:
            self._send_each(
                b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
            )
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += self._received()
            self._rest = answer.partition(b"\r\n\r\n")[2]
        self.send(CONNECT % (12 + len(client_id), len(client_id)) + client_id)
        self.take(4)

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._outgoing.read())
                data = self.socket.recv(65_536)
                if not data:
                    raise ConnectionError("closed within the handshake") from None
                self._incoming.write(data)
            else:
                self.socket.sendall(self._outgoing.read())
                return

    def _received(self) -> bytes:
        while True:
            data = self.socket.recv(262_144)
            if not data:
                raise ConnectionError("closed")
            if self._tls is None:
                return data
            self._incoming.write(data)
            parts = []
            with contextlib.suppress(ssl.SSLWantReadError):
                while self._incoming.pending:
                    parts.append(self._tls.read(16_384))
            if parts:
                return b"".join(parts)

    def encoded(self, *pieces: bytes) -> bytes:
        """Pieces as they are written to the socket: with TLS a record each."""
        if self._tls is None:
            return b"".join(pieces)
        for piece in pieces:
            self._tls.write(piece)
        return self._outgoing.read()

    def _send_each(self, *pieces: bytes) -> None:
        self.socket.sendall(self.encoded(*pieces))

    def wrapped(self, packet: bytes) -> bytes:
        """A packet as it is sent: in a frame of its own, as clients do it."""
        if not self.is_web:
            return packet
        assert len(packet) < 126
        return bytes((0x82, 0x80 | len(packet), 0, 0, 0, 0)) + packet

    def send(self, packet: bytes) -> None:
        self._send_each(self.wrapped(packet))

    def take(self, size: int) -> None:
        """Read this many bytes of packets."""
        while size > 0:
            size -= self._payload_bytes() if self.is_web else len(self._received())

    def _payload_bytes(self) -> int:
        """How many bytes of payload have come in frames."""
        data = self._rest + (self._received() if len(self._rest) < 2 or not self._whole(self._rest) else b"")
        at, found = 0, 0
        while (head := self._head(data, at)) is not None and at + head[0] + head[1] <= len(data):
            found += head[1]
            at += head[0] + head[1]
        self._rest = data[at:]
        return found

    def _whole(self, data: bytes) -> bool:
        head = self._head(data, 0)
        return head is not None and head[0] + head[1] <= len(data)

    @staticmethod
    def _head(data: bytes, at: int) -> tuple[int, int] | None:
        if len(data) - at < 2:
            return None
        size = data[at + 1]
        if size < 126:
            return 2, size
        more = 2 if size == 126 else 8
        if len(data) - at < 2 + more:
            return None
        return 2 + more, int.from_bytes(data[at + 2 : at + 2 + more], "big")


PACKET = b"\x30%c\x00\x01t" % (3 + PAYLOAD_BYTES) + bytes(PAYLOAD_BYTES)


@dataclass
class Counts:
    """What was done in the measured time."""

    messages: int = 0
    connections: int = 0
    seconds: float = 0.0
    latencies_us: list[float] = field(default_factory=list)
    error: str = ""


def meet(word: str) -> None:
    """Let the process that measures read the broker's accounting."""
    print(word, file=sys.stderr, flush=True)
    if not sys.stdin.readline():
        raise SystemExit(3)


def exchange(port: int, way: str, context: ssl.SSLContext, work: str, seconds: float) -> Counts:
    """Publish and receive, a window at a time."""
    subscriber = Connection(port, way, context, b"s")
    subscriber.send(b"\x82\x06\x00\x01\x00\x01t\x00")
    subscriber.take(5)
    publisher = Connection(port, way, context, b"p")
    one = publisher.wrapped(PACKET)
    window = 1 if work == "one" else WINDOW
    pieces = (one,) * window if work == "each" else (one * window,)

    def turn() -> None:
        publisher.socket.sendall(publisher.encoded(*pieces))
        subscriber.take(window * len(PACKET))

    for _ in range(max(1, 2_000 // window)):
        turn()
    counts = Counts()
    meet("ready")
    start = now = time.perf_counter()
    while now < start + seconds:
        began = now
        turn()
        now = time.perf_counter()
        counts.messages += window
        if work == "one":
            counts.latencies_us.append((now - began) * 1e6)
    counts.seconds = now - start
    meet("finished")
    return counts


def make_connections(port: int, way: str, context: ssl.SSLContext, seconds: float, together: int) -> Counts:
    """Connect and go, one after the other, or several at a time."""
    counts = Counts()
    Connection(port, way, context, b"c").socket.close()
    meet("ready")
    start = time.perf_counter()

    def come_and_go(number: int) -> list[float]:
        latencies_us = []
        while time.perf_counter() < start + seconds:
            began = time.perf_counter()
            Connection(port, way, context, b"c%d" % number).socket.close()
            latencies_us.append((time.perf_counter() - began) * 1e6)
        return latencies_us

    if together == 1:
        counts.latencies_us = come_and_go(0)
    else:
        with ThreadPoolExecutor(together) as pool:
            counts.latencies_us = [one for found in pool.map(come_and_go, range(together)) for one in found]
    counts.connections = len(counts.latencies_us)
    counts.seconds = time.perf_counter() - start
    meet("finished")
    return counts


def hold_connections(port: int, way: str, context: ssl.SSLContext, connections: int) -> Counts:
    """Connections that say nothing, on top of some that were there before the measurement."""
    counts = Counts()
    held: list[Connection] = []
    with ThreadPoolExecutor(HOLD_TOGETHER) as pool:

        def hold(count: int) -> None:
            held.extend(pool.map(lambda index: Connection(port, way, context, b"i%d" % index), range(len(held), count)))

        warm = min(100, connections)
        hold(warm)
        meet("ready")
        start = time.perf_counter()
        while len(held) < warm + connections:
            if time.perf_counter() > start + IDLE_S:
                counts.error = f"only {len(held) - warm} of {connections} connections were made in {IDLE_S:g} s"
                break
            hold(min(len(held) + HOLD_TOGETHER, warm + connections))
    counts.connections = len(held) - warm
    counts.seconds = time.perf_counter() - start
    # The broker has answered every CONNECT; what its threads still do is done when it answers this.
    Connection(port, way, context, b"last").socket.close()
    meet("finished")
    for one in held:
        one.socket.close()
    return counts


def percentile(values: list[float], percent: float) -> float:
    """A percentile of sorted values; 0 of none."""
    return values[min(int(len(values) * percent / 100), len(values) - 1)] if values else 0.0


def report(counts: Counts, cpu_s: float) -> dict[str, object]:
    """What the load generator in C reports, as far as it means something here."""
    values = sorted(counts.latencies_us)
    latency = {name: percentile(values, percent) for name, percent in (("p50", 50), ("p99", 99), ("p999", 99.9))}
    return {
        "seconds": counts.seconds,
        "sent": counts.messages,
        "expected": counts.messages,
        "received": counts.messages,  # the loop ends only when all of them are there
        "lost": 0,
        "duplicates": 0,
        "visits": 0,
        "connections": counts.connections,
        "phases": [],
        "generator_cpu_seconds": cpu_s,
        "latency_microseconds": {"count": len(values), **latency},
        "errors": {"first": counts.error},
    }


def main() -> int:
    """Run one kind of work."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--way", choices=WAYS, default="tcp")
    parser.add_argument("--work", choices=WORKS, default="many")
    parser.add_argument("--ca", type=Path, help="the authority that has signed the broker's certificate")
    parser.add_argument("--connections", type=int, default=1_000, help="idle connections")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--together", type=int, default=1, help="connections that are made at one time")
    parser.add_argument("--core", type=int, help="run on this processor only")
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < given.connections + 200:
        parser.error(f"{given.connections} connections need more than the {hard} descriptors that are allowed ({soft})")
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    context = ssl.create_default_context(cafile=given.ca)
    try:
        began_cpu_s = time.process_time()
        if given.work == "connect":
            counts = make_connections(given.port, given.way, context, given.seconds, given.together)
        elif given.work == "idle":
            counts = hold_connections(given.port, given.way, context, given.connections)
        else:
            counts = exchange(given.port, given.way, context, given.work, given.seconds)
    except OSError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report(counts, time.process_time() - began_cpu_s)))
    return 1 if counts.error else 0


if __name__ == "__main__":
    sys.exit(main())
