"""One epoll set for all plain sockets: read, feed, flush what is dirty. Linux only."""

from collections.abc import Callable

from noctule._speedups.link import Link
from noctule._speedups.outlet import Plane

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

class Reactor:
    """The epoll set, and a turn of it. ``log_error(link)`` is called inside ``except`` when a link's handling
    fails by a fault of ours: that link is closed, the others go on."""

    plane: Plane
    link_count: int
    yield_soon: bool
    def __init__(self, plane: Plane, log_error: Callable[[SocketLink | None], object]) -> None: ...
    def fileno(self) -> int:
        """The epoll set's descriptor: readable when a turn has work."""
    def close(self) -> None:
        """Close the set. Every link has been closed before."""
    def add(self, link: SocketLink, fd: int) -> None:
        """Take over a connected socket, non-blocking or not: it is the link's from now on, also on failure."""
    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Call ``callback()`` in every turn that finds ``fd`` readable, until ``unwatch``."""
    def unwatch(self, fd: int) -> None:
        """Watch ``fd`` no more."""
    def turn(self, now: float, linger_long: bool = True) -> bool:
        """Handle what has come and what comes within the budget; ``now``: the broker's clock, in seconds.

        ``linger_long``: nobody else in this thread waits for anything but the reactor's own descriptors. True where
        there is more to do at once: the caller lets the other tasks run and comes back.
        """
