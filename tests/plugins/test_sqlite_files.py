"""The files of the SQLite store: who may use them, what damage to them comes to, and what becomes of older ones."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from noctule.plugins.sqlite_store import Config, NetworkFileSystem, OnCorrupt, SqliteStore
from noctule.plugins.sqlite_store import store as store_module
from noctule.plugins.sqlite_store.directory import file_system_of
from noctule.plugins.sqlite_store.schema import MIGRATIONS
from noctule.storage.operations import (
    DropMessage,
    DropQueued,
    Operation,
    PutMessage,
    PutQueued,
    PutRetained,
    PutSession,
    PutSubscription,
)
from noctule.storage.store import StoreError

MESSAGES = 300


def state() -> list[Operation]:
    """Enough for several pages of each table."""
    rows: list[Operation] = [PutSession(n, f"client{n}", "owner", 3600, 1e9 + n) for n in range(1, 61)]
    rows += [PutSubscription(n % 60 + 1, b"filter/%d" % n, b"", 1, 0, 0) for n in range(200)]
    for n in range(1, MESSAGES + 1):
        rows.append(PutMessage(n, b"topic/%d" % n, bytes([n % 256]) * 120, 1, False, b"", None))
        rows.append(PutQueued(n % 60 + 1, n, n, 1, 0, 0, False, b"", b""))
        rows.append(PutRetained(b"topic/%d" % n, n))
    return rows


STATE = frozenset(state())


def make(directory: Path, on_corrupt: OnCorrupt = OnCorrupt.REFUSE) -> SqliteStore:
    return SqliteStore(Config(path=directory, on_corrupt=on_corrupt, reserve_bytes=0))


def read(directory: Path, on_corrupt: OnCorrupt = OnCorrupt.REFUSE) -> tuple[list[Operation], list[str]]:
    """What is restored, and what was found."""
    store = make(directory, on_corrupt)
    store.open()
    try:
        rows = list(store.restore())
        return rows, list(store.findings())
    finally:
        store.close()


def fill(directory: Path, segment_rows_min: int) -> Path:
    """A store that was closed as it should be."""
    store = SqliteStore(Config(path=directory, reserve_bytes=0), segment_rows_min=segment_rows_min)
    store.open()
    list(store.restore())
    store.commit(state(), sync=True)
    store.close()
    return directory


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A directory with a store that has each message in a row of its own."""
    return fill(tmp_path / "store", MESSAGES + 1)


@pytest.fixture(params=[MESSAGES + 1, 12], ids=["rows", "segments"])
def filled_anyhow(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The same, or with many messages in one."""
    return fill(tmp_path / "store", request.param)


def database(directory: Path) -> Path:
    return directory / "noctule.db"


# --- who may use them --------------------------------------------------------------------


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        directory = tmp_path / "deep" / "store"
        store = SqliteStore(Config(path=directory, reserve_bytes=1_000_000))
        store.open()
        store.commit([PutRetained(b"t", 1)], sync=True)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
        assert modes == dict.fromkeys(["noctule.db", "noctule.db-wal", "noctule.db-shm", "lock", "reserve"], 0o600)
        store.close()
    finally:
        os.umask(old)


def test_another_process_is_kept_out_and_told_why(filled: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from noctule.plugins.sqlite_store import Config, SqliteStore\n"
        "store = SqliteStore(Config(path=Path(sys.argv[1]), reserve_bytes=0))\n"
        "store.open()\nprint('open', flush=True)\nsys.stdin.read()\nstore.close()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, filled],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=rf"used by another process \(process {process.pid}\)"):
            make(filled).open()
        process.kill()
        process.wait()
    assert frozenset(read(filled)[0]) == STATE, "the lock of a process ends with it"


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="is not a directory"):
        make(tmp_path / "store").open()


@pytest.mark.parametrize("what", ["directory", "database"])
def test_no_permission(filled: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root nothing is forbidden: then the refusal is the system's in name only."""
    target = filled if what == "directory" else database(filled)
    mode = target.stat().st_mode
    target.chmod(0)
    try:
        if os.geteuid() == 0:
            real_open, real_path_open = os.open, Path.open

            def refuse(path: object, *args: object, **options: object) -> int:
                if what == "directory" and str(path).startswith(str(filled)):
                    raise PermissionError(13, "Permission denied", str(path))
                return real_open(path, *args, **options)  # type: ignore[arg-type]

            def refuse_path(path: Path, *args: object, **options: object) -> object:
                if path == database(filled):
                    raise PermissionError(13, "Permission denied", str(path))
                return real_path_open(path, *args, **options)  # type: ignore[call-overload]

            monkeypatch.setattr(os, "open", refuse)
            monkeypatch.setattr(Path, "open", refuse_path)
        for on_corrupt in OnCorrupt:
            with pytest.raises(StoreError, match="Permission denied"):
                make(filled, on_corrupt).open()
    finally:
        monkeypatch.undo()
        target.chmod(mode)
    assert frozenset(read(filled)[0]) == STATE


MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /mnt/far rw - nfs4 server:/export rw
31 22 0:31 / /mnt/with\040space rw shared:9 master:2 - cifs //server/share rw
32 30 0:32 / /mnt/far/near rw - tmpfs tmpfs rw
33 22 0:33 / /mnt/twice rw - nfs a rw
34 22 0:34 / /mnt/twice rw - xfs /dev/b rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/noctule", "ext4"),
        ("/mnt/far", "nfs4"),
        ("/mnt/far/store", "nfs4"),
        ("/mnt/farther", "ext4"),
        ("/mnt/far/near/store", "tmpfs"),
        ("/mnt/with space/store", "cifs"),
        ("/mnt/twice/store", "xfs"),
    ],
)
def test_the_file_system_of_a_path(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(path), mounts) == kind
    assert file_system_of(Path(path), tmp_path / "none") is None


def test_a_network_file_system_is_refused_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "file_system_of", lambda path: "nfs4")
    with pytest.raises(StoreError, match=r"network file system \(nfs4\).*network_file_system"):
        make(tmp_path / "store").open()
    warned = Config(path=tmp_path / "store", network_file_system=NetworkFileSystem.WARN, reserve_bytes=0)
    store = SqliteStore(warned)
    store.open()
    assert "nfs4" in store.findings()[0]
    store.close()


# --- versions ----------------------------------------------------------------------------

NEWER = (*MIGRATIONS, ("ALTER TABLE session ADD COLUMN origin TEXT", "CREATE TABLE epoch (number INTEGER NOT NULL)"))


def test_an_older_file_is_brought_up(filled: Path) -> None:
    store = SqliteStore(Config(path=filled, reserve_bytes=0), migrations=NEWER)
    store.open()
    store.close()
    assert any(f"from version {len(MIGRATIONS)} to {len(NEWER)}" in line for line in store.findings())
    with closing(sqlite3.connect(database(filled))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(NEWER),)
        assert connection.execute("SELECT count(origin), count(*) FROM session").fetchone() == (0, 60)
        assert connection.execute("SELECT count(*) FROM epoch").fetchone() == (0,)
    again = SqliteStore(Config(path=filled, reserve_bytes=0), migrations=NEWER)
    again.open()
    again.close()
    assert again.findings() == []


def test_a_migration_that_fails_changes_nothing(filled: Path) -> None:
    broken = (*MIGRATIONS, ("CREATE TABLE epoch (number INTEGER)", "CREATE TABLE message (again INTEGER)"))
    with pytest.raises(StoreError, match="table message already exists"):
        SqliteStore(Config(path=filled, reserve_bytes=0), migrations=broken).open()
    assert frozenset(read(filled)[0]) == STATE


@pytest.mark.parametrize("on_corrupt", OnCorrupt)
def test_a_newer_file_is_refused_and_left_alone(filled: Path, on_corrupt: OnCorrupt) -> None:
    newer = SqliteStore(Config(path=filled, reserve_bytes=0), migrations=NEWER)
    newer.open()
    newer.close()
    before = database(filled).read_bytes()
    with pytest.raises(StoreError, match=rf"newer Noctule \(version {len(NEWER)} .* up to {len(MIGRATIONS)}\)"):
        make(filled, on_corrupt).open()
    assert database(filled).read_bytes() == before


@pytest.mark.parametrize("on_corrupt", OnCorrupt)
def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path, on_corrupt: OnCorrupt) -> None:
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        connection.commit()
    before = database(tmp_path).read_bytes()
    with pytest.raises(StoreError, match="another program"):
        make(tmp_path, on_corrupt).open()
    assert database(tmp_path).read_bytes() == before


# --- damage ------------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_schema(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE queued", b"CREATE TABLE queue_", 1))


def spoil_schema(path: Path) -> None:
    """So that SQLite's own message is no UTF-8."""
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE queued", b"CRE\xc1TE TABLE queued", 1))


def zero_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    page = len(content) // 4096 // 2
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"this is no database at all, and long enough" * 100),
    "cut": cut,
    "a page of zeros": zero_page,
    "tables renamed": flip_schema,
    "tables unreadable": spoil_schema,
    "no version": lambda path: path.write_bytes(path.read_bytes()[:60] + bytes(4) + path.read_bytes()[64:]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_refused_or_set_aside(filled_anyhow: Path, damage: Callable[[Path], object]) -> None:
    damage(database(filled_anyhow))
    before = database(filled_anyhow).read_bytes()
    with pytest.raises(StoreError, match=r"noctule\.db is damaged: .*on_corrupt"):
        make(filled_anyhow).open()
    assert database(filled_anyhow).read_bytes() == before
    rows, findings = read(filled_anyhow, OnCorrupt.QUARANTINE)
    assert set(rows) <= STATE
    [aside] = [path for path in filled_anyhow.glob("*.corrupt-*") if not path.name.endswith(("-wal", "-shm"))]
    assert aside.read_bytes() == before
    assert any(aside.name in line for line in findings)
    assert any("salvaged" in line for line in findings)
    again, findings = read(filled_anyhow)
    assert (set(again), findings) == (set(rows), []), "the new file is whole"


def test_most_of_a_file_with_one_bad_page_is_salvaged(filled: Path) -> None:
    zero_page(database(filled))
    rows, findings = read(filled, OnCorrupt.QUARANTINE)
    assert len(rows) > len(STATE) // 2, findings
    assert any("lost" in line or "missing" in line for line in findings)


def test_a_log_without_its_database(filled: Path) -> None:
    (filled / "noctule.db-wal").write_bytes(b"x" * 5000)
    database(filled).unlink()
    with pytest.raises(StoreError, match="not there, but its log is"):
        make(filled).open()
    rows, findings = read(filled, OnCorrupt.QUARANTINE)
    assert rows == []
    assert any("nothing could be salvaged" in line for line in findings)
    assert list(filled.glob("*.corrupt-*-wal"))


def test_a_database_that_has_gone_is_told(filled: Path) -> None:
    database(filled).unlink()
    rows, findings = read(filled)
    assert rows == []
    assert "has been used" in findings[0]


def damage_row(directory: Path, statement: str) -> None:
    """Change a row behind the back of its checksum, as a disk would."""
    with closing(sqlite3.connect(database(directory), isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


@pytest.mark.parametrize(
    ("statement", "gone"),
    [
        ("UPDATE message SET payload = x'00' WHERE message_id = 7", 3),
        ("UPDATE message SET topic = 5 WHERE message_id = 7", 3),
        ("UPDATE session SET owner = 'somebody' WHERE session_id = 5", None),
        ("UPDATE session SET client_id = CAST(x'ff' AS TEXT) WHERE session_id = 5", None),
        ("UPDATE queued SET message_id = 8 WHERE position = 7", 1),
        ("UPDATE queued SET position = 7000 WHERE position = 7", 1),
        ("UPDATE retained SET topic = CAST('topic/7x' AS BLOB) WHERE topic = CAST('topic/7' AS BLOB)", 1),
        ("UPDATE subscription SET qos = 2 WHERE topic_filter = CAST('filter/7' AS BLOB)", 1),
    ],
)
def test_a_damaged_row_is_refused_or_left_out(filled: Path, statement: str, gone: int | None) -> None:
    damage_row(filled, statement)
    with pytest.raises(StoreError, match="damaged"):
        read(filled)
    rows, findings = read(filled, OnCorrupt.QUARANTINE)
    assert set(rows) < STATE
    if gone is not None:
        assert len(rows) == len(STATE) - gone
    assert "damaged" in findings[0]
    assert len(list(filled.glob("*.corrupt-*"))) == 1
    again, findings = read(filled)
    assert (set(again), findings) == (set(rows), [])


def test_bytes_changed_at_random_are_found_or_do_not_matter(filled_anyhow: Path) -> None:
    content = database(filled_anyhow).read_bytes()
    chance = Random(5)
    found = 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        database(filled_anyhow).write_bytes(damaged)
        try:
            rows, findings = read(filled_anyhow)
        except StoreError:
            found += 1
            continue
        if frozenset(rows) != STATE:
            assert findings, "something was lost, and nobody is told"
    assert found > 80


def test_a_log_that_is_damaged_in_its_middle_is_told(tmp_path: Path) -> None:
    store = make(tmp_path / "store")
    store.open()
    list(store.restore())
    for number in range(1, 30):
        store.commit([PutRetained(b"t", number), PutMessage(number, b"t", b"x", 1, False, b"", None)], sync=True)
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("noctule.db", "noctule.db-wal"):
        (copied / name).write_bytes((store._config.path / name).read_bytes())
    store.close()
    log = bytearray((copied / "noctule.db-wal").read_bytes())
    log[len(log) // 2] ^= 1
    (copied / "noctule.db-wal").write_bytes(log)
    rows, findings = read(copied)
    assert 0 < len(rows) < 30
    assert "were written whole" in findings[0]
    _, findings = read(copied)
    assert findings == []


def test_a_log_whose_header_is_damaged_is_told(tmp_path: Path) -> None:
    store = make(tmp_path / "store")
    store.open()
    store.commit([PutMessage(1, b"t", b"x", 1, False, b"", None)], sync=True)
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("noctule.db", "noctule.db-wal"):
        (copied / name).write_bytes((store._config.path / name).read_bytes())
    store.close()
    for at in (3, 10, 17, 25):
        log = bytearray((copied / "noctule.db-wal").read_bytes())
        log[at] ^= 1
        damaged = tmp_path / f"damaged{at}"
        damaged.mkdir()
        (damaged / "noctule.db").write_bytes((copied / "noctule.db").read_bytes())
        (damaged / "noctule.db-wal").write_bytes(log)
        rows, findings = read(damaged)
        assert rows == []
        assert findings, f"byte {at}"


# --- the log and what is not written -----------------------------------------------------


def test_what_is_put_and_dropped_in_one_commit_writes_no_page(tmp_path: Path) -> None:
    store = make(tmp_path)
    store.open()
    list(store.restore())
    store.commit([PutMessage(1, b"t", b"", 1, False, b"", None)], sync=True)
    log = tmp_path / "noctule.db-wal"
    before = log.stat().st_size
    for number in range(2, 50):
        store.commit(
            [
                PutMessage(number, b"t", b"x" * 5000, 1, False, b"", None),
                PutQueued(1, number, number, 1, 0, 0, False, b"", b""),
                DropQueued(1, number),
                DropMessage(number),
            ],
            sync=True,
        )
    assert log.stat().st_size == before
    store.close()


def test_the_log_is_bounded_and_gone_after_a_close(tmp_path: Path) -> None:
    limit = 200_000
    store = SqliteStore(Config(path=tmp_path, checkpoint_bytes=limit, reserve_bytes=0))
    store.open()
    list(store.restore())
    log = tmp_path / "noctule.db-wal"
    largest = 0
    for number in range(1, 400):
        store.commit([PutMessage(number, b"t", b"x" * 3000, 1, False, b"", None)], sync=False)
        largest = max(largest, log.stat().st_size)
    assert limit < largest < 2 * limit
    store.close()
    assert not log.exists()
    assert len(read(tmp_path)[0]) == 399


def test_a_reader_holds_up_neither_commits_nor_a_close(tmp_path: Path) -> None:
    """Somebody who reads for long keeps the log from being begun anew; when it has ended, it is bounded again."""
    limit = 200_000
    store = SqliteStore(Config(path=tmp_path, checkpoint_bytes=limit, reserve_bytes=0))
    store.open()
    list(store.restore())
    log = tmp_path / "noctule.db-wal"

    def put(first: int, count: int) -> None:
        for number in range(first, first + count):
            store.commit([PutMessage(number, b"t", b"x" * 3000, 1, False, b"", None)], sync=False)

    put(1, 10)
    with closing(sqlite3.connect(f"file:{database(tmp_path)}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (10,)
        put(11, 300)
        assert log.stat().st_size > 2 * limit
        assert reader.execute("SELECT count(*) FROM message").fetchone() == (10,), "it sees one moment"
        reader.execute("COMMIT")
        put(311, 300)
        assert log.stat().st_size < 2 * limit
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        put(611, 10)
        store.close()
        reader.execute("COMMIT")
    rows, findings = read(tmp_path)
    assert (len(rows), findings) == (620, [])


def test_idle_works_the_log_in(tmp_path: Path) -> None:
    store = make(tmp_path)
    store.open()
    list(store.restore())
    store.commit(state(), sync=True)
    small = database(tmp_path).stat().st_size
    store.idle()
    assert database(tmp_path).stat().st_size > small
    store.close()
