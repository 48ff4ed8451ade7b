"""The router: routes and their cache, retained messages, options of subscriptions, and the copy between layouts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from noctule._speedups.codec import Publish, encode_publish
from noctule._speedups.message import Message
from noctule._speedups.session import Session
from speedups.message_packets import EVERY_PROPERTY
from speedups.naive_matching import matches
from speedups.recording import PUBACK, PUBREL, Peer, make_router

NO_LOCAL, RETAIN_AS_PUBLISHED = 1, 2
USER_PROPERTY = b"\x26\x00\x01k\x00\x01v"
every_version = pytest.mark.parametrize("version", [3, 4, 5])
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])


def identifier(number: int) -> bytes:
    assert number < 128
    return bytes((0x0B, number))


# --- delivery ---


@pytest.mark.parametrize("granted", [0, 1, 2])
@every_qos
@every_version
def test_the_lesser_qos_is_delivered(version: int, qos: int, granted: int) -> None:
    """[MQTT-3.8.4-8] of 5.0, [MQTT-3.8.4-6] of 3.1.1"""
    router = make_router()
    subscriber = Peer(router, "s", version).connect().subscribe(b"t", granted)
    publisher = Peer(router, "p", 4).connect().publish(b"t", b"x", qos, 5 if qos else 0)
    if qos == 2:
        publisher.ack(PUBREL, 5)
    (found,) = subscriber.publishes()
    assert (found.topic, found.payload, found.qos, found.retain, found.dup) == (
        b"t",
        b"x",
        min(qos, granted),
        False,
        False,
    )


@every_qos
def test_order_is_kept_per_topic_and_qos(qos: int) -> None:
    """[MQTT-4.6.0-6]"""
    router = make_router(write_max_bytes=10_000)
    subscriber = Peer(router, "s").connect(receive_maximum=7).subscribe(b"#", 2)
    publisher = Peer(router, "p").connect()
    arrived: list[int] = []
    for i in range(500):
        publisher.publish(b"t", b"%d" % i, qos, i + 1 if qos else 0)
        if qos == 2:
            publisher.ack(PUBREL, i + 1)
        if i % 11 == 0:
            for found in subscriber.received():
                if isinstance(found, Publish):
                    arrived.append(int(found.payload))
                    subscriber.ack(PUBACK if qos < 2 else 5, found.packet_id) if found.qos else None
                else:
                    subscriber.ack(7, found[1])  # type: ignore[arg-type]
    while batch := subscriber.received():
        for found in batch:
            if isinstance(found, Publish):
                arrived.append(int(found.payload))
                subscriber.ack(PUBACK if qos < 2 else 5, found.packet_id) if found.qos else None
            else:
                subscriber.ack(7, found[1])  # type: ignore[arg-type]
    assert arrived == list(range(500))


def test_who_publishes_receives_what_it_subscribed_to() -> None:
    peer = Peer(make_router()).connect().subscribe(b"t").publish(b"t", b"x")
    assert peer.payloads() == [b"x"]


def test_the_publisher_is_told_where_nobody_listens() -> None:
    peer = Peer(make_router()).connect()
    peer.publish(b"t", b"x", 1, 1).publish(b"t", b"x", 2, 2)
    assert [found.reason_code for found in peer.acks()] == [0x10, 0x10]
    peer.subscribe(b"t")
    peer.publish(b"t", b"x", 1, 3).publish(b"t", b"x", 2, 4)
    assert [found.reason_code for found in peer.received() if not isinstance(found, Publish)] == [0, 0]  # type: ignore[union-attr]


def test_a_message_counts_the_sessions_that_it_matches() -> None:
    router = make_router()
    sessions = [Session(router.plane, str(i)) for i in range(3)]
    for session in sessions:
        router.subscribe(session, b"a/+", 1)
    router.subscribe(sessions[0], b"#", 1)
    assert router.publish_message(Message(b"a/b", b"x", 1)) == 3
    assert router.publish_message(Message(b"b", b"x", 1)) == 1
    assert [session.queued for session in sessions] == [2, 1, 1]
    for session in sessions:
        router.unsubscribe_all(session)


# --- overlapping subscriptions ---


@every_qos
def test_overlapping_subscriptions_are_one_copy_at_the_highest_qos_with_every_identifier(qos: int) -> None:
    """[MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]"""
    router = make_router()
    peer = Peer(router).connect()
    peer.subscribe(b"a/b", 0, identifier=1).subscribe(b"a/+", 2, identifier=2).subscribe(b"#", 1, identifier=3)
    peer.subscribe(b"+/b", 1).subscribe(b"other", 2, identifier=4)
    router.publish_message(Message(b"a/b", b"x", qos, properties=USER_PROPERTY))
    (found,) = peer.publishes()
    assert found.qos == qos
    block = found.properties
    assert block.startswith(USER_PROPERTY)
    assert {block[at : at + 2] for at in range(len(USER_PROPERTY), len(block), 2)} == {identifier(i) for i in (1, 2, 3)}
    assert len(block) == len(USER_PROPERTY) + 6


def test_a_session_below_version_5_gets_no_identifiers() -> None:
    router = make_router()
    peer = Peer(router, version=4).connect().subscribe(b"t", 1, identifier=9)
    for qos in (0, 1):
        router.publish_message(Message(b"t", b"x", qos, properties=USER_PROPERTY))
    assert [found.payload for found in peer.publishes()] == [b"x", b"x"]


@pytest.mark.parametrize(("number", "size"), [(127, 2), (128, 3), (16_384, 4), (268_435_455, 5)])
def test_an_identifier_of_each_length(number: int, size: int) -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", identifier=number)
    peer.publish(b"t", b"x")
    ((block),) = [found.properties for found in peer.publishes()]
    assert len(block) == size
    from noctule._speedups.buffers import PacketReader

    assert PacketReader(block[1:]).varint() == number


def test_an_identifier_stays_with_a_message_that_waits_or_comes_again() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 1, identifier=7)
    router.publish_message(Message(b"t", b"1", 1))
    assert [found.properties for found in peer.publishes()] == [identifier(7)]
    peer.lose()
    router.publish_message(Message(b"t", b"2", 1))
    router.unsubscribe_all(peer.session)
    found = peer.connect().publishes()
    assert [(one.payload, one.dup, one.properties) for one in found] == [
        (b"1", True, identifier(7)),
        (b"2", False, identifier(7)),
    ]


# --- No Local, Retain As Published ---


@every_qos
def test_no_local(qos: int) -> None:
    """[MQTT-3.8.3-3]: the session's own messages are left out, and nobody else's."""
    router = make_router()
    peer = Peer(router, "p").connect().subscribe(b"t", 2, NO_LOCAL)
    other = Peer(router, "o").connect().subscribe(b"t", 2)
    for publisher in (peer, other):
        publisher.publish(b"t", publisher.session.client_id.encode(), qos, 9 if qos else 0)
        if qos == 2:
            publisher.ack(PUBREL, 9)
    assert [found.payload for found in peer.received() if isinstance(found, Publish)] == [b"o"]
    assert [found.payload for found in other.received() if isinstance(found, Publish)] == [b"p", b"o"]


@every_qos
def test_no_local_leaves_the_other_subscriptions_of_the_session(qos: int) -> None:
    router = make_router()
    peer = Peer(router, "p").connect()
    peer.subscribe(b"t", 2, NO_LOCAL, identifier=1).subscribe(b"+", 1, identifier=2).subscribe(b"#", 0, identifier=3)
    router.publish_message(Message(b"t", b"own", qos), peer.session)
    router.publish_message(Message(b"t", b"theirs", qos))
    own, theirs = peer.publishes()
    assert (own.payload, own.qos) == (b"own", min(qos, 1))
    assert {own.properties[i : i + 2] for i in (0, 2)} == {identifier(2), identifier(3)}
    assert len(own.properties) == 4
    assert (theirs.payload, theirs.qos, len(theirs.properties)) == (b"theirs", qos, 6)


@every_qos
def test_retain_as_published(qos: int) -> None:
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]"""
    router = make_router()
    plain = Peer(router, "plain").connect().subscribe(b"t", 2)
    kept = Peer(router, "kept").connect().subscribe(b"t", 2, RETAIN_AS_PUBLISHED)
    both = Peer(router, "both").connect().subscribe(b"t", 2, RETAIN_AS_PUBLISHED).subscribe(b"#", 2)
    for retain in (True, False):
        router.publish_message(Message(b"t", b"x", qos, retain))
    assert [found.retain for found in plain.publishes()] == [False, False]
    assert [found.retain for found in kept.publishes()] == [True, False]
    assert [found.retain for found in both.publishes()] == [True, False]


def test_retain_as_published_survives_the_queue_and_the_resume() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 1, RETAIN_AS_PUBLISHED)
    router.publish_message(Message(b"t", b"1", 1, True))
    peer.publishes()
    peer.lose()
    router.publish_message(Message(b"t", b"2", 1, True))
    router.publish_message(Message(b"t", b"3", 1, False))
    assert [found.retain for found in peer.connect().publishes()] == [True, True, False]


# --- retained messages ---


@every_qos
@every_version
def test_a_retained_message_is_stored_replaced_and_cleared(version: int, qos: int) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8]"""
    router = make_router()
    live = Peer(router, "live").connect().subscribe(b"t", 2)
    publisher = Peer(router, "p", version).connect()

    def publish(payload: bytes, *, retain: bool) -> None:
        publisher.publish(b"t", payload, qos, 5 if qos else 0, retain=retain)
        if qos == 2:
            assert router.retained.get(b"t") is before  # not before it is released
            publisher.ack(PUBREL, 5)

    before = None
    publish(b"1", retain=True)
    message = before = router.retained.get(b"t")
    assert message is not None
    assert (message.payload, message.qos, message.retain) == (b"1", qos, True)
    publish(b"2", retain=False)
    assert router.retained.get(b"t") is message
    publish(b"3", retain=True)
    before = router.retained.get(b"t")
    assert before is not None
    assert before.payload == b"3"
    publish(b"", retain=True)
    before = router.retained.get(b"t")
    assert before is None
    assert (len(router.retained), router.retained.node_count) == (0, 0)
    publish(b"", retain=True)  # nothing to clear
    assert [(found.payload, found.retain) for found in live.publishes()] == [
        (payload, False) for payload in (b"1", b"2", b"3", b"", b"")
    ]


@pytest.mark.parametrize("granted", [0, 1, 2])
@every_qos
def test_retained_messages_for_a_new_subscription(qos: int, granted: int) -> None:
    """[MQTT-3.3.1-8] of 3.1.1: with RETAIN, at the lesser QoS, with the identifier of this subscription."""
    router = make_router()
    for topic in (b"a/b", b"a/c", b"b"):
        router.publish_message(Message(topic, b"of " + topic, qos, True, USER_PROPERTY))
    peer = Peer(router).connect()
    assert router.send_retained(peer.session, b"a/+", granted, 9) == 2
    found = sorted(peer.publishes())
    assert [(one.topic, one.payload) for one in found] == [(b"a/b", b"of a/b"), (b"a/c", b"of a/c")]
    assert all(one.retain and not one.dup and one.qos == min(qos, granted) for one in found)
    assert all(one.properties == USER_PROPERTY + identifier(9) for one in found)


def test_a_retained_message_expires() -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]"""
    router = make_router()
    now = router.plane.now
    router.publish_message(Message(b"t", b"x", 0, True, b"\x02\x00\x00\x00\x0a", now))
    peer = Peer(router).connect()
    router.plane.begin_turn(now + 4)
    router.send_retained(peer.session, b"#", 0)
    assert [found.properties for found in peer.publishes()] == [b"\x02\x00\x00\x00\x06"]
    router.plane.begin_turn(now + 10)
    assert router.send_retained(peer.session, b"#", 0) == 0
    assert peer.received() == []


def test_the_queues_limits_do_not_lose_retained_messages() -> None:
    """Mosquitto #2887: a subscription with more matches than the queue has room."""
    router = make_router(queue_max_messages=5, write_max_bytes=2_000)
    for i in range(300):
        router.publish_message(Message(b"t/%03d" % i, bytes(100), i % 2, True))
    peer = Peer(router).connect(receive_maximum=3)
    assert router.send_retained(peer.session, b"#", 1) == 300
    assert peer.link.pending_bytes < 3_000
    topics: set[bytes] = set()
    while found := peer.publishes():
        topics |= {one.topic for one in found}
        for one in found:
            if one.qos:
                peer.ack(PUBACK, one.packet_id)
    assert len(topics) == 300
    assert (peer.session.queued, peer.session.queued_bytes, peer.session.dropped) == (0, 0, 0)


@pytest.mark.parametrize("way", ["run", "message", "single"])
def test_live_messages_never_overtake_queued_retained_ones(way: str) -> None:
    """Per topic the retained message is the older one, and must come first."""
    router = make_router(write_max_bytes=2_000)
    publisher = Peer(router, "p", 5).connect()
    for i in range(100):
        router.publish_message(Message(b"t/%02d" % i, b"old" + bytes(100), 0, True))
    peer = Peer(router).connect().subscribe(b"#", 0)
    router.send_retained(peer.session, b"#", 0)
    assert peer.session.queued > 50
    for i in range(100):
        if way == "run":
            publisher.publish(b"t/%02d" % i, b"new")
        elif way == "single":
            publisher.publish(b"t/%02d" % i, b"new", 1, 1)
        else:
            router.publish_message(Message(b"t/%02d" % i, b"new"))
    seen: dict[bytes, list[bytes]] = {}
    for found in peer.publishes():
        seen.setdefault(found.topic, []).append(found.payload[:3])
    assert seen == {b"t/%02d" % i: [b"old", b"new"] for i in range(100)}


@pytest.mark.parametrize("way", ["run", "message"])
def test_qos_0_that_had_to_wait_behind_retained_messages_is_not_overtaken(way: str) -> None:
    """[MQTT-4.6.0-6]: the retained messages have gone, what waited behind them has not."""
    router = make_router()
    publisher = Peer(router, "p", 5).connect()
    for i in range(3):
        router.publish_message(Message(b"r/%d" % i, b"retained", 1, True))
    peer = Peer(router).connect(receive_maximum=1).subscribe(b"t", 0).subscribe(b"one", 1)
    router.send_retained(peer.session, b"r/+", 1)  # one in flight, two in the queue

    def publish(topic: bytes, payload: bytes, qos: int = 0) -> None:
        if way == "message":
            router.publish_message(Message(topic, payload, qos))
        else:
            publisher.publish(topic, payload, qos, qos)

    publish(b"one", b"live", 1)
    publish(b"t", b"first")
    arrived: list[bytes] = []
    while batch := peer.publishes():
        arrived += [found.payload for found in batch]
        if arrived == [b"retained"] * 3:
            publish(b"t", b"second")  # no retained message waits any more, but "live" and "first" do
        for found in batch:
            if found.qos:
                peer.ack(PUBACK, found.packet_id)
    assert arrived == [b"retained"] * 3 + [b"live", b"first", b"second"]


def test_qos_0_of_retained_messages_goes_with_the_connection() -> None:
    router = make_router(write_max_bytes=500)
    for i in range(50):
        router.publish_message(Message(b"t/%d" % i, bytes(50), i % 2, True))
    peer = Peer(router).connect(receive_maximum=1)
    router.send_retained(peer.session, b"#", 1)
    peer.lose()
    assert peer.session.queued + peer.session.unacknowledged == 25  # those of QoS 1
    assert peer.session.queued_bytes == 0
    count = 0
    peer.connect()
    while found := peer.publishes():
        assert all(one.qos == 1 and one.retain for one in found)
        count += len(found)
        for one in found:
            peer.ack(PUBACK, one.packet_id)
    assert count == 25


def test_asking_for_the_retained_messages_again_and_again_does_not_fill_the_memory() -> None:
    """What is exempt from the queue's limits needs one of its own: a client that subscribes and reads nothing (R7)."""
    router = make_router(queue_max_messages=100)
    for i in range(100):
        router.publish_message(Message(b"t/%d" % i, bytes(50), 1, True))
    peer = Peer(router).connect(receive_maximum=1)
    for _ in range(100):
        router.send_retained(peer.session, b"#", 1)
    assert peer.session.queued <= 1_000


# --- the layouts ---

payload_lists = st.lists(st.binary(max_size=30), min_size=1, max_size=12)


@given(
    payloads=payload_lists,
    source=st.sampled_from([3, 4, 5]),
    target=st.sampled_from([3, 4, 5]),
    block=st.sampled_from([b"", USER_PROPERTY, EVERY_PROPERTY]),
    has_identifier=st.booleans(),
    packet_max=st.sampled_from([0xFFFFFFFF, 60]),
    in_one_piece=st.booleans(),
)
def test_a_run_of_qos_0_arrives_in_the_subscribers_layout(
    payloads: list[bytes],
    source: int,
    target: int,
    block: bytes,
    has_identifier: bool,
    packet_max: int,
    in_one_piece: bool,
) -> None:
    router = make_router()
    subscriber = Peer(router, "s", target).connect(packet_max=packet_max)
    subscriber.subscribe(b"a/b", identifier=5 if has_identifier else 0)
    publisher = Peer(router, "p", source).connect()
    wires = [encode_publish(b"a/b", payload, source, properties=block) for payload in payloads]
    publisher.send(*([b"".join(wires)] if in_one_piece else wires))
    properties = b""
    if target == 5:
        properties = (block if source == 5 else b"") + (identifier(5) if has_identifier else b"")
    expected = [Publish(b"a/b", payload, 0, False, False, 0, properties) for payload in payloads]
    fitting = [
        one
        for one in expected
        if len(encode_publish(one.topic, one.payload, target, properties=one.properties)) <= packet_max
    ]
    assert subscriber.publishes() == fitting
    assert router.plane.counts["dropped_too_large"] == len(expected) - len(fitting)


@every_qos
@pytest.mark.parametrize(("source", "target"), [(4, 5), (5, 4), (5, 5), (3, 4)])
def test_single_messages_arrive_in_the_subscribers_layout(source: int, target: int, qos: int) -> None:
    router = make_router()
    subscriber = Peer(router, "s", target).connect().subscribe(b"t", 2)
    publisher = Peer(router, "p", source).connect()
    publisher.publish(b"t", b"x", qos, 3 if qos else 0, properties=EVERY_PROPERTY, retain=True)
    if qos == 2:
        publisher.ack(PUBREL, 3)
    (found,) = subscriber.publishes()
    assert (found.payload, found.properties) == (b"x", EVERY_PROPERTY if source == target == 5 else b"")


def test_one_run_for_subscribers_of_all_kinds() -> None:
    router = make_router()
    peers = [
        Peer(router, "3.1", 3).connect(),
        Peer(router, "3.1.1", 4).connect(),
        Peer(router, "5", 5).connect(),
        Peer(router, "5, small", 5).connect(packet_max=10),
        Peer(router, "3.1.1, small", 4).connect(packet_max=10),
    ]
    identified = Peer(router, "5, with identifier", 5).connect().subscribe(b"t", 2, identifier=1)
    for peer in peers:
        peer.subscribe(b"t", 2)
    offline = Peer(router, "offline", 5).connect().subscribe(b"t", 2)
    offline.lose()
    publisher = Peer(router, "p", 5).connect()
    wire = [encode_publish(b"t", payload, 5, properties=USER_PROPERTY) for payload in (b"1", b"22", b"")]
    publisher.send(*wire)
    assert [peer.payloads() for peer in peers] == [[b"1", b"22", b""]] * 3 + [[], [b"1", b"22", b""]]
    assert [found.properties for found in identified.publishes()] == [USER_PROPERTY + identifier(1)] * 3
    assert router.plane.counts["dropped_offline"] == 3
    assert router.plane.counts["dropped_too_large"] == 3
    assert offline.connect().received() == []


def test_runs_of_changing_topics() -> None:
    """A run ends where the topic changes, and each goes where it belongs."""
    router = make_router()
    a = Peer(router, "a", 4).connect().subscribe(b"a")
    b = Peer(router, "b", 4).connect().subscribe(b"b").subscribe(b"c")
    publisher = Peer(router, "p", 4).connect()
    topics = [b"a", b"a", b"b", b"a", b"c", b"c", b"none", b"b", b"a"]
    publisher.send(*(encode_publish(topic, b"%d" % i, 4) for i, topic in enumerate(topics)))
    assert a.payloads() == [b"0", b"1", b"3", b"8"]
    assert b.payloads() == [b"2", b"4", b"5", b"7"]


# --- routes ---

Model = dict[tuple[int, bytes], tuple[int, int, int]]
TOPICS = [b"a", b"a/b", b"a/c", b"b", b"/", b"$x", b"$x/a"]
FILTERS = [*TOPICS, b"#", b"+", b"a/+", b"a/#", b"+/b", b"+/+", b"$x/#", b"+/#"]


def naive_route(model: Model, topic: bytes) -> list[tuple[int, int, int, tuple[int, ...]]]:
    """(session, qos, flags, identifiers) as the specification tells it; flags: 1 retain, 2 not self, 4 only self."""
    route: list[tuple[int, int, int, tuple[int, ...]]] = []
    for who in range(4):
        found = [value for (key, wanted), value in model.items() if key == who and matches(wanted, topic)]
        foreign = [one for one in found if not one[1] & NO_LOCAL]
        for part, flags in ((found, 2 if len(foreign) < len(found) else 0), (foreign, 4)):
            if not part or (flags == 4 and len(foreign) == len(found)):
                continue
            if any(options & RETAIN_AS_PUBLISHED for _, options, _ in part):
                flags |= 1
            route.append(
                (who, max(one[0] for one in part), flags, tuple(sorted(number for *_, number in part if number)))
            )
    return sorted(route)


class RouteMachine(RuleBasedStateMachine):
    """Subscribing, unsubscribing and sessions that end, in any order: each route is as it would be without a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.router = make_router()
        self.sessions = [Session(self.router.plane, str(i)) for i in range(4)]
        self.publisher = Peer(self.router, "p", 4).connect()
        self.model: Model = {}

    @rule(
        who=st.integers(0, 3),
        topic_filter=st.sampled_from(FILTERS),
        options=st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)),
    )
    def subscribe(self, who: int, topic_filter: bytes, options: tuple[int, int, int]) -> None:
        key = (who, topic_filter)
        assert self.router.subscribe(self.sessions[who], topic_filter, *options) == (key in self.model)
        self.model[key] = options

    @rule(who=st.integers(0, 3), topic_filter=st.sampled_from(FILTERS))
    def unsubscribe(self, who: int, topic_filter: bytes) -> None:
        existed = self.model.pop((who, topic_filter), None) is not None
        assert self.router.unsubscribe(self.sessions[who], topic_filter) == existed

    @rule(who=st.integers(0, 3))
    def end(self, who: int) -> None:
        self.router.unsubscribe_all(self.sessions[who])
        self.sessions[who] = Session(self.router.plane, str(who))
        self.model = {key: value for key, value in self.model.items() if key[0] != who}

    @rule(topic=st.sampled_from(TOPICS))
    def publish(self, topic: bytes) -> None:
        """Over a link, which keeps the route of its last topic."""
        before = [session.queued for session in self.sessions]
        self.publisher.publish(topic, b"x", 1, 1)
        self.publisher.received()
        gained = [session.queued - count for session, count in zip(self.sessions, before, strict=True)]
        expected = [0] * 4
        for who, qos, flags, _ in naive_route(self.model, topic):
            if qos and not flags & 4:
                expected[who] = 1
        assert gained == expected

    @rule(topic=st.sampled_from(TOPICS))
    def look(self, topic: bytes) -> None:
        self.check(topic)

    def check(self, topic: bytes) -> None:
        found = []
        for session, qos, flags, more in self.router.route_targets(topic):
            assert more[::2] == b"\x0b" * (len(more) // 2)
            found.append((self.sessions.index(session), qos, flags, tuple(sorted(more[1::2]))))
        assert sorted(found) == naive_route(self.model, topic), topic

    @invariant()
    def counts(self) -> None:
        assert self.router.filters.subscription_count == len(self.model)

    def teardown(self) -> None:
        for topic in TOPICS:
            self.check(topic)
        for session in self.sessions:
            self.router.unsubscribe_all(session)
        for topic in TOPICS:
            assert self.router.route_targets(topic) == []
        assert (self.router.filters.node_count, self.router.filters.subscription_count) == (0, 0)


TestRouteMachine = RouteMachine.TestCase
TestRouteMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("topic_filter", [b"t/1", b"t/+", b"#"])
def test_a_link_notices_what_has_changed_since_its_last_publish(topic_filter: bytes) -> None:
    router = make_router()
    publisher = Peer(router, "p").connect().publish(b"t/1", b"nobody yet")
    subscriber = Peer(router, "s").connect().subscribe(topic_filter)
    publisher.publish(b"t/1", b"1")
    router.unsubscribe(subscriber.session, topic_filter)
    publisher.publish(b"t/1", b"2")
    subscriber.subscribe(topic_filter)
    publisher.publish(b"t/1", b"3")
    router.unsubscribe_all(subscriber.session)
    publisher.publish(b"t/1", b"4")
    assert subscriber.payloads() == [b"1", b"3"]


def test_the_cache_is_bounded_and_right_however_many_topics_there_are() -> None:
    router = make_router()
    sessions = [Session(router.plane, str(i)) for i in range(2)]
    router.subscribe(sessions[0], b"t/+", 1)
    router.subscribe(sessions[1], b"t/77", 1)
    for i in range(100_000):
        targets = router.route_targets(b"t/%d" % i)
        assert len(targets) == (2 if i == 77 else 1)
    assert 1_000 < router.cached_routes <= 65_536
    assert len(router.route_targets(b"t/77")) == 2
    router.unsubscribe_all(sessions[0])
    assert [found[0] for found in router.route_targets(b"t/77")] == [sessions[1]]
    assert router.route_targets(b"t/78") == []
    router.unsubscribe_all(sessions[1])


def test_the_cached_targets_are_bounded() -> None:
    """Many topics that each reach many sessions: the cache starts again before it grows without end."""
    router = make_router()
    sessions = [Session(router.plane, str(i)) for i in range(2_000)]
    for session in sessions:
        router.subscribe(session, b"#", 0)
    for i in range(1_500):
        assert len(router.route_targets(b"%d" % i)) == 2_000
    assert router.cached_routes * 2_000 <= 1_048_576
    for session in sessions:
        router.unsubscribe_all(session)
