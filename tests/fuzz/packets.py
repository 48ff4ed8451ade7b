"""Strategies: packets as clients send them, right ones and odd ones, and what becomes of bytes on a bad day."""

from typing import Any

from fuzz import wire
from hypothesis import strategies as st

VERSIONS = (3, 4, 5)

#: Names and filters that are right, and used by all, so that packets meet.
TOPICS = [b"a", b"a/b", b"a/b/c", b"/", b"$SYS/x", "é/😀".encode(), b"long" * 20]
FILTERS = [*TOPICS, b"#", b"+", b"a/+", b"a/#", b"+/b/#", b"$SYS/#", b"$share/g/a", b"$share/g/#", b"$share/h/+/b"]
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

_PROPERTIES_OF = {
    wire.CONNECT: [0x11, 0x21, 0x22, 0x27, 0x17, 0x19, 0x26],
    wire.PUBLISH: [0x01, 0x02, 0x03, 0x08, 0x09, 0x26, 0x23],
    wire.SUBSCRIBE: [0x0B, 0x26],
    wire.DISCONNECT: [0x11, 0x1F, 0x26],
    wire.AUTH: [0x15, 0x16, 0x1F, 0x26],
    0: [0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],  # of a Will
}

Property = tuple[int, object]


def _value(identifier: int) -> st.SearchStrategy[Any]:
    """A value that the property may have, if not in every packet."""
    match wire.PROPERTY_TYPES[identifier]:
        case "u8":
            return st.integers(0, 1)
        case "u16":
            return st.integers(1, 20) | st.just(0xFFFF)
        case "u32":
            return st.integers(1, 60) | st.sampled_from([1_000, 0xFFFFFFFE, 0xFFFFFFFF])
        case "varint":
            return st.sampled_from([1, 127, 128, 16_384, 268_435_455])
        case "pair":
            return st.tuples(st.sampled_from(TOPICS), st.sampled_from(TOPICS))
    return st.sampled_from(TOPICS)


def _properties(kind: int) -> st.SearchStrategy[list[Property]]:
    """Properties that may stand there, each at most once but for User Properties."""
    one = st.sampled_from(_PROPERTIES_OF.get(kind, [0x1F, 0x26])).flatmap(
        lambda identifier: st.tuples(st.just(identifier), _value(identifier))
    )
    return st.lists(one, max_size=3, unique_by=lambda found: found[0])


packet_ids = st.integers(1, 5)
qualities = st.integers(0, 2)


@st.composite
def wills(draw: st.DrawFn) -> wire.Will:
    return wire.Will(
        draw(st.sampled_from(TOPICS)), b"will", draw(qualities), draw(st.booleans()), tuple(draw(_properties(0)))
    )


@st.composite
def connects(draw: st.DrawFn, version: int) -> bytes:
    """A CONNECT that is let in."""
    return wire.connect(
        version,
        draw(st.sampled_from(CLIENT_IDS)),
        clean=draw(st.booleans()),
        keep_alive_s=draw(st.sampled_from([0, 1, 60, 65_535])),
        properties=draw(_properties(wire.CONNECT)),
        will=draw(st.none() | wills()),
        user_name=draw(st.sampled_from([None, b"user"])),
    )


@st.composite
def publishes(draw: st.DrawFn, version: int) -> bytes:
    qos = draw(qualities)
    payload = draw(st.sampled_from([b"", b"x", b"payload" * 40]))
    properties = [(found, value) for found, value in draw(_properties(wire.PUBLISH)) if found != wire.ALIAS or value != 0xFFFF]
    dup = qos > 0 and draw(st.booleans())
    retain = draw(st.booleans())
    topic = draw(st.sampled_from(TOPICS))
    return wire.publish(version, topic, payload, qos, draw(packet_ids), retain=retain, dup=dup, properties=properties)


@st.composite
def subscribes(draw: st.DrawFn, version: int) -> bytes:
    entries = []
    for topic_filter in draw(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3)):
        options = draw(qualities)
        if version == 5:
            options |= draw(st.sampled_from([0, 0x08, 0x10, 0x20]))
            if not topic_filter.startswith(b"$share/"):
                options |= draw(st.sampled_from([0, 0x04]))
        entries.append((topic_filter, options))
    identifier = draw(st.sampled_from([0, 1, 200, 268_435_455])) if version == 5 else 0
    return wire.subscribe(version, draw(packet_ids), entries, identifier)


@st.composite
def acknowledgements(draw: st.DrawFn, version: int) -> bytes:
    kind = draw(st.sampled_from([wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBREL, wire.PUBCOMP]))
    code = draw(st.sampled_from([0, 0x92] if kind >= wire.PUBREL else [0, 0x10, 0x80, 0x97]))
    if version == 5 and draw(st.booleans()):
        properties = wire.block(*draw(_properties(kind)))
        return wire.packet(kind << 4 | 2 * (kind == wire.PUBREL), draw(packet_ids).to_bytes(2, "big"), bytes((code,)), properties)
    return wire.acknowledge(version, kind, draw(packet_ids), code)


@st.composite
def unsubscribes(draw: st.DrawFn, version: int) -> bytes:
    return wire.unsubscribe(version, draw(packet_ids), draw(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=2)))


@st.composite
def disconnects(draw: st.DrawFn, version: int) -> bytes:
    return wire.disconnect(version, draw(st.sampled_from([0, 4, 0x80])), draw(st.sampled_from([None, 0, 1, 60])))


def right_packets(version: int) -> st.SearchStrategy[bytes]:
    """A packet that a client may send once it is connected, but for acknowledgements of what it was never sent."""
    return st.one_of(
        publishes(version), publishes(version), subscribes(version), subscribes(version), unsubscribes(version),
        st.just(wire.PINGREQ_PACKET),
    )  # fmt: skip


@st.composite
def odd_packets(draw: st.DrawFn, version: int) -> bytes:
    """A packet put together from fields that are right in themselves, or nearly so, of whatever type."""
    any_string = st.sampled_from(ODD_STRINGS) | st.sampled_from(FILTERS) | st.binary(max_size=6)
    any_property = st.tuples(
        st.sampled_from(sorted(wire.PROPERTY_TYPES)),
        st.one_of(st.sampled_from([0, 1, 2, 255]), any_string, st.tuples(any_string, any_string)),
    )
    any_block = st.lists(any_property, max_size=3).map(lambda found: wire.block(*found))
    any_field = st.one_of(
        any_string.map(wire.prefixed),
        any_block,
        st.sampled_from([b"\0\1", b"\0\0", b"\xff\xff", b"\0", b"\1", b"\2", b"\3", b"\x80", b"\xff\xff\xff\xff\x7f"]),
        st.binary(max_size=4),
    )
    if draw(st.integers(0, 7)) == 0:
        name, level = draw(st.sampled_from([(b"MQTT", 4), (b"MQTT", 5), (b"MQTT", 6), (b"MQIsdp", 3), (b"MQTT", 0x84), (b"mqtt", 5)]))
        start = wire.prefixed(name) + bytes((level, draw(st.integers(0, 255)))) + b"\0\0"
        return wire.packet(0x10, start, *draw(st.lists(any_field, max_size=5)))
    if draw(st.booleans()):
        # Of a known type, whose first fields are right.
        first, start = draw(
            st.sampled_from(
                [(0x30, b"\0\1a"), (0x32, b"\0\1a\0\1"), (0x35, b"\0\1a\0\1"), (0x82, b"\0\1"), (0xA2, b"\0\1"), (0xE0, b""), (0xF0, b"")]
                + [(first, b"\0\1\0") for first in (0x40, 0x50, 0x62, 0x70)]
            )
        )
        if version == 5 and first & 0xF0 in (0x30, 0x80, 0xA0):
            start += draw(any_block)
    else:
        first, start = draw(st.integers(0, 255)), b""
    return wire.packet(first, start, *draw(st.lists(any_field, max_size=4)))


#: Remaining lengths that lie or are none.
_LENGTHS = [b"\x00", b"\x7f", b"\xff\x7f", b"\xff\xff\x7f", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x7f", b"\x80\x00", b"\x82\x00", b"\x80\x80\x80\x80"]


@st.composite
def mutations(draw: st.DrawFn, data: bytes, start: int = 0) -> bytes:
    """The bytes with one thing changed, at or behind ``start``."""
    at = draw(st.integers(start, max(start, len(data) - 1)))
    size = draw(st.sampled_from([1, 1, 2, 4, 16, 64]))
    match draw(st.integers(0, 7)):
        case 0 | 1:  # a bit
            return data[:at] + bytes((byte ^ 1 << draw(st.integers(0, 7))) for byte in data[at : at + 1]) + data[at + 1 :]
        case 2:  # a byte that means something in many places
            return data[:at] + draw(st.sampled_from([b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"#", b"+", b"/"])) + data[at + 1 :]
        case 3:  # some are missing
            return data[:at] + data[at + size :]
        case 4:  # some come twice, or somewhere else
            to = draw(st.integers(start, max(start, len(data))))
            return data[:to] + data[at : at + size] + data[to:]
        case 5:  # some that were never there
            return data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
        case 6:  # the end
            return data[:at]
    return data[: at + 1] + draw(st.sampled_from(_LENGTHS)) + data[at + 2 :]


@st.composite
def streams(draw: st.DrawFn, version: int) -> bytes:
    """What one client sends: mostly CONNECT first, then packets, mutated here and there."""
    connect = draw(connects(version)) if draw(st.integers(0, 9)) else b""
    packets = st.one_of(
        right_packets(version), right_packets(version), acknowledgements(version), odd_packets(version), disconnects(version)
    )
    data = connect + b"".join(draw(st.lists(packets, max_size=8)))
    # One in four times CONNECT is not spared.
    start = 0 if draw(st.integers(0, 3)) == 0 else len(connect)
    for _ in range(draw(st.integers(0, 3))):
        data = draw(mutations(data, start))
    return data


@st.composite
def right_streams(draw: st.DrawFn, version: int) -> bytes:
    """What a client sends that does everything right; its aliases stay within the broker's maximum."""
    return draw(connects(version)) + b"".join(draw(st.lists(right_packets(version), max_size=10)))


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes as they may arrive."""
    match draw(st.integers(0, 3)):
        case 0:
            return [data]
        case 1:
            size = draw(st.sampled_from([1, 2, 3, 7]))
            # Long packets come in pieces only at their beginning: each piece costs the same.
            return [data[at : at + size] for at in range(0, min(len(data), 600), size)] + [data[600 + (-600) % size :]]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
