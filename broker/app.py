"""Puts the parts together: opens the nursery, starts in order, stops in reverse."""

import gc
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType

import trio
from noctule.config.settings import Carrier, ListenerSettings, Settings
from noctule.core.authentication import AuthenticationMethod
from noctule.core.origin import Origin
from noctule.core.state import State, make_state
from noctule.handlers.connection import last_packet
from noctule.handlers.dispatch import Dispatcher
from noctule.net.clock import Clock
from noctule.net.listeners import Acceptor, open_listeners, url_of
from noctule.net.streams import Streams
from noctule.protocol.reason_codes import ReasonCode

HAS_REACTOR = sys.platform.startswith("linux")


class Broker:
    """One broker. ``run`` serves until ``stop`` is called or it is cancelled.

    ``authentication_methods``: those of enhanced authentication that clients may ask for; any other is refused.
    Two brokers fit in one process: nothing here is shared between them.
    """

    def __init__(
        self, settings: Settings | None = None, *, authentication_methods: Iterable[AuthenticationMethod] = ()
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self.state: State = make_state(self.settings, authentication_methods)
        #: The addresses that are listened on, as URLs; filled by ``run`` before it is ready.
        self.urls: tuple[str, ...] = ()
        self._dispatcher = Dispatcher(self.state)
        self._clock = Clock(self.state, self._dispatcher)
        self._streams = Streams(self.state, self._dispatcher, self._clock)
        self._stop_asked = trio.Event()
        self._server_reference: str | None = None

    @property
    def carrier(self) -> Carrier:
        """How plain TCP connections are carried here."""
        if self.settings.carrier is not None:
            return self.settings.carrier
        return Carrier.REACTOR if HAS_REACTOR else Carrier.STREAMS

    def stop(self, server_reference: str | None = None) -> None:
        """Ask ``run`` to stop: no new connections, DISCONNECT to those there are, then the end.

        ``server_reference`` sends clients of version 5 to another server (4.11): what it says is between the
        operator and the clients, by custom ``host:port``.
        """
        self._server_reference = server_reference
        self._stop_asked.set()

    async def serve_stream(self, stream: trio.abc.Stream, peer: str, origin: Origin | None = None) -> None:
        """Speak MQTT over one trio stream (while ``run`` runs), until either side ends it.

        Without an ``origin`` it counts as a connection to the first listener.
        """
        if origin is None:
            listeners = self.settings.listeners
            origin = Origin(listeners[0] if listeners else ListenerSettings())
        await self._streams.serve(stream, peer, origin)

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and serve. ``task_status`` is told the URLs when every listener is open.

        ListenError where an address cannot be listened on: nothing is left open then.
        """
        listening: list[tuple[socket.socket, ListenerSettings]] = []
        try:
            for listener in self.settings.listeners:
                listening += [(bound, listener) for bound in await open_listeners(listener)]
            self.urls = tuple(url_of(bound) for bound, _ in listening)
            async with trio.open_nursery() as connections:
                connections.start_soon(self._clock.run)
                self._dispatcher.decisions.wait_in(connections, self._clock)
                accept = self._acceptance(connections)
                async with trio.open_nursery() as accepting:
                    for bound, listener in listening:
                        accepting.start_soon(accept, bound, listener)
                    task_status.started(self.urls)
                    await self._stop_asked.wait()
                    accepting.cancel_scope.cancel()
                # Who is told to go and comes back at once is refused, and can try another broker.
                for bound, _ in listening:
                    bound.close()
                await self._end_links()
                connections.cancel_scope.cancel()
        finally:
            for bound, _ in listening:
                bound.close()
            for link in list(self.state.links):
                link.close()
            self.state.plane.close()

    def _acceptance(self, connections: trio.Nursery) -> Callable[[socket.socket, ListenerSettings], Awaitable[None]]:
        """What accepts from a listening socket until it is cancelled; the connections live on in their nursery."""
        if self.carrier is Carrier.REACTOR:
            from noctule.net.pump import Pump

            pump = Pump(self.state, self._dispatcher, self._clock, self._streams)
            connections.start_soon(pump.run)
            return pump.accept

        def adopt(connected: socket.socket, peer: str, origin: Origin) -> None:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
            connections.start_soon(self._streams.serve, stream, peer, origin)

        return lambda listening, listener: Acceptor(listening, listener, adopt).run()

    async def _end_links(self) -> None:
        """Send DISCONNECT 0x8B to whom it can be told, flush, and wait a bounded time until they are gone."""
        state = self.state
        state.is_stopping = True
        self._clock.begin_turn()
        reference = self._server_reference
        reason_code = ReasonCode.SERVER_SHUTTING_DOWN if reference is None else ReasonCode.USE_ANOTHER_SERVER
        for link in list(state.links):
            link.end(last_packet(link, reason_code, server_reference=reference))
            state.plane.deadlines.schedule(link, state.plane.now + state.settings.limits.end_timeout_s)
        self._clock.end_turn()
        all_gone = trio.Event()
        state.when_no_links = all_gone.set
        if state.links:
            with trio.move_on_after(state.settings.limits.stop_timeout_s):
                await all_gone.wait()


class QuietCollector:
    """While it is entered, Python's cyclic collector seldom runs.

    Links, sessions and messages hold no cycles and are not its business; with thousands of them each pass
    over what is left would still be felt as a pause. For a process that does nothing but run a broker.
    """

    def __enter__(self) -> None:
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()
