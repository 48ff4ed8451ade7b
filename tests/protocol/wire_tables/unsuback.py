"""UNSUBACK on the wire (3.11)."""

from noctule.protocol import Unsuback
from protocol.wire_tables import ALL, BELOW_5, Faulty, Valid, frame

VALID = [
    Valid("of 3.x", BELOW_5, frame(0xB0, b"\x00\x01"), Unsuback(1)),
    Valid(
        "every code",
        (5,),
        frame(0xB0, b"\x00\x01", b"\x00", b"\x00\x11\x80\x83\x87\x8f\x91"),
        Unsuback(1, (0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)),
        shorter_bodies=frozenset(range(4, 10)),
        may_grow=True,
    ),
    Valid(
        "properties",
        (5,),
        frame(0xB0, b"\x00\x01", b"\x0b", b"\x1f\x00\x01s", b"\x26\x00\x01k\x00\x01v", b"\x11"),
        Unsuback(1, (0x11,), "s", (("k", "v"),)),
        may_grow=True,
    ),
]

FAULTY = [
    Faulty("flags", ALL, frame(0xB2, b"\x00\x01"), 0x81, "MQTT-2.1.3-1"),
    Faulty("packet identifier 0", ALL, frame(0xB0, b"\x00\x00"), 0x82, "MQTT-2.2.1-3"),
    Faulty("no code", (5,), frame(0xB0, b"\x00\x01\x00"), 0x81),
    Faulty("a code of SUBACK", (5,), frame(0xB0, b"\x00\x01\x00\x01"), 0x82, "MQTT-3.11.3-2"),
]
