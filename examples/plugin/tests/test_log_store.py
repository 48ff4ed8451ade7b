"""The log: what every store has to do, and what is this one's own."""

import os
from pathlib import Path

import pytest
from noctule.api import (
    Operation,
    PutMessage,
    PutRetained,
    Settings,
    Store,
    StoreError,
    StoreFailedError,
    StoreFullError,
)
from noctule.testing.harness import PluginHarness
from noctule_example.log_store import LogStore, LogStoreConfig, LogStorePlugin

store_contract = pytest.importorskip("noctule.testing.store_contract")

FIRST: list[Operation] = [PutMessage(1, b"t", b"first", 1, True, b"", None), PutRetained(b"t", 1)]
SECOND: list[Operation] = [PutMessage(2, b"u", b"second", 1, True, b"", None)]


class TestContract(store_contract.StoreContract):  # type: ignore[misc]
    """Everything that the broker relies on."""

    def make_store(self, directory: Path) -> Store:
        return LogStore(directory / "state.log")


def opened(path: Path) -> tuple[LogStore, list[Operation]]:
    store = LogStore(path)
    store.open()
    return store, list(store.restore())


def test_the_plugin_offers_it(tmp_path: Path) -> None:
    store = PluginHarness(LogStorePlugin(LogStoreConfig(tmp_path / "state.log"))).call("open_store", Settings())
    assert isinstance(store, LogStore)


def test_a_commit_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    """At every byte of it; what was committed before is."""
    path = tmp_path / "state.log"
    store, _ = opened(path)
    store.commit(FIRST, sync=True)
    before = path.stat().st_size
    store.commit(SECOND, sync=True)
    store.close()
    whole = path.read_bytes()
    for size in range(before, len(whole)):
        path.write_bytes(whole[:size])
        store, found = opened(path)
        assert found == FIRST
        assert bool(store.findings()) == (size > before)
        store.close()


def test_what_was_dropped_is_gone_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.log"
    store, _ = opened(path)
    for number in range(100):
        store.commit([PutMessage(1, b"t", b"%d" % number, 0, False, b"", None)], sync=False)
    store.close()
    size = path.stat().st_size
    opened(path)[0].close()
    assert path.stat().st_size < size / 50
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "state.log"
    path.write_text("hello\n", encoding="utf-8")
    store = LogStore(path)
    with pytest.raises(StoreError, match=r"state\.log:1: not written by this plugin"):
        store.open()
    store.close()
    assert path.read_text(encoding="utf-8") == "hello\n"


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the commit is kept, and the next one may have room again."""
    path = tmp_path / "state.log"
    store, _ = opened(path)
    store.commit(FIRST, sync=True)
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(StoreFullError):
            store.commit(SECOND, sync=True)
    store.commit(SECOND, sync=True)
    store.close()
    store, found = opened(path)
    assert found == [FIRST[0], SECOND[0], FIRST[1]]
    store.close()


def test_a_sync_that_fails_is_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = opened(tmp_path / "state.log")

    def fail(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(StoreFailedError, match="Input/output error"):
            store.commit(FIRST, sync=True)
    with pytest.raises(StoreFailedError):
        store.commit(SECOND, sync=True)
    store.close()
