"""CONNACK on the wire (3.2)."""

from noctule.protocol import Connack, ReasonCode
from protocol.wire_tables import ALL, BELOW_5, Faulty, Valid, frame

VALID = [
    Valid("accepted", BELOW_5, frame(0x20, b"\x00", b"\x00"), Connack()),
    Valid("accepted", (5,), frame(0x20, b"\x00", b"\x00", b"\x00"), Connack()),
    Valid("session present", (4,), frame(0x20, b"\x01", b"\x00"), Connack(session_present=True)),
    Valid("session present", (5,), frame(0x20, b"\x01", b"\x00", b"\x00"), Connack(session_present=True)),
    Valid("the reserved byte of 3.1 means nothing", (3,), frame(0x20, b"\x01\x00"), Connack(), is_canonical=False),
    Valid("return code 1", BELOW_5, frame(0x20, b"\x00\x01"), Connack(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)),
    Valid("return code 2", BELOW_5, frame(0x20, b"\x00\x02"), Connack(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID)),
    Valid("return code 3", BELOW_5, frame(0x20, b"\x00\x03"), Connack(ReasonCode.SERVER_UNAVAILABLE)),
    Valid("return code 4", BELOW_5, frame(0x20, b"\x00\x04"), Connack(ReasonCode.BAD_USER_NAME_OR_PASSWORD)),
    Valid("return code 5", BELOW_5, frame(0x20, b"\x00\x05"), Connack(ReasonCode.NOT_AUTHORIZED)),
    Valid(
        "a refusal with its reason",
        (5,),
        frame(0x20, b"\x00", b"\x87", b"\x05", b"\x1f\x00\x02no"),
        Connack(ReasonCode.NOT_AUTHORIZED, reason_string="no"),
    ),
    Valid(
        "all numbers",
        (5,),
        frame(
            0x20,
            b"\x00\x00",
            b"\x22",  # property length: 34
            b"\x11\x00\x00\x00\x0a",  # session expiry interval 10 s
            b"\x21\x00\x05",  # receive maximum 5
            b"\x24\x01",  # maximum QoS 1
            b"\x25\x00",  # retain available: no
            b"\x27\x00\x00\x10\x00",  # maximum packet size 4096
            b"\x22\x00\x07",  # topic alias maximum 7
            b"\x26\x00\x00\x00\x00",  # user property of two empty strings
            b"\x28\x00",  # wildcard subscription available: no
            b"\x29\x00",  # subscription identifiers available: no
            b"\x2a\x00",  # shared subscription available: no
            b"\x13\x00\x1e",  # server keep alive 30 s
        ),
        Connack(
            session_expiry_interval_s=10,
            receive_maximum=5,
            maximum_qos=1,
            retain_available=False,
            maximum_packet_size=4096,
            topic_alias_maximum=7,
            user_properties=(("", ""),),
            wildcard_subscription_available=False,
            subscription_identifiers_available=False,
            shared_subscription_available=False,
            server_keep_alive_s=30,
        ),
    ),
    Valid(
        "all texts",
        (5,),
        frame(
            0x20,
            b"\x00\x00",
            b"\x18",  # property length: 24
            b"\x12\x00\x01i",  # assigned client identifier
            b"\x1f\x00\x01s",  # reason string
            b"\x1a\x00\x01r",  # response information
            b"\x1c\x00\x01o",  # server reference
            b"\x15\x00\x01m",  # authentication method
            b"\x16\x00\x01d",  # authentication data
        ),
        Connack(
            assigned_client_identifier="i",
            reason_string="s",
            response_information="r",
            server_reference="o",
            authentication_method="m",
            authentication_data=b"d",
        ),
    ),
    Valid(
        "what is absent said outright",
        (5,),
        frame(0x20, b"\x00\x00", b"\x0e", b"\x21\xff\xff", b"\x25\x01", b"\x22\x00\x00", b"\x28\x01\x29\x01\x2a\x01"),
        Connack(),
        is_canonical=False,
    ),
]

FAULTY = [
    Faulty("flags in the fixed header", ALL, frame(0x21, b"\x00\x00\x00"), 0x81, "MQTT-2.1.3-1"),
    Faulty("reserved flags", (4,), frame(0x20, b"\x02\x00"), 0x81, "MQTT-3.2.2-1"),
    Faulty("reserved flags", (5,), frame(0x20, b"\x03\x00\x00"), 0x81, "MQTT-3.2.2-1"),
    Faulty("return code 6", BELOW_5, frame(0x20, b"\x00\x06"), 0x82, "MQTT-3.2.2-8"),
    Faulty("a reason code that is none", (5,), frame(0x20, b"\x00\x7f\x00"), 0x82, "MQTT-3.2.2-8"),
    Faulty("a reason code of another packet", (5,), frame(0x20, b"\x00\x8e\x00"), 0x82, "MQTT-3.2.2-8"),
    Faulty("a session although refused", (4,), frame(0x20, b"\x01\x05"), 0x82, "MQTT-3.2.2-6"),
    Faulty("a session although refused", (5,), frame(0x20, b"\x01\x87\x00"), 0x82, "MQTT-3.2.2-6"),
    Faulty("maximum QoS 2", (5,), frame(0x20, b"\x00\x00\x02\x24\x02"), 0x82),
    Faulty("receive maximum 0", (5,), frame(0x20, b"\x00\x00\x03\x21\x00\x00"), 0x82),
    Faulty("maximum packet size 0", (5,), frame(0x20, b"\x00\x00\x05\x27\x00\x00\x00\x00"), 0x82),
    Faulty("reason string twice", (5,), frame(0x20, b"\x00\x00\x08\x1f\x00\x01a\x1f\x00\x01b"), 0x82),
    Faulty("will delay interval", (5,), frame(0x20, b"\x00\x00\x05\x18\x00\x00\x00\x01"), 0x81),
]
