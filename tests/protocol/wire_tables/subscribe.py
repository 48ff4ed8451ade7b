"""SUBSCRIBE on the wire (3.8)."""

from noctule.protocol import Subscribe, SubscriptionRequest
from protocol.wire_tables import ALL, BELOW_5, Faulty, Valid, frame

VALID = [
    Valid(
        "one filter",
        BELOW_5,
        frame(0x82, b"\x00\x01", b"\x00\x03a/b", b"\x01"),
        Subscribe(1, (SubscriptionRequest("a/b", 1),)),
    ),
    Valid(
        "one filter",
        (5,),
        frame(0x82, b"\x00\x01", b"\x00", b"\x00\x03a/b", b"\x01"),
        Subscribe(1, (SubscriptionRequest("a/b", 1),)),
    ),
    Valid(
        "three filters",
        BELOW_5,
        frame(0x82, b"\xff\xff", b"\x00\x01#", b"\x00", b"\x00\x01+", b"\x01", b"\x00\x01/", b"\x02"),
        Subscribe(65535, (SubscriptionRequest("#", 0), SubscriptionRequest("+", 1), SubscriptionRequest("/", 2))),
        shorter_bodies=frozenset({6, 10}),
    ),
    Valid(
        "every option and property",
        (5,),
        frame(
            0x82,
            b"\x00\x02",  # packet identifier
            b"\x0c",  # property length: 12
            b"\x0b\xff\xff\xff\x7f",  # subscription identifier 268,435,455
            b"\x26\x00\x01k\x00\x01v",  # user property
            b"\x00\x01a",
            b"\x2e",  # retain handling 2, retain as published, no local, QoS 2
            b"\x00\x0a$share/g/b",
            b"\x10",  # retain handling 1
        ),
        Subscribe(
            2,
            (SubscriptionRequest("a", 2, True, True, 2), SubscriptionRequest("$share/g/b", 0, False, False, 1)),
            268_435_455,
            (("k", "v"),),
        ),
        shorter_bodies=frozenset({19}),
    ),
    Valid(
        "a filter that is not well formed is still a SUBSCRIBE",
        (5,),
        frame(0x82, b"\x00\x01", b"\x00", b"\x00\x00", b"\x00", b"\x00\x02a#", b"\x00"),
        Subscribe(1, (SubscriptionRequest(""), SubscriptionRequest("a#"))),
        shorter_bodies=frozenset({6}),
    ),
]

FAULTY = [
    Faulty("flags 0000", ALL, frame(0x80, b"\x00\x01\x00\x00\x01a\x00"), 0x81, "MQTT-3.8.1-1"),
    Faulty("flags 0011", ALL, frame(0x83, b"\x00\x01\x00\x00\x01a\x00"), 0x81, "MQTT-3.8.1-1"),
    Faulty("packet identifier 0", (4,), frame(0x82, b"\x00\x00\x00\x01a\x00"), 0x82, "MQTT-2.2.1-3"),
    Faulty("packet identifier 0", (5,), frame(0x82, b"\x00\x00\x00\x00\x01a\x00"), 0x82, "MQTT-2.2.1-3"),
    Faulty("no filter", BELOW_5, frame(0x82, b"\x00\x01"), 0x82, "MQTT-3.8.3-2"),
    Faulty("no filter", (5,), frame(0x82, b"\x00\x01\x00"), 0x82, "MQTT-3.8.3-2"),
    Faulty("no options", ALL, frame(0x82, b"\x00\x01\x00\x00\x01a"), 0x81),
    Faulty("options of version 5", BELOW_5, frame(0x82, b"\x00\x01\x00\x01a\x04"), 0x81, "MQTT-3-8.3-4"),
    Faulty("QoS 3, 3.1.1", BELOW_5, frame(0x82, b"\x00\x01\x00\x01a\x03"), 0x82),
    Faulty("QoS 3", (5,), frame(0x82, b"\x00\x01\x00\x00\x01a\x03"), 0x82),
    Faulty("option bit 6", (5,), frame(0x82, b"\x00\x01\x00\x00\x01a\x40"), 0x81, "MQTT-3.8.3-5"),
    Faulty("option bit 7", (5,), frame(0x82, b"\x00\x01\x00\x00\x01a\x80"), 0x81, "MQTT-3.8.3-5"),
    Faulty("retain handling 3", (5,), frame(0x82, b"\x00\x01\x00\x00\x01a\x30"), 0x82),
    Faulty("no local, shared", (5,), frame(0x82, b"\x00\x01\x00\x00\x0a$share/g/b\x04"), 0x82, "MQTT-3.8.3-4"),
    Faulty("filter of ill-formed UTF-8", ALL, frame(0x82, b"\x00\x01\x00\x02\xc3\x28\x00"), 0x81),
    Faulty("filter with U+0000", (4,), frame(0x82, b"\x00\x01\x00\x01\x00\x00"), 0x81, "MQTT-1.5.4-2"),
    Faulty("the second filter is bad", (5,), frame(0x82, b"\x00\x01\x00\x00\x01a\x00\x00\x01b\x03"), 0x82),
    Faulty("subscription identifier 0", (5,), frame(0x82, b"\x00\x01\x02\x0b\x00\x00\x01a\x00"), 0x82),
    Faulty("subscription identifier twice", (5,), frame(0x82, b"\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00"), 0x82),
    Faulty(
        "subscription identifier not minimal",
        (5,),
        frame(0x82, b"\x00\x01\x03\x0b\x81\x00\x00\x01a\x00"),
        0x81,
        "MQTT-1.5.5-1",
    ),
    Faulty("reason string", (5,), frame(0x82, b"\x00\x01\x04\x1f\x00\x01a\x00\x01a\x00"), 0x81),
]
