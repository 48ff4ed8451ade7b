"""CONNECT: who comes in, with which session."""

import secrets

from noctule._speedups.link import Link
from noctule.core.state import State
from noctule.handlers.connection import Connection, disconnect_packet, end_connection, escaped
from noctule.protocol.connack import Connack, encode_connack
from noctule.protocol.connect import Connect, decode_connect, protocol_version_of
from noctule.protocol.errors import PacketError, UnsupportedVersionError
from noctule.protocol.filters import check_topic_name
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.versions import CAPABILITIES, ProtocolVersion


def handle_connect(state: State, link: Link, body: bytes) -> None:
    """Let the client in or refuse it. PacketError where the CONNECT itself is broken (see ``refusal_of``)."""
    packet = decode_connect(body)
    if state.is_stopping:
        _refuse(state, link, packet, ReasonCode.SERVER_UNAVAILABLE, "the broker is stopping")
        return
    capabilities = CAPABILITIES[packet.version]
    if packet.authentication_method is not None:  # [MQTT-4.12.0-1]
        _refuse(state, link, packet, ReasonCode.BAD_AUTHENTICATION_METHOD, "no enhanced authentication here")
        return
    if packet.will is not None:
        check_topic_name(packet.will.topic, state.settings.limits.topic_levels_max)
    assigned: str | None = None
    client_id = packet.client_id
    if not client_id:
        # Below version 5 a session that is to be kept needs a name that the client knows.
        if not capabilities.empty_client_id_allowed or (
            not packet.clean_start and not capabilities.has_properties  # [MQTT-3.1.3-8] of 3.1.1
        ):
            _refuse(state, link, packet, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "an empty client identifier")
            return
        client_id = assigned = f"auto-{secrets.token_hex(12)}"  # [MQTT-3.1.3-6] [MQTT-3.2.2-16]
    _take_over(state, client_id)
    session, present = state.sessions.open(
        client_id, clean_start=packet.clean_start, expiry_interval_s=packet.session_expiry_interval_s
    )
    session.will = packet.will  # [MQTT-3.1.2-7]
    limits = state.settings.limits
    link.connection = Connection(
        packet.version, packet.user_name, packet.session_expiry_interval_s, packet.request_problem_information
    )
    link.write(  # [MQTT-3.2.0-1] before anything that is delivered
        encode_connack(
            Connack(
                session_present=present,  # [MQTT-3.2.2-2] [MQTT-3.2.2-3]
                receive_maximum=limits.receive_maximum,
                maximum_packet_size=limits.packet_max_bytes,
                assigned_client_identifier=assigned,
                topic_alias_maximum=limits.alias_max_in,
            ),
            packet.version,
        )
    )
    link.open(
        session,
        packet.version,
        packet.keep_alive_s,
        packet.receive_maximum,
        0xFFFFFFFF if packet.maximum_packet_size is None else packet.maximum_packet_size,
        packet.topic_alias_maximum,
    )
    state.logger.debug(
        "New client connected from %s as %s (p%d, c%d, k%d).",
        link.peer,
        escaped(client_id),
        packet.version,
        packet.clean_start,
        packet.keep_alive_s,
    )


def refusal_of(body: bytes, error: PacketError) -> bytes:
    """The CONNACK for a CONNECT that could not be read; empty where the client is told by closing alone.

    Version 5 is told why; 3.x only where it has a return code for it, and never for a malformed packet [MQTT-3.1.4-1].
    """
    if isinstance(error, UnsupportedVersionError):
        version = ProtocolVersion.V5 if error.level >= ProtocolVersion.V5 else ProtocolVersion.V3_1_1
        return encode_connack(Connack(error.reason_code), version)  # [MQTT-3.1.2-2]
    if protocol_version_of(body) is not ProtocolVersion.V5:
        return b""
    return encode_connack(Connack(error.reason_code, reason_string=str(error)), ProtocolVersion.V5)


def _refuse(state: State, link: Link, packet: Connect, reason_code: ReasonCode, why: str) -> None:
    """Refuse a CONNECT that is well formed; nothing of it takes effect."""
    state.logger.info("Refused a connection from %s: %s.", link.peer, why)
    connack = encode_connack(Connack(reason_code, reason_string=why), packet.version)
    if packet.maximum_packet_size is not None and len(connack) > packet.maximum_packet_size:  # [MQTT-3.2.2-19]
        connack = encode_connack(Connack(reason_code), packet.version)
    end_connection(state, link, connack)


def _take_over(state: State, client_id: str) -> None:
    """Close the connection that this client identifier has already [MQTT-3.1.4-2] [MQTT-3.1.4-3]."""
    session = state.sessions.find(client_id)
    old = session.outlet if session is not None else None
    if not isinstance(old, Link):
        return
    state.logger.debug("Client %s has connected again, closing its old connection.", escaped(client_id))
    end_connection(state, old, disconnect_packet(old, ReasonCode.SESSION_TAKEN_OVER))
