"""The group committer, over a store that does as it is told."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio
import trio.testing
from noctule.storage.committer import OPERATION_BYTES, Committer
from noctule.storage.memory import MemoryStore
from noctule.storage.operations import DropMessage, DropQueued, Operation, PutMessage, PutRetained
from noctule.storage.store import StoreError, StoreFailedError, StoreFullError


def message(number: int, payload: bytes = b"") -> PutMessage:
    return PutMessage(number, b"t", payload, 1, False, b"", None)


class ScriptedStore(MemoryStore):
    """Keeps every call; a commit waits at the gate and then raises what the script says."""

    __slots__ = ("calls", "gate", "idle_error", "inside", "script", "thread_names", "told")

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.script: list[Exception | None] = []
        self.gate = threading.Semaphore(0)
        self.inside = 0
        self.told: list[str] = []
        self.idle_error: Exception | None = None
        self.thread_names: set[str] = set()

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.inside += 1
        assert self.inside == 1, "two calls at once"
        self.thread_names.add(threading.current_thread().name)
        try:
            yield
        finally:
            self.inside -= 1

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        with self.alone():
            assert self.gate.acquire(timeout=10)
            self.calls.append((list(operations), sync))
            if self.script and (error := self.script.pop(0)):
                raise error

    def idle(self) -> None:
        with self.alone():
            self.calls.append("idle")
            if self.idle_error:
                raise self.idle_error

    def close(self) -> None:
        with self.alone():
            self.calls.append("close")

    def findings(self) -> Sequence[str]:
        found, self.told = self.told, []
        return found


class Listener:
    """Keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._came = trio.Event()

    def committed(self, ticket: int) -> None:
        self._add(("committed", ticket))

    def refused(self, tickets: Sequence[int], error: StoreFullError) -> None:
        self._add(("refused", list(tickets)))

    def failed(self, error: StoreError) -> None:
        self._add(("failed", str(error)))

    def _add(self, event: object) -> None:
        self.events.append(event)
        self._came.set()
        self._came = trio.Event()

    async def until(self, is_there: Callable[[], bool]) -> None:
        while not is_there():
            await self._came.wait()


class Bench:
    """A committer at work, its store and its listener."""

    def __init__(self) -> None:
        self.store = ScriptedStore()
        self.listener = Listener()
        self.committer = Committer(self.store, self.listener)

    async def committed(self, ticket: int) -> None:
        await self.listener.until(lambda: ("committed", ticket) in self.listener.events)


@asynccontextmanager
async def bench() -> Any:
    made = Bench()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.committer.run)
        await trio.testing.wait_all_tasks_blocked()
        yield made
        nursery.cancel_scope.cancel()


def run(test: Callable[..., Any], *args: Any) -> None:
    """Run with a clock that stands still until it is told to jump."""

    async def bounded() -> None:
        await test(*args)

    trio.run(bounded, clock=trio.testing.MockClock())


def test_what_comes_during_a_commit_goes_into_the_next() -> None:
    async def test() -> None:
        async with bench() as at:
            assert at.committer.last_ticket == 0
            assert at.committer.submit([message(1)], sync=False) == 1
            assert at.committer.submit([message(2)], sync=False) == 2
            await trio.testing.wait_all_tasks_blocked()  # the first commit has begun, with all of this turn
            assert at.committer.submit([message(3)], sync=True) == 3
            assert at.committer.submit([message(4)], sync=False) == 4
            at.store.gate.release()
            await at.committed(2)
            assert ("committed", 4) not in at.listener.events
            at.store.gate.release()
            await at.committed(4)
            assert at.store.calls == [([message(1), message(2)], False), ([message(3), message(4)], True)]
            assert at.listener.events == [("committed", 2), ("committed", 4)]

    run(test)


def test_what_waits_is_counted_until_it_is_done() -> None:
    async def test() -> None:
        async with bench() as at:
            at.committer.submit([message(1, b"x" * 1000), DropMessage(7)], sync=True)
            assert at.committer.waiting_operations == 2
            assert at.committer.waiting_bytes == 1000 + 2 * OPERATION_BYTES
            await trio.testing.wait_all_tasks_blocked()
            at.committer.submit([DropMessage(8)], sync=True)
            assert at.committer.waiting_operations == 3
            at.store.gate.release()
            await at.committed(1)
            assert at.committer.waiting_operations == 1
            assert at.committer.waiting_bytes == OPERATION_BYTES
            at.store.gate.release()
            await at.committed(2)
            assert (at.committer.waiting_operations, at.committer.waiting_bytes) == (0, 0)

    run(test)


def test_commits_do_not_run_in_the_trio_thread() -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.gate.release()
            await at.committed(at.committer.submit([message(1)], sync=True))
            assert threading.current_thread().name not in at.store.thread_names

    run(test)


def test_the_store_idles_once_when_nothing_comes_for_a_while() -> None:
    async def test() -> None:
        async with bench() as at:
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, trio.testing.MockClock)
            clock.jump(100)
            await trio.testing.wait_all_tasks_blocked()
            assert at.store.calls == []  # nothing has been committed, so nothing was put off
            at.store.gate.release(2)
            await at.committed(at.committer.submit([message(1)], sync=True))
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(0.9)
            await at.committed(at.committer.submit([message(2)], sync=True))
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(0.9)
            await trio.testing.wait_all_tasks_blocked()
            assert "idle" not in at.store.calls
            clock.jump(0.2)
            await _until_called(at.store, "idle")
            clock.jump(100)
            await trio.testing.wait_all_tasks_blocked()
            assert at.store.calls.count("idle") == 1

    run(test)


async def _until_called(store: ScriptedStore, name: str) -> None:
    while name not in store.calls:
        await trio.testing.wait_all_tasks_blocked(0.001)


def test_no_room_refuses_what_puts_and_keeps_what_drops() -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.script = [StoreFullError("full"), None]
            at.store.gate.release(2)
            at.committer.submit([message(1)], sync=True)
            at.committer.submit([DropQueued(1, 1), DropMessage(9)], sync=False)
            at.committer.submit([PutRetained(b"t", 1), DropMessage(8)], sync=True)
            at.committer.submit([DropMessage(7)], sync=False)
            await at.committed(4)
            assert at.listener.events == [("refused", [1, 3]), ("committed", 4)]
            assert at.store.calls[1] == ([DropQueued(1, 1), DropMessage(9), DropMessage(7)], False)
            assert at.committer.is_full
            assert at.committer.failure is None

            at.store.gate.release(2)
            await at.committed(at.committer.submit([DropMessage(6)], sync=True))
            assert at.committer.is_full, "that there is room for drops says nothing"
            await at.committed(at.committer.submit([message(2)], sync=True))
            assert not at.committer.is_full

    run(test)


def test_no_room_for_drops_either() -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.script = [StoreFullError("full"), StoreFullError("full")]
            at.store.gate.release(2)
            at.committer.submit([message(1)], sync=True)
            at.committer.submit([DropMessage(9)], sync=False)
            await at.committed(2)
            assert at.listener.events == [("refused", [1, 2]), ("committed", 2)]

    run(test)


@pytest.mark.parametrize("error", [StoreFailedError("the disk"), OSError("the disk"), ValueError("the disk")])
@pytest.mark.parametrize("at_drops", [False, True], ids=["at once", "while drops are kept"])
def test_a_failure_ends_it(error: Exception, at_drops: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.script = [StoreFullError("full"), error] if at_drops else [error]
            at.store.gate.release(2)
            at.committer.submit([message(1)], sync=True)
            at.committer.submit([DropMessage(1)], sync=True)
            await at.listener.until(lambda: bool(at.listener.events))
            [(kind, text)] = at.listener.events
            assert kind == "failed"
            assert "the disk" in text
            assert isinstance(at.committer.failure, StoreFailedError)
            assert at.committer.waiting_operations == 0
            with pytest.raises(StoreFailedError, match="the disk"):
                at.committer.submit([message(2)], sync=True)
            calls = len(at.store.calls)
            assert await at.committer.finish(5)
            assert at.store.calls[calls:] == ["close"], "nothing is committed after a failure"

    run(test)


def test_what_was_submitted_during_a_commit_that_fails_is_never_committed() -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.script = [StoreFailedError("the disk")]
            at.committer.submit([message(1)], sync=True)
            await trio.testing.wait_all_tasks_blocked()
            at.committer.submit([message(2)], sync=True)
            at.store.gate.release(2)
            await at.listener.until(lambda: bool(at.listener.events))
            assert await at.committer.finish(5)
            assert [call for call in at.store.calls if call != "close"] == [([message(1)], True)]
            assert [event[0] for event in at.listener.events] == ["failed"]

    run(test)


def test_a_failure_while_idle_ends_it() -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.idle_error = StoreFailedError("the disk")
            at.store.gate.release()
            await at.committed(at.committer.submit([message(1)], sync=True))
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.current_clock().jump(2)  # type: ignore[attr-defined]
            await at.listener.until(lambda: ("failed", "the disk") in at.listener.events)
            assert at.committer.failure is not None

    run(test)


def test_finish_commits_everything_and_closes() -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.gate.release(2)
            at.committer.submit([message(1)], sync=True)
            await trio.testing.wait_all_tasks_blocked()
            at.committer.submit([message(2)], sync=True)
            assert await at.committer.finish(5)
            assert at.store.calls == [([message(1)], True), ([message(2)], True), "close"]
            assert at.listener.events == [("committed", 1), ("committed", 2)]
            with pytest.raises(StoreFailedError, match="closed"):
                at.committer.submit([message(3)], sync=True)

    run(test)


def test_finish_commits_although_all_is_being_cancelled() -> None:
    async def test() -> None:
        at = Bench()
        at.store.gate.release()
        with trio.CancelScope() as outer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(at.committer.run)
                await trio.testing.wait_all_tasks_blocked()
                at.committer.submit([message(1)], sync=True)
                outer.cancel()
                assert await at.committer.finish(5)
        assert at.store.calls == [([message(1)], True), "close"]
        assert at.listener.events == [("committed", 1)]

    run(test)


def test_finish_waits_for_a_commit_that_was_cancelled_and_repeats_it() -> None:
    async def test() -> None:
        at = Bench()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.committer.run)
            await trio.testing.wait_all_tasks_blocked()
            at.committer.submit([message(1)], sync=True)
            await trio.testing.wait_all_tasks_blocked()  # the commit is at the gate
            nursery.cancel_scope.cancel()
        assert at.committer.waiting_operations == 1
        at.store.gate.release(2)
        assert await at.committer.finish(5)
        assert at.store.calls == [([message(1)], True), ([message(1)], True), "close"]
        assert at.listener.events == [("committed", 1)]

    run(test)


def test_finish_where_nothing_ever_ran() -> None:
    async def test() -> None:
        at = Bench()
        at.store.gate.release()
        at.committer.submit([message(1)], sync=True)
        assert await at.committer.finish(5)
        assert at.store.calls == [([message(1)], True), "close"]

    run(test)


def test_finish_does_not_wait_for_a_disk_that_hangs() -> None:
    async def test() -> None:
        async with bench() as at:
            at.committer.submit([message(1)], sync=True)
            await trio.testing.wait_all_tasks_blocked()
            finished: list[bool] = []

            async def finish() -> None:
                finished.append(await at.committer.finish(5))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(finish)
                await trio.testing.wait_all_tasks_blocked()
                trio.lowlevel.current_clock().jump(6)  # type: ignore[attr-defined]
            assert finished == [False]
            assert "close" not in at.store.calls, "a store that is busy must not be closed"
            assert at.listener.events == []
            at.store.gate.release()  # the thread goes its way

    run(test)


def test_findings_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with bench() as at:
            at.store.told = ["room runs short"]
            at.store.gate.release()
            await at.committed(at.committer.submit([message(1)], sync=True))

    run(test)
    assert "room runs short" in caplog.text
