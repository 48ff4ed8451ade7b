"""The HTTP port and whoever means it no good: slow, large, broken, many, or somebody else's page."""

import pytest
import trio
import trio.testing
from noctule.config.http import HttpSettings
from noctule.config.settings import Carrier
from noctule.services.http import BODY_MAX_BYTES, HEAD_MAX_BYTES, REQUEST_TIMEOUT_S, SECURITY_HEADERS
from services.running import mocked, reply_of, served

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


def test_security_headers_are_always_there() -> None:
    async def main() -> None:
        async with served() as broker:
            for target in ("/", "/healthz", "/metrics", "/api/v1/clients", "/nothing"):
                reply = await broker.ask(target)
                for name, value in SECURITY_HEADERS:
                    assert reply.headers[name.lower()] == value
                assert "server" not in reply.headers

    mocked(main)


def test_head_is_get_without_body() -> None:
    async def main() -> None:
        async with served() as broker:
            for target in ("/healthz", "/metrics", "/api/v1/version", "/api/v1/clients"):
                reply = await broker.ask(target, "HEAD")
                assert (reply.status, reply.body) == (200, b"")

    mocked(main)


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/healthz", "POST", 405),
        ("/healthz", "PUT", 405),
        ("/metrics", "DELETE", 405),
        ("/api/v1/clients", "PUT", 405),
        ("/api/v1/clients", "OPTIONS", 405),
        ("/api/v1/clients", "TRACE", 405),
        ("/api/v1/clients", "PROPFIND", 405),
        ("/nothing", "GET", 404),
        ("/api/v1/../v1/version", "GET", 404),
        ("/api/v1/%2e%2e/version", "GET", 404),
        ("/../../../etc/passwd", "GET", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", "GET", 404),
        ("/api/v1/clients/..%2f..%2fetc%2fpasswd", "GET", 404),
        ("/api/v1/clients/a/b", "GET", 404),
        ("/api/v1/clients/%ff", "GET", 400),
        ("http://elsewhere.example/metrics", "GET", 400),
        ("*", "GET", 400),
        ("/api/v1/clients?limit=1001", "GET", 400),
        ("/api/v1/clients?limit=-1", "GET", 400),
        ("/api/v1/clients?limit=1e2", "GET", 400),
        ("/api/v1/clients?limit=" + "9" * 400, "GET", 400),
        ("/api/v1/clients?offset=nan", "GET", 400),
        ("/api/v1/clients?connected=yes", "GET", 400),
        ("/api/v1/clients?unknown=1", "GET", 400),
        ("/api/v1/clients?%ff=1", "GET", 400),
        ("/api/v1/clients?client_id=%ff", "GET", 400),
        ("/api/v1/clients?" + "&".join(["limit=1"] * 40), "GET", 400),
        ("/api/v1/clients/c?rate_interval_s=100", "GET", 400),
        ("/api/v1/clients/c?rate_interval_s=nan", "GET", 400),
        ("/api/v1/retained?topic_filter=a%23", "GET", 400),
        ("/api/v1/retained?topic_filter=$share/g/a", "GET", 400),
        ("/api/v1/retained?offset=10001", "GET", 400),
        ("/api/v1/retained?payload=true&payload_max=65536&limit=1000", "GET", 400),
        ("/api/v1/subscriptions?matching=a/%23", "GET", 400),
        ("/" + "a" * 5_000, "GET", 414),
    ],
)
def test_what_is_refused(target: str, method: str, status: int) -> None:
    async def main() -> None:
        async with served() as broker:
            reply = await broker.ask(target, method)
            assert reply.status == status
            assert (await broker.ask("/healthz")).status == 200

    mocked(main)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET  /  HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2 * HEAD_MAX_BYTES + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * HEAD_MAX_BYTES, 431),
        (b"".join(b"X%d: a\r\n" % number for number in range(5_000)), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, 400),  # TLS
        (b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n", 400),  # MQTT
        (b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * (BODY_MAX_BYTES + 1), 413),
    ],
)
def test_what_is_no_request(data: bytes, status: int) -> None:
    async def main() -> None:
        async with served() as broker:
            reply = reply_of(await broker.raw(data))
            assert reply.status == status
            assert status == 505 or reply.headers.get("connection") == "close"

    mocked(main)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", GET, GET + b"X-Header: and so on"])
def test_silence_ends_the_connection(begun: bytes) -> None:
    async def main() -> None:
        async with served() as broker, await broker.http_stream() as stream:
            await stream.send_all(begun)
            started = trio.current_time()
            assert await stream.receive_some() == b""
            assert trio.current_time() - started == pytest.approx(REQUEST_TIMEOUT_S, abs=0.1)

    mocked(main)


def test_a_byte_now_and_then_does_not_hold_it() -> None:
    """Slowloris: each byte would be in time, all of them are not."""

    async def main() -> None:
        async with served() as broker, await broker.http_stream() as stream:
            started = trio.current_time()

            async def trickle() -> None:
                for number in range(1_000):
                    await stream.send_all(b"GET / HTTP/1.1\r\n"[number : number + 1] or b"X: a\r\n")
                    await trio.sleep(1)

            with pytest.raises(trio.BrokenResourceError):
                await trickle()
            assert trio.current_time() - started < REQUEST_TIMEOUT_S + 3

    mocked(main)


def test_who_does_not_read_is_cut_off() -> None:
    async def main() -> None:
        async with served() as broker:
            for number in range(300):
                async with await broker.connect(f"{number}-" + "x" * 1_000, session_expiry_interval_s=1_000):
                    pass
            async with await broker.http_stream() as stream:
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4_096)
                request = b"GET /api/v1/clients?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
                await stream.send_all(request * 100)
                operations = broker.broker._operations
                assert operations is not None
                await trio.sleep(5)
                assert operations.http.count == 1
                await trio.sleep(40)
                assert operations.http.count == 0

    mocked(main)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def main() -> None:
        async with served() as broker:
            paths = [b"/healthz", b"/nothing", b"/readyz", b"/api/v1/version"]
            requests = [b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths]
            requests[-1] = requests[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            data = await broker.raw(b"".join(requests))
            statuses = [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]
            assert statuses == [200, 404, 200, 200]

    mocked(main)


def test_more_connections_than_allowed_are_closed_at_once() -> None:
    async def main() -> None:
        async with served(http=HttpSettings(enabled=True, port=0, max_connections=2)) as broker:
            first, second = await broker.http_stream(), await broker.http_stream()
            async with first, second:
                await trio.sleep(0.1)
                assert await broker.raw(b"") == b""
                await first.send_all(GET + b"\r\n")
                assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
            await trio.sleep(0.1)
            assert (await broker.ask("/healthz")).status == 200

    mocked(main)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9883", 200),
        ("localhost.", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:9883", 200),
        ("192.0.2.7", 200),  # an address cannot be made to lead elsewhere
        ("broker.example", 200),
        ("Broker.Example:80", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example#localhost", 421),
        ("localhost@evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_names_that_are_not_ours_are_refused(host: str, status: int) -> None:
    """DNS rebinding: a page's own name is made to lead to this machine."""

    async def main() -> None:
        settings = HttpSettings(enabled=True, port=0, host_names=("broker.example",))
        async with served(http=settings) as broker:
            for target in ("/api/v1/clients", "/healthz", "/metrics"):
                assert (await broker.ask(target, Host=host)).status == status

    mocked(main)


@pytest.mark.parametrize("carrier", list(Carrier), ids=lambda carrier: carrier.value)
def test_it_is_there_with_either_carrier(carrier: Carrier) -> None:
    async def main() -> None:
        async with served(carrier=carrier) as broker:
            assert (await broker.ask("/healthz")).body == b"ok\n"
            async with await broker.connect("c"):
                assert (await broker.ask("/api/v1/clients")).json["page"]["total"] == 1

    mocked(main)


def test_there_is_none_unless_asked_for() -> None:
    async def main() -> None:
        async with served(http=HttpSettings(port=0)) as broker:
            assert broker.broker.http_url is None

    mocked(main)


def test_an_answer_in_pieces_lets_others_work() -> None:
    """However long a list is: between its pieces the clients have their turn."""

    async def main() -> None:
        async with served() as broker:
            for number in range(250):
                async with await broker.connect(str(number), session_expiry_interval_s=1_000):
                    pass
            async with await broker.connect("other") as client:
                reply = None

                async def ask() -> None:
                    nonlocal reply
                    reply = await broker.ask("/api/v1/clients?limit=1000")

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask)
                    for _ in range(5):
                        await client.ping()
                assert reply is not None
                assert reply.headers["transfer-encoding"] == "chunked"
                assert len(reply.json["items"]) == 251

    mocked(main)


def test_the_port_costs_nothing_while_nobody_asks() -> None:
    """No task of trio's waits for it, so that the reactor may linger as it does without."""
    waiting = {}

    async def main() -> None:
        for is_enabled in (False, True):
            async with served(http=HttpSettings(enabled=is_enabled, port=0), carrier=Carrier.REACTOR) as broker:
                await broker.connect("c")
                await trio.testing.wait_all_tasks_blocked(0.01)
                statistics = trio.lowlevel.current_statistics()
                waiting[is_enabled] = statistics.io_statistics.tasks_waiting_read  # type: ignore[union-attr]

    mocked(main)
    assert waiting[True] == waiting[False]
