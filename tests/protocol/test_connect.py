"""CONNECT beyond its wire table: what a refusal can know of the version, and what cannot be written."""

import pytest
from noctule.protocol import (
    Connect,
    ProtocolVersion,
    UnsupportedVersionError,
    Will,
    decode_connect,
    encode_connect,
    protocol_version_of,
)


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6, 0x7F, 0x80, 0x83, 0x85, 0xFF])
def test_the_level_that_is_not_spoken_is_told(level: int) -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_connect(b"\x00\x04MQTT" + bytes((level,)) + b"\x02\x00\x00\x00\x01c")
    assert (caught.value.level, caught.value.reason_code) == (level, 0x84)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b"\x00\x06MQIsdp\x03", ProtocolVersion.V3_1),
        (b"\x00\x06MQIsdp\x83", ProtocolVersion.V3_1),
        (b"\x00\x04MQTT\x04", ProtocolVersion.V3_1_1),
        (b"\x00\x04MQTT\x84", ProtocolVersion.V3_1_1),
        (b"\x00\x04MQTT\x05 and whatever follows", ProtocolVersion.V5),
        (b"\x00\x04MQTT\x06", None),
        (b"\x00\x04MQTT\x03", None),
        (b"\x00\x06MQIsdp\x04", None),
        (b"\x00\x04MQTT", None),
        (b"\x00\x06MQIsdp", None),
        (b"\x00\x04HTTP\x05", None),
        (b"", None),
    ],
)
def test_the_version_is_known_from_the_first_bytes_alone(body: bytes, version: ProtocolVersion | None) -> None:
    assert protocol_version_of(body) is version


@pytest.mark.parametrize(
    "packet",
    [
        Connect(ProtocolVersion.V3_1_1, "c", password=b"p"),
        Connect(ProtocolVersion.V5, "a\0b"),
        Connect(ProtocolVersion.V5, "\ud800"),
        Connect(ProtocolVersion.V5, "c" * 65_536),
        Connect(ProtocolVersion.V5, "c", will=Will("w", b"", 3)),
        Connect(ProtocolVersion.V5, "c", will=Will("w", b"p" * 65_536)),
        Connect(ProtocolVersion.V5, "c", receive_maximum=0),
        Connect(ProtocolVersion.V5, "c", receive_maximum=65_536),
        Connect(ProtocolVersion.V5, "c", maximum_packet_size=0),
        Connect(ProtocolVersion.V5, "c", session_expiry_interval_s=1 << 32),
    ],
)
def test_what_no_packet_can_say_is_our_own_fault(packet: Connect) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        encode_connect(packet)


def test_below_version_5_properties_are_left_out() -> None:
    packet = Connect(ProtocolVersion.V3_1_1, "c", receive_maximum=5, user_properties=(("a", "b"),))
    assert encode_connect(packet) == encode_connect(Connect(ProtocolVersion.V3_1_1, "c"))


def test_the_will_of_a_version_5_client_can_be_said_by_an_older_one() -> None:
    will = Will("w", b"p", 1, True, 30, b"\x01\x01")
    packet = decode_connect(encode_connect(Connect(ProtocolVersion.V3_1_1, "c", will=will))[2:])
    assert packet.will == Will("w", b"p", 1, True)


def test_the_longest_fields_are_read() -> None:
    packet = Connect(
        ProtocolVersion.V5, "ü" * 32_767, will=Will("w" * 65_535, b"p" * 65_535), user_name="u", password=b"\0" * 65_535
    )
    wire = encode_connect(packet)
    assert decode_connect(wire[4:]) == packet  # a first byte and three of Remaining Length
