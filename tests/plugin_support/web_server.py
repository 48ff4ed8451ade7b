"""An HTTP server on loopback, in the test's own trio run, that behaves as badly as a test wants."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import h11
import trio


@dataclass
class Request:
    """What has been asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[Request, trio.SocketStream], Awaitable[None]]


@dataclass
class WebServer:
    """``behaviour`` answers each request; it may be changed at any time."""

    behaviour: Behaviour
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            while True:
                request = await _read(stream)
                if request is None:
                    return
                self.requests.append(request)
                await self.behaviour(request, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the other side has had enough


async def _read(stream: trio.SocketStream) -> Request | None:
    connection = h11.Connection(h11.SERVER)
    found: Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65_536))
        elif isinstance(event, h11.Request):
            headers = {name.decode(): value.decode() for name, value in event.headers}
            found = Request(event.method.decode(), event.target.decode(), headers, b"")
        elif isinstance(event, h11.Data):
            assert found is not None
            found.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return found
        else:
            return None


def answer(
    status: int = 200,
    body: bytes = b"",
    media_type: str | None = "application/json",
    extra: str = "",
    then_close: bool = False,
) -> Behaviour:
    """A well-formed answer."""
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\n{extra}"
    if media_type is not None:
        head += f"Content-Type: {media_type}\r\n"

    async def behave(_: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(head.encode() + b"\r\n" + body)

    return behave


def raw(data: bytes) -> Behaviour:
    """These bytes, and the connection is closed."""

    async def behave(_: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(data)
        await stream.aclose()

    return behave


def endless(head: bytes, chunk: bytes) -> Behaviour:
    """A body that goes on as long as somebody reads."""

    async def behave(_: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(head)
        while True:
            await stream.send_all(chunk)

    return behave


async def hang(_: Request, __: trio.SocketStream) -> None:
    """Never an answer."""
    await trio.sleep_forever()


async def drip(_: Request, stream: trio.SocketStream) -> None:
    """An answer, a byte now and then: each comes in time, the whole never does."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await stream.send_all(b" ")
        await trio.sleep(0.02)


@asynccontextmanager
async def web_server(behaviour: Behaviour) -> AsyncIterator[WebServer]:
    """A server at ``url``, until the block is left."""
    server = WebServer(behaviour)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server
        nursery.cancel_scope.cancel()
