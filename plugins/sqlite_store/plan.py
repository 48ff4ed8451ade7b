"""What a commit does: worked out before its transaction, so that it can be done twice, and in memory only after it."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from noctule.api import Operation
from noctule.plugins.sqlite_store.batch import Batch
from noctule.plugins.sqlite_store.schema import (
    CHECKSUMS,
    RECEIVED,
    RETAINED,
    SESSION,
    SUBSCRIPTION,
    TABLES,
    WILL,
    Table,
    check_session,
)
from noctule.plugins.sqlite_store.segment_tables import SegmentTables
from noctule.plugins.sqlite_store.segments import Change, SegmentDamageError


class Plan:
    """The changes of one commit to row tables and segments."""

    __slots__ = ("_batch", "_changes", "_tables")

    def __init__(self, operations: Sequence[Operation], tables: SegmentTables) -> None:
        """Work out what becomes of which row. SegmentDamageError where that takes a segment that cannot be read;
        TypeError where something among them is no operation."""
        self._tables = tables
        self._batch = batch = Batch(operations)
        messages, queued = Change(tables.messages.highest), Change(tables.queued.highest)
        self._changes = ((tables.messages, messages), (tables.queued, queued))
        if batch.messages:
            tables.messages.plan_messages(batch.messages, messages)
        if batch.queued or batch.dropped_sessions:
            tables.queued.plan_queued(batch.queued, batch.dropped_sessions, queued)

    def move(self, rows_max: int) -> list[SegmentDamageError]:
        """Also move what is left of segments to the row tables, so that their room becomes free: of each kind so many
        rows, about. The errors of segments that cannot be read come back."""
        errors = []
        for segments, change in self._changes:
            try:
                segments.plan_move(rows_max, change)
            except SegmentDamageError as error:
                errors.append(error)
        return errors

    def leave_moves(self) -> None:
        """Move nothing after all: it takes room, if only until it is done."""
        for _, change in self._changes:
            change.moved.clear()

    def install(self) -> None:
        """It has been committed: make it so in memory."""
        for segments, change in self._changes:
            segments.install(change)

    def apply(self, connection: sqlite3.Connection) -> None:
        """Do it to the file, within a transaction. Drops come before puts, which can use their pages then."""
        many = connection.executemany
        batch, tables = self._batch, self._tables
        if batch.dropped_sessions:
            ids = [(session_id,) for session_id in batch.dropped_sessions]
            many(SESSION.drop, ids)
            for table in TABLES:
                if table.belongs_to_session:
                    many(table.drop_session, ids)
        for segments, change in self._changes:
            table = segments.kind.table
            if change.drops:
                many(table.drop, change.drops)
            tables.write(segments, change)
            checksum_of = CHECKSUMS[table.name]
            for rows in (change.puts, *change.moved.values()):
                if rows:
                    many(table.put, [(*row, checksum_of(row)) for row in rows])
        if batch.has_others:
            self._apply_rest(many, batch)

    def _apply_rest(self, many: Any, batch: Batch) -> None:
        """The tables that do not change with every message."""
        if batch.sessions:
            many(SESSION.put, [(*row, check_session(row)) for row in batch.sessions.values()])
        by_key: tuple[tuple[Table, Iterator[tuple[tuple[Any, ...], Any]]], ...] = (
            (
                SUBSCRIPTION,
                (((owner, *key), row) for owner, rows in batch.subscriptions.items() for key, row in rows.items()),
            ),
            (
                RECEIVED,
                (((owner, key), row) for owner, rows in batch.received.items() for key, row in rows.items()),
            ),
            (RETAINED, (((topic,), row) for topic, row in batch.retained.items())),
            (WILL, (((session_id,), row) for session_id, row in batch.wills.items())),
        )
        for table, rows in by_key:
            checksum_of = CHECKSUMS[table.name]
            puts, drops = [], []
            for key, row in rows:
                if row is None:
                    drops.append(key)
                else:
                    puts.append((*row, checksum_of(row)))
            if drops:
                many(table.drop, drops)
            if puts:
                many(table.put, puts)
