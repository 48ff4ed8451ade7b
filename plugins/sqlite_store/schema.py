"""The tables of the SQLite store: how they came to be, and how an operation becomes a row and back.

Every row has a checksum. SQLite finds damage to the structure of its file, but a byte of a payload, or of a key, that
a disk has changed would come back as if it had been stored so.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from zlib import crc32

from noctule.api import (
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)

#: What the header of the file says it is: "Noct" in ASCII.
APPLICATION_ID: Final = 0x4E6F6374

#: Version N of the tables is what the first N of these make, one after the other. Never change one: add one.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE message (
            message_id INTEGER PRIMARY KEY, topic BLOB NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL,
            retain INTEGER NOT NULL, properties BLOB NOT NULL, expires_at REAL, checksum INTEGER NOT NULL)""",
        """CREATE TABLE session (
            session_id INTEGER PRIMARY KEY, client_id TEXT NOT NULL, owner TEXT, expiry_interval_s INTEGER NOT NULL,
            ends_at REAL, checksum INTEGER NOT NULL)""",
        """CREATE TABLE subscription (
            session_id INTEGER NOT NULL, topic_filter BLOB NOT NULL, share_name BLOB NOT NULL, qos INTEGER NOT NULL,
            options INTEGER NOT NULL, identifier INTEGER NOT NULL, checksum INTEGER NOT NULL,
            PRIMARY KEY (session_id, topic_filter, share_name)) WITHOUT ROWID""",
        """CREATE TABLE queued (
            session_id INTEGER NOT NULL, position INTEGER NOT NULL, message_id INTEGER NOT NULL, qos INTEGER NOT NULL,
            flags INTEGER NOT NULL, packet_id INTEGER NOT NULL, is_released INTEGER NOT NULL,
            identifiers BLOB NOT NULL, share_group BLOB NOT NULL, checksum INTEGER NOT NULL,
            PRIMARY KEY (session_id, position)) WITHOUT ROWID""",
        """CREATE TABLE received (
            session_id INTEGER NOT NULL, packet_id INTEGER NOT NULL, message_id INTEGER NOT NULL,
            checksum INTEGER NOT NULL, PRIMARY KEY (session_id, packet_id)) WITHOUT ROWID""",
        """CREATE TABLE retained (
            topic BLOB PRIMARY KEY, message_id INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE will (
            session_id INTEGER PRIMARY KEY, topic BLOB NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL,
            retain INTEGER NOT NULL, properties BLOB NOT NULL, delay_interval_s INTEGER NOT NULL, user_name TEXT,
            due_at REAL, checksum INTEGER NOT NULL)""",
        # One row, changed where a sync has to happen although nothing else changes.
        "CREATE TABLE sync_mark (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)",
        "INSERT INTO sync_mark VALUES (1, 0)",
    ),
    (
        # Many rows of message or of queued as one: see segments.py. What changes is apart from what does not.
        """CREATE TABLE segment (
            number INTEGER PRIMARY KEY, kind INTEGER NOT NULL, first_key INTEGER NOT NULL, last_key INTEGER NOT NULL,
            rows INTEGER NOT NULL, body_bytes INTEGER NOT NULL, body_checksum INTEGER NOT NULL, gone BLOB NOT NULL)""",
        "CREATE TABLE segment_body (number INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    ),
)


class Table(NamedTuple):
    """A table of rows that are operations."""

    name: str

    #: The columns of its key, and all of them without the checksum.
    key: tuple[str, ...]
    columns: tuple[str, ...]

    #: Whether a row is about a message, and whether it is a session's.
    refers_to_message: bool
    belongs_to_session: bool

    @property
    def put(self) -> str:
        """The statement that puts a row."""
        return f"INSERT OR REPLACE INTO {self.name} VALUES ({', '.join('?' * (len(self.columns) + 1))})"  # noqa: S608

    @property
    def drop(self) -> str:
        """The statement that drops the row of a key."""
        return f"DELETE FROM {self.name} WHERE {' AND '.join(f'{column} = ?' for column in self.key)}"  # noqa: S608

    @property
    def drop_session(self) -> str:
        """The statement that drops every row of a session."""
        return f"DELETE FROM {self.name} WHERE session_id = ?"  # noqa: S608


MESSAGE: Final = Table("message", ("message_id",), PutMessage._fields, False, False)
SESSION: Final = Table("session", ("session_id",), PutSession._fields, False, False)
SUBSCRIPTION: Final = Table(
    "subscription", ("session_id", "topic_filter", "share_name"), PutSubscription._fields, False, True
)
QUEUED: Final = Table("queued", ("session_id", "position"), PutQueued._fields, True, True)
RECEIVED: Final = Table("received", ("session_id", "packet_id"), PutReceived._fields, True, True)
RETAINED: Final = Table("retained", ("topic",), PutRetained._fields, True, False)
WILL: Final = Table("will", ("session_id",), PutWill._fields, False, True)

#: Stands for many rows of MESSAGE or QUEUED; no operation is a row of it.
SEGMENT: Final = Table(
    "segment",
    ("number",),
    ("number", "kind", "first_key", "last_key", "rows", "body_bytes", "body_checksum", "gone"),
    False,
    False,
)

#: In the order in which they are restored.
TABLES: Final = (MESSAGE, SESSION, SUBSCRIPTION, QUEUED, RECEIVED, RETAINED, WILL)


def _time(value: float | None) -> bytes:
    return b"" if value is None else repr(float(value)).encode()


def _text(value: str | None) -> bytes:
    return b"-" if value is None else b"=" + value.encode()


def check_message(row: PutMessage) -> int:
    """The checksum of a row; the functions below are the same for the other tables."""
    number, topic, payload, qos, retain, properties, expires_at = row
    head = b"%d,%d,%d,%d,%d,%b;" % (number, qos, retain, len(topic), len(properties), _time(expires_at))
    return crc32(payload, crc32(properties, crc32(topic, crc32(head))))


def check_session(row: PutSession) -> int:
    """See check_message."""
    number, client_id, owner, expiry_interval_s, ends_at = row
    who = client_id.encode()
    return crc32(
        b"%d,%d,%d,%b;%b%b" % (number, expiry_interval_s, len(who), _time(ends_at), who, _text(owner)),
    )


def check_subscription(row: PutSubscription) -> int:
    """See check_message."""
    number, topic_filter, share_name, qos, options, identifier = row
    return crc32(
        b"%d,%d,%d,%d,%d;%b%b" % (number, qos, options, identifier, len(topic_filter), topic_filter, share_name)
    )


def check_queued(row: PutQueued) -> int:
    """See check_message."""
    number, position, message_id, qos, flags, packet_id, is_released, identifiers, share_group = row
    return crc32(
        b"%d,%d,%d,%d,%d,%d,%d,%d;%b%b"
        % (
            number,
            position,
            message_id,
            qos,
            flags,
            packet_id,
            is_released,
            len(identifiers),
            identifiers,
            share_group,
        )
    )


def check_received(row: PutReceived) -> int:
    """See check_message."""
    return crc32(b"%d,%d,%d" % row)


def check_retained(row: PutRetained) -> int:
    """See check_message."""
    return crc32(b"%b,%d" % row)


def check_will(row: PutWill) -> int:
    """See check_message."""
    number, topic, payload, qos, retain, properties, delay_interval_s, user_name, due_at = row
    head = b"%d,%d,%d,%d,%d,%d,%b,%b;" % (
        number,
        qos,
        retain,
        delay_interval_s,
        len(topic),
        len(properties),
        _time(due_at),
        _text(user_name),
    )
    return crc32(payload, crc32(properties, crc32(topic, crc32(head))))


#: The checksum of an operation, by the name of its table.
CHECKSUMS: Final[dict[str, Callable[[Any], int]]] = {
    "message": check_message,
    "session": check_session,
    "subscription": check_subscription,
    "queued": check_queued,
    "received": check_received,
    "retained": check_retained,
    "will": check_will,
}
