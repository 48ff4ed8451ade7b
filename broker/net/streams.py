"""Connections over any trio stream: a task each, which reads, and one beside it, which writes.

For what has no plain socket to give to the reactor (TLS, WebSocket), for systems without epoll, and for
tests over streams in memory. The protocol is the link's, the same as everywhere.
"""

import logging

import trio
from noctule._speedups.link import CLOSED, ENDING, Link
from noctule.core.origin import Origin
from noctule.core.state import State
from noctule.handlers.dispatch import Dispatcher
from noctule.net.clock import Clock

_RECEIVE_BYTES = 65_536

_logger = logging.getLogger("noctule.net")


class Streams:
    """Carries trio streams; ``serve`` runs in a task of its own for each."""

    def __init__(self, state: State, dispatcher: Dispatcher, clock: Clock) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._clock = clock
        #: How many streams are served now.
        self.count = 0

    async def serve(self, stream: trio.abc.Stream, peer: str, origin: Origin) -> None:
        """Speak MQTT over the stream until either side ends it; the stream is closed afterwards."""
        state = self._state
        connection = _StreamConnection(stream)
        link = Link(state.router, self._dispatcher, peer, origin)
        link.wake = connection.wake
        self._clock.begin_turn()
        state.links.add(link)
        state.plane.deadlines.schedule(link, state.plane.now + state.settings.limits.connect_timeout_s)
        self._clock.reconsider()
        self.count += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, link, connection, nursery.cancel_scope)
                await self._read(link, connection)
                nursery.cancel_scope.cancel()
        except Exception:
            # Of the stream or of ours: it ends this connection, and no other.
            _logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
        finally:
            self.count -= 1
            self._lose(link, "the connection's task has ended")
            await trio.aclose_forcefully(stream)

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
                link.feed(data)
            except Exception:
                _logger.exception("An error of the broker's; it closes the connection of %s", link.peer)
                self._lose(link, "an error of the broker's")
            self._clock.end_turn()
            while link.state != CLOSED and (link.has_more or self._must_wait(link)):
                if self._must_wait(link):
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

    def _must_wait(self, link: Link) -> bool:
        """Whether no more is read for now: its answers pile up, or a packet waits for a decision or for the store."""
        return link.is_paused or link.is_stalled or link.pending_bytes > 2 * self._state.settings.limits.write_max_bytes

    async def _write(self, link: Link, connection: "_StreamConnection", scope: trio.CancelScope) -> None:
        """Send what the link has to send, whenever it wakes us."""
        while True:
            await connection.woken()
            while link.sendable_bytes:
                try:
                    await connection.stream.send_all(link.take_output())
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    self._lose(link, str(error) or "the connection broke")
                    break
                self._clock.begin_turn()
                link.output_sent()
                self._clock.end_turn()
                connection.progress()
            if link.state == ENDING and not link.pending_bytes:
                await self._finish(link, connection.stream)
            if link.state == CLOSED:
                # Whoever waits in receive_some or send_all is let go.
                scope.cancel()
                return

    async def _finish(self, link: Link, stream: trio.abc.Stream) -> None:
        """All is sent: say so and let the peer close, or close where the stream cannot say it."""
        if isinstance(stream, trio.abc.HalfCloseableStream):
            try:
                await stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                link.close()  # the peer has closed already
        else:
            link.close()


class _StreamConnection:
    """A stream with the events between its reader and its writer."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._wake = trio.Event()
        self._change = trio.Event()

    def wake(self) -> None:
        """The link has something to send, or has ended."""
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
