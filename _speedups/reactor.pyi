"""One epoll set for all plain sockets: read, feed, flush what is dirty. Linux only."""

from collections.abc import Callable

from noctule._speedups.link import Handler, Link
from noctule._speedups.outlet import Plane
from noctule._speedups.router import Router

class SocketLink(Link):
    """A link over a stream socket, read and written by the reactor; through ``filter``, where it has one.

    ``on_release`` is called once, when the socket is closed.
    """

    on_release: Callable[[], object] | None
    @property
    def fileno(self) -> int:
        """The socket's descriptor; -1 once it is closed."""

class Watch:
    """What is called when a descriptor that is no link's becomes readable."""

class Door(Watch):
    """A listening socket of addresses and ports at which everybody is let in: no filter, no limits, nobody counted.

    Its connections become links here, ``burst`` at a time, with a call into Python only for the first of each address:
    ``origin_of(host)`` says what such a link's origin is. ``connect_timeout_s()`` is how long a link may take to say
    CONNECT; ``accept_slowly()`` is called where accepting fails, and may find out why, ``failed(peer, error)`` where
    the system does not watch a connection, which is closed then. ``links`` is the set of the broker's links.
    """

    def __init__(
        self,
        router: Router,
        handler: Handler,
        links: set[Link],
        *,
        burst: int,
        origin_of: Callable[[str], object],
        connect_timeout_s: Callable[[], float],
        failed: Callable[[str, OSError], object],
        accept_slowly: Callable[[], object],
    ) -> None: ...

class Reactor:
    """The epoll set, and a turn of it. ``log_error(link)`` is called inside ``except`` when a link's handling
    fails by a fault of ours: that link is closed, the others go on."""

    plane: Plane
    link_count: int
    yield_soon: bool

    #: How often a round has waited a moment, for events that come one by one to come together.
    rests: int
    def __init__(self, plane: Plane, log_error: Callable[[SocketLink | None], object]) -> None: ...
    def fileno(self) -> int:
        """The epoll set's descriptor: readable when a turn has work."""
    def close(self) -> None:
        """Close the set. Every link has been closed before."""
    def add(self, link: SocketLink, fd: int) -> None:
        """Take over a connected socket, non-blocking or not: it is the link's from now on, also on failure."""
    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Call ``callback()`` in every turn that finds ``fd`` readable, until ``unwatch``."""
    def watch_door(self, fd: int, door: Door) -> None:
        """Accept by itself, in every turn that finds the listening socket ``fd`` readable, until ``unwatch``. OSError
        where it cannot be watched."""
    def unwatch(self, fd: int) -> None:
        """Watch ``fd`` no more."""
    def turn(self, now: float, linger_long: bool = True) -> bool:
        """Handle what has come and what comes within the budget; ``now``: the broker's clock, in seconds.

        ``linger_long``: nobody else in this thread waits for anything but the reactor's own descriptors. True where
        there may be more to do at once: the caller lets the other tasks run and comes back.
        """
