"""What plain clients want, handled without the handlers: nothing about them is to be decided."""

from collections.abc import Callable
from typing import Any

from noctule._speedups.link import Link
from noctule._speedups.outlet import Shortcut
from noctule._speedups.router import Router
from noctule._speedups.session import Session

class Welcome:
    """How plain clients of one origin are let in: ``connack_3`` and ``connack_5`` are whole packets, ``durability`` is
    what their acknowledgements wait for (as in ``Link.durability``), ``keep_alive_max_s`` their longest Keep Alive;
    0: any.
    """

    def __init__(self, connack_3: bytes, connack_5: bytes, durability: int, keep_alive_max_s: int) -> None: ...

class PlainClients(Shortcut):
    """Handles the packets of plain clients of one broker.

    ``sessions`` by client identifier and ``links`` are the broker's own. ``connection_3`` and ``connection_5`` are what
    the handlers are to find as ``link.connection``. ``judge(link)`` answers with a Welcome, or None where something
    about the link is to be decided, ``may_leave()`` whether nobody wants to hear of a client that goes, and
    ``make_client(link, client_id, version)`` describes a client for plugins.
    """

    def __init__(
        self,
        router: Router,
        sessions: dict[str, Session],
        links: set[Link],
        *,
        connection_3: object,
        connection_5: object,
        judge: Callable[[Link], Welcome | None],
        may_leave: Callable[[], bool],
        make_client: Callable[[Link, str, int], Any],
    ) -> None: ...
