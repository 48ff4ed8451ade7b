"""What a session may not do: publish at every QoS, and receive on every way that a message can take."""

import pytest
from noctule._speedups.link import OPEN
from noctule._speedups.message import Message
from noctule._speedups.router import Router
from noctule._speedups.session import RIGHT_PUBLISH, RIGHT_QOS, RIGHT_RETAIN
from speedups.recording import Peer, make_router

PUBACK, PUBREC, PUBREL, PUBCOMP = 4, 5, 6, 7
EVERYTHING = RIGHT_PUBLISH | RIGHT_RETAIN | 2 * RIGHT_QOS

versions = pytest.mark.parametrize("version", [3, 4, 5])


class Rules:
    """Rights by topic, which a test may change; what is not named is denied."""

    def __init__(self, publish: dict[bytes, int] | None = None, receive: set[bytes] | None = None) -> None:
        self.publish = publish or {}
        self.receive = receive or set()
        self.asked: list[bytes] = []

    def rule_of(self, action: object, topic: str) -> str:
        return "a test"

    def publish_rights(self, topic: bytes) -> int:
        self.asked.append(topic)
        return self.publish.get(topic, 0)

    def may_receive(self, topic: bytes) -> bool:
        return topic in self.receive


def publisher_with(rules: Rules, version: int = 5) -> tuple[Peer, Peer]:
    """A publisher with rights and a subscriber that receives whatever gets through."""
    router = make_router()
    subscriber = Peer(router, "subscriber").connect().subscribe(b"#", 2)
    publisher = Peer(router, "publisher", version)
    publisher.session.access = rules
    return publisher.connect(), subscriber


def reader_with(rules: Rules, router: Router | None = None) -> Peer:
    reader = Peer(router or make_router(), "reader")
    reader.session.access = rules
    return reader.connect().subscribe(b"#", 2)


# --- publish ---


@versions
def test_qos_0_that_is_not_allowed_goes_nowhere(version: int) -> None:
    publisher, subscriber = publisher_with(Rules({b"yes": EVERYTHING}), version)
    publisher.publish(b"no", b"1").publish(b"yes", b"2").publish(b"no", b"3")
    assert subscriber.payloads() == [b"2"]
    assert publisher.link.state == OPEN
    assert publisher.recorder.denied_topics == [b"no", b"no"]
    assert publisher.router.plane.counts["dropped_denied"] == 2


@versions
def test_qos_1_that_is_not_allowed_is_acknowledged_with_the_reason_where_there_is_one(version: int) -> None:
    """[MQTT-3.3.5-2]"""
    publisher, subscriber = publisher_with(Rules(), version)
    publisher.publish(b"no", b"1", 1, 7)
    assert [(ack.packet_type, ack.packet_id, ack.reason_code) for ack in publisher.acks()] == [
        (PUBACK, 7, 0x87 if version == 5 else 0)
    ]
    assert subscriber.publishes() == []


def test_qos_2_that_is_not_allowed_ends_with_pubrec() -> None:
    publisher, subscriber = publisher_with(Rules())
    publisher.publish(b"no", b"1", 2, 7)
    assert [(ack.packet_type, ack.reason_code) for ack in publisher.acks()] == [(PUBREC, 0x87)]
    assert publisher.session.unreleased == 0
    assert subscriber.publishes() == []


@pytest.mark.parametrize("version", [3, 4])
def test_below_version_5_the_qos_2_flow_runs_its_course_and_nothing_is_delivered(version: int) -> None:
    publisher, subscriber = publisher_with(Rules(), version)
    publisher.publish(b"no", b"1", 2, 7)
    assert [ack.packet_type for ack in publisher.acks()] == [PUBREC]
    publisher.ack(PUBREL, 7)
    assert [ack.packet_type for ack in publisher.acks()] == [PUBCOMP]
    assert publisher.session.unreleased == 0
    assert subscriber.publishes() == []


def test_a_right_that_is_gone_at_pubrel_counts() -> None:
    """The message was taken while it was allowed; it is delivered by what holds when it is released."""
    rules = Rules({b"t": EVERYTHING})
    publisher, subscriber = publisher_with(rules)
    publisher.publish(b"t", b"1", 2, 7).acks()
    rules.publish.clear()
    publisher.router.access_changed()
    publisher.ack(PUBREL, 7)
    assert [ack.packet_type for ack in publisher.acks()] == [PUBCOMP]
    assert subscriber.publishes() == []
    assert publisher.recorder.denied_topics == [b"t"]


@pytest.mark.parametrize(
    ("rights", "qos", "retain", "allowed"),
    [
        (RIGHT_PUBLISH, 0, False, True),
        (RIGHT_PUBLISH, 1, False, False),
        (RIGHT_PUBLISH | RIGHT_QOS, 1, False, True),
        (RIGHT_PUBLISH | RIGHT_QOS, 2, False, False),
        (RIGHT_PUBLISH | 2 * RIGHT_QOS, 2, False, True),
        (RIGHT_PUBLISH | 2 * RIGHT_QOS, 0, True, False),
        (RIGHT_PUBLISH | RIGHT_RETAIN, 0, True, True),
        (RIGHT_RETAIN | 2 * RIGHT_QOS, 0, False, False),
    ],
)
def test_rights_limit_qos_and_retain(rights: int, qos: int, retain: bool, allowed: bool) -> None:
    publisher, _ = publisher_with(Rules({b"t": rights}))
    publisher.publish(b"t", b"x", qos, 1 if qos else 0, retain=retain)
    assert (publisher.recorder.denied_topics == []) == allowed
    assert (publisher.router.retained.count == 1) == (allowed and retain)


def test_a_decision_is_asked_for_once_until_rights_change() -> None:
    rules = Rules({b"a": EVERYTHING, b"b": EVERYTHING})
    publisher, subscriber = publisher_with(rules)
    for _ in range(5):
        publisher.publish(b"a", b"x").publish(b"b", b"y")
    assert rules.asked == [b"a", b"b"]
    del rules.publish[b"a"]
    publisher.router.access_changed()
    publisher.publish(b"a", b"no").publish(b"b", b"yes")
    assert rules.asked == [b"a", b"b", b"a", b"b"]
    assert subscriber.payloads() == [b"x", b"y"] * 5 + [b"yes"]


def test_decisions_about_many_topics_are_remembered() -> None:
    rules = Rules({b"t/%d" % i: EVERYTHING if i % 2 else 0 for i in range(1_000)})
    publisher, subscriber = publisher_with(rules)
    for _ in range(3):
        for i in range(1_000):
            publisher.publish(b"t/%d" % i, b"%d" % i)
    assert len(rules.asked) < 2_000  # with their routes, of which a full bucket forgets one now and then
    assert subscriber.payloads() == [b"%d" % i for i in range(1, 1_000, 2)] * 3


def test_a_decision_outlives_a_route_that_others_make_old() -> None:
    rules = Rules({b"a": EVERYTHING, b"b": EVERYTHING})
    publisher, subscriber = publisher_with(rules)
    publisher.publish(b"a", b"1").publish(b"b", b"1")
    subscriber.subscribe(b"other/+", 0)
    publisher.publish(b"a", b"2").publish(b"b", b"2")
    assert rules.asked == [b"a", b"b"]
    assert subscriber.payloads() == [b"1", b"1", b"2", b"2"]


def test_what_one_may_nobody_else_may_for_that() -> None:
    """Two who publish to the same topics in turn, and one who comes under the same name with other rules."""
    router = make_router()
    subscriber = Peer(router, "subscriber").connect().subscribe(b"#", 2)
    peers = [Peer(router, name) for name in ("a", "b")]
    for peer in peers:
        peer.session.access = Rules({peer.session.client_id.encode(): EVERYTHING, b"both": EVERYTHING})
        peer.connect()
    for _ in range(3):
        for topic in (b"a", b"b", b"both"):
            for peer in peers:
                peer.publish(topic, peer.session.client_id.encode() + b" to " + topic)
    assert subscriber.payloads() == [b"a to a", b"b to b", b"a to both", b"b to both"] * 3
    again = Peer(router, "a")
    again.session.access = Rules()
    again.connect().publish(b"a", b"no").publish(b"both", b"no")
    assert subscriber.payloads() == []


def test_other_rules_of_a_session_hold_for_topics_it_has_published_to() -> None:
    publisher, subscriber = publisher_with(Rules({b"a": EVERYTHING, b"b": EVERYTHING}))
    publisher.publish(b"a", b"1").publish(b"b", b"1")
    publisher.session.access = Rules({b"b": EVERYTHING})
    publisher.publish(b"a", b"2").publish(b"b", b"2").publish(b"a", b"2")
    assert subscriber.payloads() == [b"1", b"1", b"2"]


# --- receive ---


def test_live_messages_are_checked_on_their_topic() -> None:
    router = make_router()
    reader = reader_with(Rules(receive={b"yes"}), router)
    publisher = Peer(router, "publisher").connect()
    for qos in (0, 1, 2):
        publisher.publish(b"yes", b"y%d" % qos, qos, qos).publish(b"no", b"n%d" % qos, qos, 10 + qos)
    publisher.ack(PUBREL, 2).ack(PUBREL, 12)
    assert reader.payloads() == [b"y0", b"y1", b"y2"]


def test_retained_messages_are_checked_on_their_topic() -> None:
    router = make_router()
    for topic in (b"yes", b"no"):
        router.publish_message(Message(topic, topic, 1, True))
    reader = reader_with(Rules(receive={b"yes"}), router)
    assert router.send_retained(reader.session, b"#", 1) == 1
    assert reader.payloads() == [b"yes"]


def test_what_was_queued_is_checked_again_when_it_is_sent() -> None:
    router = make_router()
    rules = Rules(receive={b"a", b"b"})
    reader = reader_with(rules, router)
    reader.lose()
    router.publish_message(Message(b"a", b"a", 1))
    router.publish_message(Message(b"b", b"b", 1))
    assert reader.session.queued == 2
    rules.receive.remove(b"a")
    router.access_changed()
    assert reader.connect().payloads() == [b"b"]
    assert router.plane.counts["dropped_denied"] == 1


def test_what_was_in_flight_is_not_sent_again_once_it_is_denied() -> None:
    router = make_router()
    rules = Rules(receive={b"a", b"b"})
    reader = reader_with(rules, router)
    router.publish_message(Message(b"a", b"a", 1))
    router.publish_message(Message(b"b", b"b", 2))
    assert reader.payloads() == [b"a", b"b"]
    reader.lose()
    rules.receive.remove(b"a")
    router.access_changed()
    (again,) = reader.connect().publishes()
    assert (again.payload, again.dup) == (b"b", True)
    assert reader.session.unacknowledged == 1


def test_a_share_group_leaves_out_who_may_not_receive() -> None:
    router = make_router()
    allowed = Peer(router, "allowed").connect()
    denied = Peer(router, "denied")
    denied.session.access = Rules()
    denied.connect()
    for member in (allowed, denied):
        router.subscribe(member.session, b"t", 1, share_name=b"g")
    for i in range(4):
        router.publish_message(Message(b"t", b"%d" % i, 1))
    assert allowed.payloads() == [b"0", b"1", b"2", b"3"]
    assert denied.publishes() == []


def test_routes_follow_a_change_of_rights() -> None:
    router = make_router()
    rules = Rules(receive={b"t"})
    reader = reader_with(rules, router)
    publisher = Peer(router, "publisher").connect()
    publisher.publish(b"t", b"1")
    rules.receive.clear()
    router.access_changed()
    publisher.publish(b"t", b"2")
    rules.receive.add(b"t")
    router.access_changed()
    publisher.publish(b"t", b"3")
    assert reader.payloads() == [b"1", b"3"]
