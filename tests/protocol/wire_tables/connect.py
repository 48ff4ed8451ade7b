"""CONNECT on the wire (3.1)."""

from noctule.protocol import Connect, ProtocolVersion, Will
from protocol.wire_tables import ALL, Faulty, Valid, frame

V3_1, V3_1_1, V5 = ProtocolVersion
NEVER = 0xFFFF_FFFF

MQTT_4 = b"\x00\x04MQTT\x04"
MQTT_5 = b"\x00\x04MQTT\x05"
MQISDP = b"\x00\x06MQIsdp\x03"

VALID = [
    Valid(
        "least of 3.1",
        (3,),
        frame(
            0x10,
            b"\x00\x06MQIsdp",  # protocol name
            b"\x03",  # level
            b"\x02",  # flags: clean session
            b"\x00\x3c",  # keep alive 60 s
            b"\x00\x01c",  # client identifier
        ),
        Connect(V3_1, "c", True, 60),
    ),
    Valid(
        "least of 3.1.1",
        (4,),
        frame(0x10, MQTT_4, b"\x02", b"\x00\x3c", b"\x00\x01c"),
        Connect(V3_1_1, "c", True, 60),
    ),
    Valid(
        "least of 5",
        (5,),
        frame(
            0x10,
            MQTT_5,
            b"\x02",  # flags: clean start
            b"\x00\x3c",  # keep alive 60 s
            b"\x00",  # property length
            b"\x00\x01c",
        ),
        Connect(V5, "c", True, 60),
    ),
    Valid(
        "no clean session: the session lives for good",
        (4,),
        frame(0x10, MQTT_4, b"\x00", b"\x00\x00", b"\x00\x01c"),
        Connect(V3_1_1, "c", False, 0, session_expiry_interval_s=NEVER),
    ),
    Valid(
        "no clean start and no expiry: the session ends with the connection",
        (5,),
        frame(0x10, MQTT_5, b"\x00", b"\x00\x00", b"\x00", b"\x00\x01c"),
        Connect(V5, "c", False, 0),
    ),
    Valid(
        "empty client identifier",
        (5,),
        frame(0x10, MQTT_5, b"\x02", b"\x00\x00", b"\x00", b"\x00\x00"),
        Connect(V5, ""),
    ),
    Valid(
        "bridge of 3.1",
        (3,),
        frame(0x10, b"\x00\x06MQIsdp\x83", b"\x02", b"\x00\x00", b"\x00\x01b"),
        Connect(V3_1, "b", is_bridge=True),
    ),
    Valid(
        "bridge of 3.1.1",
        (4,),
        frame(0x10, b"\x00\x04MQTT\x84", b"\x02", b"\x00\x00", b"\x00\x01b"),
        Connect(V3_1_1, "b", is_bridge=True),
    ),
    Valid(
        "everything that 3.1.1 has",
        (4,),
        frame(
            0x10,
            MQTT_4,
            b"\xf6",  # user name, password, will retain, will QoS 2, will, clean session
            b"\xff\xff",  # keep alive 65535 s
            b"\x00\x02id",
            b"\x00\x03w/t",  # will topic
            b"\x00\x02\x00\xff",  # will payload, any bytes
            b"\x00\x04\xc3\xbcse",  # user name, in UTF-8
            b"\x00\x02\xfe\x00",  # password, any bytes
        ),
        Connect(V3_1_1, "id", True, 65535, Will("w/t", b"\x00\xff", 2, True), "üse", b"\xfe\x00"),
    ),
    Valid(
        "3.1 whose user name and password are missing although the flags are set",
        (3,),
        frame(0x10, MQISDP, b"\xc2", b"\x00\x00", b"\x00\x01c"),
        Connect(V3_1, "c"),
        is_canonical=False,
    ),
    Valid(
        "3.1 whose password alone is missing although the flag is set",
        (3,),
        frame(0x10, MQISDP, b"\xc2", b"\x00\x00", b"\x00\x01c", b"\x00\x01u"),
        Connect(V3_1, "c", user_name="u"),
        is_canonical=False,
        shorter_bodies=frozenset({15}),
    ),
    Valid(
        "a password without a user name",
        (5,),
        frame(0x10, MQTT_5, b"\x42", b"\x00\x00", b"\x00", b"\x00\x01c", b"\x00\x01p"),
        Connect(V5, "c", password=b"p"),
    ),
    Valid(
        "every property of CONNECT",
        (5,),
        frame(
            0x10,
            MQTT_5,
            b"\x02",
            b"\x00\x0a",
            b"\x2f",  # property length: 47
            b"\x11\x00\x00\x0e\x10",  # session expiry interval 3600 s
            b"\x21\x00\x14",  # receive maximum 20
            b"\x27\x00\x10\x00\x00",  # maximum packet size 1 MiB
            b"\x22\x00\x0a",  # topic alias maximum 10
            b"\x19\x01",  # request response information
            b"\x17\x00",  # request problem information: no
            b"\x26\x00\x01k\x00\x01v",  # user property
            b"\x26\x00\x01k\x00\x01w",  # the same name again
            b"\x15\x00\x05SCRAM",  # authentication method
            b"\x16\x00\x02\x00\x01",  # authentication data
            b"\x00\x01c",
        ),
        Connect(
            V5,
            "c",
            True,
            10,
            session_expiry_interval_s=3600,
            receive_maximum=20,
            maximum_packet_size=1 << 20,
            topic_alias_maximum=10,
            request_response_information=True,
            request_problem_information=False,
            user_properties=(("k", "v"), ("k", "w")),
            authentication_method="SCRAM",
            authentication_data=b"\x00\x01",
        ),
    ),
    Valid(
        "every property of a Will",
        (5,),
        frame(
            0x10,
            MQTT_5,
            b"\x2e",  # will retain, will QoS 1, will, clean start
            b"\x00\x00",
            b"\x00",  # no property of CONNECT
            b"\x00\x01c",
            b"\x28",  # length of the will properties: 40
            b"\x18\x00\x00\x00\x1e",  # will delay interval 30 s
            b"\x01\x01",  # payload format indicator
            b"\x02\x00\x00\x00\x3c",  # message expiry interval 60 s
            b"\x03\x00\x01t",  # content type
            b"\x08\x00\x01r",  # response topic
            b"\x09\x00\x03\x00\x01\x02",  # correlation data
            b"\x26\x00\x01b\x00\x01x",  # user properties, whose order is kept
            b"\x26\x00\x01a\x00\x01y",
            b"\x00\x01w",  # will topic
            b"\x00\x01p",  # will payload
        ),
        Connect(
            V5,
            "c",
            will=Will(
                "w",
                b"p",
                1,
                True,
                30,
                b"\x01\x01\x02\x00\x00\x00\x3c\x03\x00\x01t\x08\x00\x01r\x09\x00\x03\x00\x01\x02"
                b"\x26\x00\x01b\x00\x01x\x26\x00\x01a\x00\x01y",
            ),
        ),
        is_canonical=False,  # we write the delay last
    ),
    Valid(
        "an empty will payload",
        (5,),
        frame(0x10, MQTT_5, b"\x06", b"\x00\x00", b"\x00", b"\x00\x01c", b"\x00", b"\x00\x01w", b"\x00\x00"),
        Connect(V5, "c", will=Will("w", b"")),
    ),
]


def _of_5(flags: bytes, properties: bytes = b"", payload: bytes = b"\x00\x01c") -> bytes:
    return frame(0x10, MQTT_5, flags, b"\x00\x00", bytes((len(properties),)), properties, payload)


FAULTY = [
    Faulty("flags in the fixed header", ALL, frame(0x11, MQTT_4, b"\x02\x00\x00\x00\x01c"), 0x81, "MQTT-2.1.3-1"),
    Faulty("another protocol", ALL, frame(0x10, b"\x00\x04HTTP\x04\x02\x00\x00\x00\x01c"), 0x84, "MQTT-3.1.2-1"),
    Faulty(
        "the name in small letters", ALL, frame(0x10, b"\x00\x04mqtt\x04\x02\x00\x00\x00\x01c"), 0x84, "MQTT-3.1.2-1"
    ),
    Faulty(
        "a name that is no UTF-8", ALL, frame(0x10, b"\x00\x04\xff\xff\xff\xff\x04\x02\x00\x00"), 0x81, "MQTT-1.5.4-1"
    ),
    Faulty("level 6", ALL, frame(0x10, b"\x00\x04MQTT\x06\x02\x00\x00\x00\x01c"), 0x84, "MQTT-3.1.2-2"),
    Faulty(
        "level 3 by the later name", ALL, frame(0x10, b"\x00\x04MQTT\x03\x02\x00\x00\x00\x01c"), 0x84, "MQTT-3.1.2-2"
    ),
    Faulty("level 4 by the older name", ALL, frame(0x10, b"\x00\x06MQIsdp\x04\x02\x00\x00"), 0x84, "MQTT-3.1.2-2"),
    Faulty("bridge bit in version 5", (5,), frame(0x10, b"\x00\x04MQTT\x85\x02\x00\x00\x00"), 0x84, "MQTT-3.1.2-2"),
    Faulty("reserved flag, 3.1.1", (4,), frame(0x10, MQTT_4, b"\x03\x00\x00\x00\x01c"), 0x81, "MQTT-3.1.2-3"),
    Faulty("reserved flag", (5,), _of_5(b"\x03"), 0x81, "MQTT-3.1.2-3"),
    Faulty("will QoS without a will", (5,), _of_5(b"\x0a"), 0x81, "MQTT-3.1.2-11"),
    Faulty("will QoS 3", (5,), _of_5(b"\x1e", b"", b"\x00\x01c\x00\x00\x01w\x00\x00"), 0x81, "MQTT-3.1.2-12"),
    Faulty("will retain without a will", (5,), _of_5(b"\x22"), 0x81, "MQTT-3.1.2-13"),
    Faulty("will without topic and payload [MQTT-3.1.2-9]", (5,), _of_5(b"\x06"), 0x81),
    Faulty(
        "password without user name, 3.1",
        (3,),
        frame(0x10, MQISDP, b"\x42\x00\x00\x00\x01c\x00\x01p"),
        0x81,
        "MQTT-3.1.2-22",
    ),
    Faulty(
        "password without user name, 3.1.1",
        (4,),
        frame(0x10, MQTT_4, b"\x42\x00\x00\x00\x01c\x00\x01p"),
        0x81,
        "MQTT-3.1.2-22",
    ),
    Faulty("user name flag without user name [MQTT-3.1.2-17]", (5,), _of_5(b"\x82"), 0x81),
    Faulty("password flag without password [MQTT-3.1.2-19]", (5,), _of_5(b"\x42"), 0x81),
    Faulty("user name without its flag [MQTT-3.1.2-16]", (5,), _of_5(b"\x02", b"", b"\x00\x01c\x00\x01u"), 0x81),
    Faulty(
        "client identifier of ill-formed UTF-8", (5,), _of_5(b"\x02", b"", b"\x00\x02\xc0\x80"), 0x81, "MQTT-1.5.4-1"
    ),
    Faulty(
        "client identifier with a surrogate", (5,), _of_5(b"\x02", b"", b"\x00\x03\xed\xa0\x80"), 0x81, "MQTT-1.5.4-1"
    ),
    Faulty("client identifier with U+0000", (5,), _of_5(b"\x02", b"", b"\x00\x01\x00"), 0x81, "MQTT-1.5.4-2"),
    Faulty("user name with U+0000", (5,), _of_5(b"\x82", b"", b"\x00\x01c\x00\x01\x00"), 0x81, "MQTT-1.5.4-2"),
    Faulty(
        "will topic with a wildcard",
        (5,),
        _of_5(b"\x06", b"", b"\x00\x01c\x00\x00\x03a/#\x00\x00"),
        0x90,
        "MQTT-3.3.2-2",
    ),
    Faulty("empty will topic", (5,), _of_5(b"\x06", b"", b"\x00\x01c\x00\x00\x00\x00\x00"), 0x90, "MQTT-4.7.3-1"),
    Faulty("no property length", (5,), frame(0x10, MQTT_5, b"\x02\x00\x00"), 0x81),
    Faulty(
        "property length of four bytes for nothing",
        (5,),
        frame(0x10, MQTT_5, b"\x02\x00\x00\x80\x00\x00\x01c"),
        0x81,
        "MQTT-1.5.5-1",
    ),
    Faulty("property length beyond the packet", (5,), frame(0x10, MQTT_5, b"\x02\x00\x00\x7f\x00\x01c"), 0x81),
    Faulty("unknown property", (5,), _of_5(b"\x02", b"\x7e\x00"), 0x81),
    Faulty("property of another packet", (5,), _of_5(b"\x02", b"\x23\x00\x01"), 0x81),
    Faulty("will delay among the properties of CONNECT", (5,), _of_5(b"\x02", b"\x18\x00\x00\x00\x01"), 0x81),
    Faulty(
        "session expiry among the will properties",
        (5,),
        _of_5(b"\x06", b"", b"\x00\x01c\x05\x11\x00\x00\x00\x01\x00\x01w\x00\x00"),
        0x81,
    ),
    Faulty("property cut off", (5,), _of_5(b"\x02", b"\x11\x00\x00"), 0x81),
    Faulty("session expiry twice", (5,), _of_5(b"\x02", b"\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01"), 0x82),
    Faulty("receive maximum 0", (5,), _of_5(b"\x02", b"\x21\x00\x00"), 0x82),
    Faulty("maximum packet size 0", (5,), _of_5(b"\x02", b"\x27\x00\x00\x00\x00"), 0x82),
    Faulty("request response information 2", (5,), _of_5(b"\x02", b"\x19\x02"), 0x82),
    Faulty("request problem information 2", (5,), _of_5(b"\x02", b"\x17\x02"), 0x82),
    Faulty("authentication data without method", (5,), _of_5(b"\x02", b"\x16\x00\x01x"), 0x82),
    Faulty(
        "will response topic with a wildcard",
        (5,),
        _of_5(b"\x06", b"", b"\x00\x01c\x04\x08\x00\x01+\x00\x01w\x00\x00"),
        0x82,
        "MQTT-3.3.2-14",
    ),
    Faulty("will payload format 2", (5,), _of_5(b"\x06", b"", b"\x00\x01c\x02\x01\x02\x00\x01w\x00\x00"), 0x82),
    Faulty(
        "will delay twice",
        (5,),
        _of_5(b"\x06", b"", b"\x00\x01c\x0a" + b"\x18\x00\x00\x00\x01" * 2 + b"\x00\x01w\x00\x00"),
        0x82,
    ),
]
