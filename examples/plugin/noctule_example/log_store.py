"""Keeps the broker's state in a log of JSON lines, by the ``open_store`` hook.

Each commit is one line, so that it is there whole or not at all; a line that a loss of power has cut off is not there.
At the start the log is read into a table and written anew, without what has been dropped since.
"""

import errno
import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from noctule.api import (
    DropMessage,
    DropQueued,
    DropReceived,
    DropRetained,
    DropSession,
    DropSubscription,
    DropWill,
    Operation,
    Option,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
    Settings,
    Store,
    StoreError,
    StoreFailedError,
    StoreFullError,
    hookimpl,
)


@dataclass(frozen=True, slots=True)
class LogStoreConfig:
    """The options below ``[plugins.example_log_store]``."""

    file: Annotated[Path, Option("The log; it is made where it is not there.")]


class LogStorePlugin:
    """The plugin."""

    #: The broker reads and checks these, and makes the plugin with them.
    Config = LogStoreConfig

    def __init__(self, config: LogStoreConfig) -> None:
        self._config = config

    @hookimpl
    def open_store(self, settings: Settings) -> Store:
        """The store; the broker opens it."""
        del settings
        return LogStore(self._config.file)


#: For each operation that puts a row: how many of its fields are the key, and what drops it.
_TABLES: Final[dict[type[Any], tuple[int, type[Any]]]] = {
    PutMessage: (1, DropMessage),
    PutSession: (1, DropSession),
    PutSubscription: (3, DropSubscription),
    PutQueued: (2, DropQueued),
    PutReceived: (2, DropReceived),
    PutRetained: (1, DropRetained),
    PutWill: (1, DropWill),
}
_PUT_BY_DROP: Final[dict[type[Any], type[Any]]] = {drop: put for put, (_, drop) in _TABLES.items()}
_KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in (*_TABLES, *_PUT_BY_DROP)}
_OF_A_SESSION: Final = (PutSession, PutSubscription, PutQueued, PutReceived, PutWill)

_Key = tuple[Any, ...]


class LogStore:
    """``noctule.api.Store`` in one file. The rows are in memory only while they are read: ``restore`` forgets them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._lock: int | None = None
        self._size = 0
        self._has_failed = False
        self._rows: dict[_Key, Operation] = {}
        self._findings: list[str] = []

    @property
    def is_durable(self) -> bool:
        """It is a file."""
        return True

    @property
    def is_low(self) -> bool:
        """Whether there is little room on the disk."""
        free = self.free_bytes
        return free is not None and free < 64 * 2**20

    @property
    def free_bytes(self) -> int | None:
        """The room on the disk."""
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize

    def open(self) -> None:
        """Lock the log, read it, write it anew."""
        try:
            self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"{self._path}: is it in use by another broker? {error.strerror}") from error
        try:
            self._read()
            self._leave_out_what_refers_to_nothing()
            self._write_anew()
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error

    def count_rows(self) -> int:
        """How many there are to restore."""
        return len(self._rows)

    def restore(self) -> Iterator[Operation]:
        """Everything, in the order in which the broker wants it."""
        rows, self._rows = self._rows, {}
        first: tuple[type[Any], ...] = (PutMessage, PutSession)
        for kind in first:
            yield from (row for row in rows.values() if isinstance(row, kind))
        yield from sorted(
            (row for row in rows.values() if isinstance(row, PutQueued)),
            key=lambda row: (row.session_id, row.position),
        )
        yield from (row for row in rows.values() if not isinstance(row, (*first, PutQueued)))

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        """Append one line."""
        if self._file is None or self._has_failed:
            raise StoreFailedError(f"{self._path}: closed by an earlier failure; restart the broker")
        if operations:
            self._append(_line_of(operations))
        if sync:
            try:
                os.fdatasync(self._file)
            except OSError as error:
                self._has_failed = True  # never tried again: nobody knows what is on the disk
                raise StoreFailedError(f"{self._path}: {error.strerror}") from error

    def idle(self) -> None:
        """Nothing: the log is written anew at the next start."""

    def findings(self) -> Sequence[str]:
        """What was wrong with the log, once."""
        found, self._findings = self._findings, []
        return found

    def close(self) -> None:
        """Close the log and let others have it."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def _append(self, line: bytes) -> None:
        if self._file is None:
            raise StoreFailedError(f"{self._path}: not open")
        try:
            written = os.write(self._file, line)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                self._has_failed = True
                raise StoreFailedError(f"{self._path}: {error.strerror}") from error
            written = 0
        if written == len(line):
            self._size += written
            return
        try:
            os.ftruncate(self._file, self._size)  # nothing of it is kept
        except OSError as error:
            self._has_failed = True
            raise StoreFailedError(f"{self._path}: {error.strerror}") from error
        raise StoreFullError(f"{self._path}: {os.strerror(errno.ENOSPC)}")

    def _read(self) -> None:
        """Read the log into ``_rows``. StoreError where it is none."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self._findings.append(f"{self._path}:{number}: cut off; this commit was never acknowledged")
                    return
                try:
                    operations = _operations_of(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(
                        f"{self._path}:{number}: not written by this plugin ({error!r}); put the file aside to start "
                        "without what it has"
                    ) from error
                for operation in operations:
                    self._apply(operation)

    def _apply(self, operation: Operation) -> None:
        kind = type(operation)
        if kind in _TABLES:
            self._rows[(kind, *operation[: _TABLES[kind][0]])] = operation
        elif isinstance(operation, DropSession):
            session_id = operation.session_id
            for key in [key for key in self._rows if key[0] in _OF_A_SESSION and key[1] == session_id]:
                del self._rows[key]
        else:
            self._rows.pop((_PUT_BY_DROP[kind], *operation), None)

    def _leave_out_what_refers_to_nothing(self) -> None:
        for key, row in list(self._rows.items()):
            message_id = row.message_id if isinstance(row, PutQueued | PutReceived | PutRetained) else 0
            has_message = not message_id or (PutMessage, message_id) in self._rows
            has_session = not isinstance(row, _OF_A_SESSION) or (PutSession, row.session_id) in self._rows
            # Of what is queued, 0 stands for a message that has arrived and leaves its packet identifier alone.
            if isinstance(row, PutReceived | PutRetained) and not message_id:
                has_message = False
            if not has_message or not has_session:
                del self._rows[key]
                self._findings.append(f"{self._path}: left out {row!r}: what it refers to is not there")

    def _write_anew(self) -> None:
        """Write the rows to a new file, and put it in the place of the log when it is on the disk."""
        new = self._path.with_name(f"{self._path.name}.new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file, self._size = file, 0
        rows = list(self._rows.values())
        for start in range(0, len(rows), 1_000):
            self._append(_line_of(rows[start : start + 1_000]))
        os.fsync(file)
        new.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _line_of(operations: Sequence[Operation]) -> bytes:
    """A commit as a line. KeyError, the caller's fault, for what is no operation."""
    rows = []
    for operation in operations:
        name = type(operation).__name__
        types = get_type_hints(_KINDS[name])
        rows.append([name, *(_written(value, types[field]) for field, value in zip(types, operation, strict=True))])
    return json.dumps(rows, separators=(",", ":")).encode() + b"\n"


def _written(value: Any, kind: object) -> object:
    """A field as JSON has it."""
    return b64encode(value).decode() if kind is bytes else value


def _operations_of(line: bytes) -> list[Operation]:
    """The commit that a line is. ValueError, KeyError and TypeError where it is none."""
    found: list[Operation] = []
    for name, *values in json.loads(line):
        kind = _KINDS[name]
        types = get_type_hints(kind)
        made: Operation = kind(
            *(b64decode(value) if types[field] is bytes else value for field, value in zip(types, values, strict=True))
        )
        found.append(made)
    return found
