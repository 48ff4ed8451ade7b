"""$SYS beside Mosquitto's own: the same traffic to both, and the same numbers below $SYS."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.process import DEADLINE, BrokerProcess
from e2e.wire import DISCONNECT, PINGREQ, Wire, acknowledge, connect, publish, subscribe

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="not installed: mosquitto (Debian: mosquitto)")

#: What counts the same in both.
EQUAL = (
    "clients/total", "clients/connected", "clients/active", "clients/disconnected", "clients/inactive",
    "clients/expired", "messages/received", "messages/sent", "publish/messages/sent",
    "publish/messages/dropped", "publish/bytes/received", "publish/bytes/sent", "bytes/received", "bytes/sent",
    "subscriptions/count", "shared_subscriptions/count",
)  # fmt: skip

#: Mosquitto looks for these among the first bytes of packets, and overlooks those of QoS 2 and those with RETAIN.
PUBLISHES = "publish/messages/received"
OVERLOOKED = 2

#: Each of them has its own $SYS among these.
RETAINED, STORED = "retained messages/count", "messages/stored"


@dataclass
class Door:
    """Mosquitto's port."""

    port: int

    def open_socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)


@contextmanager
def mosquitto(folder: Path) -> Iterator[Door]:
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        config = folder / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nsys_interval 1\n")
        assert MOSQUITTO is not None
        with (folder / "mosquitto.log").open("wb") as log:
            process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdin=subprocess.DEVNULL, stderr=log)
        try:
            end = time.monotonic() + DEADLINE
            while process.poll() is None and time.monotonic() < end:
                with suppress(OSError):
                    # What is written by it at the start says whether it is ours: this connection would count.
                    if b"running" in (folder / "mosquitto.log").read_bytes():
                        yield Door(port)
                        return
                time.sleep(0.01)  # it tells nobody when it listens
        finally:
            process.terminate()
            process.wait(DEADLINE)
    raise AssertionError((folder / "mosquitto.log").read_text(errors="replace"))


def traffic(broker: Door | BrokerProcess) -> list[Wire]:
    """The script; the connections that stay open come back."""

    def opened() -> Wire:
        return Wire(broker)  # type: ignore[arg-type]

    reader, away, shared, writer = (opened() for _ in range(4))
    reader.connect("reader")
    assert reader.subscribe(("a/+", 0), ("b", 1), ("c", 2)) == [0, 1, 2]
    away.connect("away", clean=False)
    away.subscribe(("b", 1))
    away.send(DISCONNECT)
    assert away.receive_or_close() is None
    away.socket.close()
    shared.connect("shared")
    shared.subscribe(("$share/group/d", 0))
    writer.connect("writer", will=("will", b"gone"))
    writer.send(*(publish("a/x", b"0123456789") for _ in range(25)))
    writer.send(publish("b", b"one", 1, 7))
    assert writer.receive().type == 4
    writer.send(publish("c", b"two", 2, 8))
    assert writer.receive().type == 5
    writer.send(acknowledge(0x62, 8))
    assert writer.receive().type == 7
    writer.send(publish("d", b"shared"), publish("kept", b"retained", retain=True), PINGREQ)
    assert writer.receive().type == 13
    for _ in range(25):
        assert reader.receive().type == 3
    found = reader.receive()
    reader.send(acknowledge(0x40, int.from_bytes(found.body[3:5], "big")))
    found = reader.receive()
    packet_id = int.from_bytes(found.body[3:5], "big")
    reader.send(acknowledge(0x50, packet_id))
    assert reader.receive().first == 0x62
    reader.send(acknowledge(0x70, packet_id), PINGREQ)
    assert reader.receive().type == 13
    assert shared.receive().type == 3
    with opened():
        pass  # comes, says nothing and goes
    return [reader, shared, writer]


def read(broker: Door | BrokerProcess) -> dict[str, str]:
    """What is retained below $SYS/broker, as it was before this connection."""
    with Wire(broker) as wire:  # type: ignore[arg-type]
        names = (*EQUAL, PUBLISHES, RETAINED, STORED, "uptime")
        wire.send(connect("look"), subscribe(1, *((f"$SYS/broker/{name}", 0) for name in names)), PINGREQ)
        found = {}
        while (packet := wire.receive()).type != 13:
            if packet.first == 0x31:
                size = int.from_bytes(packet.body[:2], "big")
                found[packet.body[2 : 2 + size].decode().removeprefix("$SYS/broker/")] = packet.body[
                    2 + size :
                ].decode()
        wire.send(DISCONNECT)
        return found


def uptime(found: dict[str, str]) -> int:
    return int(found["uptime"].removesuffix(" seconds"))


def measured(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Our numbers and Mosquitto's, after the same traffic."""
    config = folder / "noctule.toml"
    config.write_text('allow_anonymous = true\nsys_interval = 1\ndurability = "memory"\n[http]\nenabled = false\n')
    ours = BrokerProcess("-c", str(config)).wait_until_listening()
    try:
        with mosquitto(folder) as theirs:
            open_wires = [*traffic(ours), *traffic(theirs)]
            # The numbers of the next tick but one: Mosquitto's whole seconds make its interval up to two.
            time.sleep(3.1)
            mine, its = read(ours), read(theirs)
            for wire in open_wires:
                wire.socket.close()
        ours.stop()
    finally:
        if ours.process.poll() is None:
            ours.kill()
    return mine, its


def test_the_same_numbers(tmp_path: Path) -> None:
    for _ in range(4):
        mine, its = measured(tmp_path)
        is_alone = all(found["clients/connected"] == "3" for found in (mine, its))
        if is_alone and mine["messages/received"] == its["messages/received"] == "43":
            break  # otherwise a tick has fallen into the reading: it counts who reads, and what
    assert mine.keys() == its.keys()
    assert {name: mine[name] for name in EQUAL} == {name: its[name] for name in EQUAL}
    assert mine["messages/received"] == "43"
    assert int(mine[PUBLISHES]) == 29 == int(its[PUBLISHES]) + OVERLOOKED
    # One message waits for the client that is away.
    assert int(mine[STORED]) - int(mine[RETAINED]) == 1
    assert abs(uptime(mine) - uptime(its)) <= 3
