"""Connections over any trio stream: a task each, which reads, and one beside it, which writes.

For systems without epoll, for what has no socket to give to the reactor, and for tests over streams in memory. The
protocol is the link's, and TLS and WebSocket are its filter's, the same as everywhere.
"""

import contextlib
import logging
from collections.abc import Callable

import trio
from noctule._speedups.link import CLOSED, ENDING, Link
from noctule.core.origin import Origin
from noctule.core.state import State
from noctule.handlers.dispatch import Dispatcher
from noctule.net.clock import Clock
from noctule.net.filters import Filter
from noctule.protocol.reason_codes import ReasonCode

_RECEIVE_BYTES = 65_536

#: What a filter is given to encode at a time, as the reactor does it.
_ENCODE_BYTES = 65_535

_logger = logging.getLogger("noctule.net")


class Streams:
    """Carries trio streams; ``serve`` runs in a task of its own for each."""

    def __init__(self, state: State, dispatcher: Dispatcher, clock: Clock) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._clock = clock
        #: How many streams are served now.
        self.count = 0

    async def serve(
        self,
        stream: trio.abc.Stream,
        peer: str,
        origin: Origin,
        passing: Filter | None = None,
        on_release: Callable[[], object] | None = None,
    ) -> None:
        """Speak MQTT over the stream, through a filter if there is one, until either side ends it.

        The stream is closed afterwards, and ``on_release`` called.
        """
        state = self._state
        connection = _StreamConnection(stream, passing)
        link = Link(state.router, self._dispatcher, peer, origin)
        link.filter = passing
        link.wake = connection.wake
        self._clock.begin_turn()
        state.links.add(link)
        state.plane.deadlines.schedule(link, state.plane.now + state.settings.limits.connect_timeout_s)
        self._clock.reconsider()
        self.count += 1
        try:
            async with trio.open_nursery() as nursery:
                connection.carry(link, nursery.cancel_scope)
                nursery.start_soon(self._write, link, connection, nursery.cancel_scope)
                await self._read(link, connection)
                # A filter has something to say still, which the writer sends; nobody waits for long.
                nursery.cancel_scope.deadline = trio.current_time() + (
                    state.settings.limits.end_timeout_s if connection.has_last_words else 0
                )
        except Exception:
            # Of the stream or of ours: it ends this connection, and no other.
            _logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
        finally:
            self.count -= 1
            self._lose(link, "the connection's task has ended")
            try:
                await trio.aclose_forcefully(stream)
            finally:
                if on_release is not None:
                    on_release()

    def _lose(self, link: Link, cause: str) -> None:
        """The connection is gone, in a turn of its own."""
        if link.state == CLOSED:
            return
        self._clock.begin_turn()
        try:
            link.lose(cause)
        except Exception:
            _logger.exception("An error of the broker's while the connection of %s ends", link.peer)
        self._clock.end_turn()

    async def _read(self, link: Link, connection: "_StreamConnection") -> None:
        """Feed what comes until the stream ends or the link is closed."""
        while link.state != CLOSED:
            try:
                data = await connection.stream.receive_some(_RECEIVE_BYTES)
                cause = "the peer closed the connection"
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                data = b""
                cause = str(error) or "the connection broke"
            if not data:
                self._lose(link, cause)
                return
            self._clock.begin_turn()
            try:
                self._feed(link, connection, data)
            except Exception:
                _logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
                self._lose(link, "an error of the broker's")
            self._clock.end_turn()
            while link.state != CLOSED and (link.has_more or self._must_wait(link, connection)):
                if self._must_wait(link, connection):
                    await connection.changed()
                    continue
                await trio.lowlevel.checkpoint()
                self._clock.begin_turn()
                try:
                    link.go_on()
                except Exception:
                    _logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
                    self._lose(link, "an error of the broker's")
                self._clock.end_turn()

    def _must_wait(self, link: Link, connection: "_StreamConnection") -> bool:
        """Whether no more is read for now: its answers pile up, or a packet waits for a decision or for the store."""
        waiting_bytes = link.pending_bytes + len(connection.answers)
        return link.is_paused or link.is_stalled or waiting_bytes > 2 * self._state.settings.limits.write_max_bytes

    def _feed(self, link: Link, connection: "_StreamConnection", data: bytes | bytearray) -> None:
        """Feed what has come, through the filter, and have sent what the filter answers by itself."""
        passing = link.filter
        if passing is None:
            link.feed(data)
            return
        inner, answer, fault = passing.received(link, bytes(data))
        connection.passing = link.filter
        if answer:
            connection.answers += answer
            connection.wake()
        if inner:
            link.feed(inner)
        if fault is None or link.state == CLOSED:
            return
        if not fault:
            link.lose("the peer closed the connection")
        elif link.state == ENDING:
            link.close()
        else:
            self._dispatcher.violation(link, ReasonCode.PROTOCOL_ERROR, fault, "")

    async def _write(self, link: Link, connection: "_StreamConnection", scope: trio.CancelScope) -> None:
        """Send what the link has to send, whenever it wakes us."""
        while True:
            await connection.woken()
            while link.sendable_bytes or connection.answers:
                try:
                    # In one go: while it is sent there may be answers that have to stand behind it.
                    await connection.send_all(connection.take_answers() + connection.encoded(link.take_output()))
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    self._lose(link, str(error) or "the connection broke")
                    break
                self._clock.begin_turn()
                link.output_sent()
                self._clock.end_turn()
                connection.progress()
            if link.state == ENDING and not link.pending_bytes:
                await self._finish(link, connection)
            if link.state == CLOSED:
                if connection.has_last_words:
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await connection.send_end()
                # Whoever waits in receive_some is let go.
                scope.cancel()
                return

    async def _finish(self, link: Link, connection: "_StreamConnection") -> None:
        """All is sent: say so and let the peer close, or close where the stream cannot say it."""
        try:
            await connection.send_end()
            if isinstance(connection.stream, trio.abc.HalfCloseableStream):
                await connection.stream.send_eof()
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer has closed already
        link.close()


class _StreamConnection:
    """A stream with its filter, and the events between its reader and its writer."""

    def __init__(self, stream: trio.abc.Stream, passing: Filter | None) -> None:
        self.stream = stream
        #: The filter, also when the link has closed and has none any more.
        self.passing = passing
        #: What the filter wants sent by itself, ahead of what is encoded later.
        self.answers = b""
        #: Within ``send_all``, or cancelled there: what has been sent may end anywhere.
        self._is_sending = False
        self._link: Link | None = None
        self._scope: trio.CancelScope | None = None
        self._wake = trio.Event()
        self._change = trio.Event()

    def wake(self) -> None:
        """The link has something to send, or has ended."""
        if self._is_sending and self._scope is not None and self._link is not None and self._link.state == CLOSED:
            self._scope.cancel()  # the peer takes nothing, and nobody waits for it any more
        self._wake.set()
        self._change.set()

    def progress(self) -> None:
        """Something has been sent."""
        self._change.set()

    async def woken(self) -> None:
        """Return once ``wake`` has been called since the last time."""
        await self._wake.wait()
        self._wake = trio.Event()

    async def changed(self) -> None:
        """Return at the next ``wake`` or ``progress``."""
        self._change = trio.Event()
        await self._change.wait()

    def carry(self, link: Link, scope: trio.CancelScope) -> None:
        """The tasks of this link run in the scope."""
        self._link = link
        self._scope = scope

    @property
    def has_last_words(self) -> bool:
        """Whether a filter may say something still to a peer whose link is closed."""
        return self.passing is not None and not self._is_sending

    def take_answers(self) -> bytes:
        """What the filter wants sent, which is forgotten."""
        answers, self.answers = self.answers, b""
        return answers

    def encoded(self, data: bytes) -> bytes:
        """The link's bytes as the filter makes them. They have to be sent before anything else is encoded."""
        passing = self.passing
        if passing is None:
            return data
        return b"".join(passing.to_send(data[at : at + _ENCODE_BYTES]) for at in range(0, len(data), _ENCODE_BYTES))

    async def send_all(self, data: bytes) -> None:
        """Send through the stream."""
        if data:
            self._is_sending = True
            await self.stream.send_all(data)
            self._is_sending = False

    async def send_end(self) -> None:
        """Send what says that nothing more comes, behind what the filter wants sent still."""
        if self.passing is not None:
            await self.send_all(self.take_answers() + self.passing.end())
