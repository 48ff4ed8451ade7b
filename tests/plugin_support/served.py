"""Plugins without a broker: their services run, and hooks are called as the broker does."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import httpx
import trio
import trio.testing
from noctule.api import Broker, Client, Credentials, Service
from noctule.config.checking import check_table
from noctule.config.problems import Positions


class WithServices(Protocol):
    def add_services(self, broker: Broker) -> Sequence[Service]: ...


def client(client_id: str = "c1", user_name: str | None = None, address: str = "192.0.2.7", **more: Any) -> Client:
    return Client(client_id, user_name, address, f"{address}:4711", "0.0.0.0:1883", 5, **more)


def shown(user_name: str | None = "ada", password: bytes | None = b"pw") -> Credentials:
    return Credentials(user_name, password)


def checked(table: dict[str, object], group: type[Any]) -> Any:
    """The configuration that a table is, or the texts of what is wrong with it."""
    found = check_table(table, group, Positions({}))
    if isinstance(found, list):
        return [str(problem) for problem in found]
    return found


@asynccontextmanager
async def serving(plugin: WithServices) -> AsyncIterator[None]:
    """The plugin's services run, until the block is left."""
    async with trio.open_nursery() as nursery:
        for service in plugin.add_services(cast("Broker", None)):
            nursery.start_soon(service.run)
        yield
        nursery.cancel_scope.cancel()


def in_mock_time(main: Callable[[], Awaitable[None]]) -> None:
    """Run with trio's mock clock, which jumps where nobody has anything to do."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def in_real_time(main: Callable[[], Awaitable[None]]) -> None:
    """Run with real sockets, for 20 s at most."""

    async def bounded() -> None:
        with trio.fail_after(20):
            await main()

    trio.run(bounded)


class InMemory(httpx.AsyncBaseTransport):
    """A server without sockets: ``handler`` answers, at once or later. Its answers come in pieces, as real ones do."""

    def __init__(self, handler: Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]) -> None:
        self._handler = handler

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        answer = self._handler(request)
        response = answer if isinstance(answer, httpx.Response) else await answer
        return httpx.Response(response.status_code, headers=response.headers, content=_pieces(response.content))


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1_000):
        yield content[start : start + 1_000]
