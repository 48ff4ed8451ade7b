"""UNSUBSCRIBE on the wire (3.10)."""

from noctule.protocol import Unsubscribe
from protocol.wire_tables import ALL, BELOW_5, Faulty, Valid, frame

VALID = [
    Valid("one filter", BELOW_5, frame(0xA2, b"\x00\x01", b"\x00\x03a/b"), Unsubscribe(1, ("a/b",))),
    Valid("one filter", (5,), frame(0xA2, b"\x00\x01", b"\x00", b"\x00\x03a/b"), Unsubscribe(1, ("a/b",))),
    Valid(
        "two filters",
        BELOW_5,
        frame(0xA2, b"\xff\xff", b"\x00\x01#", b"\x00\x01+"),
        Unsubscribe(65535, ("#", "+")),
        shorter_bodies=frozenset({5}),
    ),
    Valid(
        "a user property",
        (5,),
        frame(0xA2, b"\x00\x02", b"\x07", b"\x26\x00\x01k\x00\x01v", b"\x00\x01a", b"\x00\x01b"),
        Unsubscribe(2, ("a", "b"), (("k", "v"),)),
        shorter_bodies=frozenset({13}),
    ),
]

FAULTY = [
    Faulty("flags 0000", ALL, frame(0xA0, b"\x00\x01\x00\x00\x01a"), 0x81, "MQTT-3.10.1-1"),
    Faulty("packet identifier 0", ALL, frame(0xA2, b"\x00\x00\x00\x00\x01a"), 0x82, "MQTT-2.2.1-3"),
    Faulty("no filter", BELOW_5, frame(0xA2, b"\x00\x01"), 0x82, "MQTT-3.10.3-2"),
    Faulty("no filter", (5,), frame(0xA2, b"\x00\x01\x00"), 0x82, "MQTT-3.10.3-2"),
    Faulty("filter of ill-formed UTF-8", (4,), frame(0xA2, b"\x00\x01\x00\x01\xff"), 0x81, "MQTT-1.5.4-1"),
    Faulty("subscription identifier", (5,), frame(0xA2, b"\x00\x01\x02\x0b\x01\x00\x01a"), 0x81),
]
