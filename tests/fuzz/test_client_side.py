"""The decoders called directly, as the client calls them: each returns or raises PacketError, and nothing else.

Right packets of both directions, from the wire tables and from ``packets``, mutated or put together anew.
"""

from collections.abc import Callable
from random import Random

import pytest
from fuzz import packets, wire
from hypothesis import example, given, settings
from hypothesis import strategies as st
from noctule import protocol
from noctule._speedups.buffers import PacketReader
from noctule._speedups.codec import FrameScanner, decode_ack, decode_publish, encode_ack, encode_publish
from noctule._speedups.message import Message
from noctule._speedups.utf8 import utf8_fault
from protocol.wire_tables import (
    auth,
    connack,
    connect,
    disconnect,
    suback,
    subscribe,
    take_apart,
    unsuback,
    unsubscribe,
)
from speedups.message_packets import RIGHT_ACKS, RIGHT_PUBLISH

sources = st.randoms(use_true_random=False)
every_version = pytest.mark.parametrize("version", packets.VERSIONS)

#: What a server sends, as (version, packet).
FROM_SERVER = [
    (version, row.wire)
    for table in (auth, connack, disconnect, suback, subscribe, unsuback, unsubscribe, connect)
    for row in table.VALID
    for version in row.versions
] + [(version, row.wire) for row in (*RIGHT_PUBLISH, *RIGHT_ACKS) for version in row.versions]

#: By packet type; every decoder is also given what is none of its own.
DECODERS: dict[int, Callable[[bytes, int, int], object]] = {
    wire.CONNECT: lambda body, version, first: protocol.decode_connect(body, first),
    wire.CONNACK: protocol.decode_connack,
    wire.PUBLISH: lambda body, version, first: decode_publish(first, body, version, True),
    **{
        kind: lambda body, version, first: decode_ack(first, body, version)
        for kind in range(wire.PUBACK, wire.SUBSCRIBE)
    },
    wire.SUBSCRIBE: protocol.decode_subscribe,
    wire.SUBACK: protocol.decode_suback,
    wire.UNSUBSCRIBE: protocol.decode_unsubscribe,
    wire.UNSUBACK: protocol.decode_unsuback,
    wire.PINGREQ: lambda body, version, first: protocol.check_pingreq(body, first),
    wire.PINGRESP: lambda body, version, first: protocol.check_pingresp(body, first),
    wire.DISCONNECT: lambda body, version, first: protocol.decode_disconnect(body, version, first, from_server=True),
    wire.AUTH: protocol.decode_auth,
}

ENCODERS: dict[type, Callable[..., bytes]] = {
    protocol.Connack: protocol.encode_connack,
    protocol.Subscribe: protocol.encode_subscribe,
    protocol.Suback: protocol.encode_suback,
    protocol.Unsubscribe: protocol.encode_unsubscribe,
    protocol.Unsuback: protocol.encode_unsuback,
    protocol.Disconnect: protocol.encode_disconnect,
    protocol.Auth: protocol.encode_auth,
}


def decode(kind: int, first: int, body: bytes, version: int) -> object:
    """What the packet says; None where it says nothing that may be said."""
    try:
        return DECODERS[kind](body, version, first)
    except protocol.PacketError as error:
        refusal = error
    assert 0x80 <= refusal.reason_code <= 0xA2
    assert str(refusal)
    return None


def scan(data: bytes, cuts: list[bytes]) -> list[tuple[int, bytes]] | None:
    """The packets in the bytes as they arrive; None where they are no packets."""
    scanner = FrameScanner(1 << 20)
    found = []
    try:
        for piece in cuts:
            found += scanner.feed(piece)
    except protocol.PacketError:
        return None
    assert scanner.held <= len(data)
    return found


@given(sources)
@settings(max_examples=settings.default.max_examples * 4)
def test_a_decoder_returns_or_raises_packet_error(random: Random) -> None:
    version, data = random.choice(FROM_SERVER)
    for _ in range(random.randint(0, 3)):
        data = packets.mutated(random, data)
    whole = scan(data, [data])
    assert scan(data, packets.pieces(random, data)) == whole
    for first, body in whole or []:
        decode(first >> 4 or wire.CONNECT, first, body, version)
        decode(random.choice(list(DECODERS)), first, body, version)


@every_version
@given(sources)
@settings(max_examples=settings.default.max_examples * 2)
def test_packets_of_any_fields_are_read_or_refused(version: int, random: Random) -> None:
    for _ in range(10):
        for first, body in scan(b"", [packets.odd_packet(random, version)][:1]) or []:
            for kind in DECODERS:
                decode(kind, first, body, version)
                decode(kind, kind << 4 | 2 * (kind in (wire.PUBREL, wire.SUBSCRIBE, wire.UNSUBSCRIBE)), body, version)


@given(sources)
@settings(max_examples=settings.default.max_examples * 4)
def test_what_is_read_can_be_written_and_read_again(random: Random) -> None:
    """The same packet comes back, though not always the same bytes: ours are the shortest."""
    version, data = random.choice(FROM_SERVER)
    for _ in range(random.randint(0, 2)):
        data = packets.mutated(random, data)
    for first, body in scan(data, [data]) or []:
        if first >> 4 == 0:
            continue
        found = decode(first >> 4, first, body, version)
        match found:
            case None:
                continue
            case protocol.Connect():
                written = protocol.encode_connect(found)
            case _ if first >> 4 == wire.PUBLISH:
                topic, payload, qos, retain, dup, packet_id, properties = found
                written = encode_publish(topic, payload, version, qos, retain, dup, packet_id, properties)
            case _ if wire.PUBACK <= first >> 4 <= wire.PUBCOMP:
                if found.properties:
                    continue  # our acknowledgements have none
                written = encode_ack(found.packet_type, found.packet_id, version, found.reason_code)
            case _:
                written = ENCODERS[type(found)](found, version)
        again_first, again_body = take_apart(written)
        assert decode(first >> 4, again_first, again_body, version) == found


@given(st.binary(max_size=40), st.sampled_from([0, *protocol.PacketType]))
def test_a_property_block_is_read_or_refused_and_comes_back(block: bytes, place: int) -> None:
    try:
        values = protocol.decode_property_block(block, place)
    except protocol.PacketError:
        return
    written = protocol.encode_property_block(values, place)
    assert protocol.decode_property_block(written, place) == values


@given(sources)
def test_a_message_takes_exactly_the_properties_that_a_publish_may_have(random: Random) -> None:
    """The compiled scan and the table of ``protocol.properties`` are two sources of the same rules."""
    for _ in range(10):
        with_length = packets.odd_block(random)
        for _ in range(random.randint(0, 1)):
            with_length = packets.mutated(random, with_length)
        reader = PacketReader(with_length)
        try:
            block = reader.take(reader.varint())
        except protocol.PacketError:
            continue
        taken = []
        for check in (
            lambda block=block: decode_publish(0x30, b"\0\1t" + wire.varint(len(block)) + block, 5, True),
            lambda block=block: protocol.decode_property_block(block, protocol.PacketType.PUBLISH),
        ):
            try:
                check()
                taken.append(True)
            except protocol.PacketError:
                taken.append(False)  # with the code of whichever fault is met first
        assert taken[0] == taken[1], block
        if not taken[0]:
            with pytest.raises((protocol.PacketError, ValueError)):
                Message(b"t", b"", properties=block)


@example("$share/g")
@example("$share//a")
@example("\ud800")
@given(st.text(alphabet=st.sampled_from("a/+#$\0\ud800é") | st.characters(), max_size=12))
def test_filters_and_topics_are_taken_or_refused(text: str) -> None:
    for check in (protocol.split_filter, protocol.check_topic_filter, protocol.check_topic_name):
        code = 0
        try:
            check(text, 5)
        except protocol.PacketError as error:
            code = error.reason_code
        assert code in (0, 0x8F, 0x90)


@given(st.binary(max_size=20))
def test_a_string_is_right_as_python_sees_it(data: bytes) -> None:
    """What Python does not decode is not taken; of the rest, all that MQTT neither forbids nor discourages."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        assert utf8_fault(data) is not None
        return
    is_odd = any(
        ord(one) < 0x20 or 0x7F <= ord(one) <= 0x9F or 0xFDD0 <= ord(one) <= 0xFDEF or ord(one) & 0xFFFE == 0xFFFE
        for one in text
    )
    assert (utf8_fault(data) is not None) == is_odd
