"""The listeners of one broker: opened, served by a task for each socket, and changed while the broker runs."""

import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import trio
from noctule.config.settings import ListenerSettings
from noctule.net.certificate_watch import CertificateWatch
from noctule.net.entrance import Entrance
from noctule.net.listeners import Listening, open_listeners

_logger = logging.getLogger("noctule.net")

#: Accepts from a listening socket, by the rules of an entrance, until it is cancelled.
Accept = Callable[[socket.socket, Entrance], Awaitable[None]]

#: What a listener is known by: its name, and which one of this name it is.
_Key = tuple[str, int]


@dataclass(slots=True)
class _Listener:
    """One listener that is open."""

    entrance: Entrance
    listening: list[Listening]

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

    def __init__(self) -> None:
        self._listeners: dict[_Key, _Listener] = {}
        self._nursery: trio.Nursery | None = None
        self._accept: Accept | None = None
        self.certificates = CertificateWatch()

    @property
    def urls(self) -> tuple[str, ...]:
        """How clients name what is listened on."""
        return tuple(bound.url for listener in self._listeners.values() for bound in listener.listening)

    async def open(self, listeners: Iterable[ListenerSettings]) -> None:
        """Open every listener; ListenError where one cannot be had, and then none is open."""
        self._listeners = (await self.prepare(listeners)).listeners
        self._watch_certificates()

    async def serve(self, accept: Accept) -> None:
        """Accept until cancelled."""
        self._accept = accept
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for listener in self._listeners.values():
                self._start(listener)
            await trio.sleep_forever()

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
                if known is None:
                    entrance = Entrance(settings)
                    wanted[key] = _Listener(entrance, await open_listeners(settings))
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
            self._start(listener)
        for key in changes.new:
            self._start(self._listeners[key])
            _logger.info("Listening on %s", ", ".join(bound.url for bound in self._listeners[key].listening))
        self._watch_certificates()

    def _watch_certificates(self) -> None:
        self.certificates.servers = [
            (listener.entrance.settings.name, listener.entrance.tls)
            for listener in self._listeners.values()
            if listener.entrance.tls is not None
        ]

    def close(self) -> None:
        """Close every listener. Connections that have been accepted stay."""
        for listener in self._listeners.values():
            listener.close()
