"""message_received: what a plugin makes of a message, on every way in, and what happens where it cannot."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from hooks.plugin_brokers import LoadsAccess, Rules, broker_with, named
from net.stream_clients import V3_1_1, V5, RunningBroker, StreamClient, run_mocked
from noctule._speedups.codec import Publish, decode_ack, decode_publish, encode_ack, encode_publish
from noctule.api import Client, Drop, Message, PublishRight, ReasonCode, hookimpl
from noctule.app import HAS_REACTOR
from noctule.config.settings import Carrier
from noctule.protocol import ProtocolVersion, Will

PUBACK, PUBREC, PUBREL, PUBCOMP = 4, 5, 6, 7

Changing = Callable[[Client | None, Message], Any]

both_carriers = pytest.mark.parametrize(
    "carrier",
    [None, pytest.param(Carrier.REACTOR, marks=pytest.mark.skipif(not HAS_REACTOR, reason="there is no epoll here"))],
    ids=["memory", "reactor"],
)


class Changes:
    """Notes what it is shown, and answers by a function."""

    def __init__(self, change: Changing = lambda client, message: None) -> None:
        self.change = change
        self.shown: list[tuple[Client | None, Message]] = []
        self.dropped: list[tuple[str | None, bytes, str]] = []

    @hookimpl
    def message_received(self, client: Client | None, message: Message) -> Any:
        self.shown.append((client, message))
        return self.change(client, message)

    @hookimpl
    def message_dropped(self, client_id: str | None, message: Message, reason: str) -> None:
        self.dropped.append((client_id, message.payload, reason))


async def observer_of(running: RunningBroker, qos: int = 2) -> StreamClient:
    observer = await running.connect("observer")
    await observer.subscribe("#", qos)
    return observer


async def seen_by(running: RunningBroker, observer: StreamClient) -> list[Publish]:
    """What has come until now."""
    await observer.send(b"\xc0\x00")
    found = []
    while (packet := await observer.receive())[0] != 0xD0:
        found.append(decode_publish(*packet, V5, True))
    return found


async def send(client: StreamClient, qos: int, *, dup: bool = False, retain: bool = False) -> int:
    """Publish b"x" to "in" and finish the flow; the reason code of the first answer."""
    packet_id = 1 if qos else 0
    await client.send(encode_publish(b"in", b"x", client.version, qos, retain, dup, packet_id))
    if qos == 0:
        await client.ping()
        return 0
    first, body = await client.receive()
    code = decode_ack(first, body, client.version).reason_code
    assert first >> 4 == (PUBACK if qos == 1 else PUBREC)
    if qos == 2 and code < 0x80:
        await client.send(encode_ack(PUBREL, 1, client.version))
        first, body = await client.receive()
        assert first >> 4 == PUBCOMP
        assert decode_ack(first, body, client.version).reason_code == 0
    return code


@both_carriers
@pytest.mark.parametrize("version", [V3_1_1, V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_message_received(carrier: Carrier | None, version: ProtocolVersion, qos: int) -> None:
    """Topic, payload, QoS and RETAIN may be others, and every watcher sees them."""

    def change(client: Client | None, message: Message) -> Message:
        return Message(b"out", b"<" + message.payload + b">", 1, True, message.properties)

    plugin = Changes(change)

    async def main() -> None:
        async with broker_with(plugin, carrier=carrier) as running:
            observer = await observer_of(running)
            client = await running.connect("c", version)
            assert await send(client, qos) == 0
            (published,) = await seen_by(running, observer)
            assert (published.topic, published.payload, published.qos) == (b"out", b"<x>", 1)
            ((who, message),) = plugin.shown
            assert who is not None
            assert who.client_id == "c"
            assert (message.topic, message.payload, message.qos, message.retain) == (b"in", b"x", qos, False)
            assert running.broker.state.router.retained.count == 1

    run_mocked(main)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_message_received_that_leaves_it(qos: int) -> None:
    plugin = Changes()

    async def main() -> None:
        async with broker_with(plugin) as running:
            observer = await observer_of(running)
            client = await running.connect("c")
            await send(client, qos)
            assert [one.payload for one in await seen_by(running, observer)] == [b"x"]

    run_mocked(main)
    assert len(plugin.shown) == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Drop("too hot"), 0),
        (Drop("too hot", ReasonCode.QUOTA_EXCEEDED), 0x97),
        (Drop("too hot", ReasonCode.NO_MATCHING_SUBSCRIBERS), 0x10),
    ],
    ids=["silent", "quota", "nobody"],
)
def test_message_received_that_drops(answer: Drop, code: int, qos: int) -> None:
    plugin = Changes(lambda client, message: answer)

    async def main() -> None:
        async with broker_with(plugin) as running:
            observer = await observer_of(running)
            client = await running.connect("c")
            for _ in range(3):
                assert await send(client, qos) == (code if qos else 0)
            assert await seen_by(running, observer) == []
            assert plugin.dropped == [(None, b"x", "too hot")] * 3

    run_mocked(main)


def raising(client: Client | None, message: Message) -> Any:
    raise RuntimeError("boom")


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [
        raising,
        lambda client, message: 7,
        lambda client, message: True,
        lambda client, message: b"x",
        lambda client, message: Message(b"a/+", b""),
        lambda client, message: Message(b"", b""),
        lambda client, message: Message(b"a\0", b""),
        lambda client, message: Message(b"\xff", b""),
        lambda client, message: Message(b"/" * 300, b""),
        lambda client, message: Drop(reason_code=0x85),
        lambda client, message: Drop(reason_code="x"),  # type: ignore[arg-type]
    ],
    ids=["raises", "number", "true", "bytes", "wildcard", "empty", "null", "no UTF-8", "deep", "code", "no code"],
)
def test_message_received_that_fails(change: Changing, qos: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is dropped: it may be one that the plugin would have dropped. One line, and the connection goes on."""
    plugin = Changes(change)

    async def main() -> None:
        async with broker_with(plugin) as running:
            observer = await observer_of(running)
            client = await running.connect("c")
            for _ in range(5):
                assert await send(client, qos) == (0x83 if qos else 0)
            assert await seen_by(running, observer) == []
            await client.ping()

    run_mocked(main)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["Plugin changes has failed in message_received (not logged again for a minute)"]
    assert {reason for _, _, reason in plugin.dropped} == {"plugin changes has failed"}


def test_message_received_is_a_chain() -> None:
    def adding(text: bytes) -> Changing:
        return lambda client, message: Message(message.topic + text, message.payload + text)

    later = Changes(lambda client, message: Drop() if message.topic == b"in1" else None)

    async def main() -> None:
        plugins = [named(Changes(adding(b"1")), "a"), named(later, "b"), named(Changes(adding(b"2")), "c")]
        async with broker_with(*plugins) as running:
            observer = await observer_of(running)
            client = await running.connect("c")
            await send(client, 0)
            await client.publish("other", b"x")
            await client.ping()
            assert [(one.topic, one.payload) for one in await seen_by(running, observer)] == [(b"other12", b"x12")]

    run_mocked(main)


def test_access_is_judged_on_what_comes_out() -> None:
    """Of the QoS too; and a plugin cannot move a message to where its publisher may not go. (#3671)"""

    class LowRules(Rules):
        def publish_right(self, topic: str) -> PublishRight | None:
            return PublishRight(qos_max=1) if topic == "low" else None

    target = [Message(b"low", b"y", 1)]
    plugin = Changes(lambda client, message: target[0] if client and client.client_id == "c" else None)

    async def load_access(client: Client) -> Rules:
        return LowRules(receive="low", subscribe="#") if client.client_id == "c" else Rules("", "low secret", "#")

    async def main() -> None:
        async with broker_with(plugin, LoadsAccess(load_access=load_access)) as running:
            observer = await observer_of(running)
            client = await running.connect("c")
            assert await send(client, 2) == 0
            assert [one.payload for one in await seen_by(running, observer)] == [b"y"]
            for message in (Message(b"low", b"y", 2), Message(b"secret", b"y", 0)):
                target[0] = message
                assert await send(client, 2) == 0x87
            assert await seen_by(running, observer) == []

    run_mocked(main)


def test_a_qos_2_message_that_is_sent_again_is_shown_once() -> None:
    counts: list[int] = []

    def change(client: Client | None, message: Message) -> Message:
        counts.append(len(counts))
        return Message(b"out/%d" % len(counts), message.payload, 2)

    async def main() -> None:
        async with broker_with(Changes(change)) as running:
            observer = await observer_of(running)
            client = await running.connect("c", clean_start=False, session_expiry_interval_s=100)
            for dup in (False, True):
                await client.send(encode_publish(b"in", b"x", V5, 2, False, dup, 1))
                assert (await client.receive())[0] >> 4 == PUBREC
            await trio.aclose_forcefully(client.stream)
            await trio.testing.wait_all_tasks_blocked()
            client = await running.connect("c", clean_start=False, session_expiry_interval_s=100)
            await client.send(encode_publish(b"in", b"x", V5, 2, False, True, 1))
            assert (await client.receive())[0] >> 4 == PUBREC
            await client.send(encode_ack(PUBREL, 1, V5))
            assert (await client.receive())[0] >> 4 == PUBCOMP
            assert [one.topic for one in await seen_by(running, observer)] == [b"out/1"]

    run_mocked(main)
    assert counts == [0]


def test_wills_are_shown_when_they_are_published() -> None:
    plugin = Changes(lambda client, message: Message(b"out", message.payload))

    async def main() -> None:
        async with broker_with(plugin) as running:
            observer = await observer_of(running)
            client = await running.connect("c", will=Will("w", b"gone", 1, True))
            assert plugin.shown == []
            await trio.aclose_forcefully(client.stream)
            await trio.testing.wait_all_tasks_blocked()
            assert [(one.topic, one.payload) for one in await seen_by(running, observer)] == [(b"out", b"gone")]
            ((who, message),) = plugin.shown
            assert who is not None
            assert (who.client_id, message.topic, message.qos, message.retain) == ("c", b"w", 1, True)
            plugin.change = raising
            client = await running.connect("d", will=Will("w", b"gone"))
            await trio.aclose_forcefully(client.stream)
            await trio.testing.wait_all_tasks_blocked()
            assert await seen_by(running, observer) == []

    run_mocked(main)


def test_the_brokers_own_messages_are_shown_with_nobody() -> None:
    plugin = Changes(lambda client, message: Drop() if message.payload == b"no" else None)

    async def main() -> None:
        async with broker_with(plugin) as running:
            observer = await observer_of(running)
            broker = running.broker.for_plugins
            assert [broker.publish("a", payload) for payload in (b"yes", b"no")] == [1, 0]
            assert [one.payload for one in await seen_by(running, observer)] == [b"yes"]
            assert [who for who, _ in plugin.shown] == [None, None]

    run_mocked(main)


def test_runs_of_messages_are_shown_one_by_one() -> None:
    plugin = Changes()

    async def main() -> None:
        async with broker_with(plugin) as running:
            observer = await observer_of(running, 0)
            client = await running.connect("c")
            await client.send(b"".join(encode_publish(b"in", b"%d" % n, V5, 0) for n in range(100)))
            await client.ping()
            assert [one.payload for one in await seen_by(running, observer)] == [b"%d" % n for n in range(100)]

    run_mocked(main)
    assert [message.payload for _, message in plugin.shown] == [b"%d" % n for n in range(100)]
