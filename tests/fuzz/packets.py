"""Packets as clients send them, right ones and odd ones, and what becomes of bytes on a bad day.

Everything is made from a ``random.Random``: hypothesis has one that it can make smaller when something fails, and
plain functions over it are many times faster than strategies made of strategies.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from fuzz import wire

T = TypeVar("T")

VERSIONS = (3, 4, 5)

#: Names and filters that are right, and used by all, so that packets meet.
TOPICS = [b"a", b"a/b", b"a/b/c", b"/", b"$x/y", "é/😀".encode(), b"long" * 20]
FILTERS = [
    *TOPICS,
    b"#",
    b"+",
    b"a/+",
    b"a/#",
    b"+/b/#",
    b"$x/#",
    b"$SYS/#",
    b"$share/g/a",
    b"$share/g/#",
    b"$share/h/+/b",
]
CLIENT_IDS = [b"one", b"two", b"three"]

#: Strings that are wrong somewhere: as topic, filter, client identifier, or at all (1.5.4, 4.7, 4.8.2).
ODD_STRINGS = [
    b"",
    b"a/+b",
    b"#/a",
    b"a#",
    b"$share",
    b"$share/",
    b"$share//a",
    b"$share/g",
    b"$share/g/",
    b"$share/+/a",
    b"$share/$share/g/a",
    b"/" * 199,
    b"/" * 200,
    b"/" * 300,
    b"x" * 65_535,
    b"a\0b",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\xef\xbb\xbf",
    b"\x01",
    b"\xef\xbf\xbf",
]

#: Fields that are something, or nearly something, in many places.
ODD_FIELDS = [b"\0\1", b"\0\0", b"\xff\xff", b"\0", b"\1", b"\2", b"\3", b"\x80", b"\xff\xff\xff\xff\x7f"]

#: Remaining lengths that lie or are none.
ODD_LENGTHS = [
    b"\x00",
    b"\x7f",
    b"\xff\x7f",
    b"\xff\xff\x7f",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\x7f",
    b"\x80\x00",
    b"\x82\x00",
    b"\x80\x80\x80\x80",
]

#: First bytes with the fields that a packet of their type begins with.
_STARTS = [
    (0x30, b"\0\1a"),
    (0x32, b"\0\1a\0\1"),
    (0x35, b"\0\1a\0\1"),
    (0x82, b"\0\1"),
    (0xA2, b"\0\1"),
    (0xE0, b""),
    (0xF0, b""),
    *((first, b"\0\1\0") for first in (0x40, 0x50, 0x62, 0x70)),
]

_PROPERTIES_OF = {
    wire.CONNECT: [0x11, 0x21, 0x22, 0x27, 0x17, 0x19, 0x26],
    wire.PUBLISH: [0x01, 0x02, 0x03, 0x08, 0x09, 0x26, 0x23],
    0: [0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],  # of a Will
}

#: Values that a property of a type may have, if not in every packet; what is none of these is a string.
_VALUES: dict[str, list[object]] = {
    "u8": [0, 1],
    "u16": [*range(1, 21), 0xFFFF],
    "u32": [*range(1, 61), 1_000, 0xFFFFFFFE, 0xFFFFFFFF],
    "varint": [1, 127, 128, 16_384, 268_435_455],
}


def sample(random: Random, found: Sequence[T], most: int) -> list[T]:
    """Up to ``most`` of them, each as often as it comes."""
    return [random.choice(found) for _ in range(random.randint(0, most))]


def right_properties(random: Random, kind: int) -> tuple[tuple[int, object], ...]:
    """Properties that may stand there, each once."""
    found: dict[int, object] = {}
    for identifier in sample(random, _PROPERTIES_OF.get(kind, [0x1F, 0x26]), 3):
        type_name = wire.PROPERTY_TYPES[identifier]
        if type_name == "pair":
            found[identifier] = (random.choice(TOPICS), random.choice(TOPICS))
        else:
            found[identifier] = random.choice(_VALUES.get(type_name, TOPICS))
    if found.get(wire.ALIAS) == 0xFFFF:
        found[wire.ALIAS] = 1
    if wire.PACKET_MAXIMUM in found:  # less than about 30, and the client could not even take CONNACK
        found[wire.PACKET_MAXIMUM] = random.choice([40, 100, 1_000, 0xFFFFFFFF])
    return tuple(found.items())


def chance(random: Random, percent: int) -> bool:
    return random.randrange(100) >= 100 - percent


def connect(random: Random, version: int) -> bytes:
    """A CONNECT that is let in."""
    will = None
    if chance(random, 40):
        topic = random.choice(TOPICS)
        will = wire.Will(topic, b"will", random.randrange(3), chance(random, 50), right_properties(random, 0))
    return wire.connect(
        version,
        random.choice(CLIENT_IDS),
        clean=chance(random, 50),
        keep_alive_s=random.choice([0, 1, 60, 65_535]),
        properties=right_properties(random, wire.CONNECT),
        will=will,
        user_name=random.choice([None, b"user"]),
    )


def right_packet(random: Random, version: int) -> bytes:
    """A packet that a client may send once it is connected, but for acknowledgements and DISCONNECT."""
    packet_id = random.randint(1, 5)
    match random.randrange(6):
        case 0:
            return wire.PINGREQ_PACKET
        case 1:
            filters = [random.choice(FILTERS), *sample(random, FILTERS, 1)]
            return wire.unsubscribe(version, packet_id, filters)
        case 2 | 3:
            entries = []
            for topic_filter in [random.choice(FILTERS), *sample(random, FILTERS, 2)]:
                options = random.randrange(3)
                if version == 5:
                    options |= random.choice([0, 0x08, 0x10, 0x20])
                    options |= 0 if topic_filter.startswith(b"$share/") else random.choice([0, 0x04])
                entries.append((topic_filter, options))
            return wire.subscribe(
                version, packet_id, entries, random.choice([0, 1, 200, 268_435_455]) if version == 5 else 0
            )
    qos = random.randrange(3)
    return wire.publish(
        version,
        random.choice(TOPICS),
        random.choice([b"", b"x", b"payload" * 40]),
        qos,
        packet_id,
        retain=chance(random, 50),
        dup=qos > 0 and chance(random, 30),
        properties=right_properties(random, wire.PUBLISH),
    )


def acknowledgement(random: Random, version: int) -> bytes:
    """One that may answer something."""
    kind = random.choice([wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBREL, wire.PUBCOMP])
    code = random.choice([0, 0x92] if kind >= wire.PUBREL else [0, 0x10, 0x80, 0x97])
    packet_id = random.randint(1, 5)
    if version == 5 and chance(random, 50):
        first = kind << 4 | 2 * (kind == wire.PUBREL)
        return wire.packet(
            first, packet_id.to_bytes(2, "big"), bytes((code,)), wire.block(*right_properties(random, kind))
        )
    return wire.acknowledge(version, kind, packet_id, code)


def disconnect(random: Random, version: int) -> bytes:
    return wire.disconnect(version, random.choice([0, 4, 0x80]), random.choice([None, 0, 1, 60]))


def odd_string(random: Random) -> bytes:
    match random.randrange(4):
        case 0:
            return random.choice(FILTERS)
        case 1:
            return random.randbytes(random.randint(0, 6))
    return random.choice(ODD_STRINGS)


def odd_block(random: Random) -> bytes:
    """A property block of any properties."""
    found: list[tuple[int, object]] = []
    for _ in range(random.randint(0, 3)):
        identifier = random.choice(list(wire.PROPERTY_TYPES))
        type_name = wire.PROPERTY_TYPES[identifier]
        if chance(random, 20):
            type_name = random.choice(["u8", "text", "pair"])
        match type_name:
            case "pair":
                found.append((identifier, (odd_string(random), odd_string(random))))
            case "text" | "binary":
                found.append((identifier, odd_string(random)))
            case _:
                found.append((identifier, random.choice([0, 1, 2, 255])))
    return wire.block(*found)


def odd_field(random: Random) -> bytes:
    match random.randrange(4):
        case 0:
            return wire.prefixed(odd_string(random))
        case 1:
            return odd_block(random)
        case 2:
            return random.randbytes(random.randint(0, 4))
    return random.choice(ODD_FIELDS)


def odd_packet(random: Random, version: int) -> bytes:
    """A packet put together from fields that are right in themselves, or nearly so, of whatever type."""
    match random.randrange(8):
        case 0:
            name, level = random.choice(
                [(b"MQTT", 4), (b"MQTT", 5), (b"MQTT", 6), (b"MQIsdp", 3), (b"MQTT", 0x84), (b"mqtt", 5)]
            )
            first, start = 0x10, wire.prefixed(name) + bytes((level, random.randrange(256))) + b"\0\0"
        case 1 | 2:
            first, start = random.randrange(256), b""
        case _:
            first, start = random.choice(_STARTS)
            if version == 5 and first & 0xF0 in (0x30, 0x80, 0xA0):
                start += odd_block(random)
    return wire.packet(first, start, *(odd_field(random) for _ in range(random.randint(0, 4))))


def mutated(random: Random, data: bytes, start: int = 0) -> bytes:
    """The bytes with one thing changed, at or behind ``start``."""
    at = random.randint(start, max(start, len(data) - 1))
    size = random.choice([1, 1, 2, 4, 16, 64])
    match random.randrange(8):
        case 0 | 1:  # a bit
            return data[:at] + bytes(byte ^ 1 << random.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]
        case 2:  # a byte that means something in many places
            return (
                data[:at] + random.choice([b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"#", b"+", b"/"]) + data[at + 1 :]
            )
        case 3:  # some are missing
            return data[:at] + data[at + size :]
        case 4:  # some come twice, or somewhere else
            to = random.randint(start, max(start, len(data)))
            return data[:to] + data[at : at + size] + data[to:]
        case 5:  # some that were never there
            return data[:at] + random.randbytes(random.randint(1, 8)) + data[at:]
        case 6:  # the end is missing
            return data[:at]
    return data[: at + 1] + random.choice(ODD_LENGTHS) + data[at + 2 :]


def stream(random: Random, version: int, most: int = 8) -> bytes:
    """What one client sends: mostly CONNECT first, then up to ``most`` packets, mutated here and there."""
    start = connect(random, version) if chance(random, 90) else b""
    data = start
    for _ in range(random.randint(0, most)):
        match random.randrange(8):
            case 0 | 1 | 2 | 3:
                data += right_packet(random, version)
            case 4 | 5:
                data += acknowledgement(random, version)
            case 6:
                data += odd_packet(random, version)
            case _:
                data += disconnect(random, version) if chance(random, 30) else wire.PINGREQ_PACKET
    # One in four times CONNECT is not spared.
    spared = 0 if chance(random, 25) else len(start)
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        data = mutated(random, data, spared)
    return data


def right_stream(random: Random, version: int) -> bytes:
    """What a client sends that does everything right."""
    return connect(random, version) + b"".join(right_packet(random, version) for _ in range(random.randint(0, 10)))


def pieces(random: Random, data: bytes) -> list[bytes]:
    """The bytes as they may arrive."""
    match random.randrange(4):
        case 0:
            return [data]
        case 1:
            # Long packets come in small pieces at their beginning alone: each piece costs the same.
            size = random.choice([1, 2, 3, 7])
            head = len(data) if len(data) < 600 else 600
            return [*(data[at : min(at + size, head)] for at in range(0, head, size)), data[head:]]
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 5)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
