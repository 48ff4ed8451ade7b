"""The segments of the SQLite store: any history with keys that grow comes back, and their room comes free again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from noctule.plugins.sqlite_store import Config, OnCorrupt, SqliteReader, SqliteStore
from noctule.plugins.sqlite_store import reading as reading_module
from noctule.plugins.sqlite_store.schema import MIGRATIONS
from noctule.plugins.sqlite_store.segments import ROWS_MAX
from noctule.storage.operations import (
    DropMessage,
    DropQueued,
    DropSession,
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
)
from noctule.storage.store import Store, StoreError, StoreFailedError, StoreFullError
from noctule.testing.store_contract import Model, StoreContract, check_order


class TestSqliteWithSmallSegments(StoreContract):
    """Segments of two rows, moved to the row tables as soon as there is one to move."""

    def make_store(self, directory: Path) -> Store:
        return SqliteStore(Config(path=directory, reserve_bytes=0), segment_rows_min=2, gone_bytes_max=0)


def make(directory: Path, on_corrupt: OnCorrupt = OnCorrupt.REFUSE, **limits: int) -> SqliteStore:
    return SqliteStore(Config(path=directory, on_corrupt=on_corrupt, reserve_bytes=0), **limits)  # type: ignore[arg-type]


def restored(store: SqliteStore) -> list[Operation]:
    found = list(store.restore())
    check_order(found)
    return found


def read(directory: Path, on_corrupt: OnCorrupt = OnCorrupt.REFUSE) -> tuple[list[Operation], list[str]]:
    """What is restored, and what was found."""
    store = make(directory, on_corrupt)
    store.open()
    try:
        return restored(store), list(store.findings())
    finally:
        store.close()


def count(directory: Path, table: str) -> int:
    with closing(sqlite3.connect(directory / "noctule.db")) as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


def message(number: int, size: int = 20) -> PutMessage:
    return PutMessage(number, b"a/%d" % (number % 5), bytes([number % 256]) * size, 1, False, b"", None)


def queued(session_id: int, number: int) -> PutQueued:
    return PutQueued(session_id, number, number, 1, 0, 0, False, b"", b"")


def session(session_id: int) -> PutSession:
    return PutSession(session_id, f"c{session_id}", None, 60, None)


def batch(first: int, last: int, sessions: int = 1) -> list[Operation]:
    """Messages of these numbers, each queued for one of some sessions."""
    rows: list[Operation] = [message(number) for number in range(first, last + 1)]
    rows += [queued(number % sessions + 1, number) for number in range(first, last + 1)]
    return rows


# --- any history -------------------------------------------------------------------------


class Broker:
    """Makes operations as the broker does: numbers grow, what is dropped is there, references hold."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.message_id = self.position = self.session_id = 0
        self.sessions: list[int] = []
        self.waiting: list[PutQueued] = []
        self.messages: dict[int, int] = {}

    def commit(self) -> list[Operation]:
        operations: list[Operation] = []
        for _ in range(self.chance.choice((1, 3, 10, 40))):
            operations += self._next()
        return operations

    def _next(self) -> list[Operation]:
        kind = self.chance.random()
        if kind < 0.04 or not self.sessions:
            self.session_id += 1
            self.sessions.append(self.session_id)
            return [session(self.session_id)]
        if kind < 0.55:
            return self._publish()
        if kind < 0.9 and self.waiting:
            first = self.chance.random() < 0.7
            row = self.waiting.pop(0 if first else self.chance.randrange(len(self.waiting)))
            return [DropQueued(row.session_id, row.position), *self._let_go(row)]
        if kind < 0.98 and self.waiting:
            at = self.chance.randrange(len(self.waiting))
            row = self.waiting[at]
            self.waiting[at] = row._replace(packet_id=self.chance.randrange(1, 9), qos=2)
            if self.chance.random() < 0.5:
                self.waiting[at] = self.waiting[at]._replace(is_released=True, message_id=0)
                return [self.waiting[at], *self._let_go(row)]
            return [self.waiting[at]]
        gone = self.sessions.pop(self.chance.randrange(len(self.sessions)))
        tells = self.chance.random() < 0.5  # that it drops the rows of the session before
        operations: list[Operation] = []
        for row in [row for row in self.waiting if row.session_id == gone]:
            operations += [DropQueued(gone, row.position)] if tells else []
            operations += self._let_go(row)
        self.waiting = [row for row in self.waiting if row.session_id != gone]
        return [*operations, DropSession(gone)]

    def _publish(self) -> list[Operation]:
        self.message_id += 1
        targets = self.chance.sample(self.sessions, self.chance.randint(1, min(3, len(self.sessions))))
        self.messages[self.message_id] = len(targets)
        operations: list[Operation] = [
            PutMessage(
                self.message_id,
                self.chance.choice((b"a", b"a/b", "ü".encode())),
                self.chance.randbytes(self.chance.choice((0, 5, 5, 300))),
                self.chance.randint(1, 2),
                self.chance.random() < 0.1,
                self.chance.choice((b"", b"", b"\x01\x01")),
                self.chance.choice((None, None, 1e9 + self.message_id)),
            )
        ]
        for target in targets:
            self.position += self.chance.choice((1, 1, 1, 2, 500))
            identifiers = self.chance.choice((b"", b"\x0b\x01"))
            group = self.chance.choice((b"", b"", b"\x00g"))
            row = PutQueued(target, self.position, self.message_id, 1, 0, 0, False, identifiers, group)
            self.waiting.append(row)
            operations.append(row)
        return operations

    def _let_go(self, row: PutQueued) -> list[Operation]:
        if not row.message_id:
            return []
        self.messages[row.message_id] -= 1
        return [] if self.messages[row.message_id] else [DropMessage(row.message_id)]


@pytest.mark.parametrize("seed", range(24))
def test_any_history_of_a_broker(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = Random(seed)
    monkeypatch.setattr(reading_module, "SORTED_ROWS", chance.choice((1, 20, 200_000)))
    limits = {"segment_rows_min": chance.choice((1, 2, 8)), "gone_bytes_max": chance.choice((0, 1000))}
    broker, model = Broker(chance), Model()
    store = make(tmp_path, **limits)
    store.open()
    assert restored(store) == []
    for _ in range(120):
        operations = broker.commit()
        store.commit(operations, sync=chance.random() < 0.2)
        model.apply(operations)
        if chance.random() < 0.1:
            store.idle()
        if chance.random() < 0.08:
            expected = set(model.rows.values())
            reader = SqliteReader(tmp_path)
            assert reader.check() == []
            rows = list(reader.rows())
            reader.close()
            assert (len(rows), set(rows)) == (len(expected), expected)
            store.close()
            store = make(tmp_path, **limits)
            store.open()
            assert store.count_rows() == len(expected)
            if chance.random() < 0.8:
                rows = restored(store)
                assert (len(rows), set(rows)) == (len(expected), expected)
            assert store.findings() == []
    store.close()
    rows, findings = read(tmp_path)
    assert set(rows) == set(model.rows.values())
    assert findings == []


class NoReserve:
    """Holds nothing, so that the store stays full until it is told otherwise."""

    def take(self) -> bool:
        return False

    def give_up(self) -> None:
        pass


@pytest.mark.parametrize("seed", range(4))
def test_any_history_where_the_file_may_not_grow_for_a_while(tmp_path: Path, seed: int) -> None:
    """What finds no room changes nothing, in the file or in memory; what has been planned is written a second time."""
    chance = Random(seed)
    broker, model = Broker(chance), Model()
    store = make(tmp_path, segment_rows_min=chance.choice((2, 8)), gone_bytes_max=0)
    store.open()
    list(store.restore())
    store._reserve = NoReserve()  # type: ignore[assignment]
    refused = 0
    for number in range(250):
        connection = store._opened()
        if number % 40 == 20:
            store._enter_full(connection)
        elif number % 40 == 39:
            store._leave_full(connection)
        operations = broker.commit()
        try:
            store.commit(operations, sync=False)
        except StoreFullError:
            refused += 1
            reader = SqliteReader(tmp_path)
            assert set(reader.rows()) == set(model.rows.values())
            reader.close()
            store._leave_full(connection)
            store.commit(operations, sync=False)
        model.apply(operations)
        if number % 10 == 0:
            store.idle()
    store.close()
    rows, findings = read(tmp_path)
    assert refused > 2
    assert (len(rows), set(rows)) == (len(model.rows), set(model.rows.values()))
    assert findings == []


# --- what is where -----------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = make(tmp_path)
    opened.open()
    list(opened.restore())
    yield opened
    opened.close()


def test_many_new_rows_are_segments_and_few_are_not(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([session(1), *batch(1, 2 * ROWS_MAX)], sync=True)
    assert [count(tmp_path, table) for table in ("segment", "segment_body", "message", "queued")] == [4, 4, 0, 0]
    store.commit(batch(5000, 5003), sync=True)
    assert [count(tmp_path, table) for table in ("segment", "message", "queued")] == [4, 4, 4]


def test_large_messages_are_no_segment(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([message(number, 50_000) for number in range(1, 41)], sync=True)
    assert [count(tmp_path, table) for table in ("segment", "message")] == [0, 40]


def test_a_row_that_is_put_again_leaves_its_segment(store: SqliteStore, tmp_path: Path) -> None:
    rows = [session(1), *batch(1, 100)]
    again = queued(1, 50)._replace(qos=2, packet_id=7)
    store.commit(rows, sync=True)
    store.commit([again], sync=True)
    assert count(tmp_path, "queued") == 1
    store.commit([DropQueued(1, 51), DropQueued(2, 52)], sync=True)
    store.close()
    assert set(read(tmp_path)[0]) == {*rows, again} - {queued(1, 50), queued(1, 51)}
    opened = make(tmp_path)
    opened.open()
    opened.commit([DropQueued(1, 50)], sync=True)
    opened.close()
    assert set(read(tmp_path)[0]) == set(rows) - {queued(1, 50), queued(1, 51)}


def test_the_same_position_in_two_sessions(store: SqliteStore, tmp_path: Path) -> None:
    """The broker gives none twice; what is imported may."""
    rows: list[Operation] = [session(1), session(2), *batch(1, 50)]
    rows += [queued(2, number) for number in range(1, 51)]
    store.commit(rows[:102], sync=True)
    store.commit(rows[102:], sync=True)
    store.commit([DropQueued(2, 7)], sync=True)
    store.close()
    assert set(read(tmp_path)[0]) == set(rows) - {queued(2, 7)}


def test_a_segment_goes_with_its_last_row(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([session(1), *batch(1, 100, 3)], sync=True)
    for number in range(1, 101):
        assert count(tmp_path, "segment") == 2
        store.commit([DropQueued(number % 3 + 1, number), DropMessage(number)], sync=True)
    assert [count(tmp_path, table) for table in ("segment", "segment_body", "message", "queued")] == [0, 0, 0, 0]


def test_what_is_left_of_segments_is_moved_when_there_is_time(store: SqliteStore, tmp_path: Path) -> None:
    rows = [session(1), *batch(1, 100)]
    store.commit(rows, sync=True)
    dropped: list[Operation] = [DropMessage(number) for number in range(1, 81)]
    dropped += [DropQueued(1, number) for number in range(1, 71)]
    store.commit(dropped, sync=True)
    assert [count(tmp_path, table) for table in ("segment", "message", "queued")] == [2, 0, 0]
    store.idle()
    assert [count(tmp_path, table) for table in ("segment", "message", "queued")] == [1, 20, 0]
    store.commit([DropMessage(81), DropQueued(1, 71), *(DropQueued(1, number) for number in range(72, 81))], sync=True)
    store.close()
    model = Model()
    model.apply([*rows, *dropped, DropMessage(81), *(DropQueued(1, number) for number in range(71, 81))])
    model.restart()
    assert set(read(tmp_path)[0]) == set(model.rows.values())


def test_the_file_does_not_grow_where_as_much_is_dropped_as_put(tmp_path: Path) -> None:
    """One message in fifty stays for long, so that no segment goes by itself."""
    store = SqliteStore(Config(path=tmp_path, checkpoint_bytes=100_000, reserve_bytes=0), gone_bytes_max=200_000)
    store.open()
    list(store.restore())
    sizes = []
    for number in range(300):
        first = number * 100 + 1
        operations: list[Operation] = [message(key, 200) for key in range(first, first + 100)]
        if number:
            operations += [DropMessage(key) for key in range(first - 100, first) if key % 50]
        if number > 10:
            operations += [DropMessage(key) for key in range(first - 1000, first - 900) if not key % 50]
        store.commit(operations, sync=False)
        sizes.append((tmp_path / "noctule.db").stat().st_size)
    store.close()
    assert sizes[-1] < 1.1 * sizes[120] < 1_500_000


def test_a_session_that_ends_takes_its_rows_out_of_segments(store: SqliteStore, tmp_path: Path) -> None:
    rows = [session(1), session(2), session(3), *batch(1, 90, 3)]
    store.commit(rows, sync=True)
    store.commit([DropQueued(1, 3), DropQueued(2, 1), DropSession(2), session(2)], sync=True)
    store.close()
    kept = {row for row in rows if not (isinstance(row, PutQueued) and (row.session_id == 2 or row.position == 3))}
    assert set(read(tmp_path)[0]) == kept


def test_memory_is_bounded_by_segments(store: SqliteStore) -> None:
    """A million rows must not be a million objects: dense segments of one session have no arrays at all."""
    store.commit([session(1), *batch(1, 5 * ROWS_MAX)], sync=False)
    for segments in (store._tables().messages, store._tables().queued):
        assert len(segments) == 5
        assert all(isinstance(segment.keys, range) and segment.gone is None for segment in segments)
        assert all(segment.owners is None or segment.owners == 1 for segment in segments)


# --- an older file -----------------------------------------------------------------------


def test_a_file_without_segments_is_brought_up(tmp_path: Path) -> None:
    old = SqliteStore(Config(path=tmp_path, reserve_bytes=0), segment_rows_min=10**9)
    old.open()
    rows = [session(1), *batch(1, 50), PutRetained(b"a/1", 7), PutReceived(1, 1, 8)]
    old.commit(rows, sync=True)
    old.close()
    with closing(sqlite3.connect(tmp_path / "noctule.db", isolation_level=None)) as connection:
        connection.executescript("DROP TABLE segment; DROP TABLE segment_body; PRAGMA user_version = 1")
    found, findings = read(tmp_path)
    assert set(found) == set(rows)
    assert f"from version 1 to {len(MIGRATIONS)}" in findings[0]


# --- damage ------------------------------------------------------------------------------

#: Messages 1 to 100 and 101 to 200, each in a segment, and queued in two more.
FILLED = [session(1), session(2), *batch(1, 100, 2), *batch(101, 200, 2), PutRetained(b"a/1", 150)]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    store = make(tmp_path)
    store.open()
    list(store.restore())
    store.commit([*FILLED[:2], *batch(1, 100, 2)], sync=True)
    store.commit([*batch(101, 200, 2), FILLED[-1]], sync=True)
    store.close()
    return tmp_path


def change(directory: Path, statement: str) -> None:
    """Change a row behind the back of its checksum, as a disk would."""
    with closing(sqlite3.connect(directory / "noctule.db", isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


def _is_of(row: Operation, first: int, last: int) -> bool:
    match row:
        case PutMessage(number):
            return first <= number <= last
        case PutQueued() | PutRetained():
            return first <= row.message_id <= last
    return False


MIDDLE = "substr(body, 1, 300) || x'5a5a' || substr(body, 303)"
MESSAGES_2 = "(SELECT number FROM segment WHERE kind = 1 AND first_key = 101)"
QUEUED_2 = "(SELECT number FROM segment WHERE kind = 2 AND first_key = 101)"


@pytest.mark.parametrize(
    ("statement", "takes_messages"),
    [
        (f"UPDATE segment_body SET body = CAST({MIDDLE} AS BLOB) WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment_body SET body = x'' WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment_body SET body = 'text' WHERE number = {MESSAGES_2}", True),
        (f"DELETE FROM segment_body WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment SET first_key = 50 WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment SET rows = 99 WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment SET body_checksum = 5 WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment SET gone = 'none' WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment SET gone = CAST(x'01' || substr(gone, 2) AS BLOB) WHERE number = {MESSAGES_2}", True),
        (f"UPDATE segment_body SET body = CAST('Z' || substr(body, 2) AS BLOB) WHERE number = {QUEUED_2}", False),
        (f"DELETE FROM segment_body WHERE number = {QUEUED_2}", False),
        (f"UPDATE segment SET rows = 99 WHERE number = {QUEUED_2}", False),
        (f"UPDATE segment SET kind = 7 WHERE number = {QUEUED_2}", False),
    ],
)
def test_a_damaged_segment_is_refused_or_left_out(filled: Path, statement: str, takes_messages: bool) -> None:
    change(filled, statement)
    reader = SqliteReader(filled)
    assert any("of segment damaged" in line for line in reader.check())
    reader.sizes()
    with pytest.raises(StoreError, match="damaged"):
        list(reader.rows())
    reader.close()
    with pytest.raises(StoreError, match="damaged"):
        read(filled)
    rows, findings = read(filled, OnCorrupt.QUARANTINE)
    if takes_messages:
        assert set(rows) == {row for row in FILLED if not _is_of(row, 101, 200)}
    else:
        assert set(rows) == {row for row in FILLED if not (isinstance(row, PutQueued) and row.position > 100)}
    assert "1 row of segment damaged" in findings[0]
    assert len(list(filled.glob("*.corrupt-*"))) == 1
    again, findings = read(filled)
    assert (set(again), findings) == (set(rows), [])
    assert count(filled, "segment_body") == count(filled, "segment")


def test_a_reference_out_of_a_segment_to_nothing_is_left_out(filled: Path) -> None:
    store = make(filled)
    store.open()
    list(store.restore())
    store.commit([DropMessage(number) for number in (5, 120)], sync=True)
    store.close()
    rows, findings = read(filled)
    assert set(rows) == {row for row in FILLED if not _is_of(row, 5, 5) and not _is_of(row, 120, 120)}
    assert "2 rows of queued whose message is missing" in findings[0]
    assert read(filled) == (rows, [])


def test_whole_segments_of_a_damaged_file_are_salvaged(filled: Path) -> None:
    store = make(filled)
    store.open()
    list(store.restore())
    store.commit([DropQueued(150 % 2 + 1, 150), DropQueued(2, 3)], sync=True)
    store.close()
    change(filled, f"UPDATE segment_body SET body = x'00' WHERE number = {QUEUED_2}")
    content = (filled / "noctule.db").read_bytes()
    (filled / "noctule.db").write_bytes(content[:60] + bytes(4) + content[64:])  # no version
    rows, findings = read(filled, OnCorrupt.QUARANTINE)
    kept = {row for row in FILLED if not (isinstance(row, PutQueued) and (row.position > 100 or row.position == 3))}
    assert set(rows) == kept
    text = "\n".join(findings)
    assert "200 of message in segments, 99 of queued in segments" in text
    assert "1 segments were damaged" in text
    assert read(filled) == (rows, [])


def test_a_segment_that_cannot_be_read_any_more_fails_a_commit_that_needs_it(filled: Path) -> None:
    """Which rows of two sessions are whose is only in the body, where nobody has restored."""
    store = make(filled)
    store.open()
    change(filled, f"UPDATE segment_body SET body = x'00' WHERE number = {QUEUED_2}")
    with pytest.raises(StoreFailedError, match="not what was written"):
        store.commit([DropQueued(1, 150)], sync=True)
    store.close()


def test_a_damaged_segment_is_not_moved(filled: Path) -> None:
    store = make(filled)
    store.open()
    list(store.restore())
    store.commit([DropMessage(number) for number in range(101, 190)], sync=True)
    change(filled, f"UPDATE segment_body SET body = x'00' WHERE number = {MESSAGES_2}")
    store.idle()
    assert any("a segment is damaged" in line for line in store.findings())
    store.idle()
    assert store.findings() == []
    store.commit([message(300)], sync=True)
    store.close()


def test_a_changed_bit_of_a_body_is_found(filled: Path) -> None:
    path = filled / "noctule.db"
    content = path.read_bytes()
    part = b"".join(bytes([number]) * 20 for number in range(60, 65))
    assert part in content
    for at in range(len(part)):
        changed = bytearray(part)
        changed[at] ^= 1 << at % 8
        path.write_bytes(content.replace(part, changed))  # also where a page has what it held before
        with pytest.raises(StoreError, match="damaged"):
            read(filled)
