"""Puts the parts together: opens the nursery, starts in order, stops in reverse."""

import gc
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final

import trio
from noctule.bridges.bridges import Bridges
from noctule.bridges.here import Here
from noctule.bridges.remote import BridgeError
from noctule.config.differences import Change, differences, in_effect
from noctule.config.settings import Carrier, ListenerSettings, Settings
from noctule.core.authentication import AuthenticationMethod
from noctule.core.clients import Client
from noctule.core.origin import Origin
from noctule.core.state import State, limit_sessions, make_state, plane_limits
from noctule.handlers.admission import origin_of
from noctule.handlers.connection import Candidate, Connection, end_connection, last_packet
from noctule.handlers.dispatch import Dispatcher
from noctule.handlers.keeping import Keeping, open_store
from noctule.handlers.plugin_broker import PluginBroker
from noctule.handlers.rejudging import Rejudging
from noctule.hooks.answers import Deny, PluginError, Service
from noctule.hooks.loading import load_plugins
from noctule.hooks.metrics import Metrics
from noctule.hooks.table import Hook, Hooks, HookTable, Plugin, make_table
from noctule.hooks.transports import Transport
from noctule.net.acceptor import Acceptor
from noctule.net.clock import Clock
from noctule.net.entrance import Arrival, Entrance
from noctule.net.errors import ListenError
from noctule.net.listeners import Listening, open_listeners
from noctule.net.mqtt_sn.gateway import Gateway
from noctule.net.mqtt_sn.sockets import open_gateway
from noctule.net.reception import Reception
from noctule.net.streams import Streams
from noctule.protocol.reason_codes import ReasonCode
from noctule.services.operations import Operations
from noctule.storage.store import Store, StoreError

#: How long a plugin's service that has failed rests before it is started again: at first, and at most.
_SERVICE_REST_S: Final = 1.0
_SERVICE_REST_MAX_S: Final = 60.0

#: How long a plugin may take to get ready for another configuration: files are read, perhaps large ones.
_PREPARE_RELOAD_MAX_S: Final = 60.0

#: What takes a connection over that has been accepted.
_Adopt = Callable[[socket.socket, Arrival], None]

#: What accepts from a listening socket until it is cancelled, and hands connections to the carrier, or to another.
_Acceptance = Callable[[socket.socket, Entrance, _Adopt | None], Awaitable[None]]

HAS_REACTOR: Final = sys.platform.startswith("linux")


class Broker:
    """One broker. ``run`` serves until ``stop`` is called or it is cancelled.

    ``authentication_methods``: those of enhanced authentication that clients may ask for; any other is refused.
    ``plugins``: beside those that the settings name, and asked after them. PluginError where one cannot be had.
    ``http_by_default``: whether there is an HTTP port where the settings do not say; it is done without where the port
    is taken. Two brokers fit in one process: nothing here is shared between them.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        authentication_methods: Iterable[AuthenticationMethod] = (),
        plugins: Iterable[Plugin] = (),
        http_by_default: bool = False,
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self.hooks: HookTable = make_table((*load_plugins(self.settings.plugins), *plugins))
        methods = [*authentication_methods, *_methods_of(self.hooks)]
        try:
            self.state: State = make_state(self.settings, methods)
        except ValueError as error:
            raise PluginError(str(error)) from None
        #: The addresses that are listened on, as URLs; filled by ``run`` before it is ready.
        self.urls: tuple[str, ...] = ()
        #: Where HTTP is served; None: nowhere. And why not, where there should be; empty where there is.
        self.http_url: str | None = None
        self.no_http_because = ""
        self._http_by_default = http_by_default
        self._operations: Operations | None = None
        self._dispatcher = Dispatcher(self.state, self.hooks)
        self._clock = Clock(self.state, self._dispatcher)
        self._streams = Streams(self.state, self._dispatcher, self._clock)
        means = self._dispatcher.means
        self._rejudging = Rejudging(means, self._clock)
        self.for_plugins = PluginBroker(means, self._dispatcher.watching, self._rejudging, self._clock)
        self.bridges = Bridges(Here(self.state, self._clock, self._streams.serve, self.for_plugins.publish))
        self.metrics = Metrics()
        for hook in self.hooks.add_metrics:
            _asked("add_metrics", hook, self.metrics)
        self._reloading = trio.Lock()
        self._keeping: Keeping | None = None
        #: The MQTT-SN gateways, while ``run`` runs.
        self.gateways: tuple[Gateway, ...] = ()
        self._reception = Reception(_transports_of(self.hooks), self._streams.serve)
        self._stop_asked = trio.Event()
        self._server_reference: str | None = None

    @property
    def carrier(self) -> Carrier:
        """How plain TCP connections are carried here."""
        if self.settings.carrier is not None:
            return self.settings.carrier
        return Carrier.REACTOR if HAS_REACTOR else Carrier.STREAMS

    @property
    def listening(self) -> tuple[tuple[str, ListenerSettings], ...]:
        """What is listened on, as URLs, each with the settings of its listener."""
        return self._reception.listening

    @property
    def is_durable(self) -> bool:
        """Whether state is kept in a store that outlives the process."""
        return self._keeping is not None

    def certificate_days_left(self) -> Mapping[str, float]:
        """Days until the first certificate of each listener that has one ends, below 0 where it has."""
        return self._reception.certificates.days_left()

    def reload_certificates(self) -> None:
        """Read certificates, keys, authorities and what they have revoked again, for connections to come.

        What cannot be used is logged, and its listener keeps what it has. Nobody is disconnected.
        """
        self._reception.certificates.reload()

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

        ListenError where an address cannot be listened on, PluginError where a plugin refuses, BridgeError where a
        bridge's settings cannot be used: nothing is left open then.
        """
        self._check_entrances(self.settings)
        try:
            self._keeping = await self._open_store()
            async with trio.open_nursery() as storing:
                if self._keeping is not None:
                    storing.start_soon(self._keeping.run)
                await self._serve(task_status)
                await self._close_store()
                storing.cancel_scope.cancel()
        except ExceptionGroup as group:
            refusal = _only_refusal(group)
            if refusal is None:
                raise
            raise refusal from None
        finally:
            with trio.CancelScope(shield=True):
                await self._close_store()
            self.state.plane.close()

    async def _open_store(self) -> Keeping | None:
        """The store of the first plugin that has one, opened and restored; None where state is in memory alone.

        PluginError where it refuses.
        """
        for hook in self.hooks.open_store:
            store: Store | None = hook.call(self.settings)
            if store is None or not store.is_durable:
                continue
            try:
                return await open_store(store, self.state, self._clock)
            except StoreError as error:
                raise PluginError(f"plugin {hook.plugin}: {error}") from None
        return None

    async def _close_store(self) -> None:
        """Commit what is left; nothing where that has been done."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            await keeping.finish(self.settings.limits.stop_timeout_s)

    async def _serve(self, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        """Listen and serve until ``stop`` is called; every link is closed then."""
        datagrams: list[socket.socket] = []
        http: list[Listening] = []
        started: set[str] = set()
        has_started = False
        bridges = self.bridges.prepare(self.settings.bridges)
        try:
            for hook in self.hooks.broker_starting:
                await self._ask_to_start("broker_starting", hook)
                started.add(hook.plugin)
            if len(self.state.sessions) and (self.hooks.load_access or self.hooks.authorize):
                await self._rejudging.judge_again(list(self.state.sessions))
            await self._reception.open(self.settings.listeners)
            for gateway_settings in self.settings.mqtt_sn:
                bound = await open_gateway(gateway_settings)
                datagrams.append(bound)
                gateway = Gateway(gateway_settings, bound, self.state, self._dispatcher, self._clock)
                self.gateways = (*self.gateways, gateway)
            self.urls = (*self._reception.urls, *(gateway.url for gateway in self.gateways))
            operations = Operations(self._dispatcher.means, self._clock, self.metrics, lambda: self.urls)
            self._operations = operations
            http = await self._open_http()
            async with trio.open_nursery() as connections:
                connections.start_soon(self._clock.run)
                connections.start_soon(self._reception.certificates.run)
                self.for_plugins.work_in(connections)
                if self.hooks.authorize:
                    connections.start_soon(self._rejudging.look_after_answers)
                self._dispatcher.decisions.wait_in(connections, self._clock)
                for gateway in self.gateways:
                    connections.start_soon(gateway.run)
                await connections.start(self.bridges.run, bridges)
                accept = self._acceptance(connections)
                async with trio.open_nursery() as accepting:
                    await accepting.start(self._reception.serve, lambda bound, entrance: accept(bound, entrance, None))
                    self.urls = (*self._reception.urls, *(gateway.url for gateway in self.gateways))
                    for one in http:
                        adopt = self._http_adoption(operations, connections)
                        accepting.start_soon(accept, one.socket, Entrance(one.settings), adopt)
                    accepting.start_soon(self._keep_running, "noctule", Service("operations", operations.run))
                    for plugin, service in self._services():
                        accepting.start_soon(self._keep_running, plugin, service)
                    for hook in self.hooks.broker_started:
                        await self._ask_to_start("broker_started", hook)
                    has_started = True
                    task_status.started(self.urls)
                    await self._stop_asked.wait()
                    accepting.cancel_scope.cancel()
                # Who is told to go and comes back at once is refused, and can try another broker.
                self._reception.close()
                for opened in http:
                    opened.close()
                await self.bridges.stop()
                await self._end_links()
                self._dispatcher.means.fault_log.sum_up()
                await self._stop_plugins(self.hooks.broker_stopping)
                connections.cancel_scope.cancel()
        except Exception:
            if not has_started:  # what was started and is not used is put away
                await self._stop_plugins(tuple(hook for hook in self.hooks.broker_stopping if hook.plugin in started))
            raise
        finally:
            self._reception.close()
            for opened in http:
                opened.close()
            for bound in datagrams:
                bound.close()
            for link in list(self.state.links):
                link.close()

    async def _open_http(self) -> list[Listening]:
        """The sockets of the HTTP port; none where there is none. ListenError where one was asked for."""
        http = self.settings.http
        if not (self._http_by_default if http.enabled is None else http.enabled):
            return []
        try:
            opened = await open_listeners(ListenerSettings(http.host, http.port))
        except ListenError as error:
            if http.enabled:
                raise
            self.no_http_because = str(error)
            return []
        self.http_url = opened[0].url.replace("mqtt://", "http://")
        return opened

    def _http_adoption(self, operations: Operations, connections: trio.Nursery) -> _Adopt:
        """What takes over connections to the HTTP port."""

        def adopt(connected: socket.socket, arrival: Arrival) -> None:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
            connections.start_soon(operations.http.serve, stream, arrival.peer)

        return adopt

    def _check_entrances(self, settings: Settings) -> None:
        """PluginError where nobody could ever connect to a listener: it is a mistake of the configuration."""
        for listener in settings.listeners:
            if not (
                self.hooks.authenticate
                or self.state.authentication_methods
                or self.hooks.admit_anonymous(settings, listener)
                or listener.proves_users
            ):
                raise PluginError(
                    f"nobody could connect to listener {listener.name}: no plugin decides on who may "
                    "(password_file does), and allow_anonymous is not set to true"
                )

    async def _ask_to_start(self, name: str, hook: Hook) -> None:
        try:
            await hook.call(self.for_plugins)
        except Exception as error:
            raise _refusal(name, hook, error) from error

    def _services(self) -> list[tuple[str, Service]]:
        """Every plugin's, with the plugin's name."""
        services = []
        for hook in self.hooks.add_services:
            for service in _asked("add_services", hook, self.for_plugins):
                if not isinstance(service, Service):
                    raise _refusal("add_services", hook, TypeError(f"{service!r} is no Service"))
                services.append((hook.plugin, service))
        return services

    async def _keep_running(self, plugin: str, service: Service) -> None:
        """Run a plugin's service, again after a rest where it fails."""
        rest_s = _SERVICE_REST_S
        while True:
            began_at = trio.current_time()
            try:
                await service.run()
            except Exception:
                if trio.current_time() - began_at > _SERVICE_REST_MAX_S:
                    rest_s = _SERVICE_REST_S  # it has worked in between
                self.state.logger.exception(
                    "Service %s of plugin %s has failed; it is started again in %g s", service.name, plugin, rest_s
                )
                await trio.sleep(rest_s)
                rest_s = min(2 * rest_s, _SERVICE_REST_MAX_S)
            else:
                return

    async def _stop_plugins(self, hooks: Hooks) -> None:
        """Tell the plugins, last things first; each has its time, and none keeps the broker from stopping."""
        for hook in reversed(hooks):
            try:
                with trio.fail_after(self.settings.limits.stop_timeout_s):
                    await hook.call(self.for_plugins)
            except Exception:
                self.state.logger.exception("Plugin %s has failed while the broker stops", hook.plugin)

    async def reload(self, settings: Settings) -> tuple[Change, ...]:
        """Put other settings into effect, as a whole or not at all; what has changed, and what of it takes a restart:
        that stays as it is until then, and is told at the next reload again.

        Who may no longer be connected is disconnected, and what is no longer allowed is dropped. PluginError,
        ListenError and BridgeError where the settings cannot be used: then everything stays as it was.
        """
        async with self._reloading:
            changes = differences(self.settings, settings)
            now = in_effect(self.settings, settings, self.hooks.by_name)
            self._check_entrances(now)
            bridges = self.bridges.prepare(now.bridges)
            entrances = await self._reception.prepare(settings.listeners)
            try:
                effects = [(hook, await self._ask_to_reload(hook, settings)) for hook in self.hooks.prepare_reload]
            except BaseException:
                self._reception.give_up(entrances)
                raise
            self.settings = self.state.settings = now
            self._reception.put_into_effect(entrances)
            self.urls = (*self._reception.urls, *(gateway.url for gateway in self.gateways))
            self.reload_certificates()
            self.state.plane.set_limits(**plane_limits(settings.limits))
            self._clock.begin_turn()
            limit_sessions(self.state.sessions, now)
            self._clock.end_turn()
            for hook, effect in effects:
                if effect is None:
                    continue
                try:
                    effect()
                except Exception:  # it was to be ready: the others, and the settings, are in effect
                    self.state.logger.exception("Plugin %s has failed to put its new options into effect", hook.plugin)
            await self.bridges.put_into_effect(bridges)
            await self._recheck()
            if self._operations is not None:
                self._operations.settings_changed()
        return changes

    async def _ask_to_reload(self, hook: Hook, settings: Settings) -> Callable[[], None] | None:
        """What puts the plugin's new options into effect. PluginError where it is not ready for them."""
        named = {one.name: one for one in settings.plugins}
        if hook.plugin in named:
            config = named[hook.plugin].config
        elif any(one.name == hook.plugin for one in self.settings.plugins):
            return None  # removed: that takes a restart, and until then it goes on with the options it has
        else:
            config = self.hooks.by_name[hook.plugin].config
        try:
            with trio.fail_after(_PREPARE_RELOAD_MAX_S):
                effect: object = await hook.call(config, settings)
        except trio.TooSlowError as error:
            late = PluginError(f"it was not ready for the new configuration within {_PREPARE_RELOAD_MAX_S:g} s")
            raise _refusal("prepare_reload", hook, late) from error
        except Exception as error:
            raise _refusal("prepare_reload", hook, error) from error
        if effect is None or callable(effect):
            return effect
        raise _refusal("prepare_reload", hook, TypeError(f"{effect!r} is no function"))

    async def _recheck(self) -> None:
        """Judge every client by what holds now."""
        self._dispatcher.means.rule_changes += 1
        for link in list(self.state.links):
            session = link.session
            if session is None:
                if isinstance(link.connection, Candidate):  # what was answered about it may be from before
                    self._clock.begin_turn()
                    end_connection(self.state, link, last_packet(link, ReasonCode.SERVER_BUSY))
                    self._clock.end_turn()
                continue
            client = session.client
            listener = origin_of(link, self.state).listener
            denied: Deny | None = None
            is_unproven = isinstance(link.connection, Connection) and link.connection.is_unproven
            if link.origin is not None and link.origin.listener.names_users and not listener.names_users:
                denied = Deny("its listener no longer takes the transport's word for who a client is")
            if is_unproven and not self.hooks.admit_anonymous(self.settings, listener):
                denied = Deny("clients that have proven nothing are no longer let in")
            for hook in self.hooks.recheck:
                if denied is None:
                    denied = self._asked_again(hook, client)
            if denied is not None:
                self.for_plugins.disconnect(client.client_id, ReasonCode.NOT_AUTHORIZED, denied.why)
        if self.hooks.load_access or self.hooks.authorize:
            await self._rejudging.judge_again(list(self.state.sessions))

    def _asked_again(self, hook: Hook, client: Client) -> Deny | None:
        """What a plugin says of a client that is connected; anything but None and Deny is a failure, and so a no."""
        try:
            answer = hook.call(client)
            if answer is None or isinstance(answer, Deny):
                return answer
            raise TypeError(f"an answer of the type {type(answer).__name__}, where Deny or None is expected")  # noqa: TRY301
        except Exception as error:
            self._dispatcher.watching.log_failure("recheck", hook, error)
            return Deny("a plugin has failed")

    def _acceptance(self, connections: trio.Nursery) -> _Acceptance:
        """What accepts from a listening socket until it is cancelled; the connections live on in their nursery."""
        if self.carrier is Carrier.REACTOR:
            from noctule.net.pump import Pump

            pump = Pump(self.state, self._dispatcher, self._clock, self._streams, self._keeping)
            connections.start_soon(pump.run)
            return pump.accept

        def adopt(connected: socket.socket, arrival: Arrival) -> None:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
            connections.start_soon(
                self._streams.serve, stream, arrival.peer, arrival.origin, arrival.filter, arrival.leave
            )

        return lambda listening, entrance, other: Acceptor(listening, entrance, other or adopt).run()

    async def _end_links(self) -> None:
        """Send DISCONNECT 0x8B to whom it can be told, publish Wills for those who come later, flush, and wait a
        bounded time until the connections are gone."""
        state = self.state
        state.is_stopping = True
        self._clock.begin_turn()
        reference = self._server_reference
        reason_code = ReasonCode.SERVER_SHUTTING_DOWN if reference is None else ReasonCode.USE_ANOTHER_SERVER
        ended = [link.session for link in state.links if link.session is not None]
        for link in list(state.links):
            link.end(last_packet(link, reason_code, server_reference=reference))
            state.plane.deadlines.schedule(link, state.plane.now + state.settings.limits.end_timeout_s)
        state.sessions.stop(ended)
        self._clock.end_turn()
        all_gone = trio.Event()
        state.when_no_links = all_gone.set
        if state.links:
            with trio.move_on_after(state.settings.limits.stop_timeout_s):
                await all_gone.wait()


def _only_refusal(group: ExceptionGroup[Exception]) -> ListenError | PluginError | BridgeError | None:
    """Why the broker could not start, where that is all that is in the group."""
    if len(group.exceptions) != 1:
        return None
    error = group.exceptions[0]
    if isinstance(error, ExceptionGroup):
        return _only_refusal(error)
    return error if isinstance(error, ListenError | PluginError | BridgeError) else None


def _methods_of(hooks: HookTable) -> list[AuthenticationMethod]:
    found = []
    for hook in hooks.add_authentication_methods:
        for method in _asked("add_authentication_methods", hook):
            if not isinstance(getattr(method, "name", None), str) or not callable(getattr(method, "start", None)):
                raise _refusal(
                    "add_authentication_methods", hook, TypeError(f"{method!r} is no method of authentication")
                )
            found.append(method)
    return found


def _transports_of(hooks: HookTable) -> dict[str, Transport]:
    """Every transport of the plugins by name. PluginError where two have one name."""
    found: dict[str, Transport] = {}
    for hook in hooks.add_transports:
        for name, transport in _asked("add_transports", hook).items():
            if name in found:
                raise PluginError(f"plugin {hook.plugin}: there is a transport {name} already")
            found[name] = transport
    return found


def _asked(name: str, hook: Hook, *arguments: object) -> Any:
    """What the hook answers. PluginError where it raises."""
    try:
        return hook.call(*arguments)
    except Exception as error:
        raise _refusal(name, hook, error) from error


def _refusal(name: str, hook: Hook, error: Exception) -> PluginError:
    """What keeps the broker from starting, or from reloading, as the operator reads it."""
    if isinstance(error, PluginError):
        return PluginError(f"plugin {hook.plugin}: {error}")
    return PluginError(f"plugin {hook.plugin}: {name} has failed: {error!r}")


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
