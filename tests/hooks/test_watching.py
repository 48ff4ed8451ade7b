"""Hooks that watch: called with what has happened, in its order, and of no consequence where they fail."""

from typing import Any

import pytest
import trio
import trio.testing
from hooks.plugin_brokers import Authenticates, LoadsAccess, Rules, broker_with, named
from net.stream_clients import PINGREQ, PINGRESP, V3_1_1, V5, run_mocked
from noctule._speedups.codec import FrameScanner, encode_ack, encode_publish
from noctule.api import Allow, Client, Message, Subscription, hookimpl
from noctule.app import HAS_REACTOR
from noctule.config.settings import Carrier
from noctule.protocol import (
    Connect,
    Disconnect,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
    encode_connect,
    encode_disconnect,
    encode_subscribe,
    encode_unsubscribe,
)

PUBREL = 6
BYE = encode_disconnect(Disconnect(0), V5)
KEPT: dict[str, Any] = {"clean_start": False, "session_expiry_interval_s": 1_000}

carriers = pytest.mark.parametrize(
    "carrier",
    [
        None,
        Carrier.STREAMS,
        pytest.param(Carrier.REACTOR, marks=pytest.mark.skipif(not HAS_REACTOR, reason="there is no epoll here")),
    ],
    ids=["memory", "streams", "reactor"],
)


class Watches:
    """Notes what it is told of clients, sessions and messages."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.seen if entry[0] in names]

    @hookimpl
    def client_connected(self, client: Client) -> None:
        self.seen.append(("client_connected", client.client_id, client.user_name))

    @hookimpl
    def client_disconnected(self, client: Client, reason: str) -> None:
        self.seen.append(("client_disconnected", client.client_id, reason))

    @hookimpl
    def session_created(self, client: Client) -> None:
        self.seen.append(("session_created", client.client_id))

    @hookimpl
    def session_ended(self, client_id: str, reason: str) -> None:
        self.seen.append(("session_ended", client_id, reason))

    @hookimpl
    def subscribed(self, client: Client, subscription: Subscription, qos: int) -> None:
        self.seen.append(("subscribed", client.client_id, subscription, qos))

    @hookimpl
    def unsubscribed(self, client: Client, topic_filter: str) -> None:
        self.seen.append(("unsubscribed", client.client_id, topic_filter))

    @hookimpl
    def message_published(self, client: Client | None, message: Message) -> None:
        self.seen.append(("message_published", client and client.client_id, message.topic, message.payload))

    @hookimpl
    def message_delivered(self, client_id: str, message: Message) -> None:
        self.seen.append(("message_delivered", client_id, message.topic, message.payload))

    @hookimpl
    def message_dropped(self, client_id: str | None, message: Message, reason: str) -> None:
        self.seen.append(("message_dropped", client_id, message.payload, reason))

    @hookimpl
    def retained_changed(self, topic: str, message: Message | None) -> None:
        self.seen.append(("retained_changed", topic, message and message.payload))

    @hookimpl
    def will_published(self, client_id: str, message: Message) -> None:
        self.seen.append(("will_published", client_id, message.topic, message.payload))


async def settled() -> None:
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()


# --- clients and sessions ---


@carriers
def test_client_connected_and_session_created_and_their_ends(carrier: Carrier | None) -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches, carrier=carrier) as running:
            client = await running.connect("c", user_name="ann")
            await client.ping()
            assert watches.seen == [("session_created", "c"), ("client_connected", "c", "ann")]
            watches.seen.clear()
            await client.send(BYE)
            await client.until_end()
            assert watches.seen == [
                ("client_disconnected", "c", "it has disconnected"),
                ("session_ended", "c", "its connection has ended"),
            ]

    run_mocked(main)


def test_client_connected_to_a_session_that_is_there() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches) as running:
            await running.connect("c", **KEPT)
            watches.seen.clear()
            await running.connect("c", **KEPT)
            assert watches.seen == [
                ("client_disconnected", "c", "the client has connected again"),
                ("client_connected", "c", None),
            ]
            watches.seen.clear()
            await running.connect("c")
            assert watches.seen == [
                ("client_disconnected", "c", "the client has connected again"),
                ("session_ended", "c", "the client has started anew"),
                ("session_created", "c"),
                ("client_connected", "c", None),
            ]

    run_mocked(main)


def test_client_disconnected_says_why() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches) as running:
            broken, silent, wrong, dismissed = [
                await running.connect(name, keep_alive_s=10 if name == "silent" else 0)
                for name in ("broken", "silent", "wrong", "dismissed")
            ]
            await trio.aclose_forcefully(broken.stream)
            await wrong.send(b"\x10\x00")
            await wrong.until_end()
            running.broker.for_plugins.disconnect("dismissed", why="too loud")
            await dismissed.until_end()
            await silent.until_end()

    run_mocked(main)
    reasons = {entry[1]: entry[2] for entry in watches.named("client_disconnected")}
    assert reasons == {
        "broken": "the peer closed the connection",
        "silent": "it has been silent too long",
        "wrong": "a second CONNECT",
        "dismissed": "too loud",
    }


def test_session_ended_when_it_has_expired() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches) as running:
            client = await running.connect("c", session_expiry_interval_s=60)
            await trio.aclose_forcefully(client.stream)
            await trio.sleep(59)
            assert watches.named("session_ended") == []
            await trio.sleep(2)
            assert watches.named("session_ended") == [("session_ended", "c", "it has expired")]

    run_mocked(main)


def test_a_client_that_is_refused_is_not_told_of() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches, Authenticates(), allow_anonymous=False) as running:
            client = await running.open()
            await client.connect("c", user_name="ann", will=Will("w", b""))
            await client.until_end()

    run_mocked(main)
    assert watches.seen == []


# --- subscriptions ---


def test_subscribed_and_unsubscribed() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches, LoadsAccess(load_access=Rules(subscribe="a b"))) as running:
            client = await running.connect("c")
            requests = (
                SubscriptionRequest("a", 1, no_local=True, retain_as_published=True, retain_handling=2),
                SubscriptionRequest("no", 1),
                SubscriptionRequest("$share/g/b", 2),
                SubscriptionRequest("#/x", 2),
            )
            await client.send(encode_subscribe(Subscribe(1, requests, 77), V5))
            await client.receive()
            await client.send(encode_unsubscribe(Unsubscribe(2, ("a", "$share/g/b", "none")), V5))
            await client.receive()

    run_mocked(main)
    assert watches.named("subscribed", "unsubscribed") == [
        ("subscribed", "c", Subscription("a", None, 1, True, True, 2, 77), 1),
        ("subscribed", "c", Subscription("b", "g", 2, False, False, 0, 77), 2),
        ("unsubscribed", "c", "a"),
        ("unsubscribed", "c", "$share/g/b"),
    ]


# --- messages ---


@carriers
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_message_published_and_message_delivered(carrier: Carrier | None, qos: int) -> None:
    """Once for the message, once for each who gets it; of QoS 2 when it is released."""
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches, carrier=carrier) as running:
            first, second = await running.connect("first"), await running.connect("second", V3_1_1)
            await first.subscribe("t", 2)
            await second.subscribe("#", 0)
            client = await running.connect("c")
            for number in range(3):
                await client.publish("t", b"%d" % number, qos, number + 1)
                if qos:
                    await client.receive()
                if qos == 2:
                    assert watches.named("message_published") == []
            if qos == 2:
                await client.send(b"".join(encode_ack(PUBREL, number + 1, V5) for number in range(3)))
                for _ in range(3):
                    await client.receive()
            await client.ping()

    run_mocked(main)
    found = watches.named("message_published", "message_delivered")
    assert [entry for entry in found if entry[0] == "message_published"] == [
        ("message_published", "c", b"t", b"%d" % number) for number in range(3)
    ]
    for name in ("first", "second"):
        assert [entry for entry in found if entry[1] == name] == [
            ("message_delivered", name, b"t", b"%d" % number) for number in range(3)
        ]


def test_message_published_by_the_broker_itself() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches) as running:
            running.broker.for_plugins.publish("t", "x")

    run_mocked(main)
    assert watches.seen == [("message_published", None, b"t", b"x")]


def test_message_delivered_when_what_waited_is_sent() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches) as running:
            client = await running.connect("c", **KEPT)
            await client.subscribe("t", 1)
            await trio.aclose_forcefully(client.stream)
            await settled()
            running.broker.for_plugins.publish("t", "x", qos=1)
            assert watches.named("message_delivered") == []
            client = await running.connect("c", **KEPT)
            await client.receive_publish()
            assert watches.named("message_delivered") == [("message_delivered", "c", b"t", b"x")]

    run_mocked(main)


def test_message_dropped_and_why() -> None:
    watches = Watches()

    rules = Rules(publish="t big", receive="t big", subscribe="t big")

    async def main() -> None:
        plugins = watches, LoadsAccess(load_access=rules)
        async with broker_with(*plugins, queue_max_messages=2) as running:
            publisher = await running.connect("publisher")
            await publisher.publish("forbidden", b"1", 1)
            await publisher.receive()
            away = await running.connect("away", **KEPT)
            await away.subscribe("t", 1)
            await trio.aclose_forcefully(away.stream)
            await settled()
            await publisher.publish("t", b"2")
            await publisher.ping()
            for number in range(3):
                running.broker.for_plugins.publish("t", b"q%d" % number, qos=1)
            small = await running.connect("small", maximum_packet_size=100)
            await small.subscribe("big", 1)
            await publisher.publish("big", b"y" * 200, 1)
            await publisher.receive()
            expiring = encode_publish(b"t", b"4", V5, 1, packet_id=2, properties=b"\x02\x00\x00\x00\x05")
            later = await running.connect("later", **KEPT)
            await later.subscribe("t", 1)
            await trio.aclose_forcefully(later.stream)
            await settled()
            await publisher.send(expiring)
            await publisher.receive()
            await trio.sleep(10)
            await running.connect("later", **KEPT)

    run_mocked(main)
    assert watches.named("message_dropped") == [
        ("message_dropped", None, b"1", "not allowed"),
        ("message_dropped", "away", b"2", "not connected"),
        ("message_dropped", "away", b"q2", "queue full"),
        ("message_dropped", "small", b"y" * 200, "too large for the client"),
        ("message_dropped", "away", b"4", "queue full"),
        ("message_dropped", "later", b"4", "expired"),
    ]


def test_retained_changed() -> None:
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches) as running:
            client = await running.connect("c")
            await client.publish("t", b"1", retain=True)
            await client.publish("t", b"2")
            await client.publish("t", b"3", retain=True)
            await client.publish("t", b"", retain=True)
            await client.send(encode_publish(b"u", b"4", V5, 0, retain=True, properties=b"\x02\x00\x00\x00\x05"))
            await client.ping()
            await trio.sleep(6)

    run_mocked(main)
    assert watches.named("retained_changed") == [
        ("retained_changed", "t", b"1"),
        ("retained_changed", "t", b"3"),
        ("retained_changed", "t", None),
        ("retained_changed", "u", b"4"),
        ("retained_changed", "u", None),
    ]


def test_will_published() -> None:
    """When it is, at once or after its delay; one that is taken back is not."""
    watches = Watches()

    async def main() -> None:
        async with broker_with(watches) as running:
            for name, delay in (("now", 0), ("later", 30), ("back", 30), ("polite", 0)):
                client = await running.connect(name, will=Will("w", name.encode(), will_delay_interval_s=delay), **KEPT)
                if name == "polite":
                    await client.send(BYE)
                    await client.until_end()
                await trio.aclose_forcefully(client.stream)
            await settled()
            assert watches.named("will_published") == [("will_published", "now", b"w", b"now")]
            await running.connect("back", **KEPT)
            await trio.sleep(31)
            assert [entry[1] for entry in watches.named("will_published")] == ["now", "later"]

    run_mocked(main)


# --- packets ---


class Traces:
    """Notes every packet, by client and direction."""

    def __init__(self) -> None:
        self.received: list[tuple[str | None, bytes]] = []
        self.sent: list[tuple[str | None, bytes]] = []

    @hookimpl
    def packet_received(self, client: Client | None, packet: bytes) -> None:
        self.received.append((client and client.client_id, packet))

    @hookimpl
    def packet_sent(self, client: Client | None, packet: bytes) -> None:
        self.sent.append((client and client.client_id, packet))


def is_whole(packet: bytes) -> bool:
    scanner = FrameScanner()
    return len(scanner.feed(packet)) == 1 and scanner.held == 0


@carriers
@pytest.mark.parametrize("cut", [1, 7, 100_000], ids=lambda size: f"{size} at a time")
def test_packet_received_and_packet_sent(carrier: Carrier | None, cut: int) -> None:
    """Whole packets in their order, none twice, whatever the pieces that they come in."""
    traces = Traces()
    packets = [
        encode_connect(Connect(V5, "c")),
        encode_subscribe(Subscribe(1, (SubscriptionRequest("#", 2),)), V5),
        *(encode_publish(b"t", b"%d" % number, V5, 0) for number in range(20)),
        encode_publish(b"t", b"1", V5, 1, packet_id=5),
        encode_publish(b"t", b"x" * (20_000 if cut > 7 else 200), V5, 2, packet_id=6),
        encode_ack(PUBREL, 6, V5),
        encode_unsubscribe(Unsubscribe(2, ("#",)), V5),
        PINGREQ,
    ]

    async def main() -> None:
        async with broker_with(traces, carrier=carrier) as running:
            client = await running.open()
            stream = b"".join(packets)
            for start in range(0, len(stream), cut):
                await client.stream.send_all(stream[start : start + cut])
            got = []
            while not got or got[-1] != PINGRESP:
                got.append(await client.receive())
            await client.send(BYE)
            assert await client.until_end() == []
            packets.append(BYE)
            assert [packet for _, packet in traces.received] == packets
            assert [who for who, _ in traces.received] == [None] + ["c"] * (len(packets) - 1)
            assert all(is_whole(packet) for _, packet in traces.sent)
            assert [FrameScanner().feed(packet)[0] for _, packet in traces.sent] == got
            assert len([packet for packet in got if packet[0] >> 4 == 3]) == 22

    run_mocked(main)


def test_packet_received_of_a_packet_that_waits_for_an_answer() -> None:
    """It is looked at again when the answer is there, and shown once."""
    traces = Traces()

    class Slow:
        @hookimpl
        async def authorize(self, client: Client) -> Allow:
            await trio.sleep(1)
            return Allow()

    packets = [
        encode_publish(b"a", b"1", V5, 1, packet_id=1),
        encode_publish(b"b", b"2", V5, 2, packet_id=2),
        encode_publish(b"a", b"3", V5, 0),
        PINGREQ,
    ]

    async def main() -> None:
        async with broker_with(traces, Slow()) as running:
            client = await running.connect("c")
            traces.received.clear()
            await client.send(*packets)
            for _ in range(3):
                await client.receive()
            assert [packet for _, packet in traces.received] == packets

    run_mocked(main)


def test_packet_sent_of_a_refused_connect() -> None:
    traces = Traces()

    async def main() -> None:
        async with broker_with(traces, Authenticates(), allow_anonymous=False) as running:
            client = await running.open()
            await client.connect("c", user_name="ann")
            await client.until_end()

    run_mocked(main)
    ((who, packet),) = traces.sent
    assert who is None
    assert packet[0] == 0x20


# --- watchers that fail ---


class Fails:
    """Every hook that watches raises."""


def _raise(self: object) -> None:
    raise RuntimeError("boom")


WATCHERS = (
    "client_connected",
    "client_disconnected",
    "session_created",
    "session_ended",
    "subscribed",
    "unsubscribed",
    "message_published",
    "message_delivered",
    "message_dropped",
    "retained_changed",
    "will_published",
    "packet_received",
    "packet_sent",
)
for _name in WATCHERS:
    setattr(Fails, _name, hookimpl(specname=_name)(lambda self: _raise(self)))


@carriers
def test_watchers_that_fail_change_nothing(carrier: Carrier | None, caplog: pytest.LogCaptureFixture) -> None:
    """One line for each in a minute; the plugin behind is called all the same."""
    watches = Watches()

    async def main() -> None:
        async with broker_with(named(Fails(), "fails"), watches, carrier=carrier) as running:
            client = await running.connect("c")
            await client.subscribe("#", 1)
            for number in range(5):
                await client.publish("t", b"%d" % number, 1, number + 1, retain=True)
                assert {(await client.receive())[0] >> 4 for _ in range(2)} == {3, 4}
            leaving = await running.connect("leaving", will=Will("w", b"gone"))
            await trio.aclose_forcefully(leaving.stream)
            assert (await client.receive_publish()).payload == b"gone"
            away = await running.connect("away", **KEPT)
            await away.subscribe("t", 0)
            await away.send(encode_unsubscribe(Unsubscribe(1, ("t",)), V5))
            await away.receive_or_end()

    run_mocked(main)
    lines = [record.getMessage() for record in caplog.records if "Plugin fails has failed in" in record.getMessage()]
    assert len(lines) == len(set(lines))
    wanted = set(WATCHERS) - {"message_dropped"}
    assert {line.split(" in ")[1].split(" ")[0] for line in lines} == wanted
    assert len(watches.named("message_delivered")) >= 6


def test_a_failing_watcher_is_logged_again_after_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    class FailsOnce:
        @hookimpl
        def message_published(self, message: Message) -> None:
            raise RuntimeError("boom")

    async def main() -> None:
        async with broker_with(FailsOnce()) as running:
            for _ in range(200):
                running.broker.for_plugins.publish("t", "x")
                await trio.sleep(1)

    run_mocked(main)
    assert len([record for record in caplog.records if record.exc_info]) == 4
