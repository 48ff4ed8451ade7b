"""The ways to a server: TCP, unix sockets, TLS, WebSocket, a SOCKS5 proxy; and what an address may look like."""

import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio_websocket
import trustme
from net.stream_clients import LOOPBACK
from noctule.app import Broker
from noctule.client import (
    Address,
    Proxy,
    RefusedError,
    TlsOptions,
    Transport,
    UnreachableError,
    connect,
    parse_address,
    parse_proxy,
)
from noctule.config.settings import Settings

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://host", Address(Transport.TCP, "host", 1883)),
        ("host", Address(Transport.TCP, "host", 1883)),
        ("host:99", Address(Transport.TCP, "host", 99)),
        ("mqtt://[::1]:99/", Address(Transport.TCP, "::1", 99)),
        ("mqtts://host", Address(Transport.TLS, "host", 8883)),
        ("MQTT://host", Address(Transport.TCP, "host", 1883)),
        ("ws://host", Address(Transport.WEBSOCKET, "host", 80, "/mqtt")),
        ("ws://host:9001/", Address(Transport.WEBSOCKET, "host", 9001, "/mqtt")),
        ("wss://host/path?a=b", Address(Transport.WEBSOCKET_TLS, "host", 443, "/path?a=b")),
        ("unix:///run/mqtt.sock", Address(Transport.UNIX, path="/run/mqtt.sock")),
        ("mqtt://ada:p%40%3A@host", Address(Transport.TCP, "host", 1883, "", "ada", b"p@:")),
        ("mqtt://ada@host", Address(Transport.TCP, "host", 1883, "", "ada")),
    ],
)
def test_addresses(url: str, expected: Address) -> None:
    assert parse_address(url) == expected


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://host", "expected one of mqtt://, mqtts://, ws://, wss://, unix://"),
        ("mqtt://", "names no host"),
        ("mqtt://host:0", "a port is 1 to 65535"),
        ("mqtt://host:65536", "a port is 1 to 65535"),
        ("mqtt://host:x", "a port is 1 to 65535"),
        ("mqtt://host/path", "has a path"),
        ("unix://", "names no socket"),
    ],
)
def test_addresses_that_are_none(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_address(url)


def test_an_address_keeps_the_password_to_itself() -> None:
    address = parse_address("mqtt://ada:secret@host")
    assert "secret" not in f"{address} {address!r}"
    with pytest.raises(ValueError, match="no host") as caught:
        parse_address("mqtt://ada:secret@")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("socks5h://host", Proxy("host")),
        ("socks5h://[::1]:99", Proxy("::1", 99)),
        ("socks5h://ada:p%3A@host", Proxy("host", 1080, "ada", "p:")),
        ("http://host", None),
        ("socks5h://", None),
        ("socks5h://host:x", None),
    ],
)
def test_proxies(url: str, expected: Proxy | None) -> None:
    if expected is not None:
        assert parse_proxy(url) == expected
        return
    with pytest.raises(ValueError, match="socks5h"):
        parse_proxy(url)


# Connections


@asynccontextmanager
async def broker_with(serve: Callable[[Broker, trio.SocketStream], Awaitable[None]]) -> AsyncIterator[tuple[int, int]]:
    """The port of a broker, and one where each connection is served as the test says."""
    broker = Broker(Settings((LOOPBACK,)))
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(broker.run)

        async def handle(stream: trio.SocketStream) -> None:
            await serve(broker, stream)

        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        yield int(url.rpartition(":")[2]), listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def exchange(url: str, **options: object) -> None:
    """There and back again."""
    with trio.fail_after(10):
        async with connect(url, **options) as client:  # type: ignore[arg-type]
            await client.subscribe("t", 2)
            payload = bytes(range(256)) * 1_000  # more than one frame or record
            await client.publish("t", payload, 2)
            assert (await client.receive()).payload == payload


async def plain(broker: Broker, stream: trio.SocketStream) -> None:
    await broker.serve_stream(stream, "test")


def test_tcp() -> None:
    async def main() -> None:
        async with broker_with(plain) as (port, _):
            await exchange(f"mqtt://127.0.0.1:{port}")
            await exchange(f"127.0.0.1:{port}", local_address="127.0.0.1", version=4)

    trio.run(main)


@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
def test_unix(tmp_path: Path) -> None:
    async def main() -> None:
        broker = Broker(Settings((LOOPBACK,)))
        path = tmp_path / "mqtt.sock"
        with trio.socket.socket(trio.socket.AF_UNIX) as listening:
            await listening.bind(str(path))
            listening.listen()
            async with trio.open_nursery() as nursery:
                await nursery.start(broker.run)

                async def handle(stream: trio.SocketStream) -> None:
                    await broker.serve_stream(stream, "unix")

                nursery.start_soon(trio.serve_listeners, handle, [trio.SocketListener(listening)])
                await exchange(f"unix://{path}")
                with pytest.raises(UnreachableError, match="No such file"):
                    await exchange(f"unix://{path}x")
                nursery.cancel_scope.cancel()

    trio.run(main)


AUTHORITY = trustme.CA()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def server_context(host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(host).configure_cert(context)
    return context


def over_tls(context: ssl.SSLContext) -> Callable[[Broker, trio.SocketStream], Awaitable[None]]:
    async def serve(broker: Broker, stream: trio.SocketStream) -> None:
        encrypted = trio.SSLStream(stream, context, server_side=True)
        try:
            await encrypted.do_handshake()
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(stream)
            return
        await broker.serve_stream(encrypted, "tls")

    return serve


def test_tls(authority: Path) -> None:
    async def main() -> None:
        async with broker_with(over_tls(server_context())) as (plain_port, port):
            url = f"mqtts://127.0.0.1:{port}"
            await exchange(url, tls=TlsOptions(ca_file=authority))
            await exchange(url, tls=ssl.create_default_context(cafile=authority))
            await exchange(url, tls=TlsOptions(ca_file=authority, version=ssl.TLSVersion.TLSv1_2, alpn=("mqtt",)))
            await exchange(url, tls=TlsOptions(verify=False))
            with pytest.raises(UnreachableError, match=r"no TLS connection .*(unable to get|self.signed)"):
                await exchange(url)  # the system does not trust it
            with pytest.raises(UnreachableError, match="no TLS connection"):
                await exchange(f"mqtts://127.0.0.1:{plain_port}", tls=TlsOptions(ca_file=authority), timeout_s=5)

    trio.run(main)


def test_a_certificate_of_another_host(authority: Path) -> None:
    async def main() -> None:
        async with broker_with(over_tls(server_context("other.example"))) as (_, port):
            url = f"mqtts://127.0.0.1:{port}"
            with pytest.raises(UnreachableError, match="IP address mismatch"):
                await exchange(url, tls=TlsOptions(ca_file=authority))
            await exchange(url, tls=TlsOptions(ca_file=authority, check_host_name=False))

    trio.run(main)


def test_a_certificate_of_our_own(authority: Path, tmp_path: Path) -> None:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    mine = AUTHORITY.issue_cert("client")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    mine.cert_chain_pems[0].write_to_path(str(certificate))
    mine.private_key_pem.write_to_path(str(key))

    async def main() -> None:
        async with broker_with(over_tls(context)) as (_, port):
            url = f"mqtts://127.0.0.1:{port}"
            await exchange(url, tls=TlsOptions(ca_file=authority, certificate_file=certificate, key_file=key))
            with pytest.raises(Exception, match=r"broke off|TLS|closed"):
                await exchange(url, tls=TlsOptions(ca_file=authority))

    trio.run(main)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (TlsOptions(ca_file=Path("/does/not/exist")), OSError),
        (TlsOptions(ciphers="nonsense"), ValueError),
        pytest.param(
            TlsOptions(psk=b"key", psk_identity="me"),
            ValueError,
            marks=pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python 3.13 has pre-shared keys"),
        ),
    ],
)
def test_tls_options_that_cannot_be(options: TlsOptions, error: type[Exception]) -> None:
    async def main() -> None:
        async with connect("mqtts://127.0.0.1:1", tls=options):
            pytest.fail("connected")

    with pytest.raises(error):
        trio.run(main)


def over_websocket(subprotocol: str | None = "mqtt", status: int = 0) -> Callable[..., Awaitable[None]]:
    """A WebSocket server in front of the broker, as a proxy on the web would be."""

    async def serve(broker: Broker, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)  # type: ignore[arg-type]
            if status:
                await request.reject(status)
                return
            assert (request.path, request.proposed_subprotocols) == ("/mqtt", ("mqtt",))
            websocket = await request.accept(subprotocol=subprotocol)
            near, far = trio.testing.memory_stream_pair()
            nursery.start_soon(broker.serve_stream, far, "websocket")

            async def outwards() -> None:
                while data := await near.receive_some():
                    await websocket.send_message(bytes(data))
                await websocket.aclose()

            nursery.start_soon(outwards)
            try:
                while True:
                    message = await websocket.get_message()
                    assert isinstance(message, bytes)
                    for start in range(0, len(message), 3_000):
                        await near.send_all(message[start : start + 3_000])
            except trio_websocket.ConnectionClosed:
                await near.aclose()

    return serve


def test_websocket() -> None:
    async def main() -> None:
        async with broker_with(over_websocket()) as (_, port):
            await exchange(f"ws://127.0.0.1:{port}")
            await exchange(f"ws://127.0.0.1:{port}/mqtt", version=4)

    trio.run(main)


def test_websocket_over_tls(authority: Path) -> None:
    context = server_context()
    inner = over_websocket()

    async def serve(broker: Broker, stream: trio.SocketStream) -> None:
        await inner(broker, trio.SSLStream(stream, context, server_side=True))

    async def main() -> None:
        async with broker_with(serve) as (_, port):
            await exchange(f"wss://127.0.0.1:{port}/mqtt", tls=TlsOptions(ca_file=authority))

    trio.run(main)


@pytest.mark.parametrize(
    ("serve", "complaint"),
    [
        (over_websocket(subprotocol=None), "does not speak MQTT"),
        (over_websocket(status=403), "HTTP status 403"),
        (plain, "no WebSocket connection"),
    ],
)
def test_a_server_that_does_not_speak_it(serve: Callable[..., Awaitable[None]], complaint: str) -> None:
    async def main() -> None:
        async with broker_with(serve) as (_, port):
            with pytest.raises(UnreachableError, match=complaint):
                await exchange(f"ws://127.0.0.1:{port}")

    trio.run(main)


def test_nobody_answers() -> None:
    async def silent(_broker: Broker, stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await trio.sleep_forever()

    async def main() -> None:
        async with broker_with(silent) as (_, port):
            with pytest.raises(UnreachableError, match=r"within 0\.2 s"):
                await exchange(f"ws://127.0.0.1:{port}", timeout_s=0.2)

    trio.run(main)


# SOCKS5


def over_proxy(credentials: bytes = b"", reply: int = 0) -> Callable[..., Awaitable[None]]:
    """A SOCKS5 proxy for names; it looks up "broker.example" and nothing else."""

    async def serve(broker: Broker, stream: trio.SocketStream) -> None:
        async def take(count: int) -> bytes:
            data = bytearray()
            while len(data) < count:
                data += await stream.receive_some(count - len(data)) or pytest.fail("the client has gone")
            return bytes(data)

        version, count = await take(2)
        methods = await take(count)
        method = 2 if credentials else 0
        await stream.send_all(bytes((5, method if method in methods else 0xFF)))
        if method not in methods:
            return
        if credentials:
            _, size = await take(2)
            name = await take(size)
            password = await take((await take(1))[0])
            accepted = name + b":" + password == credentials
            await stream.send_all(bytes((1, not accepted)))
            if not accepted:
                return
        assert version == 5
        assert await take(4) == b"\x05\x01\x00\x03"
        assert await take((await take(1))[0]) == b"broker.example"
        assert await take(2) == (1883).to_bytes(2, "big")
        await stream.send_all(bytes((5, reply, 0, 1, 127, 0, 0, 1, 0, 0)))
        if not reply:
            await broker.serve_stream(stream, "proxied")

    return serve


@pytest.mark.parametrize(
    ("serve", "user", "password", "complaint"),
    [
        (over_proxy(), None, None, None),
        (over_proxy(b"ada:pw"), "ada", "pw", None),
        (over_proxy(b"ada:pw"), "ada", "no", "does not accept the user name"),
        (over_proxy(b"ada:pw"), None, None, "none of our ways"),
        (over_proxy(reply=5), None, None, "connection refused"),
        (plain, None, None, "closed the connection|broke off"),
    ],
)
def test_proxy(
    serve: Callable[..., Awaitable[None]], user: str | None, password: str | None, complaint: str | None
) -> None:
    async def main() -> None:
        async with broker_with(serve) as (_, port):
            proxy = Proxy("127.0.0.1", port, user, password)
            if complaint is None:
                await exchange("mqtt://broker.example", proxy=proxy)
                return
            with pytest.raises(UnreachableError, match=complaint):
                await exchange("mqtt://broker.example", proxy=proxy)

    trio.run(main)


def test_who_we_are_may_stand_in_the_url() -> None:
    from client.scripted_server import ScriptedServer
    from noctule.protocol import decode_connect

    seen = []

    async def serve(_broker: Broker, stream: trio.SocketStream) -> None:
        server = ScriptedServer(stream)
        packet = await server.packet()
        seen.append(decode_connect(packet[2:]))
        await server.send(b"\x20\x03\x00\x87\x00")
        await server.close()

    async def main() -> None:
        async with broker_with(serve) as (_, port):
            for options in ({}, {"user_name": "eve", "password": "other"}):
                with pytest.raises(RefusedError):
                    await exchange(f"mqtt://ada:secret@127.0.0.1:{port}", **options)

    trio.run(main)
    assert [(one.user_name, one.password) for one in seen] == [("ada", b"secret"), ("eve", b"other")]
