"""A small HTTP/1.1 server on trio and h11: few connections, small requests, everything bounded and under a deadline."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import h11
import trio
from noctule.handlers.connection import escaped

#: The head of a request, in bytes, and the longest target in it.
HEAD_MAX_BYTES: Final = 16_384
TARGET_MAX_BYTES: Final = 4_096

#: The body of a request.
BODY_MAX_BYTES: Final = 16_384

#: From the beginning of a connection, or from the last answer, until the next request is there. Short: as long as a
#: connection is open, the data plane lingers less.
REQUEST_TIMEOUT_S: Final = 10.0

#: For making an answer, and until the other side has taken it.
ANSWER_TIMEOUT_S: Final = 30.0

#: Requests of one connection.
REQUESTS_MAX: Final = 1_000

_RECEIVE_BYTES: Final = 8_192

#: What browsers are told: that nothing of this is a page of ours to be framed, sniffed or cached.
SECURITY_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)

_logger = logging.getLogger("noctule.http")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole."""

    method: str

    #: Path and query, as they came.
    target: str

    #: By lower-case names; of one that comes twice both values, with a comma.
    headers: Mapping[str, str]

    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back."""

    status: int
    content_type: str

    #: The whole of it, or pieces as they are made.
    body: bytes | AsyncIterator[bytes]

    headers: tuple[tuple[str, str], ...] = field(default=())


Handler = Callable[[Request], Awaitable[Answer]]


class RequestError(Exception):
    """A request that is not answered as asked: ``status`` and a text for whoever asks."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def text_answer(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """A line of plain text."""
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode(), headers)


class HttpServer:
    """Serves streams with one handler; ``connections_max`` at one time."""

    def __init__(self, handler: Handler, connections_max: Callable[[], int]) -> None:
        self._handler = handler
        self._connections_max = connections_max
        #: How many are served now.
        self.count = 0

    async def serve(self, stream: trio.abc.Stream, peer: str) -> None:
        """Answer the requests on one stream until either side ends it; it is closed afterwards."""
        if self.count >= self._connections_max():
            await trio.aclose_forcefully(stream)
            return
        self.count += 1
        try:
            await _Connection(stream, peer, self._handler).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # whoever asked has gone
        except Exception:
            _logger.exception("An error of the broker's while it answers %s", escaped(peer))
        finally:
            self.count -= 1
            await trio.aclose_forcefully(stream)


class _Connection:
    """One stream and what h11 knows of it."""

    def __init__(self, stream: trio.abc.Stream, peer: str, handler: Handler) -> None:
        self._stream = stream
        self._peer = peer
        self._handler = handler
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)

    async def run(self) -> None:
        for _ in range(REQUESTS_MAX):
            request: Request | None = None
            try:
                with trio.move_on_after(REQUEST_TIMEOUT_S) as waiting:
                    request = await self._request()
                if waiting.cancelled_caught or request is None:
                    return  # silent, too slow, or gone: there is nobody to tell
                answer = await self._answered(request)
            except h11.RemoteProtocolError as error:
                answer = text_answer(error.error_status_hint, f"bad request: {error}")
            except RequestError as error:
                answer = text_answer(error.status, str(error))
            with trio.move_on_after(ANSWER_TIMEOUT_S) as sending:
                await self._send(answer, is_head=request is not None and request.method == "HEAD")
            if sending.cancelled_caught or self._http.our_state is not h11.DONE:
                return
            if self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _answered(self, request: Request) -> Answer:
        answer: Answer | None = None
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            try:
                answer = await self._handler(request)
            except RequestError as error:
                answer = text_answer(error.status, str(error))
            except Exception:
                _logger.exception("An error of the broker's while it answers %s", escaped(request.target))
                answer = text_answer(500, "an error of the broker's; its log has it")
        return text_answer(503, "this takes too long") if answer is None else answer

    async def _request(self) -> Request | None:
        """The next request; None where the other side has closed. RemoteProtocolError, RequestError."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        if head.http_version not in (b"1.0", b"1.1"):
            raise RequestError(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
        if len(head.target) > TARGET_MAX_BYTES:
            raise RequestError(414, "the target is too long")
        headers: dict[str, str] = {}
        for name_bytes, value_bytes in head.headers:
            name, value = name_bytes.decode("ascii"), value_bytes.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if self._http.they_are_waiting_for_100_continue:
            await self._stream.send_all(self._bytes_of(h11.InformationalResponse(status_code=100, headers=[])))
        body = bytearray()
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                return None
            body += event.data
            if len(body) > BODY_MAX_BYTES:
                raise RequestError(413, "the body is too large")
        return Request(head.method.decode("ascii"), head.target.decode("ascii"), headers, bytes(body), self._peer)

    async def _next_event(self) -> h11.Event | None:
        """What has come; None at the end."""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await self._stream.receive_some(_RECEIVE_BYTES)))
                continue
            if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None
            assert isinstance(event, h11.Event)  # noqa: S101
            return event

    def _bytes_of(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    async def _send(self, answer: Answer, *, is_head: bool) -> None:
        """Send an answer; of one to HEAD the head alone."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [("Content-Type", answer.content_type), *SECURITY_HEADERS, *answer.headers]
        if isinstance(answer.body, bytes):
            headers.append(("Content-Length", str(len(answer.body))))
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))  # the rest of the request is not looked at
        head = self._bytes_of(h11.Response(status_code=answer.status, headers=headers, reason=b""))
        if isinstance(answer.body, bytes):
            data = head if is_head else head + self._bytes_of(h11.Data(data=answer.body))
            await self._stream.send_all(data + self._bytes_of(h11.EndOfMessage()))
            return
        await self._stream.send_all(head)
        pieces = answer.body
        try:
            if not is_head:
                async for piece in pieces:
                    await self._stream.send_all(self._bytes_of(h11.Data(data=piece)))
        finally:
            if isinstance(pieces, AsyncGenerator):
                with trio.CancelScope(shield=True):
                    await pieces.aclose()
        if tail := self._bytes_of(h11.EndOfMessage()):
            await self._stream.send_all(tail)
