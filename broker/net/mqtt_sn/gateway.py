"""The gateway: its UDP socket, who is known at which address, and the tasks that receive, wait and send."""

import logging
import secrets
import socket
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import trio
from noctule._speedups.deadlines import Deadlines, Timed
from noctule.config import limits
from noctule.config.mqtt_sn import AddressChange, MqttSnMode, MqttSnSettings
from noctule.config.settings import ListenerSettings
from noctule.core.origin import Origin
from noctule.core.state import State
from noctule.handlers.connection import escaped
from noctule.handlers.dispatch import Dispatcher
from noctule.net.clock import Clock
from noctule.net.mqtt_sn.addresses import ENCAPSULATION_MAX_BYTES, Address, read_datagram
from noctule.net.mqtt_sn.aggregating import SharedConnection
from noctule.net.mqtt_sn.connection import MemoryConnection
from noctule.net.mqtt_sn.counts import Counts
from noctule.net.mqtt_sn.device import Device, DeviceState
from noctule.net.mqtt_sn.messages import (
    QOS_MINUS_ONE,
    Advertise,
    Connack,
    Connect,
    Disconnect,
    Encapsulated,
    GatewayInfo,
    Message,
    Pingreq,
    Publish,
    Pubrel,
    Register,
    ReturnCode,
    SearchGateway,
    Subscribe,
    Unsubscribe,
    WillMessage,
    WillTopic,
)
from noctule.net.mqtt_sn.packets import encode
from noctule.net.mqtt_sn.rates import Bucket, Rates
from noctule.net.mqtt_sn.transparent import Identity, TransparentUpstream
from noctule.net.mqtt_sn.unconnected import UnconnectedPublisher
from noctule.net.mqtt_sn.upstream import Upstream
from noctule.protocol.connect import Will
from noctule.protocol.errors import PacketError

#: What a client sends to begin, or when it believes that it is connected: it is told that it is not.
_OF_CLIENTS: Final = (Connect, SearchGateway, Pingreq, Publish, Pubrel, Register, Subscribe, Unsubscribe)

_logger = logging.getLogger("noctule.net")


#: Message ids that we choose are no larger: clients exist that take them for signed, and fail above.
_RANDOM_ID_MAX: Final = 0x7FFF


def _random_id() -> int:
    """A message id that nobody can guess: it proves that its REGACK comes from where the REGISTER went."""
    return secrets.randbelow(_RANDOM_ID_MAX) + 1


class Pumped(Protocol):
    """A connection to the broker that has something to say now and then."""

    #: How often the broker wants to hear of it, in seconds; 0: never.
    keep_alive_s: int

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        ...

    def pump(self, now: float) -> None:
        """Hand on what the broker has sent."""
        ...

    def keep_alive(self) -> None:
        """Let the broker hear of it."""
        ...


class _Client(Timed):
    """A device and where it is; waits for the device's next deadline."""

    device: Device
    transparent: TransparentUpstream | None = None

    def __init__(self, address: Address, began_at: float) -> None:
        self.address = address
        self.began_at = began_at


class _KeepAlive(Timed):
    """Waits for the time when the broker wants to hear of a connection."""

    def __init__(self, pumped: Pumped) -> None:
        self.pumped = pumped


class Gateway:
    """One gateway on one bound UDP socket, which is the caller's to close. ``run`` serves until it is cancelled."""

    def __init__(
        self, settings: MqttSnSettings, bound: socket.socket, state: State, dispatcher: Dispatcher, clock: Clock
    ) -> None:
        self.counts = Counts()
        self._settings = settings
        self._bound = bound
        self._state = state
        self._dispatcher = dispatcher
        self._clock = clock
        self._listener = ListenerSettings(settings.address, settings.port, allow_anonymous=settings.allow_anonymous)
        self._predefined = settings.topics_by_predefined_id
        self._clients: dict[tuple[Any, bytes | None], _Client] = {}
        self._by_client_id: dict[str, _Client] = {}
        self._by_ip: dict[str, int] = {}
        # Those that have not spoken since they were let in, the oldest first: they may be forged.
        self._silent: OrderedDict[_Client, None] = OrderedDict()
        self._wills: OrderedDict[str, Will] = OrderedDict()
        self._left: OrderedDict[tuple[Any, bytes | None], tuple[float, int]] = OrderedDict()
        self._rates = Rates()
        now = trio.current_time()
        self._strangers = Bucket(limits.MQTT_SN_STRANGERS_PER_S, limits.MQTT_SN_STRANGERS_AT_ONCE, now)
        self._deadlines = Deadlines()
        self._wait: trio.CancelScope | None = None
        self._woken: dict[Pumped, None] = {}
        self._wake = trio.Event()
        self._touched: dict[_Client, None] = {}
        self._client_of: dict[Pumped, _Client] = {}
        self._kept_alive: dict[Pumped, _KeepAlive] = {}
        own_id = settings.own_client_id
        self._shared = SharedConnection(
            own_id, self._identity(own_id), partial(self._own_connection, own_id), self._note
        )
        unconnected_id = f"{own_id}-unconnected"
        self._unconnected = UnconnectedPublisher(
            settings,
            unconnected_id,
            self._identity(unconnected_id),
            partial(self._own_connection, unconnected_id),
            self._note,
            self.counts,
        )

    @property
    def url(self) -> str:
        """Where devices find it."""
        host, port = self._bound.getsockname()[:2]
        return f"mqtt-sn://[{host}]:{port}" if ":" in host else f"mqtt-sn://{host}:{port}"

    @property
    def device_count(self) -> int:
        """How many devices there are, connected, asleep or about to connect."""
        return len(self._clients)

    async def run(self) -> None:
        """Serve until cancelled. An error of one device's is logged, and ends that device's connection alone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._pump)
            nursery.start_soon(self._wait_for_deadlines)
            if self._settings.advertise_address is not None:
                nursery.start_soon(self._advertise, self._settings.advertise_address)

    # --- the tasks ---

    async def _receive(self) -> None:
        most = self._settings.message_max_bytes + ENCAPSULATION_MAX_BYTES + 1
        while True:
            await trio.lowlevel.wait_readable(self._bound)
            self._clock.begin_turn()
            for _ in range(limits.MQTT_SN_DATAGRAM_BURST):
                try:
                    datagram, socket_address = self._bound.recvfrom(most)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # about a datagram of ours that could not be delivered
                self._guarded(None, partial(self.datagram, datagram, socket_address))
            self._end_turn()

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._clock.begin_turn()
            woken, self._woken = self._woken, {}
            for pumped in woken:
                self._guarded(self._client_of.get(pumped), partial(self._pump_one, pumped))
            self._end_turn()

    async def _wait_for_deadlines(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._deadlines.next_deadline()) as self._wait:
                await trio.sleep_forever()
            self._wait = None
            self._clock.begin_turn()
            for item in self._deadlines.take_due(self._now):
                if isinstance(item, _Client):
                    self._guarded(item, partial(self._tick, item))
                elif isinstance(item, _KeepAlive):
                    self._guarded(None, partial(self._keep_alive, item))
            self._end_turn()

    async def _advertise(self, address: str) -> None:
        settings = self._settings
        port = settings.advertise_port or self._bound.getsockname()[1]
        datagram = encode(Advertise(settings.gateway_id, round(settings.advertise_interval_s)))
        while True:
            self._send_datagram(datagram, (address, port))
            await trio.sleep(settings.advertise_interval_s)

    @property
    def _now(self) -> float:
        return self._state.plane.now

    def _end_turn(self) -> None:
        touched, self._touched = self._touched, {}
        for client in touched:
            self._guarded(client, partial(self._look_after, client))
        self._clock.end_turn()
        if self._wait is not None:
            self._wait.deadline = min(self._wait.deadline, self._deadlines.next_deadline())

    def _guarded(self, client: _Client | None, act: Callable[[], None]) -> None:
        """Do it; an error of ours ends the connection of this client, and no other."""
        try:
            act()
        except Exception:
            _logger.exception(
                "An error of the MQTT-SN gateway's; %s",
                "no device is concerned" if client is None else f"it ends the connection of {client.address}",
            )
            if client is not None:
                client.device.lose("an error of the gateway's")
                self._look_after(client)

    def _note(self, pumped: Pumped) -> None:
        """There is something to pump: within a turn of anybody's, so only take note."""
        self._woken[pumped] = None
        self._wake.set()

    # --- what comes ---

    def datagram(self, datagram: bytes, socket_address: Any) -> None:
        """Handle one datagram, within a turn."""
        self.counts.datagrams_received += 1
        if not self._rates.take(socket_address[0], self._now):
            self.counts.over_rate += 1
            return
        try:
            address, message, size = read_datagram(datagram, socket_address, self._settings.message_max_bytes)
        except PacketError as error:
            self.counts.malformed += 1
            _logger.debug("A datagram of %s that is no MQTT-SN message: %s.", Address(socket_address), error)
            return
        client = self._clients.get(address.key)
        if isinstance(message, Publish) and message.qos == QOS_MINUS_ONE:
            self._unconnected.publish(message, self._now)
        elif client is not None and not self._is_another(client, message):
            self._guarded(client, partial(self._receive_from, client, message, size))
        else:
            self._receive_from_stranger(address, message, size)

    def _is_another(self, client: _Client, message: Message) -> bool:
        """Whether another client connects from the address of one that is known, which is gone then."""
        if not isinstance(message, Connect) or message.client_id == client.device.client_id:
            return False
        client.device.lose("another client connects from its address")
        self._look_after(client)
        return True

    def _receive_from(self, client: _Client, message: Message, size: int) -> None:
        client.device.receive(message, size, self._now)
        if client.transparent is not None:
            client.transparent.pump(self._now)
        self._look_after(client)

    def _receive_from_stranger(self, address: Address, message: Message, size: int) -> None:
        if isinstance(message, Disconnect):
            self._say_goodbye_again(address)
            return
        is_update = isinstance(message, WillTopic | WillMessage) and message.is_update
        if not (is_update or isinstance(message, _OF_CLIENTS)):
            return  # of a gateway, or too late: answering it could be answered again
        if not self._strangers.take(self._now):
            self.counts.over_rate += 1
        elif isinstance(message, SearchGateway):
            self._send(address, encode(GatewayInfo(self._settings.gateway_id)))
        elif isinstance(message, Connect):
            self._connect(address, message, size)
        else:
            self._send(address, encode(Disconnect()))

    def _say_goodbye_again(self, address: Address) -> None:
        """Answer the DISCONNECT of a device that has left already, and may not have had the answer."""
        until, answers = self._left.get(address.key, (0.0, 0))
        if answers and self._now < until:
            self._left[address.key] = (until, answers - 1)
            self._send(address, encode(Disconnect()))

    # --- devices ---

    def _connect(self, address: Address, message: Connect, size: int) -> None:
        """A CONNECT from where no device is known."""
        code = self._refusal_of(address, message)
        if code is not None:
            self._send(address, encode(Connack(code)))
            return
        other = self._by_client_id.get(message.client_id)
        if other is not None:
            other.device.lose("it connects anew")
            self._look_after(other)
        if self._state.sessions.find(message.client_id) is None:
            self._wills.pop(message.client_id, None)  # it went with the session that it was kept with
        client = _Client(address, self._now)
        client.device = Device(
            message.client_id,
            self._settings,
            send=partial(self._send_to, client),
            open_upstream=partial(self._open_upstream, client),
            random_id=_random_id,
            wills=self._wills,
            counts=self.counts,
            predefined_topics=self._predefined,
            topic_levels_max=self._state.settings.limits.topic_levels_max,
            receive_max=min(limits.MQTT_SN_RECEIVE_MAX, self._state.settings.limits.receive_maximum),
            keep_alive_max_s=self._state.settings.keep_alive_max_s,
        )
        self._clients[address.key] = client
        self._by_client_id[message.client_id] = client
        self._by_ip[address.ip] = self._by_ip.get(address.ip, 0) + 1
        self._silent[client] = None
        self._left.pop(address.key, None)
        _logger.debug("MQTT-SN device %s connects from %s.", escaped(message.client_id), address)
        self._guarded(client, partial(self._receive_from, client, message, size))

    def _refusal_of(self, address: Address, message: Connect) -> ReturnCode | None:
        settings = self._settings
        if settings.client_ids is not None and message.client_id not in settings.client_ids:
            return ReturnCode.NOT_SUPPORTED
        other = self._by_client_id.get(message.client_id)
        if other is not None:
            if other.address.ip != address.ip and settings.address_change is AddressChange.REFUSED:
                _logger.debug(
                    "MQTT-SN device %s is connected from %s; %s is refused.",
                    escaped(message.client_id),
                    other.address,
                    address,
                )
                return ReturnCode.CONGESTION
            return None  # it takes the place of the one that there is
        if self._by_ip.get(address.ip, 0) >= settings.devices_per_address_max:
            self.counts.refused_full += 1
            return ReturnCode.CONGESTION
        if len(self._clients) >= settings.devices_max and not self._evict():
            self.counts.refused_full += 1
            return ReturnCode.CONGESTION
        return None

    def _evict(self) -> bool:
        """Make room: a device that has said nothing but CONNECT for a while has to go; False where there is none."""
        oldest = next(iter(self._silent), None)
        if oldest is None or oldest.began_at + limits.CONNECT_TIMEOUT_S > self._now:
            return False
        oldest.device.lose("others want its place, and it has said nothing")
        self._look_after(oldest)
        return True

    def _look_after(self, client: _Client) -> None:
        """Something has happened to a device: it may have gone, or wait for another time than before."""
        device = client.device
        if device.state is not DeviceState.GONE:
            if client.transparent is None or client.transparent.is_drained:
                device.settled()
            if device.has_spoken:
                self._silent.pop(client, None)
            if not client.scheduled or device.deadline < client.deadline:
                self._deadlines.schedule(client, device.deadline)
            return
        if self._clients.get(client.address.key) is not client:
            return
        del self._clients[client.address.key]
        if self._by_client_id.get(device.client_id) is client:
            del self._by_client_id[device.client_id]
        self._by_ip[client.address.ip] -= 1
        if not self._by_ip[client.address.ip]:
            del self._by_ip[client.address.ip]
        self._silent.pop(client, None)
        self._deadlines.cancel(client)
        while len(self._wills) > self._settings.devices_max:
            self._wills.popitem(last=False)
        self._left[client.address.key] = (
            self._now + self._settings.retry_interval_s * (self._settings.retry_count + 1),
            self._settings.retry_count + 1,
        )
        if len(self._left) > limits.MQTT_SN_LEFT_MAX:
            self._left.popitem(last=False)

    def _tick(self, client: _Client) -> None:
        client.device.tick(self._now)
        if client.transparent is not None:
            client.transparent.pump(self._now)
        self._look_after(client)

    # --- towards the broker ---

    def _open_upstream(self, client: _Client, device: Device) -> Upstream:
        if self._settings.mode is MqttSnMode.AGGREGATING:
            return self._shared.member(device)
        upstream = TransparentUpstream(
            self._state,
            self._dispatcher,
            device,
            self._identity(device.client_id),
            self._origin(device.client_id, client.address.ip),
            str(client.address),
            self._note,
        )
        client.transparent = upstream
        self._client_of[upstream] = client
        return upstream

    def _own_connection(self, client_id: str, woken: Callable[[], None]) -> MemoryConnection:
        """A connection of the gateway's own."""
        return MemoryConnection(
            self._state, self._dispatcher, self._origin(client_id, ""), f"{self._listener.name} (MQTT-SN)", woken
        )

    def _identity(self, client_id: str) -> Identity:
        settings = self._settings
        password = None if settings.password is None else settings.password.reveal().encode()
        return Identity(settings.user_name_of(client_id), password, round(settings.session_expiry_s))

    def _origin(self, client_id: str, ip: str) -> Origin:
        """Where the connection comes from; without a password the user name is taken for proven, as configured."""
        user_name = self._settings.user_name_of(client_id) if self._settings.password is None else None
        return Origin(self._listener, ip, user_name)

    def _pump_one(self, pumped: Pumped) -> None:
        pumped.pump(self._now)
        client = self._client_of.get(pumped)
        if client is not None:
            if pumped.is_over:
                del self._client_of[pumped]
            if client.transparent is pumped:
                self._look_after(client)
        if pumped.is_over:
            kept_alive = self._kept_alive.pop(pumped, None)
            if kept_alive is not None:
                self._deadlines.cancel(kept_alive)
        elif pumped.keep_alive_s and pumped not in self._kept_alive:
            kept_alive = self._kept_alive[pumped] = _KeepAlive(pumped)
            self._deadlines.schedule(kept_alive, self._now + pumped.keep_alive_s / 2)

    def _keep_alive(self, item: _KeepAlive) -> None:
        if not item.pumped.is_over:
            item.pumped.keep_alive()
            self._deadlines.schedule(item, self._now + item.pumped.keep_alive_s / 2)

    # --- what goes ---

    def _send_to(self, client: _Client, datagram: bytes) -> None:
        self._touched[client] = None
        self._send(client.address, datagram)

    def _send(self, address: Address, datagram: bytes) -> None:
        if address.node_id is not None:
            datagram = encode(Encapsulated(address.node_id, datagram, address.radius))
        self._send_datagram(datagram, address.socket_address)

    def _send_datagram(self, datagram: bytes, socket_address: Any) -> None:
        """Send it, or lose it: UDP may lose it anywhere else as well, and what matters is sent again."""
        try:
            self._bound.sendto(datagram, socket_address)
        except OSError:
            self.counts.unsent += 1
        else:
            self.counts.datagrams_sent += 1
