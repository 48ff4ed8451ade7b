"""CONNECT: what can be judged by the packet alone, and how one that is broken is answered."""

from dataclasses import replace

from noctule._speedups.link import Link
from noctule.core.state import State
from noctule.handlers.admission import keep_alive_allowed, origin_of, refuse
from noctule.handlers.auth import begin_authentication
from noctule.handlers.login import begin_login
from noctule.handlers.means import Means
from noctule.protocol.connack import Connack, encode_connack
from noctule.protocol.connect import Connect, decode_connect, protocol_version_of
from noctule.protocol.errors import PacketError, UnsupportedVersionError
from noctule.protocol.filters import check_topic_name
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.versions import CAPABILITIES, ProtocolVersion
from noctule.protocol.wire import packet_size


def handle_connect(means: Means, link: Link, body: bytes) -> None:
    """Let the client in, refuse it, or begin to find out. PacketError where the CONNECT is broken (``refusal_of``)."""
    packet = decode_connect(body)
    state = means.state

    def refuse_it(reason_code: ReasonCode, why: str) -> None:
        refuse(state, means.fault_log, link, packet, reason_code, why)

    if state.is_stopping:
        refuse_it(ReasonCode.SERVER_UNAVAILABLE, "the broker is stopping")
        return
    listener = origin_of(link, state).listener
    limits = listener.limits
    if limits.packet_max_bytes is not None and packet_size(len(body)) > limits.packet_max_bytes:
        refuse_it(ReasonCode.PACKET_TOO_LARGE, "a CONNECT that is larger than a packet may be on its listener")
        return
    if packet.will is not None and packet.will.qos > limits.max_qos:
        refuse_it(ReasonCode.QOS_NOT_SUPPORTED, "a Will above the highest QoS of its listener")  # [MQTT-3.2.2-12]
        return
    capabilities = CAPABILITIES[packet.version]
    if packet.will is not None:
        check_topic_name(packet.will.topic)
        will = replace(packet.will, topic=listener.mount_point + packet.will.topic)
        check_topic_name(will.topic, state.settings.limits.topic_levels_max)
        packet = replace(packet, will=will)
    # Below version 5 a session that is to be kept needs a name that the client knows.
    if not packet.client_id and (
        not capabilities.empty_client_id_allowed
        or (not packet.clean_start and not capabilities.has_properties)  # [MQTT-3.1.3-8] of 3.1.1
    ):
        refuse_it(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "an empty client identifier")
        return
    client_ids = state.settings.client_ids
    if not packet.client_id and not client_ids.allow_empty:
        why = "an empty client identifier (client_ids.allow_empty)"
        refuse_it(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, why)  # [MQTT-3.1.3-8]
        return
    if not client_ids.allows(packet.client_id) and not _is_own_bridge(state, link, packet):
        why = "a client identifier that may not be (client_ids.prefixes)"
        refuse_it(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, why)
        return
    if not keep_alive_allowed(state, packet):
        refuse_it(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "a Keep Alive above the maximum")
        return
    if packet.authentication_method is None:
        begin_login(means, link, packet)
        return
    method = state.authentication_methods.get(packet.authentication_method)
    if method is None:
        refuse_it(ReasonCode.BAD_AUTHENTICATION_METHOD, "an unknown method of authentication")  # [MQTT-4.12.0-1]
        return
    begin_authentication(means, link, packet, method)


def _is_own_bridge(state: State, link: Link, packet: Connect) -> bool:
    """Whether it is a bridge of this broker; who that is its transport says, so that nobody else can."""
    user_name = origin_of(link, state).user_name
    return user_name is not None and any(
        (one.client_id_here, one.user_name_here) == (packet.client_id, user_name) for one in state.settings.bridges
    )


def refusal_of(body: bytes, error: PacketError) -> bytes:
    """The CONNACK for a CONNECT that could not be read; empty where the client is told by closing alone.

    Version 5 is told why; 3.x only where it has a return code for it, and never for a malformed packet [MQTT-3.1.4-1].
    """
    if isinstance(error, UnsupportedVersionError):
        # A later version of MQTT reads what version 5 does; "MQIsdp" was before. The top bit marks a bridge.
        is_later = error.level & 0x7F >= ProtocolVersion.V5 and not body.startswith(b"\x00\x06MQIsdp")
        version = ProtocolVersion.V5 if is_later else ProtocolVersion.V3_1_1
        return encode_connack(Connack(error.reason_code), version)  # [MQTT-3.1.2-2]
    if protocol_version_of(body) is not ProtocolVersion.V5:
        return b""
    return encode_connack(Connack(error.reason_code, reason_string=str(error)), ProtocolVersion.V5)
