"""One device without a socket and without a broker: messages in, messages out, and what it asks of its upstream."""

from collections.abc import Iterator
from typing import Any

from noctule.config.mqtt_sn import MqttSnSettings
from noctule.net.mqtt_sn.counts import Counts
from noctule.net.mqtt_sn.device import Device, DeviceState
from noctule.net.mqtt_sn.messages import Connack, Connect, Message, Regack, Register, TopicIdType
from noctule.net.mqtt_sn.packets import decode, encode
from noctule.net.mqtt_sn.upstream import ConnectRequest, Delivery
from noctule.protocol import Will

NORMAL, PREDEFINED, SHORT = TopicIdType

#: What the tests' devices have by predefined id.
PREDEFINED_TOPICS = {"7": "pre/defined"}

#: When it begins.
START_S = 1_000.0


class RecordingUpstream:
    """Notes what it is asked; the test answers in the broker's place."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.is_busy = False

    def taken(self) -> list[tuple[Any, ...]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    def connect(self, request: ConnectRequest) -> None:
        self.calls.append(("connect", request))

    def publish(self, topic: str, payload: bytes, qos: int, message_id: int, *, retain: bool, dup: bool) -> None:
        self.calls.append(("publish", topic, payload, qos, message_id, retain, dup))

    def release(self, message_id: int) -> None:
        self.calls.append(("release", message_id))

    def subscribe(self, topic_filter: str, qos: int, message_id: int) -> None:
        self.calls.append(("subscribe", topic_filter, qos, message_id))

    def unsubscribe(self, topic_filter: str, message_id: int) -> None:
        self.calls.append(("unsubscribe", topic_filter, message_id))

    def puback(self, packet_id: int, reason_code: int = 0) -> None:
        self.calls.append(("puback", packet_id, reason_code))

    def pubrec(self, packet_id: int, reason_code: int = 0) -> None:
        self.calls.append(("pubrec", packet_id, reason_code))

    def pubcomp(self, packet_id: int) -> None:
        self.calls.append(("pubcomp", packet_id))

    def change_will(self, will: Will | None) -> None:
        self.calls.append(("change_will", will))

    def disconnect(self) -> None:
        self.calls.append(("disconnect",))

    def lose(self, cause: str) -> None:
        self.calls.append(("lose",))


class Bench:
    """A device, its upstream (the last that it has opened), and a clock that is set by hand."""

    def __init__(self, *, levels_max: int = 200, keep_alive_max_s: int = 0, **settings: Any) -> None:
        self.now = START_S
        self.counts = Counts()
        self.settings = MqttSnSettings(**{"predefined_topics": PREDEFINED_TOPICS, **settings})
        self.wills: dict[str, Will] = {}
        self.upstreams: list[RecordingUpstream] = []
        self._sent: list[bytes] = []
        self._ids = self._random_ids()
        self.device = Device(
            "dev",
            self.settings,
            send=self._sent.append,
            open_upstream=self._open_upstream,
            random_id=lambda: next(self._ids),
            wills=self.wills,
            counts=self.counts,
            topic_levels_max=levels_max,
            keep_alive_max_s=keep_alive_max_s,
        )

    @staticmethod
    def _random_ids() -> Iterator[int]:
        number = 0x4000
        while True:
            number += 1
            yield number

    def _open_upstream(self, device: Device) -> RecordingUpstream:
        self.upstreams.append(RecordingUpstream())
        return self.upstreams[-1]

    @property
    def upstream(self) -> RecordingUpstream:
        return self.upstreams[-1]

    @property
    def state(self) -> DeviceState:
        return self.device.state

    def sent(self) -> list[Message]:
        """What the device was sent since the last time."""
        sent, self._sent[:] = list(self._sent), []
        for datagram in sent:
            assert len(datagram) <= self.settings.message_max_bytes
        return [decode(datagram) for datagram in sent]

    def receive(self, *messages: Message) -> list[Message]:
        """Messages of the device's come; what it is sent for them."""
        for message in messages:
            self.device.receive(message, len(encode(message)), self.now)
        return self.sent()

    def advance(self, seconds: float) -> list[Message]:
        """Time passes; what it is sent meanwhile."""
        until = self.now + seconds
        while self.device.deadline <= until:
            self.now = max(self.now, self.device.deadline)
            self.device.tick(self.now)
        self.now = until
        return self.sent()

    def connect(self, message: Connect | None = None, *, verified: bool = True) -> "Bench":
        """Let it in; ``verified``: it has answered a REGISTER as well."""
        self.receive(message or Connect("dev", 60))
        self.device.connected(0, self.now)
        assert self.sent() == [Connack(0)]
        self.upstream.taken()
        if verified:
            self.device.deliver(Delivery("verify", b""), self.now)
            (register,) = self.sent()
            assert isinstance(register, Register)
            self.receive(Regack(register.topic_id, register.message_id, 0))
        return self

    def deliver(
        self, topic: str, payload: bytes = b"x", qos: int = 0, packet_id: int = 0, **fields: Any
    ) -> list[Message]:
        """A message of the broker's; what the device is sent for it."""
        self.device.deliver(Delivery(topic, payload, qos, packet_id=packet_id, is_kept=qos > 0, **fields), self.now)
        return self.sent()
