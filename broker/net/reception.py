"""The listeners of one broker: opened, served by a task for each socket, and changed while the broker runs."""

import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import trio
from noctule.config.settings import ListenerSettings
from noctule.core.origin import Certificate, Origin
from noctule.hooks.answers import PluginError
from noctule.hooks.transports import Transport
from noctule.net.certificate_watch import CertificateWatch
from noctule.net.entrance import Entrance
from noctule.net.errors import ListenError
from noctule.net.listeners import Listening, open_listeners

_logger = logging.getLogger("noctule.net")

#: Accepts from a listening socket, by the rules of an entrance, until it is cancelled.
Accept = Callable[[socket.socket, Entrance], Awaitable[None]]

#: Speaks MQTT over a stream of a plugin's transport: stream, peer, origin.
ServeOrigin = Callable[[trio.abc.Stream, str, Origin], Awaitable[None]]

#: What a listener is known by: its name, and which one of this name it is.
_Key = tuple[str, int]


@dataclass(slots=True)
class _Listener:
    """One listener that is open."""

    entrance: Entrance
    listening: list[Listening]

    #: How clients name it, where a transport of a plugin serves it.
    urls: tuple[str, ...] = ()

    #: Of the tasks that accept from it.
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def close(self) -> None:
        """Accept no more."""
        self.scope.cancel()
        for bound in self.listening:
            bound.close()


@dataclass(frozen=True, slots=True)
class Changes:
    """Listeners that are ready to be put into effect, or to be given up."""

    #: All that there are to be, in their order; those that are new are open already.
    listeners: dict[_Key, _Listener]

    #: Which of them are new, or have other settings than before.
    new: tuple[_Key, ...]
    changed: Mapping[_Key, Entrance]


class Reception:
    """``open`` first, then ``serve`` for as long as connections are wanted; ``close`` whatever has happened."""

    def __init__(self, transports: Mapping[str, Transport], serve_stream: ServeOrigin) -> None:
        self._transports = transports
        self._serve_stream = serve_stream
        self._listeners: dict[_Key, _Listener] = {}
        self._nursery: trio.Nursery | None = None
        self._accept: Accept | None = None
        self.certificates = CertificateWatch()

    @property
    def urls(self) -> tuple[str, ...]:
        """How clients name what is listened on."""
        return tuple(url for url, _ in self.listening)

    @property
    def listening(self) -> tuple[tuple[str, ListenerSettings], ...]:
        """Each of ``urls`` with the settings of its listener."""
        return tuple(
            (url, listener.entrance.settings)
            for listener in self._listeners.values()
            for url in (*(bound.url for bound in listener.listening), *listener.urls)
        )

    async def open(self, listeners: Iterable[ListenerSettings]) -> None:
        """Open every listener; ListenError where one cannot be had, and then none is open."""
        self._listeners = (await self.prepare(listeners)).listeners
        self._watch_certificates()

    async def serve(self, accept: Accept, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept until cancelled; ``task_status`` is told when transports of plugins listen too.

        ListenError where one of these cannot.
        """
        self._accept = accept
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for listener in self._listeners.values():
                if listener.entrance.settings.transport:
                    await self._start_transport(listener)
                else:
                    self._start(listener)
            task_status.started()
            await trio.sleep_forever()

    async def _start_transport(self, listener: _Listener) -> None:
        """Have a plugin's transport serve the listener. ListenError where it cannot."""
        assert self._nursery is not None  # noqa: S101
        name = listener.entrance.settings.name
        try:
            listener.urls = tuple(await self._nursery.start(self._serve_by_transport, listener))
        except (OSError, PluginError) as error:
            raise ListenError(f"cannot listen on {name}: {error}") from None

    async def _serve_by_transport(
        self, listener: _Listener, task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        settings = listener.entrance.settings

        async def serve(
            stream: trio.abc.Stream,
            peer: str,
            *,
            address: str = "",
            user_name: str | None = None,
            certificate: Certificate | None = None,
        ) -> None:
            await self._serve_stream(stream, peer, Origin(settings, address, user_name, certificate))

        with listener.scope:
            await self._transports[settings.transport].serve_listener(settings, serve, task_status)

    def _start(self, listener: _Listener) -> None:
        assert self._nursery is not None  # noqa: S101
        self._nursery.start_soon(self._accept_from, listener)

    async def _accept_from(self, listener: _Listener) -> None:
        """Accept from every socket of a listener, by the rules that it has now, until its scope is cancelled."""
        assert self._accept is not None  # noqa: S101
        with listener.scope:
            async with trio.open_nursery() as nursery:
                for bound in listener.listening:
                    nursery.start_soon(self._accept, bound.socket, listener.entrance)

    async def prepare(self, listeners: Iterable[ListenerSettings]) -> Changes:
        """Open what is new and read what has changed; ListenError where that cannot be, and then nothing is open that
        was not before. Nobody is let in or kept out by it yet."""
        wanted: dict[_Key, _Listener] = {}
        changed: dict[_Key, Entrance] = {}
        new: list[_Key] = []
        try:
            for settings in listeners:
                key = (settings.name, sum(name == settings.name for name, _ in wanted))
                known = self._listeners.get(key)
                if settings.transport and settings.transport not in self._transports:
                    there_are = ", ".join(sorted(self._transports)) or "none"
                    raise ListenError(  # noqa: TRY301 what is open is closed below
                        f"no plugin has a transport {settings.transport}; there are {there_are}"
                    )
                if known is None:
                    entrance = Entrance(settings)
                    wanted[key] = _Listener(entrance, [] if settings.transport else await open_listeners(settings))
                    new.append(key)
                else:
                    wanted[key] = known
                    if known.entrance.settings != settings:
                        changed[key] = Entrance(settings)
        except BaseException:
            for key in new:
                wanted[key].close()
            raise
        return Changes(wanted, tuple(new), changed)

    def give_up(self, changes: Changes) -> None:
        """Close again what was opened for changes that are not to be."""
        for key in changes.new:
            changes.listeners[key].close()

    def put_into_effect(self, changes: Changes) -> None:
        """Listen as prepared: who is connected stays."""
        for key, listener in self._listeners.items():
            if key not in changes.listeners:
                listener.close()
                _logger.info("No longer listening on %s", ", ".join(bound.url for bound in listener.listening))
        self._listeners = changes.listeners
        for key, entrance in changes.changed.items():
            listener = self._listeners[key]
            listener.scope.cancel()
            listener.entrance = entrance
            listener.scope = trio.CancelScope()
            self._start_now(listener)
        for key in changes.new:
            self._start_now(self._listeners[key])
            _logger.info("Listening on %s", ", ".join(bound.url for bound in self._listeners[key].listening))
        self._watch_certificates()

    def _start_now(self, listener: _Listener) -> None:
        """While connections are accepted already."""
        assert self._nursery is not None  # noqa: S101
        if listener.entrance.settings.transport:
            self._nursery.start_soon(self._start_transport_late, listener)
        else:
            self._start(listener)

    async def _start_transport_late(self, listener: _Listener) -> None:
        """After a reload nothing can be refused any more: what cannot listen is logged."""
        try:
            await self._start_transport(listener)
        except ListenError as error:
            _logger.error("%s", error)

    def _watch_certificates(self) -> None:
        self.certificates.watch(
            [
                (listener.entrance.settings.name, listener.entrance.tls)
                for listener in self._listeners.values()
                if listener.entrance.tls is not None
            ]
        )

    def close(self) -> None:
        """Close every listener. Connections that have been accepted stay."""
        for listener in self._listeners.values():
            listener.close()
