"""PUBLISH, its acknowledgements and frames: every row of the tables of bytes, cut, merged, and made again."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule._speedups.buffers import PacketError, encode_varint
from noctule._speedups.codec import (
    Ack,
    FrameScanner,
    Publish,
    decode_ack,
    decode_publish,
    encode_ack,
    encode_publish,
)
from noctule._speedups.utf8 import utf8_fault
from speedups.message_packets import (
    EVERY_PROPERTY,
    RIGHT_ACKS,
    RIGHT_ALIAS,
    RIGHT_FROM_SERVER,
    RIGHT_PUBLISH,
    WRONG_ACKS,
    WRONG_FROM_SERVER,
    WRONG_LENGTHS,
    WRONG_PUBLISH,
    Right,
    Wrong,
)

RIGHT = [*RIGHT_PUBLISH, *RIGHT_ALIAS, *RIGHT_ACKS]
WRONG = [*WRONG_PUBLISH, *WRONG_ACKS]


def rows(table: Sequence[Right] | Sequence[Wrong]) -> list[Any]:
    return [pytest.param(row, version, id=f"{row.name} ({version})") for row in table for version in row.versions]


def decode(first: int, body: bytes, version: int, *, from_server: bool = False) -> Publish | Ack:
    if first >> 4 == 3:
        return decode_publish(first, body, version, from_server)
    return decode_ack(first, body, version)


def decode_or_fault(first: int, body: bytes, version: int) -> Publish | Ack | PacketError:
    """The packet, or what is wrong with it; nothing else may come out."""
    try:
        return decode(first, body, version, from_server=False)
    except PacketError as error:
        return error


def take_apart(wire: bytes) -> tuple[int, bytes]:
    ((first, body),) = FrameScanner().feed(wire)
    return first, body


# --- right packets ---


@pytest.mark.parametrize(("row", "version"), rows(RIGHT))
def test_a_right_packet_is_read(row: Right, version: int) -> None:
    assert decode(*take_apart(row.wire), version) == row.fields


@pytest.mark.parametrize(("row", "version"), rows(RIGHT_FROM_SERVER))
def test_what_only_a_server_sends_is_read(row: Right, version: int) -> None:
    assert decode(*take_apart(row.wire), version, from_server=True) == row.fields


@pytest.mark.parametrize(("row", "version"), rows([*RIGHT, *RIGHT_FROM_SERVER]))
def test_and_written_again(row: Right, version: int) -> None:
    if isinstance(row.fields, Publish):
        topic, payload, qos, retain, dup, packet_id, properties = row.fields
        wire = encode_publish(topic, payload, version, qos, retain, dup, packet_id, properties)
    else:
        wire = encode_ack(row.fields.packet_type, row.fields.packet_id, version, row.fields.reason_code)
    if row.is_canonical:
        assert wire == row.wire
    else:
        assert len(wire) < len(row.wire)
        assert decode(*take_apart(wire), version)[:3] == row.fields[:3]


@pytest.mark.parametrize(("row", "version"), rows(RIGHT))
def test_every_prefix_as_a_packet_of_its_own(row: Right, version: int) -> None:
    """What is cut before its payload is refused; of an acknowledgement only its shorter forms are right."""
    first, body = take_apart(row.wire)
    for size in range(len(body)):
        packet = decode_or_fault(first, body[:size], version)
        is_right = size >= row.least_body or size in row.right_bodies
        assert isinstance(packet, PacketError) != is_right
        if isinstance(packet, PacketError):
            assert packet.reason_code in (0x81, 0x82, 0x90)
        elif isinstance(packet, Publish):
            assert isinstance(row.fields, Publish)
            assert packet == row.fields._replace(payload=body[row.least_body : size])


@pytest.mark.parametrize(("row", "version"), rows(RIGHT))
def test_any_byte_changed_gives_a_packet_or_a_packet_error(row: Right, version: int) -> None:
    first, body = take_apart(row.wire)
    for at in range(len(body)):
        for value in (0x00, 0x01, 0x23, 0x2B, 0x7F, 0x80, 0xFF):
            packet = decode_or_fault(first, body[:at] + bytes((value,)) + body[at + 1 :], version)
            assert not isinstance(packet, PacketError) or 0x80 <= packet.reason_code <= 0xA2


# --- wrong packets ---


@pytest.mark.parametrize(("row", "version"), rows(WRONG))
def test_a_wrong_packet_is_refused(row: Wrong, version: int) -> None:
    first, body = take_apart(row.wire)
    with pytest.raises(PacketError) as caught:
        decode(first, body, version)
    assert caught.value.reason_code == row.reason_code, str(caught.value)
    assert str(caught.value)
    if row.rule:
        assert caught.value.rule == row.rule


@pytest.mark.parametrize(("row", "version"), rows(WRONG_FROM_SERVER))
def test_a_wrong_packet_of_a_servers_is_refused(row: Wrong, version: int) -> None:
    with pytest.raises(PacketError) as caught:
        decode(*take_apart(row.wire), version, from_server=True)
    assert caught.value.reason_code == row.reason_code


@given(first=st.integers(0x30, 0x7F), body=st.binary(max_size=60), version=st.sampled_from([3, 4, 5]))
def test_any_bytes_give_a_packet_or_a_packet_error(first: int, body: bytes, version: int) -> None:
    packet = decode_or_fault(first, body, version)
    if isinstance(packet, PacketError):
        assert 0x80 <= packet.reason_code <= 0xA2
    elif isinstance(packet, Publish):
        topic, payload, *rest = packet
        again = encode_publish(topic, payload, version, *rest)
        assert take_apart(again) == (first, body)


@given(block=st.binary(max_size=40))
def test_any_property_block_gives_a_packet_or_a_packet_error(block: bytes) -> None:
    body = b"\x00\x01t" + encode_varint(len(block)) + block + b"payload"
    packet = decode_or_fault(0x30, body, 5)
    if isinstance(packet, PacketError):
        assert packet.reason_code in (0x81, 0x82, 0x94)
    else:
        assert isinstance(packet, Publish)
        assert (packet.properties, packet.payload) == (block, b"payload")


# --- round trips ---

topics = (
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="#+"), min_size=1, max_size=30)
    .map(str.encode)
    .filter(lambda topic: utf8_fault(topic) is None)
)
blocks = st.lists(
    st.sampled_from([b"\x26\x00\x01k\x00\x01v", b"\x26\x00\x00\x00\x02ab", b"\x26\x00\x03abc\x00\x00"]), max_size=40
).map(b"".join)


@given(
    topic=topics,
    payload=st.binary(max_size=300),
    version=st.sampled_from([3, 4, 5]),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    dup=st.booleans(),
    packet_id=st.integers(1, 65_535),
    properties=blocks | blocks.map(EVERY_PROPERTY.__add__),
)
def test_publish_round_trip(
    topic: bytes, payload: bytes, version: int, qos: int, retain: bool, dup: bool, packet_id: int, properties: bytes
) -> None:
    dup = dup and qos > 0
    wire = encode_publish(topic, payload, version, qos, retain, dup, packet_id, properties)
    expected = Publish(topic, payload, qos, retain, dup, packet_id if qos else 0, properties if version == 5 else b"")
    assert decode_publish(*take_apart(wire), version) == expected


@pytest.mark.parametrize("size", [0, 119, 120, 121, 16_375, 16_376, 16_377, 2_097_143, 2_097_144, 2_097_145])
@pytest.mark.parametrize("version", [4, 5])
def test_publish_round_trip_at_the_bounds_of_the_remaining_length(size: int, version: int) -> None:
    payload = bytes(size)
    wire = encode_publish(b"a/b", payload, version, 1, packet_id=1)
    first, body = take_apart(wire)
    assert wire == bytes((first,)) + encode_varint(len(body)) + body
    assert decode_publish(first, body, version).payload == payload


@pytest.mark.parametrize("size", [127, 128, 16_383, 16_384])
def test_publish_round_trip_at_the_bounds_of_the_property_length(size: int) -> None:
    block = b"\x09" + (size - 3).to_bytes(2, "big") + bytes(size - 3)
    assert decode_publish(*take_apart(encode_publish(b"t", b"p", 5, properties=block)), 5).properties == block


def test_the_longest_topic() -> None:
    topic = b"x" * 65_535
    assert decode_publish(*take_apart(encode_publish(topic, b"", 4)), 4).topic == topic


@given(
    packet_type=st.integers(4, 7),
    packet_id=st.integers(1, 65_535),
    version=st.sampled_from([3, 4, 5]),
    fails=st.booleans(),
)
def test_ack_round_trip(packet_type: int, packet_id: int, version: int, fails: bool) -> None:
    reason_code = (0x80 if packet_type < 6 else 0x92) if fails else 0
    wire = encode_ack(packet_type, packet_id, version, reason_code)
    assert len(wire) == (5 if fails and version == 5 else 4)
    expected = Ack(packet_type, packet_id, reason_code if version == 5 else 0, b"")
    assert decode_ack(*take_apart(wire), version) == expected


# --- our own faults ---


@pytest.mark.parametrize(
    ("qos", "packet_id", "topic", "text"),
    [
        (3, 1, b"t", "QoS"),
        (-1, 1, b"t", "QoS"),
        (1, 0, b"t", "packet identifier"),
        (2, 65_536, b"t", "packet identifier"),
        (1, -1, b"t", "packet identifier"),
        (0, 0, b"x" * 65_536, "topic name"),
    ],
)
def test_fields_that_make_no_publish_are_our_fault(qos: int, packet_id: int, topic: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        encode_publish(topic, b"", 5, qos, packet_id=packet_id)


@pytest.mark.parametrize(
    ("packet_type", "packet_id", "reason_code"),
    [(3, 1, 0), (8, 1, 0), (4, 0, 0), (4, 65_536, 0), (4, 1, 256), (4, 1, -1)],
)
def test_fields_that_make_no_acknowledgement_are_our_fault(packet_type: int, packet_id: int, reason_code: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        encode_ack(packet_type, packet_id, 5, reason_code)


# --- frames ---

EVERY_WIRE = b"".join(row.wire for row in RIGHT)
EVERY_FRAME = [take_apart(row.wire) for row in RIGHT]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(EVERY_WIRE)])
def test_the_same_packets_however_the_stream_is_cut(size: int) -> None:
    scanner = FrameScanner()
    assert [packet for piece in pieces(EVERY_WIRE, size) for packet in scanner.feed(piece)] == EVERY_FRAME
    assert scanner.held == 0


@pytest.mark.parametrize("row", RIGHT, ids=lambda row: row.name)
def test_a_packet_comes_out_with_its_last_byte(row: Right) -> None:
    following = b"\xc0\x00"
    for cut in range(len(row.wire)):
        scanner = FrameScanner()
        assert scanner.feed(row.wire[:cut]) == []
        assert scanner.held == cut
        assert scanner.feed(row.wire[cut:] + following) == [take_apart(row.wire), (0xC0, b"")]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_scanned(kind: type) -> None:
    assert FrameScanner().feed(kind(b"\xc0\x00")) == [(0xC0, b"")]
    assert FrameScanner().feed(kind(b"")) == []


@pytest.mark.parametrize("wire", WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
def test_a_malformed_remaining_length_is_refused(wire: bytes) -> None:
    with pytest.raises(PacketError) as caught:
        FrameScanner().feed(wire)
    assert (caught.value.reason_code, caught.value.rule) == (0x81, "MQTT-1.5.5-1")
    scanner = FrameScanner()
    refused = False
    for byte in wire:
        try:
            assert scanner.feed(bytes((byte,))) == []
        except PacketError:
            refused = True
            break
    assert refused


def test_the_largest_remaining_length_is_waited_for() -> None:
    scanner = FrameScanner()
    assert scanner.feed(b"\x30\xff\xff\xff\x7f" + bytes(100)) == []
    assert scanner.held == 105


@pytest.mark.parametrize("head", [b"\x30\x63", b"\x30\xff\xff\xff\x7f"])
def test_a_packet_above_the_maximum_is_refused_at_its_header(head: bytes) -> None:
    """[MQTT-3.1.2-24]"""
    with pytest.raises(PacketError) as caught:
        FrameScanner(100).feed(head)
    assert caught.value.reason_code == 0x95


def test_a_packet_of_the_maximum_is_taken() -> None:
    assert len(FrameScanner(100).feed(b"\x30\x62" + bytes(98))) == 1


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=200)), max_size=8),
    st.lists(st.integers(0, 1700), max_size=8),
)
def test_frames_come_back_however_they_are_cut(packets: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(bytes((first,)) + encode_varint(len(body)) + body for first, body in packets)
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    scanner = FrameScanner()
    found = [packet for start, end in pairwise(bounds) for packet in scanner.feed(stream[start:end])]
    assert found == packets
    assert scanner.held == 0
