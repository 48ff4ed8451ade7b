"""What devices have behind them in aggregating mode: one connection to the broker, which they share.

To the broker all of them are one client, with one identity and one session, which ends with the connection. Who has
subscribed to what is kept here: a message comes once and goes to every device with a filter that matches. It is
acknowledged to the broker when it has been handed to the devices; from there on it is in the gateway's memory alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from noctule._speedups.codec import decode_ack, decode_publish, encode_ack, encode_publish
from noctule._speedups.topics import FilterTree, Subscriber
from noctule.net.mqtt_sn.connection import VERSION, MemoryConnection
from noctule.net.mqtt_sn.transparent import Identity
from noctule.net.mqtt_sn.upstream import ConnectRequest, Delivery, Downstream
from noctule.protocol.connack import decode_connack
from noctule.protocol.connect import Connect, Will, encode_connect
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.filters import SHARE_PREFIX
from noctule.protocol.properties import decode_property_block
from noctule.protocol.reason_codes import FIRST_FAILURE, ReasonCode
from noctule.protocol.suback import decode_suback
from noctule.protocol.subscribe import Subscribe, SubscriptionRequest, encode_subscribe
from noctule.protocol.unsuback import decode_unsuback
from noctule.protocol.unsubscribe import Unsubscribe, encode_unsubscribe

_PACKET_IDS: Final = 0xFFFF

#: Subscription Identifiers go up to here (3.8.2.1.2); they name the device that a retained message is for.
_IDENTIFIERS: Final = 268_435_455


@dataclass(frozen=True, slots=True)
class _Flow:
    """A message on its way to the broker, what it waits for, and whose it is; None: nobody's any more."""

    expected: PacketType
    member: "Member | None"
    message_id: int = 0


@dataclass(frozen=True, slots=True)
class _Request:
    """A SUBSCRIBE that waits for its answer; or, without a member, an UNSUBSCRIBE."""

    member: "Member | None" = None
    message_id: int = 0
    topic_filter: str = ""
    qos: int = 0


class Member(Subscriber):
    """One device's part in the shared connection."""

    def __init__(self, shared: "SharedConnection", device: Downstream, number: int) -> None:
        self.device: Downstream | None = device
        self.number = number
        #: What it has asked for and not given up, granted or not yet.
        self.filters: set[str] = set()
        self.will: Will | None = None
        self._shared = shared
        self._last_packet_id = 0

    @property
    def is_busy(self) -> bool:
        """Whether the shared connection takes no more for now."""
        return self._shared.is_busy

    def next_packet_id(self) -> int:
        """The message id of the next delivery; the devices count each for itself."""
        self._last_packet_id = self._last_packet_id % _PACKET_IDS + 1
        return self._last_packet_id

    def connect(self, request: ConnectRequest) -> None:
        """Join; the session is clean whatever is asked for."""
        self.will = request.will
        self._shared.join(self)

    def publish(self, topic: str, payload: bytes, qos: int, message_id: int, *, retain: bool, dup: bool) -> None:
        """PUBLISH."""
        self._shared.publish(self, topic, payload, qos, message_id, retain=retain, dup=dup)

    def release(self, message_id: int) -> None:
        """PUBREL."""
        self._shared.release(self, message_id)

    def subscribe(self, topic_filter: str, qos: int, message_id: int) -> None:
        """SUBSCRIBE, at the highest QoS that any device wants for this filter."""
        self._shared.subscribe(self, topic_filter, qos, message_id)

    def unsubscribe(self, topic_filter: str, message_id: int) -> None:
        """UNSUBSCRIBE, if no other device has this filter."""
        if self.device is None:
            return
        self._shared.unsubscribe(self, topic_filter)
        self.device.unsubscribed(message_id)

    def puback(self, packet_id: int, reason_code: int = 0) -> None:
        """Nothing: the broker has had its answer."""

    def pubrec(self, packet_id: int, reason_code: int = 0) -> None:
        """The gateway releases the message itself."""
        if reason_code < FIRST_FAILURE:
            self._shared.release_later(self, packet_id)

    def pubcomp(self, packet_id: int) -> None:
        """Nothing: the broker has had its answer."""

    def change_will(self, will: Will | None) -> None:
        """Another Will."""
        self.will = will

    def disconnect(self) -> None:
        """Leave without a Will."""
        self.device = None
        self._shared.leave(self)

    def lose(self, cause: str) -> None:
        """Leave; the gateway publishes the Will."""
        del cause  # the shared connection goes on
        will, self.will = self.will, None
        self.device = None
        self._shared.leave(self)
        if will is not None:
            self._shared.publish_will(will)


class SharedConnection:
    """The connection that the devices share: made when the first comes, and again when it has ended.

    ``connect`` makes one; ``woken`` of the gateway's is told through it.
    """

    def __init__(
        self,
        client_id: str,
        identity: Identity,
        connect: Callable[[Callable[[], None]], MemoryConnection],
        woken: Callable[["SharedConnection"], None],
    ) -> None:
        self._client_id = client_id
        self._identity = identity
        self._connect = connect
        self._woken = woken
        self._connection: MemoryConnection | None = None
        self._is_open = False
        self._tree = FilterTree()
        self._members: dict[int, Member] = {}
        self._waiting: list[Member] = []
        self._last_number = 0
        self._last_packet_id = 0
        self._flows: dict[int, _Flow] = {}
        self._requests: dict[int, _Request] = {}
        self._wanted: dict[str, dict[Member, int]] = {}  # who wants a filter, and at what QoS
        self._packet_id_of: dict[tuple[int, int], int] = {}  # (member, message id) of QoS 2, for what comes again
        self._receive_maximum = 1
        self._to_release: list[tuple[Member, int]] = []
        self.keep_alive_s = 0

    @property
    def is_over(self) -> bool:
        """Whether there is no connection, and so nothing to pump."""
        return self._connection is None

    @property
    def is_busy(self) -> bool:
        """Whether a decision is waited for."""
        return self._connection is not None and self._connection.is_busy

    def keep_alive(self) -> None:
        """Tell the broker that the gateway is there."""
        if self._connection is not None:
            self._connection.ping()

    def member(self, device: Downstream) -> Member:
        """The upstream for one device."""
        self._last_number = self._last_number % _IDENTIFIERS + 1
        return Member(self, device, self._last_number)

    # --- from the devices ---

    def join(self, member: Member) -> None:
        """Let the device in as soon as the shared connection is; it answers from ``pump``."""
        self._members[member.number] = member
        self._waiting.append(member)
        if self._connection is None:
            self._connection = self._connect(self._wake)
            identity = self._identity
            self._connection.feed(
                encode_connect(
                    Connect(
                        VERSION,
                        self._client_id,
                        user_name=identity.user_name,
                        password=identity.password,
                        request_problem_information=False,
                    )
                )
            )
        self._wake()

    def _wake(self) -> None:
        self._woken(self)

    def leave(self, member: Member) -> None:
        """Forget the device, and give up the subscriptions that no other has."""
        if self._members.pop(member.number, None) is None:
            return
        self._waiting = [one for one in self._waiting if one is not member]
        for topic_filter in list(member.filters):
            self.unsubscribe(member, topic_filter)
        for key in [key for key in self._packet_id_of if key[0] == member.number]:
            packet_id = self._packet_id_of.pop(key)
            if self._flows[packet_id].expected is PacketType.PUBREL:
                # The gateway has taken the message and brings it to its end; others are, when the answer comes.
                self._flows[packet_id] = _Flow(PacketType.PUBCOMP, None)
                self._feed(encode_ack(PacketType.PUBREL, packet_id, VERSION))

    def publish(
        self, member: Member, topic: str, payload: bytes, qos: int, message_id: int, *, retain: bool, dup: bool
    ) -> None:
        """PUBLISH in the name of the gateway."""
        packet_id = 0
        if qos:
            known = self._packet_id_of.get((member.number, message_id)) if qos == 2 else None
            packet_id = self._new_flow_id() if known is None else known
            if packet_id == 0:
                self._refuse(member, qos, message_id)
                return
            expected = PacketType.PUBACK if qos == 1 else PacketType.PUBREC
            self._flows[packet_id] = _Flow(expected, member, message_id)
            if qos == 2:
                self._packet_id_of[member.number, message_id] = packet_id
        self._feed(encode_publish(topic.encode(), payload, VERSION, qos, retain, dup and qos > 0, packet_id))

    def _refuse(self, member: Member, qos: int, message_id: int) -> None:
        if member.device is None:
            return
        if qos == 1:
            member.device.published(message_id, ReasonCode.QUOTA_EXCEEDED)
        else:
            member.device.received(message_id, ReasonCode.QUOTA_EXCEEDED)

    def publish_will(self, will: Will) -> None:
        """Publish the Will of a device that is lost; nothing more can be done where it is not taken."""
        packet_id = 0
        if will.qos:
            packet_id = self._new_flow_id()
            if packet_id:
                expected = PacketType.PUBACK if will.qos == 1 else PacketType.PUBREC
                self._flows[packet_id] = _Flow(expected, None)
        qos = will.qos if packet_id else 0
        self._feed(encode_publish(will.topic.encode(), will.payload, VERSION, qos, will.retain, False, packet_id))

    def release(self, member: Member, message_id: int) -> None:
        """PUBREL; of what is not known, PUBCOMP all the same."""
        packet_id = self._packet_id_of.get((member.number, message_id))
        if packet_id is None:
            if member.device is not None:
                member.device.completed(message_id)
            return
        self._flows[packet_id] = _Flow(PacketType.PUBCOMP, member, message_id)
        self._feed(encode_ack(PacketType.PUBREL, packet_id, VERSION))

    def release_later(self, member: Member, packet_id: int) -> None:
        """Release a message towards a device, in the next ``pump``."""
        self._to_release.append((member, packet_id))
        self._wake()

    def subscribe(self, member: Member, topic_filter: str, qos: int, message_id: int) -> None:
        """SUBSCRIBE; the Subscription Identifier says for whom retained messages are."""
        packet_id = self._new_packet_id()
        if topic_filter.startswith(SHARE_PREFIX) or packet_id == 0:
            # A share group would get each message once, and it could not be said by which device.
            is_shared = packet_id != 0
            code = ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED if is_shared else ReasonCode.QUOTA_EXCEEDED
            if member.device is not None:
                member.device.subscribed(message_id, code)
            return
        member.filters.add(topic_filter)
        wanted = self._wanted.setdefault(topic_filter, {})
        wanted[member] = qos
        self._requests[packet_id] = _Request(member, message_id, topic_filter, qos)
        entry = SubscriptionRequest(topic_filter, max(wanted.values()))
        self._feed(encode_subscribe(Subscribe(packet_id, (entry,), member.number), VERSION))

    def unsubscribe(self, member: Member, topic_filter: str) -> None:
        """Give up what the device has; for the broker only what no other wants."""
        if topic_filter not in member.filters:
            return
        member.filters.discard(topic_filter)
        self._tree.unsubscribe(topic_filter.encode(), member)
        wanted = self._wanted[topic_filter]
        del wanted[member]
        if wanted:
            return
        del self._wanted[topic_filter]
        packet_id = self._new_packet_id()
        if packet_id:
            self._requests[packet_id] = _Request()
            self._feed(encode_unsubscribe(Unsubscribe(packet_id, (topic_filter,)), VERSION))

    def _feed(self, packet: bytes) -> None:
        if self._connection is not None:
            self._connection.feed(packet)

    def _new_packet_id(self) -> int:
        """A packet identifier that is free; 0 where there is none."""
        if len(self._flows) + len(self._requests) >= _PACKET_IDS:
            return 0
        while True:
            self._last_packet_id = self._last_packet_id % _PACKET_IDS + 1
            if self._last_packet_id not in self._flows and self._last_packet_id not in self._requests:
                return self._last_packet_id

    def _new_flow_id(self) -> int:
        """The same for a message; 0 where the broker takes no more of them at a time."""
        return 0 if len(self._flows) >= self._receive_maximum else self._new_packet_id()

    # --- from the broker ---

    def pump(self, now: float) -> None:
        """Tell the devices what the broker has sent."""
        connection = self._connection
        if connection is None:
            return
        for first, body in connection.take():
            self._packet(connection, first, body, now)
        if self._is_open:
            waiting, self._waiting = self._waiting, []
            for member in waiting:
                if member.device is not None:
                    member.device.connected(ReasonCode.SUCCESS, now)
        releases, self._to_release = self._to_release, []
        for member, packet_id in releases:
            if member.device is not None:
                member.device.release(packet_id, now)
        if connection.is_over:
            self._end(ReasonCode.SERVER_UNAVAILABLE, now)

    def _end(self, reason_code: int, now: float) -> None:
        """The connection has ended, and with it those of all devices."""
        if self._connection is not None:
            self._connection.lose("the gateway ends it")
        members, self._members = list(self._members.values()), {}
        waiting, self._waiting = self._waiting, []
        self._connection = None
        self._is_open = False
        self._flows.clear()
        self._requests.clear()
        self._wanted.clear()
        self._packet_id_of.clear()
        self._to_release.clear()
        for member in members:
            device, member.device = member.device, None
            member.filters.clear()
            self._tree.unsubscribe_all(member)
            if device is None:
                continue
            if member in waiting:
                device.connected(reason_code, now)
            device.ended()

    def _packet(self, connection: MemoryConnection, first: int, body: bytes, now: float) -> None:
        match first >> 4:
            case PacketType.PUBLISH:
                self._deliver(connection, first, body, now)
            case PacketType.PUBACK | PacketType.PUBREC | PacketType.PUBREL | PacketType.PUBCOMP:
                self._acknowledgement(connection, first, body)
            case PacketType.SUBACK:
                suback = decode_suback(body, VERSION, first)
                self._subscribed(self._requests.pop(suback.packet_id, None), suback.reason_codes[0])
            case PacketType.UNSUBACK:
                self._requests.pop(decode_unsuback(body, VERSION, first).packet_id, None)
            case PacketType.CONNACK:
                connack = decode_connack(body, VERSION, first)
                self.keep_alive_s = connack.server_keep_alive_s or 0
                self._receive_maximum = connack.receive_maximum
                self._is_open = connack.reason_code == ReasonCode.SUCCESS
                if not self._is_open:
                    self._end(connack.reason_code, now)
            case _:
                pass  # PINGRESP; DISCONNECT, which the end of the connection follows

    def _deliver(self, connection: MemoryConnection, first: int, body: bytes, now: float) -> None:
        packet = decode_publish(first, body, VERSION, True)
        if packet.qos == 2:
            # It comes once: a server sends again on another connection only, and this session ends with its own.
            connection.feed(encode_ack(PacketType.PUBREC, packet.packet_id, VERSION))
        for member, qos in self._targets(packet.topic, packet.properties, retained=packet.retain).items():
            if member.device is None:
                continue
            qos = min(qos, packet.qos)
            packet_id = member.next_packet_id() if qos else 0
            member.device.deliver(
                Delivery(packet.topic.decode(), packet.payload, qos, packet.retain, packet_id=packet_id), now
            )
        if packet.qos == 1:
            connection.feed(encode_ack(PacketType.PUBACK, packet.packet_id, VERSION))

    def _targets(self, topic: bytes, properties: bytes, *, retained: bool) -> dict[Member, int]:
        """Whom a message is for, and at what QoS at most: all who match, or who has asked for what is retained."""
        targets: dict[Member, int] = {}
        for subscriber, qos, _, _ in self._tree.match(topic):
            if isinstance(subscriber, Member):
                targets[subscriber] = max(qos, targets.get(subscriber, 0))
        if not retained:
            return targets
        values = decode_property_block(properties, PacketType.PUBLISH) if properties else {}
        asked = values.get(PropertyId.SUBSCRIPTION_IDENTIFIER, ())
        return {member: qos for member, qos in targets.items() if member.number in asked}

    def _acknowledgement(self, connection: MemoryConnection, first: int, body: bytes) -> None:
        ack = decode_ack(first, body, VERSION)
        if ack.packet_type == PacketType.PUBREL:
            connection.feed(encode_ack(PacketType.PUBCOMP, ack.packet_id, VERSION))
            return
        flow = self._flows.get(ack.packet_id)
        if flow is None or flow.expected != ack.packet_type:
            return
        is_refused = ack.reason_code >= FIRST_FAILURE
        if flow.member is None or flow.member.device is None:
            self._go_on_alone(connection, ack.packet_type, ack.packet_id, is_refused)
            return
        device = flow.member.device
        if ack.packet_type == PacketType.PUBREC and not is_refused:
            self._flows[ack.packet_id] = _Flow(PacketType.PUBREL, flow.member, flow.message_id)
            device.received(flow.message_id, ack.reason_code)  # it releases the message
            return
        del self._flows[ack.packet_id]
        self._packet_id_of.pop((flow.member.number, flow.message_id), None)
        if ack.packet_type == PacketType.PUBACK:
            device.published(flow.message_id, ack.reason_code)
        elif ack.packet_type == PacketType.PUBREC:
            device.received(flow.message_id, ack.reason_code)
        else:
            device.completed(flow.message_id)

    def _go_on_alone(self, connection: MemoryConnection, packet_type: int, packet_id: int, is_refused: bool) -> None:
        """The answer to a message of nobody's: a Will, or of a device that has gone; it is brought to its end."""
        if packet_type == PacketType.PUBREC and not is_refused:
            self._flows[packet_id] = _Flow(PacketType.PUBCOMP, None)
            connection.feed(encode_ack(PacketType.PUBREL, packet_id, VERSION))
        else:
            del self._flows[packet_id]

    def _subscribed(self, request: _Request | None, reason_code: int) -> None:
        if request is None or request.member is None:
            return
        member, topic_filter = request.member, request.topic_filter
        if member.device is None or topic_filter not in member.filters:
            return  # given up meanwhile, which the broker has been told
        if reason_code >= FIRST_FAILURE:
            self.unsubscribe(member, topic_filter)
            member.device.subscribed(request.message_id, reason_code)
            return
        granted = min(request.qos, reason_code)
        self._tree.subscribe(topic_filter.encode(), member, granted)
        member.device.subscribed(request.message_id, granted)
