"""Kinds of work without sockets and without a clock: a broker's own code, fed with packets.

The micro-benchmarks (micro/) time them, and instructions.py counts their instructions:

    python benchmarks/workloads.py qos1 100     # that work, a hundred steps of it

Everything about a step is the same each time: the packets, the order, and the keys of the hash tables, which a broker
draws at random. So two runs of the same build execute the same instructions.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Final

from noctule._speedups.codec import encode_publish
from noctule._speedups.link import Link
from noctule.config.settings import Settings
from noctule.core.state import make_state
from noctule.handlers.dispatch import Dispatcher
from noctule.protocol import (
    Connect,
    Disconnect,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    encode_connect,
    encode_disconnect,
    encode_subscribe,
)

V3_1_1: Final = ProtocolVersion(4)
V5: Final = ProtocolVersion(5)

PAYLOAD: Final = bytes(range(64))
PUBACK, PUBREC, PUBREL, PUBCOMP = 4, 5, 6, 7
MESSAGE_EXPIRY_AND_USER_PROPERTY: Final = b"\x02\x00\x00\x0e\x10\x26\x00\x06source\x00\x04load"

#: One step of a work; how many messages (or visits) it is.
Step = Callable[[], object]


class Direct:
    """A broker without sockets, and its clients."""

    def __init__(self) -> None:
        self.state = make_state(Settings())
        self.dispatcher = Dispatcher(self.state, None)
        self.state.plane.begin_turn(1_000.0)
        self._numbers = count()

    def open(self) -> Link:
        """A connection on which nothing has been sent yet."""
        link = Link(self.state.router, self.dispatcher, f"10.0.0.1:{next(self._numbers)}")
        self.state.links.add(link)
        return link

    def connect(self, client_id: str, version: ProtocolVersion) -> Link:
        """A client whose CONNECT has been accepted."""
        link = self.open()
        self.feed(link, encode_connect(Connect(version, client_id)))
        if link.take_output()[0] != 0x20:
            raise RuntimeError("the broker does not let us in")
        return link

    def subscriber(self, client_id: str, version: ProtocolVersion, *filters: str, qos: int = 0) -> Link:
        """A client with subscriptions."""
        link = self.connect(client_id, version)
        for at in range(0, len(filters), 100):
            requests = tuple(SubscriptionRequest(one, qos) for one in filters[at : at + 100])
            self.feed(link, encode_subscribe(Subscribe(1, requests, None), version))
        link.take_output()
        return link

    def feed(self, link: Link, data: bytes) -> None:
        """One turn: bytes have come from one connection."""
        link.feed(data)
        self.state.plane.flush()


def publishes(version: ProtocolVersion, topics: list[str], qos: int = 0, properties: bytes = b"") -> bytes:
    """PUBLISH packets, one for each topic, with packet identifiers from 1 on."""
    return b"".join(
        encode_publish(topic.encode(), PAYLOAD, version, qos, False, False, number if qos else 0, properties)
        for number, topic in enumerate(topics, 1)
    )


def one_to_one() -> tuple[Step, int]:
    """100 messages of one topic in one piece, one subscriber."""
    broker = Direct()
    subscriber = broker.subscriber("s", V3_1_1, "bench/load")
    publisher, data = broker.connect("p", V3_1_1), publishes(V3_1_1, ["bench/load"] * 100)

    def step() -> None:
        broker.feed(publisher, data)
        subscriber.take_output()

    return step, 100


def topics_in_turn() -> tuple[Step, int]:
    """100 messages of different topics in one piece, one subscriber with a wildcard."""
    broker = Direct()
    subscriber = broker.subscriber("s", V3_1_1, "bench/#")
    publisher = broker.connect("p", V3_1_1)
    data = publishes(V3_1_1, [f"bench/load/{number}" for number in range(100)])

    def step() -> None:
        broker.feed(publisher, data)
        subscriber.take_output()

    return step, 100


def fan_out() -> tuple[Step, int]:
    """10 messages of one topic in one piece, 100 subscribers."""
    broker = Direct()
    subscribers = [broker.subscriber(f"s{number}", V3_1_1, "bench/load") for number in range(100)]
    publisher, data = broker.connect("p", V3_1_1), publishes(V3_1_1, ["bench/load"] * 10)

    def step() -> None:
        broker.feed(publisher, data)
        for subscriber in subscribers:
            subscriber.take_output()

    return step, 1_000


def crowd() -> tuple[Step, int]:
    """One message each of 100 publishers with topics of their own, one subscriber."""
    broker = Direct()
    subscriber = broker.subscriber("s", V3_1_1, "bench/+")
    publishers = [
        (broker.connect(f"p{number}", V3_1_1), publishes(V3_1_1, [f"bench/{number}"])) for number in range(100)
    ]

    def step() -> None:
        for link, data in publishers:
            broker.feed(link, data)
            subscriber.take_output()

    return step, 100


def qos1() -> tuple[Step, int]:
    """20 messages at QoS 1 in one piece, acknowledged by broker and subscriber."""
    broker = Direct()
    subscriber = broker.subscriber("s", V3_1_1, "bench/load", qos=1)
    publisher, data = broker.connect("p", V3_1_1), publishes(V3_1_1, ["bench/load"] * 20, 1)

    def step() -> None:
        broker.feed(publisher, data)
        publisher.take_output()
        acknowledge(broker, subscriber, PUBACK)

    return step, 20


def acknowledge(broker: Direct, link: Link, packet_type: int) -> None:
    """Acknowledge everything that a client has received: PUBLISH packets of one topic, or acknowledgements."""
    data = link.take_output()
    at = 4 + len("bench/load") if data[0] >> 4 == 3 else 2
    size = at + 2 + len(PAYLOAD) if data[0] >> 4 == 3 else 4
    first = bytes((packet_type << 4 | (2 if packet_type == PUBREL else 0), 2))
    broker.feed(link, b"".join([first + data[start + at : start + at + 2] for start in range(0, len(data), size)]))


def qos2() -> tuple[Step, int]:
    """20 messages at QoS 2 in one piece, with every step of the flow on both sides."""
    broker = Direct()
    subscriber = broker.subscriber("s", V3_1_1, "bench/load", qos=2)
    publisher, data = broker.connect("p", V3_1_1), publishes(V3_1_1, ["bench/load"] * 20, 2)

    def step() -> None:
        broker.feed(publisher, data)
        acknowledge(broker, publisher, PUBREL)
        publisher.take_output()
        acknowledge(broker, subscriber, PUBREC)
        acknowledge(broker, subscriber, PUBCOMP)

    return step, 20


def properties() -> tuple[Step, int]:
    """100 messages of version 5 with properties, to a subscriber of version 5 and one of 3.1.1."""
    broker = Direct()
    subscribers = [broker.subscriber("s5", V5, "bench/load"), broker.subscriber("s4", V3_1_1, "bench/load")]
    publisher = broker.connect("p", V5)
    data = publishes(V5, ["bench/load"] * 100, properties=MESSAGE_EXPIRY_AND_USER_PROPERTY)

    def step() -> None:
        broker.feed(publisher, data)
        for subscriber in subscribers:
            subscriber.take_output()

    return step, 200


def match() -> tuple[Step, int]:
    """50 messages, each to a topic that was never seen, among 4,000 filters with wildcards.

    The topics are spread over the tree: where a node finds its children depends on its address in memory, so that what
    one node costs differs from run to run, and what many cost together does not.
    """
    broker = Direct()
    filters = [f"site/{n % 200}/+/line{n % 7}/{n}/#" for n in range(2_000)] + [f"+/{n}/line/+" for n in range(2_000)]
    broker.subscriber("holder", V3_1_1, *filters)
    subscriber = broker.subscriber("s", V3_1_1, "site/+/machine/#")
    publisher, numbers = broker.connect("p", V3_1_1), count(1_000_000)

    def step() -> None:
        topics = [f"site/{number * 37 % 200}/machine/{number}" for number in islice(numbers, 50)]
        broker.feed(publisher, publishes(V3_1_1, topics))
        subscriber.take_output()

    return step, 50


def visit() -> tuple[Step, int]:
    """10 clients that connect, subscribe and go."""
    broker = Direct()
    packets = [
        encode_connect(Connect(V3_1_1, "visitor")),
        encode_subscribe(Subscribe(1, (SubscriptionRequest("bench/visit", 0),), None), V3_1_1),
        encode_disconnect(Disconnect(0), V3_1_1),
    ]

    def step() -> None:
        for _ in range(10):
            link = broker.open()
            for packet in packets:
                broker.feed(link, packet)
                link.take_output()
            link.lose("")

    return step, 10


WORKLOADS: Final[dict[str, Callable[[], tuple[Step, int]]]] = {
    "one-to-one": one_to_one,
    "topics-in-turn": topics_in_turn,
    "fan-out": fan_out,
    "crowd": crowd,
    "qos1": qos1,
    "qos2": qos2,
    "properties": properties,
    "match": match,
    "visit": visit,
}


@contextmanager
def same_keys() -> Iterator[None]:
    """While it lasts, what is drawn at random is always the same: for tables whose shape depends on a secret key."""
    drawn, os.urandom = os.urandom, lambda size: bytes(number & 0xFF for number in range(size))
    try:
        yield
    finally:
        os.urandom = drawn


def main() -> None:
    """Run one work so many times."""
    name, steps = sys.argv[1], int(sys.argv[2])
    with same_keys():
        step, _ = WORKLOADS[name]()
    gc.disable()
    for _ in range(steps):
        step()


if __name__ == "__main__":
    main()
