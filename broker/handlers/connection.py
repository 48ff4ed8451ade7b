"""What the handlers know of one connection beside its link, and the ways in which they end it."""

from dataclasses import dataclass

from noctule._speedups.deadlines import Alarm
from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.core.authentication import Authentication
from noctule.core.state import State
from noctule.protocol.connack import Connack, encode_connack
from noctule.protocol.connect import Connect
from noctule.protocol.constants import PacketType
from noctule.protocol.disconnect import Disconnect, encode_disconnect
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode, reason_codes_of
from noctule.protocol.versions import CAPABILITIES


@dataclass(frozen=True, slots=True)
class Candidate:
    """A client whose CONNECT is read and neither accepted nor refused; ``link.connection`` until it is.

    Nothing of its CONNECT has taken effect.
    """

    packet: Connect

    #: Set where the CONNECT has an Authentication Method.
    authentication: Authentication | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """What CONNECT said that later packets are judged by; ``link.connection`` once it is accepted."""

    version: int
    session_expiry_interval_s: int
    request_problem_information: bool
    is_bridge: bool = False

    #: What the client may authenticate again with; None where CONNECT had no Authentication Method.
    authentication: Authentication | None = None

    #: Ends the connection at its time; None where that is not limited.
    end: Alarm | None = None

    #: It was let in because its listener lets anybody in, and for no other reason.
    is_unproven: bool = False

    #: The highest QoS that its subscriptions get, by the limits of its listener.
    qos_max: int = 2

    #: What every topic of the client's begins with, unseen by it.
    mount_point: str = ""


def escaped(text: str) -> str:
    """Text that a client chose, as it may stand in the log: printable ASCII, the rest as escapes."""
    return ascii(text)[1:-1]


def named_client(link: Link) -> str:
    """The client's identifier in brackets, behind its address in the log; nothing where it has not said any."""
    if link.session is not None:
        return f" ({escaped(link.session.client_id)})"
    candidate = link.connection
    if isinstance(candidate, Candidate) and candidate.packet.client_id:
        return f" ({escaped(candidate.packet.client_id)})"
    return ""


def refusal_packet(
    packet: Connect, reason_code: int, reason_string: str | None = None, server_reference: str | None = None
) -> bytes:
    """The CONNACK that refuses a CONNECT; empty where the version or the client's packet limit leaves no other way.

    The reason string is left out where it would make the packet too large [MQTT-3.2.2-19]. A code that CONNACK
    cannot carry is told as one that it can [MQTT-3.2.2-8].
    """
    if reason_code not in reason_codes_of(PacketType.CONNACK):
        stops = reason_code == ReasonCode.SERVER_SHUTTING_DOWN
        reason_code = ReasonCode.SERVER_UNAVAILABLE if stops else ReasonCode.NOT_AUTHORIZED
    largest = packet.maximum_packet_size
    connack = encode_connack(
        Connack(reason_code, reason_string=reason_string, server_reference=server_reference), packet.version
    )
    if largest is not None and len(connack) > largest:
        connack = encode_connack(Connack(reason_code), packet.version)
        if len(connack) > largest:  # [MQTT-3.1.2-24]
            return b""
    return connack


def last_packet(
    link: Link, reason_code: int, reason_string: str | None = None, server_reference: str | None = None
) -> bytes:
    """What tells the client why its connection ends; empty where it cannot be told.

    DISCONNECT, in the versions in which a server has it; before CONNACK a CONNACK [MQTT-3.14.0-1]; before CONNECT
    nothing. A reason string is left out where it would make the packet too large [MQTT-3.14.2-3]; it may be sent
    whatever Request Problem Information says [MQTT-3.1.2-29]. ``server_reference`` goes with 0x9C and 0x9D (4.11).
    """
    connection: Candidate | Connection | None = link.connection
    if isinstance(connection, Candidate):
        return refusal_packet(connection.packet, reason_code, reason_string, server_reference)
    if connection is None or not CAPABILITIES[connection.version].server_may_disconnect:
        return b""
    packet = encode_disconnect(
        Disconnect(reason_code, reason_string=reason_string, server_reference=server_reference), connection.version
    )
    if len(packet) > link.peer_packet_max:
        packet = encode_disconnect(Disconnect(reason_code), connection.version)
    return packet


def reason_string(connection: Connection, refusals: list[str]) -> str | None:
    """Why something in a packet was refused, each reason once, for an answer other than CONNACK and DISCONNECT.

    None where nothing was, and where the client does not want to know [MQTT-3.1.2-29].
    """
    if not refusals or not connection.request_problem_information:
        return None
    return "; ".join(dict.fromkeys(refusals))


def check_can_keep(state: State, session: Session) -> None:
    """PacketError where the session is one that is kept, and the store takes nothing: nothing of it may change."""
    journal = state.plane.journal
    if journal is None or not session.store_id or journal.is_usable:
        return
    if journal.has_failed:
        raise PacketError(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "the store has failed")
    raise PacketError(ReasonCode.QUOTA_EXCEEDED, "there is no room in the store")


def end_connection(
    state: State, link: Link, packet: bytes, *, publish_will: bool = True, reason: str = "the broker has ended it"
) -> None:
    """Send what is written and ``packet`` (may be empty), close, and do for the session what follows from it.

    ``reason``: why, for people.
    """
    session = link.session
    if isinstance(link.connection, Connection) and link.connection.end is not None:
        state.plane.deadlines.cancel(link.connection.end)
    if packet or link.pending_bytes:
        link.end(packet)
        state.plane.deadlines.schedule(link, state.plane.now + state.settings.limits.end_timeout_s)
    else:
        link.close()
    if session is not None:
        state.sessions.connection_ended(session, reason, publish_will=publish_will)
