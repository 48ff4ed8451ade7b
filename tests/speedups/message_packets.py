"""Tables of bytes on the wire for PUBLISH (3.3) and its acknowledgements (3.4 to 3.7): right ones and wrong ones."""

from dataclasses import dataclass

from noctule._speedups.codec import Ack, Publish

ALL = (3, 4, 5)
BELOW_5 = (3, 4)
V5 = (5,)


@dataclass(frozen=True)
class Right:
    """A packet that is right, and what it says."""

    name: str
    versions: tuple[int, ...]
    wire: bytes
    fields: Publish | Ack

    #: How many bytes of the body must be there for it to be right; what follows may be cut off (a payload).
    least_body: int

    #: Whether our encoder writes the very same bytes.
    is_canonical: bool = True

    #: Further lengths at which the body is right.
    right_bodies: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Wrong:
    """A packet that is wrong: the reason code that it is refused with, and the statement that it breaks, if any."""

    name: str
    versions: tuple[int, ...]
    wire: bytes
    reason_code: int
    rule: str = ""


def frame(first: int, *fields: bytes) -> bytes:
    """A packet with its fixed header; bodies of the tables are shorter than 128 bytes."""
    body = b"".join(fields)
    assert len(body) < 128
    return bytes((first, len(body))) + body


def _publish(
    topic: bytes,
    payload: bytes = b"",
    qos: int = 0,
    packet_id: int = 0,
    *,
    retain: bool = False,
    dup: bool = False,
    properties: bytes = b"",
) -> Publish:
    return Publish(topic, payload, qos, retain, dup, packet_id, properties)


EVERY_PROPERTY = (
    b"\x01\x01"  # payload format indicator: UTF-8
    b"\x02\x00\x00\x00\x3c"  # message expiry interval 60 s
    b"\x08\x00\x01r"  # response topic
    b"\x09\x00\x03\x00\xff\x01"  # correlation data, any bytes
    b"\x26\x00\x01k\x00\x01v"  # user property
    b"\x26\x00\x01k\x00\x01w"  # the same name again: the order is kept  [MQTT-3.3.2-18]
    b"\x03\x00\x01t"  # content type
    b"\x26\x00\x00\x00\x00"  # user property, both strings empty
)

RIGHT_PUBLISH = [
    Right(
        "QoS 0",
        BELOW_5,
        frame(
            0x30,  # QoS 0
            b"\x00\x03a/b",  # topic name
            b"hi",  # payload
        ),
        _publish(b"a/b", b"hi"),
        5,
    ),
    Right(
        "QoS 0",
        V5,
        frame(
            0x30,
            b"\x00\x03a/b",
            b"\x00",  # property length  [MQTT-2.2.2-1]
            b"hi",
        ),
        _publish(b"a/b", b"hi"),
        6,
    ),
    Right("no payload", BELOW_5, frame(0x30, b"\x00\x01t"), _publish(b"t"), 3),
    Right("no payload", V5, frame(0x30, b"\x00\x01t", b"\x00"), _publish(b"t"), 4),
    Right(
        "QoS 1",
        BELOW_5,
        frame(
            0x32,  # QoS 1
            b"\x00\x01t",
            b"\x00\x01",  # packet identifier 1
            b"p",
        ),
        _publish(b"t", b"p", 1, 1),
        5,
    ),
    Right("QoS 1", V5, frame(0x32, b"\x00\x01t", b"\x00\x01", b"\x00", b"p"), _publish(b"t", b"p", 1, 1), 6),
    Right(
        "QoS 1 with the greatest packet identifier",
        BELOW_5,
        frame(0x32, b"\x00\x01t", b"\xff\xff"),
        _publish(b"t", b"", 1, 65_535),
        5,
    ),
    Right(
        "QoS 2",
        BELOW_5,
        frame(
            0x34,  # QoS 2
            b"\x00\x01t",
            b"\x12\x34",
            b"p",
        ),
        _publish(b"t", b"p", 2, 0x1234),
        5,
    ),
    Right("QoS 2", V5, frame(0x34, b"\x00\x01t", b"\x12\x34", b"\x00", b"p"), _publish(b"t", b"p", 2, 0x1234), 6),
    Right(
        "QoS 1 sent again",
        BELOW_5,
        frame(
            0x3A,  # DUP, QoS 1
            b"\x00\x01t",
            b"\x00\x02",
            b"p",
        ),
        _publish(b"t", b"p", 1, 2, dup=True),
        5,
    ),
    Right(
        "QoS 2 sent again",
        V5,
        frame(0x3C, b"\x00\x01t", b"\x00\x02", b"\x00", b"p"),
        _publish(b"t", b"p", 2, 2, dup=True),
        6,
    ),
    Right("retained", BELOW_5, frame(0x31, b"\x00\x01t", b"p"), _publish(b"t", b"p", retain=True), 3),
    Right("retained", V5, frame(0x31, b"\x00\x01t", b"\x00", b"p"), _publish(b"t", b"p", retain=True), 4),
    Right(
        "everything in the first byte",
        BELOW_5,
        frame(0x3D, b"\x00\x01t", b"\x00\x09", b"p"),  # DUP, QoS 2, RETAIN
        _publish(b"t", b"p", 2, 9, retain=True, dup=True),
        5,
    ),
    Right(
        "a payload that looks like properties",
        BELOW_5,
        frame(0x30, b"\x00\x01t", b"\x7f\xff\x00"),
        _publish(b"t", b"\x7f\xff\x00"),
        3,
    ),
    Right("a topic of one slash", BELOW_5, frame(0x30, b"\x00\x01/", b"p"), _publish(b"/", b"p"), 3),
    Right("a topic of empty levels", V5, frame(0x30, b"\x00\x02//", b"\x00"), _publish(b"//"), 5),
    Right("a topic with a space", V5, frame(0x30, b"\x00\x03a b", b"\x00"), _publish(b"a b"), 6),
    Right("a topic beginning with $", BELOW_5, frame(0x30, b"\x00\x04$S/x", b"p"), _publish(b"$S/x", b"p"), 6),
    Right(
        "a topic in four-byte UTF-8",
        V5,
        frame(0x30, b"\x00\x05\xf0\x9f\xa6\x87/", b"\x00", b"p"),
        _publish("🦇/".encode(), b"p"),
        8,
    ),
    Right(
        "a topic with a byte order mark [MQTT-1.5.4-3]",
        V5,
        frame(0x30, b"\x00\x04\xef\xbb\xbft", b"\x00"),
        _publish(b"\xef\xbb\xbft"),
        7,
    ),
    Right(
        "every property",
        V5,
        frame(0x30, b"\x00\x01t", bytes((len(EVERY_PROPERTY),)), EVERY_PROPERTY, b"p"),
        _publish(b"t", b"p", properties=EVERY_PROPERTY),
        4 + len(EVERY_PROPERTY),
    ),
    Right(
        "every property, QoS 2, retained",
        V5,
        frame(0x35, b"\x00\x01t", b"\x00\x07", bytes((len(EVERY_PROPERTY),)), EVERY_PROPERTY, b"p"),
        _publish(b"t", b"p", 2, 7, retain=True, properties=EVERY_PROPERTY),
        6 + len(EVERY_PROPERTY),
    ),
    Right(
        "empty content type and correlation data",
        V5,
        frame(0x30, b"\x00\x01t", b"\x06", b"\x03\x00\x00", b"\x09\x00\x00", b"p"),
        _publish(b"t", b"p", properties=b"\x03\x00\x00\x09\x00\x00"),
        10,
    ),
    Right(
        "the longest message expiry interval",
        V5,
        frame(0x30, b"\x00\x01t", b"\x05", b"\x02\xff\xff\xff\xff"),
        _publish(b"t", properties=b"\x02\xff\xff\xff\xff"),
        9,
    ),
]

#: What a client may send where the server's Topic Alias Maximum allows it: read by the codec, refused by a link.
RIGHT_ALIAS = [
    Right(
        "a topic alias",
        V5,
        frame(0x30, b"\x00\x01t", b"\x03", b"\x23\x00\x01", b"p"),
        _publish(b"t", b"p", properties=b"\x23\x00\x01"),
        7,
    ),
    Right(
        "a topic alias in place of the topic",
        V5,
        frame(0x30, b"\x00\x00", b"\x03", b"\x23\xff\xff", b"p"),
        _publish(b"", b"p", properties=b"\x23\xff\xff"),
        6,
    ),
]

#: What only a server sends.
RIGHT_FROM_SERVER = [
    Right(
        "subscription identifiers [MQTT-3.3.4-4]",
        V5,
        frame(0x30, b"\x00\x01t", b"\x07", b"\x0b\x01", b"\x0b\xff\xff\xff\x7f", b"p"),
        _publish(b"t", b"p", properties=b"\x0b\x01\x0b\xff\xff\xff\x7f"),
        11,
    ),
]


def _of_5(properties: bytes, first: int = 0x30) -> bytes:
    packet_id = b"\x00\x01" if first & 6 else b""
    return frame(first, b"\x00\x01t", packet_id, bytes((len(properties),)), properties, b"payload")


def _twice(one: bytes) -> bytes:
    return _of_5(one + one)


WRONG_PUBLISH = [
    Wrong("QoS 3", BELOW_5, frame(0x36, b"\x00\x01t\x00\x01"), 0x81, "MQTT-3.3.1-4"),
    Wrong("QoS 3", V5, frame(0x36, b"\x00\x01t\x00\x01\x00"), 0x81, "MQTT-3.3.1-4"),
    Wrong("QoS 3, DUP and RETAIN", ALL, frame(0x3F, b"\x00\x01t\x00\x01\x00"), 0x81, "MQTT-3.3.1-4"),
    Wrong("DUP with QoS 0", ALL, frame(0x38, b"\x00\x01t\x00"), 0x81, "MQTT-3.3.1-2"),
    Wrong("DUP with QoS 0, retained", ALL, frame(0x39, b"\x00\x01t\x00"), 0x81, "MQTT-3.3.1-2"),
    Wrong("packet identifier 0, QoS 1", ALL, frame(0x32, b"\x00\x01t\x00\x00\x00"), 0x82, "MQTT-2.2.1-3"),
    Wrong("packet identifier 0, QoS 2", ALL, frame(0x34, b"\x00\x01t\x00\x00\x00"), 0x82, "MQTT-2.2.1-3"),
    Wrong("no body", ALL, frame(0x30), 0x81, "MQTT-3.3.2-1"),
    Wrong("half a topic length", ALL, frame(0x30, b"\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("a topic longer than the packet", ALL, frame(0x30, b"\x00\x05abcd"), 0x81, "MQTT-3.3.2-1"),
    Wrong("a topic of 65,535 bytes that are not there", ALL, frame(0x32, b"\xff\xffabc"), 0x81, "MQTT-3.3.2-1"),
    Wrong("no packet identifier", ALL, frame(0x32, b"\x00\x01t"), 0x81, "MQTT-2.2.1-3"),
    Wrong("half a packet identifier", ALL, frame(0x34, b"\x00\x01t\x00"), 0x81, "MQTT-2.2.1-3"),
    # 3.3.2.1: an empty topic without an alias is a Protocol Error; below version 5 it is no topic at all.
    Wrong("empty topic", BELOW_5, frame(0x30, b"\x00\x00payload"), 0x90, "MQTT-4.7.3-1"),
    Wrong("empty topic and no alias (3.3.2.1)", V5, frame(0x30, b"\x00\x00\x00payload"), 0x82),
    Wrong("#", ALL, frame(0x30, b"\x00\x01#\x00"), 0x90, "MQTT-3.3.2-2"),
    Wrong("+", ALL, frame(0x30, b"\x00\x01+\x00"), 0x90, "MQTT-3.3.2-2"),
    Wrong("a/#", ALL, frame(0x30, b"\x00\x03a/#\x00"), 0x90, "MQTT-3.3.2-2"),
    Wrong("a+b", ALL, frame(0x30, b"\x00\x03a+b\x00"), 0x90, "MQTT-3.3.2-2"),
    Wrong("a wildcard, QoS 2", ALL, frame(0x34, b"\x00\x01#\x00\x01\x00"), 0x90, "MQTT-3.3.2-2"),
    Wrong("U+0000 in the topic [MQTT-1.5.4-2]", ALL, frame(0x30, b"\x00\x03a\x00b\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("an overlong slash in the topic", ALL, frame(0x30, b"\x00\x03a\xc0\xaf\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("a surrogate in the topic", ALL, frame(0x30, b"\x00\x03\xed\xa0\x80\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("a cut character in the topic", ALL, frame(0x30, b"\x00\x02\xe2\x82\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("a line feed in the topic", ALL, frame(0x30, b"\x00\x03a\nb\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("U+0085 in the topic", ALL, frame(0x30, b"\x00\x02\xc2\x85\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("U+FFFF in the topic", ALL, frame(0x30, b"\x00\x03\xef\xbf\xbf\x00"), 0x81, "MQTT-3.3.2-1"),
    Wrong("no property length", V5, frame(0x30, b"\x00\x01t"), 0x81, "MQTT-2.2.2-1"),
    Wrong("property length cut off", V5, frame(0x30, b"\x00\x01t\x80"), 0x81, "MQTT-2.2.2-1"),
    Wrong("property length beyond the packet", V5, frame(0x30, b"\x00\x01t\x05\x01\x01"), 0x81, "MQTT-2.2.2-1"),
    Wrong("property length of two bytes for nothing", V5, frame(0x30, b"\x00\x01t\x80\x00"), 0x81, "MQTT-2.2.2-1"),
    Wrong("property length of five bytes", V5, frame(0x30, b"\x00\x01t\xff\xff\xff\xff\x01"), 0x81, "MQTT-2.2.2-1"),
    Wrong("unknown property", V5, _of_5(b"\x7e\x00"), 0x81),
    Wrong("property 0", V5, _of_5(b"\x00\x00"), 0x81),
    Wrong("property identifier of two bytes", V5, _of_5(b"\xff\x01\x00"), 0x81),
    Wrong("property identifier that is not the shortest", V5, _of_5(b"\x81\x00\x01"), 0x81),
    Wrong("property identifier cut off", V5, _of_5(b"\x80"), 0x81),
    Wrong("session expiry interval, of CONNECT", V5, _of_5(b"\x11\x00\x00\x00\x01"), 0x81),
    Wrong("reason string, of acknowledgements", V5, _of_5(b"\x1f\x00\x01x"), 0x81),
    Wrong("will delay interval", V5, _of_5(b"\x18\x00\x00\x00\x01"), 0x81),
    Wrong("payload format indicator cut off", V5, _of_5(b"\x01"), 0x81),
    Wrong("payload format indicator 2", V5, _of_5(b"\x01\x02"), 0x82),
    Wrong("payload format indicator twice", V5, _twice(b"\x01\x01"), 0x82),
    Wrong("message expiry interval cut off", V5, _of_5(b"\x02\x00\x00\x00"), 0x81),
    Wrong("message expiry interval twice", V5, _twice(b"\x02\x00\x00\x00\x01"), 0x82),
    Wrong("content type cut off", V5, _of_5(b"\x03\x00\x02x"), 0x81),
    Wrong("content type without its length", V5, _of_5(b"\x03\x00"), 0x81),
    Wrong("content type of ill-formed UTF-8 [MQTT-3.3.2-19]", V5, _of_5(b"\x03\x00\x01\xff"), 0x81, "MQTT-1.5.4-1"),
    Wrong("content type twice", V5, _twice(b"\x03\x00\x01x"), 0x82),
    Wrong("response topic cut off", V5, _of_5(b"\x08\x00\x05r"), 0x81),
    Wrong("response topic of ill-formed UTF-8", V5, _of_5(b"\x08\x00\x02\xc0\x80"), 0x81, "MQTT-3.3.2-13"),
    Wrong("response topic with U+0000", V5, _of_5(b"\x08\x00\x01\x00"), 0x81, "MQTT-3.3.2-13"),
    Wrong("response topic with #", V5, _of_5(b"\x08\x00\x03a/#"), 0x82, "MQTT-3.3.2-14"),
    Wrong("response topic with +", V5, _of_5(b"\x08\x00\x01+"), 0x82, "MQTT-3.3.2-14"),
    Wrong("empty response topic", V5, _of_5(b"\x08\x00\x00"), 0x82, "MQTT-4.7.3-1"),
    Wrong("response topic twice", V5, _twice(b"\x08\x00\x01r"), 0x82),
    Wrong("correlation data cut off", V5, _of_5(b"\x09\x00\x02x"), 0x81),
    Wrong("correlation data twice", V5, _twice(b"\x09\x00\x01x"), 0x82),
    Wrong("subscription identifier from a client", V5, _of_5(b"\x0b\x01"), 0x82, "MQTT-3.3.4-6"),
    Wrong("topic alias 0", V5, _of_5(b"\x23\x00\x00"), 0x94, "MQTT-3.3.2-8"),
    Wrong("topic alias 0 in place of the topic", V5, frame(0x30, b"\x00\x00\x03\x23\x00\x00"), 0x94, "MQTT-3.3.2-8"),
    Wrong("topic alias cut off", V5, _of_5(b"\x23\x00"), 0x81),
    Wrong("topic alias twice", V5, _twice(b"\x23\x00\x01"), 0x82),
    Wrong("user property without its value", V5, _of_5(b"\x26\x00\x01k"), 0x81),
    Wrong("user property whose value is cut off", V5, _of_5(b"\x26\x00\x01k\x00\x02v"), 0x81),
    Wrong("user property whose name is ill-formed", V5, _of_5(b"\x26\x00\x01\xff\x00\x01v"), 0x81, "MQTT-1.5.4-1"),
    Wrong("user property whose value has U+0000", V5, _of_5(b"\x26\x00\x01k\x00\x01\x00"), 0x81, "MQTT-1.5.4-1"),
    Wrong("a right property and a wrong one behind it", V5, _of_5(b"\x01\x01\x7e", 0x32), 0x81),
    Wrong("a property that reaches into the payload", V5, _of_5(b"\x26\x00\x01k\x00\x03v", 0x34), 0x81),
]

WRONG_FROM_SERVER = [
    Wrong("subscription identifier 0", V5, _of_5(b"\x0b\x00"), 0x82),
    Wrong("subscription identifier cut off", V5, _of_5(b"\x0b\x80"), 0x81),
    Wrong("subscription identifier of five bytes", V5, _of_5(b"\x0b\xff\xff\xff\xff\x01"), 0x81),
    Wrong("subscription identifier that is not the shortest", V5, _of_5(b"\x0b\x81\x00"), 0x81),
]

#: First byte, name, the reason codes that it may have (version 5, 3.4.2.1 to 3.7.2.1), the statement.
ACKS = {
    4: (0x40, "PUBACK", (0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99), "MQTT-3.4.2-1"),
    5: (0x50, "PUBREC", (0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99), "MQTT-3.5.2-1"),
    6: (0x62, "PUBREL", (0x00, 0x92), "MQTT-3.6.2-1"),
    7: (0x70, "PUBCOMP", (0x00, 0x92), "MQTT-3.7.2-1"),
}

_REASON_AND_USER = (
    b"\x1f\x00\x03why"  # reason string
    b"\x26\x00\x01k\x00\x01v"  # user property
    b"\x26\x00\x01k\x00\x01v"  # and again
)

RIGHT_ACKS: list[Right] = []
WRONG_ACKS: list[Wrong] = []
for _type, (_first, _name, _codes, _rule) in ACKS.items():
    _failure = _codes[-1]
    RIGHT_ACKS += [
        Right(f"{_name} of two bytes", ALL, frame(_first, b"\x12\x34"), Ack(_type, 0x1234, 0, b""), 2),
        Right(f"{_name} for 65535", ALL, frame(_first, b"\xff\xff"), Ack(_type, 0xFFFF, 0, b""), 2),
        Right(
            f"{_name} with reason code 0 in full",
            V5,
            frame(_first, b"\x12\x34", b"\x00"),
            Ack(_type, 0x1234, 0, b""),
            3,
            is_canonical=False,
            right_bodies=frozenset({2}),
        ),
        *(
            Right(
                f"{_name} with reason code 0x{_code:02X}",
                V5,
                frame(_first, b"\x12\x34", bytes((_code,))),
                Ack(_type, 0x1234, _code, b""),
                3,
                right_bodies=frozenset({2}),
            )
            for _code in _codes[1:]
        ),
        Right(
            f"{_name} with an empty property block",
            V5,
            frame(_first, b"\x12\x34", bytes((_failure,)), b"\x00"),
            Ack(_type, 0x1234, _failure, b""),
            4,
            is_canonical=False,
            right_bodies=frozenset({2, 3}),
        ),
        Right(
            f"{_name} with every property",
            V5,
            frame(_first, b"\x12\x34", bytes((_failure,)), bytes((len(_REASON_AND_USER),)), _REASON_AND_USER),
            Ack(_type, 0x1234, _failure, _REASON_AND_USER),
            4 + len(_REASON_AND_USER),
            is_canonical=False,
            right_bodies=frozenset({2, 3}),
        ),
    ]
    _head = b"\x00\x01" + bytes((_failure,))
    _wrong_length = "MQTT-2.2.2-1"
    WRONG_ACKS += [
        *(
            # 3.1 has DUP on a PUBREL that is sent again.
            Wrong(
                f"{_name} with flags {_flags:04b}",
                ALL if _flags != 0b1010 else (4, 5),
                frame(_first & 0xF0 | _flags, b"\0\1"),
                0x81,
                "MQTT-2.1.3-1",
            )
            for _flags in range(16)
            if _flags != _first & 0x0F
        ),
        Wrong(f"{_name} without a body", ALL, frame(_first), 0x81),
        Wrong(f"{_name} of one byte", ALL, frame(_first, b"\x01"), 0x81),
        Wrong(f"{_name} for packet identifier 0", ALL, frame(_first, b"\x00\x00"), 0x82),
        Wrong(f"{_name} with a byte too many", BELOW_5, frame(_first, b"\x00\x01\x00"), 0x81),
        *(
            Wrong(f"{_name} with code 0x{_code:02X}", V5, frame(_first, b"\0\1", bytes((_code,))), 0x82, _rule)
            for _code in (0x01, 0x04, 0x11, 0x18, 0x81, 0x82, 0x8E, 0x95, 0xFF, 0x92 if _type < 6 else 0x10)
        ),
        Wrong(f"{_name} with no property length", V5, frame(_first, _head, b"\x80"), 0x81, _wrong_length),
        Wrong(f"{_name} with properties too long", V5, frame(_first, _head, b"\x06\x1f\x00\x01x"), 0x81, _wrong_length),
        Wrong(f"{_name} with bytes behind its properties", V5, frame(_first, _head, b"\x00\x00"), 0x81, _wrong_length),
        Wrong(f"{_name} with a long property length of 0", V5, frame(_first, _head, b"\x80\x00"), 0x81, _wrong_length),
        Wrong(f"{_name} with a property of PUBLISH", V5, frame(_first, _head, b"\x02\x01\x01"), 0x81),
        Wrong(f"{_name} with an unknown property", V5, frame(_first, _head, b"\x02\x7e\x00"), 0x81),
        Wrong(f"{_name} with half a property identifier", V5, frame(_first, _head, b"\x01\x80"), 0x81),
        Wrong(f"{_name} with two reason strings", V5, frame(_first, _head, b"\x08\x1f\x00\x01x\x1f\x00\x01x"), 0x82),
        Wrong(f"{_name} with a reason string cut off", V5, frame(_first, _head, b"\x04\x1f\x00\x05x"), 0x81),
        Wrong(f"{_name}: ill-formed reason", V5, frame(_first, _head, b"\x04\x1f\x00\x01\xff"), 0x81, "MQTT-1.5.4-1"),
        Wrong(f"{_name} with a user property without value", V5, frame(_first, _head, b"\x04\x26\x00\x01k"), 0x81),
    ]  # fmt: skip

#: Remaining Lengths that are none [MQTT-1.5.5-1], as the first bytes of a packet.
WRONG_LENGTHS = {
    "four bytes and a fifth to follow": b"\x30\xff\xff\xff\xff",
    "five bytes": b"\x30\xff\xff\xff\xff\x7f",
    "0 in two bytes": b"\x30\x80\x00",
    "1 in two bytes": b"\x30\x81\x00",
    "1 in three bytes": b"\x30\x81\x80\x00",
    "1 in four bytes": b"\x30\x81\x80\x80\x00",
    "0x8000 in four bytes": b"\x30\x80\x80\x82\x00",
}
