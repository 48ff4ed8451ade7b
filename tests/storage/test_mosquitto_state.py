"""What Mosquitto leaves behind, in both of its forms, becomes the operations that make the same state here."""

import json
import sqlite3
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.properties import decode_property_block
from noctule.storage.mosquitto_state import NEVER, MosquittoStateError, read_database, read_dump
from noctule.storage.operations import (
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)

NOW = 1_000_000.0
BIG = 0x1234_5678_9ABC_DEF

# The tables by their columns: all there is to know of them is names and order.
TABLES = {
    "base_msgs": "store_id INT64 PRIMARY KEY, expiry_time INT64, topic STRING, payload BLOB, source_id STRING, "
    "source_username STRING, payloadlen INTEGER, source_mid INTEGER, source_port INTEGER, qos INTEGER, "
    "retain INTEGER, properties STRING",
    "retains": "topic STRING PRIMARY KEY, store_id INT64",
    "clients": "client_id TEXT PRIMARY KEY, username TEXT, connection_time INT64, will_delay_time INT64, "
    "session_expiry_time INT64, listener_port INT, max_packet_size INT, max_qos INT, retain_available INT, "
    "session_expiry_interval INT, will_delay_interval INT",
    "subscriptions": "client_id TEXT, topic TEXT, subscription_options INTEGER, subscription_identifier INTEGER",
    "client_msgs": "client_id TEXT, cmsg_id INT64, store_id INT64, dup INTEGER, direction INTEGER, mid INTEGER, "
    "qos INTEGER, retain INTEGER, state INTEGER, subscription_identifier INTEGER",
    "wills": "client_id TEXT PRIMARY KEY, payload BLOB, topic STRING, payloadlen INTEGER, qos INTEGER, "
    "retain INTEGER, properties STRING",
    "version_info": "component TEXT, major INTEGER, minor INTEGER, patch INTEGER",
}

PROPERTIES = [
    {"identifier": "content-type", "value": "text/ü"},
    {"identifier": "correlation-data", "value": "00ff"},
    {"identifier": "user-property", "name": "a", "value": "b"},
    {"identifier": "user-property", "name": "a", "value": "c"},
    {"identifier": "payload-format-indicator", "value": 1},
]

ROWS: dict[str, list[dict[str, Any]]] = {
    "base_msgs": [
        {"store_id": BIG, "expiry_time": 0, "topic": "a/b", "payload": b"\x00\xff", "qos": 2, "retain": 1},
        {
            "store_id": BIG + 1,
            "expiry_time": 1_000_060,
            "topic": "a/ü",
            "payload": None,
            "qos": 1,
            "retain": 0,
            "properties": json.dumps(PROPERTIES),
        },
        {"store_id": BIG + 2, "expiry_time": 999_999, "topic": "gone", "payload": b"", "qos": 1, "retain": 1},
    ],
    "retains": [{"topic": "a/b", "store_id": BIG}, {"topic": "gone", "store_id": BIG + 2}],
    "clients": [
        {"client_id": "old", "username": "u", "session_expiry_time": 0, "session_expiry_interval": NEVER},
        {
            "client_id": "away",
            "session_expiry_time": 1_000_500,
            "session_expiry_interval": 3600,
            "will_delay_time": 1_000_020,
            "will_delay_interval": 30,
        },
        {"client_id": "here", "session_expiry_time": 0, "session_expiry_interval": 60, "will_delay_interval": 5},
        {"client_id": "over", "session_expiry_time": 999_000, "session_expiry_interval": 60},
    ],
    "subscriptions": [
        {"client_id": "old", "topic": "a/+", "subscription_options": 2 | 4 | 8, "subscription_identifier": 7},
        {"client_id": "old", "topic": "$share/g/a/#", "subscription_options": 1, "subscription_identifier": 0},
        {"client_id": "old", "topic": "a/#/b", "subscription_options": 1, "subscription_identifier": 0},
        {"client_id": "over", "topic": "a/+", "subscription_options": 1, "subscription_identifier": 0},
    ],
    "client_msgs": [
        # client, message, direction, mid, qos, state, subscription identifier
        {"client_id": "old", "cmsg_id": 4, "store_id": BIG, "direction": 1, "mid": 0, "qos": 1, "state": 11},
        {
            "client_id": "old",
            "cmsg_id": 1,
            "store_id": BIG,
            "direction": 1,
            "mid": 9,
            "qos": 2,
            "retain": 1,
            "state": 9,
            "subscription_identifier": 300,
        },
        {"client_id": "old", "cmsg_id": 2, "store_id": BIG + 1, "direction": 1, "mid": 8, "qos": 1, "state": 3},
        {"client_id": "old", "cmsg_id": 3, "store_id": BIG + 1, "direction": 0, "mid": 3, "qos": 2, "state": 7},
        {"client_id": "old", "cmsg_id": 5, "store_id": BIG + 1, "direction": 0, "mid": 4, "qos": 2, "state": 8},
        {"client_id": "old", "cmsg_id": 6, "store_id": 77, "direction": 1, "mid": 0, "qos": 1, "state": 11},
    ],
    "wills": [
        {"client_id": "away", "payload": b"gone", "topic": "w", "qos": 1, "retain": 1, "properties": None},
        {"client_id": "here", "payload": None, "topic": "w", "qos": 0, "retain": 0, "properties": None},
        {"client_id": "nobody", "payload": None, "topic": "w", "qos": 0, "retain": 0, "properties": None},
    ],
    "version_info": [{"component": "database_schema", "major": 1, "minor": 1, "patch": 0}],
}

EXPECTED_MESSAGES = {
    "a/b": PutMessage(1, b"a/b", b"\x00\xff", 2, True, b"", None),
}


def make_database(path: Path, rows: dict[str, list[dict[str, Any]]]) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for name, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")
            for row in rows.get(name, []):
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        connection.commit()
    return path


def of_kind(operations: list[Operation], kind: type) -> list[Any]:
    return [row for row in operations if type(row) is kind]


def check_common(operations: list[Operation]) -> None:
    """What both forms have."""
    first, second = of_kind(operations, PutMessage)
    assert first == EXPECTED_MESSAGES["a/b"]
    assert (second.message_id, second.topic, second.payload, second.expires_at) == (2, "a/ü".encode(), b"", 1_000_060.0)
    assert decode_property_block(second.properties, PacketType.PUBLISH) == {
        PropertyId.MESSAGE_EXPIRY_INTERVAL: 60,
        PropertyId.CONTENT_TYPE: "text/ü",
        PropertyId.CORRELATION_DATA: b"\x00\xff",
        PropertyId.USER_PROPERTY: [("a", "b"), ("a", "c")],
        PropertyId.PAYLOAD_FORMAT_INDICATOR: 1,
    }
    assert of_kind(operations, PutSession) == [
        PutSession(1, "old", "u", NEVER, None),
        PutSession(2, "away", None, 3600, 1_000_500.0),
        PutSession(3, "here", None, 60, NOW + 60),
    ]
    assert of_kind(operations, PutSubscription) == [
        PutSubscription(1, b"a/+", b"", 2, 3, 7),
        PutSubscription(1, b"a/#", b"g", 1, 0, 0),
    ]
    assert of_kind(operations, PutRetained) == [PutRetained(b"a/b", 1)]


QUEUES = [
    PutQueued(1, 1, 0, 2, 1, 9, True, b"\x0b\xac\x02", b""),
    PutQueued(1, 2, 2, 1, 0, 8, False, b"", b""),
    PutQueued(1, 5, 1, 1, 0, 0, False, b"", b""),
]


def test_the_tables_of_persist_sqlite(tmp_path: Path) -> None:
    imported = read_database(make_database(tmp_path / "mosquitto.sqlite3", ROWS), NOW)
    check_common(imported.operations)
    assert of_kind(imported.operations, PutQueued) == QUEUES
    assert of_kind(imported.operations, PutReceived) == [PutReceived(1, 3, 2)]
    assert of_kind(imported.operations, PutWill) == [
        PutWill(2, b"w", b"gone", 1, True, b"", 30, None, 1_000_020.0),
        PutWill(3, b"w", b"", 0, False, b"", 5, None, NOW + 5),
    ]
    text = "\n".join(imported.remarks)
    for part in ("a/#/b", "message 77", "retained message", "session of over", "will of nobody"):
        assert part in text


def test_topics_that_look_like_numbers(tmp_path: Path) -> None:
    rows = {
        "base_msgs": [{"store_id": 1, "topic": "10", "payload": b"", "qos": 0, "retain": 1}],
        "retains": [{"topic": "10", "store_id": 1}],
        "version_info": ROWS["version_info"],
    }
    imported = read_database(make_database(tmp_path / "mosquitto.sqlite3", rows), NOW)
    assert [row.topic for row in of_kind(imported.operations, PutMessage)] == [b"10"]
    assert of_kind(imported.operations, PutRetained) == [PutRetained(b"10", 1)]
    assert "kept as a number" in imported.remarks[0]


def dump(**changes: Any) -> dict[str, Any]:
    """The same state as mosquitto_db_dump --json has it."""
    whole: dict[str, Any] = {
        "base-messages": [
            {
                "storeid": row["store_id"],
                "expiry-time": row["expiry_time"],
                "source-mid": 0,
                "source-port": 1883,
                "qos": row["qos"],
                "retain": row["retain"],
                "topic": row["topic"],
                **({"payload": b64encode(row["payload"]).decode()} if row["payload"] else {}),
                **({"properties": json.loads(row["properties"])} if "properties" in row else {}),
            }
            for row in ROWS["base_msgs"]
        ],
        "clients": [
            {
                "clientid": row["client_id"],
                **({"username": row["username"]} if "username" in row else {}),
                "session-expiry-time": row["session_expiry_time"],
                "session-expiry-interval": row["session_expiry_interval"],
                "last-mid": 5,
                "listener-port": 1883,
            }
            for row in ROWS["clients"]
        ],
        "client-messages": [
            {
                "clientid": row["client_id"],
                "storeid": row["store_id"],
                "mid": row["mid"],
                "qos": row["qos"],
                "state": row["state"],
                "retain-dup": row.get("retain", 0) << 4 | 1,
                "direction": row["direction"],
                "subscription-identifier": row.get("subscription_identifier", 0),
            }
            for row in sorted(ROWS["client_msgs"], key=lambda row: row["cmsg_id"])
        ],
        "retained-messages": [{"storeid": row["store_id"]} for row in ROWS["retains"]],
        "subscriptions": [
            {
                "clientid": row["client_id"],
                "topic": row["topic"],
                "qos": row["subscription_options"] & 3,
                "options": row["subscription_options"] & ~3,
                "identifier": row["subscription_identifier"],
            }
            for row in ROWS["subscriptions"]
        ],
    }
    return {**whole, **changes}


def test_the_dump(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(dump()))
    imported = read_dump(path, NOW)
    check_common(imported.operations)
    found = of_kind(imported.operations, PutQueued)
    assert [row._replace(position=0) for row in found] == [row._replace(position=0) for row in QUEUES]
    assert [row.position for row in found] == sorted(row.position for row in found)
    assert of_kind(imported.operations, PutReceived) == [PutReceived(1, 3, 2)]


def test_a_dump_that_does_not_say_which_messages_wait(tmp_path: Path) -> None:
    """As mosquitto_db_dump writes it: the subscription identifier stands where the number of the message should."""
    queued = [{**entry, "storeid": entry["subscription-identifier"]} for entry in dump()["client-messages"]]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(dump(**{"client-messages": queued})))
    imported = read_dump(path, NOW)
    check_common(imported.operations)
    assert of_kind(imported.operations, PutQueued) == []
    assert "6 messages that wait" in imported.remarks[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[]", "expected an object with the arrays base-messages"),
        ("{}", "expected an object with the arrays base-messages"),
        (json.dumps(dump(clients=5)), "expected an object with the arrays"),
        (json.dumps(dump(clients=[{}])), "something is missing.*client_id"),
        (json.dumps(dump(**{"base-messages": [{"storeid": 1, "payload": "*"}]})), "payload of message 1"),
        (json.dumps(dump(subscriptions=[{"clientid": "old", "topic": 7}])), "something is missing or of another type"),
    ],
)
def test_a_dump_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "dump.json"
    path.write_text(content)
    with pytest.raises(MosquittoStateError, match=message):
        read_dump(path, NOW)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ([], "version other than 1"),
        ([{"component": "database_schema", "major": 2, "minor": 0, "patch": 0}], "other than"),
    ],
)
def test_tables_of_another_version(tmp_path: Path, version: list[dict[str, Any]], message: str) -> None:
    path = make_database(tmp_path / "mosquitto.sqlite3", {**ROWS, "version_info": version})
    with pytest.raises(MosquittoStateError, match=message):
        read_database(path, NOW)


def test_a_database_that_is_none_of_mosquittos(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE a (b)")
    with pytest.raises(MosquittoStateError, match="no such table: version_info"):
        read_database(tmp_path / "other", NOW)
