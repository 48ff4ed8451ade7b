"""What plain clients want, handled without the handlers: nothing about them is to be decided."""

from collections.abc import Callable
from typing import Any, Protocol, type_check_only

from noctule._speedups.link import Link
from noctule._speedups.outlet import Shortcut
from noctule._speedups.router import Router
from noctule._speedups.session import Session

@type_check_only
class State(Protocol):
    """What of a broker is looked at for each client."""

    settings: Any
    is_stopping: bool

class Welcome:
    """How plain clients of one origin are let in: ``connack_3`` and ``connack_5`` are whole packets, ``durability`` is
    what their acknowledgements wait for (as in ``Link.durability``), ``keep_alive_max_s`` their longest Keep Alive and
    ``sessions_max`` how many sessions there may be; 0: any.
    """

    def __init__(
        self, connack_3: bytes, connack_5: bytes, durability: int, keep_alive_max_s: int, sessions_max: int = 0
    ) -> None: ...

class PlainClients(Shortcut):
    """Handles the packets of plain clients of one broker.

    ``sessions`` by client identifier and ``links`` are the broker's own. ``connection_3`` and ``connection_5`` are what
    the handlers are to find as ``link.connection``. ``judge(link)`` answers with a Welcome, or None where something
    about the link is to be decided; it is asked again where ``state.settings``, the journal or the origin is another
    than before. While ``state.is_stopping`` or ``is_debugging(logging.DEBUG)`` every client is for the handlers.
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
        state: State,
        judge: Callable[[Link], Welcome | None],
        is_debugging: Callable[[int], bool],
        make_client: Callable[[Link, str, int], Any],
    ) -> None: ...
