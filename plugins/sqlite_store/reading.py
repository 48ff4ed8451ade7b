"""Reading back what the SQLite store keeps, with every row and every reference checked."""

import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from heapq import merge
from itertools import chain, compress
from operator import and_, itemgetter
from typing import Any, Final, NamedTuple

from noctule.api import (
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)
from noctule.plugins.sqlite_store.schema import CHECKSUMS, MESSAGE, QUEUED, SEGMENT, SESSION, TABLES, Table
from noctule.plugins.sqlite_store.segment_bodies import Kind
from noctule.plugins.sqlite_store.segment_tables import SegmentTables
from noctule.plugins.sqlite_store.segments import ROWS_MAX, Segment, SegmentDamageError, Segments

#: How many rows of what is queued are put in order at a time: memory against reading segments more often.
SORTED_ROWS: Final = 200_000


class Loss(NamedTuple):
    """A row that cannot be given back."""

    table: Table
    key: tuple[Any, ...]
    why: str

    #: Whether the row itself is damaged; False: what it refers to is not there.
    is_damage: bool


def _message(row: tuple[Any, ...]) -> PutMessage:
    return PutMessage(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6])


def _queued(row: tuple[Any, ...]) -> PutQueued:
    return PutQueued(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]), row[7], row[8])


def _will(row: tuple[Any, ...]) -> PutWill:
    return PutWill(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6], row[7], row[8])


#: How a row becomes an operation, by the name of its table.
_MAKERS: Final[dict[str, Callable[[tuple[Any, ...]], Any]]] = {
    "message": _message,
    "session": lambda row: PutSession(*row[:5]),
    "subscription": lambda row: PutSubscription(*row[:6]),
    "queued": _queued,
    "received": lambda row: PutReceived(*row[:3]),
    "retained": lambda row: PutRetained(*row[:2]),
    "will": _will,
}


class Numbers:
    """Which messages or sessions there are: the numbers of rows, which come in order, and those in segments."""

    __slots__ = ("_numbers", "_segments")

    def __init__(self, segments: Segments | None = None) -> None:
        self._numbers = array("q")
        self._segments = segments

    def add(self, number: int) -> None:
        """A row that has been read; each is higher than the last."""
        self._numbers.append(number)

    def __contains__(self, number: int) -> bool:
        if self._segments is not None and self._segments.has(number):
            return True
        at = bisect_left(self._numbers, number)
        return at < len(self._numbers) and self._numbers[at] == number


class References(NamedTuple):
    """What rows may refer to."""

    messages: Numbers
    sessions: Numbers


def read_table(rows: Iterator[tuple[Any, ...]], table: Table, lose: Callable[[Loss], None]) -> Iterator[Any]:
    """Make operations of the rows of a table, with their checksums; what cannot be one is given to ``lose``."""
    make, checksum_of = _MAKERS[table.name], CHECKSUMS[table.name]
    checksum_at = len(table.columns)
    for row in rows:
        try:
            operation = make(row)
            is_whole = checksum_of(operation) == row[checksum_at]
        except (TypeError, ValueError, AttributeError):  # a value of another type, text that is none
            is_whole = False
        if is_whole:
            yield operation
        else:
            lose(Loss(table, row[: len(table.key)], "damaged", True))


def _query(table: Table) -> str:
    """The statement that reads a table in the order of its key."""
    return f"SELECT {', '.join(table.columns)}, checksum FROM {table.name} ORDER BY {', '.join(table.key)}"  # noqa: S608


def read_rows(
    connection: sqlite3.Connection, tables: SegmentTables, lose: Callable[[Loss], None]
) -> Iterator[Operation]:
    """Everything, in the order of ``Store.restore``. sqlite3.Error where the file cannot be read.

    Segments that turn out to be damaged are taken out of ``tables``.
    """
    references = References(Numbers(tables.messages), Numbers())
    for damaged in tables.damaged:
        lose(_segment_loss(damaged.number, damaged.kind))
    for table in TABLES:
        rows = read_table(connection.execute(_query(table)), table, lose)
        if table is MESSAGE:
            rows = chain(_noting(rows, references.messages), _read_messages(tables, lose))
        elif table is SESSION:
            rows = _noting(rows, references.sessions)
        elif table is QUEUED and len(tables.queued):
            rows = merge(rows, _read_queued(tables, lose))
        if table.refers_to_message or table.belongs_to_session:
            rows = _referring(rows, table, references, lose)
        yield from rows


def _noting(rows: Iterator[Any], numbers: Numbers) -> Iterator[Any]:
    for row in rows:
        numbers.add(row[0])
        yield row


def _referring(
    rows: Iterator[Any], table: Table, references: References, lose: Callable[[Loss], None]
) -> Iterator[Any]:
    """The rows all of whose references are there."""
    message_at = table.columns.index("message_id") if table.refers_to_message else None
    session_at = table.columns.index("session_id") if table.belongs_to_session else None
    last_session: int | None = None  # the rows of a session follow each other
    for row in rows:
        # What is queued may be about no message any more: that is a reference to nothing that is as it should be.
        if (
            message_at is not None
            and row[message_at] not in references.messages
            and (row[message_at] or table is not QUEUED)
        ):
            lose(Loss(table, row[: len(table.key)], "whose message is missing", False))
            continue
        if session_at is not None and row[session_at] != last_session:
            if row[session_at] not in references.sessions:
                lose(Loss(table, row[: len(table.key)], "whose session is missing", False))
                continue
            last_session = row[session_at]
        yield row


def _segment_loss(number: int, kind: Kind | None) -> Loss:
    what = "rows" if kind is None else f"rows of {kind.table.name}"
    return Loss(SEGMENT, (number,), f"damaged, each with up to {ROWS_MAX} {what},", True)


def _read_segments(
    tables: SegmentTables,
    segments: Segments,
    lose: Callable[[Loss], None],
    read: Callable[[Segment], Iterator[Any]],
) -> Iterator[Any]:
    """What ``read`` makes of each segment; one that is damaged is lost."""
    for segment in list(segments):
        try:
            rows = read(segment)
        except SegmentDamageError:
            tables.lose(segments, segment)
            lose(_segment_loss(segment.number, segments.kind))
        else:
            yield from rows


def _read_messages(tables: SegmentTables, lose: Callable[[Loss], None]) -> Iterator[Any]:
    return _read_segments(tables, tables.messages, lose, tables.messages.operations_of)


def _read_queued(tables: SegmentTables, lose: Callable[[Loss], None]) -> Iterator[Any]:
    """What is queued, by session and position. Segments have it by position: so many sessions at a time are read."""
    segments = tables.queued

    def learn_owners(segment: Segment) -> Iterator[Any]:
        segments.rows_of(segment)
        return iter(())

    for _ in _read_segments(tables, segments, lose, learn_owners):
        pass
    for first, last in _session_ranges(segments.count_owners()):
        rows = _read_segments(tables, segments, lose, partial(_rows_of_sessions, segments, first, last))
        yield from rows if first == last else sorted(rows, key=itemgetter(0))  # sorting keeps the positions in order


def _session_ranges(owned: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Sessions, first and last, that have SORTED_ROWS together, or one that has more."""
    first: int | None = None
    last = count = 0
    for session_id in sorted(owned):
        if first is not None and count + owned[session_id] > SORTED_ROWS:
            yield first, last
            first, count = None, 0
        first = session_id if first is None else first
        last = session_id
        count += owned[session_id]
    if first is not None:
        yield first, last


def _rows_of_sessions(segments: Segments, first: int, last: int, segment: Segment) -> Iterator[Any]:
    """The rows of a segment that are there and belong to a range of sessions."""
    owners = segment.owners
    if isinstance(owners, int):
        return segments.operations_of(segment) if first <= owners <= last else iter(())
    columns = segments.rows_of(segment)
    chosen = [first <= owner <= last for owner in columns[0]]
    if segment.gone is not None:
        chosen = list(map(and_, chosen, segment.live_marks()))
    return map(segments.kind.make, compress(zip(*columns, strict=True), chosen))


def count_rows(connection: sqlite3.Connection, tables: SegmentTables) -> dict[str, int]:
    """How many rows there are of each table, in segments or not."""
    counts = {
        table.name: connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]  # noqa: S608
        for table in TABLES
    }
    for segments in (tables.messages, tables.queued):
        counts[segments.kind.table.name] += segments.count_rows()
    return counts


def summarise(losses: list[Loss], shown_max: int = 3) -> list[str]:
    """Lines that say what has been lost, by table and reason."""
    by_kind: dict[tuple[str, str], list[Loss]] = {}
    for loss in losses:
        by_kind.setdefault((loss.table.name, loss.why), []).append(loss)
    lines = []
    for (name, why), those in by_kind.items():
        keys = ", ".join("/".join(_shown(part) for part in loss.key) for loss in those[:shown_max])
        more = ", ..." if len(those) > shown_max else ""
        rows = "row" if len(those) == 1 else "rows"
        lines.append(f"{len(those)} {rows} of {name} {why} ({keys}{more})")
    return lines


def _shown(part: object) -> str:
    return repr(part.decode("utf-8", "replace")) if isinstance(part, bytes) else str(part)
