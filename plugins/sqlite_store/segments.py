"""Segments: many rows of a table in one, which is what makes a commit of many messages cheap.

A commit puts the new messages, and what is queued, as a few segments: their rows by columns in one value. A row is
*new* when its key (the number of a message, the position of what is queued) is higher than every key there was: keys
of the broker's only grow. So the keys of two segments never overlap, and the segment that a key would be in is found
by bisection. Any other row (put again with its packet identifier, imported, or one of a few in a small commit) is in
the row table of its kind, and so is what is left of a segment of which most has gone. A row is in one place only.

Dropping a row of a segment sets one bit beside it, in place; with the last row the segment goes.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import compress, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple
from zlib import crc32

from noctule.api import PutMessage, PutQueued
from noctule.plugins.sqlite_store.columns import ColumnError, is_rising
from noctule.plugins.sqlite_store.segment_bodies import MESSAGES, QUEUES, Kind

#: Rows of a segment at most: what one damaged byte costs, and what is read to get at one row.
ROWS_MAX: Final = 512

#: Fewer new rows than this are put one by one: a segment costs about as much as so many.
ROWS_MIN: Final = 12

#: How many keys a segment spans for each of its rows at most: a few survivors of a large commit are put one by one.
SPAN_PER_ROW: Final = 64

#: Larger rows than this, on average, are put one by one: there a row costs little beside its bytes.
ROW_BYTES_MAX: Final = 4096

_LIVE: Final = ord("0")
_GONE: Final = ord("1")


class SegmentDamageError(Exception):
    """A segment is not as it was written; the text says what of it."""


class Segment:
    """One segment: where its keys are, which of its rows have gone, and whose they are."""

    __slots__ = ("body_bytes", "body_checksum", "first", "gone", "keys", "last", "live", "number", "owners", "rows")

    def __init__(self, number: int, first: int, last: int, rows: int, body_bytes: int, body_checksum: int) -> None:
        self.number = number
        self.first = first
        self.last = last
        self.rows = rows
        self.live = rows
        self.body_bytes = body_bytes
        self.body_checksum = body_checksum

        #: A character for each row, 1: it has gone; None: none has.
        self.gone: bytearray | None = None

        #: The keys in order; None: some are missing between, and which has not been read yet.
        self.keys: range | array[int] | None = range(first, last + 1) if last - first + 1 == rows else None

        #: Whose the rows are: one session's, or each another's; None: of a message, or not read yet.
        self.owners: int | array[int] | None = None

    def has_gone(self, row: int) -> bool:
        """Whether a row was dropped."""
        return self.gone is not None and self.gone[row] == _GONE

    def gone_with(self, rows: Iterable[int]) -> bytearray:
        """``gone`` when these have gone too."""
        gone = bytearray(b"0" * self.rows) if self.gone is None else bytearray(self.gone)
        for row in rows:
            gone[row] = _GONE
        return gone

    def row_of(self, key: int) -> int:
        """Which row has this key, dropped or not; -1: none. The keys must have been read."""
        keys = self.keys
        if keys.__class__ is range:
            return key - self.first if self.first <= key <= self.last else -1
        if keys is None:
            raise TypeError("the keys of the segment have not been read")
        at = bisect_right(keys, key) - 1
        return at if at >= 0 and keys[at] == key else -1

    def owner_of(self, row: int) -> int:
        """Whose a row is. The owners must have been read."""
        owners = self.owners
        return owners if isinstance(owners, int) else owners[row]  # type: ignore[index]

    def take_columns(self, kind: Kind, columns: tuple[Sequence[Any], ...]) -> None:
        """Learn keys and owners from what has been read, or is being written."""
        if self.keys is None:
            self.keys = array("Q", columns[kind.key_at])
        if kind is QUEUES and self.owners is None:
            owners = columns[0]
            one = owners.count(owners[0]) == len(owners)
            self.owners = owners[0] if one else array("Q", owners)

    def live_marks(self) -> Iterator[bool]:
        """For each row whether it is there."""
        return repeat(True, self.rows) if self.gone is None else map(_LIVE.__eq__, self.gone)

    def live_only(self, rows: Iterable[Any]) -> Iterator[Any]:
        """Those of something for each row whose rows are there."""
        return iter(rows) if self.gone is None else compress(rows, self.live_marks())

    def live_owners(self) -> Counter[int]:
        """How many of the rows that are there each session has."""
        owners = self.owners
        if isinstance(owners, int):
            return Counter({owners: self.live})
        if owners is None:
            raise TypeError("the owners of the segment have not been read")
        return Counter(self.live_only(owners))


def _checksum(kind: Kind, segment: Segment, bits: bytes) -> bytes:
    """Of all that the file says of a segment; the checksum of the body is part of it."""
    told = (kind.number, segment.number, segment.first, segment.last, segment.rows, segment.body_bytes)
    head = b"%d,%d,%d,%d,%d,%d" % told
    return crc32(bits, crc32(b"%b,%d;" % (head, segment.body_checksum))).to_bytes(4, "big")


def pack_gone(kind: Kind, segment: Segment, gone: bytearray | None) -> bytes:
    """The bits of ``Segment.gone`` for the file, and a checksum. Always as long, so that it is changed in place."""
    size = (segment.rows + 7) // 8
    bits = bytes(size) if gone is None else int(gone, 2).to_bytes(size, "big")
    return bits + _checksum(kind, segment, bits)


def unpack_gone(kind: Kind, segment: Segment, content: bytes) -> bytearray | None:
    """``pack_gone`` taken back. SegmentDamageError where that is not what was written of this segment."""
    rows, bits = segment.rows, content[:-4]
    if content[-4:] != _checksum(kind, segment, bits) or len(bits) != (rows + 7) // 8:
        raise SegmentDamageError("what is said of it is not what was written")
    number = int.from_bytes(bits, "big")
    return bytearray(f"{number:0{rows}b}".encode()) if number else None


class NewSegment(NamedTuple):
    """One that is to be put."""

    segment: Segment
    body: bytes


class Change:
    """What a commit does to one kind of rows. Nothing of it is so before ``Segments.install``."""

    __slots__ = ("drops", "gone", "highest", "marks", "moved", "new", "puts")

    def __init__(self, highest: int) -> None:
        #: Rows to put one by one, and keys to drop from the row table.
        self.puts: list[Any] = []
        self.drops: list[tuple[int, ...]] = []
        self.new: list[NewSegment] = []

        #: The rows that go, by segment.
        self.gone: dict[Segment, set[int]] = {}

        #: What ``Segment.gone`` is then, where something is left; made when it is written.
        self.marks: dict[Segment, bytearray] = {}

        #: Segments that go, and the rows that were left in them, to be put one by one.
        self.moved: dict[Segment, list[Any]] = {}

        #: The highest key that there is then.
        self.highest = highest


class Segments:
    """The segments of one kind, in the order of their keys. ``read_body`` is asked where a body must be read."""

    __slots__ = (
        "_firsts",
        "_read_body",
        "_recent",
        "_rows_min",
        "_segments",
        "gone_bytes",
        "highest",
        "kind",
        "owned",
        "size_bytes",
        "sparse",
    )

    def __init__(self, kind: Kind, read_body: Callable[[Segment], bytes], *, rows_min: int = ROWS_MIN) -> None:
        self.kind = kind
        self._read_body = read_body
        self._rows_min = rows_min
        self._firsts: list[int] = []
        self._segments: list[Segment] = []

        #: The one that was asked for last: keys that follow each other are often in the same.
        self._recent: Segment | None = None

        #: The highest key of any row, in a segment or not.
        self.highest = 0

        #: What the bodies take, and about how much of it is of rows that have gone.
        self.size_bytes = 0
        self.gone_bytes = 0

        #: Segments of which most has gone, oldest first.
        self.sparse: dict[Segment, None] = {}

        #: How many rows of segments each session has; None: not counted yet.
        self.owned: Counter[int] | None = None

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    def count_rows(self) -> int:
        """How many rows are there."""
        return sum(segment.live for segment in self._segments)

    def add(self, segment: Segment) -> None:
        """One that is in the file. SegmentDamageError where its keys are not above all others'."""
        if self._segments and segment.first <= self._segments[-1].last:
            raise SegmentDamageError("its keys are another's")
        self._firsts.append(segment.first)
        self._segments.append(segment)
        self.highest = max(self.highest, segment.last)
        self.size_bytes += segment.body_bytes
        if segment.gone is not None:
            self._count_gone(segment, segment.rows - segment.live)

    def remove(self, segment: Segment) -> None:
        """One that is no more."""
        self._recent = None
        at = bisect_right(self._firsts, segment.first) - 1
        del self._firsts[at], self._segments[at]
        self.size_bytes -= segment.body_bytes
        self.gone_bytes -= segment.body_bytes * (segment.rows - segment.live) // segment.rows
        self.sparse.pop(segment, None)

    def _count_gone(self, segment: Segment, more: int) -> None:
        """So many rows more have gone: ``live`` is without them already."""
        size, rows, gone = segment.body_bytes, segment.rows, segment.rows - segment.live
        self.gone_bytes += size * gone // rows - size * (gone - more) // rows
        if segment.live * 4 <= rows:
            self.sparse[segment] = None

    def find(self, key: int) -> Segment | None:
        """The segment that the key would be in."""
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return None
        segment = self._segments[at]
        return segment if key <= segment.last else None

    def rows_of(self, segment: Segment) -> tuple[Sequence[Any], ...]:
        """The columns of a segment. SegmentDamageError where they cannot be read."""
        body = self._read_body(segment)
        if len(body) != segment.body_bytes or crc32(body) != segment.body_checksum:
            raise SegmentDamageError("it is not what was written")
        try:
            columns = self.kind.unpack(body, segment.rows)
        except ColumnError as error:
            raise SegmentDamageError(str(error)) from None
        keys = columns[self.kind.key_at]
        if keys[0] != segment.first or keys[-1] != segment.last or not (isinstance(keys, range) or is_rising(keys)):
            raise SegmentDamageError("its keys are others")
        segment.take_columns(self.kind, columns)
        return columns

    def operations_of(self, segment: Segment) -> Iterator[Any]:
        """The rows of a segment that are there. SegmentDamageError before the first."""
        return segment.live_only(map(self.kind.make, zip(*self.rows_of(segment), strict=True)))

    def has(self, key: int) -> bool:
        """Whether there is a row of this key in a segment. SegmentDamageError where that cannot be read."""
        segment = self._recent
        if segment is None or not segment.first <= key <= segment.last:
            segment = self._recent = self.find(key)
            if segment is None:
                return False
        if segment.keys is None:
            self.rows_of(segment)
        row = segment.row_of(key)
        return row >= 0 and not segment.has_gone(row)

    def count_owners(self) -> Counter[int]:
        """How many rows of segments each session has. SegmentDamageError where that cannot be read."""
        if self.owned is None:
            owned: Counter[int] = Counter()
            for segment in self._segments:
                if segment.owners is None:
                    self.rows_of(segment)
                owned.update(segment.live_owners())
            self.owned = owned
        return self.owned

    # --- commits -------------------------------------------------------------------------

    def plan_messages(self, rows: dict[int, PutMessage | None], change: Change) -> None:
        """Work out what becomes of messages by number; None: it is dropped."""
        highest = self.highest
        if min(rows) > highest:  # nothing but new ones, as a rule
            self._plan_new([row for row in rows.values() if row is not None], change)
            return
        fresh: list[PutMessage] = []
        for number, row in rows.items():
            if number > highest:
                if row is not None:
                    fresh.append(row)
                continue
            was_here = bool(self._segments) and self._plan_drop(number, None, change)
            if row is not None:
                change.puts.append(row)
            elif not was_here:
                change.drops.append((number,))
        self._plan_new(fresh, change)

    def plan_queued(self, rows: dict[tuple[int, int], PutQueued | None], ended: Iterable[int], change: Change) -> None:
        """Work out what becomes of what is queued, by session and position; None: it is dropped.

        ``ended``: sessions all of whose rows go, but for those that are given.
        """
        highest = self.highest
        fresh: list[PutQueued] = []
        if rows and min(map(itemgetter(1), rows)) > highest:
            fresh = [row for row in rows.values() if row is not None]
            rows = {}
        for key, row in rows.items():
            session_id, position = key
            if position > highest:
                if row is not None:
                    fresh.append(row)
                continue
            was_here = bool(self._segments) and self._plan_drop(position, session_id, change)
            if row is not None:
                change.puts.append(row)
            elif not was_here:
                change.drops.append(key)
        if self._segments:
            self._plan_ended(ended, change)
        self._plan_new(fresh, change)

    def _plan_drop(self, key: int, owner: int | None, change: Change) -> bool:
        """Drop a row of a segment; False: no segment has it."""
        segment = self.find(key)
        if segment is None:
            return False
        if segment.keys is None or (owner is not None and segment.owners is None):
            self.rows_of(segment)
        row = segment.row_of(key)
        if row < 0 or segment.has_gone(row) or (owner is not None and segment.owner_of(row) != owner):
            return False
        going = change.gone.get(segment)
        if going is None:
            going = change.gone[segment] = set()
        going.add(row)
        return True

    def _plan_ended(self, ended: Iterable[int], change: Change) -> None:
        """Drop every row of sessions that have ended. The broker drops them before, as a rule: then there are none."""
        ended = set(ended)
        if not ended:
            return
        left = {session_id: count for session_id in ended if (count := self.count_owners()[session_id])}
        for segment, rows in change.gone.items():
            for row in rows:
                owner = segment.owner_of(row)
                if owner in left:
                    left[owner] -= 1
        left = {session_id: count for session_id, count in left.items() if count}
        if not left:
            return
        for segment in self._segments:
            owners = segment.owners
            if isinstance(owners, int):
                found: Iterable[int] = range(segment.rows) if owners in left else ()
            else:
                found = [row for row, owner in enumerate(owners or ()) if owner in left]
            going = {row for row in found if not segment.has_gone(row)}
            if going:
                change.gone.setdefault(segment, set()).update(going)

    def _plan_new(self, rows: list[Any], change: Change) -> None:
        """Put new rows: as segments, or one by one where that is cheaper."""
        key_at = self.kind.key_at
        count = len(rows)
        if not count:
            return
        keys = list(map(itemgetter(key_at), rows))
        change.highest = max(change.highest, max(keys))
        if count < self._rows_min:
            change.puts += rows
            return
        rises = is_rising(keys)
        if not rises:
            rows.sort(key=itemgetter(key_at))
            keys.sort()
        if (
            not (rises or is_rising(keys))  # keys of the broker's are never equal, but those of an import may be
            or (self.kind is MESSAGES and sum(map(len, map(itemgetter(2), rows))) > count * ROW_BYTES_MAX)
        ):
            change.puts += rows
            return
        for begin in range(0, count, ROWS_MAX):
            part = rows[begin : begin + ROWS_MAX]
            first, last = part[0][key_at], part[-1][key_at]
            if len(part) < self._rows_min or last - first >= len(part) * SPAN_PER_ROW:
                change.puts += part
                continue
            body = self.kind.pack(part)
            segment = Segment(0, first, last, len(part), len(body), crc32(body))
            if segment.keys is None:
                segment.keys = array("Q", keys[begin : begin + ROWS_MAX])
            if self.kind is QUEUES:
                owners = list(map(itemgetter(0), part))
                segment.owners = owners[0] if owners.count(owners[0]) == len(owners) else array("Q", owners)
            change.new.append(NewSegment(segment, body))

    def plan_move(self, rows_max: int, change: Change) -> None:
        """Move what is left of segments of which most has gone to the row table: so many rows, about.

        SegmentDamageError where one cannot be read; it is not tried again.
        """
        for segment in self.sparse:
            if rows_max <= 0:
                break
            if segment in change.gone:
                continue  # it changes just now: another time
            try:
                change.moved[segment] = list(self.operations_of(segment))
            except SegmentDamageError:
                del self.sparse[segment]
                raise
            rows_max -= segment.live

    def install(self, change: Change) -> None:
        """What was planned is so."""
        self.highest = max(self.highest, change.highest)
        for segment, rows in change.gone.items():
            if self.owned is not None:
                self._disown(segment, rows)
            if segment.live == len(rows):
                self.remove(segment)
            else:
                segment.gone = change.marks[segment]
                segment.live -= len(rows)
                self._count_gone(segment, len(rows))
        for segment in change.moved:
            if self.owned is not None:
                self._disown(segment, [row for row in range(segment.rows) if not segment.has_gone(row)])
            self.remove(segment)
        for segment, _ in change.new:
            self.add(segment)
            if self.owned is not None and segment.owners is not None:
                self.owned.update(segment.live_owners())

    def _disown(self, segment: Segment, rows: Collection[int]) -> None:
        """These rows go: their sessions have so many less, and none is remembered that has none."""
        owned, owners = self.owned, segment.owners
        if owned is None or owners is None:
            return
        going = [(owners, len(rows))] if isinstance(owners, int) else [(owners[row], 1) for row in rows]
        for owner, count in going:
            owned[owner] -= count
            if owned[owner] <= 0:
                del owned[owner]
