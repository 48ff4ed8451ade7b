"""The write side of a connection, and what one turn of the data plane has touched."""

from typing import TypedDict, type_check_only

from noctule._speedups.deadlines import Deadlines, Timed

@type_check_only
class Counts(TypedDict):
    """What the data plane has counted since it was made."""

    bytes_received: int
    bytes_sent: int
    packets_received: tuple[int, ...]
    packets_sent: tuple[int, ...]
    publish_bytes_received: int
    publish_bytes_sent: int
    dropped_slow_reader: int
    dropped_offline: int
    dropped_queue_full: int
    dropped_expired: int
    dropped_denied: int
    dropped_too_large: int

class Plane:
    """What the links of one broker share: buffers, the dirty list, counters, limits, the time."""

    now: float
    deadlines: Deadlines
    def __init__(
        self,
        *,
        write_max_bytes: int,
        packet_max_bytes: int,
        connect_max_bytes: int,
        queue_max_messages: int,
        queue_max_bytes: int,
        inflight_max: int,
        receive_maximum: int,
        levels_max: int,
        alias_max_in: int = 0,
        alias_max_out: int = 0,
    ) -> None: ...
    def close(self) -> None:
        """Forget what waits for a time or to be sent. Sessions and links refer to the plane: without this it stays."""
    def begin_turn(self, now: float) -> None:
        """Set the time that everything until the next call happens at."""
    def flush(self) -> None:
        """Send what the turn has written."""
    @property
    def counts(self) -> Counts:
        """The counters; ``packets_received`` and ``packets_sent`` are by packet type."""

class Outlet(Timed):
    """The write side of one connection."""

    @property
    def pending_bytes(self) -> int:
        """Written and not yet sent."""
