"""AUTH on the wire (3.15)."""

from noctule.protocol import Auth, ReasonCode
from protocol.wire_tables import BELOW_5, Faulty, Valid, frame

VALID = [
    Valid("nothing", (5,), frame(0xF0), Auth()),
    Valid(
        "one step",
        (5,),
        frame(0xF0, b"\x18", b"\x08", b"\x15\x00\x01m", b"\x16\x00\x01d"),
        Auth(ReasonCode.CONTINUE_AUTHENTICATION, "m", b"d"),
        shorter_bodies=frozenset({0}),
    ),
    Valid(
        "once more, with everything",
        (5,),
        frame(0xF0, b"\x19", b"\x0f", b"\x15\x00\x01m", b"\x1f\x00\x01s", b"\x26\x00\x01k\x00\x01v"),
        Auth(ReasonCode.RE_AUTHENTICATE, "m", None, "s", (("k", "v"),)),
        shorter_bodies=frozenset({0}),
    ),
]

FAULTY = [
    Faulty("flags", (5,), frame(0xF1), 0x81, "MQTT-3.15.1-1"),
    Faulty("below version 5", BELOW_5, frame(0xF0), 0x81),
    Faulty("a code that is none", (5,), frame(0xF0, b"\x01\x04\x15\x00\x01m"), 0x82, "MQTT-3.15.2-1"),
    Faulty("a code of CONNACK", (5,), frame(0xF0, b"\x87\x04\x15\x00\x01m"), 0x82, "MQTT-3.15.2-1"),
    Faulty("a code and no properties", (5,), frame(0xF0, b"\x18"), 0x81),
    Faulty("no method", (5,), frame(0xF0, b"\x18\x04\x16\x00\x01d"), 0x82),
    Faulty("method twice", (5,), frame(0xF0, b"\x18\x08\x15\x00\x01m\x15\x00\x01m"), 0x82),
]
