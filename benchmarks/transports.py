"""Compare brokers over TLS and WebSocket: CPU time per message and per handshake, resident memory per connection.

    python benchmarks/transports.py                  # some minutes; Noctule and mosquitto
    python benchmarks/transports.py --connections 5000   # mosquitto takes minutes for so many by TLS

The load is a closed loop of one publisher and one subscriber in this process, on a core of its own: a window of
messages is sent by one write and waited for, so nothing is lost, and only the broker's CPU time counts: that of its
threads by the system's own accounting (schedstat). In WebSocket each message has a frame of its own. trustme makes
the certificate (ECDSA, P-256).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shlex
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

REPOSITORY = Path(__file__).resolve().parent.parent
PAYLOAD_BYTES = 64
IDLE_S = 60.0  # for making all idle connections
READY_S = 10.0
WAYS = ("tcp", "tls", "ws", "wss")
CONNECT = b"\x10%c\x00\x04MQTT\x04\x02\x00\x00\x00%c"


@dataclass
class Broker:
    """A running broker and where it listens, by transport."""

    name: str
    process: subprocess.Popen[bytes]
    ports: dict[str, int]

    def cpu_s(self) -> float:
        """CPU time of all its threads so far."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    def resident_kb(self) -> int:
        """Memory that is the process's own."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
        raise RuntimeError("the system does not tell")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def write_noctule(folder: Path, ports: dict[str, int]) -> list[str]:
    text = "allow_anonymous = true\n"
    for way, port in ports.items():
        text += f'[[listeners]]\nport = {port}\nprotocol = "{"websocket" if "ws" in way else "mqtt"}"\n'
        if way in ("tls", "wss"):
            text += '[listeners.tls]\ncertificate_file = "server.crt"\nkey_file = "server.key"\n'
    (folder / "noctule.toml").write_text(text)
    return ["run", "-c", str(folder / "noctule.toml")]


def write_mosquitto(folder: Path, ports: dict[str, int]) -> list[str]:
    text = "allow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
    for way, port in ports.items():
        text += f"listener {port} 127.0.0.1\nprotocol {'websockets' if 'ws' in way else 'mqtt'}\n"
        if way in ("tls", "wss"):
            text += f"certfile {folder}/server.crt\nkeyfile {folder}/server.key\n"
    (folder / "mosquitto.conf").write_text(text)
    return ["-c", str(folder / "mosquitto.conf")]


@contextlib.contextmanager
def running(name: str, command: list[str], folder: Path) -> Iterator[Broker]:
    """Start a broker on the first core; the ways that it does not have are left out."""
    ports = {way: free_port() for way in WAYS}
    arguments = (write_noctule if name == "noctule" else write_mosquitto)(folder, ports)
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {0}),
    )
    try:
        deadline = time.monotonic() + READY_S
        for way in list(ports):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", ports[way]), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline or process.poll() is not None:
                        del ports[way]
                        break
                    time.sleep(0.05)
        yield Broker(name, process, ports)
    finally:
        process.terminate()
        process.wait(10)


class Connection:
    """One MQTT 3.1.1 client over one of the ways."""

    def __init__(self, broker: Broker, way: str, context: ssl.SSLContext, client_id: bytes) -> None:
        self.is_web = "ws" in way
        connected = socket.create_connection(("127.0.0.1", broker.ports[way]), 10)
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


def exchange(broker: Broker, way: str, context: ssl.SSLContext, window: int, seconds: float, at_once: bool) -> float:
    """CPU µs of the broker for each message that is published and delivered."""
    subscriber = Connection(broker, way, context, b"s")
    subscriber.send(b"\x82\x06\x00\x01\x00\x01t\x00")
    subscriber.take(5)
    publisher = Connection(broker, way, context, b"p")
    one = publisher.wrapped(PACKET)
    chunk = one * window

    def turn() -> None:
        publisher.socket.sendall(publisher.encoded(*((chunk,) if at_once else (one,) * window)))
        subscriber.take(window * len(PACKET))

    for _ in range(max(1, 2_000 // window)):
        turn()
    count, start_cpu, end = 0, broker.cpu_s(), time.monotonic() + seconds
    while time.monotonic() < end:
        turn()
        count += window
    used = broker.cpu_s() - start_cpu
    publisher.socket.close()
    subscriber.socket.close()
    return used / count * 1e6


def handshakes(broker: Broker, way: str, context: ssl.SSLContext, seconds: float) -> float:
    """CPU µs of the broker for each connection, from accepting it to CONNACK and its end."""
    count, start_cpu, end = 0, broker.cpu_s(), time.monotonic() + seconds
    while time.monotonic() < end:
        Connection(broker, way, context, b"c").socket.close()
        count += 1
    time.sleep(0.1)
    return (broker.cpu_s() - start_cpu) / count * 1e6


def idle(broker: Broker, way: str, context: ssl.SSLContext, connections: int) -> float:
    """Resident KB of the broker for each connection that says nothing."""
    warm = [Connection(broker, way, context, b"w%d" % index) for index in range(100)]
    before = broker.resident_kb()
    held = []
    deadline = time.monotonic() + IDLE_S
    for index in range(connections):
        held.append(Connection(broker, way, context, b"i%d" % index))
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(held)} after {IDLE_S:g} s")
    time.sleep(0.5)
    used = (broker.resident_kb() - before) / connections
    for one in (*warm, *held):
        one.socket.close()
    time.sleep(0.5)
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--noctule", default=f"{sys.executable} -m noctule", help="command that starts Noctule")
    parser.add_argument("--mosquitto", default="mosquitto", help="command that starts mosquitto")
    parser.add_argument("--connections", type=int, default=1_000, help="idle connections")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each repetition")
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < given.connections + 200:
        parser.error(f"{given.connections} connections need more than the {hard} descriptors that are allowed ({soft})")
    work: list[tuple[str, str, Callable[[Broker, str, ssl.SSLContext], float]]] = [
        ("1 → 1, many in a record", "CPU µs / message", lambda b, w, c: exchange(b, w, c, 200, given.seconds, True)),
        ("1 → 1, a record each", "CPU µs / message", lambda b, w, c: exchange(b, w, c, 200, given.seconds, False)),
        ("one message at a time", "CPU µs / message", lambda b, w, c: exchange(b, w, c, 1, given.seconds, True)),
        ("connections made", "CPU µs / connection", lambda b, w, c: handshakes(b, w, c, given.seconds)),
    ]
    results: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ca = trustme.CA()
        server = ca.issue_cert("localhost")
        (folder / "server.crt").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        server.private_key_pem.write_to_path(folder / "server.key")
        (folder / "server.key").chmod(0o644)  # mosquitto reads it as a user of its own
        folder.chmod(0o755)
        ca.cert_pem.write_to_path(folder / "ca.crt")
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
        commands = {"noctule": shlex.split(given.noctule), "mosquitto": shlex.split(given.mosquitto)}

        def note(way: str, title: str, unit: str, name: str, value: float) -> None:
            results.setdefault((way, title, unit), {}).setdefault(name, []).append(value)
            print(f"{name:10} {way:4} {title:26} {value:9.2f} {unit}", file=sys.stderr)

        for _ in range(given.repetitions):
            for name, command in commands.items():
                with running(name, command, folder) as broker:
                    for way in broker.ports:
                        for title, unit, measure in work:
                            note(way, title, unit, name, measure(broker, way, context))
        for name, command in commands.items():
            for way in WAYS:
                with running(name, command, folder) as broker:
                    if way in broker.ports:
                        try:
                            value = idle(broker, way, context, given.connections)
                        except OSError as error:
                            print(f"{name} {way}: not {given.connections} connections: {error}", file=sys.stderr)
                            continue
                        note(way, f"{given.connections:,} idle connections", "KB / connection", name, value)
    print("| way | work | unit | noctule | mosquitto | mosquitto ÷ noctule |\n| --- | --- | --- | --- | --- | --- |")
    for (way, title, unit), values in results.items():
        cells = {name: statistics.median(found) for name, found in values.items()}
        texts = [f"{cells[name]:.2f}" if name in cells else "" for name in commands]
        ratio = f"{cells['mosquitto'] / cells['noctule']:.2f}x" if len(cells) == 2 else ""
        print(f"| {way} | {title} | {unit} | {' | '.join(texts)} | {ratio} |")


if __name__ == "__main__":
    main()
