"""A session's QoS flows over links whose output stays in memory: windows, queues, packet identifiers, resuming."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from noctule._speedups.codec import Ack, Publish, decode_publish
from noctule._speedups.link import CLOSED, OPEN
from noctule._speedups.message import Message
from noctule._speedups.router import Router
from noctule._speedups.session import Session
from speedups.recording import PUBACK, PUBCOMP, PUBREC, PUBREL, Peer, make_router

every_version = pytest.mark.parametrize("version", [3, 4, 5])
both_qos = pytest.mark.parametrize("qos", [1, 2])


def publish(router: Router, *payloads: bytes, topic: bytes = b"t", qos: int = 1, properties: bytes = b"") -> None:
    for payload in payloads:
        router.publish_message(Message(topic, payload, qos, properties=properties, now=router.plane.now))


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % i for i in range(first, last + 1)]


# --- flows towards the peer ---


@every_version
def test_qos_1_is_over_with_its_puback(version: int) -> None:
    """[MQTT-4.3.2-1] to [MQTT-4.3.2-4]"""
    router = make_router()
    peer = Peer(router, version=version).connect().subscribe(b"t", 1)
    publish(router, b"x")
    assert peer.received() == [Publish(b"t", b"x", 1, False, False, 1, b"")]
    assert (peer.session.in_flight, peer.session.unacknowledged) == (1, 1)
    peer.ack(PUBACK, 1)
    assert (peer.session.in_flight, peer.session.unacknowledged) == (0, 0)
    assert peer.received() == []


@every_version
def test_qos_2_is_over_with_its_pubcomp(version: int) -> None:
    """[MQTT-4.3.3-1] to [MQTT-4.3.3-6]"""
    router = make_router()
    peer = Peer(router, version=version).connect().subscribe(b"t", 2)
    publish(router, b"x", qos=2)
    assert peer.received() == [Publish(b"t", b"x", 2, False, False, 1, b"")]
    peer.ack(PUBREC, 1)
    assert peer.received() == [Ack(PUBREL, 1, 0, b"")]
    assert peer.session.in_flight == 1
    peer.ack(PUBREC, 1)  # again: answered again, and nothing else
    assert peer.received() == [Ack(PUBREL, 1, 0, b"")]
    peer.ack(PUBCOMP, 1)
    assert (peer.session.in_flight, peer.session.unacknowledged) == (0, 0)
    peer.ack(PUBREC, 1)
    assert peer.received() == [Ack(PUBREL, 1, 0x92 if version == 5 else 0, b"")]


@pytest.mark.parametrize("reason_code", [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
def test_a_pubrec_with_an_error_ends_the_flow(reason_code: int) -> None:
    """[MQTT-4.3.3-4] [MQTT-4.4.0-2]: no PUBREL, and the identifier is free."""
    router = make_router()
    peer = Peer(router).connect(receive_maximum=1).subscribe(b"t", 2)
    publish(router, b"1", b"2", qos=2)
    assert [found.payload for found in peer.publishes()] == [b"1"]
    peer.ack(PUBREC, 1, reason_code)
    assert [found.payload for found in peer.publishes()] == [b"2"]
    peer.lose()
    assert [found.payload for found in peer.connect().publishes()] == [b"2"]


@pytest.mark.parametrize("reason_code", [0x10, 0x80, 0x97])
def test_a_puback_ends_the_flow_whatever_it_says(reason_code: int) -> None:
    """[MQTT-4.4.0-2]"""
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 1)
    publish(router, b"1")
    peer.ack(PUBACK, 1, reason_code)
    peer.received()
    peer.lose()
    assert peer.connect().received() == []


@both_qos
def test_a_pubrec_with_an_error_for_nothing_is_ignored(qos: int) -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", qos)
    peer.ack(PUBREC, 7, 0x80)
    assert peer.received() == []
    assert peer.link.state == OPEN


WRONG_KIND = [
    (1, [], PUBREC),
    (1, [], PUBCOMP),
    (2, [], PUBACK),
    (2, [], PUBCOMP),
    (2, [PUBREC], PUBACK),
]


@every_version
@pytest.mark.parametrize(("qos", "before", "packet_type"), WRONG_KIND)
def test_an_acknowledgement_of_the_wrong_kind_is_a_protocol_error(
    version: int, qos: int, before: list[int], packet_type: int
) -> None:
    router = make_router()
    peer = Peer(router, version=version).connect().subscribe(b"t", qos)
    publish(router, b"x", qos=qos)
    for one in before:
        peer.ack(one, 1)
    peer.ack(packet_type, 1)
    assert [violation.reason_code for violation in peer.recorder.violations] == [0x82]
    assert peer.link.state == CLOSED
    # The message is not lost by it.
    assert peer.session.unacknowledged == 1


@pytest.mark.parametrize("packet_type", [PUBACK, PUBREC, PUBCOMP, PUBREL])
def test_acknowledgements_of_nothing_leave_the_quota_alone(packet_type: int) -> None:
    """[MQTT-4.9.0-2] [MQTT-4.9.0-3], and Mosquitto's #3674: a thousand of them must not open the window."""
    router = make_router()
    peer = Peer(router).connect(receive_maximum=2).subscribe(b"t", 1)
    publish(router, *numbered(1, 5))
    assert peer.payloads() == numbered(1, 2)
    for packet_id in range(3, 1_000):
        peer.ack(packet_type, packet_id)
    assert not any(isinstance(found, Publish) for found in peer.received())
    assert (peer.session.in_flight, peer.session.queued) == (2, 3)
    peer.ack(PUBACK, 1)
    peer.ack(PUBACK, 1)  # the second is of nothing
    assert peer.payloads() == [b"3"]
    assert peer.session.in_flight == 2


# --- the window ---


@both_qos
@pytest.mark.parametrize(("receive_maximum", "inflight_max", "window"), [(3, 100, 3), (100, 3, 3), (1, 1, 1)])
def test_no_more_in_flight_than_both_sides_allow(
    qos: int, receive_maximum: int, inflight_max: int, window: int
) -> None:
    """[MQTT-3.3.4-9] [MQTT-4.9.0-1]"""
    router = make_router(inflight_max=inflight_max)
    peer = Peer(router).connect(receive_maximum=receive_maximum).subscribe(b"t", qos)
    publish(router, *numbered(1, 10), qos=qos)
    payloads: list[bytes] = []
    in_flight: set[int] = set()
    while found := peer.received():
        for one in found:
            assert isinstance(one, Publish | Ack)
            if isinstance(one, Ack):
                assert peer.session.in_flight >= len(in_flight)  # until PUBCOMP it counts
                in_flight.remove(one.packet_id)
                peer.ack(PUBCOMP, one.packet_id)
                continue
            payloads.append(one.payload)
            in_flight.add(one.packet_id)
            assert len(in_flight) <= window
        for one in found:
            if isinstance(one, Publish) and qos == 1:
                in_flight.remove(one.packet_id)
                peer.ack(PUBACK, one.packet_id)
            elif isinstance(one, Publish):
                peer.ack(PUBREC, one.packet_id)
    assert payloads == numbered(1, 10)
    assert (peer.session.in_flight, peer.session.queued, peer.session.queued_bytes) == (0, 0, 0)


def test_a_closed_window_holds_up_nothing_else() -> None:
    """[MQTT-3.3.4-10] [MQTT-4.9.0-3]"""
    router = make_router()
    peer = Peer(router).connect(receive_maximum=1).subscribe(b"t", 1).subscribe(b"q0", 0)
    publish(router, b"1", b"2")
    assert peer.payloads() == [b"1"]
    publish(router, b"no quota", topic=b"q0", qos=0)
    peer.publish(b"elsewhere", b"", 1, 5).publish(b"elsewhere", b"", 2, 6).send(b"\xc0\x00")
    found = peer.received()
    assert found[0] == Publish(b"q0", b"no quota", 0, False, False, 0, b"")
    assert found[1:] == [Ack(PUBACK, 5, 0x10, b""), Ack(PUBREC, 6, 0x10, b""), (0xD0, b"")]


def test_acknowledgements_in_one_piece_open_the_window_for_as_many() -> None:
    router = make_router()
    peer = Peer(router).connect(receive_maximum=3).subscribe(b"t", 1)
    publish(router, *numbered(1, 9))
    assert peer.payloads() == numbered(1, 3)
    peer.send(b"\x40\x02\x00\x01", b"\x40\x02\x00\x02", b"\x40\x02\x00\x03")
    assert peer.payloads() == numbered(4, 6)


# --- packet identifiers ---


def test_packet_identifiers_in_flight_are_not_given_again() -> None:
    """[MQTT-2.2.1-4] of 5.0, [MQTT-2.3.1-2] of 3.1.1: across the wrap at 65,535, around what stays in flight."""
    router = make_router(inflight_max=100)
    peer = Peer(router, version=4).connect().subscribe(b"t", 1)
    staying = {1, 2, 3, 40_000, 65_535}
    for _ in range(2 * 65_535 + 50):
        publish(router, b"x")
        (found,) = peer.take()
        packet_id = decode_publish(*found, 4).packet_id
        assert 1 <= packet_id <= 65_535
        if packet_id in staying:
            staying.remove(packet_id)
            continue
        peer.ack(PUBACK, packet_id)
        assert peer.session.unacknowledged == 5 - len(staying)
    assert staying == set()  # each was given once, and never again


def test_every_packet_identifier_in_flight_at_once() -> None:
    router = make_router(queue_max_messages=100_000)
    peer = Peer(router, version=4).connect().subscribe(b"t", 1)
    publish(router, *numbered(1, 65_540))
    found = peer.publishes()
    assert [one.packet_id for one in found] == list(range(1, 65_536))
    assert (peer.session.in_flight, peer.session.queued) == (65_535, 5)
    peer.ack(PUBACK, 777)
    (following,) = peer.publishes()
    assert (following.payload, following.packet_id) == (b"65536", 777)
    order = random.Random(3).sample(range(1, 65_536), 65_535)
    for packet_id in order:
        peer.ack(PUBACK, packet_id)
    assert [one.payload for one in peer.publishes()] == numbered(65_537, 65_540)
    assert peer.session.in_flight == 4


# --- resuming ---


@every_version
def test_what_is_unacknowledged_comes_again_in_its_order(version: int) -> None:
    """[MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1]: with DUP, its identifier and its QoS; what is new comes behind."""
    router = make_router()
    peer = Peer(router, version=version).connect().subscribe(b"t", 2)
    publish(router, b"1", b"2", b"3", qos=1)
    publish(router, b"4", b"5", b"6", qos=2)
    sent = peer.publishes()
    peer.ack(PUBACK, 2).ack(PUBREC, 5).received()
    peer.lose()
    publish(router, b"7", b"8")
    peer.connect()
    assert peer.received() == [
        sent[0]._replace(dup=True),
        sent[2]._replace(dup=True),
        sent[3]._replace(dup=True),
        Ack(PUBREL, 5, 0, b""),
        sent[5]._replace(dup=True),
        Publish(b"t", b"7", 1, False, False, 7, b""),
        Publish(b"t", b"8", 1, False, False, 8, b""),
    ]
    assert peer.session.in_flight == 7


def test_the_order_survives_the_wrap_of_packet_identifiers() -> None:
    router = make_router()
    peer = Peer(router, version=4).connect().subscribe(b"t", 1)
    for packet_id in range(1, 65_530):
        publish(router, b"x")
        peer.ack(PUBACK, packet_id)
    peer.link.take_output()
    publish(router, *numbered(1, 12))
    assert [found.packet_id for found in peer.publishes()] == [*range(65_530, 65_536), *range(1, 7)]
    peer.lose()
    again = peer.connect().publishes()
    assert [found.payload for found in again] == numbered(1, 12)
    assert all(found.dup for found in again)


def test_a_smaller_window_after_the_resume_is_kept_to() -> None:
    """[MQTT-3.3.4-9] for what is sent again too."""
    router = make_router()
    peer = Peer(router).connect(receive_maximum=5).subscribe(b"t", 1)
    publish(router, *numbered(1, 7))
    assert peer.payloads() == numbered(1, 5)
    peer.lose()
    peer.connect(receive_maximum=2)
    seen: list[Publish] = []
    while found := peer.publishes():
        seen += found
        assert peer.session.in_flight == len(found) <= 2
        for one in found:
            peer.ack(PUBACK, one.packet_id)
    assert [one.payload for one in seen] == numbered(1, 7)
    assert [one.dup for one in seen] == [True] * 5 + [False] * 2


def test_what_is_acknowledged_before_it_comes_again_does_not_come() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 1)
    publish(router, *numbered(1, 4))
    peer.publishes()
    peer.lose()
    peer.connect(receive_maximum=1)
    assert peer.payloads() == [b"1"]
    peer.ack(PUBACK, 3)  # from the peer's memory: it does not count against the window
    assert peer.session.in_flight == 1
    assert peer.received() == []
    peer.ack(PUBACK, 1)
    assert peer.payloads() == [b"2"]
    peer.ack(PUBACK, 2)
    assert peer.payloads() == [b"4"]


def test_resumed_twice() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 2)
    publish(router, *numbered(1, 3), qos=2)
    peer.publishes()
    for _ in range(3):
        peer.lose()
        again = peer.connect(receive_maximum=2).publishes()
        assert [(found.payload, found.packet_id, found.dup) for found in again] == [(b"1", 1, True), (b"2", 2, True)]
    assert peer.session.unacknowledged == 3


@pytest.mark.parametrize(("before", "after"), [(4, 5), (5, 4), (3, 5), (5, 3)])
def test_a_session_is_resumed_by_another_version(before: int, after: int) -> None:
    router = make_router()
    properties = b"\x26\x00\x01k\x00\x01v"
    peer = Peer(router, version=before).connect().subscribe(b"t", 1)
    publish(router, b"in flight", properties=properties)
    peer.publishes()
    peer.lose()
    publish(router, b"queued", properties=properties)
    found = peer.connect(version=after).publishes()
    assert [(one.payload, one.dup) for one in found] == [(b"in flight", True), (b"queued", False)]
    assert [one.properties for one in found] == [properties if after == 5 else b""] * 2


def test_a_session_has_one_connection() -> None:
    router = make_router()
    peer = Peer(router).connect()
    with pytest.raises(RuntimeError, match="connection"):
        peer.session.attach(peer.link, 1)


def test_a_state_that_is_discarded_is_gone() -> None:
    """[MQTT-3.1.2-4] of 5.0, [MQTT-3.1.2-6] of 3.1.1"""
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 2)
    publish(router, *numbered(1, 3), qos=2)
    peer.publish(b"x", b"", 2, 9)
    peer.received()
    peer.lose()
    publish(router, b"4")
    session = peer.session
    assert (session.unacknowledged, session.unreleased, session.queued) == (3, 1, 1)
    assert len(session.unreleased_ids()) == 1
    assert [packet_id for packet_id in range(1, 65_536) if session.is_in_flight(packet_id)] == [1, 2, 3]
    session.discard_state()
    assert (session.unacknowledged, session.unreleased, session.queued, session.queued_bytes) == (0, 0, 0, 0)
    assert session.unreleased_ids() == []
    assert not session.is_in_flight(1)
    assert peer.connect().received() == []


# --- offline ---


@every_version
def test_qos_1_and_2_wait_for_a_session_without_connection_and_qos_0_does_not(version: int) -> None:
    """[MQTT-3.1.2-5] of 3.1.1, [MQTT-4.5.0-1]"""
    router = make_router()
    peer = Peer(router, version=version).connect().subscribe(b"t", 2)
    peer.lose()
    for qos, payload in enumerate([b"none", b"one", b"two"]):
        publish(router, payload, qos=qos)
    assert router.plane.counts["dropped_offline"] == 1
    assert (peer.session.queued, peer.session.queued_bytes) == (2, 8)
    found = peer.connect().publishes()
    assert [(one.payload, one.qos, one.dup) for one in found] == [(b"one", 1, False), (b"two", 2, False)]
    assert (peer.session.queued, peer.session.queued_bytes) == (0, 0)


def test_the_queue_is_limited_in_messages() -> None:
    router = make_router(queue_max_messages=3)
    peer = Peer(router).connect().subscribe(b"t", 1)
    peer.lose()
    publish(router, *numbered(1, 5))
    assert (peer.session.queued, peer.session.dropped) == (3, 2)
    assert router.plane.counts["dropped_queue_full"] == 2
    assert peer.connect().payloads() == numbered(1, 3)
    publish(router, b"6")  # there is room again
    assert peer.payloads() == [b"6"]


def test_the_queue_is_limited_in_bytes() -> None:
    router = make_router(queue_max_bytes=100)
    peer = Peer(router).connect().subscribe(b"t", 1)
    peer.lose()
    publish(router, bytes(49), bytes(48), bytes(3))  # and a topic of one byte each
    assert (peer.session.queued, peer.session.queued_bytes, peer.session.dropped) == (2, 99, 1)
    publish(router, b"")
    assert (peer.session.queued, peer.session.queued_bytes) == (3, 100)
    publish(router, b"", properties=b"\x01\x00")
    assert peer.session.dropped == 2


def test_the_queue_of_a_connected_session_is_limited_as_well() -> None:
    router = make_router(queue_max_messages=2)
    peer = Peer(router).connect(receive_maximum=1).subscribe(b"t", 1)
    publish(router, *numbered(1, 9))
    assert (peer.session.in_flight, peer.session.queued, peer.session.dropped) == (1, 2, 6)


def test_one_full_queue_is_one_sessions_affair() -> None:
    router = make_router(queue_max_messages=2)
    offline = Peer(router, "offline").connect().subscribe(b"t", 1)
    offline.lose()
    online = Peer(router, "online").connect().subscribe(b"t", 1)
    publish(router, *numbered(1, 5))
    assert online.payloads() == numbered(1, 5)
    assert (offline.session.dropped, online.session.dropped) == (3, 0)


def test_a_long_queue_comes_in_order_and_in_pieces() -> None:
    router = make_router(queue_max_bytes=1 << 26)
    peer = Peer(router).connect().subscribe(b"t", 1)
    peer.lose()
    publish(router, *(b"%04d" % i + bytes(1_000) for i in range(5_000)))
    peer.connect()
    assert 0 < peer.link.pending_bytes < 600_000  # not all five megabytes at once
    assert [int(payload[:4]) for payload in peer.payloads()] == list(range(5_000))


# --- a slow reader ---


def test_qos_0_is_dropped_for_a_slow_reader_and_counted_and_qos_1_waits() -> None:
    router = make_router(write_max_bytes=1_000)
    slow = Peer(router, "slow").connect().subscribe(b"t", 1)
    fast = Peer(router, "fast").connect().subscribe(b"t", 1)
    for i in range(20):
        publish(router, b"%02d" % i + bytes(98), qos=0)
        publish(router, b"%02d" % i + bytes(98), qos=1)
        assert len(fast.publishes()) == 2
        for one in range(1, 21):
            fast.ack(PUBACK, one)
    dropped = router.plane.counts["dropped_slow_reader"]
    assert dropped > 0
    assert slow.link.pending_bytes <= 1_000 + 110
    found = slow.publishes()
    assert [one.payload[:2] for one in found if one.qos == 1] == [b"%02d" % i for i in range(20)]
    assert sum(one.qos == 0 for one in found) == 20 - dropped
    assert slow.session.dropped == 0  # the queue had room


def test_a_packet_above_the_write_limit_goes_to_a_reader_that_keeps_up() -> None:
    router = make_router(write_max_bytes=1_000)
    peer = Peer(router).connect().subscribe(b"t", 1)
    for qos in (0, 1):
        publish(router, bytes(5_000), qos=qos)
        assert peer.payloads() == [bytes(5_000)]
    assert router.plane.counts["dropped_slow_reader"] == 0


def test_a_run_of_qos_0_is_cut_where_the_reader_is_full() -> None:
    router = make_router(write_max_bytes=1_000)
    slow = Peer(router, "slow", 4).connect().subscribe(b"t")
    other = Peer(router, "other", 4).connect()
    wire = b"\x30\x67\x00\x01t" + bytes(100)
    other.send(wire * 30)
    assert len(slow.publishes()) == 1_000 // len(wire)
    assert router.plane.counts["dropped_slow_reader"] == 30 - 1_000 // len(wire)


# --- flows from the peer ---


@every_version
def test_qos_2_from_the_peer_is_delivered_once(version: int) -> None:
    """[MQTT-4.3.3-10] [MQTT-4.3.3-12]: at its PUBREL, however often PUBLISH and PUBREL are sent."""
    router = make_router()
    subscriber = Peer(router, "subscriber").connect().subscribe(b"t", 2)
    peer = Peer(router, version=version).connect()
    for dup in (False, True, True):
        peer.publish(b"t", b"x", 2, 7, dup=dup)
        assert peer.acks() == [Ack(PUBREC, 7, 0, b"")]
    assert subscriber.received() == []
    assert peer.session.unreleased == 1
    peer.ack(PUBREL, 7)
    assert peer.acks() == [Ack(PUBCOMP, 7, 0, b"")]
    assert subscriber.payloads() == [b"x"]
    peer.ack(PUBREL, 7)
    assert peer.acks() == [Ack(PUBCOMP, 7, 0x92 if version == 5 else 0, b"")]
    assert subscriber.received() == []
    peer.publish(b"t", b"y", 2, 7).ack(PUBREL, 7)  # the identifier is free for another message
    assert subscriber.payloads() == [b"y"]


def test_dup_without_a_first_time_is_a_message() -> None:
    """[MQTT-4.3.2-5]: after the PUBACK the same identifier is a new message, whatever DUP says."""
    router = make_router()
    subscriber = Peer(router, "subscriber").connect().subscribe(b"t", 2)
    peer = Peer(router).connect()
    for qos in (1, 1):
        peer.publish(b"t", b"x", qos, 7, dup=True)
    peer.publish(b"t", b"x", 2, 8, dup=True).ack(PUBREL, 8)
    assert subscriber.payloads() == [b"x", b"x", b"x"]


def test_an_unreleased_message_survives_the_connection() -> None:
    router = make_router()
    subscriber = Peer(router, "subscriber").connect().subscribe(b"t", 2)
    peer = Peer(router).connect().publish(b"t", b"x", 2, 7)
    peer.lose()
    peer.connect().publish(b"t", b"x", 2, 7, dup=True)
    assert peer.acks() == [Ack(PUBREC, 7, 0, b"")]
    assert subscriber.received() == []
    peer.ack(PUBREL, 7)
    assert subscriber.payloads() == [b"x"]
    assert peer.session.unreleased == 0


def test_both_directions_may_use_one_identifier() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 2)
    publish(router, b"down", qos=2)
    peer.received()
    peer.publish(b"elsewhere", b"up", 2, 1)
    assert peer.acks() == [Ack(PUBREC, 1, 0x10, b"")]
    peer.ack(PUBREL, 1)
    assert peer.acks() == [Ack(PUBCOMP, 1, 0, b"")]
    assert peer.session.unacknowledged == 1
    peer.ack(PUBREC, 1)
    assert peer.acks() == [Ack(PUBREL, 1, 0, b"")]


def test_messages_are_released_in_the_order_of_their_pubrels() -> None:
    router = make_router()
    subscriber = Peer(router, "subscriber").connect().subscribe(b"t", 2)
    peer = Peer(router).connect()
    for packet_id in (1, 2, 3):
        peer.publish(b"t", b"%d" % packet_id, 2, packet_id)
    for packet_id in (1, 2, 3):
        peer.ack(PUBREL, packet_id)
    assert subscriber.payloads() == [b"1", b"2", b"3"]


# --- limits of the peer ---


@both_qos
def test_what_is_too_large_for_the_peer_counts_as_delivered(qos: int) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    router = make_router()
    peer = Peer(router).connect(packet_max=50).subscribe(b"t", qos)
    publish(router, b"1", bytes(43), bytes(42), bytes(500), b"2", qos=qos)
    assert peer.payloads() == [b"1", bytes(42), b"2"]  # of which the second is exactly 50 bytes
    assert router.plane.counts["dropped_too_large"] == 2
    assert peer.session.in_flight == 3
    peer.lose()
    publish(router, bytes(500), b"3", qos=qos)
    peer.connect(packet_max=49)
    assert peer.payloads() == [b"1", b"2", b"3"]
    assert router.plane.counts["dropped_too_large"] == 4
    assert peer.session.in_flight == peer.session.unacknowledged == 3


def test_qos_0_that_is_too_large_is_left_out() -> None:
    router = make_router()
    peer = Peer(router, version=4).connect(packet_max=12).subscribe(b"t")
    other = Peer(router, "other", 4).connect()
    other.publish(b"t", bytes(7)).publish(b"t", bytes(8))
    other.send(b"\x30\x0a\x00\x01t" + bytes(7), b"\x30\x0b\x00\x01t" + bytes(8), b"\x30\x03\x00\x01t")
    assert peer.payloads() == [bytes(7), bytes(7), b""]
    assert router.plane.counts["dropped_too_large"] == 2


# --- expiry ---

EXPIRY_10_S = b"\x02\x00\x00\x00\x0a"


def test_a_message_expires_while_it_waits() -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]"""
    router = make_router()
    plane = router.plane
    peer = Peer(router).connect().subscribe(b"t", 1)
    peer.lose()
    publish(router, b"short", properties=EXPIRY_10_S)
    publish(router, b"for good")
    plane.begin_turn(1_004.0)
    publish(router, b"later", properties=EXPIRY_10_S)
    plane.begin_turn(1_010.0)
    found = peer.connect().publishes()
    assert [one.payload for one in found] == [b"for good", b"later"]
    assert found[1].properties == b"\x02\x00\x00\x00\x04"  # what is left of it
    assert plane.counts["dropped_expired"] == 1
    assert peer.session.queued_bytes == 0


def test_what_is_left_of_the_expiry_is_rounded_up() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 1)
    peer.lose()
    publish(router, b"x", properties=b"\x26\x00\x01k\x00\x01v" + EXPIRY_10_S)
    router.plane.begin_turn(1_009.5)
    (found,) = peer.connect().publishes()
    assert found.properties == b"\x26\x00\x01k\x00\x01v\x02\x00\x00\x00\x01"


def test_a_message_without_time_left_is_delivered_where_it_need_not_wait() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 1)
    for qos in (0, 1):
        publish(router, b"now", qos=qos, properties=b"\x02\x00\x00\x00\x00")
    assert [found.properties for found in peer.publishes()] == [b"\x02\x00\x00\x00\x00"] * 2


def test_expiry_does_not_break_a_flow_that_has_begun() -> None:
    """[MQTT-4.3.3-7] [MQTT-4.3.3-13]"""
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 2)
    publish(router, b"x", qos=2, properties=EXPIRY_10_S)
    peer.publishes()
    peer.publish(b"elsewhere", b"up", 2, 5, properties=EXPIRY_10_S)
    peer.acks()
    router.plane.begin_turn(5_000.0)
    peer.ack(PUBREC, 1).ack(PUBREL, 5)
    assert peer.acks() == [Ack(PUBREL, 1, 0, b""), Ack(PUBCOMP, 5, 0, b"")]
    peer.ack(PUBCOMP, 1)
    assert peer.session.unacknowledged == 0


# --- any sequence ---


class FlowMachine(RuleBasedStateMachine):
    """A peer that acknowledges, loses its connection and resumes in any order gets each message once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.router = make_router(inflight_max=4, queue_max_messages=1_000)
        self.peer = Peer(self.router).connect().subscribe(b"one", 1).subscribe(b"two", 2)
        self.connected = True
        self.published: dict[bytes, list[bytes]] = {b"one": [], b"two": []}
        self.arrived: dict[bytes, list[bytes]] = {b"one": [], b"two": []}
        self.open_1: dict[int, bytes] = {}  # PUBLISH of QoS 1 not acknowledged yet, on this connection
        self.open_2: dict[int, bytes] = {}  # PUBLISH of QoS 2 without PUBREC, on this connection
        self.to_complete: list[int] = []
        self.seen_2: set[int] = set()  # identifiers between PUBLISH and PUBREL, as a client keeps them

    def read(self) -> None:
        for found in self.peer.received():
            if isinstance(found, Publish):
                assert found.packet_id not in self.open_1
                assert found.packet_id not in self.open_2
                assert found.packet_id not in self.to_complete
                if found.qos == 1:
                    self.open_1[found.packet_id] = found.payload
                    if not (found.dup and found.payload in self.arrived[b"one"]):
                        self.arrived[b"one"].append(found.payload)
                else:
                    self.open_2[found.packet_id] = found.payload
                    if found.packet_id not in self.seen_2:
                        self.seen_2.add(found.packet_id)
                        self.arrived[b"two"].append(found.payload)
            else:
                assert isinstance(found, Ack)
                assert found[0] == PUBREL
                assert found.packet_id not in self.to_complete
                self.to_complete.append(found.packet_id)
                self.seen_2.discard(found.packet_id)

    @rule(topic=st.sampled_from([b"one", b"two"]))
    def publish(self, topic: bytes) -> None:
        payload = b"%d" % len(self.published[topic])
        self.published[topic].append(payload)
        publish(self.router, payload, topic=topic, qos=2 if topic == b"two" else 1)

    @precondition(lambda self: self.connected and self.open_1)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        packet_id = data.draw(st.sampled_from(sorted(self.open_1)))
        del self.open_1[packet_id]
        self.peer.ack(PUBACK, packet_id)

    @precondition(lambda self: self.connected and self.open_2)
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        packet_id = data.draw(st.sampled_from(sorted(self.open_2)))
        del self.open_2[packet_id]
        self.peer.ack(PUBREC, packet_id)

    @precondition(lambda self: self.connected and self.to_complete)
    @rule()
    def complete(self) -> None:
        self.peer.ack(PUBCOMP, self.to_complete.pop(0))

    @precondition(lambda self: self.connected)
    @rule()
    def lose(self) -> None:
        self.peer.lose()
        self.connected = False
        self.open_1.clear()
        self.open_2.clear()
        self.to_complete.clear()

    @precondition(lambda self: not self.connected)
    @rule(receive_maximum=st.integers(1, 5))
    def resume(self, receive_maximum: int) -> None:
        self.peer.connect(receive_maximum=receive_maximum)
        self.connected = True

    @invariant()
    def in_order_and_within_the_window(self) -> None:
        if self.connected:
            self.read()
            assert self.peer.session.in_flight == len(self.open_1) + len(self.open_2) + len(self.to_complete) <= 4
        for topic, payloads in self.arrived.items():
            assert payloads == self.published[topic][: len(payloads)]

    def teardown(self) -> None:
        if not self.connected:
            self.resume(5)
        while True:
            self.read()
            if self.open_1:
                packet_id, _ = self.open_1.popitem()
                self.peer.ack(PUBACK, packet_id)
            elif self.open_2:
                packet_id, _ = self.open_2.popitem()
                self.peer.ack(PUBREC, packet_id)
            elif self.to_complete:
                self.complete()
            else:
                break
        assert self.arrived == self.published
        session = self.peer.session
        assert (session.in_flight, session.unacknowledged, session.queued, session.queued_bytes) == (0, 0, 0, 0)


TestFlowMachine = FlowMachine.TestCase
TestFlowMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_a_session_that_was_never_connected_counts_nothing() -> None:
    router = make_router()
    session = Session(router.plane, "c")
    assert (session.client_id, session.connected, session.outlet) == ("c", False, None)
    assert (session.queued, session.in_flight, session.unacknowledged, session.unreleased) == (0, 0, 0, 0)
    session.detach()
    session.discard_state()
