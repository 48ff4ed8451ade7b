"""A broker with its services in the test's own trio run, and a small HTTP client for it."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
import trio.testing
from net.stream_clients import LOOPBACK, RunningBroker, run_mocked
from noctule.app import Broker
from noctule.config.http import HttpSettings
from noctule.config.settings import Settings
from noctule.hooks.table import Plugin

HTTP = HttpSettings(enabled=True, port=0)


@dataclass
class Reply:
    """An answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self.headers
        return json.loads(self.body)


class Served(RunningBroker):
    """A broker that runs, with its HTTP port."""

    @property
    def http_port(self) -> int:
        assert self.broker.http_url is not None
        return int(self.broker.http_url.rpartition(":")[2])

    async def http_stream(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.http_port)

    async def raw(self, data: bytes) -> bytes:
        """Send these bytes and give back all that comes until the broker closes."""
        async with await self.http_stream() as stream:
            await stream.send_all(data)
            received = b""
            with trio.fail_after(120):
                try:
                    while more := await stream.receive_some():
                        received += more
                except trio.BrokenResourceError:
                    pass  # closed with something unread
            return received

    async def ask(self, target: str, method: str = "GET", body: bytes = b"", **headers: str) -> Reply:
        """One request on a connection of its own."""
        lines = {"Host": "localhost", "Connection": "close"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        if body:
            lines["Content-Length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return reply_of(await self.raw(head.encode("latin-1") + b"\r\n" + body))


def reply_of(data: bytes) -> Reply:
    """The first answer in the bytes."""
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Reply(int(status_line.split(" ")[1]), headers, body)


def unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        found += data[:count]
        assert data[count : count + 2] == b"\r\n"
        data = data[count + 2 :]
        if not count:
            break
    return found


@asynccontextmanager
async def served(*plugins: Plugin, http: HttpSettings = HTTP, **settings: Any) -> AsyncIterator[Served]:
    """A broker with one listener and an HTTP port, stopped at the end."""
    broker = Broker(Settings((LOOPBACK,), http=http, **settings), plugins=plugins)
    streams: list[trio.abc.Stream] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            yield Served(broker, nursery, streams)
            broker.stop()
    finally:
        with trio.CancelScope(shield=True):
            for stream in streams:
                await trio.aclose_forcefully(stream)
    assert not broker.state.links


def mocked(main: Callable[[], Awaitable[None]]) -> None:
    """On the mock clock."""
    run_mocked(main)


def basic(user: str, password: str) -> str:
    """A login as HTTP has it."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
