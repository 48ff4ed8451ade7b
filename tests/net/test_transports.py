"""The whole broker over TLS, WebSocket and both, each way to carry bytes; unix sockets and proxies too."""

import contextlib
import logging
import os
import pwd
import socket
import ssl
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from net.secured import Authority, RefusedError, WebSocketStream, open_tls, port_of
from net.stream_clients import V3_1_1, V5, RunningBroker, StreamClient, run_mocked, running_broker
from net.test_proxy_protocol import V4, binary, field, tls
from noctule.config.settings import (
    Carrier,
    ListenerLimits,
    ListenerSettings,
    Protocol,
    ProxySettings,
    UnixSocketSettings,
    WebSocketSettings,
)
from noctule.config.tls import CertificateName
from noctule.protocol import Connect, Will, encode_connect

CARRIERS = [Carrier.STREAMS]
if sys.platform.startswith("linux"):
    CARRIERS.append(Carrier.REACTOR)

every_carrier = pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.value)
every_transport = pytest.mark.parametrize("transport", ["tls", "ws", "wss"])

Body = Callable[[RunningBroker], Awaitable[None]]


def serve(carrier: Carrier, listener: ListenerSettings, body: Body, **limits: object) -> None:
    async def main() -> None:
        async with running_broker(carrier, (listener,), **limits) as running:
            await body(running)

    run_mocked(main)


def listener_of(transport: str, authority: Authority) -> ListenerSettings:
    protocol = Protocol.MQTT if transport == "tls" else Protocol.WEBSOCKET
    if transport == "ws":
        return ListenerSettings("127.0.0.1", 0, protocol=protocol)
    return authority.listener(protocol)


async def opened(running: RunningBroker, transport: str, authority: Authority) -> StreamClient:
    """A client of the transport, all handshakes done."""
    url = running.broker.urls[0]
    assert url.startswith({"tls": "mqtts://", "ws": "ws://", "wss": "wss://"}[transport])
    stream: trio.abc.Stream
    if transport == "ws":
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(url))
    else:
        stream = await open_tls(url, authority.context())
    if transport != "tls":
        stream = WebSocketStream(stream)
        await stream.upgrade()
    running.streams.append(stream)
    return StreamClient(stream, V5)


async def connected(running: RunningBroker, transport: str, authority: Authority, client_id: str) -> StreamClient:
    client = await opened(running, transport, authority)
    assert (await client.connect(client_id)).reason_code == 0
    return client


async def is_closed(stream: trio.abc.Stream) -> bool:
    """Whether the broker ends the connection, and says nothing more."""
    with trio.fail_after(30):
        try:
            return await stream.receive_some(65_536) == b""
        except trio.BrokenResourceError:
            return True


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says was wrong with connections; errors of ours must not be there."""
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return [line.partition(": ")[2].removesuffix(".") for line in lines]


@every_transport
@every_carrier
def test_messages_of_any_size(carrier: Carrier, transport: str, authority: Authority) -> None:
    async def body(running: RunningBroker) -> None:
        subscriber = await connected(running, transport, authority, "s")
        await subscriber.subscribe("t", 1)
        publisher = await connected(running, transport, authority, "p")
        for size in (0, 1, 125, 126, 16_383, 16_384, 65_535, 65_536, 1_900_000):
            payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
            for qos in (0, 1):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(publisher.publish, "t", payload, qos)
                    found = await subscriber.receive_publish()
                    assert found.payload == payload
                if qos:
                    assert (await publisher.receive())[0] == 0x40
                    await subscriber.send(b"\x40\x02" + found.packet_id.to_bytes(2, "big"))

    serve(carrier, listener_of(transport, authority), body)


@every_transport
@every_carrier
def test_byte_by_byte(carrier: Carrier, transport: str, authority: Authority) -> None:
    """A frame, or a record, for each byte."""

    async def body(running: RunningBroker) -> None:
        client = await opened(running, transport, authority)
        client.version = V3_1_1
        for byte in encode_connect(Connect(V3_1_1, "c")) + b"\xc0\x00":
            await client.send(bytes((byte,)))
        assert [await client.receive() for _ in range(2)] == [(0x20, b"\0\0"), (0xD0, b"")]

    serve(carrier, listener_of(transport, authority), body)


@every_transport
@every_carrier
def test_a_reader_that_stalls_holds_up_nobody(carrier: Carrier, transport: str, authority: Authority) -> None:
    """R2: what is encoded and not taken counts as written."""

    async def body(running: RunningBroker) -> None:
        stalled = await connected(running, transport, authority, "stalled")
        await stalled.subscribe("t", 1)
        quick = await connected(running, transport, authority, "quick")
        await quick.subscribe("t", 0)
        publisher = await connected(running, transport, authority, "p")
        payload = bytes(50_000)
        for _ in range(300):
            await publisher.publish("t", payload)
            assert (await quick.receive_publish()).payload == payload
        await publisher.publish("t", b"last", 1)
        assert (await publisher.receive())[0] == 0x40
        dropped = running.broker.state.plane.counts["dropped_slow_reader"]
        assert dropped > 0
        count = 0
        while (await stalled.receive_publish()).payload != b"last":
            count += 1
        assert count == 300 - dropped

    serve(carrier, listener_of(transport, authority), body, write_max_bytes=65_536)


@every_transport
@every_carrier
def test_the_end_is_told_by_each_layer(carrier: Carrier, transport: str, authority: Authority) -> None:
    """DISCONNECT first, then a Close of WebSocket, then close_notify of TLS: anything less would be an error there."""

    async def body(running: RunningBroker) -> None:
        client = await connected(running, transport, authority, "c")
        await client.send(b"\x00\x00")
        first, _ = await client.receive()
        assert first == 0xE0
        stream = client.stream
        assert await stream.receive_some(10) == b""
        if isinstance(stream, WebSocketStream):
            assert stream.closed_with == 1000
            stream = stream.stream
        if isinstance(stream, trio.SSLStream):
            with trio.fail_after(5):
                assert await stream.receive_some(10) == b""  # BrokenResourceError where there was no close_notify
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(0.01)
        assert not running.broker.state.links

    serve(carrier, listener_of(transport, authority), body)


@every_transport
@every_carrier
def test_a_client_that_goes_leaves_its_will(carrier: Carrier, transport: str, authority: Authority) -> None:
    async def body(running: RunningBroker) -> None:
        watching = await connected(running, transport, authority, "watching")
        await watching.subscribe("w")
        for way in ("ends", "breaks"):
            client = await opened(running, transport, authority)
            await client.connect("c", will=Will("w", way.encode()))
            if way == "ends":
                await client.stream.aclose()
            else:
                await trio.aclose_forcefully(client.stream)
            assert (await watching.receive_publish()).payload == way.encode()

    serve(carrier, listener_of(transport, authority), body)


@every_transport
@every_carrier
def test_stopping_tells_everybody(carrier: Carrier, transport: str, authority: Authority) -> None:
    ended: list[list[tuple[int, bytes]]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener = listener_of(transport, authority)
            async with running_broker(carrier, (listener,)) as running:
                client = await connected(running, transport, authority, "c")
                # One within each handshake: they are told nothing and closed.
                unsaid = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))

                async def read() -> None:
                    ended.append(await client.until_end())

                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
            assert await unsaid.receive_some() == b""
            await unsaid.aclose()
        assert ended == [[(0xE0, b"\x8b")]]

    run_mocked(main)


@every_transport
@every_carrier
def test_who_says_nothing_is_closed_in_time(carrier: Carrier, transport: str, authority: Authority) -> None:
    """One deadline from accepting to CONNECT, wherever on the way a client stops."""

    async def body(running: RunningBroker) -> None:
        start = trio.current_time()
        silent = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))
        cut = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))
        await cut.send_all(b"GET / HTTP/1.1\r\nHost:" if transport == "ws" else b"\x16\x03\x01\x02\x00\x01")
        ready = await opened(running, transport, authority)
        for stream in (silent, cut, ready.stream):
            assert await is_closed(stream)
            assert trio.current_time() - start == pytest.approx(10, abs=0.05)
            await trio.aclose_forcefully(stream)
        await trio.testing.wait_all_tasks_blocked()
        assert not running.broker.state.links

    serve(carrier, listener_of(transport, authority), body, connect_timeout_s=10)


@every_carrier
def test_handshakes_at_one_time_are_limited(carrier: Carrier, authority: Authority) -> None:
    """Whoever stops within one delays others, and no longer than the deadline."""

    async def body(running: RunningBroker) -> None:
        url = running.broker.urls[0]
        async with trio.open_nursery() as nursery:
            silent = [await trio.open_tcp_stream("127.0.0.1", port_of(url)) for _ in range(3)]
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.01)
            assert len(running.broker.state.links) == 3
            start = trio.current_time()
            client = StreamClient(await open_tls(url, authority.context()), V5)
            assert trio.current_time() - start == pytest.approx(10, abs=0.1)
            assert (await client.connect()).reason_code == 0
            # Those that are through do not count.
            more = [StreamClient(await open_tls(url, authority.context()), V5) for _ in range(5)]
            for one in (*silent, *(other.stream for other in (client, *more))):
                nursery.start_soon(trio.aclose_forcefully, one)

    listener = ListenerSettings(
        "127.0.0.1", 0, tls=authority.settings(), limits=ListenerLimits(handshakes_max=3, handshakes_per_address_max=3)
    )
    serve(carrier, listener, body, connect_timeout_s=10)


@every_carrier
def test_one_address_cannot_have_all_handshakes(
    carrier: Carrier, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever stops within as many as there may be keeps nobody else waiting."""

    async def body(running: RunningBroker) -> None:
        url = running.broker.urls[0]
        hostile = [await trio.open_tcp_stream("127.0.0.1", port_of(url), local_address="127.0.0.2") for _ in range(8)]
        for stream in hostile[2:]:
            assert await is_closed(stream)
        start = trio.current_time()
        client = StreamClient(await open_tls(url, authority.context()), V5)
        assert (await client.connect()).reason_code == 0
        assert trio.current_time() - start < 5, "before the deadline of the others"
        for stream in (*hostile, client.stream):
            await trio.aclose_forcefully(stream)

    listener = ListenerSettings("127.0.0.1", 0, tls=authority.settings(), limits=ListenerLimits(handshakes_max=8))
    serve(carrier, listener, body, connect_timeout_s=10)
    assert "from 127.0.0.2 are within a handshake already (max_handshakes_per_address)" in caplog.text


# TLS


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (encode_connect(Connect(V5, "c")), "not TLS: this looks like MQTT in plain text"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not TLS: this looks like HTTP or WebSocket in plain text"),
        (b"\x00\xff\xff", "not TLS"),
        (b"\x16\x03\x01\xff\xff" + bytes(100), "TLS: "),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "TLS: "),
    ],
)
@pytest.mark.parametrize("protocol", Protocol, ids=lambda protocol: protocol.value)
@every_carrier
def test_what_is_not_tls(
    carrier: Carrier,
    protocol: Protocol,
    data: bytes,
    hint: str,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line in the log, and never an answer in plain text."""

    async def body(running: RunningBroker) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))
        await stream.send_all(data)
        answer = b""
        with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
            while more := await stream.receive_some(65_536):
                answer += more
        assert answer == b"" or answer[0] == 0x15  # an alert
        await stream.aclose()

    serve(carrier, authority.listener(protocol), body)
    (fault,) = faults(caplog)
    assert fault.startswith(hint)


@every_carrier
def test_tls_and_http_on_a_plain_port(carrier: Carrier, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async def body(running: RunningBroker) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await open_tls(running.broker.urls[0], authority.context())
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))
        await stream.send_all(b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await is_closed(stream)
        await stream.aclose()

    serve(carrier, ListenerSettings("127.0.0.1", 0), body)
    first, second = faults(caplog)
    assert "looks like TLS" in first
    assert "looks like HTTP" in second


@pytest.mark.parametrize("cut", [1, 5, 50])
@every_carrier
def test_a_record_that_is_not_whole_leaves_no_trace(carrier: Carrier, cut: int, authority: Authority) -> None:
    async def body(running: RunningBroker) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))
        await stream.send_all(outgoing.read()[:-cut])
        await trio.aclose_forcefully(stream)
        other = StreamClient(await open_tls(running.broker.urls[0], authority.context()), V5)
        assert (await other.connect()).reason_code == 0
        await trio.testing.wait_all_tasks_blocked()
        assert len(running.broker.state.links) == 1
        await trio.aclose_forcefully(other.stream)

    serve(carrier, authority.listener(), body)


@every_carrier
def test_records_that_are_forged_end_their_own_connection(
    carrier: Carrier, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(running: RunningBroker) -> None:
        other = await connected(running, "tls", authority, "other")
        client = await connected(running, "tls", authority, "c")
        assert isinstance(client.stream, trio.SSLStream)
        await client.stream.transport_stream.send_all(b"\x17\x03\x03\x00\x40" + bytes(0x40))
        assert await client.receive_or_end() is None
        await other.ping()

    serve(carrier, authority.listener(), body)
    (fault,) = faults(caplog)
    assert fault.startswith("TLS: ")


@every_carrier
def test_the_versions_of_tls(carrier: Carrier, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async def body(running: RunningBroker) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            stream = await open_tls(running.broker.urls[0], authority.context(maximum_version=version))
            assert stream.version() == version.name.replace("_", ".")
            client = StreamClient(stream, V5)
            assert (await client.connect()).reason_code == 0
            await trio.aclose_forcefully(stream)
        context = authority.context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(trio.BrokenResourceError):
            await open_tls(running.broker.urls[0], context)

    serve(carrier, authority.listener(), body)
    assert faults(caplog) == ["TLS: the client speaks no version of TLS that is allowed here"]


def test_the_protocols_that_tls_is_told(authority: Authority) -> None:
    async def body(running: RunningBroker) -> None:
        for offered, chosen in ((["mqtt"], "mqtt"), (["x", "mqtt"], "mqtt"), (["x"], None), ([], None)):
            context = authority.context()
            if offered:
                context.set_alpn_protocols(offered)
            stream = await open_tls(running.broker.urls[0], context)
            assert stream.selected_alpn_protocol() == chosen
            await trio.aclose_forcefully(stream)

    serve(Carrier.REACTOR, authority.listener(), body)


@pytest.mark.parametrize("protocol", Protocol, ids=lambda protocol: protocol.value)
@every_carrier
def test_a_required_certificate_is_required_on_every_transport(
    carrier: Carrier, protocol: Protocol, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority(authority.folder, type(authority.ca)())

    async def body(running: RunningBroker) -> None:
        url = running.broker.urls[0]

        async def comes_in(certificate: Path | None) -> bool:
            stream: trio.abc.Stream = await open_tls(url, authority.context(certificate))
            running.streams.append(stream)
            try:
                if protocol is Protocol.WEBSOCKET:
                    stream = WebSocketStream(stream)
                    await stream.upgrade()
                client = StreamClient(stream, V5)
                # In TLS 1.3 a client is done before its certificate is looked at.
                await client.connect("c")
            except (trio.BrokenResourceError, AssertionError):
                return False
            (link,) = running.broker.state.links
            assert link.origin.user_name == "pump-7"
            assert link.origin.certificate is not None
            assert link.origin.certificate.alternative_names == ("email:pump@example.org",)
            await trio.aclose_forcefully(stream)
            return True

        assert await comes_in(authority.client("pump@example.org", common_name="pump-7"))
        assert not await comes_in(None)
        assert not await comes_in(stranger.client("pump@example.org", name="stranger", common_name="pump-7"))
        assert not await comes_in(authority.client("pump@example.org", name="nameless"))

    listener = authority.listener(
        protocol,
        ca_file=authority.ca_file,
        require_certificate=True,
        user_name_from=CertificateName.COMMON_NAME,
    )
    serve(carrier, listener, body)
    without, unknown, nameless = faults(caplog)
    assert without == "TLS: the client shows no certificate, and this listener requires one"
    assert unknown.startswith("TLS: the client's certificate is not believed: ")
    assert nameless == "the client's certificate has no common name to be its user name"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, None),
        (CertificateName.COMMON_NAME, "pump-7"),
        (CertificateName.SUBJECT, None),
        (CertificateName.DNS_NAME, "pump.example"),
        (CertificateName.EMAIL, "pump@example.org"),
    ],
    ids=str,
)
def test_an_optional_certificate(wanted: CertificateName | None, expected: str | None, authority: Authority) -> None:
    certificate = authority.client("pump.example", "pump@example.org", name="optional", common_name="pump-7")

    async def body(running: RunningBroker) -> None:
        for shown in (certificate, None):
            client = StreamClient(await open_tls(running.broker.urls[0], authority.context(shown)), V5)
            await client.connect("c")
            (link,) = running.broker.state.links
            if shown is None:
                assert (link.origin.user_name, link.origin.certificate) == (None, None)
            else:
                assert link.origin.certificate.common_name == "pump-7"
                subject = link.origin.certificate.subject
                assert subject.startswith("CN=pump-7,")
                assert link.origin.user_name == (subject if wanted is CertificateName.SUBJECT else expected)
            await trio.aclose_forcefully(client.stream)
            await trio.testing.wait_all_tasks_blocked()

    serve(Carrier.REACTOR, authority.listener(ca_file=authority.ca_file, user_name_from=wanted), body)


# WebSocket


@asynccontextmanager
async def web_socket(running: RunningBroker) -> AsyncIterator[WebSocketStream]:
    stream = WebSocketStream(await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0])))
    try:
        await stream.upgrade()
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


WEB = ListenerSettings("127.0.0.1", 0, protocol=Protocol.WEBSOCKET)


@every_carrier
def test_pings_are_answered(carrier: Carrier) -> None:
    async def body(running: RunningBroker) -> None:
        async with web_socket(running) as stream:
            client = StreamClient(stream, V5)
            await stream.ping(b"before CONNECT")
            await client.connect()
            await stream.ping(b"p" * 125)
            await client.ping()
            assert stream.pongs == [b"before CONNECT", b"p" * 125]

    serve(carrier, WEB, body)


@pytest.mark.parametrize(
    ("data", "code", "fault"),
    [
        (b"\x81\x85\0\0\0\0hello", 1003, "a text frame"),
        (b"\x82\x02\xc0\x00", 1002, "a frame that is not masked"),
        (b"\x89\xfe\x00\x80\0\0\0\0" + bytes(128), 1002, "larger than 125"),
        (b"\x80\x81\0\0\0\0\xc0", 1002, "a fragment"),
        (b"\x82\xff" + b"\xff" * 8 + bytes(4), 1002, "too large"),
        (b"\xc2\x82\0\0\0\0\xc0\x00", 1002, "reserved bits"),
    ],
    ids=["text", "not masked", "a large ping", "a lone fragment", "a huge length", "compressed"],
)
@every_carrier
def test_frames_that_break_a_rule(
    carrier: Carrier, data: bytes, code: int, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Before and after CONNECT: DISCONNECT where there is somebody to tell it to, and a Close with the right code."""

    async def body(running: RunningBroker) -> None:
        async with web_socket(running) as stream:
            client = StreamClient(stream, V5)
            await client.connect(will=Will("w", b"gone"))
            await stream.stream.send_all(data)
            first, _ = await client.receive()
            assert first == 0xE0
            assert await client.receive_or_end() is None
            assert stream.closed_with == code
        async with web_socket(running) as stream:
            await stream.stream.send_all(data)
            assert await stream.receive_some() == b""
            assert stream.closed_with == code
            assert await is_closed(stream.stream)

    serve(carrier, WEB, body)
    after, before = faults(caplog)
    assert fault in after
    assert fault in before


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"", 1000),
        (b"\x03\xe8", 1000),
        (b"\x03\xe9going away", 1001),
        (b"\x0f\xa0", 4000),
        (b"\x03", 1002),
        (b"\x03\xed", 1002),
        (b"\x00\x00", 1002),
    ],
)
@every_carrier
def test_a_close_is_answered(carrier: Carrier, content: bytes, answer: int) -> None:
    async def body(running: RunningBroker) -> None:
        async with web_socket(running) as watching_stream, web_socket(running) as stream:
            watching = StreamClient(watching_stream, V5)
            await watching.connect("watching")
            await watching.subscribe("w")
            client = StreamClient(stream, V5)
            await client.connect(will=Will("w", b"gone"))
            await stream.stream.send_all(bytes([0x88, 0x80 | len(content)]) + bytes(4) + content)
            assert await client.receive_or_end() is None
            assert stream.closed_with == answer
            assert await is_closed(stream.stream)
            assert (await watching.receive_publish()).payload == b"gone"  # there was no DISCONNECT

    serve(carrier, WEB, body)


@every_carrier
def test_a_flood_of_empty_fragments_and_pings_takes_no_memory(carrier: Carrier) -> None:
    async def body(running: RunningBroker) -> None:
        async with web_socket(running) as stream:
            client = StreamClient(stream, V5)
            await client.connect()
            (link,) = running.broker.state.links
            await stream.stream.send_all(b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 100_000)
            await stream.stream.send_all(b"\x80\x82\0\0\0\0\xc0\x00")
            assert await client.receive() == (0xD0, b"")
            with trio.move_on_after(5):  # its answers are not read, so it is read no further
                while True:
                    await stream.stream.send_all(b"\x89\x80\0\0\0\0" * 10_000)
            if carrier is Carrier.REACTOR:
                assert link.pending_bytes <= 2 * 65_536 + 2 * 131_072

    serve(carrier, WEB, body, write_max_bytes=65_536)


@every_carrier
def test_the_real_address_behind_a_proxy(carrier: Carrier) -> None:
    """X-Forwarded-For counts from a proxy that is trusted, and there from the right."""
    trusting = ListenerSettings(
        "127.0.0.1",
        0,
        protocol=Protocol.WEBSOCKET,
        allow_anonymous=True,
        proxy=ProxySettings(("127.0.0.1", "10.0.0.0/8")),
        limits=ListenerLimits(max_connections_per_address=1),
    )

    async def address_with(running: RunningBroker, said: str) -> str:
        stream = WebSocketStream(await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0])))
        try:
            await stream.upgrade(headers=(("X-Forwarded-For", said),))
            await StreamClient(stream, V5).connect()
            (link,) = running.broker.state.links
            assert link.peer.startswith(("[", link.origin.address))
            address: str = link.origin.address
            return address
        finally:
            await trio.aclose_forcefully(stream)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.01)

    async def body(running: RunningBroker) -> None:
        for said, address in (
            ("192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1, 10.1.2.3", "192.0.2.1"),
            ("<script>, 192.0.2.1", "192.0.2.1"),
            ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("2001:db8::1", "2001:db8::1"),
        ):
            assert await address_with(running, said) == address
        with pytest.raises(RefusedError) as refused:
            await address_with(running, "192.0.2.1, unknown")
        assert refused.value.status == 400
        # And the limit of one address is the client's, not the proxy's.
        first = WebSocketStream(await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0])))
        await first.upgrade(headers=(("X-Forwarded-For", "192.0.2.1"),))
        with pytest.raises(RefusedError) as refused:
            await address_with(running, "192.0.2.1")
        assert refused.value.status == 429
        await trio.aclose_forcefully(first)

    serve(carrier, trusting, body)

    async def untrusted(running: RunningBroker) -> None:
        assert await address_with(running, "192.0.2.1") == "127.0.0.1"

    serve(carrier, WEB, untrusted)


# The PROXY protocol


def behind_a_proxy(**fields: object) -> ListenerSettings:
    return ListenerSettings(
        "127.0.0.1",
        0,
        allow_anonymous=True,
        proxy=ProxySettings(("127.0.0.0/8",), 2, **fields),  # type: ignore[arg-type]
        limits=ListenerLimits(max_connections_per_address=1),
    )


async def through_proxy(running: RunningBroker, header: bytes, *, byte_by_byte: bool = False) -> StreamClient:
    client = StreamClient(await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0])), V5)
    running.streams.append(client.stream)
    data = header + encode_connect(Connect(V5, f"c{len(running.streams)}"))
    for piece in [bytes((byte,)) for byte in data] if byte_by_byte else [data]:
        await client.send(piece)
    return client


@every_carrier
def test_who_comes_through_a_proxy(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    async def body(running: RunningBroker) -> None:
        client = await through_proxy(running, binary(V4), byte_by_byte=True)
        assert (await client.receive())[0] == 0x20
        (link,) = running.broker.state.links
        assert (link.origin.address, link.peer) == ("192.0.2.1", "192.0.2.1:56789")
        assert link.filter is None
        # A limit of one address is the client's.
        assert await (await through_proxy(running, binary(V4))).receive_or_end() is None
        other = await through_proxy(running, binary(V4.replace(b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02")))
        assert (await other.receive())[0] == 0x20
        await other.ping()
        local = await through_proxy(running, binary(b"", command=0x20, family=0))
        assert (await local.receive())[0] == 0x20
        assert "127.0.0.1" in {one.origin.address for one in running.broker.state.links}
        # Without a header nobody comes in.
        assert await (await through_proxy(running, b"")).receive_or_end() is None

    serve(carrier, behind_a_proxy(), body)
    too_many, without = faults(caplog)
    assert too_many == "there are 1 connections from 192.0.2.1 already (max_connections_per_address)"
    assert without == "no header of version 2 of the PROXY protocol"


@every_carrier
def test_a_proxy_that_is_not_trusted_is_nobody(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    """W: spoofed addresses."""

    async def body(running: RunningBroker) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))
        assert await is_closed(stream)
        await stream.aclose()

    listener = ListenerSettings("127.0.0.1", 0, allow_anonymous=True, proxy=ProxySettings(("10.0.0.0/8",), 2))
    serve(carrier, listener, body)
    assert "no proxy that is trusted" in caplog.text


@every_carrier
def test_a_certificate_that_a_proxy_has_verified(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    name = field(0x22, b"pump-7")

    async def body(running: RunningBroker) -> None:
        client = await through_proxy(running, binary(V4 + tls(0x07, 0, name)))
        assert (await client.receive())[0] == 0x20
        (link,) = running.broker.state.links
        assert link.origin.user_name == "pump-7"
        assert link.origin.certificate is not None
        assert link.origin.certificate.subject == "CN=pump-7"
        await trio.aclose_forcefully(client.stream)
        await trio.testing.wait_all_tasks_blocked()
        # Without a certificate it is somebody without a user name, as far as the proxy knows.
        client = await through_proxy(running, binary(V4 + tls(0x01, 0, name)))
        assert (await client.receive())[0] == 0x20
        (link,) = running.broker.state.links
        assert (link.origin.user_name, link.origin.certificate) == (None, None)
        await trio.aclose_forcefully(client.stream)
        await trio.testing.wait_all_tasks_blocked()
        for header in (V4 + tls(0x07, 18, name), V4 + tls(0x07, 0), V4, V4 + tls(0x00, 0, name)):
            client = await through_proxy(running, binary(header))
            assert await client.receive_or_end() is None

    serve(carrier, behind_a_proxy(user_name_from_certificate=True, require_tls=True), body)
    assert [fault.partition(",")[0] for fault in faults(caplog)] == [
        "the proxy has not verified the client's certificate",
        "the proxy has not verified the client's certificate",
        "the client has not come to the proxy by TLS",
        "the client has not come to the proxy by TLS",
    ]


@every_carrier
def test_tls_and_websocket_behind_a_proxy(carrier: Carrier, authority: Authority) -> None:
    """Three filters in one another."""
    listener = ListenerSettings(
        "127.0.0.1",
        0,
        protocol=Protocol.WEBSOCKET,
        websocket=WebSocketSettings(path="/mqtt"),
        allow_anonymous=True,
        proxy=ProxySettings(("127.0.0.1",), 1),
        tls=authority.settings(),
    )

    async def body(running: RunningBroker) -> None:
        plain = await trio.open_tcp_stream("127.0.0.1", port_of(running.broker.urls[0]))
        await plain.send_all(b"PROXY TCP4 192.0.2.1 198.51.100.2 56789 1883\r\n")
        stream = WebSocketStream(trio.SSLStream(plain, authority.context(), server_hostname="localhost"))
        await stream.upgrade("/mqtt?token=x")
        client = StreamClient(stream, V5)
        running.streams.append(stream)
        await client.connect()
        (link,) = running.broker.state.links
        assert link.origin.address == "192.0.2.1"
        await client.subscribe("t")
        await client.publish("t", b"x" * 100_000)
        assert (await client.receive_publish()).payload == b"x" * 100_000

    serve(carrier, listener, body)


# Unix sockets


@every_carrier
def test_a_unix_socket(carrier: Carrier, tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    listener = ListenerSettings(path=path, unix=UnixSocketSettings("0600", peer_user_name=True))

    async def main() -> None:
        async with running_broker(carrier, (listener,)) as running:
            assert running.broker.urls == (f"unix:{path}",)
            client = StreamClient(await trio.open_unix_socket(path), V5)
            await client.connect()
            (link,) = running.broker.state.links
            assert link.origin.user_name == pwd.getpwuid(os.getuid()).pw_name
            assert link.origin.address == ""
            assert link.peer == f"{path}:{os.getpid()}"
            await client.subscribe("t")
            await client.publish("t", b"x" * 300_000)
            assert (await client.receive_publish()).payload == b"x" * 300_000
            await client.stream.aclose()
        assert not path.exists()

    run_mocked(main)


@every_carrier
def test_a_unix_socket_of_systemd(carrier: Carrier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = socket.socket(socket.AF_UNIX)
    passed.bind(str(tmp_path / "x.sock"))
    passed.listen()
    monkeypatch.setattr("noctule.net.systemd._FIRST_DESCRIPTOR", passed.fileno())
    for name, value in (("LISTEN_PID", str(os.getpid())), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "mqtt")):
        monkeypatch.setenv(name, value)

    async def main() -> None:
        async with running_broker(carrier, (ListenerSettings(systemd_socket="mqtt", allow_anonymous=True),)) as running:
            assert running.broker.urls == (f"unix:{tmp_path}/x.sock",)
            client = StreamClient(await trio.open_unix_socket(tmp_path / "x.sock"), V5)
            await client.connect()
            await client.stream.aclose()

    for _ in range(2):  # and it can be listened on again: the descriptor is systemd's
        run_mocked(main)
    assert (tmp_path / "x.sock").exists()
    passed.close()
