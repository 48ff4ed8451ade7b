"""What is counted without counters: sums over sessions and links, what a link has carried, a part of the retained."""

import pytest
from noctule._speedups.census import count_pending, count_sessions
from noctule._speedups.message import Message
from noctule._speedups.topics import TopicTree
from speedups.recording import CONNECT_PACKET, PINGREQ_PACKET, Peer, make_router


def test_sums_over_sessions() -> None:
    router = make_router()
    reader = Peer(router, "reader").connect().subscribe(b"a", 1)
    away = Peer(router, "away").connect().subscribe(b"a", 1)
    away.lose()
    writer = Peer(router, "writer").connect()
    writer.publish(b"a", b"12345", 1, 1).publish(b"h", b"123", 2, 2)
    sessions = [reader.session, away.session, writer.session]
    size = 1 + 5  # topic and payload
    connected, queued, queued_bytes, in_flight, in_flight_bytes, held, held_bytes, dropped = count_sessions(
        sessions, 0, 9
    )
    assert (connected, queued, in_flight, held, dropped) == (2, 1, 1, 1, 0)
    assert (queued_bytes, in_flight_bytes, held_bytes) == (
        away.session.queued_bytes,
        reader.session.sent_bytes,
        writer.session.received_bytes,
    )
    assert queued_bytes >= size
    # Slices add up, and an empty one is nothing.
    parts = [count_sessions(sessions, start, start + 1) for start in range(3)]
    assert tuple(map(sum, zip(*parts, strict=True))) == count_sessions(sessions, 0, 3)
    assert count_sessions(sessions, 3, 9) == (0,) * 8
    with pytest.raises(TypeError):
        count_sessions([object()], 0, 1)  # type: ignore[list-item]


def test_bytes_that_wait_to_be_sent() -> None:
    router = make_router()
    reader = Peer(router, "reader").connect().subscribe(b"a")
    Peer(router, "writer").connect().publish(b"a", b"x" * 100)
    links = [reader.link]
    assert count_pending(links, 0, 1) == reader.link.pending_bytes > 100
    assert len(reader.payloads()) == 1
    assert count_pending(links, 0, 1) == 0


def test_what_a_link_has_carried() -> None:
    router = make_router()
    reader = Peer(router, "reader", 5).connect().subscribe(b"#")
    old = Peer(router, "old", 4).connect().subscribe(b"#")
    writer = Peer(router, "writer", 4).connect()
    before = writer.link.received
    assert before == len(CONNECT_PACKET)
    for _ in range(3):
        writer.publish(b"a", b"1").publish(b"b", b"2")
    writer.publish(b"c", b"3", 1, 1)
    writer.send(PINGREQ_PACKET)
    assert writer.link.publishes_received == 7
    assert writer.link.received > before + 7 * 5
    assert reader.link.publishes_sent == old.link.publishes_sent == 7
    assert writer.link.publishes_sent == 0
    assert router.plane.counts["sockets_opened"] == 6, "each Peer has made two"


def test_a_part_of_the_retained_messages() -> None:
    tree = TopicTree()
    for number in range(10):
        tree.store(Message(b"a/%d" % number, b"x"))
    every = [message.topic for message in tree.walk(b"a/#")]
    assert len(every) == 10
    for limit in range(12):
        assert [message.topic for message in tree.walk(b"a/#", limit)] == every[:limit]
    assert len(tree.walk(b"a/#", -1)) == 10
