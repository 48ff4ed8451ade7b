"""Who is told of what happens, as functions: the handlers put plugins behind them. None: nobody."""

from collections.abc import Callable
from dataclasses import dataclass

from noctule._speedups.message import Message
from noctule._speedups.session import Session


@dataclass(slots=True)
class Watchers:
    """Called where it happens. They raise nothing, and wait for nothing."""

    client_connected: Callable[[Session], None] | None = None

    #: With why, for people.
    client_disconnected: Callable[[Session, str], None] | None = None
    session_created: Callable[[Session], None] | None = None
    session_ended: Callable[[Session, str], None] | None = None

    #: With the filter as the client wrote it, the options of the subscription as SUBSCRIBE has them, and the QoS.
    subscribed: Callable[[Session, object, int], None] | None = None
    unsubscribed: Callable[[Session, str], None] | None = None
    will_published: Callable[[Session, Message], None] | None = None

    #: What becomes of a Will whose time has come: it, or another message in its place, or None: it is not published.
    will_due: Callable[[Session, Message], Message | None] | None = None
