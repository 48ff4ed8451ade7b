"""The store in SQLite: what is acknowledged is in one file, and survives a loss of power."""

from pathlib import Path
from typing import TypeAlias

from noctule.api import Settings, Store, StoreReader, hookimpl
from noctule.plugins.sqlite_store.reader import SqliteReader
from noctule.plugins.sqlite_store.store import Config, NetworkFileSystem, OnCorrupt, SqliteStore

__all__ = ["Config", "NetworkFileSystem", "OnCorrupt", "Plugin", "SqliteStore", "make_store", "read_store"]


_Options: TypeAlias = Config


class Plugin:
    """Answers ``open_store`` with a store of its configuration."""

    Config = _Options

    def __init__(self, config: _Options) -> None:
        self._config = config

    @hookimpl
    def open_store(self, settings: Settings) -> Store:
        """The store; nothing is opened yet."""
        del settings
        return SqliteStore(self._config)


def make_store(directory: Path) -> Store:
    """The store of a directory, for ``noctule store``: it is not open yet."""
    return SqliteStore(Config(path=directory))


def read_store(directory: Path) -> StoreReader:
    """A look at the store of a directory, also while a broker uses it. StoreError where there is none."""
    return SqliteReader(directory)
