"""Rows as columns of bytes, and back: how a segment keeps many rows at the price of a few.

A column is a kind, the length of what follows, and that: one value that all rows share, numbers that count up by one,
or all values. Numbers are little-endian, as wide as the largest needs. Every length is checked when it is read.
"""

import math
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, islice, pairwise
from operator import lt
from typing import Final

_HEAD: Final = struct.Struct("<cI")
_NUMBER: Final = struct.Struct("<Q")

#: The kinds of columns that are not arrays; those have the letter of their type in ``array``.
_SAME: Final = b"="
_RISING: Final = b"+"
_BYTES: Final = b"*"

#: The types of arrays of numbers, and below what their values are.
_WIDTHS: Final = ((b"B", 1 << 8), (b"H", 1 << 16), (b"I", 1 << 32), (b"Q", 1 << 64))
_TIMES: Final = b"d"


class ColumnError(Exception):
    """Bytes that no column is made of."""


def is_rising(numbers: Sequence[int]) -> bool:
    """Whether each number is larger than the one before it."""
    return all(map(lt, numbers, islice(numbers, 1, None)))


def _column(kind: bytes, content: bytes) -> bytes:
    return _HEAD.pack(kind, len(content)) + content


def _array(kind: bytes, content: bytes | Sequence[int] | Sequence[float]) -> "array[int] | array[float]":
    """An array of what is, or shall be, in the file; ValueError where the bytes are no whole number of values."""
    values: array[int] | array[float] = array(kind.decode(), content)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def pack_integers(numbers: Sequence[int]) -> bytes:
    """A column of numbers from 0 to 2**64 - 1; there is at least one. OverflowError for others."""
    first, count = numbers[0], len(numbers)
    if numbers.count(first) == count:
        return _column(_SAME, _NUMBER.pack(first))
    if numbers[-1] - first == count - 1 and is_rising(numbers):
        return _column(_RISING, _NUMBER.pack(first))
    highest = max(numbers)
    kind = next((kind for kind, limit in _WIDTHS if highest < limit), _WIDTHS[-1][0])
    return _column(kind, _array(kind, numbers).tobytes())


def pack_bytes(values: Sequence[bytes]) -> bytes:
    """A column of texts; there is at least one."""
    if values.count(values[0]) == len(values):
        return _column(_SAME, values[0])
    return _column(_BYTES, pack_integers(list(map(len, values))) + b"".join(values))


def pack_times(values: Sequence[float | None]) -> bytes:
    """A column of times, or None; there is at least one."""
    if values.count(None) == len(values):
        return _column(_SAME, b"")
    return _column(_TIMES, _array(_TIMES, [math.nan if value is None else value for value in values]).tobytes())


class ColumnReader:
    """Takes one column after the other from bytes that hold so many rows. ColumnError where they do not."""

    __slots__ = ("_at", "_content", "_rows")

    def __init__(self, content: bytes, rows: int) -> None:
        self._content = content
        self._rows = rows
        self._at = 0

    def _next(self) -> tuple[bytes, bytes]:
        begin = self._at + _HEAD.size
        if begin > len(self._content):
            raise ColumnError("a column is missing")
        kind, size = _HEAD.unpack_from(self._content, self._at)
        self._at = begin + size
        if self._at > len(self._content):
            raise ColumnError("a column is cut off")
        return kind, self._content[begin : self._at]

    def integers(self) -> Sequence[int]:
        """What ``pack_integers`` was given."""
        kind, content = self._next()
        if kind in (_SAME, _RISING):
            if len(content) != _NUMBER.size:
                raise ColumnError("a number has not its size")
            first: int = _NUMBER.unpack(content)[0]
            return [first] * self._rows if kind == _SAME else range(first, first + self._rows)
        width = next((number for number, (letter, _) in enumerate(_WIDTHS) if letter == kind), None)
        if width is None or len(content) != self._rows << width:
            raise ColumnError("a column of numbers has not its size")
        return _array(kind, content)  # type: ignore[return-value]

    def texts(self) -> Sequence[bytes]:
        """What ``pack_bytes`` was given."""
        kind, content = self._next()
        if kind == _SAME:
            return [content] * self._rows
        if kind != _BYTES:
            raise ColumnError("a column of bytes is of another kind")
        inner = ColumnReader(content, self._rows)
        ends = list(accumulate(inner.integers(), initial=inner._at))
        if ends[-1] != len(content):
            raise ColumnError("a column of bytes has not its size")
        return [content[begin:end] for begin, end in pairwise(ends)]

    def times(self) -> Sequence[float | None]:
        """What ``pack_times`` was given."""
        kind, content = self._next()
        if kind == _SAME and not content:
            return [None] * self._rows
        if kind != _TIMES or len(content) != self._rows * 8:
            raise ColumnError("a column of times has not its size")
        return [None if math.isnan(value) else value for value in _array(kind, content)]

    def end(self) -> None:
        """ColumnError where there is more."""
        if self._at != len(self._content):
            raise ColumnError("there is more than the columns")
