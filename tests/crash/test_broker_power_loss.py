"""A broker that loses its power at any moment: at `disk` nothing acknowledged is lost, at `os` and `memory` it is.

Each acknowledgement is noted with how much the process had done to its disk by the time that it was there.
"""

import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from crash.disk import Disk, _events, build_shim
from e2e.process import BrokerProcess
from handlers.kept_links import KeptBroker
from noctule._speedups.codec import FrameScanner, encode_ack, encode_publish
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.protocol import (
    Connect,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    encode_connect,
    encode_subscribe,
    encode_unsubscribe,
)
from noctule.storage.operations import Operation

V5 = ProtocolVersion.V5
PUBREL = 6


class BlockingClient:
    """Sends one packet and waits for its answer."""

    def __init__(self, broker: BrokerProcess) -> None:
        self._socket: socket.socket = broker.open_socket()
        weakref.finalize(self, self._socket.close)
        self._scanner = FrameScanner()

    def ask(self, packet: bytes) -> tuple[int, bytes]:
        """The next packet that comes after this one was sent."""
        self._socket.sendall(packet)
        while True:
            data = self._socket.recv(65_536)
            assert data, "the broker has closed the connection"
            for first, body in self._scanner.feed(data):
                return first, body

    def connect(self, client_id: str, expiry_s: int = 3_600) -> None:
        """CONNECT, and its CONNACK."""
        first, body = self.ask(encode_connect(Connect(V5, client_id, session_expiry_interval_s=expiry_s)))
        assert (first, body[1]) == (0x20, 0)

    def close(self) -> None:
        """Without a word."""
        self._socket.close()


#: What a restored broker must show; the text says what was acknowledged.
Promise = tuple[str, Callable[[KeptBroker], bool]]


class History:
    """What a broker was asked and has acknowledged, and what it did to its disk meanwhile."""

    def __init__(self, log: Path) -> None:
        self._log = log

        #: Promises with the size of the log when they were made, in order.
        self.promises: list[tuple[int, str, Callable[[KeptBroker], bool]]] = []

    def promised(self, text: str, holds: Callable[[KeptBroker], bool]) -> None:
        """An acknowledgement has come."""
        self.promises.append((self._log.stat().st_size if self._log.exists() else 0, text, holds))

    def write(self, broker: BrokerProcess) -> None:
        """A session that waits, another that publishes to it, a third that changes its subscriptions."""
        offline, publisher, changing = (BlockingClient(broker) for _ in range(3))
        offline.connect("offline")
        offline.ask(encode_subscribe(Subscribe(1, (SubscriptionRequest("t/#", 2),), None), V5))
        self.promised("SUBACK", lambda left: len(subscriptions(left, "offline")) == 1)
        offline.close()
        publisher.connect("publisher")
        self.promised("CONNACK", lambda left: left.state.sessions.find("publisher") is not None)
        changing.connect("changing")
        topics: set[bytes] = set()
        for number in range(1, 25):
            payload = b"%d" % number
            qos = 1 + number % 2
            retain = number % 3 == 0
            first, _ = publisher.ask(encode_publish(b"t/%d" % (number % 4), payload, V5, qos, retain, False, number))
            if qos == 2:
                assert first >> 4 == 5
                self.promised("PUBREC", lambda left, payload=payload: payload in [*received(left), *queued(left)])
                publisher.ask(encode_ack(PUBREL, number, V5))
            self.promised("PUBACK or PUBCOMP", lambda left, payload=payload: payload in queued(left))
            if retain:
                topic = b"t/%d" % (number % 4)
                self.promised(
                    "retained",
                    lambda left, topic=topic, number=number: int(retained(left).get(topic, b"0")) >= number,
                )
            wanted = b"s/%d" % (number % 5)
            if wanted in topics:
                topics.remove(wanted)
                changing.ask(encode_unsubscribe(Unsubscribe(1, (wanted.decode(),)), V5))
            else:
                topics.add(wanted)
                request = (SubscriptionRequest(wanted.decode(), 1),)
                changing.ask(encode_subscribe(Subscribe(1, request, None), V5))
            # Each change is undone five numbers later at the earliest: until then this one holds.
            self.promised(
                f"SUBACK or UNSUBACK {number}",
                lambda left, wanted=wanted, holds=wanted in topics, number=number: (
                    (wanted in subscriptions(left, "changing")) == holds or self._is_later(left, number)
                ),
            )
        publisher.close()
        changing.close()

    def _is_later(self, left: KeptBroker, number: int) -> bool:
        """Whether what is left is from after the next change of the same subscription was sent."""
        return b"%d" % (number + 5) in [*received(left), *queued(left)]

    def losses(self, kept: Callable[[int], list[Operation]], size: int) -> list[str]:
        """The promises made up to this size of the log that what is left then does not keep."""
        left = KeptBroker(kept(size))
        assert left.restored.problems == []
        lost = [text for at, text, holds in self.promises if at <= size and not holds(left)]
        left.state.plane.close()
        return lost


def subscriptions(left: KeptBroker, client_id: str) -> set[bytes]:
    session = left.state.sessions.find(client_id)
    return set() if session is None else {row[0] for row in left.state.router.subscriptions_of(session)}


def queued(left: KeptBroker) -> list[bytes]:
    session = left.state.sessions.find("offline")
    return [] if session is None else [message.payload for _, message, *_ in session.kept_state()[0] if message]


def received(left: KeptBroker) -> list[bytes]:
    session = left.state.sessions.find("publisher")
    return [] if session is None else [message.payload for _, message in session.kept_state()[1]]


def retained(left: KeptBroker) -> dict[bytes, bytes]:
    return {message.topic: message.payload for message in left.state.router.retained.walk(b"#")}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


def losses_at(shim: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, level: str, chance: Random | None) -> int:
    """How many promises were broken, over losses of power at many moments."""
    data, log = folder / "data", folder / "log"
    history = History(log)
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", str(shim))
        environment.setenv("DISK_TRACE_DIRECTORY", str(data))
        environment.setenv("DISK_TRACE_LOG", str(log))
        broker = BrokerProcess("--data", str(data), "--durability", level)
    try:
        history.write(broker.wait_until_listening())
    finally:
        broker.kill()
    assert len(history.promises) > 60
    found = log.read_bytes() if log.exists() else b""
    left_number = 0

    def kept(size: int) -> list[Operation]:
        """What is left on the disk."""
        nonlocal left_number
        left_number += 1
        disk = Disk()
        for event in _events(found[:size]):
            disk.take(event)
        directory = folder / f"left{left_number}"
        disk.write_to(directory, chance)
        store = SqliteStore(Config(path=directory, reserve_bytes=0, low_disk_bytes=0))
        store.open()
        try:
            return list(store.restore())
        finally:
            store.close()

    # Where each promise was made, nothing was done to the disk afterwards that could save it.
    sizes = sorted({at for at, *_ in history.promises})
    return sum(len(history.losses(kept, size)) for size in sizes[:: 1 if level == "disk" else 4])


@pytest.mark.parametrize("seed", [None, 1], ids=["what was not synced is gone", "some of it is there"])
def test_at_disk_nothing_acknowledged_is_lost(
    shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int | None
) -> None:
    assert losses_at(shim, tmp_path, monkeypatch, "disk", None if seed is None else Random(seed)) == 0


@pytest.mark.parametrize("level", ["os", "memory"])
def test_at_the_other_levels_it_is(shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """They do not promise more; and what finds nothing at ``disk`` would find it."""
    assert losses_at(shim, tmp_path, monkeypatch, level, None) > 0
