"""The reactor's pump: one task that waits for the epoll set of all sockets and gives it its turns."""

import logging
import socket
from collections.abc import Callable

import trio
from noctule._speedups.reactor import Door, Reactor, SocketLink
from noctule.config import limits
from noctule.core.state import State
from noctule.handlers.dispatch import Dispatcher
from noctule.handlers.keeping import Keeping
from noctule.net.acceptor import Acceptor
from noctule.net.clock import Clock
from noctule.net.entrance import Arrival, Entrance
from noctule.net.streams import Streams

_logger = logging.getLogger("noctule.net")

#: Longer than a turn of the reactor lasts at most.
_MOMENTS_S = 0.03


class Pump:
    """Carries sockets through the epoll reactor."""

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        clock: Clock,
        streams: Streams,
        keeping: Keeping | None = None,
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._clock = clock
        self._streams = streams
        self._reactor = Reactor(state.plane, _log_error)
        self._keeping = keeping
        if keeping is not None:
            keeping.end_turn_soon = self._end_turn_soon
        dispatcher.decisions.end_turn_soon = self._end_turn_soon

    def _end_turn_soon(self) -> None:
        """Somebody else waits for this thread."""
        self._reactor.yield_soon = True

    def _adopt(self, connected: socket.socket, arrival: Arrival) -> None:
        """Take over a socket accepted in a turn. OSError where the system refuses to watch it: it is closed then."""
        state = self._state
        link = SocketLink(state.router, self._dispatcher, arrival.peer, arrival.origin)
        link.filter = arrival.filter
        link.on_release = arrival.leave
        self._reactor.add(link, connected.detach())
        state.links.add(link)
        state.plane.deadlines.schedule(link, state.plane.now + state.settings.limits.connect_timeout_s)

    async def accept(
        self,
        listening: socket.socket,
        entrance: Entrance,
        adopt: Callable[[socket.socket, Arrival], None] | None = None,
    ) -> None:
        """Accept from a listening socket, within the reactor's turns, until cancelled.

        ``adopt``: what takes the connections over in place of the reactor, as tasks of trio's.
        """
        acceptor = Acceptor(listening, entrance, self._adopt if adopt is None else adopt)
        resting = trio.Event()
        rest_s = 0.0

        def accept_waiting() -> None:
            nonlocal rest_s
            self._reactor.yield_soon |= adopt is not None
            rest_s = acceptor.accept_waiting()
            if rest_s:
                self._reactor.unwatch(listening.fileno())
                self._reactor.yield_soon = True
                resting.set()

        state = self._state
        door: Door | None = None
        if adopt is None and entrance.is_open_door and listening.family in (socket.AF_INET, socket.AF_INET6):
            door = Door(
                state.router,
                self._dispatcher,
                state.links,
                burst=limits.ACCEPT_BURST,
                origin_of=entrance.origin_of,
                connect_timeout_s=lambda: state.settings.limits.connect_timeout_s,
                failed=acceptor.log_failure,
                accept_slowly=accept_waiting,
            )
        try:
            while True:
                resting = trio.Event()
                if door is not None:
                    self._reactor.watch_door(listening.fileno(), door)
                else:
                    self._reactor.watch(listening.fileno(), accept_waiting)
                await resting.wait()
                await acceptor.rest(rest_s)
        finally:
            self._reactor.unwatch(listening.fileno())

    async def run(self) -> None:
        """Turn the reactor until cancelled; then close what is left of it."""
        reactor = self._reactor
        turn = reactor.turn
        reconsider = self._clock.reconsider
        wait_readable = trio.lowlevel.wait_readable
        current_time = trio.current_time
        decisions = self._dispatcher.decisions
        fd = reactor.fileno()
        has_more = False
        try:
            while True:
                if has_more:
                    await trio.lowlevel.checkpoint()
                else:
                    await wait_readable(fd)
                # Counting who waits takes longer the more streams there are, and the answer is known then.
                # A decision may be made by a thread, whose answer comes through trio's loop; so does that of a commit.
                is_awaited = (self._keeping is not None and self._keeping.is_committing) or len(decisions) > 0
                has_more = turn(current_time(), not is_awaited and not self._streams.count and _is_alone())
                reconsider()
        finally:
            reactor.close()


def _is_alone() -> bool:
    """Whether no other task of this thread can have anything to do for the next moments.

    Then the reactor may linger as long as it likes; otherwise it would keep an HTTP service, a client in the
    same process or a thread's result waiting.
    """
    tasks = trio.lowlevel.current_statistics()
    waiting = tasks.io_statistics
    return (
        tasks.tasks_runnable == 0
        and tasks.run_sync_soon_queue_size == 0
        and tasks.seconds_to_next_deadline > _MOMENTS_S
        and waiting.tasks_waiting_read <= 1  # trio's own, for its wake-up from other threads
        and waiting.tasks_waiting_write == 0
    )


def _log_error(link: SocketLink | None) -> None:
    if link is None:
        _logger.exception("An error of the broker's while sending")
    else:
        _logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
