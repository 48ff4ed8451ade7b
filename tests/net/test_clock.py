"""The clock's task: each deadline in its time, also one that is set while it sleeps, and none that ends it."""

import logging
from collections.abc import Sequence

import pytest
import trio
from net.stream_clients import run_mocked
from noctule._speedups.deadlines import Timed
from noctule._speedups.session import Session
from noctule.config.settings import Settings
from noctule.core.state import State, make_state
from noctule.handlers.dispatch import Dispatcher
from noctule.net.clock import Clock


class RecordingDispatcher(Dispatcher):
    """Writes down what is due and when; fails for what it is told to fail for."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.due: list[tuple[float, object]] = []
        self.failing: Sequence[object] = ()

    def deadline(self, item: object) -> None:
        self.due.append((trio.current_time(), item))
        if item in self.failing:
            raise RuntimeError("a bug")


def made() -> tuple[State, RecordingDispatcher, Clock]:
    state = make_state(Settings(listeners=()))
    dispatcher = RecordingDispatcher(state)
    return state, dispatcher, Clock(state, dispatcher)


def test_deadlines_come_in_their_time() -> None:
    async def main() -> None:
        state, dispatcher, clock = made()
        items = [Session(state.plane, str(i)) for i in range(3)]
        start = trio.current_time()
        state.plane.deadlines.schedule(items[0], start + 10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.run)
            await trio.sleep(1)
            clock.begin_turn()
            assert state.plane.now == start + 1
            state.plane.deadlines.schedule(items[1], start + 5)  # earlier than what it sleeps for
            clock.end_turn()
            state.plane.deadlines.schedule(items[2], start + 20)
            clock.reconsider()
            await trio.sleep(30)
            nursery.cancel_scope.cancel()
        assert dispatcher.due == [(start + 5, items[1]), (start + 10, items[0]), (start + 20, items[2])]

    run_mocked(main)


def test_an_error_at_one_deadline_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        state, dispatcher, clock = made()
        items = [Session(state.plane, str(i)) for i in range(3)]
        dispatcher.failing = items[:2]
        start = trio.current_time()
        for item, when in zip(items, (5.0, 5.0, 6.0), strict=True):
            state.plane.deadlines.schedule(item, start + when)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.run)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert [when - start for when, _ in dispatcher.due] == [5, 5, 6]

    run_mocked(main)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_nothing_to_wait_for() -> None:
    async def main() -> None:
        state, dispatcher, clock = made()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.run)
            await trio.sleep(80_000)
            item: Timed = Session(state.plane, "c")
            state.plane.deadlines.schedule(item, trio.current_time() + 1)
            clock.reconsider()
            await trio.sleep(2)
            nursery.cancel_scope.cancel()
        assert [one for _, one in dispatcher.due] == [item]

    run_mocked(main)


def test_an_error_while_sending_is_logged_and_the_rest_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    class FailingPlane:
        """Fails twice, and has sent everything then."""

        def __init__(self) -> None:
            self.calls = 0

        def flush(self) -> None:
            self.calls += 1
            if self.calls < 3:
                raise RuntimeError("a bug")

    state, _, clock = made()
    plane = FailingPlane()
    state.plane = plane  # type: ignore[assignment]
    clock.end_turn()
    assert plane.calls == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
