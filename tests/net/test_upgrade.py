"""The HTTP request that asks for WebSocket: a table of requests, cut anywhere, and anything at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule.config.settings import WebSocketSettings
from noctule.net.networks import Networks
from noctule.net.upgrade import Outcome, UpgradeRules, Upgrading

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of this key: RFC 6455, 1.3


def rules(is_secure: bool = False, trusted: tuple[str, ...] = (), **fields: object) -> UpgradeRules:
    return UpgradeRules(
        WebSocketSettings(**fields),  # type: ignore[arg-type]
        is_secure,
        Networks(trusted),
        lambda address: True,
        lambda address: "too many",
    )


def request(first: str = "GET / HTTP/1.1", *lines: str, without: str = "", **headers: str) -> bytes:
    """A request that is granted, but for what is said otherwise; ``_`` in a header's name stands for ``-``."""
    said = {
        "Host": "broker.example:9001",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    said.update({name.replace("_", "-"): value for name, value in headers.items()})
    said.pop(without, None)
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in said.items()), *lines, "", ""]).encode("latin-1")


GOOD: dict[str, tuple[bytes, dict[str, object], bytes]] = {
    "as it is": (request(), {}, b"mqtt"),
    "any path": (request("GET /mqtt?user=x HTTP/1.1"), {}, b"mqtt"),
    "the path": (request("GET /mqtt?user=x HTTP/1.1"), {"path": "/mqtt"}, b"mqtt"),
    "MQTT 3.1 of MQTT.js": (request(Sec_WebSocket_Protocol="mqttv3.1"), {}, b"mqttv3.1"),
    "several protocols": (request(Sec_WebSocket_Protocol="x, mqttv3.1,mqtt"), {}, b"mqtt"),
    "protocols in two lines": (
        request("GET / HTTP/1.1", "sec-websocket-protocol: mqtt", Sec_WebSocket_Protocol="x"),
        {},
        b"mqtt",
    ),
    "words in another case": (request(Upgrade="WebSocket", Connection="keep-alive, UPGRADE"), {}, b"mqtt"),
    "an extension, which is not used": (request(Sec_WebSocket_Extensions="permessage-deflate"), {}, b"mqtt"),
    "a site": (request(Origin="https://a.example"), {}, b"mqtt"),
    "a site that is allowed": (request(Origin="https://a.example"), {"origins": ("https://a.example",)}, b"mqtt"),
    "no browser, which names no site": (request(), {"origins": ("https://a.example",)}, b"mqtt"),
    "a page without a site that is allowed": (request(Origin="null"), {"origins": ("null",)}, b"mqtt"),
    "a body of nothing": (request(Content_Length="0"), {}, b"mqtt"),
}

#: Name: request, settings, status, a part of what the log says; "" where it says nothing.
BAD: dict[str, tuple[bytes, dict[str, object], int, str]] = {
    "a browser's address bar": (request(without="Upgrade"), {}, 426, ""),
    "a health check": (b"GET /health HTTP/1.0\r\n\r\n", {}, 426, ""),
    "something to be posted": (request("POST / HTTP/1.1", without="Upgrade"), {}, 405, "MQTT over WebSocket"),
    "no key": (request(without="Sec-WebSocket-Key"), {}, 400, "Sec-WebSocket-Key"),
    "two keys": (request("GET / HTTP/1.1", f"sec-websocket-key: {KEY}"), {}, 400, "Sec-WebSocket-Key"),
    "a short key": (request(Sec_WebSocket_Key="c2hvcnQ="), {}, 400, "Sec-WebSocket-Key"),
    "a key that is none": (request(Sec_WebSocket_Key="*" * 24), {}, 400, "Sec-WebSocket-Key"),
    "another version": (request(Sec_WebSocket_Version="8"), {}, 426, "version 13"),
    "no sub-protocol": (request(without="Sec-WebSocket-Protocol"), {}, 400, "sub-protocol mqtt"),
    "another sub-protocol": (request(Sec_WebSocket_Protocol="stomp"), {}, 400, "sub-protocol mqtt"),
    "another path": (request("GET /mqttx HTTP/1.1"), {"path": "/mqtt"}, 404, "the path /mqtt"),
    "another site": (
        request(Origin="https://evil.example"),
        {"origins": ("https://a.example",)},
        403,
        "https://evil.example",
    ),
    "a longer name of the site": (
        request(Origin="https://a.example.evil.example"),
        {"origins": ("https://a.example",)},
        403,
        "may not",
    ),
    "the site with another scheme": (
        request(Origin="http://a.example"),
        {"origins": ("https://a.example",)},
        403,
        "may not",
    ),
    "two sites": (
        request("GET / HTTP/1.1", "origin: https://a.example", Origin="https://evil.example"),
        {"origins": ("https://a.example",)},
        403,
        "may not",
    ),
    "a page without a site": (request(Origin="null"), {"origins": ("https://a.example",)}, 403, "null"),
    "not asked to upgrade the connection": (request(Connection="keep-alive"), {}, 400, "Connection: Upgrade"),
    "HTTP 1.0": (request("GET / HTTP/1.0"), {}, 400, "HTTP/1.1"),
    "another method": (request("PUT / HTTP/1.1"), {}, 400, "GET"),
    "no host": (request(without="Host"), {}, 400, "Host"),
    "two hosts": (request("GET / HTTP/1.1", "host: other"), {}, 400, "Host"),
    "a body": (request(Content_Length="5") + b"hello", {}, 400, "a body"),
    "two lengths": (request("GET / HTTP/1.1", "content-length: 0", Content_Length="5"), {}, 400, "Content-Length"),
    "a body in chunks": (request(Transfer_Encoding="chunked") + b"0\r\n\r\n", {}, 400, "a body"),
    "a blank before the colon": (request("GET / HTTP/1.1", "X-A : b"), {}, 400, "not WebSocket"),
    "a header in two lines": (request("GET / HTTP/1.1", "X-A: b", "no colon"), {}, 400, "not WebSocket"),
    "a null character": (request("GET / HTTP/1.1", "X-A: b\0c"), {}, 400, "not WebSocket"),
    "no HTTP": (b"hello\r\n\r\n", {}, 400, "not WebSocket"),
    "a header that is too large": (
        request("GET / HTTP/1.1", f"X-A: {'a' * 400}"),
        {"header_max_bytes": 512},
        431,
        "",
    ),
    "headers that never end": (
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 3_000,
        {},
        431,
        "not WebSocket",
    ),
}


def outcome_of(pieces: list[bytes], rule: UpgradeRules) -> Outcome | None:
    upgrading = Upgrading(rule)
    for piece in pieces:
        outcome = upgrading.received(piece, "127.0.0.1")
        if outcome is not None:
            return outcome
    return None


def cuts(data: bytes) -> list[list[bytes]]:
    sizes = (len(data), 1) if len(data) < 1_000 else (len(data), 501)
    return [[data[at : at + size] for at in range(0, len(data), size)] for size in sizes]


@pytest.mark.parametrize("name", GOOD)
def test_request(name: str) -> None:
    data, fields, sub_protocol = GOOD[name]
    for pieces in cuts(data):
        outcome = outcome_of(pieces, rules(**fields))
        assert outcome is not None
        assert outcome.is_accepted
        lines = outcome.answer.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: " + ACCEPT in lines
        assert b"Sec-WebSocket-Protocol: " + sub_protocol in lines
        assert b"xtensions" not in outcome.answer
        assert outcome.rest == b""
    outcome = outcome_of([data + b"\x82\x81\0\0\0\0\x10"], rules(**fields))
    assert outcome is not None
    assert outcome.rest == b"\x82\x81\0\0\0\0\x10"


@pytest.mark.parametrize("name", BAD)
def test_bad_request(name: str) -> None:
    data, fields, status, fault = BAD[name]
    for pieces in cuts(data):
        outcome = outcome_of(pieces, rules(**fields))
        assert outcome is not None
        assert not outcome.is_accepted
        assert outcome.answer.startswith(f"HTTP/1.1 {status} ".encode())
        head, _, body = outcome.answer.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert b"Connection: close" in head
        assert fault in outcome.fault
        assert bool(outcome.fault) is (name not in ("a browser's address bar", "a health check"))


@pytest.mark.parametrize(("is_secure", "url"), [(False, "ws"), (True, "wss")])
def test_the_page_says_what_to_do(is_secure: bool, url: str) -> None:
    outcome = outcome_of([b"GET /mqtt HTTP/1.1\r\nHost: broker.example:9001\r\n\r\n"], rules(is_secure))
    assert outcome is not None
    assert f"mqtt.connect('{url}://broker.example:9001/mqtt')".encode() in outcome.answer
    assert b"text/plain" in outcome.answer  # what a stranger wrote into Host is no markup


@pytest.mark.parametrize(
    ("data", "hint"), [(b"\x16\x03\x01\x02\x00", "this looks like TLS"), (b"\x10\x0d\x00\x04MQTT", "looks like MQTT")]
)
def test_what_is_no_http(data: bytes, hint: str) -> None:
    outcome = outcome_of([data], rules())
    assert outcome is not None
    assert outcome.answer == b""
    assert hint in outcome.fault


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_any_bytes(pieces: list[bytes]) -> None:
    outcome = outcome_of(pieces, rules())
    assert outcome is None or not outcome.is_accepted


@given(st.data())
def test_a_good_request_with_something_changed(data: st.DataObject) -> None:
    changed = bytearray(request(Origin="https://a.example", X_Forwarded_For="192.0.2.1"))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    outcome = outcome_of([bytes(changed)], rules(trusted=("127.0.0.1",), origins=("https://a.example",)))
    if outcome is not None and outcome.is_accepted:
        assert b"\r\n\r\n" not in outcome.answer[:-4]
