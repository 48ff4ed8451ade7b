"""Every path that is answered, with its parameters and the type of its answer: the description is made from this."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from noctule.services.api import answers, broker, clients, configuration, messages
from noctule.services.api.pages import PAGE_PARAMETERS
from noctule.services.api.requests import Parameter, Values
from noctule.services.api.view import View
from noctule.services.http import RequestError

Result = object | AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Call:
    """What a route is called with."""

    view: View
    path_values: Mapping[str, str]
    values: Values
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """One method at one path."""

    method: str

    #: Parts in braces stand for one part of the path, whatever it is.
    path: str

    name: str
    text: str
    answer: type
    run: Callable[[Call], Awaitable[Result]]
    parameters: tuple[Parameter, ...] = ()

    #: About clients and messages: not for everybody who can reach the port, unless the broker is open itself.
    is_private: bool = True

    #: Changes something: only with a login, wherever it comes from.
    changes: bool = False

    body: type | None = None

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """What the parts in braces stand for; None where the path is another one."""
        wanted = self.path.split("/")[1:]
        if len(wanted) != len(segments):
            return None
        found = {}
        for part, segment in zip(wanted, segments, strict=True):
            if part.startswith("{"):
                found[part[1:-1]] = segment
            elif part != segment:
                return None
        return found


async def _version(call: Call) -> Result:
    return broker.version(call.view)


async def _listeners(call: Call) -> Result:
    return await broker.listeners(call.view)


async def _clients(call: Call) -> Result:
    return await clients.clients(call.view, call.values)


async def _client(call: Call) -> Result:
    return await clients.client(call.view, call.path_values["client_id"], call.values)


async def _subscriptions(call: Call) -> Result:
    return await clients.subscriptions(call.view, call.values)


async def _retained(call: Call) -> Result:
    return await messages.retained(call.view, call.values)


async def _plugins(call: Call) -> Result:
    return broker.plugins(call.view)


async def _configuration(call: Call) -> Result:
    return answers.Configuration(configuration.shown_settings(call.view.settings))


async def _events(call: Call) -> Result:
    return await broker.events(call.view)


async def _log_levels(call: Call) -> Result:
    del call
    return broker.log_levels()


async def _set_log_level(call: Call) -> Result:
    return broker.set_log_level(call.path_values["logger"], call.body)


ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/api/v1/version", "version", "What runs here.", answers.Version, _version, is_private=False),
    Route(
        "GET",
        "/api/v1/listeners",
        "listeners",
        "Where clients connect.",
        answers.Listeners,
        _listeners,
        is_private=False,
    ),
    Route(
        "GET",
        "/api/v1/clients",
        "clients",
        "Sessions, connected or not, in the order in which they began.",
        answers.Clients,
        _clients,
        clients.CLIENT_FILTERS + PAGE_PARAMETERS,
    ),
    Route(
        "GET",
        "/api/v1/clients/{client_id}",
        "client",
        "One session, with its subscriptions, its traffic and rates.",
        answers.ClientDetail,
        _client,
        clients.RATE_PARAMETERS,
    ),
    Route(
        "GET",
        "/api/v1/subscriptions",
        "subscriptions",
        "Subscriptions, client by client.",
        answers.Subscriptions,
        _subscriptions,
        clients.SUBSCRIPTION_FILTERS + PAGE_PARAMETERS,
    ),
    Route(
        "GET",
        "/api/v1/retained",
        "retained",
        "Retained messages, with their payloads where that is asked for.",
        answers.RetainedMessages,
        _retained,
        messages.RETAINED_FILTERS + PAGE_PARAMETERS,
    ),
    Route("GET", "/api/v1/plugins", "plugins", "The plugins that are loaded.", answers.Plugins, _plugins),
    Route(
        "GET",
        "/api/v1/config",
        "config",
        "The configuration in effect; secrets are not in it.",
        answers.Configuration,
        _configuration,
    ),
    Route(
        "GET",
        "/api/v1/events",
        "events",
        "Denials, refused and broken connections, and lost messages of late.",
        answers.Events,
        _events,
    ),
    Route("GET", "/api/v1/log-levels", "log_levels", "The levels of the log.", answers.LogLevels, _log_levels),
    Route(
        "PUT",
        "/api/v1/log-levels/{logger}",
        "set_log_level",
        "Another level for one logger, until the configuration is read again. Takes a login.",
        answers.LogLevel,
        _set_log_level,
        changes=True,
        body=answers.NewLevel,
    ),
)


def find_route(method: str, segments: tuple[str, ...]) -> tuple[Route, dict[str, str]]:
    """The route of a request. RequestError 404 or 405."""
    allowed = []
    for route in ROUTES:
        found = route.match(segments)
        if found is None:
            continue
        if route.method == ("GET" if method == "HEAD" else method):
            return route, found
        allowed.append(route.method)
    if allowed:
        raise RequestError(405, f"only {', '.join(allowed)} here")
    raise RequestError(404, "there is nothing here; /api/v1/openapi.json has all that there is")
