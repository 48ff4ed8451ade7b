"""A loss of power at every point of a history, and a failure of every write and sync.

What is found afterwards must be the state after one of the commits, whole: no earlier one than the last that was
acknowledged after a sync, no later one than had been begun.
"""

import errno
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from crash import history
from crash.disk import ACKED, Disk, Run, build_shim, trace, trace_all
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.plugins.sqlite_store.segments import Change, Segments
from noctule.storage.operations import Operation
from noctule.testing.store_contract import Model

COMMITS = 45

#: With one checkpoint among them.
FAILING_COMMITS = 17


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


def states() -> list[frozenset[Operation]]:
    """The state after each commit, from none on, as it is restored."""
    model, found = Model(), [frozenset[Operation]()]
    for number in range(1, COMMITS + 1):
        model.apply(history.commit(number))
        seen = Model()
        seen.rows = dict(model.rows)
        seen.restart()
        found.append(frozenset(seen.rows.values()))
    return found


STATES = states()


def restored(directory: Path) -> frozenset[Operation]:
    store = SqliteStore(Config(path=directory, reserve_bytes=0))
    store.open()
    try:
        rows = list(store.restore())
    finally:
        store.close()
    return frozenset(rows)


def number_of(state: frozenset[Operation]) -> int:
    """After which commit the state is this; AssertionError: after none."""
    assert state in STATES, "the state is of no commit: part of one is lost or there is too much"
    return STATES.index(state)


def losses(run: Run, folder: Path, chance: Random | None, every: int = 1) -> Iterator[tuple[int, int, int]]:
    """Take the power away after each event: the event, what was acknowledged by then, what is left."""
    disk = Disk()
    for at, event in enumerate(run.events):
        disk.take(event)
        if at % every and event.name != ACKED:
            continue
        directory = folder / f"after{at}"
        disk.write_to(directory, chance)
        yield at, disk.acked, number_of(restored(directory))


@pytest.fixture(scope="module")
def synced(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = trace(shim, tmp_path_factory.mktemp("synced") / "store", Path(history.__file__), "1", str(COMMITS))
    assert run.code == 0, run.errors
    return run


@pytest.fixture(scope="module")
def unsynced(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = trace(shim, tmp_path_factory.mktemp("unsynced") / "store", Path(history.__file__), "0", str(COMMITS))
    assert run.code == 0, run.errors
    return run


def test_what_was_synced_survives_a_loss_of_power(synced: Run, tmp_path: Path) -> None:
    for at, acked, left in losses(synced, tmp_path, None, every=6):
        assert acked <= left <= acked + 1, f"after event {at}"


@pytest.mark.parametrize("seed", range(3))
def test_what_was_synced_survives_whatever_else_does(synced: Run, tmp_path: Path, seed: int) -> None:
    for at, acked, left in losses(synced, tmp_path, Random(seed), every=7):
        assert acked <= left <= acked + 1, f"after event {at}"


def test_without_sync_a_loss_of_power_loses_what_was_acknowledged(unsynced: Run, tmp_path: Path) -> None:
    """The disk of these tests bites: else those above would show nothing. What is left is whole all the same."""
    assert any(left < acked for _, acked, left in losses(unsynced, tmp_path, None, every=20))


@pytest.mark.parametrize("seed", range(2))
def test_without_sync_what_is_left_is_whole(unsynced: Run, tmp_path: Path, seed: int) -> None:
    for at, acked, left in losses(unsynced, tmp_path, Random(seed), every=20):
        assert left <= acked + 1, f"after event {at}"


def test_a_sync_covers_what_was_committed_before_it_without(shim: Path, tmp_path: Path) -> None:
    run = trace(shim, tmp_path / "mixed", Path(history.__file__), "1000", str(COMMITS))
    assert run.code == 0, run.errors
    lost = 0
    for at, acked, left in losses(run, tmp_path, None, every=9):
        synced = acked - acked % 4  # numbers that four divides were synced
        assert synced <= left <= acked + 1, f"after event {at}"
        lost += left < acked
    assert lost, "commits without a sync cost none"


def test_a_synced_commit_that_changes_nothing_covers_what_was_before(shim: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from noctule.plugins.sqlite_store import Config, SqliteStore\n"
        "from noctule.storage.operations import DropMessage, PutMessage\n"
        "store = SqliteStore(Config(path=Path(sys.argv[1]), reserve_bytes=0))\n"
        "store.open()\n"
        "list(store.restore())\n"
        "store.commit([PutMessage(1, b't', b'', 1, False, b'', None)], sync=True)\n"
        "store.commit([DropMessage(1)], sync=False)\n"
        "store.commit([DropMessage(1)], sync=True)\n"
        "import os\n"
        "os._exit(0)\n"
    )
    run = trace(shim, tmp_path / "store", script)
    assert run.code == 0, run.errors
    disk = Disk()
    for event in run.events:
        disk.take(event)
    disk.write_to(tmp_path / "left")
    assert restored(tmp_path / "left") == frozenset(), "a row that was dropped, and synced as dropped, is back"


# --- failures ----------------------------------------------------------------------------


def check_failures(shim: Path, folder: Path, failures: list[str]) -> set[int]:
    """After each failure nothing acknowledged is lost, with the power on or without. The exit codes come back."""
    codes = set()
    for index, run in enumerate(trace_all(shim, folder, Path(history.__file__), failures, "1", str(FAILING_COMMITS))):
        what = f"{failures[index]}: {run.code} {run.errors}"
        assert run.code in (0, 3, 4, 6), what
        codes.add(run.code)
        disk = Disk()
        early = folder / f"{index}.early"
        last_acked = max((at for at, event in enumerate(run.events) if event.name == ACKED), default=0)
        for at, event in enumerate(run.events):
            disk.take(event)
            if at == last_acked:
                disk.write_to(early)  # before closing has worked the log into the database
        left = folder / f"{index}.left"
        disk.write_to(left)
        for directory in (folder / str(index), left, early):
            assert disk.acked <= number_of(restored(directory)) <= disk.acked + 1, f"{directory.name}: {what}"
    return codes


@pytest.fixture(scope="module")
def failing(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run in which the failures are, without one."""
    folder = tmp_path_factory.mktemp("failing")
    return trace(shim, folder / "store", Path(history.__file__), "1", str(FAILING_COMMITS))


def test_a_failure_of_any_sync(shim: Path, failing: Run, tmp_path: Path) -> None:
    failures = [f"sync {index} {errno.EIO}" for index in range(failing.count("SF"))]
    assert {3, 4} <= check_failures(shim, tmp_path, failures), "some failed at the start, some at a commit"


@pytest.mark.parametrize(("error", "code"), [(errno.EIO, 4), (errno.ENOSPC, 6)], ids=["EIO", "ENOSPC"])
def test_a_failure_of_any_write(shim: Path, failing: Run, tmp_path: Path, error: int, code: int) -> None:
    failures = [f"write {index} {error}" for index in range(failing.count("WT"))]
    assert {3, code} <= check_failures(shim, tmp_path, failures)


def test_a_disk_that_fills_up(shim: Path, tmp_path: Path) -> None:
    codes = check_failures(shim, tmp_path, [f"room {room}" for room in range(20_000, 260_000, 12_345)])
    assert {3, 6} <= codes <= {0, 3, 6}


def test_the_history_has_all_that_becomes_of_segments(tmp_path: Path) -> None:
    """Else the tests above would say nothing of them."""
    store = SqliteStore(Config(path=tmp_path, reserve_bytes=0), gone_bytes_max=history.GONE_BYTES_MAX)
    store.open()
    list(store.restore())
    seen: set[str] = set()
    assert store._segments is not None
    write = store._segments.write

    def watch(segments: Segments, change: Change) -> None:
        seen.update(name for name in ("new", "moved", "puts", "drops") if getattr(change, name))
        seen.update("emptied" if segment.live == len(rows) else "gone" for segment, rows in change.gone.items())
        write(segments, change)

    store._segments.write = watch  # type: ignore[method-assign]
    for number in range(1, COMMITS + 1):
        store.commit(history.commit(number), sync=False)
    store.close()
    assert seen == {"new", "moved", "puts", "drops", "emptied", "gone"}
