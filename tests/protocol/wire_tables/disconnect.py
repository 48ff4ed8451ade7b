"""DISCONNECT on the wire (3.14)."""

from noctule.protocol import Disconnect, ReasonCode
from protocol.wire_tables import ALL, BELOW_5, Faulty, Valid, frame

VALID = [
    Valid("nothing", BELOW_5, frame(0xE0), Disconnect()),
    Valid("nothing", (5,), frame(0xE0), Disconnect(), may_grow=True),  # by a reason code
    Valid("normal, said outright", (5,), frame(0xE0, b"\x00"), Disconnect(), False, frozenset({0}), may_grow=True),
    Valid(
        "with will message",
        (5,),
        frame(0xE0, b"\x04"),
        Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE),
        shorter_bodies=frozenset({0}),
        may_grow=True,  # by a property length of 0
    ),
    Valid(
        "a property length of 0",
        (5,),
        frame(0xE0, b"\x04\x00"),
        Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE),
        is_canonical=False,
        shorter_bodies=frozenset({0, 1}),
    ),
    Valid(
        "normal with properties",
        (5,),
        frame(
            0xE0,
            b"\x00",
            b"\x10",  # property length: 16
            b"\x11\x00\x00\x00\x05",  # session expiry interval 5 s
            b"\x1f\x00\x01s",  # reason string
            b"\x26\x00\x01k\x00\x01v",  # user property
        ),
        Disconnect(ReasonCode.SUCCESS, 5, "s", (("k", "v"),)),
        shorter_bodies=frozenset({0, 1}),
    ),
    Valid(
        "a server that has moved",
        (5,),
        frame(0xE0, b"\x9d", b"\x05", b"\x1c\x00\x02ab"),
        Disconnect(ReasonCode.SERVER_MOVED, server_reference="ab"),
        shorter_bodies=frozenset({0, 1}),
        from_server=True,
    ),
    Valid(
        "taken over",
        (5,),
        frame(0xE0, b"\x8e"),
        Disconnect(ReasonCode.SESSION_TAKEN_OVER),
        shorter_bodies=frozenset({0}),
        may_grow=True,
        from_server=True,
    ),
]

FAULTY = [
    Faulty("flags", ALL, frame(0xE1), 0x81, "MQTT-3.14.1-1"),
    Faulty("a body", BELOW_5, frame(0xE0, b"\x00"), 0x81),
    Faulty("a code that is none", (5,), frame(0xE0, b"\x01"), 0x82, "MQTT-3.14.2-1"),
    Faulty("a code of a server's alone", (5,), frame(0xE0, b"\x8e"), 0x82, "MQTT-3.14.2-1"),
    Faulty("a code of a client's alone", (5,), frame(0xE0, b"\x04"), 0x82, "MQTT-3.14.2-1", from_server=True),
    Faulty(
        "session expiry from a server",
        (5,),
        frame(0xE0, b"\x8b\x05\x11\x00\x00\x00\x01"),
        0x82,
        "MQTT-3.14.2-2",
        from_server=True,
    ),
    Faulty("from a server below version 5", BELOW_5, frame(0xE0), 0x82, from_server=True),
    Faulty("session expiry twice", (5,), frame(0xE0, b"\x00\x0a" + b"\x11\x00\x00\x00\x01" * 2), 0x82),
    Faulty("receive maximum", (5,), frame(0xE0, b"\x00\x03\x21\x00\x01"), 0x81),
]
