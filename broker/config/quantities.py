"""Sizes and times as people write them, read and written."""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

#: Bytes of each unit; capitals do not matter. One letter alone ("2M") is 1000 to some and 1024 to others: refused.
SIZE_UNITS: Final = {
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "tb": 1_000_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}

#: Seconds of each unit. A month and a year have no fixed length and are left out.
DURATION_UNITS: Final = {
    "ms": Fraction(1, 1_000),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3_600),
    "d": Fraction(86_400),
    "w": Fraction(604_800),
}

#: The same as patterns, for a JSON schema; what they let through is still checked when it is read.
SIZE_PATTERN: Final = r"^ *[0-9]+(\.[0-9]+)? *([kKmMgGtT][iI]?)?[bB]? *$"
DURATION_PATTERN: Final = r"^ *([0-9]+(\.[0-9]+)? *(ms|s|m|min|h|d|w)? *)+$"

_SIZE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_DURATION_PART: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)

#: More digits than any quantity has; beyond it the conversion alone would cost.
_LONGEST_TEXT: Final = 64

_WRITTEN_SIZES: Final = (
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
)
_WRITTEN_DURATIONS: Final = (
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
)


def parse_size(text: str) -> int:
    """The bytes that "2MB", "64KiB" or "512" means. ValueError, with what to write, for anything else."""
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise ValueError('expected a size such as "2MB" or "64KiB"')
    number, unit = match.groups()
    factor = SIZE_UNITS.get(unit.lower() or "b")
    if factor is None:
        if unit.lower() in ("k", "m", "g", "t"):
            letter = unit.upper()
            raise ValueError(f'the unit "{unit}" is not clear: write "{number}{letter}B" or "{number}{letter}iB"')
        raise ValueError(f'"{unit}" is not a unit of size: expected B, kB, MB, GB, KiB, MiB or GiB')
    size = Fraction(number) * factor
    if size.denominator != 1:
        raise ValueError("expected a whole number of bytes")
    return int(size)


def parse_duration(text: str) -> float:
    """The seconds that "500ms", "1h30m", "7d" or "10" means. ValueError, with what to write, for anything else."""
    total = Fraction(0)
    at = 0
    if not text.strip() or len(text) > _LONGEST_TEXT:
        raise ValueError('expected a time such as "500ms", "30s" or "7d"')
    while at < len(text):
        match = _DURATION_PART.match(text, at)
        if match is None:
            raise ValueError('expected a time such as "500ms", "30s" or "7d"')
        number, unit = match.groups()
        seconds = DURATION_UNITS.get(unit.lower() or "s")
        if seconds is None:
            raise ValueError(f'"{unit}" is not a unit of time: expected ms, s, m, h, d or w')
        if not unit and (at or match.end() < len(text)):
            raise ValueError("each number needs its unit")
        total += Fraction(number) * seconds
        at = match.end()
    return float(total)


def format_size(size: int) -> str:
    """The shortest text for so many bytes that ``parse_size`` reads as the same."""
    found = [f"{size // factor}{unit}" for unit, factor in _WRITTEN_SIZES if size and size % factor == 0]
    return min([*found, str(size) + "B"], key=len)


def format_duration(seconds: float) -> str:
    """A text for so many seconds that ``parse_duration`` reads as the same."""
    exact = Fraction(repr(seconds)) * 1_000
    if exact.denominator != 1:
        return f"{Decimal(repr(seconds)):f}s"
    for unit, milliseconds in _WRITTEN_DURATIONS:
        if exact and exact % milliseconds == 0:
            return f"{exact // milliseconds}{unit}"
    return "0s"
