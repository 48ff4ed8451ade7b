"""A look at a SQLite store from beside the broker that uses it: for ``noctule store``."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from noctule.api import Operation, StoreError
from noctule.plugins.sqlite_store import database, reading
from noctule.plugins.sqlite_store.database import COMPANIONS, DATABASE_NAME, READ_ERRORS, DamageError
from noctule.plugins.sqlite_store.schema import MIGRATIONS
from noctule.plugins.sqlite_store.segment_tables import SegmentTables
from noctule.plugins.sqlite_store.segments import SegmentDamageError, Segments


class SqliteReader:
    """A ``StoreReader``: a second connection that only reads.

    It never writes a checkpoint: before 3.51.3 SQLite can damage a database where two connections do.
    """

    def __init__(self, directory: Path) -> None:
        """StoreError where there is no store of a version we know; a damaged one can still be looked at."""
        self._path = directory / DATABASE_NAME
        self._faults: list[str] = []
        if not self._path.exists():
            raise StoreError(f"there is no store in {directory}: {self._path} is missing")
        try:
            version = database.examine(self._path, MIGRATIONS)
        except DamageError as error:
            self._faults.append(f"{self._path} is damaged: {error}")
        else:
            if version < len(MIGRATIONS):
                raise StoreError(
                    f"{self._path} is of version {version}, this is {len(MIGRATIONS)}: start the broker once, which "
                    "brings it up"
                )
        self._connection = database.connect(self._path, read_only=True)

    def check(self) -> Sequence[str]:
        """See ``StoreReader``."""
        losses: list[reading.Loss] = []
        faults = list(self._faults)
        try:
            with self._one_moment() as tables:
                for _ in reading.read_rows(self._connection, tables, losses.append):
                    pass
        except READ_ERRORS as error:
            faults.append(f"{self._path}: reading stopped: {error}")
        return faults + [f"{self._path}: {line}" for line in reading.summarise(losses)]

    def sizes(self) -> Mapping[str, int]:
        """See ``StoreReader``."""
        try:
            with self._one_moment() as tables:
                figures = dict(reading.count_rows(self._connection, tables))
                row = self._connection.execute("SELECT coalesce(sum(length(payload)), 0) FROM message").fetchone()
                figures["payload_bytes"] = row[0] + _payload_bytes(tables.messages)
                figures["segments"] = len(tables.messages) + len(tables.queued)
                figures["segments_gone_bytes"] = tables.gone_bytes
            free, page = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PAGE_PRAGMAS)
        except READ_ERRORS as error:
            raise StoreError(f"cannot read {self._path}: {error}") from None
        figures["unused_bytes"] = free * page
        for companion in ("", *COMPANIONS):
            file = self._path.with_name(self._path.name + companion)
            if file.exists():
                figures[f"{file.name}_bytes"] = file.stat().st_size
        return figures

    def rows(self) -> Iterator[Operation]:
        """See ``StoreReader``."""
        try:
            with self._one_moment() as tables:
                yield from reading.read_rows(self._connection, tables, self._refuse)
        except READ_ERRORS as error:
            raise StoreError(f"cannot read {self._path}: {error}") from None

    @contextmanager
    def _one_moment(self) -> Iterator[SegmentTables]:
        """See all tables as they are at one moment; the segments of that moment come back."""
        self._connection.execute("BEGIN")
        try:
            yield SegmentTables(self._connection)
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _refuse(self, loss: reading.Loss) -> None:
        if loss.is_damage:
            raise StoreError(f"{self._path}: {reading.summarise([loss])[0]}; `noctule store check` says more")

    def back_up(self, target: Path) -> None:
        """See ``StoreReader``. What is copied is looked at before it gets its name."""
        if self._faults:
            raise StoreError(self._faults[0])
        draft = target.with_name(target.name + ".part")
        try:
            if target.exists():
                raise StoreError(f"{target} is already there")
            draft.unlink(missing_ok=True)
            database.copy(self._connection, draft)
            database.examine(draft, MIGRATIONS)
            draft.rename(target)
        except DamageError as error:
            raise StoreError(f"the copy {draft} is damaged: {error}") from None
        except sqlite3.Error as error:
            raise StoreError(f"cannot copy {self._path} to {target}: {error}") from None
        except OSError as error:
            raise StoreError(f"cannot copy {self._path} to {target}: {error.strerror}") from None

    def close(self) -> None:
        """See ``StoreReader``."""
        self._connection.close()


def _payload_bytes(messages: Segments) -> int:
    """The payloads of all messages in segments that can be read."""
    total = 0
    for segment in messages:
        with suppress(SegmentDamageError):  # ``check`` tells
            total += sum(len(row.payload) for row in messages.operations_of(segment))
    return total


_PAGE_PRAGMAS = ("freelist_count", "page_size")
