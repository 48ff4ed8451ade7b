"""What an older version is told in place of version 5's reason codes, and which code may stand in which packet."""

import pytest
from noctule.protocol import (
    CAPABILITIES,
    DISCONNECT_CODES_OF_CLIENT,
    DISCONNECT_CODES_OF_SERVER,
    Connack,
    PacketType,
    ReasonCode,
    Suback,
    Unsuback,
    describe,
    encode_auth,
    encode_connack,
    encode_disconnect,
    encode_suback,
    encode_unsuback,
    reason_codes_of,
)
from noctule.protocol.auth import Auth
from noctule.protocol.disconnect import Disconnect

# MQTT 3.1.1, table 3.1, and for every other refusal nothing [MQTT-3.2.2-6].
RETURN_CODES = {
    0x00: 0,
    0x84: 1,
    0x85: 2,
    0x88: 3,
    0x89: 3,
    0x97: 3,
    0x9C: 3,
    0x9D: 3,
    0x9F: 3,
    0x86: 4,
    0x8C: 4,
    0x87: 5,
    0x8A: 5,
}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("reason_code", sorted(reason_codes_of(PacketType.CONNACK)))
def test_connack_below_version_5(version: int, reason_code: int) -> None:
    wire = encode_connack(Connack(reason_code, reason_string="why", receive_maximum=5), version)
    expected = RETURN_CODES.get(reason_code)
    assert wire == (b"" if expected is None else b"\x20\x02\x00" + bytes((expected,)))


def test_session_present_is_not_said_where_it_cannot_be() -> None:
    assert encode_connack(Connack(session_present=True), 3) == b"\x20\x02\x00\x00"
    assert encode_connack(Connack(session_present=True), 4) == b"\x20\x02\x01\x00"
    assert encode_connack(Connack(0x85, session_present=True), 4) == b"\x20\x02\x00\x02"
    assert encode_connack(Connack(0x85, session_present=True), 5) == b"\x20\x03\x00\x85\x00"


def test_suback_below_version_5() -> None:
    """3.1.1 has one code for every failure; 3.1 has none, and a positive acknowledgement is what it asks for."""
    packet = Suback(1, (0, 1, 2, 0x87, 0x97), "why", (("a", "b"),))
    assert encode_suback(packet, 4) == b"\x90\x07\x00\x01\x00\x01\x02\x80\x80"
    assert encode_suback(packet, 3) == b"\x90\x07\x00\x01\x00\x01\x02\x00\x00"


def test_what_is_dropped_below_version_5() -> None:
    for version in (3, 4):
        assert encode_unsuback(Unsuback(1, (0x11, 0x87), "why"), version) == b"\xb0\x02\x00\x01"
        assert encode_disconnect(Disconnect(0x04, 5, "why"), version) == b"\xe0\x00"
        with pytest.raises(ValueError, match="no AUTH"):
            encode_auth(Auth(), version)


def test_the_reverse_of_every_return_code() -> None:
    for version in (3, 4):
        capabilities = CAPABILITIES[version]
        meanings = [capabilities.connack_reason_code(code) for code in range(256)]
        assert meanings == [0x00, 0x84, 0x85, 0x88, 0x86, 0x87] + [None] * 250
        assert [capabilities.connack_code(meaning) for meaning in meanings[:6] if meaning is not None] == [*range(6)]


@pytest.mark.parametrize(
    ("packet_type", "codes"),
    [
        # The tables of the sections on each packet, written down a second time.
        (PacketType.CONNACK, "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F"),
        (PacketType.PUBACK, "00 10 80 83 87 90 91 97 99"),
        (PacketType.PUBREC, "00 10 80 83 87 90 91 97 99"),
        (PacketType.PUBREL, "00 92"),
        (PacketType.PUBCOMP, "00 92"),
        (PacketType.SUBACK, "00 01 02 80 83 87 8F 91 97 9E A1 A2"),
        (PacketType.UNSUBACK, "00 11 80 83 87 8F 91"),
        (
            PacketType.DISCONNECT,
            "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2",
        ),
        (PacketType.AUTH, "00 18 19"),
        (PacketType.PUBLISH, ""),
    ],
)
def test_the_reason_codes_of_each_packet(packet_type: PacketType, codes: str) -> None:
    assert sorted(reason_codes_of(packet_type)) == [int(code, 16) for code in codes.split()]


def test_who_may_send_which_disconnect() -> None:
    both = "00 80 81 82 83 90 93 94 95 96 97 98 99"
    assert {int(code, 16) for code in both.split()} == DISCONNECT_CODES_OF_CLIENT & DISCONNECT_CODES_OF_SERVER
    assert {0x04} == DISCONNECT_CODES_OF_CLIENT - DISCONNECT_CODES_OF_SERVER
    assert reason_codes_of(PacketType.DISCONNECT) == DISCONNECT_CODES_OF_CLIENT | DISCONNECT_CODES_OF_SERVER


def test_codes_have_their_names() -> None:
    assert describe(0x87) == "Not authorized"
    assert describe(ReasonCode.GRANTED_QOS_1) == "Granted QoS 1"
    assert describe(0xEE) == "Reason code 0xEE"
