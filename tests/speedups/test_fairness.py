"""One client cannot have the others wait for its packets, nor hold more than its share of memory."""

from noctule._speedups.codec import encode_publish
from noctule._speedups.message import Message
from speedups.recording import Peer, make_router

PUBACK, PUBREC, PUBREL, PUBCOMP = 4, 5, 6, 7
SUBSCRIBE = b"\x82\x01a"


def test_control_packets_are_handled_in_goes_of_32_and_in_their_order() -> None:
    router = make_router()
    watcher = Peer(router, "watcher").connect().subscribe(b"#", 0)
    peer = Peer(router).connect()
    pieces = [b"\x82\x01" + bytes([i]) for i in range(70)]
    peer.send(*pieces[:50], encode_publish(b"t", b"between", 5), *pieces[50:])
    handled = [body for _, body in peer.recorder.packets]
    assert handled == [piece[2:] for piece in pieces[:32]]
    assert peer.link.has_more
    assert watcher.publishes() == []
    peer.send(b"\xc0\x00")  # what comes meanwhile goes behind it
    assert len(peer.recorder.packets) == 32
    peer.link.go_on()
    assert len(peer.recorder.packets) == 64
    assert watcher.payloads() == [b"between"]
    peer.link.go_on()
    assert [body for _, body in peer.recorder.packets] == [piece[2:] for piece in pieces]
    assert not peer.link.has_more
    assert peer.received()[-1] == (0xD0, b"")


def test_a_packet_in_pieces_behind_a_full_go_waits_too() -> None:
    peer = Peer(make_router()).connect()
    peer.send(SUBSCRIBE * 40 + SUBSCRIBE[:2])
    assert len(peer.recorder.packets) == 32
    peer.send(SUBSCRIBE[2:])
    peer.link.go_on()
    assert len(peer.recorder.packets) == 41
    assert not peer.link.has_more


def test_a_link_that_ends_in_the_middle_of_a_go_handles_nothing_more() -> None:
    peer = Peer(make_router()).connect()
    peer.send(SUBSCRIBE * 40)
    peer.link.close()
    peer.link.go_on()
    assert len(peer.recorder.packets) == 32


def test_what_is_in_flight_is_bounded_in_bytes() -> None:
    """A subscriber that reads and never acknowledges."""
    router = make_router(queue_max_bytes=10_000)
    peer = Peer(router).connect().subscribe(b"t", 1)
    for i in range(40):
        router.publish_message(Message(b"t", b"%03d" % i + bytes(997), 1))
    first = peer.publishes()
    assert len(first) == 10
    assert peer.session.sent_bytes == sum(1 + len(found.payload) for found in first) <= 11_000
    assert peer.session.queued_bytes <= 10_000
    arrived = len(first)
    while first:
        for found in first:
            peer.ack(PUBACK, found.packet_id)
        first = peer.publishes()
        arrived += len(first)
    assert arrived == 40 - peer.session.dropped
    assert peer.session.sent_bytes == 0


def test_bytes_in_flight_follow_the_flow_of_qos_2_and_the_end_of_the_session() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"t", 2)
    for _ in range(3):
        router.publish_message(Message(b"t", bytes(99), 2))
    ids = [found.packet_id for found in peer.publishes()]
    assert peer.session.sent_bytes == 300
    peer.ack(PUBREC, ids[0])
    assert peer.session.sent_bytes == 200
    peer.ack(PUBREC, ids[1], 0x80)
    assert peer.session.sent_bytes == 100
    peer.ack(PUBCOMP, ids[0])
    assert peer.session.sent_bytes == 100
    router.end_session(peer.session)
    assert peer.session.sent_bytes == 0


def test_what_is_not_released_is_slowed_down_and_then_refused_by_its_bytes() -> None:
    router = make_router(queue_max_bytes=10_000)
    peer = Peer(router).connect()
    for packet_id in range(1, 16):
        peer.publish(b"t", bytes(999), 2, packet_id)
    assert [ack.packet_id for ack in peer.acks()] == list(range(1, 11))
    assert peer.session.received_bytes == 15_000
    for packet_id in range(1, 7):
        peer.ack(PUBREL, packet_id)
    assert [ack.packet_id for ack in peer.acks() if ack.packet_type == PUBREC] == [11, 12, 13, 14, 15]
    for packet_id in range(20, 40):
        peer.publish(b"t", bytes(999), 2, packet_id)
    assert [violation.reason_code for violation in peer.recorder.violations] == [0x97]


def test_asking_again_for_retained_messages_that_all_wait_costs_nothing() -> None:
    router = make_router(queue_max_messages=10)
    for i in range(100):
        router.publish_message(Message(b"t/%d" % i, b"x", 1, True))
    peer = Peer(router).connect(receive_maximum=1)
    sent = [router.send_retained(peer.session, b"#", 1) for _ in range(5)]
    assert sent[0] == 100
    assert sent[2:] == [0, 0, 0]


def test_the_levels_of_a_sessions_filters_are_counted() -> None:
    router = make_router()
    peer = Peer(router).connect().subscribe(b"a/b/c").subscribe(b"#").subscribe(b"a/b/c", 1)
    assert peer.session.level_count == 4
    router.subscribe(peer.session, b"x/y", 0, share_name=b"g")
    assert peer.session.level_count == 7  # the group is a level of its own
    router.unsubscribe_all(peer.session)
    assert peer.session.level_count == 0
