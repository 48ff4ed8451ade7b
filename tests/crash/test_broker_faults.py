"""A whole broker whose disk fails, is full, is damaged or is another's: what it says, and that what it has promised is
there all the same."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.disk import build_shim
from crash.test_broker_power_loss import BlockingClient
from e2e.process import BrokerProcess
from handlers.kept_links import KeptBroker
from noctule._speedups.codec import encode_publish
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.plugins.sqlite_store.database import DATABASE_NAME
from noctule.protocol import ProtocolVersion, Subscribe, SubscriptionRequest, encode_subscribe

V5 = ProtocolVersion.V5
PUBLISH, PUBACK, DISCONNECT = 3, 4, 14
PAYLOAD = bytes(2_000)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


def subscribed(broker: BrokerProcess, client_id: str, topic: str, expiry_s: int = 3_600) -> BlockingClient:
    client = BlockingClient(broker)
    client.connect(client_id, expiry_s)
    client.ask(encode_subscribe(Subscribe(1, (SubscriptionRequest(topic, 2),), None), V5))
    return client


def publish(client: BlockingClient, number: int, qos: int = 1) -> tuple[int, int]:
    """The type and reason code of the answer to a message with this number."""
    payload = b"%08d" % number + PAYLOAD
    first, body = client.ask(encode_publish(b"t", payload, V5, qos, False, False, number))
    return first >> 4, (body[2] if len(body) > 2 else 0) if first >> 4 == PUBACK else body[0]


def queued_numbers(directory: Path) -> set[int]:
    """The numbers of what waits for ``offline`` in a store."""
    store = SqliteStore(Config(path=directory, reserve_bytes=0, low_disk_bytes=0))
    store.open()
    try:
        broker = KeptBroker(list(store.restore()))
    finally:
        store.close()
    assert broker.restored.problems == []
    session = broker.state.sessions.find("offline")
    assert session is not None
    return {int(message.payload[:8]) for _, message, *_ in session.kept_state()[0] if message}


def check_qos_0(listener: BlockingClient, publisher: BlockingClient) -> None:
    """Somebody who is connected is still reached."""
    publisher._socket.sendall(encode_publish(b"z", b"zero", V5, 0, False, False, 0))
    first, body = listener.ask(b"\xc0\x00")
    found = {first >> 4}
    if first >> 4 != PUBLISH:
        found.add(listener.ask(b"\xc0\x00")[0] >> 4)
    assert PUBLISH in found, body


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def failing(
    shim: Path, data: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *arguments: str
) -> BrokerProcess:
    """A broker whose disk fails as the variables say."""
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", str(shim))
        environment.setenv("DISK_TRACE_DIRECTORY", str(data))
        environment.setenv("DISK_TRACE_LOG", str(data.with_name("log")))
        for name, value in variables.items():
            environment.setenv(name, value)
        return BrokerProcess("--data", str(data), *arguments)


def test_a_disk_that_fills_up(shim: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = failing(shim, data, monkeypatch, {"DISK_TRACE_ROOM": "1500000"})
    acknowledged, refused = set(), 0
    try:
        broker.wait_until_listening()
        subscribed(broker, "offline", "t").close()
        listener = subscribed(broker, "listener", "z", 0)
        publisher = BlockingClient(broker)
        publisher.connect("publisher", 0)
        for number in range(1, 2_000):
            # Who waits when the disk is full is answered when there is room again, which is never: others are refused.
            publisher._socket.settimeout(3)
            try:
                packet_type, code = publish(publisher, number)
            except TimeoutError:
                break
            assert packet_type == PUBACK
            if code == 0:
                acknowledged.add(number)
                continue
            assert code == 0x97
            refused += 1
            break
        other = BlockingClient(broker)
        other.connect("other", 0)
        assert publish(other, 5_000) == (PUBACK, 0x97)
        check_qos_0(listener, other)
        broker.printed("no room is left|[Rr]oom runs short")
    finally:
        broker.kill()
    assert len(acknowledged) > 50
    assert acknowledged <= queued_numbers(data)


def test_a_sync_that_fails(shim: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = failing(shim, data, monkeypatch, {"DISK_TRACE_FAIL": f"sync 40 {errno.EIO}"})
    acknowledged = set()
    try:
        broker.wait_until_listening()
        subscribed(broker, "offline", "t").close()
        listener = subscribed(broker, "listener", "z", 0)
        publisher = BlockingClient(broker)
        publisher.connect("publisher", 0)
        packet_type = code = number = 0
        while number < 200:
            number += 1
            packet_type, code = publish(publisher, number)
            if packet_type != PUBACK or code:
                break
            acknowledged.add(number)
        assert (packet_type, code) == (DISCONNECT, 0x83), "who waited for that commit is told that it is not kept"
        other = BlockingClient(broker)
        other.connect("other", 0)
        assert publish(other, 5_000) == (PUBACK, 0x83)
        check_qos_0(listener, other)
        broker.printed("CRITICAL.*refused until the broker is started again")
    finally:
        broker.kill()
    assert len(acknowledged) > 10
    assert acknowledged <= queued_numbers(data)


def not_started(*arguments: str) -> str:
    """What a broker that must not start says; nothing may look like a bug."""
    broker = BrokerProcess(*arguments)
    assert broker.wait() == 1, broker.output
    broker.check_output()
    return broker.output


def test_two_brokers_on_one_directory(data: Path) -> None:
    first = BrokerProcess("--data", str(data)).wait_until_listening()
    try:
        said = not_started("--data", str(data))
        assert f"{data} is used by another process (process {first.process.pid})" in said
        assert "stop that broker, or give this one a directory of its own" in said
        BlockingClient(first).connect("c")
    finally:
        first.kill()


@pytest.mark.parametrize("kind", ["a file", "cannot be written"])
def test_a_directory_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    if kind == "a file":
        directory, what = tmp_path / "file", "is not a directory"
        directory.write_text("")
    else:
        directory, what = Path("/proc"), "cannot write in /proc"  # nobody can, root neither
    said = not_started("--data", str(directory))
    assert "not started: " in said
    assert what in said


def with_damage(data: Path) -> Iterator[None]:
    """A store with a retained message and damaged pages."""
    broker = BrokerProcess("--data", str(data)).wait_until_listening()
    try:
        subscribed(broker, "offline", "t").close()
        publisher = BlockingClient(broker)
        publisher.connect("publisher", 0)
        for number in range(1, 60):
            assert publish(publisher, number) == (PUBACK, 0)
    finally:
        broker.stop()
    path = data / DATABASE_NAME
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(20_000))
    yield


@pytest.mark.parametrize("on_corrupt", ["refuse", "quarantine"])
def test_a_damaged_file(data: Path, tmp_path: Path, on_corrupt: str) -> None:
    for _ in with_damage(data):
        config = tmp_path / "noctule.toml"
        config.write_text(f'allow_anonymous = true\n[plugins.sqlite_store]\non_corrupt = "{on_corrupt}"\n')
        arguments = ("-c", str(config), "--data", str(data))
        if on_corrupt == "refuse":
            assert 'set on_corrupt = "quarantine"' in not_started(*arguments)
            return
        broker = BrokerProcess(*arguments)
        try:
            broker.wait_until_listening()
            broker.printed("is damaged: .*set aside as")
            broker.printed("rows salvaged")
            BlockingClient(broker).connect("c")
            broker.stop()
        finally:
            broker.kill()
        assert list(data.glob("*corrupt*"))
