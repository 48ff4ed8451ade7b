"""Http and a real server on loopback: one that works, and those that are slow, hang, lie, come and go."""

import json
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from noctule.api import Allow, Deny
from noctule.plugins.http import Http, HttpConfig
from plugin_support.served import checked, client, in_real_time, serving, shown
from plugin_support.web_server import Behaviour, Request, answer, drip, endless, hang, raw, web_server

OK = answer(200, b'{"result": "allow"}')


def plugin_of(url: str, **table: object) -> Http:
    config = checked({"authenticate_url": f"{url}/user", "timeout": "300ms", **table}, Http.Config)
    assert isinstance(config, HttpConfig), config
    return Http(config)


def test_a_server_that_works() -> None:
    async def main() -> None:
        async def behave(request: Request, stream: trio.SocketStream) -> None:
            fields = json.loads(request.body)
            status = 200 if fields["password"] == "pw" else 403
            await answer(status, extra="Set-Cookie: user=ada; Path=/\r\n")(request, stream)

        async with web_server(behave) as server:
            plugin = plugin_of(server.url, headers=[{"name": "X-Key", "value": "k"}], timeout="5s")
            async with serving(plugin):
                for number in range(5):
                    assert isinstance(await plugin.authenticate(client(f"c{number}"), shown()), Allow)
                assert isinstance(await plugin.authenticate(client(), shown("ada", b"wrong")), Deny)
            assert server.connections == 1  # kept open between requests
            assert len(server.requests) == 6
            for request in server.requests:
                assert (request.method, request.path) == ("POST", "/user")
                assert request.headers["x-key"] == "k"
                assert request.headers["accept-encoding"] == "identity"
                assert "cookie" not in request.headers

    in_real_time(main)


BODY = b"x" * 100_000
MISBEHAVIOURS: list[tuple[str, Behaviour, str]] = [
    ("hangs", hang, "no answer within"),
    ("a byte now and then", drip, "no answer within"),
    ("closes at once", raw(b""), "RemoteProtocolError"),
    ("closes within the head", raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "RemoteProtocolError"),
    ("closes within the body", raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok"), "RemoteProtocolError"),
    ("no HTTP", raw(b"220 mail.example ESMTP\r\n"), "RemoteProtocolError"),
    ("a huge head", raw(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 1_000_000), "Error"),
    ("a large body", answer(200, BODY, "text/plain"), "larger than 65536 bytes"),
    ("an endless body", endless(b"HTTP/1.1 200 OK\r\n\r\n", BODY), "larger than 65536 bytes"),
    (
        "endless pieces",
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 0x1000 + b"\r\n"),
        "larger than 65536 bytes",
    ),
    (
        "two lengths",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok "),
        "RemoteProtocolError",
    ),
    ("elsewhere", answer(307, extra="Location: /elsewhere\r\n"), "redirects are not followed"),
    ("compressed", answer(200, b"\x1f\x8b", extra="Content-Encoding: gzip\r\n"), "compressed"),
    ("broken JSON", answer(200, b'{"result": "allow"'), "not JSON"),
    ("JSON that says nothing", answer(200, b"{}"), 'no "result"'),
    ("another type", answer(200, b'{"result": "deny"}', "text/html"), "says no"),
    ("an error of its own", answer(500, b'{"result": "allow"}'), "status 500"),
    ("continues for ever", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "no answer within"),
]


@pytest.mark.parametrize(
    ("behaviour", "why"), [row[1:] for row in MISBEHAVIOURS], ids=[row[0] for row in MISBEHAVIOURS]
)
def test_a_server_that_misbehaves(behaviour: Behaviour, why: str) -> None:
    async def main() -> None:
        async with web_server(behaviour) as server:
            plugin = plugin_of(server.url)
            async with serving(plugin):
                verdict = await plugin.authenticate(client(), shown())
                assert isinstance(verdict, Deny)
                assert why in verdict.why
                assert len(server.requests) == 1
                server.behaviour = OK
                assert isinstance(await plugin.authenticate(client("c2"), shown()), Allow)

    in_real_time(main)


def test_a_server_that_is_not_there() -> None:
    async def main() -> None:
        async with web_server(OK) as server:
            url = server.url
        plugin = plugin_of(url)
        async with serving(plugin):
            verdict = await plugin.authenticate(client(), shown())
            assert isinstance(verdict, Deny)
            assert "ConnectError" in verdict.why

    in_real_time(main)


def test_a_server_that_comes_and_goes() -> None:
    async def main() -> None:
        async def behave(request: Request, stream: trio.SocketStream) -> None:
            await (OK if len(server.requests) % 2 else raw(b""))(request, stream)

        async with web_server(behave) as server:
            plugin = plugin_of(server.url)
            async with serving(plugin):
                verdicts = [await plugin.authenticate(client(f"c{number}"), shown()) for number in range(20)]
            assert [isinstance(verdict, Allow) for verdict in verdicts] == [True, False] * 10

    in_real_time(main)


def test_stopping_does_not_wait_for_a_server() -> None:
    async def main() -> None:
        asked = trio.Event()

        async def behave(request: Request, stream: trio.SocketStream) -> None:
            asked.set()
            await hang(request, stream)

        async with web_server(behave) as server:
            plugin = plugin_of(server.url, timeout="1h")
            verdicts: list[Any] = []

            async def ask() -> None:
                verdicts.append(await plugin.authenticate(client(), shown()))

            async with trio.open_nursery() as nursery, serving(plugin):
                nursery.start_soon(ask)
                await asked.wait()
            assert len(verdicts) == 1
            assert isinstance(verdicts[0], Deny)

    in_real_time(main)


@pytest.mark.parametrize("trusted", [True, False])
def test_https(tmp_path: Path, trusted: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (authority if trusted else trustme.CA()).issue_cert("localhost").configure_cert(context)

    async def serve_one(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some(65_536)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await stream.aclose()
        except trio.BrokenResourceError:
            return

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_ssl_over_tcp, serve_one, 0, context, host="127.0.0.1")
            listeners = await nursery.start(serve)
            port = listeners[0].transport_listener.socket.getsockname()[1]
            plugin = plugin_of(f"https://localhost:{port}", ca_file=str(tmp_path / "ca.pem"), timeout="5s")
            async with serving(plugin):
                verdict = await plugin.authenticate(client(), shown())
            assert isinstance(verdict, Allow if trusted else Deny), verdict
            if isinstance(verdict, Deny):
                assert "CERTIFICATE_VERIFY_FAILED" in verdict.why
            nursery.cancel_scope.cancel()

    in_real_time(main)
