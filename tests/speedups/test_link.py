"""A link: every packet of the tables over one connection, however its bytes are cut, and how a connection ends."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from noctule._speedups.codec import Ack, Publish, encode_ack, encode_publish
from noctule._speedups.link import CLOSED, ENDING, NEW, OPEN, Link
from noctule._speedups.session import Session
from speedups.message_packets import (
    ALL,
    BELOW_5,
    RIGHT_ACKS,
    RIGHT_ALIAS,
    RIGHT_PUBLISH,
    V5,
    WRONG_ACKS,
    WRONG_LENGTHS,
    WRONG_PUBLISH,
    Right,
    Wrong,
    frame,
)
from speedups.recording import (
    CONNECT_PACKET,
    PINGREQ_PACKET,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    Peer,
    Recorder,
    make_router,
)

Cut = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def in_threes(data: bytes) -> list[bytes]:
    return [data[i : i + 3] for i in range(0, len(data), 3)]


every_cut = pytest.mark.parametrize("cut", [whole, byte_by_byte, in_threes], ids=lambda cut: cut.__name__)
every_version = pytest.mark.parametrize("version", ALL)


def rows(table: Sequence[Right] | Sequence[Wrong]) -> list[Any]:
    return [pytest.param(row, version, id=f"{row.name} ({version})") for row in table for version in row.versions]


def publisher_and_subscriber(version: int, topic: bytes) -> tuple[Peer, Peer]:
    """A connected publisher, and a subscriber of version 5 that gets its messages as they are."""
    router = make_router()
    subscriber = Peer(router, "subscriber", 5).connect().subscribe(topic, 2, options=2)
    return Peer(router, "publisher", version).connect(), subscriber


# --- right packets ---


def check_published(row: Right, version: int, publisher: Peer, subscriber: Peer) -> None:
    """What has come of a row and of the two packets that were sent behind it."""
    fields = row.fields
    assert isinstance(fields, Publish)
    ping = (0xD0, b"")
    if fields.qos == 2:
        assert publisher.received() == [Ack(PUBREC, fields.packet_id, 0, b""), ping, Ack(PUBACK, 999, 0, b"")]
        publisher.ack(PUBREL, fields.packet_id)
        assert publisher.received() == [Ack(PUBCOMP, fields.packet_id, 0, b"")]
    elif fields.qos == 1:
        expected = [Ack(PUBACK, fields.packet_id, 0, b""), ping, Ack(PUBACK, 999, 0, b"")]
        assert publisher.received() == expected
    else:
        assert publisher.received() == [ping, Ack(PUBACK, 999, 0, b"")]
    found = {publish.payload: publish for publish in subscriber.publishes()}
    assert len(found) == 2
    assert found[b"behind it"].topic == fields.topic
    got = found[fields.payload]
    assert (got.topic, got.qos, got.retain, got.dup) == (fields.topic, fields.qos, fields.retain, False)
    assert got.properties == fields.properties  # [MQTT-3.3.2-15] and the others: unaltered
    assert publisher.link.state == OPEN
    assert publisher.recorder.violations == []


@every_cut
@pytest.mark.parametrize(("row", "version"), rows(RIGHT_PUBLISH))
def test_a_right_publish_is_delivered(row: Right, version: int, cut: Cut) -> None:
    assert isinstance(row.fields, Publish)
    publisher, subscriber = publisher_and_subscriber(version, row.fields.topic)
    behind = PINGREQ_PACKET + encode_publish(row.fields.topic, b"behind it", version, 1, packet_id=999)
    for piece in cut(row.wire + behind):
        publisher.send(piece)
    check_published(row, version, publisher, subscriber)


@pytest.mark.parametrize(("row", "version"), rows(RIGHT_PUBLISH))
def test_a_right_publish_cut_in_two_anywhere_is_delivered(row: Right, version: int) -> None:
    assert isinstance(row.fields, Publish)
    behind = PINGREQ_PACKET + encode_publish(row.fields.topic, b"behind it", version, 1, packet_id=999)
    for at in range(1, len(row.wire + behind)):
        publisher, subscriber = publisher_and_subscriber(version, row.fields.topic)
        publisher.send((row.wire + behind)[:at]).send((row.wire + behind)[at:])
        check_published(row, version, publisher, subscriber)


@every_cut
@pytest.mark.parametrize(("row", "version"), rows(RIGHT_ACKS))
def test_a_right_acknowledgement_of_nothing_is_answered_as_it_must_be(row: Right, version: int, cut: Cut) -> None:
    """The peer may forget an unknown PUBREC and PUBREL; an unknown PUBACK and PUBCOMP are not worth an answer."""
    assert isinstance(row.fields, Ack)
    packet_type, packet_id, reason_code, _ = row.fields
    peer = Peer(make_router(), version=version).connect()
    for piece in cut(row.wire + PINGREQ_PACKET):
        peer.send(piece)
    expected: list[Ack | tuple[int, bytes]] = []
    not_found = 0x92 if version == 5 else 0
    if packet_type == PUBREC and reason_code < 0x80:
        expected.append(Ack(PUBREL, packet_id, not_found, b""))
    elif packet_type == PUBREL:
        expected.append(Ack(PUBCOMP, packet_id, not_found, b""))
    assert peer.received() == [*expected, (0xD0, b"")]
    assert (peer.link.state, peer.recorder.violations) == (OPEN, [])


# --- wrong packets ---

BEYOND_THE_CODEC = [
    Wrong("topic alias above the maximum of 0", V5, RIGHT_ALIAS[0].wire, 0x94, "MQTT-3.3.2-9"),
    Wrong("topic alias in place of the topic", V5, RIGHT_ALIAS[1].wire, 0x94, "MQTT-3.3.2-9"),
    Wrong("201 levels", BELOW_5, b"\x30\xca\x01\x00\xc8" + b"/" * 200, 0x90),
    Wrong("201 levels", V5, b"\x30\xcb\x01\x00\xc8" + b"/" * 200 + b"\x00", 0x90),
    *(
        # 3.1 has DUP on a SUBSCRIBE that is sent again.
        Wrong(f"type {first >> 4} with flags {first & 15}", ALL if first != 0x8A else (4, 5), bytes((first, 0)), 0x81)
        for first in (0x00, 0x01, 0x0F, 0x80, 0x83, 0x8A, 0xA0, 0xA3, 0xC1, 0xCF, 0xE1, 0xE2, 0x1F)
    ),
    Wrong("type 0 with a body", ALL, frame(0x00, b"abc"), 0x81),
    Wrong("PINGREQ with a body", ALL, frame(0xC0, b"\x00"), 0x81),
    Wrong("AUTH below version 5", BELOW_5, frame(0xF0), 0x81),
    Wrong("AUTH with flags", V5, frame(0xF1), 0x81, "MQTT-2.1.3-1"),
    Wrong("CONNACK from a client", ALL, frame(0x20, b"\x00\x00"), 0x82),
    Wrong("SUBACK from a client", ALL, frame(0x90, b"\x00\x01\x00"), 0x82),
    Wrong("UNSUBACK from a client", ALL, frame(0xB0, b"\x00\x01"), 0x82),
    Wrong("PINGRESP from a client", ALL, frame(0xD0), 0x82),
]


@every_cut
@pytest.mark.parametrize(("row", "version"), rows([*WRONG_PUBLISH, *WRONG_ACKS, *BEYOND_THE_CODEC]))
def test_a_wrong_packet_ends_the_link_and_nothing_behind_it_is_looked_at(row: Wrong, version: int, cut: Cut) -> None:
    """[MQTT-4.8.0-1] [MQTT-4.13.1-1]"""
    publisher, subscriber = publisher_and_subscriber(version, b"#")
    publisher.send(encode_publish(b"before", b"it", version))
    behind = encode_publish(b"behind", b"it", version, 1, packet_id=999) + PINGREQ_PACKET
    for piece in cut(row.wire + behind):
        publisher.send(piece)
    ((reason_code, text, rule),) = publisher.recorder.violations
    assert reason_code == row.reason_code, text
    assert rule == row.rule or not row.rule
    assert publisher.link.state == CLOSED
    assert publisher.recorder.closed_links == [publisher.link]
    assert publisher.recorder.causes == []
    assert publisher.recorder.packets == []
    assert publisher.link.pending_bytes == 0
    assert [found.topic for found in subscriber.publishes()] == [b"before"]
    assert not publisher.session.connected
    assert publisher.session.unreleased == 0
    assert len(publisher.router.retained) == 0


@every_version
@pytest.mark.parametrize("row", RIGHT_PUBLISH, ids=lambda row: row.name)
def test_every_prefix_of_a_publish_followed_by_the_end_delivers_nothing(row: Right, version: int) -> None:
    if version not in row.versions:
        version = row.versions[0]
    assert isinstance(row.fields, Publish)
    for size in range(1, len(row.wire)):
        publisher, subscriber = publisher_and_subscriber(version, row.fields.topic)
        publisher.send(row.wire[:size])
        publisher.lose()
        assert publisher.recorder.causes == ["broke"]
        assert publisher.recorder.closed_links == [publisher.link]
        assert subscriber.received() == []


@every_version
@pytest.mark.parametrize(("row", "row_version"), rows([*RIGHT_PUBLISH, *RIGHT_ACKS]))
def test_every_prefix_as_a_whole_packet_is_right_or_ends_the_link(row: Right, row_version: int, version: int) -> None:
    if version != row_version:
        return
    body = row.wire[2:]
    for size in range(len(body)):
        peer = Peer(make_router(), version=version).connect()
        peer.send(bytes((row.wire[0], size)), body[:size], PINGREQ_PACKET)
        is_right = size >= row.least_body or size in row.right_bodies
        assert (peer.link.state == OPEN) == is_right
        assert (peer.recorder.violations == []) == is_right
        assert ((0xD0, b"") in peer.received()) == is_right


@every_cut
@every_version
@pytest.mark.parametrize("wire", WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
def test_a_malformed_remaining_length_ends_the_link(wire: bytes, version: int, cut: Cut) -> None:
    """[MQTT-1.5.5-1]"""
    publisher, subscriber = publisher_and_subscriber(version, b"t")
    for piece in cut(encode_publish(b"t", b"before", version) + wire + PINGREQ_PACKET):
        publisher.send(piece)
    ((reason_code, _, rule),) = publisher.recorder.violations
    assert (reason_code, rule) == (0x81, "MQTT-1.5.5-1")
    assert publisher.link.state == CLOSED
    assert subscriber.payloads() == [b"before"]


# --- before CONNECT ---


@pytest.mark.parametrize("first", [first for first in range(256) if first != 0x10])
def test_the_first_byte_of_a_connection_is_that_of_connect(first: int) -> None:
    """[MQTT-3.1.0-1], and nothing is sent."""
    for packet in (bytes((first,)), bytes((first, 0)), bytes((first, 2, 0, 1)) + CONNECT_PACKET):
        recorder = Recorder()
        link = Link(make_router(), recorder, "peer:1")
        link.feed(packet)
        ((reason_code, _, rule),) = recorder.violations
        assert (reason_code, rule) == (0x82, "MQTT-3.1.0-1")
        assert (link.state, link.pending_bytes, recorder.connects) == (CLOSED, 0, [])


@pytest.mark.parametrize("row", [row for row in RIGHT_PUBLISH if 4 in row.versions], ids=lambda row: row.name)
def test_a_publish_before_connect_is_not_delivered(row: Right) -> None:
    router = make_router()
    subscriber = Peer(router).connect().subscribe(b"#")
    for cut in (whole, byte_by_byte):
        link = Link(router, Recorder(), "peer:1")
        for piece in cut(row.wire + CONNECT_PACKET + row.wire):
            link.feed(piece)
        assert link.state == CLOSED
    assert subscriber.received() == []
    assert len(router.retained) == 0


@every_cut
def test_connect_is_handed_out_as_it_came(cut: Cut) -> None:
    recorder = Recorder()
    link = Link(make_router(), recorder, "peer:1")
    assert link.state == NEW
    wire = b"\x10\x84\x01" + bytes(range(132))
    for piece in cut(wire):
        link.feed(piece)
    assert recorder.connects == [bytes(range(132))]


@pytest.mark.parametrize("head", [b"\x10\x64", b"\x10\xff\xff\xff\x7f"])
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_a_connect_that_is_too_large_is_refused_at_its_header(head: bytes, cut: Cut) -> None:
    """What a stranger announces is neither waited for nor kept."""
    recorder = Recorder()
    link = Link(make_router(connect_max_bytes=101), recorder, "peer:1")
    for piece in cut(head):
        link.feed(piece)
    assert [violation.reason_code for violation in recorder.violations] == [0x95]
    assert link.state == CLOSED


def test_a_connect_of_the_limit_is_taken() -> None:
    recorder = Recorder()
    Link(make_router(connect_max_bytes=101), recorder, "peer:1").feed(b"\x10\x63" + bytes(99))
    assert recorder.connects == [bytes(99)]


# --- packets for the handler ---


@every_cut
@pytest.mark.parametrize(
    ("first", "versions"), [(0x10, ALL), (0x82, ALL), (0xA2, ALL), (0xE0, ALL), (0xF0, V5)], ids=str
)
def test_control_packets_are_handed_out_in_their_place(first: int, versions: tuple[int, ...], cut: Cut) -> None:
    for version in versions:
        publisher, subscriber = publisher_and_subscriber(version, b"t")
        before: list[list[bytes]] = []
        publisher.recorder.on_packet = lambda link, s=subscriber, b=before: b.append(s.payloads())
        stream = encode_publish(b"t", b"1", version) + frame(first, b"body") + encode_publish(b"t", b"2", version)
        for piece in cut(stream + frame(first)):
            publisher.send(piece)
        assert publisher.recorder.packets == [(first, b"body"), (first, b"")]
        # What came before it has been delivered when the handler sees it, what comes behind has not.
        assert before == [[b"1"], [b"2"]]


# --- size ---


@every_version
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_a_publish_above_the_maximum_is_refused_at_its_header(version: int, cut: Cut) -> None:
    """[MQTT-3.2.2-15] is the client's side of it."""
    router = make_router(packet_max_bytes=200)
    peer = Peer(router, version=version).connect().subscribe(b"#")
    for piece in cut(b"\x30\xc6\x01"):  # 198 and its header of 3: 201
        peer.send(piece)
    ((reason_code, _, _),) = peer.recorder.violations
    assert reason_code == 0x95
    assert peer.link.state == CLOSED


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_a_publish_of_the_maximum_is_taken(cut: Cut) -> None:
    peer = Peer(make_router(packet_max_bytes=200), version=4).connect().subscribe(b"t")
    wire = encode_publish(b"t", bytes(194), 4)
    assert len(wire) == 200
    for piece in cut(wire):
        peer.send(piece)
    assert peer.payloads() == [bytes(194)]


@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70, 0xC0, 0xE0, 0xF0, 0x10, 0x20, 0x00])
def test_what_carries_no_payload_need_not_be_large(first: int) -> None:
    peer = Peer(make_router()).connect()
    peer.send(bytes((first,)) + b"\xff\xff\x7f")
    assert [violation.reason_code for violation in peer.recorder.violations] == [0x95]
    assert peer.link.state == CLOSED


def test_an_oversized_packet_in_one_piece_with_others_is_refused_in_its_turn() -> None:
    router = make_router(packet_max_bytes=200)
    subscriber = Peer(router, "s").connect().subscribe(b"t")
    peer = Peer(router, version=4).connect()
    peer.send(encode_publish(b"t", b"1", 4), encode_publish(b"t", bytes(300), 4), encode_publish(b"t", b"2", 4))
    assert [violation.reason_code for violation in peer.recorder.violations] == [0x95]
    assert subscriber.payloads() == [b"1"]


# --- pause and resume ---


@every_cut
@every_version
def test_nothing_is_looked_at_while_a_link_is_paused(version: int, cut: Cut) -> None:
    publisher, subscriber = publisher_and_subscriber(version, b"t")
    publisher.recorder.on_packet = Link.pause
    stream = b"".join(
        (
            encode_publish(b"t", b"1", version),
            frame(0x82, b"a"),
            encode_publish(b"t", b"2", version),
            frame(0xA2, b"b"),
            encode_publish(b"t", b"3", version, 1, packet_id=3),
            PINGREQ_PACKET,
        )
    )
    for piece in cut(stream):
        publisher.send(piece)
    assert publisher.link.is_paused
    assert subscriber.payloads() == [b"1"]
    assert publisher.recorder.packets == [(0x82, b"a")]
    publisher.link.resume()
    assert publisher.link.is_paused
    assert subscriber.payloads() == [b"2"]
    assert publisher.recorder.packets == [(0x82, b"a"), (0xA2, b"b")]
    publisher.link.resume()
    assert not publisher.link.is_paused
    assert subscriber.payloads() == [b"3"]
    assert publisher.received() == [Ack(PUBACK, 3, 0, b""), (0xD0, b"")]


@pytest.mark.parametrize("size", range(1, 12))
def test_a_packet_that_is_not_whole_yet_survives_a_pause(size: int) -> None:
    publisher, subscriber = publisher_and_subscriber(4, b"t")
    wire = encode_publish(b"t", b"payload", 4)
    assert len(wire) == 12
    publisher.recorder.on_packet = Link.pause
    publisher.send(frame(0x82, b"a"), wire[:size])
    publisher.link.resume()
    publisher.link.resume()  # nothing more to do
    publisher.send(wire[size:], PINGREQ_PACKET)
    assert subscriber.payloads() == [b"payload"]
    assert publisher.received() == [(0xD0, b"")]


@every_cut
def test_pausing_and_resuming_within_the_call_is_as_if_it_had_not_been(cut: Cut) -> None:
    """A decision that turns out to be there at once."""
    publisher, subscriber = publisher_and_subscriber(4, b"t")
    calls: list[int] = []

    def pause_and_resume(link: Link) -> None:
        calls.append(1)
        assert len(calls) < 10, "the packet is handled again and again"
        link.pause()
        link.resume()

    publisher.recorder.on_packet = pause_and_resume
    for piece in cut(frame(0x82, b"a") + encode_publish(b"t", b"1", 4) + encode_publish(b"t", b"2", 4)):
        publisher.send(piece)
    assert publisher.recorder.packets == [(0x82, b"a")]
    assert subscriber.payloads() == [b"1", b"2"]


def test_a_link_that_ends_while_it_is_paused_forgets_what_waits() -> None:
    publisher, subscriber = publisher_and_subscriber(4, b"t")
    publisher.recorder.on_packet = Link.pause
    publisher.send(frame(0x82, b"a"), encode_publish(b"t", b"1", 4))
    publisher.link.end()
    publisher.link.resume()
    publisher.send(encode_publish(b"t", b"2", 4))
    assert subscriber.received() == []
    assert publisher.link.state == ENDING


# --- the end of a link ---


def test_a_link_that_ends_sends_what_is_written_and_hears_nothing_more() -> None:
    publisher, subscriber = publisher_and_subscriber(5, b"t")
    publisher.send(PINGREQ_PACKET)
    publisher.link.end(b"\xe0\x01\x8b")
    assert publisher.link.state == ENDING
    assert publisher.link.session is None
    assert not publisher.session.connected
    publisher.send(encode_publish(b"t", b"late", 5), PINGREQ_PACKET, b"\xff\xff\xff\xff\xff")
    publisher.link.write(b"\xd0\x00")
    publisher.link.end(b"\xe0\x01\x80")
    assert publisher.received() == [(0xD0, b""), (0xE0, b"\x8b")]
    assert subscriber.received() == []
    publisher.lose()
    # Whoever ended it knows already.
    assert publisher.recorder.causes == []
    assert publisher.recorder.violations == []
    assert publisher.recorder.closed_links == [publisher.link]


def test_closed_is_the_last_call_and_comes_once() -> None:
    peer = Peer(make_router()).connect()
    peer.send(PINGREQ_PACKET)
    peer.link.close()
    peer.link.close()
    peer.link.lose("late")
    peer.link.end(b"\xe0\x00")
    peer.link.resume()
    peer.send(PINGREQ_PACKET)
    assert peer.link.state == CLOSED
    assert peer.link.take_output() == b""
    assert peer.recorder.closed_links == [peer.link]
    assert peer.recorder.causes == []


def test_a_lost_link_says_why_and_closes() -> None:
    for version in ALL:
        peer = Peer(make_router(), version=version).connect(keep_alive_s=10)
        peer.lose()
        assert peer.recorder.causes == ["broke"]
        assert peer.recorder.closed_links == [peer.link]
        assert not peer.session.connected
        assert len(peer.router.plane.deadlines) == 0


def test_a_handler_that_closes_stops_the_reading() -> None:
    for cut in (whole, byte_by_byte, in_threes):
        publisher, subscriber = publisher_and_subscriber(4, b"t")
        publisher.recorder.on_packet = Link.close
        for piece in cut(frame(0xE0) + encode_publish(b"t", b"late", 4) + frame(0x82, b"late")):
            publisher.send(piece)
        assert publisher.recorder.packets == [(0xE0, b"")]
        assert subscriber.received() == []


def test_a_handler_that_does_not_end_the_link_after_a_violation_changes_nothing() -> None:
    class Careless(Recorder):
        def violation(self, link: Link, reason_code: int, text: str, rule: str) -> None:
            self.violations.append((reason_code, text, rule))  # type: ignore[arg-type]

    recorder = Careless()
    link = Link(make_router(), recorder, "peer:1")
    link.feed(PINGREQ_PACKET + CONNECT_PACKET)
    assert link.state == CLOSED
    assert recorder.connects == []
    assert recorder.closed_links == [link]


def test_an_error_of_the_handlers_leaves_the_link_usable_for_its_end() -> None:
    def fail(link: Link) -> None:
        raise RuntimeError("a bug")

    for cut in (whole, byte_by_byte):
        peer = Peer(make_router()).connect()
        peer.recorder.on_packet = fail
        *before, last = cut(frame(0x82, b"a"))
        peer.send(*before)
        with pytest.raises(RuntimeError, match="a bug"):
            peer.send(last, PINGREQ_PACKET)
        peer.lose()
        assert peer.recorder.closed_links == [peer.link]
        assert peer.link.state == CLOSED


# --- bytes out ---


def test_the_plane_wakes_a_link_once_for_all_that_it_has_to_send() -> None:
    peer = Peer(make_router()).connect()
    wakes: list[int] = []
    peer.link.wake = lambda: wakes.append(peer.link.pending_bytes)
    peer.send(PINGREQ_PACKET, PINGREQ_PACKET).send(PINGREQ_PACKET)
    assert wakes == []
    peer.router.plane.flush()
    assert wakes == [6]
    peer.router.plane.flush()
    assert wakes == [6]
    assert peer.link.take_output() == b"\xd0\x00" * 3
    assert peer.link.pending_bytes == 0
    peer.link.close()
    assert wakes == [6, 0]  # whoever carries the bytes learns of the end
    assert peer.link.wake is None


def test_what_is_written_for_an_empty_packet_is_nothing() -> None:
    peer = Peer(make_router()).connect()
    peer.link.write(b"")
    assert peer.link.pending_bytes == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_fed_and_not_kept(kind: type) -> None:
    peer = Peer(make_router()).connect()
    buffer = bytearray(PINGREQ_PACKET + b"\xc0")
    peer.link.feed(kind(buffer))
    buffer[:] = b"\xff\xff\xff"
    buffer.clear()  # BufferError if it were referred to
    peer.link.feed(kind(b"\x00"))
    assert peer.received() == [(0xD0, b""), (0xD0, b"")]


def test_packets_and_bytes_are_counted() -> None:
    publisher, subscriber = publisher_and_subscriber(4, b"t")
    before = publisher.router.plane.counts
    stream = encode_publish(b"t", b"12345", 4) * 3 + encode_publish(b"t", b"678", 4, 1, packet_id=1) + PINGREQ_PACKET
    publisher.send(stream)
    sent = len(publisher.link.take_output()) + len(subscriber.link.take_output())
    counts = publisher.router.plane.counts
    assert counts["bytes_received"] - before["bytes_received"] == len(stream)
    assert counts["bytes_sent"] - before["bytes_sent"] == sent
    assert counts["publish_bytes_received"] == 18
    assert counts["publish_bytes_sent"] == 18
    received, sent_packets = counts["packets_received"], counts["packets_sent"]
    assert (received[1], received[3], received[12]) == (2, 4, 1)
    assert (sent_packets[3], sent_packets[4], sent_packets[13]) == (4, 1, 1)


# --- keep alive ---


@every_version
def test_silence_of_one_and_a_half_times_keep_alive_is_too_long(version: int) -> None:
    """[MQTT-3.1.2-22] of 5.0, [MQTT-3.1.2-24] of 3.1.1"""
    router = make_router()
    plane = router.plane
    peer = Peer(router, version=version).connect(keep_alive_s=10)
    assert plane.deadlines.next_deadline() == 1_015.0
    plane.begin_turn(1_010.0)
    peer.send(PINGREQ_PACKET)
    plane.begin_turn(1_014.0)
    peer.send(b"\xc0")  # half a packet is no packet
    plane.begin_turn(1_015.0)
    assert plane.deadlines.take_due(plane.now) == [peer.link]
    assert not peer.link.overdue(plane.now)
    assert plane.deadlines.next_deadline() == 1_025.0
    assert not peer.link.overdue(1_024.999)
    assert peer.link.overdue(1_025.0)


def test_no_keep_alive_no_deadline() -> None:
    router = make_router()
    link = Link(router, Recorder(), "peer:1")
    router.plane.deadlines.schedule(link, 1_010.0)  # for its CONNECT
    link.feed(CONNECT_PACKET)
    link.open(Session(router.plane, "c"), 5, 0)
    assert len(router.plane.deadlines) == 0
    assert not link.overdue(1e9)


def test_a_deadline_of_a_link_that_is_not_open_has_always_come() -> None:
    router = make_router()
    link = Link(router, Recorder(), "peer:1")
    assert link.overdue(0.0)
    link.end()
    assert link.overdue(0.0)
    link.close()
    assert not link.overdue(1e9)


@pytest.mark.parametrize(
    "packet",
    [
        PINGREQ_PACKET,
        encode_publish(b"t", b"", 5),
        encode_publish(b"t", b"", 5, 1, packet_id=1),
        encode_publish(b"t", b"", 5, 2, packet_id=1),
        *(encode_ack(packet_type, 7, 5) for packet_type in (PUBACK, PUBREC, PUBREL, PUBCOMP)),
        frame(0x82, b"x"),
        frame(0xA2, b"x"),
    ],
    ids=lambda packet: hex(packet[0]),
)
def test_every_packet_is_a_sign_of_life(packet: bytes) -> None:
    router = make_router()
    peer = Peer(router).connect(keep_alive_s=10)
    router.plane.begin_turn(1_014.0)
    peer.send(packet)
    assert not peer.link.overdue(1_028.9)
    assert peer.link.overdue(1_029.0)


# --- QoS 2 towards the broker: the quota ---


def test_more_unreleased_messages_than_the_receive_maximum() -> None:
    """[MQTT-3.3.4-7]: an over-run may be slowed down first, but not for long."""
    router = make_router(receive_maximum=3)
    peer = Peer(router).connect()
    for packet_id in (1, 2, 3, 1, 3):  # what is sent again is no further message
        peer.publish(b"t", b"", 2, packet_id)
    assert peer.session.unreleased == 3
    peer.ack(PUBREL, 2).publish(b"t", b"", 2, 4)
    assert peer.recorder.violations == []
    peer.publish(b"t", b"", 1, 9)  # acknowledged at once: it takes nothing from the quota
    assert peer.link.state == OPEN
    for packet_id in range(5, 12):
        peer.publish(b"t", b"", 2, packet_id)
    ((reason_code, _, rule),) = peer.recorder.violations
    assert (reason_code, rule) == (0x93, "MQTT-3.3.4-7")
    assert peer.session.unreleased <= 6


# --- memory ---


def test_a_link_goes_by_reference_count_alone() -> None:
    """Links do not cost the cyclic collector."""
    gc.collect()
    gc.disable()
    try:
        before = len([one for one in gc.get_objects() if isinstance(one, Link)])
        for _ in range(3):
            peer = Peer(make_router()).connect().subscribe(b"t")
            peer.publish(b"t", b"x", 1, 1)
            peer.received()
            peer.router.unsubscribe_all(peer.session)
            peer.lose()
        assert not gc.is_tracked(peer.link)
        assert not gc.is_tracked(peer.session)
        assert len([one for one in gc.get_objects() if isinstance(one, Link)]) == before
    finally:
        gc.enable()
