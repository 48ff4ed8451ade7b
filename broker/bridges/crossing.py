"""What becomes of each packet on its way from one broker to the other: no I/O.

Both brokers speak the same version with the bridge, and the packet identifiers of one are those of the other: the
outgoing flows of the session here are the ones on the connection to the other broker, and its flows are the session's
incoming ones. What has been acknowledged, and what has not, is kept by the session alone.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule._speedups.codec import decode_ack, encode_ack
from noctule.bridges.doubtful_identifiers import DoubtfulIdentifiers
from noctule.bridges.topics import TopicMap
from noctule.protocol import (
    CAPABILITIES,
    FIRST_FAILURE,
    PacketError,
    PacketType,
    PropertyId,
    ProtocolVersion,
    ReasonCode,
    decode_property_block,
    describe,
)
from noctule.protocol.wire import encode_packet

_RETAIN: Final = 0x01
_DUP: Final = 0x08
_QOS: Final = 0x06
_QOS_2: Final = 0x04

#: With these a broker refuses a message that it might take later: it is not given up, but sent again.
_NOT_NOW: Final = (ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, ReasonCode.QUOTA_EXCEEDED)


@dataclass(frozen=True, slots=True)
class CrossingLimits:
    """What may cross."""

    #: The largest packets that the two brokers take, in bytes; None: any.
    packet_max_there: int | None = None
    packet_max_here: int | None = None

    #: How many messages of QoS 2 that wait for their release this broker holds, in number and in bytes. One below
    #: version 5 is not told, and Mosquitto sends all that it has when it has been restarted.
    unreleased_max: int = 1_000
    unreleased_max_bytes: int = 16_777_216

    #: The highest QoS that the other broker takes.
    qos_max_there: int = 2

    #: Whether what is retained here is sent as retained.
    sends_retained: bool = True


class Crossing:
    """The packets of one connection of a bridge. What is to be sent is added to ``to_here`` and ``to_there``."""

    def __init__(
        self,
        topics: TopicMap,
        version: ProtocolVersion,
        limits: CrossingLimits,
        doubtful: DoubtfulIdentifiers | None,
        log: Callable[[str], None],
    ) -> None:
        self.to_here = bytearray()
        self.to_there = bytearray()
        #: Messages that have crossed, either way.
        self.messages = 0
        #: Messages that were not sent on: their topic does not cross, or they are too large.
        self.dropped = 0

        self._topics = topics
        self._version = version
        self._has_properties = CAPABILITIES[version].has_properties
        self._limits = limits
        self._doubtful = doubtful
        self._log = log
        # Topic Aliases whose topic crosses, by direction.
        self._aliases_out: set[int] = set()
        self._aliases_in: set[int] = set()
        # Answers to packets of ours that the broker behind us has not asked for: how many for each identifier.
        self._own_releases_there: dict[int, int] = {}
        self._own_releases_here: dict[int, int] = {}
        # Flows of the broker here that end at the bridge: their PUBREL is answered by it.
        self._ended_here: set[int] = set()
        # QoS 2 of ours that goes on as QoS 1.
        self._lowered: set[int] = set()
        # QoS 2 of theirs that this broker holds, with its size; and what has come beyond that, in its order.
        self._unreleased: dict[int, int] = {}
        self._unreleased_bytes = 0
        self._parked: deque[tuple[int, bytes]] = deque()
        self._parked_bytes = 0
        self._has_left_out = False
        self._why_over = ""

    def take_to_here(self) -> bytes:
        """What is to be given to this broker now."""
        data = bytes(self.to_here)
        self.to_here.clear()
        return data

    def take_to_there(self) -> bytes:
        """What is to be sent to the other broker now."""
        data = bytes(self.to_there)
        self.to_there.clear()
        return data

    def release_here(self, packet_id: int) -> None:
        """Have this broker take what it holds of a message of theirs: nobody will release it."""
        self._own_releases_here[packet_id] = self._own_releases_here.get(packet_id, 0) + 1
        self.to_here += encode_ack(PacketType.PUBREL, packet_id, self._version)

    def note_unreleased(self, packet_id: int) -> None:
        """This broker holds a message of theirs under this identifier, from an earlier connection."""
        self._unreleased[packet_id] = 0

    @property
    def why_over(self) -> str:
        """Why the connection is to end, so that messages are sent again by another; empty where it may go on."""
        if self._why_over:
            return self._why_over
        if self._has_left_out and not self._parked and not self._unreleased:
            return "the other broker is to send again what could not be held"
        return ""

    # --- from here ---

    def message_from_here(self, first: int, body: bytes) -> None:
        """A PUBLISH of this broker's."""
        qos = (first & _QOS) >> 1
        name, end, packet_id = self._parts(body, qos)
        crosses, other = self._renamed(name, body, end, qos, self._topics.outgoing, self._aliases_out)
        if not crosses:
            self._end_here(qos, packet_id, f"{_shown(name)} does not go out")
            return
        allowed = min(qos, self._limits.qos_max_there)
        sent = first & ~_RETAIN if not self._limits.sends_retained else first
        rest = body[end:]
        if allowed < qos:
            sent = sent & ~(_QOS | _DUP) | allowed << 1 | (sent & _DUP if allowed else 0)
            if not allowed:
                rest = rest[2:]
        packet = _publish(sent, other, rest)
        if self._limits.packet_max_there is not None and len(packet) > self._limits.packet_max_there:
            self._end_here(qos, packet_id, f"a message of {len(packet)} bytes to {_shown(name)} is too large")
            return
        doubtful, is_again = self._doubtful, bool(first & _DUP)
        if allowed == 2 and doubtful is not None and doubtful.release_there_first(packet_id, is_again=is_again):
            self._own_releases_there[packet_id] = self._own_releases_there.get(packet_id, 0) + 1
            self.to_there += encode_ack(PacketType.PUBREL, packet_id, self._version)
        self.messages += 1
        self.to_there += packet
        if allowed == 1 and qos == 2:
            self._lowered.add(packet_id)
        elif not allowed and qos:
            self._finish_here(qos, packet_id)

    def acknowledgement_from_here(self, first: int, body: bytes) -> None:
        """A PUBACK, PUBREC, PUBREL or PUBCOMP of this broker's."""
        packet_id = int.from_bytes(body[:2], "big")
        packet_type = first >> 4
        if len(body) > 2 and body[2] in _NOT_NOW:
            self._why_over = "this broker cannot keep messages now"
        elif packet_type == PacketType.PUBREL and packet_id in self._ended_here:
            self._ended_here.discard(packet_id)
            self.to_here += encode_ack(PacketType.PUBCOMP, packet_id, self._version)
        elif packet_type == PacketType.PUBCOMP and _is_own(self._own_releases_here, packet_id):
            pass
        else:
            self.to_there += encode_packet(first, body)
            is_refused = packet_type == PacketType.PUBREC and len(body) > 2 and body[2] >= FIRST_FAILURE
            if packet_type == PacketType.PUBCOMP or is_refused:
                self._unreleased_bytes -= self._unreleased.pop(packet_id, 0)
                self._unpark()

    def _end_here(self, qos: int, packet_id: int, why: str) -> None:
        """The message goes no further: this broker is told that it has arrived, so that it does not wait for ever."""
        self.dropped += 1
        self._log(f"dropped: {why}")
        self._finish_here(qos, packet_id)

    def _finish_here(self, qos: int, packet_id: int) -> None:
        if qos == 1:
            self.to_here += encode_ack(PacketType.PUBACK, packet_id, self._version)
        elif qos == 2:
            self._ended_here.add(packet_id)
            self.to_here += encode_ack(PacketType.PUBREC, packet_id, self._version)

    # --- from there ---

    def message_from_there(self, first: int, body: bytes) -> None:
        """A PUBLISH of the other broker's. PacketError where it is none."""
        if self._parked or self._has_left_out or not self._has_room(first, body):
            self._park(first, body)
        else:
            self._take_from_there(first, body)

    def _has_room(self, first: int, body: bytes) -> bool:
        """Whether this broker may be given the message now: anything but QoS 2 always may."""
        if first & _QOS != _QOS_2:
            return True
        if len(self._unreleased) < self._limits.unreleased_max and (
            self._unreleased_bytes < self._limits.unreleased_max_bytes
        ):
            return True
        _, _, packet_id = self._parts(body, 2)
        return packet_id in self._unreleased

    def _park(self, first: int, body: bytes) -> None:
        """It waits for others to be released. What does not fit is forgotten, and will be sent again."""
        if self._has_left_out or self._parked_bytes > self._limits.unreleased_max_bytes:
            self._has_left_out = True
            return
        self._parked.append((first, body))
        self._parked_bytes += len(body)

    def _unpark(self) -> None:
        while self._parked and self._has_room(*self._parked[0]):
            first, body = self._parked.popleft()
            self._parked_bytes -= len(body)
            self._take_from_there(first, body)

    def _take_from_there(self, first: int, body: bytes) -> None:
        qos = (first & _QOS) >> 1
        name, end, packet_id = self._parts(body, qos)
        crosses, other = self._renamed(name, body, end, qos, self._topics.incoming, self._aliases_in)
        if not crosses:
            self._end_there(qos, packet_id, f"{_shown(name)} does not come in")
            return
        packet = _publish(first, other, body[end:])
        if self._limits.packet_max_here is not None and len(packet) > self._limits.packet_max_here:
            self._end_there(qos, packet_id, f"a message of {len(packet)} bytes from {_shown(name)} is too large")
            return
        doubtful, is_again = self._doubtful, bool(first & _DUP)
        if qos == 2 and doubtful is not None and doubtful.release_here_first(packet_id, is_again=is_again):
            self.release_here(packet_id)
        if qos == 2 and packet_id not in self._unreleased:
            self._unreleased[packet_id] = len(body)
            self._unreleased_bytes += len(body)
        self.messages += 1
        self.to_here += packet

    def acknowledgement_from_there(self, first: int, body: bytes) -> None:
        """A PUBACK, PUBREC, PUBREL or PUBCOMP of the other broker's. PacketError where it is none."""
        ack = decode_ack(first, body, self._version)
        packet_type, packet_id = ack.packet_type, ack.packet_id
        if packet_type == PacketType.PUBCOMP and _is_own(self._own_releases_there, packet_id):
            return
        if ack.reason_code in _NOT_NOW:
            self._why_over = "the other broker cannot keep messages now"
            return
        if packet_type in (PacketType.PUBACK, PacketType.PUBREC) and ack.reason_code >= FIRST_FAILURE:
            self.dropped += 1
            self._log(f"dropped: the other broker refuses a message: {describe(ack.reason_code)}")
        if packet_type == PacketType.PUBACK and packet_id in self._lowered:
            self._lowered.discard(packet_id)
            self._finish_here(2, packet_id)
            return
        self.to_here += encode_packet(first, body)

    def _end_there(self, qos: int, packet_id: int, why: str) -> None:
        """The message goes no further: the other broker is told that it has arrived. Its PUBREL, at QoS 2, is answered
        by this broker, which knows of no such identifier."""
        self.dropped += 1
        self._log(f"dropped: {why}")
        if qos == 1:
            self.to_there += encode_ack(PacketType.PUBACK, packet_id, self._version)
        elif qos == 2:
            self.to_there += encode_ack(PacketType.PUBREC, packet_id, self._version)

    # --- the parts of a PUBLISH ---

    def _parts(self, body: bytes, qos: int) -> tuple[bytes, int, int]:
        """The topic, where it ends, and the packet identifier (0 at QoS 0)."""
        end = 2 + int.from_bytes(body[:2], "big")
        if qos == 3 or len(body) < end + (2 if qos else 0) or len(body) < 2:
            raise PacketError(ReasonCode.MALFORMED_PACKET, "a PUBLISH that is cut off, or of QoS 3")
        return body[2:end], end, int.from_bytes(body[end : end + 2], "big") if qos else 0

    def _renamed(
        self,
        name: bytes,
        body: bytes,
        end: int,
        qos: int,
        other_name: Callable[[bytes], bytes | None],
        aliases: set[int],
    ) -> tuple[bool, bytes]:
        """Whether the message crosses, and its topic on the other side; empty where an alias stands for it."""
        alias = self._alias(body, end + (2 if qos else 0)) if self._has_properties else None
        if not name:
            # An alias that was never given is the receiver's to refuse.
            return alias is None or alias in aliases, b""
        other = other_name(name)
        if alias is not None:
            (aliases.discard if other is None else aliases.add)(alias)
        return other is not None, other or b""

    def _alias(self, body: bytes, at: int) -> int | None:
        """The Topic Alias of a PUBLISH of version 5."""
        if body[at : at + 1] == b"\0":
            return None
        reader = PacketReader(body[at:])
        size = reader.varint("the property length")
        block = reader.take(size)
        alias: int | None = decode_property_block(block, PacketType.PUBLISH).get(PropertyId.TOPIC_ALIAS)
        return alias


def _publish(first: int, name: bytes, rest: bytes) -> bytes:
    return encode_packet(first, len(name).to_bytes(2, "big") + name + rest)


def _is_own(releases: dict[int, int], packet_id: int) -> bool:
    """Whether this is the answer to a PUBREL of the bridge's own, which is counted off."""
    count = releases.get(packet_id, 0)
    if not count:
        return False
    if count == 1:
        del releases[packet_id]
    else:
        releases[packet_id] = count - 1
    return True


def _shown(name: bytes) -> str:
    """A topic for the log: printable ASCII."""
    return ascii(name.decode(errors="replace"))[1:-1]
