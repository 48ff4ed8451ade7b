"""Sizes and times: what they mean, what is refused and with which words, and that what is written reads the same."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule.config.quantities import DURATION_UNITS, format_duration, format_size, parse_duration, parse_size

SIZES = [
    ("0", 0),
    ("512", 512),
    ("512B", 512),
    ("2MB", 2_000_000),
    ("2mb", 2_000_000),
    ("2 MB", 2_000_000),
    (" 64KiB ", 65_536),
    ("1.5kB", 1_500),
    ("0.5GiB", 536_870_912),
    ("1GB", 1_000_000_000),
]
NO_SIZES = [
    ("", 'expected a size such as "2MB" or "64KiB"'),
    ("many", 'expected a size such as "2MB" or "64KiB"'),
    ("-1MB", 'expected a size such as "2MB" or "64KiB"'),
    ("1e3", 'expected a size such as "2MB" or "64KiB"'),
    ("1_000", 'expected a size such as "2MB" or "64KiB"'),
    ("٣MB", 'expected a size such as "2MB" or "64KiB"'),
    ("9" * 10_000, 'expected a size such as "2MB" or "64KiB"'),
    ("2M", 'the unit "M" is not clear: write "2MB" or "2MiB"'),
    ("64k", 'the unit "k" is not clear: write "64KB" or "64KiB"'),
    ("2MBit", '"MBit" is not a unit of size: expected B, kB, MB, GB, KiB, MiB or GiB'),
    ("1.5B", "expected a whole number of bytes"),
]
DURATIONS = [
    ("0", 0.0),
    ("10", 10.0),
    ("500ms", 0.5),
    ("30s", 30.0),
    ("5m", 300.0),
    ("5min", 300.0),
    ("1h30m", 5_400.0),
    ("1h 30m", 5_400.0),
    ("7d", 604_800.0),
    ("2W", 1_209_600.0),
    ("0.5 d", 43_200.0),
]
NO_DURATIONS = [
    ("", 'expected a time such as "500ms", "30s" or "7d"'),
    ("soon", 'expected a time such as "500ms", "30s" or "7d"'),
    ("-5s", 'expected a time such as "500ms", "30s" or "7d"'),
    ("9" * 10_000, 'expected a time such as "500ms", "30s" or "7d"'),
    ("3y", '"y" is not a unit of time: expected ms, s, m, h, d or w'),
    ("1h30", "each number needs its unit"),
    ("30 1h", "each number needs its unit"),
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "complaint"), NO_SIZES, ids=range(len(NO_SIZES)))
def test_no_size(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}$"):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "complaint"), NO_DURATIONS, ids=range(len(NO_DURATIONS)))
def test_no_duration(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}$"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=1 << 62))
def test_sizes_are_written_as_they_are_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=1 << 40), st.sampled_from([1, 1_000, 60_000, 3_600_000, 86_400_000]))
def test_durations_are_written_as_they_are_read(count: int, milliseconds: int) -> None:
    seconds = count * milliseconds / 1_000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.floats(min_value=0, max_value=1e15, allow_nan=False, allow_subnormal=False))
def test_any_duration_is_written_as_it_is_read(seconds: float) -> None:
    text = format_duration(seconds)
    if len(text) <= 64:  # longer ones are refused: nobody means so small a time
        assert parse_duration(text) == seconds


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_size, parse_duration):
        with suppress(ValueError):
            assert parse(text) >= 0


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(sorted(DURATION_UNITS))), min_size=1, max_size=5))
def test_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) == float(sum(number * DURATION_UNITS[unit] for number, unit in parts))
