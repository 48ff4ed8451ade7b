"""The write side of a connection, and what one turn of the data plane has touched."""

from collections.abc import Callable
from typing import TypedDict, type_check_only

from noctule._speedups.deadlines import Deadlines, Timed
from noctule._speedups.journal import Journal
from noctule._speedups.link import Link
from noctule._speedups.message import Message
from noctule._speedups.session import Session

@type_check_only
class Counts(TypedDict):
    """What the data plane has counted since it was made."""

    sockets_opened: int
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

class Shortcut:
    """Handles packets of clients about whom nothing is to be decided (``plain``)."""

class Plane:
    """What the links of one broker share: buffers, the dirty list, counters, limits, the time."""

    now: float
    deadlines: Deadlines

    #: Asked before a link's handler is; None: nobody is.
    shortcut: Shortcut | None

    #: What has to be kept across a restart; None: nothing is.
    journal: Journal | None

    #: Code that is asked for an access decision, or that watches, runs: nothing may change.
    is_deciding: bool
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
        retained_max: int = 0,
        subscriptions_max: int = 0xFFFFFFFF,
        filter_levels_max: int = 0xFFFFFFFF,
    ) -> None: ...
    def set_limits(
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
        retained_max: int = 0,
        subscriptions_max: int = 0xFFFFFFFF,
        filter_levels_max: int = 0xFFFFFFFF,
    ) -> None:
        """Other limits from now on. What a client was told in CONNACK holds for its connection."""
    def close(self) -> None:
        """Forget what waits for a time or to be sent. Sessions and links refer to the plane: without this it stays."""
    def let_go(self) -> None:
        """Send what waited for the batches of the journal that are kept by now. The caller flushes afterwards."""
    def take_held_back(self) -> list[Outlet]:
        """The outlets with bytes that wait for the journal, which will never be kept: they are the caller's to end."""
    def take_stalled(self) -> list[Link]:
        """The links that wait until less waits for the journal: the caller lets them go on (``Link.unstall``)."""
    def watch(
        self,
        *,
        message_received: Callable[[Link, Message], Message | int] | None = None,
        message_published: Callable[[Session | None, Message], object] | None = None,
        message_delivered: Callable[[Session, Message], object] | None = None,
        message_dropped: Callable[[Session | None, Message, str], object] | None = None,
        retained_changed: Callable[[bytes, Message | None], object] | None = None,
        packet_received: Callable[[Link, bytes], object] | None = None,
        packet_sent: Callable[[Link, bytes], object] | None = None,
    ) -> None:
        """Have these called from now on; None: nobody is. They must not raise, nor change anything here."""
    @property
    def message_received(self) -> Callable[[Link, Message], Message | int] | None: ...
    @property
    def message_published(self) -> Callable[[Session | None, Message], object] | None: ...
    @property
    def message_delivered(self) -> Callable[[Session, Message], object] | None: ...
    @property
    def message_dropped(self) -> Callable[[Session | None, Message, str], object] | None: ...
    @property
    def retained_changed(self) -> Callable[[bytes, Message | None], object] | None: ...
    @property
    def packet_received(self) -> Callable[[Link, bytes], object] | None: ...
    @property
    def packet_sent(self) -> Callable[[Link, bytes], object] | None: ...
    def begin_turn(self, now: float) -> None:
        """Set the time that everything until the next call happens at."""
    def flush(self) -> None:
        """Send what the turn has written."""
    @property
    def counts(self) -> Counts:
        """The counters; ``packets_received`` and ``packets_sent`` are by packet type."""

class Outlet(Timed):
    """The write side of one connection."""

    #: What acknowledgements wait for. 0: nothing, 1: the system has what they say, 2: the disk has.
    durability: int
    #: Bytes in all that were written to it, whether or not they have been sent, and the PUBLISH packets among them.
    written: int
    publishes_sent: int
    @property
    def pending_bytes(self) -> int:
        """Written and not yet sent."""
