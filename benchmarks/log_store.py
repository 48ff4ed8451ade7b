"""A store that is a log alone: every commit appended and synced, nothing indexed, nothing taken away, nothing restored.

The least that keeping can cost, to compare the store in SQLite with. It is a plugin like any other.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from noctule.api import Operation, PutMessage, PutQueued, Settings, Store, hookimpl

_MESSAGE = struct.Struct("<BQHI")
_QUEUED = struct.Struct("<BQQQB")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where the log is."""

    path: Path = Path("noctule.log")


class Plugin:
    """Answers ``open_store``."""

    Config = LogConfig

    def __init__(self, config: LogConfig) -> None:
        self._config = config

    @hookimpl
    def open_store(self, settings: Settings) -> Store:
        """The log; nothing is opened yet."""
        del settings
        return LogStore(self._config.path)


class LogStore:
    """Appends and syncs."""

    is_durable = True
    is_low = False
    free_bytes = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def open(self) -> None:
        """Start an empty log."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)

    def count_rows(self) -> int:
        """None: it is empty."""
        return 0

    def restore(self) -> Iterator[Operation]:
        """Nothing."""
        return iter(())

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        """Append what can be told in bytes, and sync."""
        pieces: list[bytes] = []
        for operation in operations:
            if isinstance(operation, PutMessage):
                pieces += (
                    _MESSAGE.pack(1, operation[0], len(operation[1]), len(operation[2])),
                    operation[1],
                    operation[2],
                )
            elif isinstance(operation, PutQueued):
                pieces.append(_QUEUED.pack(2, *operation[:4]))
            else:
                pieces.append(repr(operation).encode())
        os.write(self._file, b"".join(pieces))
        if sync:
            os.fdatasync(self._file)

    def idle(self) -> None:
        """Nothing is put off."""

    def findings(self) -> Sequence[str]:
        """Nothing is found."""
        return ()

    def close(self) -> None:
        """Close the log."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
