"""MQTT's UTF-8 rules: a table of strings that are right and wrong, and a comparison with Python's own decoder."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from noctule._speedups.utf8 import utf8_fault

ILL_FORMED = "ill-formed UTF-8"
NULL = "the null character U+0000"
CONTROL = "a control character"
NONCHARACTER = "a Unicode non-character"

RIGHT = {
    "nothing": b"",
    "one letter": b"a",
    "printable ASCII": bytes(range(0x20, 0x7F)),
    "eight bytes, a whole word": b"abcdefgh",
    "nine bytes": b"abcdefghi",
    "two-byte form, least above the controls": "\u00a0".encode(),
    "two-byte form, greatest": "\u07ff".encode(),
    "three-byte form, least": "\u0800".encode(),
    "below the surrogates": "\ud7ff".encode(),
    "above the surrogates": "\ue000".encode(),
    "below the non-characters": "\ufdcf".encode(),
    "above the non-characters": "\ufdf0".encode(),
    "replacement character": "\ufffd".encode(),
    "byte order mark, which is kept [MQTT-1.5.4-3]": b"\xef\xbb\xbfa",
    "four-byte form, least": "\U00010000".encode(),
    "the last character of the last plane": "\U0010fffd".encode(),
    "65,535 bytes": b"x" * 65_535,
}

WRONG = {
    "continuation byte alone": (b"\x80", ILL_FORMED),
    "overlong slash C0 AF": (b"\xc0\xaf", ILL_FORMED),
    "overlong null C0 80": (b"\xc0\x80", ILL_FORMED),
    "overlong C1 BF": (b"\xc1\xbf", ILL_FORMED),
    "overlong of three bytes": (b"\xe0\x9f\xbf", ILL_FORMED),
    "overlong of four bytes": (b"\xf0\x8f\xbf\xbf", ILL_FORMED),
    "lowest surrogate": (b"\xed\xa0\x80", ILL_FORMED),
    "highest surrogate": (b"\xed\xbf\xbf", ILL_FORMED),
    "surrogate pair (CESU-8)": (b"\xed\xa0\x81\xed\xb0\x80", ILL_FORMED),
    "above U+10FFFF": (b"\xf4\x90\x80\x80", ILL_FORMED),
    "lead byte F5": (b"\xf5\x80\x80\x80", ILL_FORMED),
    "lead byte FE": (b"\xfe", ILL_FORMED),
    "lead byte FF": (b"\xff", ILL_FORMED),
    "cut after the first of two": (b"a\xc3", ILL_FORMED),
    "cut after two of three": (b"\xe2\x82", ILL_FORMED),
    "cut after three of four": (b"\xf0\x9f\x98", ILL_FORMED),
    "a letter in place of a continuation byte": (b"\xe2\x82a", ILL_FORMED),
    "U+0000": (b"a\0b", NULL),
    "U+0001": (b"\x01", CONTROL),
    "U+001F": (b"\x1f", CONTROL),
    "line feed, within a word of eight": (b"abc\ndefgh", CONTROL),
    "U+007F": (b"\x7f", CONTROL),
    "U+0080": (b"\xc2\x80", CONTROL),
    "U+009F": (b"\xc2\x9f", CONTROL),
    "U+FDD0": ("\ufdd0".encode(), NONCHARACTER),
    "U+FDEF": ("\ufdef".encode(), NONCHARACTER),
    "U+FFFE": ("\ufffe".encode(), NONCHARACTER),
    "U+FFFF": ("\uffff".encode(), NONCHARACTER),
    "U+1FFFE": ("\U0001fffe".encode(), NONCHARACTER),
    "U+10FFFF": ("\U0010ffff".encode(), NONCHARACTER),
}


@pytest.mark.parametrize("data", RIGHT.values(), ids=RIGHT)
def test_accepted(data: bytes) -> None:
    assert utf8_fault(data) is None


@pytest.mark.parametrize(("data", "fault"), WRONG.values(), ids=WRONG)
def test_refused(data: bytes, fault: str) -> None:
    """[MQTT-1.5.4-1] [MQTT-1.5.4-2], and what the specification only discourages."""
    assert utf8_fault(data) == fault


@pytest.mark.parametrize(("data", "fault"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("offset", range(10))
def test_refused_wherever_it_stands(data: bytes, fault: str, offset: int) -> None:
    """Eight bytes at a time are looked at where they are ASCII: a fault must show at each place in the word."""
    assert utf8_fault(b"a" * offset + data) == fault
    if not data.endswith((b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98")):
        assert utf8_fault(b"a" * offset + data + b"a" * 9) == fault


@pytest.mark.parametrize("size", range(1, 18))
def test_each_byte_alone_in_ascii(size: int) -> None:
    """At each place in strings whose ends are words of eight bytes, and in those with one to seven bytes more."""
    for byte in range(256):
        for offset in range(size):
            data = b"a" * offset + bytes((byte,)) + b"a" * (size - offset - 1)
            assert utf8_fault(data) == naive_fault(data), (offset, byte)


def naive_fault(data: bytes) -> str | None:
    """The first fault, by way of Python's decoder."""
    try:
        text, cut = data.decode(), False
    except UnicodeDecodeError as error:
        text, cut = data[: error.start].decode(), True
    for character in text:
        point = ord(character)
        if point == 0:
            return NULL
        if point < 0x20 or 0x7F <= point <= 0x9F:
            return CONTROL
        if 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE:
            return NONCHARACTER
    return ILL_FORMED if cut else None


@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\xef\xbb\xbf")
def test_as_python_decodes(data: bytes) -> None:
    assert utf8_fault(data) == naive_fault(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(kind: type) -> None:
    assert utf8_fault(kind(b"topic")) is None
    assert utf8_fault(kind(b"\xff")) == ILL_FORMED
    assert utf8_fault(kind(b"")) is None
