"""WebSocket frames of a client: a table of bytes, cut anywhere; anything at all; and what wsproto writes."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule._speedups.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameDecoder, frame
from wsproto.frame_protocol import Frame, FrameProtocol, Opcode

MASK = b"\x37\xfa\x21\x3d"


def masked(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    bits: int = 0,
    mask: bytes = MASK,
    length: bytes | None = None,
) -> bytes:
    """A client's frame; ``length``: what stands there in place of the right one."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        else:
            length = struct.pack(">BH", 126, size) if size < 65_536 else struct.pack(">BQ", 127, size)
    head = bytes([opcode | (0x80 if fin else 0) | bits, length[0] | 0x80]) + length[1:]
    return head + mask + bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))


Control = tuple[tuple[int, bytes], ...]

#: Name: bytes, payload, control frames.
GOOD: dict[str, tuple[bytes, bytes, Control]] = {
    "nothing in it": (masked(BINARY), b"", ()),
    "one byte, as MQTT.js begins": (masked(BINARY, b"\x10") + masked(BINARY, b"\x0c\x00"), b"\x10\x0c\x00", ()),
    "125 bytes": (masked(BINARY, b"a" * 125), b"a" * 125, ()),
    "126 bytes": (masked(BINARY, b"b" * 126), b"b" * 126, ()),
    "65,535 bytes": (masked(BINARY, b"c" * 65_535), b"c" * 65_535, ()),
    "65,536 bytes": (masked(BINARY, b"d" * 65_536), b"d" * 65_536, ()),
    "a mask of nulls": (masked(BINARY, b"plain", mask=b"\0\0\0\0"), b"plain", ()),
    "fragments": (
        masked(BINARY, b"ab", fin=False) + masked(CONTINUATION, b"", fin=False) + masked(CONTINUATION, b"cd"),
        b"abcd",
        (),
    ),
    "a Ping between fragments": (
        masked(BINARY, b"ab", fin=False) + masked(PING, b"still there?") + masked(CONTINUATION, b"cd"),
        b"abcd",
        ((PING, b"still there?"),),
    ),
    "the largest Ping": (masked(PING, b"p" * 125), b"", ((PING, b"p" * 125),)),
    "a Pong that nobody asked for": (masked(PONG), b"", ((PONG, b""),)),
    "a Close, and what does not count": (
        masked(BINARY, b"a") + masked(CLOSE, b"\x03\xe8bye") + masked(BINARY, b"b") + b"\xff\xff",
        b"a",
        ((CLOSE, b"\x03\xe8bye"),),
    ),
}

#: Name: bytes, the payload before it, close code, a part of the text.
BAD: dict[str, tuple[bytes, bytes, int, str]] = {
    "text": (masked(BINARY, b"a") + masked(TEXT, b"b"), b"a", 1003, "a text frame"),
    "not masked": (b"\x82\x01a", b"", 1002, "not masked"),
    "a reserved bit": (masked(BINARY, b"a", bits=0x40), b"", 1002, "reserved bits"),
    "another reserved bit": (masked(BINARY, b"a", bits=0x10), b"", 1002, "reserved bits"),
    "a reserved opcode": (masked(3, b"a"), b"", 1002, "reserved opcode"),
    "a reserved control opcode": (masked(11, b"a"), b"", 1002, "reserved opcode"),
    "a control frame that is too large": (masked(PING, b"a" * 126), b"", 1002, "larger than 125"),
    "a control frame in fragments": (masked(PING, b"a", fin=False), b"", 1002, "in fragments"),
    "a fragment without a beginning": (masked(CONTINUATION, b"a"), b"", 1002, "a fragment"),
    "a message within another": (
        masked(BINARY, b"a", fin=False) + masked(BINARY, b"b"),
        b"a",
        1002,
        "a fragment",
    ),
    "a fragment behind the last": (
        masked(BINARY, b"a", fin=False) + masked(CONTINUATION, b"b") + masked(CONTINUATION, b"c"),
        b"ab",
        1002,
        "a fragment",
    ),
    "two bytes for a small length": (masked(BINARY, length=b"\x7e\x00\x7d"), b"", 1002, "more bytes than it needs"),
    "eight bytes for a small length": (
        masked(BINARY, length=b"\x7f" + struct.pack(">Q", 65_535)),
        b"",
        1002,
        "more bytes than it needs",
    ),
    "a length with its top bit": (masked(BINARY, length=b"\x7f" + b"\x80" + bytes(7)), b"", 1002, "too large"),
}


def fed(pieces: list[bytes]) -> tuple[bytes, Control, tuple[int, str] | None]:
    """All that comes of the pieces."""
    decoder = FrameDecoder()
    payload, control = b"", ()
    fault = None
    for piece in pieces:
        more, controls, fault_now = decoder.feed(piece)
        assert len(more) <= len(piece)
        if fault is not None:
            assert (more, controls, fault_now) == (b"", (), None), "something was read behind a fault"
        payload += more
        control += controls
        fault = fault or fault_now
    return payload, control, fault


def cuts(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte (the long ones near their ends), and in two at some places."""
    if len(data) > 1_000:
        ends = [*range(30), *range(30, len(data) - 30, 4_093), *range(len(data) - 30, len(data) + 1)]
        return [[data], [data[a:b] for a, b in pairwise(ends)]]
    return [[data], [bytes([byte]) for byte in data], *([data[:at], data[at:]] for at in range(1, len(data), 7))]


@pytest.mark.parametrize("name", GOOD)
def test_frames(name: str) -> None:
    data, payload, control = GOOD[name]
    for pieces in cuts(data):
        assert fed(pieces) == (payload, control, None)


@pytest.mark.parametrize("name", BAD)
def test_bad_frames(name: str) -> None:
    """The payload before the fault is there; nothing behind it is."""
    data, payload, code, text = BAD[name]
    for pieces in cuts(data + masked(BINARY, b"behind")):
        found, control, fault = fed(pieces)
        assert (found, control) == (payload, ())
        assert fault is not None
        assert fault[0] == code
        assert text in fault[1]


def test_a_length_that_is_announced_takes_no_memory() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(masked(BINARY, length=b"\x7f\x7f" + b"\xff" * 7)) == (b"", (), None)
    assert decoder.feed(bytes(10))[0] == (MASK * 3)[:10]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes(pieces: list[bytes]) -> None:
    """The result does not depend on how the bytes are cut."""
    assert fed(pieces) == fed([b"".join(pieces)])


@given(
    st.lists(
        st.tuples(st.sampled_from([Opcode.BINARY, Opcode.PING, Opcode.PONG]), st.binary(max_size=300), st.booleans()),
        max_size=12,
    ),
    st.lists(st.integers(1, 50), min_size=1),
)
def test_what_another_implementation_writes(frames: list[tuple[Opcode, bytes, bool]], sizes: list[int]) -> None:
    writer = FrameProtocol(client=True, extensions=[])
    data, payload = b"", b""
    control: list[tuple[int, bytes]] = []
    for opcode, content, is_last in frames:
        if opcode is Opcode.BINARY:
            data += writer.send_data(content, fin=is_last)
            payload += content
        else:
            content = content[:125]
            data += writer.ping(content) if opcode is Opcode.PING else writer.pong(content)
            control.append((int(opcode), content))
    pieces, at = [], 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    assert fed(pieces) == (payload, tuple(control), None)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_our_frames_are_read_by_another_implementation(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    reader = FrameProtocol(client=True, extensions=[])
    reader.receive_bytes(frame(BINARY, payload))
    found: list[Frame] = list(reader.received_frames())
    assert b"".join(bytes(one.payload) for one in found) == payload
    assert found[-1].message_finished
    assert {one.opcode for one in found} == {Opcode.BINARY}


def test_a_control_frame_of_ours_is_not_too_large() -> None:
    assert frame(PONG, b"a" * 125) == b"\x8a\x7d" + b"a" * 125
    with pytest.raises(ValueError, match="125 bytes at most, not 126"):
        frame(PONG, b"a" * 126)
