"""PacketReader, which never reads past its bytes, and the variable byte integer."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule._speedups.buffers import MALFORMED_PACKET, PacketError, PacketReader, encode_varint

# [MQTT-1.5.5-1]: the bounds of each length, from the table of section 1.5.5.
VARINTS = {
    0: b"\x00",
    1: b"\x01",
    127: b"\x7f",
    128: b"\x80\x01",
    16_383: b"\xff\x7f",
    16_384: b"\x80\x80\x01",
    2_097_151: b"\xff\xff\x7f",
    2_097_152: b"\x80\x80\x80\x01",
    268_435_455: b"\xff\xff\xff\x7f",
}

# Each method, bytes that it reads whole, and what it gives for them.
FIELDS: dict[str, tuple[Callable[[PacketReader], object], bytes, object]] = {
    "u8": (PacketReader.u8, b"\xfe", 254),
    "u16": (PacketReader.u16, b"\x01\x02", 258),
    "u32": (PacketReader.u32, b"\xff\x00\x00\x01", 4_278_190_081),
    "varint": (PacketReader.varint, b"\xff\xff\xff\x7f", 268_435_455),
    "take": (lambda reader: reader.take(3), b"abc", b"abc"),
    "binary": (PacketReader.binary, b"\x00\x03\x00\xff\x01", b"\x00\xff\x01"),
    "empty binary": (PacketReader.binary, b"\x00\x00", b""),
    "utf8": (PacketReader.utf8, b"\x00\x03\xe2\x82\xac", "€"),
    "empty utf8": (PacketReader.utf8, b"\x00\x00", ""),
    "section": (lambda reader: reader.section(2).rest(), b"ab", b"ab"),
}


def refused(reader: PacketReader, read: Callable[[PacketReader], object], rule: str = "") -> PacketError:
    with pytest.raises(PacketError) as caught:
        read(reader)
    assert caught.value.reason_code == MALFORMED_PACKET
    assert caught.value.rule == rule
    return caught.value


@pytest.mark.parametrize(("read", "data", "value"), FIELDS.values(), ids=FIELDS)
def test_a_field_is_read_and_no_byte_more(read: Callable[[PacketReader], object], data: bytes, value: object) -> None:
    reader = PacketReader(data + b"rest")
    assert read(reader) == value
    assert reader.remaining == 4
    assert reader.rest() == b"rest"
    assert reader.remaining == 0


@pytest.mark.parametrize(("read", "data", "value"), FIELDS.values(), ids=FIELDS)
def test_a_field_cut_off_at_any_byte_is_refused(
    read: Callable[[PacketReader], object], data: bytes, value: object
) -> None:
    for size in range(len(data)):
        reader = PacketReader(data[:size])
        refused(reader, read)


def test_the_error_names_the_field() -> None:
    assert str(refused(PacketReader(b""), lambda reader: reader.u16("the keep alive"))) == (
        "the packet ends before the keep alive"
    )


def test_a_size_below_zero_is_refused() -> None:
    reader = PacketReader(b"abc")
    reader.u8()
    refused(reader, lambda reader: reader.take(-1))
    refused(reader, lambda reader: reader.section(-1))
    assert reader.rest() == b"bc"


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"\xc0\xaf", "MQTT-1.5.4-1"),
        (b"\xed\xa0\x80", "MQTT-1.5.4-1"),
        (b"a\0", "MQTT-1.5.4-2"),
        (b"\n", ""),
        (b"\xef\xbf\xbf", ""),
    ],
)
def test_strings_obey_mqtts_rules(data: bytes, rule: str) -> None:
    refused(PacketReader(bytes((0, len(data))) + data), PacketReader.utf8, rule)


def test_a_byte_order_mark_is_kept() -> None:
    """[MQTT-1.5.4-3]"""
    assert PacketReader(b"\x00\x04\xef\xbb\xbfa").utf8() == "\ufeffa"


def test_a_section_ends_where_it_was_told_to() -> None:
    reader = PacketReader(b"\x00\x05abc")
    section = reader.section(3)
    refused(section, PacketReader.binary)  # its length is in the section, its bytes are not
    assert reader.rest() == b"bc"


def test_a_section_outlives_its_reader() -> None:
    section = PacketReader(bytes(100) + b"end").section(103)
    section.take(100)
    assert section.rest() == b"end"


def test_bytes_too_many_are_refused() -> None:
    reader = PacketReader(b"ab")
    refused(reader, lambda reader: reader.expect_end("DISCONNECT"))
    reader.take(2)
    reader.expect_end("DISCONNECT")


@pytest.mark.parametrize(("value", "encoded"), VARINTS.items())
def test_varint_bounds(value: int, encoded: bytes) -> None:
    assert encode_varint(value) == encoded
    reader = PacketReader(encoded)
    assert reader.varint() == value
    assert reader.remaining == 0


@pytest.mark.parametrize(
    "data",
    [b"\x80\x00", b"\x81\x00", b"\x80\x80\x00", b"\x80\x80\x80\x00", b"\xff\xff\xff\xff", b"\x80\x80\x80\x80\x01"],
)
def test_a_varint_that_is_longer_than_it_must_be_is_refused(data: bytes) -> None:
    refused(PacketReader(data), PacketReader.varint, "MQTT-1.5.5-1")


@pytest.mark.parametrize("value", [-1, 268_435_456, 1 << 40])
def test_a_varint_out_of_range_is_our_fault(value: int) -> None:
    with pytest.raises(ValueError, match="variable byte integer"):
        encode_varint(value)


@given(st.integers(0, 268_435_455))
def test_varint_round_trip(value: int) -> None:
    encoded = encode_varint(value)
    assert PacketReader(encoded).varint() == value
    # The shortest form there is.
    assert len(encoded) == 1 + sum(value >= bound for bound in (128, 16_384, 2_097_152))


@given(st.binary(max_size=30), st.lists(st.sampled_from(sorted(FIELDS)), max_size=8))
def test_any_bytes_give_fields_or_a_packet_error(data: bytes, fields: list[str]) -> None:
    reader = PacketReader(data)
    for name in fields:
        before = reader.remaining
        with suppress(PacketError):
            FIELDS[name][0](reader)
        assert 0 <= reader.remaining <= before
    assert data.endswith(reader.rest())
