"""The bodies of segments: rows of messages, or of what is queued, as columns one after the other."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from noctule.api import PutMessage, PutQueued
from noctule.plugins.sqlite_store.columns import ColumnReader, pack_bytes, pack_integers, pack_times
from noctule.plugins.sqlite_store.schema import MESSAGE, QUEUED, Table


def pack_messages(rows: Sequence[PutMessage]) -> bytes:
    """The body of a segment of messages."""
    numbers, topics, payloads, qos, retain, properties, times = zip(*rows, strict=True)
    return b"".join(
        (
            pack_integers(numbers),
            pack_bytes(topics),
            pack_bytes(payloads),
            pack_integers(qos),
            pack_integers(retain),
            pack_bytes(properties),
            pack_times(times),
        )
    )


def unpack_messages(body: bytes, rows: int) -> tuple[Sequence[Any], ...]:
    """The columns of a body. ColumnError where it is none."""
    reader = ColumnReader(body, rows)
    columns = (
        reader.integers(),
        reader.texts(),
        reader.texts(),
        reader.integers(),
        list(map(bool, reader.integers())),
        reader.texts(),
        reader.times(),
    )
    reader.end()
    return columns


def pack_queued(rows: Sequence[PutQueued]) -> bytes:
    """The body of a segment of what is queued."""
    sessions, positions, numbers, qos, flags, packet_ids, released, identifiers, groups = zip(*rows, strict=True)
    return b"".join(
        (
            pack_integers(sessions),
            pack_integers(positions),
            pack_integers(numbers),
            pack_integers(qos),
            pack_integers(flags),
            pack_integers(packet_ids),
            pack_integers(released),
            pack_bytes(identifiers),
            pack_bytes(groups),
        )
    )


def unpack_queued(body: bytes, rows: int) -> tuple[Sequence[Any], ...]:
    """The columns of a body. ColumnError where it is none."""
    reader = ColumnReader(body, rows)
    columns = (
        reader.integers(),
        reader.integers(),
        reader.integers(),
        reader.integers(),
        reader.integers(),
        reader.integers(),
        list(map(bool, reader.integers())),
        reader.texts(),
        reader.texts(),
    )
    reader.end()
    return columns


class Kind(NamedTuple):
    """What segments there are."""

    #: In the file.
    number: int
    table: Table

    #: The column by which its rows rise.
    key_at: int
    pack: Callable[[Sequence[Any]], bytes]
    unpack: Callable[[bytes, int], tuple[Sequence[Any], ...]]

    #: Makes an operation of a row; ``_make`` of named tuples takes three times as long.
    make: Callable[[Iterable[Any]], Any]


MESSAGES: Final = Kind(1, MESSAGE, 0, pack_messages, unpack_messages, partial(tuple.__new__, PutMessage))
QUEUES: Final = Kind(2, QUEUED, 1, pack_queued, unpack_queued, partial(tuple.__new__, PutQueued))
