"""SUBACK on the wire (3.9)."""

from noctule.protocol import Suback
from protocol.wire_tables import ALL, BELOW_5, Faulty, Valid, frame

VALID = [
    Valid(
        "every code of 3.1",
        (3,),
        frame(0x90, b"\x00\x01", b"\x00\x01\x02"),
        Suback(1, (0, 1, 2)),
        shorter_bodies=frozenset({3, 4}),
        may_grow=True,
    ),
    Valid(
        "every code of 3.1.1",
        (4,),
        frame(0x90, b"\x00\x01", b"\x00\x01\x02\x80"),
        Suback(1, (0, 1, 2, 0x80)),
        shorter_bodies=frozenset({3, 4, 5}),
        may_grow=True,
    ),
    Valid(
        "every code of 5",
        (5,),
        frame(0x90, b"\x00\x01", b"\x00", b"\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2"),
        Suback(1, (0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)),
        shorter_bodies=frozenset(range(4, 15)),
        may_grow=True,
    ),
    Valid(
        "properties",
        (5,),
        frame(0x90, b"\xff\xff", b"\x0b", b"\x1f\x00\x01s", b"\x26\x00\x01k\x00\x01v", b"\x87"),
        Suback(65535, (0x87,), "s", (("k", "v"),)),
        may_grow=True,
    ),
]

FAULTY = [
    Faulty("flags", ALL, frame(0x92, b"\x00\x01\x00\x00"), 0x81, "MQTT-2.1.3-1"),
    Faulty("packet identifier 0", BELOW_5, frame(0x90, b"\x00\x00\x00"), 0x82, "MQTT-2.2.1-3"),
    Faulty("no code", BELOW_5, frame(0x90, b"\x00\x01"), 0x81),
    Faulty("no code", (5,), frame(0x90, b"\x00\x01\x00"), 0x81),
    Faulty("code 3", ALL, frame(0x90, b"\x00\x01\x00\x03"), 0x82, "MQTT-3.9.3-2"),
    Faulty("a failure code in 3.1", (3,), frame(0x90, b"\x00\x01\x80"), 0x82, "MQTT-3.9.3-2"),
    Faulty("a code of version 5 in 3.1.1", (4,), frame(0x90, b"\x00\x01\x87"), 0x82, "MQTT-3.9.3-2"),
    Faulty("a code of UNSUBACK", (5,), frame(0x90, b"\x00\x01\x00\x11"), 0x82, "MQTT-3.9.3-2"),
]
