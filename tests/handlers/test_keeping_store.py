"""Between journal and store: a store that does as it is told, in a trio run."""

import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from handlers.direct_links import V3_1_1, V5, DirectBroker, DirectClient
from noctule.handlers.keeping import Keeping, open_store
from noctule.protocol import Connect, SubscriptionRequest, encode_connect
from noctule.protocol.subscribe import Subscribe, encode_subscribe
from noctule.storage.memory import MemoryStore
from noctule.storage.operations import Operation, PutSession, PutSubscription
from noctule.storage.store import StoreError, StoreFailedError, StoreFullError

CONNACK, PUBACK, SUBACK, DISCONNECT = 2, 4, 9, 14


class ScriptedStore(MemoryStore):
    """A commit waits at its gate, where it is closed, and raises what the script says."""

    is_durable = True

    def __init__(self, *rows: Operation) -> None:
        self.rows = rows
        self.commits: list[tuple[list[str], bool]] = []
        self.script: list[Exception | None] = []
        self.gate: threading.Event = threading.Event()
        self.gate.set()
        self.is_low = False
        self.is_closed = False

    def restore(self) -> Any:
        return iter(self.rows)

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        assert self.gate.wait(10)
        if self.script and (error := self.script.pop(0)):
            raise error
        self.commits.append(([type(operation).__name__ for operation in operations], sync))

    def close(self) -> None:
        self.is_closed = True


class PlainTurns:
    """Turns of a broker without sockets."""

    def __init__(self, broker: DirectBroker) -> None:
        self._broker = broker

    def begin_turn(self) -> None:
        self._broker.state.plane.begin_turn(trio.current_time())

    def end_turn(self) -> None:
        self._broker.state.plane.flush()


class Kept:
    """A broker in front of such a store."""

    def __init__(self, store: ScriptedStore, broker: DirectBroker, keeping: Keeping) -> None:
        self.store, self.broker, self.keeping = store, broker, keeping

    async def until(self, condition: Any) -> None:
        """Wait for what a thread brings about."""
        with trio.fail_after(10):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(0.002)

    async def idle(self) -> None:
        """Nothing waits to be kept, or nothing ever will be."""
        await self.until(lambda: not self.keeping.is_committing and not len(self.keeping.journal))

    async def durable(self, client_id: str, version: int = V5, *filters: str) -> DirectClient:
        """A client whose session is kept."""
        client = self.broker.open(version)
        expiry = {"session_expiry_interval_s": 60} if version == V5 else {}
        client.send(encode_connect(Connect(V5 if version == V5 else V3_1_1, client_id, clean_start=False, **expiry)))
        if filters:
            requests = tuple(SubscriptionRequest(one, 2) for one in filters)
            client.send(encode_subscribe(Subscribe(1, requests, None), version))
        await self.idle()
        assert [first >> 4 for first, _ in client.received()] == [CONNACK, SUBACK][: 1 + bool(filters)]
        return client


@asynccontextmanager
async def kept(store: ScriptedStore | None = None, *, finish_timeout_s: float = 10) -> AsyncIterator[Kept]:
    """Open the store, keep for as long as this is entered, and finish."""
    store = store if store is not None else ScriptedStore()
    broker = DirectBroker()
    keeping = await open_store(store, broker.state, PlainTurns(broker))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeping.run)
        yield Kept(store, broker, keeping)
        store.gate.set()
        await keeping.finish(finish_timeout_s)
        nursery.cancel_scope.cancel()
    assert store.is_closed
    broker.state.plane.close()


def run(test: Any, *arguments: object) -> None:
    trio.run(test, *arguments)


def test_what_comes_while_a_batch_is_under_way_is_the_next() -> None:
    async def test() -> None:
        async with kept() as it:
            await it.durable("offline", V5, "t")
            it.store.gate.clear()
            publisher = it.broker.connect("p")
            publisher.publish("t", b"", 1, 1)
            await it.until(lambda: it.keeping.is_committing)
            publisher.publish("t", b"", 1, 2).publish("t", b"", 1, 3)
            assert publisher.received() == []
            it.store.gate.set()
            await it.idle()
            assert [body[:2] for _, body in publisher.received()] == [b"\0\1", b"\0\2", b"\0\3"]
            assert [len(kinds) for kinds, _ in it.store.commits[-2:]] == [2, 4]
            assert all(sync for _, sync in it.store.commits)

    run(test)


def test_without_room_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with kept() as it:
            offline = await it.durable("offline", V5, "t")
            it.store.script = [StoreFullError("no room"), StoreFullError("no room"), None]
            publisher = it.broker.connect("p").publish("t", b"", 1, 1)
            await it.until(lambda: not it.keeping.journal.is_usable)
            publisher.publish("t", b"", 1, 2)
            assert publisher.received() == []
            await it.until(lambda: it.keeping.journal.is_usable)
            assert [body for _, body in publisher.received()] == [b"\0\1", b"\0\2\x97"]
            publisher.publish("t", b"", 1, 3)
            await it.idle()
            assert [body[:2] for _, body in publisher.received()] == [b"\0\3"]
            assert len(offline.received()) == 2

    caplog.set_level(logging.WARNING, "noctule.storage")
    run(test)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"], "said once, and when it is over"


def test_little_room_is_noticed_and_its_end_too_though_nobody_publishes() -> None:
    async def test() -> None:
        async with kept() as it:
            client = await it.durable("c", V5, "t")
            publisher = it.broker.connect("p")
            it.store.is_low = True
            publisher.publish("t", b"", 2, 1).ack(6, 1)
            await it.idle()
            await it.until(lambda: not it.keeping.journal.takes_messages)
            publisher.received()
            assert [first >> 4 for first, _ in client.received()] == [3]
            await it.durable("another", V5, "u")  # who comes in takes little room
            assert [body for _, body in publisher.publish("t", b"", 1, 2).received()] == [b"\0\2\x97"]
            it.store.is_low = False
            await it.until(lambda: it.keeping.journal.takes_messages)
            publisher.publish("t", b"", 1, 3)
            await it.idle()
            assert [body for _, body in publisher.received()] == [b"\0\3"]

    run(test)


def test_a_broker_that_starts_with_little_room_takes_no_messages_in() -> None:
    async def test() -> None:
        store = ScriptedStore()
        store.is_low = True
        async with kept(store) as it:
            await trio.testing.wait_all_tasks_blocked()
            client = it.broker.connect("c")
            assert [body for _, body in client.publish("t", b"", 1, 2).received()] == [b"\0\2\x97"]
            store.is_low = False
            await it.until(lambda: it.keeping.journal.takes_messages)
            assert [body for _, body in client.publish("t", b"", 1, 3).received()] == [b"\0\3\x10"]

    run(test)


def test_a_failure_ends_who_waits_and_qos_0_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with kept() as it:
            other = await it.durable("other", V5, "z")
            await it.durable("offline", V5, "t")
            it.store.script = [StoreFailedError("the disk is gone")]
            waiting = it.broker.connect("p").publish("t", b"", 1, 1)
            waiting_v3 = it.broker.connect("q", V3_1_1).publish("t", b"", 1, 1)
            await it.until(lambda: it.keeping.failure is not None)
            assert waiting.told_why() == 0x83
            assert waiting_v3.told_why() is None
            again = it.broker.connect("p")
            assert [body for _, body in again.publish("t", b"", 1, 1).received()] == [b"\0\1\x83"]
            again.publish("z", b"zero")
            assert other.payloads() == [b"zero"]

    caplog.set_level(logging.CRITICAL, "noctule.storage")
    run(test)
    assert "the disk is gone" in caplog.text


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a bug")])
def test_what_a_store_must_not_raise_counts_as_a_failure(error: Exception) -> None:
    async def test() -> None:
        async with kept() as it:
            it.store.script = [error]
            client = it.broker.open().send(encode_connect(Connect(V5, "c", session_expiry_interval_s=60)))
            await it.until(lambda: it.keeping.failure is not None)
            assert [first >> 4 for first, _ in client.received()] in ([], [DISCONNECT])
            assert client.link.session is None

    run(test)


def test_the_end_commits_what_is_left() -> None:
    store = ScriptedStore()

    async def test() -> None:
        async with kept(store) as it:
            store.gate.clear()
            it.broker.open().send(encode_connect(Connect(V5, "c", session_expiry_interval_s=60)))
            await it.until(lambda: it.keeping.is_committing)
            it.broker.open().send(encode_connect(Connect(V5, "d", session_expiry_interval_s=60)))

    run(test)
    assert [kinds for kinds, _ in store.commits] == [["PutSession", "DropWill"]] * 2


def test_a_broker_that_is_cancelled_commits_what_is_left_at_once() -> None:
    store = ScriptedStore()

    async def test() -> None:
        broker = DirectBroker()
        keeping = await open_store(store, broker.state, PlainTurns(broker))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeping.run)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.clear()
            broker.open().send(encode_connect(Connect(V5, "c", session_expiry_interval_s=60)))
            with trio.fail_after(10):
                while not keeping.is_committing:  # noqa: ASYNC110
                    await trio.sleep(0.002)
            broker.open().send(encode_connect(Connect(V5, "d", session_expiry_interval_s=60)))
            nursery.cancel_scope.cancel()
        store.gate.set()
        began = trio.current_time()
        await keeping.finish(30)
        assert trio.current_time() - began < 10
        broker.state.plane.close()

    run(test)
    assert store.is_closed
    written = [kind for kinds, _ in store.commits for kind in kinds]
    assert written.count("PutSession") >= 2


def test_times_are_put_by_the_wall_clock_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that starts in 1970 and learns the time later."""

    async def test() -> None:
        async with kept() as it:
            client = await it.durable("c")
            monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
            await it.durable("other")  # the next commit
            client.lose()
            seen: list[Any] = []
            monkeypatch.setattr(it.store, "commit", lambda operations, *, sync: seen.extend(operations))
            await it.until(lambda: seen)
            (row,) = (one for one in seen if isinstance(one, PutSession))
            assert row.ends_at == pytest.approx(2_000_000_060, abs=1)

    monkeypatch.setattr("time.time", lambda: 1_000.0)
    run(test)


def test_an_error_while_a_link_goes_on_closes_that_link_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with kept() as it:
            await it.durable("offline", V5, "t")
            one, two = it.broker.connect("one"), it.broker.connect("two")
            it.store.gate.clear()
            one.publish("t", b"", 1)
            two.publish("t", b"", 1)

            class Broken:
                peer = "10.0.0.9:9"
                lost = ""

                def unstall(self) -> None:
                    raise RuntimeError("a bug")

                def lose(self, cause: str) -> None:
                    self.lost = cause

            broken = Broken()
            take = it.broker.state.plane.take_stalled
            assert take() == []
            monkeypatch.setattr(it.keeping._state, "plane", _Instead(it.broker.state.plane, [broken]))
            it.store.gate.set()
            await it.idle()
            assert broken.lost
            assert [first >> 4 for client in (one, two) for first, _ in client.received()] == [PUBACK, PUBACK]
            monkeypatch.undo()

    run(test)


class _Instead:
    """A plane with these links stalled."""

    def __init__(self, plane: Any, stalled: list[Any]) -> None:
        self._plane, self._stalled = plane, stalled

    def take_stalled(self) -> list[Any]:
        return self._stalled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plane, name)


def test_a_store_that_cannot_be_read_is_closed_again() -> None:
    class Unreadable(ScriptedStore):
        def restore(self) -> Any:
            raise StoreError("a bad page")

    store = Unreadable()

    async def test() -> None:
        broker = DirectBroker()
        with pytest.raises(StoreError, match="a bad page"):
            await open_store(store, broker.state, PlainTurns(broker))

    run(test)
    assert store.is_closed


def test_rows_that_do_not_fit_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        rows = (PutSession(1, "c", None, 60, None), PutSubscription(2, b"t", b"", 1, 0, 0))
        async with kept(ScriptedStore(*rows)) as it:
            assert it.broker.state.sessions.find("c") is not None

    caplog.set_level(logging.ERROR, "noctule.storage")
    run(test)
    assert "left out PutSubscription of 2, b't'" in caplog.text
