"""The HTTP request that asks for WebSocket (RFC 6455, 4.2): read by h11, judged, answered."""

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import h11
from noctule.config.settings import WebSocketSettings
from noctule.net.networks import Networks

_KEY_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16

#: Sub-protocols, the one that is chosen first [MQTT-6.0.0-3] [MQTT-6.0.0-4]; the second is what MQTT.js asks for where
#: it speaks MQTT 3.1.
_SUB_PROTOCOLS: Final = ("mqtt", "mqttv3.1")

_PAGE: Final = (
    "This is Noctule, an MQTT broker. On this port it speaks MQTT over WebSocket, which a web browser's address bar "
    "does not.\nConnect an MQTT client to it, for example with MQTT.js: mqtt.connect('{url}')\n"
)


@dataclass(frozen=True, slots=True)
class UpgradeRules:
    """Who is let through, on one listener and of one connection."""

    settings: WebSocketSettings
    is_secure: bool

    #: The proxies whose X-Forwarded-For is believed.
    trusted: Networks

    #: Counts the connection at the address that a proxy tells; False where it is one too many.
    come_from: Callable[[str], bool]

    #: Why it is, for the log.
    too_many_from: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request."""

    answer: bytes
    is_accepted: bool = False

    #: For the log, where the request is refused; empty where nobody did anything wrong.
    fault: str = ""

    #: Who connects, where a proxy that is trusted tells it.
    address: str | None = None

    #: What came behind the request.
    rest: bytes = b""

    #: What is answered in place of ``answer`` to whoever may not come from this address.
    refusal: bytes = field(default=b"", repr=False)


class _RefusedError(Exception):
    """A request that cannot be granted, with the answer to it."""

    def __init__(self, status: HTTPStatus, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class _NoWebSocketError(Exception):
    """A request for something else: a browser's, a health check's."""


class Upgrading:
    """One connection as long as it speaks HTTP."""

    __slots__ = ("_http", "_size", "rules")

    def __init__(self, rules: UpgradeRules) -> None:
        self.rules = rules
        self._size = 0
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=rules.settings.header_max_bytes)

    def received(self, data: bytes, peer: str) -> Outcome | None:
        """Bytes of the request; None as long as it is not whole. ``peer``: the address that the connection is from."""
        if data[:1] == b"\x16":
            return Outcome(b"", fault="this looks like TLS, which is not spoken on this port")
        if data[:1] == b"\x10":
            return Outcome(b"", fault="this looks like MQTT without WebSocket, which is not spoken on this port")
        try:
            self._size += len(data)
            self._http.receive_data(data)
            request = self._http.next_event()
            if request is h11.NEED_DATA:
                return None
            if isinstance(request, h11.Request):
                # h11 looks at the limit where a request is not whole.
                self._check_size(self._size - len(self._http.trailing_data[0]))
                return self._judge(request, peer)
            return Outcome(b"", fault="not WebSocket: the request ends before it is whole")
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            return Outcome(_response(status, f"{status.phrase}\n"), fault=f"not WebSocket: {error}")
        except _RefusedError as error:
            return Outcome(_response(error.status, f"{error}\n", error.headers), fault=f"no WebSocket: {error}")
        except _NoWebSocketError as error:
            page = _PAGE.format(url=error)
            return Outcome(_response(HTTPStatus.UPGRADE_REQUIRED, page, (("Upgrade", "websocket"),)))

    def _check_size(self, size: int) -> None:
        if size > self.rules.settings.header_max_bytes:
            raise _RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "a request that is too large")

    def _judge(self, request: h11.Request, peer: str) -> Outcome:
        headers = _headers_of(request)
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        if b"websocket" not in _tokens(headers.get(b"upgrade")):
            self._refuse_body(headers)
            if request.method not in (b"GET", b"HEAD"):
                raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "this port speaks MQTT over WebSocket")
            host = headers.get(b"host", [b"HOST"])[0].decode("ascii", "replace")
            raise _NoWebSocketError(f"{'wss' if self.rules.is_secure else 'ws'}://{host}{path}")
        self._refuse_body(headers)
        if request.method != b"GET" or request.http_version != b"1.1":
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "expected GET and HTTP/1.1")
        if b"upgrade" not in _tokens(headers.get(b"connection")):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "expected the header Connection: Upgrade")
        if headers.get(b"sec-websocket-version") != [b"13"]:
            raise _RefusedError(
                HTTPStatus.UPGRADE_REQUIRED, "expected version 13 of WebSocket", (("Sec-WebSocket-Version", "13"),)
            )
        settings = self.rules.settings
        if settings.path and path != settings.path:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"expected the path {settings.path}")
        self._check_origin(headers)
        key = _key_of(headers)
        sub_protocol = _sub_protocol_of(headers)
        accept = base64.b64encode(hashlib.sha1(key + _KEY_GUID, usedforsecurity=False).digest())
        answer = self._http.send(
            h11.InformationalResponse(
                status_code=101,
                reason=b"Switching Protocols",
                headers=[
                    (b"Upgrade", b"websocket"),
                    (b"Connection", b"Upgrade"),
                    (b"Sec-WebSocket-Accept", accept),
                    (b"Sec-WebSocket-Protocol", sub_protocol),
                ],
            )
        )
        return Outcome(
            answer or b"",
            is_accepted=True,
            address=self._forwarded_for(headers, peer),
            rest=self._http.trailing_data[0],
            refusal=_response(HTTPStatus.TOO_MANY_REQUESTS, "too many connections\n"),
        )

    def _refuse_body(self, headers: dict[bytes, list[bytes]]) -> None:
        """What stands behind a request is WebSocket: a body would be read as the one by us, as the other by a proxy."""
        if b"transfer-encoding" in headers or headers.get(b"content-length", [b"0"]) != [b"0"]:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "a request with a body")

    def _check_origin(self, headers: dict[bytes, list[bytes]]) -> None:
        """Browsers say which site a page is from; other clients say nothing, or what they like."""
        origins = headers.get(b"origin", [])
        allowed = [origin.lower() for origin in self.rules.settings.origins]
        if allowed and origins and (len(origins) > 1 or origins[0].decode("latin-1").lower() not in allowed):
            raise _RefusedError(
                HTTPStatus.FORBIDDEN, f"pages of {ascii(origins[0].decode('latin-1'))[1:-1]} may not connect here"
            )

    def _forwarded_for(self, headers: dict[bytes, list[bytes]], peer: str) -> str | None:
        """The nearest address that is no proxy of ours: what stands left of it may be anybody's invention."""
        trusted = self.rules.trusted
        said = b",".join(headers.get(b"x-forwarded-for", []))
        if not said or peer not in trusted:
            return None
        nearest: str | None = None
        for one in reversed(said.split(b",")):
            text = one.strip().decode("latin-1")
            try:
                nearest = str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
            except ValueError:
                raise _RefusedError(
                    HTTPStatus.BAD_REQUEST, f"X-Forwarded-For has {ascii(text)[:60]} in it, which is no address"
                ) from None
            if nearest not in trusted:
                break
        return nearest


def _headers_of(request: h11.Request) -> dict[bytes, list[bytes]]:
    """By name in lower case: every value of it, in order."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        found.setdefault(name, []).append(value)
    return found


def _tokens(values: list[bytes] | None) -> set[bytes]:
    """The words of a header that is a list, in lower case."""
    return {one.strip().lower() for value in values or () for one in value.split(b",")}


def _key_of(headers: dict[bytes, list[bytes]]) -> bytes:
    keys = headers.get(b"sec-websocket-key", [])
    try:
        if len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == _KEY_BYTES:
            return keys[0]
    except binascii.Error:
        pass
    raise _RefusedError(HTTPStatus.BAD_REQUEST, "expected one Sec-WebSocket-Key of 16 bytes")


def _sub_protocol_of(headers: dict[bytes, list[bytes]]) -> bytes:
    """The first of ours that the client offers."""
    offered = {one.strip() for value in headers.get(b"sec-websocket-protocol", ()) for one in value.split(b",")}
    for name in _SUB_PROTOCOLS:
        if name.encode() in offered:
            return name.encode()
    raise _RefusedError(HTTPStatus.BAD_REQUEST, "expected the sub-protocol mqtt (Sec-WebSocket-Protocol)")


def _response(status: HTTPStatus, text: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A whole answer behind which the connection ends."""
    body = text.encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
