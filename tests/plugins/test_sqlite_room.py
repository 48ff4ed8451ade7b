"""The SQLite store where room runs out, on a file system of one megabyte, and where it can be made again."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.plugins.sqlite_store.directory import Directory, Room
from noctule.storage.operations import DropMessage, PutMessage
from noctule.storage.store import StoreFullError

SIZE_BYTES = 4_000_000
RESERVE_BYTES = 500_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes; it takes root to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", place], stderr=subprocess.DEVNULL, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("a small file system cannot be mounted here (test_store_power_loss fills disks up without)")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def message(number: int) -> PutMessage:
    return PutMessage(number, b"t", number.to_bytes(2, "big") * 1000, 1, False, b"", None)


def make(place: Path, low_disk_bytes: int | None = 0) -> SqliteStore:
    config = Config(
        path=place / "store",
        reserve_bytes=RESERVE_BYTES,
        low_disk_bytes=low_disk_bytes,
        checkpoint_bytes=300_000,
    )
    return SqliteStore(config)


def fill(store: SqliteStore) -> int:
    """Put messages until there is no room; the last one that was kept comes back."""
    number = 0
    while True:
        try:
            store.commit([message(number + 1)], sync=True)
        except StoreFullError:
            return number
        number += 1


def test_a_full_disk_loses_nothing_and_takes_what_makes_room(small_disk: Path) -> None:
    store = make(small_disk)
    store.open()
    list(store.restore())
    assert (small_disk / "store" / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES
    last = fill(store)
    assert last > 500
    assert store.is_low
    assert not (small_disk / "store" / "reserve").exists(), "it has been given up"
    large = message(last + 1)._replace(payload=bytes(2 * RESERVE_BYTES))
    for _ in range(3):
        with pytest.raises(StoreFullError):
            store.commit([large], sync=True)
    with pytest.raises(StoreFullError):
        store.commit([DropMessage(1), large], sync=True)
    dropped = range(1, last, 2)
    for number in dropped:
        store.commit([DropMessage(number)], sync=True)
    store.close()

    again = make(small_disk)
    again.open()
    kept = {row.message_id for row in again.restore() if isinstance(row, PutMessage)}
    assert kept == set(range(1, last + 1)) - set(dropped)
    again.close()


def test_on_a_full_disk_what_is_put_takes_the_place_of_what_is_dropped(small_disk: Path) -> None:
    """Much more than the reserve goes through, as long as as much is dropped."""
    store = make(small_disk)
    store.open()
    list(store.restore())
    last = fill(store)
    ahead = 10  # pages become free whole: it takes a few messages
    store.commit([DropMessage(number) for number in range(1, ahead + 1)], sync=True)
    for number in range(1, last - ahead + 1):
        store.commit([message(last + number), DropMessage(number + ahead)], sync=True)
    assert store.is_low
    store.close()
    again = make(small_disk)
    again.open()
    assert {row.message_id for row in again.restore() if isinstance(row, PutMessage)} == set(
        range(last + 1, 2 * last - ahead + 1)
    )
    again.close()


def test_room_that_is_made_is_used(small_disk: Path) -> None:
    hog = small_disk / "hog"
    hog.write_bytes(b"x" * (SIZE_BYTES // 2))
    store = make(small_disk)
    store.open()
    list(store.restore())
    last = fill(store)
    hog.unlink()
    store.idle()
    assert not store.is_low
    assert [line.split(" on ")[0] for line in store.findings()] == ["room runs short", "there is room again"]
    assert (small_disk / "store" / "reserve").exists(), "it is held again"
    store.commit([message(last + 1)], sync=True)
    store.close()


def test_room_that_is_made_is_used_without_idling(small_disk: Path) -> None:
    hog = small_disk / "hog"
    hog.write_bytes(b"x" * (SIZE_BYTES // 2))
    store = make(small_disk)
    store.open()
    list(store.restore())
    last = fill(store)
    hog.unlink()
    store.commit([message(last + 1)], sync=True)
    assert not store.is_low
    store.close()


def test_little_room_is_noticed_before_there_is_none(small_disk: Path) -> None:
    store = make(small_disk, low_disk_bytes=1_500_000)
    store.open()
    list(store.restore())
    assert not store.is_low
    number = 0
    while not store.is_low:
        number += 1
        store.commit([message(number)], sync=False)
    assert store.free_bytes is not None
    assert 500_000 < store.free_bytes < 1_500_000
    assert any("room runs short" in line for line in store.findings())
    store.commit([message(number + 1)], sync=True)  # it is the broker that takes no more
    store.close()


@pytest.mark.parametrize(
    ("size_bytes", "free_bytes", "is_low"),
    [
        (1 << 40, (1 << 27) - 1, True),
        (1 << 40, 1 << 27, False),
        (64 << 20, 4 << 20, False),  # a small one is not low for good
        (64 << 20, (64 << 20) // 20 - 1, True),
    ],
)
def test_what_is_little_goes_by_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int, free_bytes: int, is_low: bool
) -> None:
    monkeypatch.setattr(Directory, "room", lambda _self: Room(size_bytes, free_bytes))
    store = make(tmp_path, low_disk_bytes=None)
    store.open()
    list(store.restore())
    store.commit([message(1)], sync=True)
    assert store.is_low is is_low
    store.close()


def test_the_room_is_that_of_the_file_system(small_disk: Path) -> None:
    room = Directory(small_disk).room()
    assert room is not None
    assert room.free_bytes <= room.size_bytes <= SIZE_BYTES + 4096


def test_a_full_disk_does_not_keep_a_store_from_opening(small_disk: Path) -> None:
    store = make(small_disk)
    store.open()
    list(store.restore())
    store.commit([message(1), message(2)], sync=True)
    store.close()
    hog = small_disk / "hog"
    with hog.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    store = make(small_disk)
    store.open()
    assert len(list(store.restore())) == 2
    assert store.is_low
    with pytest.raises(StoreFullError):
        store.commit([message(3)._replace(payload=bytes(1_000_000))], sync=True)
    store.commit([DropMessage(1)], sync=True)
    store.close()


def test_what_is_in_segments_can_be_dropped_on_a_full_disk(small_disk: Path) -> None:
    """Marking a row as gone is done in place; where all of a segment has gone, there is room again."""
    many = 40
    store = make(small_disk)
    store.open()
    list(store.restore())
    batches = 0
    with contextlib.suppress(StoreFullError):
        while True:
            store.commit([message(batches * many + count) for count in range(1, many + 1)], sync=True)
            batches += 1
    assert batches > 20
    kept = set(range(1, batches * many + 1))
    for batch in range(batches):
        for count in range(1, many, 3):
            store.commit([DropMessage(batch * many + count)], sync=True)
            kept.remove(batch * many + count)
    assert store.is_low
    with pytest.raises(StoreFullError):
        store.commit([message(60_000 + count) for count in range(3 * many)], sync=True)
    store.idle()  # nothing is moved where there is no room for it
    for batch in range(10):
        rest = [number for number in range(batch * many + 1, (batch + 1) * many + 1) if number in kept]
        store.commit([DropMessage(number) for number in rest], sync=True)
        kept.difference_update(rest)
    new = range(60_000, 60_000 + many)
    store.commit([message(number) for number in new], sync=True)
    store.close()
    again = make(small_disk)
    again.open()
    assert {row.message_id for row in again.restore() if isinstance(row, PutMessage)} == kept | set(new)
    again.close()
