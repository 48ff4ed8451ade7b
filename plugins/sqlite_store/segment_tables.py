"""The segments in the file: reading what there is, and writing what a commit does to them."""

import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from noctule.plugins.sqlite_store.schema import MESSAGE, QUEUED
from noctule.plugins.sqlite_store.segment_bodies import MESSAGES, QUEUES, Kind
from noctule.plugins.sqlite_store.segments import (
    ROWS_MIN,
    Change,
    Segment,
    SegmentDamageError,
    Segments,
    pack_gone,
    unpack_gone,
)

KINDS: Final = {kind.number: kind for kind in (MESSAGES, QUEUES)}

COLUMNS: Final = "number, kind, first_key, last_key, rows, body_bytes, body_checksum, gone"
_READ: Final = f"SELECT {COLUMNS} FROM segment ORDER BY first_key, number"  # noqa: S608
_READ_BODY: Final = "SELECT body FROM segment_body WHERE number = ?"
PUT: Final = "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
PUT_BODY: Final = "INSERT INTO segment_body VALUES (?, ?)"
_CHANGE: Final = "UPDATE segment SET gone = ? WHERE number = ?"
DROP: Final = "DELETE FROM segment WHERE number = ?"
DROP_BODY: Final = "DELETE FROM segment_body WHERE number = ?"


class DamagedSegment(NamedTuple):
    """One that cannot be used."""

    number: int

    #: What its rows would be; None: not even that is known.
    kind: Kind | None


def read_body(connection: sqlite3.Connection, number: int) -> bytes:
    """The body of a segment; empty: there is none. sqlite3.Error where it cannot be read."""
    row = connection.execute(_READ_BODY, (number,)).fetchone()
    return row[0] if row is not None and isinstance(row[0], bytes) else b""


def make_segment(row: tuple[Any, ...]) -> tuple[Kind, Segment]:
    """A segment of its row. SegmentDamageError where that is not what was written."""
    number, kind_number, first, last, rows, body_bytes, body_checksum, gone = row
    if not all(isinstance(value, int) for value in row[:-1]) or not isinstance(gone, bytes):
        raise SegmentDamageError("a value is of another type")
    kind = KINDS.get(kind_number)
    if kind is None or not 0 < rows <= last - first + 1:
        raise SegmentDamageError("there is no such segment")
    segment = Segment(number, first, last, rows, body_bytes, body_checksum)
    segment.gone = unpack_gone(kind, segment, gone)
    if segment.gone is not None:
        segment.live -= segment.gone.count(b"1")
    return kind, segment


def row_of(kind: Kind, segment: Segment, gone: bytearray | None) -> tuple[Any, ...]:
    """``make_segment`` taken back."""
    return (
        segment.number,
        kind.number,
        segment.first,
        segment.last,
        segment.rows,
        segment.body_bytes,
        segment.body_checksum,
        pack_gone(kind, segment, gone),
    )


class SegmentTables:
    """The segments of both kinds in one database."""

    def __init__(self, connection: sqlite3.Connection, *, rows_min: int = ROWS_MIN) -> None:
        """Read what there is, but no bodies. sqlite3.Error where that cannot be."""
        self._connection = connection
        self.messages = Segments(MESSAGES, self._read_body, rows_min=rows_min)
        self.queued = Segments(QUEUES, self._read_body, rows_min=rows_min)

        #: What cannot be used of it.
        self.damaged: list[DamagedSegment] = []
        self._last_number = 0
        by_kind = {MESSAGES: self.messages, QUEUES: self.queued}
        for row in connection.execute(_READ):
            self._last_number = max(self._last_number, row[0])
            try:
                kind, segment = make_segment(row)
                by_kind[kind].add(segment)
            except SegmentDamageError:
                self.damaged.append(DamagedSegment(row[0], KINDS.get(row[1])))
        highest = connection.execute("SELECT coalesce(max(number), 0) FROM segment_body").fetchone()[0]
        self._last_number = max(self._last_number, highest)
        for table, segments in ((MESSAGE, self.messages), (QUEUED, self.queued)):
            key = table.key[-1]
            highest = connection.execute(f"SELECT max({key}) FROM {table.name}").fetchone()[0]  # noqa: S608
            if isinstance(highest, int):
                segments.highest = max(segments.highest, highest)

    @property
    def gone_bytes(self) -> int:
        """About how much room rows take that have gone."""
        return self.messages.gone_bytes + self.queued.gone_bytes

    @property
    def size_bytes(self) -> int:
        """How much room all rows of segments take."""
        return self.messages.size_bytes + self.queued.size_bytes

    def _read_body(self, segment: Segment) -> bytes:
        return read_body(self._connection, segment.number)

    def lose(self, segments: Segments, segment: Segment) -> None:
        """A body has turned out to be damaged."""
        segments.remove(segment)
        self.damaged.append(DamagedSegment(segment.number, segments.kind))

    def forget_damaged(self) -> None:
        """Drop from the file what cannot be used of it; within a transaction."""
        for damaged in self.damaged:
            for statement in (DROP, DROP_BODY):
                self._connection.execute(statement, (damaged.number,))

    def write(self, segments: Segments, change: Change) -> None:
        """Do to the file what was planned, but for rows of the row tables; within a transaction.

        It may be done again if the transaction fails: of what is in memory only ``change`` and its new segments change.
        """
        if not (change.gone or change.moved or change.new):
            return
        many = self._connection.executemany
        dropped: list[tuple[int]] = [(segment.number,) for segment in change.moved]
        changed: list[tuple[bytes, int]] = []
        kind = segments.kind
        for segment, rows in change.gone.items():
            if segment.live == len(rows):
                dropped.append((segment.number,))
            else:
                marks = change.marks[segment] = segment.gone_with(rows)
                changed.append((pack_gone(kind, segment, marks), segment.number))
        if dropped:
            many(DROP, dropped)
            many(DROP_BODY, dropped)
        if changed:
            many(_CHANGE, changed)
        if change.new:
            for new in change.new:
                self._last_number += 1
                new.segment.number = self._last_number
            many(PUT, [row_of(kind, new.segment, None) for new in change.new])
            many(PUT_BODY, [(new.segment.number, new.body) for new in change.new])


def read_directory(source: sqlite3.Connection, direction: str) -> Iterator[tuple[Any, ...]]:
    """The rows of ``segment`` in one direction, for what is left of a damaged file. sqlite3.Error."""
    order = {"ASC": "ASC", "DESC": "DESC"}[direction]
    return source.execute(f"SELECT {COLUMNS} FROM segment ORDER BY number {order}")  # noqa: S608
