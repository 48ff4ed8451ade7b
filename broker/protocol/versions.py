"""What the versions of MQTT can and cannot do: the one table that decides what is filled in and what is dropped.

Inside the broker everything is version 5. A decoder fills in what an older packet lacks, an encoder drops what
an older peer could not read, and both ask this table. Nobody else asks for the version except through it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from noctule.protocol.reason_codes import FIRST_FAILURE, ReasonCode


class ProtocolVersion(IntEnum):
    """The versions spoken here; the value is the protocol level of CONNECT.

    Source: MQTT 5.0 section 3.1.2.2, MQTT 3.1.1 section 3.1.2.2, MQTT 3.1 section 3.1.
    """

    #: "MQIsdp", level 3.
    V3_1 = 3

    #: "MQTT", level 4.
    V3_1_1 = 4

    #: "MQTT", level 5.
    V5 = 5


#: The return codes of a CONNACK of 3.x, for each reason code of version 5 that one of them fits.
#: MQTT 3.1.1 section 3.2.2.3; where none fits the server closes without a CONNACK [MQTT-3.2.2-6 of 3.1.1].
_CONNACK_RETURN_CODES: Final[Mapping[int, int]] = {
    ReasonCode.SUCCESS: 0,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 1,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: 2,
    ReasonCode.SERVER_UNAVAILABLE: 3,
    ReasonCode.SERVER_BUSY: 3,
    ReasonCode.QUOTA_EXCEEDED: 3,
    ReasonCode.USE_ANOTHER_SERVER: 3,
    ReasonCode.SERVER_MOVED: 3,
    ReasonCode.CONNECTION_RATE_EXCEEDED: 3,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: 4,
    ReasonCode.BAD_AUTHENTICATION_METHOD: 4,
    ReasonCode.NOT_AUTHORIZED: 5,
    ReasonCode.BANNED: 5,
}

_CONNACK_REASON_CODES: Final = (
    ReasonCode.SUCCESS,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.NOT_AUTHORIZED,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one version of the protocol has; where nothing is said, version 5 is the measure."""

    version: ProtocolVersion

    #: The protocol name of its CONNECT.
    protocol_name: str

    #: Whether packets have a property block (version 5, 2.2.2).
    has_properties: bool

    #: Whether acknowledgements, UNSUBACK, DISCONNECT and CONNACK carry version 5's reason codes.
    has_reason_codes: bool

    #: Whether a SUBSCRIBE has No Local, Retain As Published and Retain Handling beside the QoS (3.8.3.1).
    has_subscription_options: bool

    #: Whether the AUTH packet exists.
    has_auth: bool

    #: Whether the server may end a connection with DISCONNECT; below version 5 it just closes.
    server_may_disconnect: bool

    #: Whether CONNACK tells of a session that was found; 3.1 has a reserved byte there.
    has_session_present: bool

    #: Whether the top bit of the protocol level marks a bridge, as Mosquitto's bridges do.
    has_bridge_bit: bool

    #: Whether a password needs a user name before it ([MQTT-3.1.2-22] of 3.1.1).
    password_needs_user_name: bool

    #: Whether a User Name or Password that the flags promise may be missing at the end of a CONNECT. MQTT 3.1
    #: section 3.1: "This is valid, and connections should be allowed to continue."
    credentials_may_be_missing: bool

    #: Whether a client may leave the choice of its identifier to the server.
    empty_client_id_allowed: bool

    #: What stands in a SUBACK for a filter that is refused; None: the reason code itself. 3.1 has no such code:
    #: "it has no way of informing that client. It must therefore make a positive acknowledgement" (3.1, 3.8).
    suback_failure_code: int | None

    #: Whether Will QoS and Will Retain must be 0 where there is no Will; 3.1 disregards them then (3.1, 3.1).
    will_bits_need_will: bool

    #: Whether a filter that is none ends the connection: below version 5 no code could tell it from a refusal.
    bad_filter_ends_connection: bool

    def connack_code(self, reason_code: int) -> int | None:
        """The byte that tells ``reason_code`` in a CONNACK of this version; None where it is told by closing alone."""
        if self.has_reason_codes:
            return reason_code
        return _CONNACK_RETURN_CODES.get(reason_code)

    def connack_reason_code(self, code: int) -> int | None:
        """The reverse, for a client: the reason code that a CONNACK's byte means; None where the version has no such.

        Of several reason codes with one return code it is the one that the return code is named after.
        """
        if self.has_reason_codes:
            return code
        return _CONNACK_REASON_CODES[code] if code < len(_CONNACK_REASON_CODES) else None

    def suback_code(self, reason_code: int) -> int:
        """The byte that tells ``reason_code`` in a SUBACK of this version."""
        if reason_code >= FIRST_FAILURE and self.suback_failure_code is not None:
            return self.suback_failure_code
        return reason_code


V3_1: Final = Capabilities(
    version=ProtocolVersion.V3_1,
    protocol_name="MQIsdp",
    has_properties=False,
    has_reason_codes=False,
    has_subscription_options=False,
    has_auth=False,
    server_may_disconnect=False,
    has_session_present=False,
    has_bridge_bit=True,
    password_needs_user_name=True,
    credentials_may_be_missing=True,
    empty_client_id_allowed=False,
    suback_failure_code=0x00,
    will_bits_need_will=False,
    bad_filter_ends_connection=True,
)

V3_1_1: Final = Capabilities(
    version=ProtocolVersion.V3_1_1,
    protocol_name="MQTT",
    has_properties=False,
    has_reason_codes=False,
    has_subscription_options=False,
    has_auth=False,
    server_may_disconnect=False,
    has_session_present=True,
    has_bridge_bit=True,
    password_needs_user_name=True,
    credentials_may_be_missing=False,
    empty_client_id_allowed=True,
    suback_failure_code=0x80,
    will_bits_need_will=True,
    bad_filter_ends_connection=True,
)

V5: Final = Capabilities(
    version=ProtocolVersion.V5,
    protocol_name="MQTT",
    has_properties=True,
    has_reason_codes=True,
    has_subscription_options=True,
    has_auth=True,
    server_may_disconnect=True,
    has_session_present=True,
    has_bridge_bit=False,
    password_needs_user_name=False,
    credentials_may_be_missing=False,
    empty_client_id_allowed=True,
    suback_failure_code=None,
    will_bits_need_will=True,
    bad_filter_ends_connection=False,
)

#: The table, by protocol level.
CAPABILITIES: Final[Mapping[int, Capabilities]] = {
    ProtocolVersion.V3_1: V3_1,
    ProtocolVersion.V3_1_1: V3_1_1,
    ProtocolVersion.V5: V5,
}
