"""Rows as columns: whatever is packed comes back, and bytes that no column is made of are an error of ours."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule.plugins.sqlite_store.columns import (
    ColumnError,
    ColumnReader,
    is_rising,
    pack_bytes,
    pack_integers,
    pack_times,
)
from noctule.plugins.sqlite_store.segment_bodies import pack_messages, pack_queued, unpack_messages, unpack_queued
from noctule.storage.operations import PutMessage, PutQueued

U64_MAX = 2**64 - 1


@given(
    st.one_of(
        st.lists(st.integers(0, limit), min_size=1, max_size=20) for limit in (1, 255, 256, 2**16, 2**32, U64_MAX)
    )
)
def test_numbers_come_back(numbers: list[int]) -> None:
    reader = ColumnReader(pack_integers(numbers), len(numbers))
    assert list(reader.integers()) == numbers
    reader.end()


@pytest.mark.parametrize(
    ("numbers", "size"),
    [
        ([7] * 500, 13),
        (range(10**12, 10**12 + 500), 13),
        ([0, 255] * 250, 505),
        ([0, 256] * 250, 1005),
        ([1, 2, 4], 8),
        ([5, 9, 7], 8),  # ends as if it had counted up
        ([2**32] + [0] * 499, 4005),
    ],
)
def test_numbers_take_no_more_room_than_they_need(numbers: list[int], size: int) -> None:
    packed = pack_integers(list(numbers))
    assert len(packed) == size
    assert list(ColumnReader(packed, len(numbers)).integers()) == list(numbers)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_that_do_not_fit_are_refused(number: int) -> None:
    with pytest.raises((OverflowError, ValueError, TypeError)):
        pack_integers([0, number])


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=20))
def test_bytes_come_back(values: list[bytes]) -> None:
    reader = ColumnReader(pack_bytes(values), len(values))
    assert list(reader.texts()) == values
    reader.end()


@given(st.lists(st.none() | st.floats(0, 4e9), min_size=1, max_size=20))
def test_times_come_back(values: list[float | None]) -> None:
    reader = ColumnReader(pack_times(values), len(values))
    assert list(reader.times()) == values
    reader.end()


@given(st.lists(st.integers(0, 20), max_size=6))
def test_rising(numbers: list[int]) -> None:
    assert is_rising(numbers) == (numbers == sorted(set(numbers)))


def rows(count: int) -> tuple[list[PutMessage], list[PutQueued]]:
    chance = Random(count)
    messages = [
        PutMessage(
            n * 3, b"t/%d" % (n % 3), chance.randbytes(n % 7), n % 3, n % 2 == 0, b"", chance.choice((None, 1.5))
        )
        for n in range(1, count + 1)
    ]
    queued = [
        PutQueued(n % 4 + 1, n, n * 3, n % 3, n % 256, n, n % 2 == 1, chance.randbytes(n % 3), b"g" * (n % 2))
        for n in range(1, count + 1)
    ]
    return messages, queued


def test_damaged_bodies_are_errors_of_ours_or_other_values() -> None:
    """Their checksum is looked at before: this is for what gets past it."""
    messages, queued = rows(30)
    chance = Random(1)
    for body, unpack in ((pack_messages(messages), unpack_messages), (pack_queued(queued), unpack_queued)):
        errors = 0
        for _ in range(3000):
            damaged = bytearray(body)
            match chance.randrange(4):
                case 0:
                    del damaged[chance.randrange(len(damaged)) :]
                case 1:
                    damaged.extend(chance.randbytes(3))
                case _:
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            try:
                columns = unpack(bytes(damaged), 30)
            except ColumnError:
                errors += 1
            else:
                assert {len(column) for column in columns} == {30}
        assert errors > 1500


def test_types_come_back() -> None:
    messages, queued = rows(40)
    for given_rows, body, unpack, kind in (
        (messages, pack_messages(messages), unpack_messages, PutMessage),
        (queued, pack_queued(queued), unpack_queued, PutQueued),
    ):
        found = [kind(*row) for row in zip(*unpack(body, 40), strict=True)]
        assert found == given_rows
        for row, original in zip(found, given_rows, strict=True):
            assert [type(value) for value in row] == [type(value) for value in original]
