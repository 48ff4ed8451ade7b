"""What the handlers know of one connection beside its link, and the ways in which they end it."""

from dataclasses import dataclass

from noctule._speedups.link import Link
from noctule.core.state import State
from noctule.protocol.disconnect import Disconnect, encode_disconnect
from noctule.protocol.versions import CAPABILITIES


@dataclass(frozen=True, slots=True)
class Connection:
    """What CONNECT said that later packets are judged by; ``link.connection``, None before CONNECT."""

    version: int
    user_name: str | None
    session_expiry_interval_s: int
    request_problem_information: bool


def escaped(text: str) -> str:
    """Text that a client chose, as it may stand in the log: printable ASCII, the rest as escapes."""
    return ascii(text)[1:-1]


def disconnect_packet(link: Link, reason_code: int, reason_string: str | None = None) -> bytes:
    """The server's DISCONNECT, or nothing where the client's version has none or it is not connected yet.

    A reason string is left out where it would make the packet too large [MQTT-3.14.2-3].
    """
    connection: Connection | None = link.connection
    if connection is None or not CAPABILITIES[connection.version].server_may_disconnect:  # [MQTT-3.14.0-1]
        return b""
    packet = encode_disconnect(Disconnect(reason_code, reason_string=reason_string), connection.version)
    if len(packet) > link.peer_packet_max:
        packet = encode_disconnect(Disconnect(reason_code), connection.version)
    return packet


def end_connection(state: State, link: Link, packet: bytes, *, publish_will: bool = True) -> None:
    """Send what is written and ``packet`` (may be empty), close, and do for the session what follows from it."""
    session = link.session
    if packet or link.pending_bytes:
        link.end(packet)
        state.plane.deadlines.schedule(link, state.plane.now + state.settings.limits.end_timeout_s)
    else:
        link.close()
    if session is not None:
        state.sessions.connection_ended(session, publish_will=publish_will)
