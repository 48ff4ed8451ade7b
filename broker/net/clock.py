"""The task that waits for the earliest deadline of all: silent clients, sessions that end, Wills that are due."""

import logging

import trio
from noctule.core.state import State
from noctule.handlers.dispatch import Dispatcher

_logger = logging.getLogger("noctule.net")


class Clock:
    """One task for all deadlines. ``reconsider`` after anything that may have set an earlier one."""

    def __init__(self, state: State, dispatcher: Dispatcher) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._wait: trio.CancelScope | None = None

    def begin_turn(self) -> None:
        """Tell the data plane the time."""
        self._state.plane.begin_turn(trio.current_time())

    def end_turn(self) -> None:
        """Send what the turn has written, and wait no longer than for the deadlines that it has set."""
        self._flush()
        self.reconsider()

    def _flush(self) -> None:
        """Send; an error with one connection is logged, and what stands behind it is sent too."""
        while True:
            try:
                self._state.plane.flush()
            except Exception:
                _logger.exception("An error of the broker's while sending")
            else:
                return

    def reconsider(self) -> None:
        """Wake up in time if there is an earlier deadline now."""
        if self._wait is not None:
            next_deadline = self._state.plane.deadlines.next_deadline()
            if next_deadline < self._wait.deadline:
                self._wait.deadline = next_deadline

    async def run(self) -> None:
        """Handle deadlines as they come, until cancelled."""
        plane = self._state.plane
        while True:
            with trio.CancelScope(deadline=plane.deadlines.next_deadline()) as self._wait:
                await trio.sleep_forever()
            self._wait = None
            self.begin_turn()
            for item in plane.deadlines.take_due(plane.now):
                try:
                    self._dispatcher.deadline(item)
                except Exception:
                    _logger.exception("An error of the broker's at the deadline of %r", item)
            self._flush()
