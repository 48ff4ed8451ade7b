"""What a device has behind it in transparent mode: a connection to the broker of its own."""

import dataclasses
from collections.abc import Callable
from typing import Final

from noctule._speedups.codec import decode_ack, decode_publish, encode_ack, encode_publish
from noctule.core.origin import Origin
from noctule.core.state import State
from noctule.handlers.dispatch import Dispatcher
from noctule.net.mqtt_sn.connection import VERSION, MemoryConnection
from noctule.net.mqtt_sn.upstream import ConnectRequest, Delivery, Downstream
from noctule.protocol.connack import decode_connack
from noctule.protocol.connect import Connect, Will, encode_connect
from noctule.protocol.constants import PacketType
from noctule.protocol.disconnect import Disconnect, encode_disconnect
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.suback import decode_suback
from noctule.protocol.subscribe import Subscribe, SubscriptionRequest, encode_subscribe
from noctule.protocol.unsuback import decode_unsuback
from noctule.protocol.unsubscribe import Unsubscribe, encode_unsubscribe

#: One at a time: the rest waits in the session, bounded and kept as every client's messages are.
_RECEIVE_MAXIMUM: Final = 1

#: How often in one go the broker is asked for what it has sent meanwhile.
_ROUNDS_MAX: Final = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who connects: what its CONNECT says beside the client identifier."""

    user_name: str | None = None
    password: bytes | None = dataclasses.field(default=None, repr=False)

    #: How long its session outlives the connection, if it does at all.
    session_expiry_s: int = 0


class TransparentUpstream:
    """One device's connection; ``woken`` gets it when there is something to ``pump``."""

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        device: Downstream,
        identity: Identity,
        origin: Origin,
        peer: str,
        woken: Callable[["TransparentUpstream"], None],
    ) -> None:
        self._device: Downstream | None = device
        self._identity = identity
        self._woken = woken
        self._state = state
        self._connection = MemoryConnection(state, dispatcher, origin, peer, lambda: woken(self))
        #: How long its broker's end may be left without a packet; 0: any time.
        self.keep_alive_s = 0

    @property
    def is_busy(self) -> bool:
        """Whether a decision is waited for."""
        return self._connection.is_busy

    @property
    def is_drained(self) -> bool:
        """Whether the broker has nothing more for the device now."""
        return self._connection.link.pending_bytes == 0 and not self.is_busy

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to pump, ever."""
        return self._connection.is_over

    def keep_alive(self) -> None:
        """Tell the broker that the gateway watches over the device."""
        self._connection.ping()

    # --- from the device ---

    def connect(self, request: ConnectRequest) -> None:
        """CONNECT."""
        identity = self._identity
        packet = Connect(
            VERSION,
            request.client_id,
            clean_start=request.clean_session,
            will=request.will,
            user_name=identity.user_name,
            password=identity.password,
            session_expiry_interval_s=0 if request.clean_session else identity.session_expiry_s,
            receive_maximum=_RECEIVE_MAXIMUM,
            request_problem_information=False,
        )
        self._connection.feed(encode_connect(packet))

    def publish(self, topic: str, payload: bytes, qos: int, message_id: int, *, retain: bool, dup: bool) -> None:
        """PUBLISH; its packet identifier is the message id."""
        packet_id = message_id if qos else 0
        self._connection.feed(encode_publish(topic.encode(), payload, VERSION, qos, retain, dup and qos > 0, packet_id))

    def release(self, message_id: int) -> None:
        """PUBREL."""
        if message_id:
            self._connection.feed(encode_ack(PacketType.PUBREL, message_id, VERSION))

    def subscribe(self, topic_filter: str, qos: int, message_id: int) -> None:
        """SUBSCRIBE with one filter."""
        self._connection.feed(
            encode_subscribe(Subscribe(message_id, (SubscriptionRequest(topic_filter, qos),)), VERSION)
        )

    def unsubscribe(self, topic_filter: str, message_id: int) -> None:
        """UNSUBSCRIBE with one filter."""
        self._connection.feed(encode_unsubscribe(Unsubscribe(message_id, (topic_filter,)), VERSION))

    def puback(self, packet_id: int, reason_code: int = 0) -> None:
        """PUBACK."""
        self._connection.feed(encode_ack(PacketType.PUBACK, packet_id, VERSION, reason_code))

    def pubrec(self, packet_id: int, reason_code: int = 0) -> None:
        """PUBREC."""
        self._connection.feed(encode_ack(PacketType.PUBREC, packet_id, VERSION, reason_code))

    def pubcomp(self, packet_id: int) -> None:
        """PUBCOMP."""
        self._connection.feed(encode_ack(PacketType.PUBCOMP, packet_id, VERSION))

    def change_will(self, will: Will | None) -> None:
        """MQTT cannot change a Will; the session that holds it can. Like every Will it is judged when it is due."""
        session = self._connection.link.session
        if session is not None:
            self._state.sessions.arm_will(session, will)

    def disconnect(self) -> None:
        """DISCONNECT."""
        self._device = None
        self._connection.feed(encode_disconnect(Disconnect(), VERSION))

    def lose(self, cause: str) -> None:
        """The connection breaks."""
        self._device = None
        self._connection.lose(cause)

    # --- from the broker ---

    def pump(self, now: float) -> None:
        """Tell the device what the broker has sent, and what it causes by its answers."""
        for _ in range(_ROUNDS_MAX):
            packets = self._connection.take()
            for first, body in packets:
                if self._device is None:
                    break
                self._packet(self._device, first, body, now)
            if not packets:
                break
        else:
            self._woken(self)  # others have their turn first
            return
        if self._connection.is_over and self._device is not None:
            device, self._device = self._device, None
            device.ended()

    def _packet(self, device: Downstream, first: int, body: bytes, now: float) -> None:
        match first >> 4:
            case PacketType.PUBLISH:
                packet = decode_publish(first, body, VERSION, True)
                delivery = Delivery(
                    packet.topic.decode(),
                    packet.payload,
                    packet.qos,
                    packet.retain,
                    packet.dup,
                    packet.packet_id,
                    is_kept=packet.qos > 0,
                )
                device.deliver(delivery, now)
            case PacketType.PUBACK | PacketType.PUBREC | PacketType.PUBREL | PacketType.PUBCOMP:
                self._acknowledgement(device, first, body, now)
            case PacketType.SUBACK:
                suback = decode_suback(body, VERSION, first)
                device.subscribed(suback.packet_id, suback.reason_codes[0])
            case PacketType.UNSUBACK:
                device.unsubscribed(decode_unsuback(body, VERSION, first).packet_id)
            case PacketType.CONNACK:
                connack = decode_connack(body, VERSION, first)
                self.keep_alive_s = connack.server_keep_alive_s or 0
                device.connected(connack.reason_code, now)
                if connack.reason_code != ReasonCode.SUCCESS:
                    self._device = None
            case _:
                pass  # PINGRESP; DISCONNECT, which the end of the connection follows

    def _acknowledgement(self, device: Downstream, first: int, body: bytes, now: float) -> None:
        ack = decode_ack(first, body, VERSION)
        match ack.packet_type:
            case PacketType.PUBACK:
                device.published(ack.packet_id, ack.reason_code)
            case PacketType.PUBREC:
                device.received(ack.packet_id, ack.reason_code)
            case PacketType.PUBREL:
                device.release(ack.packet_id, now)
            case _:
                device.completed(ack.packet_id)
