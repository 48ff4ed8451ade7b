"""The SQLite store and the one that keeps nothing do what every store has to."""

from pathlib import Path

from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.storage.memory import MemoryStore
from noctule.storage.store import Store
from noctule.testing.store_contract import StoreContract


class TestSqlite(StoreContract):
    def make_store(self, directory: Path) -> Store:
        return SqliteStore(Config(path=directory / "store", reserve_bytes=0))


class TestSqliteWithSmallLog(StoreContract):
    """Checkpoints all the time."""

    histories = 15

    def make_store(self, directory: Path) -> Store:
        return SqliteStore(Config(path=directory, checkpoint_bytes=1, cache_bytes=65_536, reserve_bytes=0))


class TestMemory(StoreContract):
    histories = 5

    def make_store(self, directory: Path) -> Store:
        return MemoryStore()
