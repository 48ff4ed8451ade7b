"""The SQLite store: one connection, one transaction for each commit, and what happens when that fails."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

from noctule.api import (
    DropQueued,
    Operation,
    Option,
    Size,
    StoreError,
    StoreFailedError,
    StoreFullError,
)
from noctule.plugins.sqlite_store import database, reading, salvage
from noctule.plugins.sqlite_store.database import DATABASE_NAME, DamageError, Migrations
from noctule.plugins.sqlite_store.directory import NETWORK_FILE_SYSTEMS, Directory, Reserve, file_system_of
from noctule.plugins.sqlite_store.plan import Plan
from noctule.plugins.sqlite_store.schema import MIGRATIONS, QUEUED
from noctule.plugins.sqlite_store.segment_tables import SegmentTables
from noctule.plugins.sqlite_store.segments import ROWS_MIN

#: SQLite's codes that say that there is no room: for data, and for the index of the log.
FULL_CODES: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})

#: As large as SQLite lets a database become, in pages.
PAGES_MAX: Final = 0x3FFF_FFFF

#: How much room rows of segments that have gone may take before what is left of such segments is moved under load.
GONE_BYTES_MAX: Final = 8 * 1024 * 1024

#: How many rows are moved at once: in a commit, beside half as many as it has operations, and while there is time.
MOVED_ROWS_PER_COMMIT: Final = 256
MOVED_ROWS_PER_IDLE: Final = 20_000

#: With less room than this SQLite may not even open the file: the index of its log takes some.
OPENING_BYTES: Final = 1024 * 1024


#: Below how much free space there is little, where no option says it: on a large file system, and as a part of a small
#: one, on which that much is never free.
LOW_DISK_MAX_BYTES: Final = 128 * 1024 * 1024
LOW_DISK_PART: Final = 20


class OnCorrupt(Enum):
    """What to do with a damaged file."""

    #: Do not start: the operator decides.
    REFUSE = "refuse"

    #: Set it aside, take over what can be read, and start.
    QUARANTINE = "quarantine"


class NetworkFileSystem(Enum):
    """What to do where the directory is on another machine's disk."""

    REFUSE = "refuse"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Config:
    """The options of the store in SQLite."""

    path: Annotated[
        Path,
        Option(
            "The directory of the store. It is made where it is not there, for its owner alone.", needs_restart=True
        ),
    ] = Path("/var/lib/noctule")
    on_corrupt: Annotated[
        OnCorrupt,
        Option(
            "What to do with a damaged file: refuse to start, or set it aside (quarantine), take over what can be "
            "read, and start.",
            needs_restart=True,
        ),
    ] = OnCorrupt.REFUSE
    network_file_system: Annotated[
        NetworkFileSystem,
        Option(
            "Whether to refuse a directory on a network file system, whose locks and syncs cannot be relied on, or to "
            "warn and go on.",
            needs_restart=True,
        ),
    ] = NetworkFileSystem.REFUSE
    checkpoint_bytes: Annotated[
        Size,
        Option(
            "How large the log grows before it is worked into the database.",
            key="checkpoint_size",
            minimum=65_536,
            needs_restart=True,
        ),
    ] = 8 * 1024 * 1024
    cache_bytes: Annotated[
        Size,
        Option("Memory for pages of the database.", key="cache_size", minimum=65_536, needs_restart=True),
    ] = 32 * 1024 * 1024
    low_disk_bytes: Annotated[
        Size | None,
        Option(
            "Below this much free disk space the broker takes no new messages that have to be kept; not set: 128MiB, "
            "or the twentieth part of a file system on which that is less.",
            key="low_disk",
            minimum=0,
            needs_restart=True,
            example='"128MiB"',
        ),
    ] = None
    reserve_bytes: Annotated[
        Size,
        Option(
            "Disk space held in reserve, and given up when the disk is full so that messages can still be taken out.",
            key="reserve_size",
            minimum=0,
            needs_restart=True,
        ),
    ] = 16 * 1024 * 1024


class SqliteStore:
    """A ``Store`` in one file of SQLite's in a directory of its own."""

    #: As ``Store`` has it.
    is_durable = True

    def __init__(
        self,
        config: Config,
        *,
        migrations: Migrations = MIGRATIONS,
        segment_rows_min: int = ROWS_MIN,
        gone_bytes_max: int = GONE_BYTES_MAX,
    ) -> None:
        """Nothing is touched before ``open``.

        For tests: ``migrations`` of newer tables than there are, and limits of segments that are reached with few rows.
        """
        self._config = config
        self._migrations = migrations
        self._directory = Directory(config.path)
        self._path = config.path / DATABASE_NAME
        self._log_path = config.path / f"{DATABASE_NAME}-wal"
        self._log_name = str(self._log_path)
        self._reserve = Reserve(self._directory, config.reserve_bytes)
        self._connection: sqlite3.Connection | None = None
        self._failure: str | None = None
        self._findings: list[str] = []
        self._losses: list[reading.Loss] = []

        #: As ``Store`` has them.
        self.is_low = False
        self.free_bytes: int | None = None

        #: Whether the disk has been full, and the reserve is not held again.
        self._is_full = False

        # SQLite's level of the connection, and whether something was committed since the last sync.
        self._syncs = True
        self._has_unsynced = False

        self._segment_rows_min = segment_rows_min
        self._gone_bytes_max = gone_bytes_max
        self._segments: SegmentTables | None = None

        #: The size of the log at which to work it into the database; whether there is anything in it.
        self._checkpoint_above_bytes = config.checkpoint_bytes
        self._log_has_news = False

    # --- open ----------------------------------------------------------------------------

    def open(self) -> None:
        """See ``Store``."""
        self._directory.make()
        self._refuse_network()
        self._directory.lock()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _refuse_network(self) -> None:
        kind = file_system_of(self._directory.path)
        if kind not in NETWORK_FILE_SYSTEMS:
            return
        text = f"{self._directory.path} is on a network file system ({kind}), whose locks and syncs cannot be relied on"
        if self._config.network_file_system is NetworkFileSystem.REFUSE:
            raise StoreError(f'{text}; name a directory on a disk of this machine, or set network_file_system = "warn"')
        self._findings.append(text)

    def _open(self) -> None:
        room = self._directory.room()
        if room is not None and room.free_bytes < OPENING_BYTES:
            # A full disk is no reason not to start: what is taken out makes room.
            self._reserve.give_up()
            self._is_full = True
        frames_written = database.frames_written(self._path)
        damage = self._look()
        aside: Path | None = None
        try:
            if damage is not None:
                aside = self._quarantine(damage)
            if not self._path.exists():
                database.create(self._path, self._migrations)
                self._directory.sync()
            connection = self._connection = database.connect(self._path, read_only=False)
            self._set_up(connection)
            version = database.migrate(connection, self._migrations)
            if version < len(self._migrations):
                self._findings.append(f"{self._path}: brought from version {version} to {len(self._migrations)}")
            if aside is not None:
                self._findings += [f"{self._path}: {line}" for line in salvage.salvage(aside, connection)]
            elif (frames_read := database.frames_read(connection)) < frames_written:
                self._findings.append(
                    f"{self._log_path}: only {frames_read} of {frames_written} pages were written whole; the rest is "
                    "lost. After a crash or a loss of power nothing of it had been acknowledged; otherwise the disk "
                    "has damaged the file"
                )
            # The first write makes the log, and SQLite syncs its name, but goes on where that fails. We do not.
            connection.execute("UPDATE sync_mark SET number = number + 1")
            self._directory.sync()
            self._segments = SegmentTables(connection, rows_min=self._segment_rows_min)
        except sqlite3.Error as error:
            raise StoreError(f"cannot open {self._path}: {error}") from None
        except OSError as error:
            raise StoreError(f"cannot open {self._path}: {error.strerror}") from None
        if self._is_full:
            self._enter_full(connection)
        else:
            self._reserve.take()
        self._look_at_room()

    def _look(self) -> str | None:
        """What is wrong with the file, if it is damaged; None: it is whole, or there is none."""
        if not self._path.exists():
            if self._log_path.exists() and self._log_path.stat().st_size:
                return "it is not there, but its log is"
            if self._directory.was_used:
                self._findings.append(f"{self._path} is not there, though the directory has been used: begun anew")
            return None
        try:
            database.examine(self._path, self._migrations)
        except DamageError as error:
            return str(error)
        return None

    def _quarantine(self, damage: str) -> Path:
        """Set the damaged file aside, or refuse to."""
        text = f"{self._path} is damaged: {damage}"
        if self._config.on_corrupt is OnCorrupt.REFUSE:
            raise StoreError(
                f'{text}. Restore a backup, or set on_corrupt = "quarantine" to set it aside and start with what can '
                "be read of it"
            )
        aside = salvage.set_aside(self._path)
        self._directory.sync()
        self._findings.append(f"{text}; set aside as {aside.name}")
        return aside

    def _set_up(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"{self._path}: SQLite cannot keep a write-ahead log here (it uses {mode!r})")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {self._config.checkpoint_bytes}")
        connection.execute(f"PRAGMA cache_size = -{self._config.cache_bytes // 1024}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = OFF")

    # --- restore -------------------------------------------------------------------------

    def count_rows(self) -> int:
        """See ``Store``."""
        try:
            return sum(reading.count_rows(self._opened(), self._tables()).values())
        except sqlite3.Error as error:
            raise StoreError(f"cannot read {self._path}: {error}") from None

    def restore(self) -> Iterator[Operation]:
        """See ``Store``. A damaged row is refused or left out, as ``on_corrupt`` says."""
        connection = self._opened()
        try:
            yield from reading.read_rows(connection, self._tables(), self._lose)
            if self._losses:
                self._forget_losses(connection)
        except sqlite3.Error as error:
            raise StoreError(f"cannot read {self._path}: {error}; restore a backup") from None

    def _lose(self, loss: reading.Loss) -> None:
        if loss.is_damage and self._config.on_corrupt is OnCorrupt.REFUSE:
            line = reading.summarise([loss])[0]
            raise StoreError(
                f'{self._path}: {line}. Restore a backup, or set on_corrupt = "quarantine" to start without what is '
                "damaged"
            )
        self._losses.append(loss)

    def _forget_losses(self, connection: sqlite3.Connection) -> None:
        """Drop the rows that were not given back, and keep the file as it was where any was damaged."""
        lines = reading.summarise(self._losses)
        if any(loss.is_damage for loss in self._losses):
            aside = salvage.name_aside(self._path)
            database.copy(connection, aside)
            lines.append(f"a copy with what is damaged is {aside.name}")
        connection.execute("BEGIN IMMEDIATE")
        for loss in self._losses:
            connection.execute(loss.table.drop, loss.key)
        self._tables().forget_damaged()
        connection.execute("COMMIT")
        # What is queued may be in a segment, where it has no row of its own.
        unreferred = [DropQueued(*loss.key) for loss in self._losses if loss.table is QUEUED and not loss.is_damage]
        if unreferred:
            self._write(connection, Plan(unreferred, self._tables()), True)
        self._log_has_news = True
        self._findings += [f"{self._path}: {line}" for line in lines]
        self._losses.clear()

    # --- commit --------------------------------------------------------------------------

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        """See ``Store``."""
        if self._failure is not None:
            raise StoreFailedError(self._failure)
        connection = self._opened()
        try:
            self._write(connection, self._plan_commit(operations), sync)
        except StoreFullError:
            self._look_at_room()
            raise
        except Exception as error:
            raise self._fail(f"a commit to {self._path} failed: {error}") from error
        self._log_has_news = True
        self._limit_log(connection)
        self._look_at_room()

    def _plan_commit(self, operations: Sequence[Operation]) -> Plan:
        """What becomes of which row, and beside it some of what has to be moved."""
        tables = self._tables()
        plan = Plan(operations, tables)
        if not self._is_full and tables.gone_bytes > self._gone_bytes_max + tables.size_bytes // 3:
            self._plan_moves(plan, MOVED_ROWS_PER_COMMIT + len(operations) // 2)
        return plan

    def _plan_moves(self, plan: Plan, rows_max: int) -> None:
        for error in plan.move(rows_max):
            self._findings.append(f"{self._path}: a segment is damaged ({error}): at the next start it is refused")

    def _write(self, connection: sqlite3.Connection, plan: Plan, sync: bool) -> None:
        """The transaction; a second time with the reserve where there was no room."""
        if self._is_full and self._reserve.take():
            self._leave_full(connection)
        try:
            self._transact(connection, plan, sync)
        except sqlite3.Error as error:
            if not self._is_about_room(error):
                raise
            if self._is_full:
                raise self._full() from error
        else:
            return
        self._enter_full(connection)
        plan.leave_moves()
        try:
            self._transact(connection, plan, sync)
        except sqlite3.Error as error:
            if not self._is_about_room(error):
                raise
            raise self._full() from error

    def _enter_full(self, connection: sqlite3.Connection) -> None:
        """Give up the reserve, for the log alone: the database takes what fits into pages that have become free."""
        self._reserve.give_up()
        self._is_full = True
        connection.execute("PRAGMA max_page_count = 1")  # SQLite makes it as many as there are

    def _leave_full(self, connection: sqlite3.Connection) -> None:
        """The reserve is held again: the database may grow."""
        self._is_full = False
        connection.execute(f"PRAGMA max_page_count = {PAGES_MAX}")

    def _is_about_room(self, error: sqlite3.Error) -> bool:
        return getattr(error, "sqlite_errorcode", 0) in FULL_CODES

    def _transact(self, connection: sqlite3.Connection, plan: Plan, sync: bool) -> None:
        if sync is not self._syncs:
            connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._syncs = sync
        connection.execute("BEGIN IMMEDIATE")
        try:
            plan.apply(connection)
            if sync and self._has_unsynced:
                # What changes nothing syncs nothing: then what was committed before would not be there either.
                connection.execute("UPDATE sync_mark SET number = number + 1")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._has_unsynced = not sync
        plan.install()

    def _full(self) -> StoreFullError:
        return StoreFullError(
            f"no room is left on the disk of {self._directory.path}: nothing new can be kept until there is"
        )

    def _fail(self, text: str) -> StoreFailedError:
        self._failure = f"{text}. The store takes nothing more; look at the disk, then start the broker again"
        return StoreFailedError(self._failure)

    # --- between commits -----------------------------------------------------------------

    def idle(self) -> None:
        """See ``Store``."""
        if self._failure is not None:
            return
        connection = self._opened()
        if self._reserve.take() and self._is_full:
            self._leave_full(connection)
        self._move(connection)
        if self._log_has_news:
            self._checkpoint(connection)
        self._look_at_room()
        if self._failure is not None:
            raise StoreFailedError(self._failure)

    def _move(self, connection: sqlite3.Connection) -> None:
        """Free the room of segments of which little is left, while there is time."""
        tables = self._tables()
        if self._is_full or not (tables.messages.sparse or tables.queued.sparse):
            return
        plan = Plan((), tables)
        self._plan_moves(plan, MOVED_ROWS_PER_IDLE)
        try:
            self._transact(connection, plan, self._syncs)
        except sqlite3.Error as error:
            if self._is_about_room(error):
                return  # it is as it was; what makes room comes by itself
            self._fail(f"moving what is left of segments of {self._path} failed: {error}")
            return
        self._log_has_news = True

    def _look_at_room(self) -> None:
        room = self._directory.room()
        self.free_bytes = free = None if room is None else room.free_bytes
        is_low = self._is_full or (room is not None and room.free_bytes < self._low_below_bytes(room.size_bytes))
        if is_low and not self.is_low:
            self._findings.append(f"room runs short on the disk of {self._directory.path}: {free} bytes are free")
        elif self.is_low and not is_low:
            self._findings.append(f"there is room again on the disk of {self._directory.path}: {free} bytes are free")
        self.is_low = is_low

    def _low_below_bytes(self, size_bytes: int) -> int:
        """Below how much free space there is little, on a file system of this size."""
        if self._config.low_disk_bytes is not None:
            return self._config.low_disk_bytes
        return min(LOW_DISK_MAX_BYTES, size_bytes // LOW_DISK_PART)

    def _limit_log(self, connection: sqlite3.Connection) -> None:
        """Work the log into the database where it has grown beyond its limit."""
        try:
            size_bytes = os.stat(self._log_name).st_size
        except OSError:
            return  # the commit is safe; whoever has removed the log of an open database will hear of it
        if size_bytes <= self._checkpoint_above_bytes:
            return
        # When all of the log has been worked in, SQLite begins it anew and cuts it to journal_size_limit. While
        # somebody reads (a backup) it cannot: then not every commit shall try.
        limit = self._config.checkpoint_bytes
        self._checkpoint_above_bytes = limit if self._checkpoint(connection) else size_bytes + limit // 4

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        """Work the log into the database without waiting for readers; whether all of it was done."""
        try:
            is_busy, written, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if self._is_about_room(error):
                self._enter_full(connection)  # the log still has everything
                return False
            self._fail(f"the log of {self._path} could not be worked in: {error}")
            return False
        is_done = not is_busy and written == done
        self._log_has_news = not is_done
        return is_done

    def findings(self) -> Sequence[str]:
        """See ``Store``."""
        found, self._findings = self._findings, []
        return found

    def close(self) -> None:
        """See ``Store``."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if self._failure is None:
                    connection.execute("PRAGMA synchronous = FULL")
                    # Whoever reads (a backup) is not waited for: then the log stays, and loses nothing by it.
                    connection.execute("PRAGMA busy_timeout = 0")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                self._findings.append(f"{self._path}: the log was left as it is: {error}")
            try:
                connection.close()
            except sqlite3.Error as error:
                self._findings.append(f"{self._path}: closing failed: {error}")
        self._directory.unlock()

    def _tables(self) -> SegmentTables:
        if self._segments is None:
            raise StoreError(f"{self._path} is not open")
        return self._segments

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._path} is not open")
        return self._connection
