"""One client of the gateway: its states (MQTT-SN 6.14), what it asks for, and what it is answered. No I/O; the time
is an argument."""

from collections.abc import Callable, MutableMapping
from enum import Enum, auto
from typing import Final

from noctule.config import limits
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.net.mqtt_sn.counts import Counts
from noctule.net.mqtt_sn.delivery import Deliveries
from noctule.net.mqtt_sn.messages import (
    PROTOCOL_ID,
    Connack,
    Connect,
    Disconnect,
    Message,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    ReturnCode,
    Subscribe,
    Unsubscribe,
    WillMessage,
    WillMessageRequest,
    WillMessageResponse,
    WillTopic,
    WillTopicRequest,
    WillTopicResponse,
)
from noctule.net.mqtt_sn.packets import encode
from noctule.net.mqtt_sn.requests import Requests, return_code_of
from noctule.net.mqtt_sn.topics import TopicIds
from noctule.net.mqtt_sn.upstream import ConnectRequest, Delivery, Upstream
from noctule.protocol.connect import Will
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_name

_NEVER: Final = float("inf")


class DeviceState(Enum):
    """Where a device stands (figure 4 of the specification, and the way to a connection)."""

    #: Nothing has come yet.
    NEW = auto()

    #: It is asked for its Will.
    WILL_TOPIC = auto()
    WILL_MESSAGE = auto()

    #: The broker is asked whether it is let in.
    CONNECTING = auto()

    ACTIVE = auto()
    ASLEEP = auto()

    #: It sleeps, and is getting what has waited for it.
    AWAKE = auto()

    #: Gone, whichever way: disconnected, lost, refused, ended by the broker.
    GONE = auto()


_CONNECTED: Final = frozenset((DeviceState.ACTIVE, DeviceState.ASLEEP, DeviceState.AWAKE))


def patience_s(duration_s: float) -> float:
    """How long a silence is waited for that was announced to be this long: 10 % more, 50 % up to a minute (7.2)."""
    return duration_s * (1.1 if duration_s > 60 else 1.5)


class Device:
    """One client, by its identifier.

    ``send`` gets the datagrams for it, ``open_upstream`` makes what it has behind it, ``wills`` keeps the Wills of
    sessions from one connection to the next (6.3). ``keep_alive_max_s`` is the broker's; 0: any.
    """

    def __init__(
        self,
        client_id: str,
        settings: MqttSnSettings,
        *,
        send: Callable[[bytes], None],
        open_upstream: Callable[["Device"], Upstream],
        random_id: Callable[[], int],
        wills: MutableMapping[str, Will],
        counts: Counts,
        predefined_topics: dict[int, str] | None = None,
        topic_levels_max: int = limits.TOPIC_LEVELS_MAX,
        receive_max: int = limits.MQTT_SN_RECEIVE_MAX,
        keep_alive_max_s: int = 0,
    ) -> None:
        self.client_id = client_id
        self.state = DeviceState.NEW
        #: Whether it has sent anything since its connection was accepted.
        self.has_spoken = False
        self._settings = settings
        self._send = send
        self._open_upstream = open_upstream
        self._wills = wills
        self._counts = counts
        self._topic_levels_max = topic_levels_max
        self._keep_alive_max_s = keep_alive_max_s
        predefined = settings.topics_by_predefined_id if predefined_topics is None else predefined_topics
        self.topics = TopicIds(predefined, settings.topics_max, limits.MQTT_SN_TOPIC_BYTES_MAX)
        self.requests = Requests(self.topics, send, topic_levels_max, receive_max)
        self.deliveries = Deliveries(settings, self.topics, send, random_id, counts)
        self._upstream: Upstream | None = None
        self._connect = Connect(client_id, 0)
        self._will: Will | None = None
        self._lost_at = _NEVER
        self._silence_s = 0.0

    @property
    def deadline(self) -> float:
        """When ``tick`` is to be called next."""
        return min(self._lost_at, self.deliveries.deadline)

    @property
    def is_connected(self) -> bool:
        """Whether it has been let in and has not gone."""
        return self.state in _CONNECTED

    @property
    def silence_s(self) -> float:
        """How long it may be silent before it is lost."""
        return self._silence_s

    # --- from the device ---

    def receive(self, message: Message, size: int, now: float) -> None:
        """A message of the device's, of so many bytes. What does not belong here is not answered."""
        if self.state is DeviceState.GONE:
            return
        if isinstance(message, Connect):
            self._receive_connect(message, now)
        elif isinstance(message, WillTopic | WillMessage) and not message.is_update:
            self._receive_will(message, now)
        elif isinstance(message, Disconnect):
            self._receive_disconnect(message, now)
        elif self.is_connected:
            self.has_spoken = True
            self._be_patient(now)
            self._receive_connected(message, now)
        if self.is_connected:
            self.deliveries.heard(size, now)

    def _receive_connected(self, message: Message, now: float) -> None:
        match message:
            case Publish():
                self.requests.publish(message, self._up)
            case Pubrel(message_id):
                self._up.release(message_id)
            case Register():
                self.requests.register(message)
            case Subscribe():
                self.requests.subscribe(message, self._up)
            case Unsubscribe():
                self.requests.unsubscribe(message, self._up)
            case Regack() | Puback() | Pubcomp():
                self.deliveries.answered(message, now)
            case Pubrec(message_id):
                if not self.deliveries.answered(message, now):
                    self._answer(Pubrel(message_id))  # of a message that we are done with: it may be, too
            case Pingreq():
                self._receive_pingreq(message, now)
            case WillTopic():
                self._update_will_topic(message)
            case WillMessage():
                self._update_will_message(message)
            case _:
                pass  # what a gateway says, or what nobody asked for

    @property
    def _up(self) -> Upstream:
        if self._upstream is None:
            raise RuntimeError("a device that is connected has an upstream")
        return self._upstream

    def _answer(self, message: Message) -> None:
        self._send(encode(message))

    def _be_patient(self, now: float) -> None:
        """It has been heard of: the time until it is lost begins anew."""
        self._lost_at = now + self._silence_s

    # --- to a connection and out of it ---

    def _receive_connect(self, message: Connect, now: float) -> None:
        if message.protocol_id != PROTOCOL_ID or not message.client_id or not self._duration_allowed(message):
            self._refuse(ReturnCode.NOT_SUPPORTED)
            return
        is_same = message == self._connect
        if is_same and self.state is DeviceState.CONNECTING:
            return  # sent again; the answer is on its way
        if is_same and self.state is DeviceState.ACTIVE and not self.has_spoken:
            self._be_patient(now)
            self._answer(Connack(ReturnCode.ACCEPTED))  # which it has not had
            return
        resumes = not message.clean_session and not message.will
        if resumes and self.state in (DeviceState.ASLEEP, DeviceState.AWAKE):
            self._wake_up(message, now)
            return
        if self._upstream is not None:
            self._upstream.lose("it connects anew")  # with its Will, as when a session is taken over [MQTT-3.1.4-3]
            self._upstream = None
        self.deliveries.pause()
        self._connect = message
        self.has_spoken = False
        self.requests.clear()
        self.topics.clear()
        self._silence_s = limits.CONNECT_TIMEOUT_S
        self._be_patient(now)
        if message.clean_session:
            self._wills.pop(self.client_id, None)
        if message.will:
            self.state = DeviceState.WILL_TOPIC
            self._answer(WillTopicRequest())
        else:
            self._open(self._wills.get(self.client_id), now)

    def _duration_allowed(self, message: Connect) -> bool:
        """Whether the broker's maximum of the keep-alive allows it: an MQTT-SN client cannot be told another."""
        return self._keep_alive_max_s == 0 or 0 < message.duration_s <= self._keep_alive_max_s

    def _wake_up(self, message: Connect, now: float) -> None:
        """A sleeping client becomes active: its connection goes on (6.14)."""
        self.state = DeviceState.ACTIVE
        self._connect = message
        self.has_spoken = False
        self._silence_s = self._active_silence_s()
        self._be_patient(now)
        self._answer(Connack(ReturnCode.ACCEPTED))
        self.deliveries.resume(now)

    def _receive_will(self, message: WillTopic | WillMessage, now: float) -> None:
        if isinstance(message, WillTopic) and self.state in (DeviceState.WILL_TOPIC, DeviceState.WILL_MESSAGE):
            self._be_patient(now)
            if not message.topic:
                self._open(None, now)
                return
            try:
                check_topic_name(message.topic, self._topic_levels_max)
            except PacketError:
                self._refuse(ReturnCode.NOT_SUPPORTED)
                return
            self.state = DeviceState.WILL_MESSAGE
            self._will = Will(message.topic, b"", message.qos, message.retain)
            self._answer(WillMessageRequest())
        elif isinstance(message, WillMessage) and self.state is DeviceState.WILL_MESSAGE and self._will is not None:
            self._be_patient(now)
            self._open(Will(self._will.topic, message.payload, self._will.qos, self._will.retain), now)

    def _open(self, will: Will | None, now: float) -> None:
        """Ask the broker for the connection."""
        self.state = DeviceState.CONNECTING
        self._be_patient(now)
        self._set_will(will)
        upstream = self._upstream = self._open_upstream(self)
        upstream.connect(ConnectRequest(self.client_id, self._connect.clean_session, will))

    def _set_will(self, will: Will | None) -> None:
        self._will = will
        if will is None or self._connect.clean_session:
            self._wills.pop(self.client_id, None)
        else:
            self._wills[self.client_id] = will

    def _active_silence_s(self) -> float:
        return patience_s(self._connect.duration_s) if self._connect.duration_s else limits.MQTT_SN_SILENCE_MAX_S

    def _refuse(self, return_code: ReturnCode) -> None:
        self._answer(Connack(return_code))
        if self._upstream is not None:
            self._upstream.lose("it has tried to connect in a way that cannot be")
        self._go()

    def _go(self) -> None:
        """There is nothing more to do for it."""
        self.state = DeviceState.GONE
        self._upstream = None
        self._lost_at = _NEVER
        self.deliveries.pause()

    def _receive_disconnect(self, message: Disconnect, now: float) -> None:
        upstream = self._upstream
        if message.duration_s and self.is_connected:
            self.has_spoken = True
            self.state = DeviceState.ASLEEP
            self.deliveries.pause()
            self._silence_s = patience_s(message.duration_s)
            self._be_patient(now)
            self._answer(Disconnect())
            return
        if upstream is not None:
            upstream.disconnect()
        self._answer(Disconnect())
        self._go()

    def _receive_pingreq(self, message: Pingreq, now: float) -> None:
        if message.client_id is not None and message.client_id != self.client_id:
            self._answer(Disconnect())  # somebody else, who has to connect first
            return
        if message.client_id is None or self.state is DeviceState.ACTIVE:
            self._answer(Pingresp())
            return
        if self.state is DeviceState.ASLEEP:
            self.state = DeviceState.AWAKE
        self.deliveries.resume(now)  # PINGRESP follows when nothing waits any more: ``settled``

    def settled(self) -> None:
        """Everything that the broker has for the device has been handed over: it may go back to sleep (6.14)."""
        if self.state is DeviceState.AWAKE and self.deliveries.is_idle:
            self._answer(Pingresp())
            self.state = DeviceState.ASLEEP
            self.deliveries.pause()

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.state is DeviceState.GONE:
            return
        if now >= self._lost_at:
            self.lose("it has been silent for too long")
            return
        self.deliveries.tick(now)
        if self.state is DeviceState.AWAKE and self.deliveries.is_held:
            # It does not answer: what is left waits until it wakes up again.
            self.state = DeviceState.ASLEEP
            self.deliveries.pause()

    def lose(self, cause: str) -> None:
        """It is gone without a word: its Will is published."""
        if self.state is DeviceState.GONE:
            return
        self._counts.devices_lost += 1
        if self._upstream is not None:
            self._upstream.lose(cause)
        self._go()

    # --- its Will, while it is connected ---

    def _update_will_topic(self, message: WillTopic) -> None:
        code = ReturnCode.ACCEPTED
        if not message.topic:
            self._change_will(None)
        else:
            try:
                check_topic_name(message.topic, self._topic_levels_max)
            except PacketError:
                code = ReturnCode.NOT_SUPPORTED
            else:
                payload = b"" if self._will is None else self._will.payload
                self._change_will(Will(message.topic, payload, message.qos, message.retain))
        self._answer(WillTopicResponse(code))

    def _update_will_message(self, message: WillMessage) -> None:
        will = self._will
        if will is None:
            self._answer(WillMessageResponse(ReturnCode.NOT_SUPPORTED))  # there is no topic to send it to
            return
        self._change_will(Will(will.topic, message.payload, will.qos, will.retain))
        self._answer(WillMessageResponse(ReturnCode.ACCEPTED))

    def _change_will(self, will: Will | None) -> None:
        self._set_will(will)
        self._up.change_will(will)

    # --- from the broker ---

    def connected(self, reason_code: int, now: float) -> None:
        """CONNECT has been accepted or refused."""
        if self.state is not DeviceState.CONNECTING or self._upstream is None:
            return
        code = return_code_of(reason_code)
        if code is not ReturnCode.ACCEPTED:
            self._answer(Connack(code))
            self._go()
            return
        self.state = DeviceState.ACTIVE
        self._silence_s = self._active_silence_s()
        self._be_patient(now)
        self.deliveries.begin(self._upstream)
        self._answer(Connack(code))

    def published(self, message_id: int, reason_code: int) -> None:
        """The answer at QoS 1."""
        self.requests.published(message_id, reason_code)

    def received(self, message_id: int, reason_code: int) -> None:
        """The first answer at QoS 2."""
        self.requests.received(message_id, reason_code)

    def completed(self, message_id: int) -> None:
        """The last answer at QoS 2."""
        self.requests.completed(message_id)

    def subscribed(self, message_id: int, reason_code: int) -> None:
        """The answer to SUBSCRIBE."""
        self.requests.subscribed(message_id, reason_code)

    def unsubscribed(self, message_id: int) -> None:
        """The answer to UNSUBSCRIBE."""
        self.requests.unsubscribed(message_id)

    def deliver(self, delivery: Delivery, now: float) -> None:
        """A message for the device."""
        self.deliveries.add(delivery, now)

    def release(self, packet_id: int, now: float) -> None:
        """PUBREL for a message of QoS 2 that the device has received."""
        self.deliveries.release(packet_id, now)

    def ended(self) -> None:
        """The broker has ended the connection."""
        if self.state is DeviceState.GONE:
            return
        if self.is_connected:
            self._answer(Disconnect())
        else:
            self._answer(Connack(ReturnCode.NOT_SUPPORTED))
        self._go()
