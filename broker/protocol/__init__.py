"""MQTT's control packets without any I/O, in the terms of version 5: one file for each packet.

``decode_X(body, version)`` reads what follows the fixed header and raises ``PacketError`` for every fault of the
peer's; ``encode_X(packet, version)`` writes a whole packet and raises ``ValueError`` for a fault of ours. What a
version lacks is decided in ``versions``. PUBLISH and its acknowledgements are in ``noctule._speedups.codec``.
"""

from noctule.protocol.auth import Auth, decode_auth, encode_auth
from noctule.protocol.connack import Connack, decode_connack, encode_connack
from noctule.protocol.connect import Connect, Will, decode_connect, encode_connect, protocol_version_of
from noctule.protocol.constants import (
    FIELD_SIZE_MAXIMUM,
    RECEIVE_MAXIMUM_DEFAULT,
    SESSION_NEVER_EXPIRES,
    VARIABLE_BYTE_INTEGER_MAXIMUM,
    PacketType,
    PropertyId,
)
from noctule.protocol.disconnect import Disconnect, decode_disconnect, encode_disconnect
from noctule.protocol.errors import PacketError, UnsupportedVersionError
from noctule.protocol.filters import (
    SHARE_PREFIX,
    SubscriptionFilter,
    check_topic_filter,
    check_topic_name,
    split_filter,
)
from noctule.protocol.ping import PINGREQ, PINGRESP, check_pingreq, check_pingresp
from noctule.protocol.properties import (
    PROPERTY_RULES,
    WILL,
    PropertyRule,
    PropertyValues,
    WireType,
    decode_properties,
    decode_property_block,
    encode_properties,
    encode_property_block,
)
from noctule.protocol.reason_codes import (
    DISCONNECT_CODES_OF_CLIENT,
    DISCONNECT_CODES_OF_SERVER,
    FIRST_FAILURE,
    ReasonCode,
    describe,
    reason_codes_of,
)
from noctule.protocol.suback import Suback, decode_suback, encode_suback
from noctule.protocol.subscribe import Subscribe, SubscriptionRequest, decode_subscribe, encode_subscribe
from noctule.protocol.unsuback import Unsuback, decode_unsuback, encode_unsuback
from noctule.protocol.unsubscribe import Unsubscribe, decode_unsubscribe, encode_unsubscribe
from noctule.protocol.versions import CAPABILITIES, V3_1, V3_1_1, V5, Capabilities, ProtocolVersion

__all__ = [
    "CAPABILITIES",
    "DISCONNECT_CODES_OF_CLIENT",
    "DISCONNECT_CODES_OF_SERVER",
    "FIELD_SIZE_MAXIMUM",
    "FIRST_FAILURE",
    "PINGREQ",
    "PINGRESP",
    "PROPERTY_RULES",
    "RECEIVE_MAXIMUM_DEFAULT",
    "SESSION_NEVER_EXPIRES",
    "SHARE_PREFIX",
    "V3_1",
    "V3_1_1",
    "V5",
    "VARIABLE_BYTE_INTEGER_MAXIMUM",
    "WILL",
    "Auth",
    "Capabilities",
    "Connack",
    "Connect",
    "Disconnect",
    "PacketError",
    "PacketType",
    "PropertyId",
    "PropertyRule",
    "PropertyValues",
    "ProtocolVersion",
    "ReasonCode",
    "Suback",
    "Subscribe",
    "SubscriptionFilter",
    "SubscriptionRequest",
    "Unsuback",
    "Unsubscribe",
    "UnsupportedVersionError",
    "Will",
    "WireType",
    "check_pingreq",
    "check_pingresp",
    "check_topic_filter",
    "check_topic_name",
    "decode_auth",
    "decode_connack",
    "decode_connect",
    "decode_disconnect",
    "decode_properties",
    "decode_property_block",
    "decode_suback",
    "decode_subscribe",
    "decode_unsuback",
    "decode_unsubscribe",
    "describe",
    "encode_auth",
    "encode_connack",
    "encode_connect",
    "encode_disconnect",
    "encode_properties",
    "encode_property_block",
    "encode_suback",
    "encode_subscribe",
    "encode_unsuback",
    "encode_unsubscribe",
    "protocol_version_of",
    "reason_codes_of",
    "split_filter",
]
