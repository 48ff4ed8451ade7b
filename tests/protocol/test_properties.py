"""Property blocks: every property's form on the wire (2.2.2.2), where it may stand, and what refuses a block."""

from typing import Any

import pytest
from noctule._speedups.buffers import PacketReader
from noctule.protocol import (
    PROPERTY_RULES,
    WILL,
    PacketError,
    PacketType,
    PropertyId,
    decode_properties,
    decode_property_block,
    encode_properties,
    encode_property_block,
)

CONNECT, CONNACK, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH = (
    PacketType.CONNECT,
    PacketType.CONNACK,
    PacketType.PUBLISH,
    PacketType.SUBSCRIBE,
    PacketType.UNSUBSCRIBE,
    PacketType.DISCONNECT,
    PacketType.AUTH,
)
ACKS = {PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP}
REASON = {CONNACK, *ACKS, PacketType.SUBACK, PacketType.UNSUBACK, DISCONNECT, AUTH}
EVERYWHERE = {WILL, CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE} | REASON

# Table 2-4 of the specification, written down a second time: identifier, bytes, value, places.
TABLE: list[tuple[int, bytes, Any, set[int]]] = [
    (0x01, b"\x01\x01", 1, {PUBLISH, WILL}),
    (0x02, b"\x02\x00\x01\x02\x03", 0x010203, {PUBLISH, WILL}),
    (0x03, b"\x03\x00\x02ab", "ab", {PUBLISH, WILL}),
    (0x08, b"\x08\x00\x03a/b", "a/b", {PUBLISH, WILL}),
    (0x09, b"\x09\x00\x02\x00\xff", b"\x00\xff", {PUBLISH, WILL}),
    (0x0B, b"\x0b\x80\x01", 128, {PUBLISH, SUBSCRIBE}),
    (0x11, b"\x11\xff\xff\xff\xff", 0xFFFFFFFF, {CONNECT, CONNACK, DISCONNECT}),
    (0x12, b"\x12\x00\x01i", "i", {CONNACK}),
    (0x13, b"\x13\x01\x00", 256, {CONNACK}),
    (0x15, b"\x15\x00\x01m", "m", {CONNECT, CONNACK, AUTH}),
    (0x16, b"\x16\x00\x00", b"", {CONNECT, CONNACK, AUTH}),
    (0x17, b"\x17\x00", 0, {CONNECT}),
    (0x18, b"\x18\x00\x00\x00\x05", 5, {WILL}),
    (0x19, b"\x19\x01", 1, {CONNECT}),
    (0x1A, b"\x1a\x00\x00", "", {CONNACK}),
    (0x1C, b"\x1c\x00\x01s", "s", {CONNACK, DISCONNECT}),
    (0x1F, b"\x1f\x00\x02\xc3\xbc", "ü", REASON),
    (0x21, b"\x21\xff\xff", 65535, {CONNECT, CONNACK}),
    (0x22, b"\x22\x00\x00", 0, {CONNECT, CONNACK}),
    (0x23, b"\x23\x00\x01", 1, {PUBLISH}),
    (0x24, b"\x24\x01", 1, {CONNACK}),
    (0x25, b"\x25\x00", 0, {CONNACK}),
    (0x26, b"\x26\x00\x01k\x00\x01v", ("k", "v"), EVERYWHERE),
    (0x27, b"\x27\x10\x00\x00\x00", 1 << 28, {CONNECT, CONNACK}),
    (0x28, b"\x28\x00", 0, {CONNACK}),
    (0x29, b"\x29\x01", 1, {CONNACK}),
    (0x2A, b"\x2a\x00", 0, {CONNACK}),
]


def is_repeatable(identifier: int, place: int) -> bool:
    """A User Property anywhere; a Subscription Identifier in a PUBLISH, one for each subscription that matches."""
    return identifier == 0x26 or (identifier == 0x0B and place == PUBLISH)


def test_the_table_has_every_property() -> None:
    assert [row[0] for row in TABLE] == sorted(PropertyId) == sorted(PROPERTY_RULES)


@pytest.mark.parametrize(("identifier", "wire", "value", "places"), TABLE)
@pytest.mark.parametrize("place", [WILL, *PacketType])
def test_a_property_stands_where_it_may(identifier: int, wire: bytes, value: Any, places: set[int], place: int) -> None:
    if place not in places:
        with pytest.raises(PacketError) as caught:
            decode_property_block(wire, place)
        assert caught.value.reason_code == 0x81
        with pytest.raises(ValueError, match="not allowed"):
            encode_property_block({PropertyId(identifier): value}, place)
        return
    expected = [value] if is_repeatable(identifier, place) else value
    assert decode_property_block(wire, place) == {identifier: expected}
    assert encode_property_block({PropertyId(identifier): expected}, place) == wire
    for length in range(1, len(wire)):
        with pytest.raises(PacketError) as caught:
            decode_property_block(wire[:length], place)
        assert caught.value.reason_code == 0x81


@pytest.mark.parametrize(("identifier", "wire", "value", "places"), TABLE)
def test_a_property_twice(identifier: int, wire: bytes, value: Any, places: set[int]) -> None:
    for place in places:
        if is_repeatable(identifier, place):
            assert decode_property_block(wire + wire, place) == {identifier: [value, value]}
            continue
        with pytest.raises(PacketError) as caught:
            decode_property_block(wire + wire, place)
        assert caught.value.reason_code == 0x82


@pytest.mark.parametrize("identifier", sorted(set(range(256)) - set(PropertyId)))
def test_any_other_identifier_is_malformed(identifier: int) -> None:
    wire = bytes((identifier,)) if identifier < 128 else bytes((identifier, 1))
    for place in EVERYWHERE:
        with pytest.raises(PacketError) as caught:
            decode_property_block(wire + b"\0" * 8, place)
        assert caught.value.reason_code == 0x81


@pytest.mark.parametrize(
    ("wire", "place", "reason_code"),
    [
        (b"\x01\x02", PUBLISH, 0x82),  # payload format indicator 2
        (b"\x17\x02", CONNECT, 0x82),  # request problem information 2
        (b"\x19\xff", CONNECT, 0x82),  # request response information 255
        (b"\x24\x02", CONNACK, 0x82),  # maximum QoS 2
        (b"\x25\x02", CONNACK, 0x82),  # retain available 2
        (b"\x28\x02", CONNACK, 0x82),
        (b"\x29\x02", CONNACK, 0x82),
        (b"\x2a\x02", CONNACK, 0x82),
        (b"\x21\x00\x00", CONNECT, 0x82),  # receive maximum 0
        (b"\x27\x00\x00\x00\x00", CONNECT, 0x82),  # maximum packet size 0
        (b"\x0b\x00", SUBSCRIBE, 0x82),  # subscription identifier 0
        (b"\x23\x00\x00", PUBLISH, 0x94),  # topic alias 0
        (b"\x08\x00\x01#", PUBLISH, 0x82),  # response topic with a wildcard
        (b"\x08\x00\x00", PUBLISH, 0x82),  # response topic without a character
        (b"\x08\x00\x01\xff", PUBLISH, 0x81),  # response topic of ill-formed UTF-8
        (b"\x03\x00\x01\x00", PUBLISH, 0x81),  # content type with U+0000
        (b"\x26\x00\x01\xff\x00\x00", PUBLISH, 0x81),  # name of a user property
        (b"\x26\x00\x00\x00\x01\xff", PUBLISH, 0x81),  # value of a user property
        (b"\x0b\x80\x00", SUBSCRIBE, 0x81),  # a variable byte integer that is not minimal
        (b"\x0b\xff\xff\xff\xff\x01", SUBSCRIBE, 0x81),  # one of five bytes
        (b"\x81\x00\x01", PUBLISH, 0x81),  # an identifier that is not minimal
    ],
)
def test_a_value_that_is_not_allowed(wire: bytes, place: int, reason_code: int) -> None:
    with pytest.raises(PacketError) as caught:
        decode_property_block(wire, place)
    assert caught.value.reason_code == reason_code


def test_the_length_in_front() -> None:
    reader = PacketReader(b"\x00\x05\x11\x00\x00\x00\x01rest")
    assert decode_properties(reader, CONNECT) == {}
    assert decode_properties(reader, CONNECT) == {PropertyId.SESSION_EXPIRY_INTERVAL: 1}
    assert reader.rest() == b"rest"
    assert encode_properties({}, CONNECT) == b"\x00"
    assert encode_properties({PropertyId.SESSION_EXPIRY_INTERVAL: 1}, CONNECT) == b"\x05\x11\x00\x00\x00\x01"


@pytest.mark.parametrize("wire", [b"", b"\x05\x11\x00\x00\x00", b"\x80\x00", b"\xff\xff\xff\xff\x00"])
def test_a_length_that_is_none(wire: bytes) -> None:
    with pytest.raises(PacketError) as caught:
        decode_properties(PacketReader(wire), CONNECT)
    assert caught.value.reason_code == 0x81


def test_the_order_of_user_properties_is_kept() -> None:
    pairs = [("b", "1"), ("a", "2"), ("b", "3")]
    wire = encode_property_block({PropertyId.USER_PROPERTY: pairs}, PUBLISH)
    assert decode_property_block(wire, PUBLISH)[PropertyId.USER_PROPERTY] == pairs


@pytest.mark.parametrize(
    ("identifier", "value", "place"),
    [
        (PropertyId.PAYLOAD_FORMAT_INDICATOR, 2, PUBLISH),
        (PropertyId.RECEIVE_MAXIMUM, 0, CONNECT),
        (PropertyId.RECEIVE_MAXIMUM, 65_536, CONNECT),
        (PropertyId.MESSAGE_EXPIRY_INTERVAL, -1, PUBLISH),
        (PropertyId.MESSAGE_EXPIRY_INTERVAL, 1 << 32, PUBLISH),
        (PropertyId.SUBSCRIPTION_IDENTIFIER, 0, SUBSCRIBE),
        (PropertyId.SUBSCRIPTION_IDENTIFIER, 268_435_456, SUBSCRIBE),
        (PropertyId.CONTENT_TYPE, "a\0", PUBLISH),
        (PropertyId.CORRELATION_DATA, b"\0" * 65_536, PUBLISH),
    ],
)
def test_a_value_that_cannot_be_written_is_our_own_fault(identifier: PropertyId, value: Any, place: int) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        encode_property_block({identifier: value}, place)
