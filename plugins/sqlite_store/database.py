"""The file of the SQLite store: making it, opening it, what version it is, and whether it is whole."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from noctule.api import StoreError
from noctule.plugins.sqlite_store.schema import APPLICATION_ID

#: The file, in the directory of the store; SQLite's log and its index are beside it.
DATABASE_NAME: Final = "noctule.db"

#: What SQLite writes beside a database.
COMPANIONS: Final = ("-wal", "-shm", "-journal")

#: How long SQLite waits for another program that has locked the file.
BUSY_TIMEOUT_MS: Final = 5_000

#: SQLite's codes that say that a file is damaged, or none of its own.
DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

#: What reading a damaged file raises: the module fails to decode SQLite's message where that quotes the damage.
READ_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)

#: As many faults of one file as are worth telling.
_FAULTS_MAX: Final = 10

_WAL_HEADER_BYTES: Final = 32
_WAL_FRAME_HEADER_BYTES: Final = 24

#: What stands in a frame's header in place of the size of the database where the frame does not end a transaction.
_NO_COMMIT: Final = bytes(4)

#: Statements by version.
Migrations = tuple[tuple[str, ...], ...]


class DamageError(Exception):
    """The file is not what we have written; the text says how that shows."""


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's own code for an error, without what it adds in higher bits; 0: it is an error of the module's."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a file that is there. sqlite3.Error where that fails; often only when it is first read."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_MS / 1000,
        cached_statements=64,
    )
    # A damaged file may hold anything: it is told apart where rows are checked, not by an exception on the way.
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def create(path: Path, migrations: Migrations) -> None:
    """Make a new, empty database, readable for its owner alone. sqlite3.Error and OSError where that fails.

    It gets its name when it is whole: a file of this name that has no tables has lost them.
    """
    draft = path.with_name(path.name + ".new")
    for name in (draft, *(draft.with_name(draft.name + companion) for companion in COMPANIONS)):
        name.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(connect(draft, read_only=False)) as connection:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _migrate(connection, migrations, 0)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    draft.rename(path)


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the tables in the file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, migrations: Migrations) -> int:
    """Bring the tables to this version, in one transaction; the version they had comes back."""
    version = version_of(connection)
    if version < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            _migrate(connection, migrations, version)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return version


def _migrate(connection: sqlite3.Connection, migrations: Migrations, version: int) -> None:
    for statements in migrations[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def examine(path: Path, migrations: Migrations) -> int:
    """Look whether a file is a whole store of a version we know; the version comes back. It changes nothing.

    DamageError where it is damaged; StoreError where it is whole but nothing for us: another program's, of a newer
    version, or not ours to read.
    """
    try:
        if path.stat().st_size == 0:
            raise DamageError("it is empty")
        with path.open("rb"):
            pass  # SQLite would not say why it cannot be opened
        with closing(connect(path, read_only=True)) as connection:
            return _examine(connection, path, migrations)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DamageError(error.object.decode("utf-8", "backslashreplace")) from None
    except sqlite3.Error as error:
        if primary_code(error) in DAMAGE_CODES or primary_code(error) == sqlite3.SQLITE_ERROR:
            raise DamageError(str(error)) from None
        raise StoreError(f"cannot read {path}: {error}") from None


def _examine(connection: sqlite3.Connection, path: Path, migrations: Migrations) -> int:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id != APPLICATION_ID:
        if faults := faults_of(connection):
            raise DamageError(faults[0])
        raise StoreError(
            f"{path} is a database of another program (application_id {application_id:#x}); "
            "move it away, or give the store another directory"
        )
    version = version_of(connection)
    if version > len(migrations):
        raise StoreError(
            f"{path} was written by a newer Noctule (version {version} of the tables; this one knows up to "
            f"{len(migrations)}); start that one, or restore a backup from before the upgrade"
        )
    if version < 1:
        raise DamageError(f"its version is {version}, which never was")
    if faults := faults_of(connection):
        raise DamageError("; ".join(faults))
    if _tables(connection) != _tables_of_version(migrations, version):
        raise DamageError("its tables are not those of its version")
    return version


def faults_of(connection: sqlite3.Connection) -> Sequence[str]:
    """What SQLite finds wrong with the structure of the file."""
    try:
        rows = connection.execute(f"PRAGMA quick_check({_FAULTS_MAX})").fetchall()
    except READ_ERRORS as error:
        return [str(error)]
    found = [line for (text,) in rows for line in str(text).splitlines()]
    return [] if found == ["ok"] else found


def _tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def _tables_of_version(migrations: Migrations, version: int) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        _migrate(connection, migrations[:version], 0)
        return _tables(connection)


def copy(connection: sqlite3.Connection, target: Path) -> None:
    """Copy a database, as it is at one moment, to a new file for its owner alone. sqlite3.Error and OSError."""
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(target, isolation_level=None)) as copied:
        connection.backup(copied)


def frames_written(path: Path) -> int:
    """Where the last transaction in the log of a database ends, in frames from its begin; 0 where there is no log.

    A frame counts where it ends a transaction and has the marks of the log's header: what is left of an older round
    has others. Of a transaction that was not written to its end, none does.
    """
    try:
        with path.with_name(path.name + "-wal").open("rb") as log:
            header = log.read(_WAL_HEADER_BYTES)
            if len(header) < _WAL_HEADER_BYTES:
                return 0
            page_bytes = int.from_bytes(header[8:12], "big")
            if page_bytes not in {1 << power for power in range(9, 17)}:
                return 1  # the header is damaged: nothing of the log can be read
            salts = header[16:24]
            written = number = 0
            is_ours = False
            while len(frame := log.read(_WAL_FRAME_HEADER_BYTES)) == _WAL_FRAME_HEADER_BYTES:
                number += 1
                if frame[8:16] == salts and frame[4:8] != _NO_COMMIT:
                    written = number
                is_ours = is_ours or frame[8:16] == salts
                log.seek(page_bytes, os.SEEK_CUR)
            return written if is_ours or not number else 1  # the header's marks may be what is damaged
    except OSError:
        return 0


def frames_read(connection: sqlite3.Connection) -> int:
    """How many frames of the log SQLite takes as whole: those of transactions that were written to the end."""
    row = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(int(row[1]), 0)
