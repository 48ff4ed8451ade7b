"""What the handlers of one broker work on, in one place."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from noctule._speedups.link import Link
from noctule._speedups.outlet import Plane
from noctule._speedups.router import Router
from noctule.config.limits import FILTER_LEVELS_MAX
from noctule.config.settings import Limits, Settings
from noctule.core.authentication import AuthenticationMethod
from noctule.core.sessions import Sessions
from noctule.core.watchers import Watchers


@dataclass(slots=True)
class State:
    """One broker's trees, sessions and links. Two of these in one process share nothing."""

    settings: Settings
    plane: Plane
    router: Router
    sessions: Sessions
    logger: logging.Logger
    watchers: Watchers

    #: The methods of enhanced authentication that a CONNECT may ask for, by name.
    authentication_methods: Mapping[str, AuthenticationMethod] = field(default_factory=dict)

    #: Every link that is not closed.
    links: set[Link] = field(default_factory=set)

    #: Set when the broker stops: nobody is let in any more.
    is_stopping: bool = False

    #: Called when the last link has closed.
    when_no_links: Callable[[], object] | None = None


def make_state(settings: Settings, authentication_methods: Iterable[AuthenticationMethod] = ()) -> State:
    """An empty broker. ValueError where two methods of authentication have one name."""
    methods: dict[str, AuthenticationMethod] = {}
    for method in authentication_methods:
        if methods.setdefault(method.name, method) is not method:
            raise ValueError(f"two methods of authentication have the name {method.name!r}")
    plane = Plane(**plane_limits(settings.limits))
    router = Router(plane, settings.share_strategy.value)
    watchers = Watchers()
    sessions = Sessions(plane, router, watchers)
    limit_sessions(sessions, settings)
    return State(settings, plane, router, sessions, logging.getLogger("noctule"), watchers, methods)


def limit_sessions(sessions: Sessions, settings: Settings) -> None:
    """Have the limit of these settings hold for how long sessions wait for their clients."""
    stay = [bridge.client_id_here for bridge in settings.bridges]
    sessions.limit_expiry(settings.limits.session_expiry_max_s, stay)


def plane_limits(limits: Limits) -> dict[str, int]:
    """The limits that the data plane keeps, by the names that it knows them by."""
    return {
        "write_max_bytes": limits.write_max_bytes,
        "packet_max_bytes": limits.packet_max_bytes,
        "connect_max_bytes": min(limits.connect_max_bytes, limits.packet_max_bytes),
        "queue_max_messages": limits.queue_max_messages,
        "queue_max_bytes": limits.queue_max_bytes,
        "inflight_max": limits.inflight_max,
        "receive_maximum": limits.receive_maximum,
        "levels_max": limits.topic_levels_max,
        "retained_max": limits.retained_max,
        "subscriptions_max": limits.subscriptions_max,
        "filter_levels_max": FILTER_LEVELS_MAX,
        "alias_max_in": limits.alias_max_in,
        "alias_max_out": limits.alias_max_out,
    }
