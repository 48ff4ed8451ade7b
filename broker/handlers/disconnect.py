"""DISCONNECT: a client goes, and says whether its Will is to be published."""

from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.core.state import State
from noctule.handlers.connection import end_connection, escaped
from noctule.protocol.disconnect import decode_disconnect
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode


def handle_early_disconnect(state: State, link: Link, first: int, body: bytes) -> None:
    """The client gives up before its CONNECT is accepted: nothing of it has taken effect, its Will neither.

    PacketError: the packet is broken.
    """
    decode_disconnect(body, link.connection.packet.version, first)
    end_connection(state, link, b"")


def handle_disconnect(state: State, link: Link, session: Session, first: int, body: bytes) -> None:
    """Close the connection as the client asks. PacketError: the packet is broken."""
    packet = decode_disconnect(body, link.connection.version, first)
    if packet.session_expiry_interval_s is not None:
        if link.connection.session_expiry_interval_s == 0 and packet.session_expiry_interval_s != 0:
            raise PacketError(  # 3.14.2.2.2
                ReasonCode.PROTOCOL_ERROR, "a Session Expiry Interval in DISCONNECT where CONNECT had none"
            )
        # Our maximum holds here too: it is applied where the connection ends.
        session.expiry_interval_s = packet.session_expiry_interval_s
    state.logger.debug("Client %s disconnected.", escaped(session.client_id))
    # Only 0x00 takes the Will back [MQTT-3.14.4-3].
    end_connection(
        state,
        link,
        b"",
        publish_will=packet.reason_code != ReasonCode.NORMAL_DISCONNECTION,
        reason="it has disconnected",
    )
