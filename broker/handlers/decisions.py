"""Answers that may have to be waited for: a plugin's, a method's of authentication.

What is known at once is used at once, in the same turn, and costs no task. For the rest a task of the broker's waits,
under a deadline, while that one link is paused: nothing that comes behind is looked at before. No answer in time, an
error and None are the same to whoever asked: None, a refusal.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import trio
from noctule._speedups.link import ENDING, Link
from noctule.core.state import State
from noctule.handlers.connection import named_client
from noctule.handlers.fault_log import FaultKind, FaultLog


class Turns(Protocol):
    """The turns of the data plane; ``noctule.net.clock.Clock`` is it."""

    def begin_turn(self) -> None:
        """Tell the data plane the time."""
        ...

    def end_turn(self) -> None:
        """Send what the turn has written."""
        ...


@dataclass(slots=True)
class DecisionCounts:
    """How many decisions were not made, and so were refusals."""

    #: The one who was asked has raised.
    failed: int = 0

    #: The deadline has passed.
    late: int = 0

    #: The answer was None.
    unanswered: int = 0


class Decisions:
    """Asks, waits and goes on. One for each broker."""

    def __init__(self, state: State, fault_log: FaultLog) -> None:
        self._state = state
        self._waiting: dict[Link, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._turns: Turns | None = None
        self.counts = DecisionCounts()

        #: Called when a task has been started for an answer, and the data plane should let it run.
        self.end_turn_soon: Callable[[], object] = lambda: None
        self._fault_log = fault_log

    def __len__(self) -> int:
        """How many links wait for an answer."""
        return len(self._waiting)

    def wait_in(self, nursery: trio.Nursery, turns: Turns) -> None:
        """From now on answers may be waited for, by tasks of ``nursery``; before that, they are refusals."""
        self._nursery = nursery
        self._turns = turns

    def ask(
        self,
        link: Link,
        whom: str,
        question: Callable[[], object],
        then: Callable[[Any], object],
    ) -> None:
        """Call ``question`` and hand its answer to ``then``: now, or when it is there.

        Where it has to be waited for, the link is paused until ``then`` has been called, and ``then`` is not called
        at all if the link has ended meanwhile. ``whom`` names who was asked, for the log. Nothing that ``question``
        raises comes out of here.
        """
        answer: object = None
        error: Exception | None = None
        try:
            answer = question()
        except Exception as raised:  # whatever it is, it is no yes
            error = raised
        if inspect.isawaitable(answer):
            self._wait_for(link, whom, answer, then)
            return
        self._note(link, whom, answer, error)
        then(answer)

    def forget(self, link: Link) -> None:
        """The link is closed: nobody waits for its answer any more."""
        scope = self._waiting.get(link)
        if scope is not None:
            scope.cancel()

    def _wait_for(
        self,
        link: Link,
        whom: str,
        awaited: Awaitable[object],
        then: Callable[[Any], object],
    ) -> None:
        if self._nursery is None or self._turns is None:
            if inspect.iscoroutine(awaited):
                awaited.close()
            self._note(link, whom, None, RuntimeError("the broker does not run, and an answer is to be waited for"))
            then(None)
            return
        if link in self._waiting:
            raise RuntimeError("a link waits for one decision at a time")
        scope = trio.CancelScope(deadline=trio.current_time() + self._state.settings.limits.decision_timeout_s)
        self._waiting[link] = scope
        link.pause()
        self._nursery.start_soon(self._wait, link, whom, awaited, then, scope, self._turns)
        self.end_turn_soon()

    async def _wait(
        self,
        link: Link,
        whom: str,
        awaited: Awaitable[object],
        then: Callable[[Any], object],
        scope: trio.CancelScope,
        turns: Turns,
    ) -> None:
        answer: object = None
        error: Exception | None = None
        try:
            with scope:
                answer = await awaited
        except Exception as raised:
            error = raised
        finally:
            del self._waiting[link]
        if link.state >= ENDING:
            return
        if scope.cancel_called:
            # Also where the answer has come in spite of it: who asked was promised that it is not late.
            answer = None
            error = error if error is not None else trio.TooSlowError()
        turns.begin_turn()
        try:
            self._note(link, whom, answer, error)
            then(answer)
            if link not in self._waiting:  # or ``then`` has asked the next one
                link.resume()
        except Exception:
            self._state.logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
            link.lose("an error of the broker's")
        turns.end_turn()

    def _note(self, link: Link, whom: str, answer: object, error: Exception | None) -> None:
        """Count and log what is no answer."""
        if isinstance(error, trio.TooSlowError):
            self.counts.late += 1
            text = f"{whom} has not answered in time"
        elif error is not None:
            self.counts.failed += 1
            text = f"{whom} has failed with {error!a}"
        elif answer is None:
            self.counts.unanswered += 1
            text = f"{whom} has given no answer"
        else:
            return
        is_late = isinstance(error, trio.TooSlowError)
        self._fault_log.write(
            link.peer,
            named_client(link),
            text,
            "",
            self._state.plane.now,
            None if is_late else error,
            FaultKind.DECISION,
        )
