"""Reads every number that $SYS, metrics and the HTTP interface show, in slices that keep nobody waiting."""

import resource
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from noctule._speedups.census import count_pending, count_sessions
from noctule.core.state import State

if TYPE_CHECKING:
    from noctule._speedups.outlet import Counts

#: Sessions or links that are looked at before others get their turn: a fraction of a millisecond.
SLICE: Final = 4_096

#: The latest drops that can be asked for.
_DROPS_MAX: Final = 200

#: The pages that this process has in memory are the second number there.
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Readings:
    """What the broker holds and has counted, at one moment."""

    #: How long the broker runs.
    uptime_s: float

    counts: "Counts"

    #: Connections, with those that have not said CONNECT.
    sockets: int

    sessions: int
    connected: int

    #: The most that were connected whenever somebody looked.
    connected_max: int

    expired: int
    queued: int
    queued_bytes: int
    in_flight: int
    in_flight_bytes: int
    unreleased: int
    unreleased_bytes: int

    #: Written to connections, and not yet taken by the network.
    pending_bytes: int

    subscriptions: int
    shared_subscriptions: int
    retained: int
    retained_bytes: int
    cached_routes: int

    #: None: nothing is kept in a store.
    store_is_usable: bool | None

    resident_bytes: int
    resident_max_bytes: int
    cpu_s: float

    @property
    def stored_messages(self) -> int:
        """Messages that are held: retained, queued, sent and not acknowledged, received and not released."""
        return self.retained + self.queued + self.in_flight + self.unreleased

    @property
    def stored_bytes(self) -> int:
        """The same in bytes: topic, properties, payload."""
        return self.retained_bytes + self.queued_bytes + self.in_flight_bytes + self.unreleased_bytes


@dataclass(frozen=True, slots=True)
class Drops:
    """Messages that one client has lost."""

    #: When that was noticed, in seconds since 1970.
    at: float

    client_id: str
    count: int


class Observer:
    """Reads the numbers of one broker."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._started_at = trio.current_time()
        self._connected_max = 0
        self._dropped_before = 0
        self._dropped_by_client: dict[str, int] = {}

        #: When the broker was started, in seconds since 1970.
        self.started_at = time.time()

        #: The latest drops, the last one at the end.
        self.recent_drops: deque[Drops] = deque(maxlen=_DROPS_MAX)

    @property
    def uptime_s(self) -> float:
        """How long the broker runs."""
        return trio.current_time() - self._started_at

    async def read(self) -> Readings:
        """Every number as it is now. Sums over many clients may span a few moments."""
        state = self._state
        sessions = list(state.sessions)
        sums: Sequence[int] = (0,) * 8
        for start in range(0, len(sessions), SLICE):
            if start:
                await trio.lowlevel.checkpoint()
            part = count_sessions(sessions, start, start + SLICE)
            sums = [before + more for before, more in zip(sums, part, strict=True)]
        links = list(state.links)
        pending_bytes = 0
        for start in range(0, len(links), SLICE):
            if start:
                await trio.lowlevel.checkpoint()
            pending_bytes += count_pending(links, start, start + SLICE)
        connected, queued, queued_bytes, in_flight, in_flight_bytes, unreleased, unreleased_bytes, _ = sums
        self._connected_max = max(self._connected_max, connected)
        router = state.router
        usage = resource.getrusage(resource.RUSAGE_SELF)
        resident_max = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1_024)
        journal = state.plane.journal
        return Readings(
            uptime_s=self.uptime_s,
            counts=state.plane.counts,
            sockets=len(state.links),
            sessions=len(sessions),
            connected=connected,
            connected_max=self._connected_max,
            expired=state.sessions.expired_count,
            queued=queued,
            queued_bytes=queued_bytes,
            in_flight=in_flight,
            in_flight_bytes=in_flight_bytes,
            unreleased=unreleased,
            unreleased_bytes=unreleased_bytes,
            pending_bytes=pending_bytes,
            subscriptions=router.filters.subscription_count,
            shared_subscriptions=router.filters.shared_subscription_count,
            retained=router.retained.count,
            retained_bytes=router.retained.size_bytes,
            cached_routes=router.cached_routes,
            store_is_usable=None if journal is None else journal.is_usable,
            resident_bytes=_resident_bytes(resident_max),
            resident_max_bytes=resident_max,
            cpu_s=usage.ru_utime + usage.ru_stime,
        )

    async def look_for_drops(self) -> None:
        """Note which clients have lost messages since the last time; costs nothing where none has."""
        dropped = sum(dropped_by_reason(self._state.plane.counts).values())
        if dropped == self._dropped_before:
            return
        self._dropped_before = dropped
        before, now = self._dropped_by_client, time.time()
        self._dropped_by_client = {}
        for index, session in enumerate(list(self._state.sessions)):
            if index % SLICE == SLICE - 1:
                await trio.lowlevel.checkpoint()
            count = session.dropped
            if not count:
                continue
            self._dropped_by_client[session.client_id] = count
            more = count - before.get(session.client_id, 0)
            if more:  # less where the session is another one
                self.recent_drops.append(Drops(now, session.client_id, more if more > 0 else count))


def dropped_by_reason(counts: "Counts") -> dict[str, int]:
    """Messages that were not delivered, by why."""
    return {
        "slow_reader": counts["dropped_slow_reader"],
        "offline": counts["dropped_offline"],
        "queue_full": counts["dropped_queue_full"],
        "expired": counts["dropped_expired"],
        "denied": counts["dropped_denied"],
        "too_large": counts["dropped_too_large"],
    }


def _resident_bytes(otherwise: int) -> int:
    """Memory of this process now; where the system does not tell, the most that it was."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return otherwise
