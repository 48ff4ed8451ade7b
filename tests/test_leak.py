"""Nothing is left behind: ten thousand connections, with all that they do, leave memory and trees as they were."""

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker
from noctule.protocol import Connect, ProtocolVersion, SubscriptionRequest, Will, encode_connect

pytestmark = [pytest.mark.leak, pytest.mark.timeout(60)]

CONNECTIONS = 10_000

#: How much the process may have grown: allocators keep pages, and other tests have left their fragments.
TOLERANCE_BYTES = 3 << 20

#: How many Python objects more there may be. One for each connection would be ten thousand.
TOLERANCE_OBJECTS = 1_000

GARBAGE = [
    b"\x00\x00",
    b"\x36\x05\x00\x01t\x00\x01",
    b"\x30\xff\xff\xff\xff",
    b"\x30\x05\x00\x03a/#",
    b"\x82\x02\x00\x00",
    b"\x40\x02\x00\x00",
    b"\x90\x03\x00\x01\x00",
    b"\x30\xff\xff\x7f" + bytes(1_000),
    b"\x30\x80\x80\x7f",
    b"\xc0\x01\x00",
    b"\x20\x02\x00\x00",
]


class Held(NamedTuple):
    """What a broker holds."""

    sessions: int
    links: int
    deadlines: int
    subscriptions: int
    filter_nodes: int
    topic_nodes: int
    retained: int
    retained_bytes: int


def held(broker: DirectBroker) -> Held:
    state = broker.state
    router = state.router
    return Held(
        len(state.sessions),
        len(state.links),
        len(state.plane.deadlines),
        router.filters.subscription_count,
        router.filters.node_count,
        router.retained.node_count,
        len(router.retained),
        router.retained.size_bytes,
    )


def resident_bytes() -> int:
    """What the process takes; 0 where the system does not say."""
    if not Path("/proc/self/statm").exists():
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def broker(caplog: pytest.LogCaptureFixture) -> Iterator[DirectBroker]:
    """A broker that has seen a few clients, and one of them still."""
    caplog.set_level(logging.CRITICAL, "noctule")  # a log that is captured takes memory, too
    made = DirectBroker()
    stays = made.connect("stays", session_expiry_interval_s=1_000_000)
    stays.subscribe(SubscriptionRequest("stays/#", 1))
    stays.publish("stays/1", b"x", retain=True)
    stays.received()
    yield made
    stays.lose()


def do(broker: DirectBroker, one: Callable[[int], None], times: int) -> None:
    for i in range(times):
        one(i)
        if i % 100 == 99:  # so that a hundred sessions are there at once, not all
            broker.advance(100)
    broker.advance(100)


def check_nothing_is_left(broker: DirectBroker, one: Callable[[int], None], times: int = CONNECTIONS) -> None:
    """Do it a thousand times to warm up, then so often; nothing may have grown."""
    before = held(broker)
    do(broker, one, times // 10)
    assert held(broker) == before
    gc.collect()
    resident = resident_bytes()
    objects = sys.getallocatedblocks()
    do(broker, one, times)
    assert held(broker) == before
    assert broker.state.router.cached_routes <= 65_536
    gc.collect()
    assert sys.getallocatedblocks() - objects < TOLERANCE_OBJECTS
    assert resident_bytes() - resident < TOLERANCE_BYTES


def test_clients_that_come_and_go(broker: DirectBroker) -> None:
    """Subscribe, publish at each QoS, retain and clear; clean, kept for a while, or lost with a will."""

    def one(i: int) -> None:
        version = (ProtocolVersion.V3_1, V3_1_1, V5)[i % 3]
        fields: dict[str, object] = {}
        if version == 5:
            fields["session_expiry_interval_s"] = i % 5 * 10
        if i % 2:
            fields["will"] = Will(f"will/{i % 500}", b"gone", i % 3)
        client = broker.connect(f"client {i}", version, keep_alive_s=30, **fields)
        topic = f"a/{i % 500}/b"
        client.subscribe(
            SubscriptionRequest(topic, 2), SubscriptionRequest("a/+/b", 1), SubscriptionRequest(f"x/{i}/#", 0)
        )
        client.publish(topic, b"0")
        client.publish(topic, b"1", 1, 1, retain=True)
        client.publish(topic, b"2", 2, 2).ack(6, 2)
        client.publish(topic, b"", 0, retain=True)
        for packet_type, body in client.received():
            if packet_type & 0xF6 == 0x32 and i % 7:  # some acknowledge, some do not
                at = 2 + int.from_bytes(body[:2], "big")
                client.ack(4, int.from_bytes(body[at : at + 2], "big"))
        if i % 4 == 0:
            client.unsubscribe(topic)
            client.received()
        if i % 3:
            client.disconnect()
        else:
            client.lose()

    check_nothing_is_left(broker, one)


def test_clients_that_send_garbage(broker: DirectBroker) -> None:
    def one(i: int) -> None:
        garbage = GARBAGE[i % len(GARBAGE)]
        if i % 3 == 0:
            client = broker.open(address=f"10.{i % 200}.0.1")
        else:
            client = broker.connect(f"client {i}", V5 if i % 2 else V3_1_1, will=Will(f"w/{i % 500}", b"gone"))
            client.subscribe(f"g/{i % 500}/#")
            client.publish(f"g/{i % 500}/x", b"held", 2, 9)
        client.send(garbage)
        if i % 5:
            client.lose()

    check_nothing_is_left(broker, one)


def test_clients_that_stop_in_the_middle(broker: DirectBroker) -> None:
    """P2: every prefix of a CONNECT, then the end or nothing at all."""
    wire = encode_connect(Connect(V5, "client", True, 5, Will("w", b"p"), "user", b"password"))

    def one(i: int) -> None:
        client = broker.open()
        client.send(wire[: i % len(wire)])
        if i % 2:
            client.lose()

    check_nothing_is_left(broker, one)


def test_names_that_are_taken_over(broker: DirectBroker) -> None:
    """R16: with queues, flights and wills in them."""

    def one(i: int) -> None:
        for again in range(3):
            client = broker.connect(
                f"client {i % 3}",
                (V3_1_1, V5)[(i + again) % 2],
                clean_start=(i + again) % 4 == 0,
                will=Will("w", b"x", 0, False, i % 2 * (i + again) % 2),
                **({"session_expiry_interval_s": 20} if (i + again) % 2 else {}),
            )
            client.subscribe(SubscriptionRequest("t/#", 2), SubscriptionRequest(f"t/{i % 50}", 1))
            client.publish(f"t/{i % 50}", b"x", 1, 1).publish("t/2", b"y", 2, 2)
        client.lose()
        broker.connect(f"client {i % 3}").disconnect()  # a clean start ends the session

    check_nothing_is_left(broker, one)


def test_sessions_that_are_resumed(broker: DirectBroker) -> None:
    sender = broker.connect("sender", session_expiry_interval_s=1_000_000)

    def one(i: int) -> None:
        client = broker.connect("resumed", clean_start=False, session_expiry_interval_s=50, receive_maximum=1 + i % 5)
        client.subscribe(SubscriptionRequest("t", 2))
        for first, body in [*client.behind_connack, *client.behind_suback]:
            if first & 0xF6 == 0x34:
                client.ack(5, int.from_bytes(body[3:5], "big"), 0x80)
        client.received()
        client.lose()
        sender.publish("t", b"x" * 100, 2, 1 + i % 60_000).ack(6, 1 + i % 60_000)
        sender.received()

    check_nothing_is_left(broker, one)


def test_topics_without_end(broker: DirectBroker) -> None:
    """The cache of routes is bounded, whatever is published to."""
    client = broker.connect("c", session_expiry_interval_s=1_000_000)
    for i in range(200_000):
        client.publish(f"topic/{i}", b"x")
    client.received()
    assert 0 < broker.state.router.cached_routes <= 65_536
    assert broker.state.router.retained.node_count == 2


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts resident memory")
def test_what_is_announced_takes_no_memory_before_it_comes(broker: DirectBroker) -> None:
    """R1: a thousand strangers that announce large packets, and send their first bytes."""
    limits = broker.state.settings.limits
    size = limits.packet_max_bytes - 5
    head = bytes((0x30, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | (0x80 if size >> 21 else 0)))
    if size >> 21:
        head += bytes((size >> 21,))
    clients = [broker.connect(f"client {i}") for i in range(1_000)]
    for client in clients:
        client.received()
    gc.collect()
    resident = resident_bytes()
    for client in clients:
        client.send(head + bytes(100))
        assert not client.is_closed
    assert resident_bytes() - resident < 20 << 20
    for client in clients:
        client.lose()
    broker.advance(1)
    assert len(broker.state.links) == 1
