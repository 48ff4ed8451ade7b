"""What every store has to do, as tests: a plugin's own inherit them.

::

    class TestMyStore(StoreContract):
        def make_store(self, directory):
            return MyStore(directory)

A store that is not durable passes if it keeps nothing across a restart.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from noctule.storage.operations import (
    DropMessage,
    DropQueued,
    DropReceived,
    DropRetained,
    DropSession,
    DropSubscription,
    DropWill,
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)
from noctule.storage.store import Store, StoreError

#: How the rows of a table are told apart: the fields of their key come first, so many of them.
_KEY_FIELDS: Final[dict[type, int]] = {
    PutMessage: 1,
    PutSession: 1,
    PutSubscription: 3,
    PutQueued: 2,
    PutReceived: 2,
    PutRetained: 1,
    PutWill: 1,
}

_DROPPED_BY: Final[dict[type, type]] = {
    DropMessage: PutMessage,
    DropSession: PutSession,
    DropSubscription: PutSubscription,
    DropQueued: PutQueued,
    DropReceived: PutReceived,
    DropRetained: PutRetained,
    DropWill: PutWill,
}

_OF_A_SESSION: Final = (PutSession, PutSubscription, PutQueued, PutReceived, PutWill)
_ABOUT_A_MESSAGE: Final = (PutQueued, PutReceived, PutRetained)

#: Stands in where a test needs a message, a session or a queued message of any kind.
MESSAGE: Final = PutMessage(1, b"a/b", b"payload", 1, False, b"", None)
SESSION: Final = PutSession(1, "client", "owner", 3600, None)
QUEUED: Final = PutQueued(1, 1, 1, 1, 0, 0, False, b"", b"")

#: One of each, with every field other than nothing, or at its limit.
FULL: Final[tuple[Operation, ...]] = (
    PutMessage(1, "t/ü/☃".encode(), bytes(range(256)), 2, True, b"\x01\x01\x03\x00\x01x", 1_893_456_000.125),
    PutMessage(2**53, b"t", b"", 0, False, b"", None),
    PutSession(1, "kunde-ü-☃", "besitzer-ß", 0xFFFF_FFFF, 1_893_456_000.5),
    PutSession(2**53, "", None, 0, None),
    PutSubscription(1, b"a/+/#", b"", 2, 3, 268_435_455),
    PutSubscription(1, b"a/+/#", b"share", 0, 0, 0),
    PutQueued(1, 1, 1, 2, 255, 65_535, True, b"\x0b\x01\x0b\x02", b"\x00group"),
    PutQueued(1, 2, 0, 2, 0, 7, True, b"", b""),
    PutQueued(1, 2**53, 2**53, 1, 0, 0, False, b"", b""),
    PutReceived(1, 65_535, 1),
    PutRetained("t/ü/☃".encode(), 1),
    PutWill(1, b"w", bytes(range(256)), 2, True, b"\x01\x00", 0xFFFF_FFFF, "wer", 1_893_456_000.75),
    PutWill(2**53, b"w", b"", 0, False, b"", 0, None, None),
)


class Model:
    """What should be kept: by the kind of its operation and its key."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Operation] = {}

    def apply(self, operations: Iterable[Operation]) -> None:
        """Take operations one after the other."""
        for operation in operations:
            kind = type(operation)
            if kind in _KEY_FIELDS:
                self.rows[(kind, *operation[: _KEY_FIELDS[kind]])] = operation
            elif isinstance(operation, DropSession):
                for key in [key for key in self.rows if key[0] in _OF_A_SESSION and key[1] == operation.session_id]:
                    del self.rows[key]
            else:
                self.rows.pop((_DROPPED_BY[kind], *operation), None)

    def restart(self) -> None:
        """Forget what refers to what is not there."""
        for key, row in list(self.rows.items()):
            if isinstance(row, PutQueued) and not row.message_id:
                is_about_nothing = False
            else:
                is_about_nothing = isinstance(row, _ABOUT_A_MESSAGE) and (PutMessage, row.message_id) not in self.rows
            if is_about_nothing or (isinstance(row, _OF_A_SESSION) and (PutSession, row.session_id) not in self.rows):
                del self.rows[key]


def _by_key(operations: Iterable[Operation]) -> dict[tuple[Any, ...], Operation]:
    found: dict[tuple[Any, ...], Operation] = {}
    for operation in operations:
        key = (type(operation), *operation[: _KEY_FIELDS[type(operation)]])
        assert key not in found, f"restored twice: {operation}"
        found[key] = operation
    return found


def check_order(operations: Sequence[Operation]) -> None:
    """AssertionError where what a store gives back is not in the order that it must be in."""
    ranks = [{PutMessage: 0, PutSession: 1}.get(type(operation), 2) for operation in operations]
    assert ranks == sorted(ranks), "messages come first, then sessions, then the rest"
    queued = [(row.session_id, row.position) for row in operations if isinstance(row, PutQueued)]
    assert queued == sorted(queued), "what is queued comes by session and position"


def operations_strategy() -> st.SearchStrategy[Operation]:
    """Operations on few keys, so that they meet."""
    number = st.integers(1, 4)
    small = st.binary(max_size=3)
    topic = st.sampled_from([b"a", b"a/b", b"+", b"#"])
    qos = st.integers(0, 2)
    time = st.none() | st.floats(0, 2e9, allow_nan=False)
    who = st.none() | st.sampled_from(["", "someone", "ü"])
    u32 = st.integers(0, 0xFFFF_FFFF)
    flag = st.booleans()
    put: list[st.SearchStrategy[Any]] = [
        st.builds(PutMessage, number, topic, small, qos, flag, small, time),
        st.builds(PutSession, number, st.sampled_from(["", "c", "ü"]), who, u32, time),
        st.builds(PutSubscription, number, topic, st.sampled_from([b"", b"g"]), qos, st.integers(0, 3), u32),
        st.builds(PutQueued, number, number, st.integers(0, 4), qos, st.integers(0, 255), number, flag, small, small),
        st.builds(PutReceived, number, number, number),
        st.builds(PutRetained, topic, number),
        st.builds(PutWill, number, topic, small, qos, flag, small, u32, who, time),
    ]
    drop: list[st.SearchStrategy[Any]] = [
        st.builds(DropMessage, number),
        st.builds(DropSession, number),
        st.builds(DropSubscription, number, topic, st.sampled_from([b"", b"g"])),
        st.builds(DropQueued, number, number),
        st.builds(DropReceived, number, number),
        st.builds(DropRetained, topic),
        st.builds(DropWill, number),
    ]
    # Messages and sessions more often: whatever refers to one that is not there is gone at the next start.
    return st.one_of(*put, put[0], put[1], put[0], put[1], *drop)


class StoreContract(ABC):
    """Inherit, and say how a store is made."""

    #: How many random histories to try, and how long each is at most.
    histories = 40
    steps = 15

    @abstractmethod
    def make_store(self, directory: Path) -> Store:
        """A store of a directory that is there, with whatever was kept in it before; not open yet."""

    @contextmanager
    def opened(self, directory: Path) -> Iterator[Store]:
        """A store that is open and has been restored."""
        store = self.make_store(directory)
        store.open()
        try:
            for _ in store.restore():
                pass
            yield store
        finally:
            store.close()

    def restored(self, directory: Path) -> list[Operation]:
        """What a store gives back at its next start."""
        store = self.make_store(directory)
        store.open()
        try:
            return list(store.restore())
        finally:
            store.close()

    def expect(self, directory: Path, expected: Iterable[Operation]) -> None:
        """AssertionError where a store does not give back exactly this; nothing where it is not durable."""
        found = self.restored(directory)
        check_order(found)
        durable = self.make_store(directory).is_durable
        assert _by_key(found) == (_by_key(expected) if durable else {})

    # --- one by one ----------------------------------------------------------------------

    def test_new_store_is_empty(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            assert store.count_rows() == 0
            assert isinstance(store.is_low, bool)
            assert store.free_bytes is None or store.free_bytes > 0
        self.expect(tmp_path, [])

    @pytest.mark.parametrize("sync", [True, False])
    def test_every_field_comes_back(self, tmp_path: Path, sync: bool) -> None:
        with self.opened(tmp_path) as store:
            store.commit(FULL, sync=sync)
        self.expect(tmp_path, FULL)

    def test_types_come_back(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.commit(FULL, sync=True)
        for operation in self.restored(tmp_path):
            original = next(row for row in FULL if type(row) is type(operation) and row == operation)
            assert [type(value) for value in operation] == [type(value) for value in original]

    def test_rows_are_counted(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.commit(FULL, sync=True)
        store = self.make_store(tmp_path)
        store.open()
        try:
            assert store.count_rows() == len(list(store.restore()))
        finally:
            store.close()

    @pytest.mark.parametrize("drop", list(_DROPPED_BY), ids=lambda kind: kind.__name__)
    @pytest.mark.parametrize("together", [True, False], ids=["one commit", "two commits"])
    def test_a_drop_takes_its_row_alone(self, tmp_path: Path, drop: type, together: bool) -> None:
        put = _DROPPED_BY[drop]
        victim = next(row for row in FULL if type(row) is put)
        dropping = drop(*victim[: _KEY_FIELDS[put]])
        model = Model()
        model.apply([*FULL, dropping])
        model.restart()
        with self.opened(tmp_path) as store:
            if together:
                store.commit([*FULL, dropping], sync=True)
            else:
                store.commit(FULL, sync=True)
                store.commit([dropping], sync=True)
        self.expect(tmp_path, model.rows.values())

    @pytest.mark.parametrize("sizes", [(2,), (1, 1)], ids=["one commit", "two commits"])
    def test_the_last_word_on_a_key_counts(self, tmp_path: Path, sizes: tuple[int, ...]) -> None:
        again = [QUEUED._replace(packet_id=7), QUEUED._replace(packet_id=8, is_released=True)]
        with self.opened(tmp_path) as store:
            store.commit([MESSAGE, SESSION], sync=True)
            for size in sizes:
                store.commit([again.pop(0) for _ in range(size)], sync=True)
        self.expect(tmp_path, [MESSAGE, SESSION, QUEUED._replace(packet_id=8, is_released=True)])

    def test_a_put_after_a_drop_counts(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.commit([MESSAGE, SESSION, QUEUED], sync=True)
            store.commit([DropQueued(1, 1), QUEUED._replace(qos=2)], sync=True)
        self.expect(tmp_path, [MESSAGE, SESSION, QUEUED._replace(qos=2)])

    def test_what_a_session_gets_after_it_was_dropped_stays(self, tmp_path: Path) -> None:
        new = SESSION._replace(client_id="another")
        subscription = PutSubscription(1, b"new", b"", 0, 0, 0)
        with self.opened(tmp_path) as store:
            store.commit([*FULL], sync=True)
            store.commit(
                [PutSubscription(1, b"old", b"", 0, 0, 0), DropSession(1), DropSession(2**53), new, subscription],
                sync=True,
            )
        rest = [row for row in FULL if isinstance(row, PutMessage | PutRetained)]
        self.expect(tmp_path, [*rest, new, subscription])

    def test_a_replay_changes_nothing(self, tmp_path: Path) -> None:
        history: list[Operation] = [*FULL, DropQueued(1, 1), DropWill(1)]
        model = Model()
        model.apply(history)
        with self.opened(tmp_path) as store:
            for _ in range(3):
                store.commit(history, sync=True)
        self.expect(tmp_path, model.rows.values())

    def test_drops_of_what_is_not_there(self, tmp_path: Path) -> None:
        drops: list[Operation] = [
            DropMessage(9),
            DropSession(9),
            DropSubscription(9, b"t", b""),
            DropQueued(9, 9),
            DropReceived(9, 9),
            DropRetained(b"t"),
            DropWill(9),
        ]
        with self.opened(tmp_path) as store:
            store.commit(drops, sync=True)
            store.commit([], sync=True)
            store.commit([], sync=False)
        self.expect(tmp_path, [])

    def test_the_queue_is_in_order(self, tmp_path: Path) -> None:
        positions = [300, 2, 2**40, 1, 256, 10, 9]
        with self.opened(tmp_path) as store:
            for session_id in (256, 2, 70_000):
                store.commit([PutSession(session_id, f"c{session_id}", None, 1, None)], sync=False)
                store.commit(
                    [MESSAGE, *(QUEUED._replace(session_id=session_id, position=p) for p in positions)], sync=True
                )
        found = self.restored(tmp_path)
        check_order(found)
        if self.make_store(tmp_path).is_durable:
            assert sum(isinstance(row, PutQueued) for row in found) == 3 * len(positions)

    def test_references_to_nothing_are_left_out_and_told(self, tmp_path: Path) -> None:
        whole: list[Operation] = [MESSAGE, SESSION, QUEUED]
        with self.opened(tmp_path) as store:
            store.commit(
                [
                    *whole,
                    QUEUED._replace(position=2, message_id=99),
                    QUEUED._replace(session_id=99),
                    PutRetained(b"r", 99),
                    PutReceived(1, 1, 99),
                    PutSubscription(99, b"t", b"", 0, 0, 0),
                    PutWill(99, b"w", b"", 0, False, b"", 0, None, None),
                ],
                sync=True,
            )
        store = self.make_store(tmp_path)
        store.open()
        try:
            found = list(store.restore())
            if store.is_durable:
                assert _by_key(found) == _by_key(whole)
                assert store.findings()
            assert not store.findings(), "asked again, there is nothing new"
        finally:
            store.close()
        self.expect(tmp_path, whole)

    def test_large_commits(self, tmp_path: Path) -> None:
        large = MESSAGE._replace(message_id=2, payload=bytes(1_000_000) + b"end")
        many: list[Operation] = [MESSAGE, large, SESSION, *(QUEUED._replace(position=n) for n in range(1, 5_001))]
        with self.opened(tmp_path) as store:
            store.commit(many, sync=True)
        self.expect(tmp_path, many)

    def test_calls_come_from_any_thread(self, tmp_path: Path) -> None:
        raised: list[BaseException] = []

        def commit(number: int) -> None:
            try:
                store.commit([MESSAGE._replace(message_id=number)], sync=True)
                store.idle()
            except BaseException as error:
                raised.append(error)

        with self.opened(tmp_path) as store:
            for number in (1, 2, 3):
                thread = Thread(target=commit, args=(number,))
                thread.start()
                thread.join()
        assert not raised
        self.expect(tmp_path, [MESSAGE._replace(message_id=number) for number in (1, 2, 3)])

    def test_two_at_once_are_refused(self, tmp_path: Path) -> None:
        if not self.make_store(tmp_path).is_durable:
            return  # it has no files that two could spoil for each other
        with self.opened(tmp_path) as store:
            second = self.make_store(tmp_path)
            with pytest.raises(StoreError):
                second.open()
            second.close()
            store.commit([MESSAGE], sync=True)
        self.expect(tmp_path, [MESSAGE])

    def test_what_is_no_operation_is_refused_whole(self, tmp_path: Path) -> None:
        if not self.make_store(tmp_path).is_durable:
            return  # it does not look at them
        with self.opened(tmp_path) as store:
            store.commit([MESSAGE], sync=True)
            with pytest.raises(Exception):  # noqa: B017, PT011 - which one is the store's choice
                store.commit([SESSION, "no operation"], sync=True)  # type: ignore[list-item]
        self.expect(tmp_path, [MESSAGE])

    # --- any history ---------------------------------------------------------------------

    def test_any_history(self) -> None:
        """Random operations, commits and restarts: after each start the whole state is as it should be."""
        contract = self

        class History(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.directory = TemporaryDirectory()
                self.path = Path(self.directory.name)
                self.model = Model()
                self.store = contract.make_store(self.path)
                self.store.open()
                assert list(self.store.restore()) == []

            @rule(operations=st.lists(operations_strategy(), max_size=25), sync=st.booleans())
            def commit(self, operations: list[Operation], sync: bool) -> None:
                self.store.commit(operations, sync=sync)
                self.model.apply(operations)

            @rule()
            def idle(self) -> None:
                self.store.idle()

            @rule()
            def restart(self) -> None:
                self.store.close()
                self.store = contract.make_store(self.path)
                self.store.open()
                found = list(self.store.restore())
                check_order(found)
                if not self.store.is_durable:
                    self.model = Model()
                self.model.restart()
                assert _by_key(found) == self.model.rows

            def teardown(self) -> None:
                self.restart()
                self.store.close()
                self.directory.cleanup()

        run_state_machine_as_test(
            History,
            settings=settings(
                max_examples=self.histories,
                stateful_step_count=self.steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
