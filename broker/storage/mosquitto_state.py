"""What Mosquitto leaves behind, as operations: the JSON of ``mosquitto_db_dump --json``, the file of persist-sqlite.

Both have the same seven things under other names. How they are written is documented in Mosquitto's man pages and to
be seen in what it writes (2.1); what is taken to be so without it being documented is marked "assumed" below.
"""

import json
import sqlite3
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_name, split_filter
from noctule.protocol.properties import PROPERTY_RULES, WireType, encode_property_block
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

#: A Session Expiry Interval that says: never (3.1.2.11.2); Mosquitto has it for "clean session off" too.
NEVER: Final = 0xFFFF_FFFF

#: The direction of a client's message: towards us. The other is 1.
_IN: Final = 0

#: The states of a client's message (assumed: they are numbers of its source), and what they come to here.
_STATE_RESEND_PUBREL: Final = 6
_STATE_WAIT_FOR_PUBREL: Final = 7
_STATE_WAIT_FOR_PUBCOMP: Final = 9
_STATE_SEND_PUBREC: Final = 10
_STATE_QUEUED: Final = 11

#: Bits of subscription options (3.8.3.1).
_NO_LOCAL: Final = 0x04
_RETAIN_AS_PUBLISHED: Final = 0x08

_PROPERTIES: Final[Mapping[str, PropertyId]] = {
    rule.name.lower().replace(" ", "-"): rule.identifier for rule in PROPERTY_RULES.values()
}

#: Properties that belong to one connection, or that are columns of their own.
_KEPT_ELSEWHERE: Final = frozenset(
    {
        PropertyId.SUBSCRIPTION_IDENTIFIER,
        PropertyId.TOPIC_ALIAS,
        PropertyId.MESSAGE_EXPIRY_INTERVAL,
        PropertyId.WILL_DELAY_INTERVAL,
    }
)


class MosquittoStateError(Exception):
    """The file is not what Mosquitto writes; the text says where and what was expected."""


@dataclass
class _State:
    """The seven tables, with names as in persist-sqlite."""

    base_msgs: Sequence[Mapping[str, Any]] = ()
    retains: Sequence[Mapping[str, Any]] = ()
    clients: Sequence[Mapping[str, Any]] = ()
    subscriptions: Sequence[Mapping[str, Any]] = ()
    client_msgs: Sequence[Mapping[str, Any]] = ()
    wills: Sequence[Mapping[str, Any]] = ()


@dataclass
class Imported:
    """What was found, and what of it could not be taken over."""

    operations: list[Operation] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def is_sqlite(path: Path) -> bool:
    """Whether a file is a database of SQLite's. OSError where it cannot be read."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\x00"


def read_database(path: Path, now: float) -> Imported:
    """Read the file of persist-sqlite. MosquittoStateError where it is none, or damaged."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            versions = connection.execute("SELECT major, minor FROM version_info WHERE component = 'database_schema'")
            version = versions.fetchone()
            if version is None or version["major"] != 1:
                raise MosquittoStateError(f"{path}: its tables are of a version other than 1")
            remarks: list[str] = []
            state = _State(
                **{
                    name: [_row(row, name, remarks) for row in connection.execute(query)]
                    for name, query in _QUERIES.items()
                    if name != "wills" or version["minor"] >= 1
                }
            )
    except sqlite3.Error as error:
        raise MosquittoStateError(f"{path} is no file of Mosquitto's persist-sqlite plugin: {error}") from None
    imported = _import(state, now, str(path))
    imported.remarks[:0] = remarks
    return imported


_QUERIES: Final = {
    "base_msgs": "SELECT * FROM base_msgs ORDER BY store_id",
    "retains": "SELECT * FROM retains",
    "clients": "SELECT * FROM clients",
    "subscriptions": "SELECT * FROM subscriptions",
    "client_msgs": "SELECT * FROM client_msgs ORDER BY rowid",
    "wills": "SELECT * FROM wills",
}


def _row(row: sqlite3.Row, table: str, remarks: list[str]) -> dict[str, Any]:
    """A row, with topics as text.

    They are declared as STRING, which SQLite takes for a kind of number: a topic that looks like one is kept as one.
    """
    found = dict(row)
    topic = found.get("topic")
    if isinstance(topic, int | float):
        found["topic"] = str(topic)
        remarks.append(f"{table}: the topic {topic} was kept as a number: it may have been written otherwise")
    if table != "clients" and isinstance(found.get("properties"), str):
        try:
            found["properties"] = json.loads(found["properties"])
        except ValueError as error:
            remarks.append(f"{table}: properties of {topic!r} are not JSON ({error}): left out")
            found["properties"] = []
    return found


def read_dump(path: Path, now: float) -> Imported:
    """Read the output of ``mosquitto_db_dump --json``. MosquittoStateError where it is none, OSError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MosquittoStateError(f"{path} is not JSON: {error}") from None
    names = ("base-messages", "clients", "client-messages", "retained-messages", "subscriptions")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), list) for name in names):
        raise MosquittoStateError(f"{path}: expected an object with the arrays {', '.join(names)}")
    messages, remarks = [], []
    for message in found["base-messages"]:
        payload = message.get("payload", "")
        try:
            plain = b64decode(payload, validate=True)
        except (ValueError, TypeError):
            raise MosquittoStateError(f"{path}: the payload of message {message.get('storeid')} is no base64") from None
        messages.append({**_underscored(message), "payload": plain})
    queued = [_underscored(entry) for entry in found["client-messages"]]
    if queued and all(entry.get("store_id") == entry.get("subscription_identifier") for entry in queued):
        remarks.append(
            f"client-messages: {len(queued)} messages that wait for clients are left out: this mosquitto_db_dump has "
            "written their subscription identifiers in place of what message they are. Let Mosquitto deliver them "
            "first, or use its persist-sqlite plugin, whose file has them"
        )
        queued = []
    for entry in queued:
        entry["retain"] = entry.get("retain_dup", 0) >> 4 & 1  # assumed: RETAIN in the upper half, DUP in the lower
    topics = {message.get("store_id"): message.get("topic") for message in messages}
    state = _State(
        base_msgs=messages,
        retains=[
            {"store_id": entry.get("storeid"), "topic": topics.get(entry.get("storeid"))}
            for entry in found["retained-messages"]
        ],
        clients=[_underscored(client) for client in found["clients"]],
        subscriptions=[
            {
                **_underscored(entry),
                "subscription_options": entry.get("options", 0) & ~3 | entry.get("qos", 0),
                "subscription_identifier": entry.get("identifier", 0),
            }
            for entry in found["subscriptions"]
        ],
        client_msgs=queued,
    )
    imported = _import(state, now, str(path))
    imported.remarks[:0] = remarks
    return imported


def _underscored(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the dump as those of the tables."""
    renamed = {"storeid": "store_id", "clientid": "client_id"}
    return {renamed.get(name, name.replace("-", "_")): value for name, value in entry.items()}


def _import(state: _State, now: float, place: str) -> Imported:
    try:
        return _Importer(now).run(state)
    except (KeyError, TypeError, ValueError, AttributeError, PacketError) as error:
        raise MosquittoStateError(f"{place}: something is missing or of another type: {error!r}") from None


class _Importer:
    """Numbers what Mosquitto names, and leaves out what refers to nothing."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._found = Imported()
        self._messages: dict[int, int] = {}
        self._sessions: dict[str, int] = {}

    def run(self, state: _State) -> Imported:
        for message in state.base_msgs:
            self._message(message)
        for client in state.clients:
            self._client(client)
        for subscription in state.subscriptions:
            self._subscription(subscription)
        self._queues(state.client_msgs)
        for retained in state.retains:
            if number := self._messages.get(retained["store_id"]):
                self._add(PutRetained(retained["topic"].encode(), number))
            else:
                self._leave_out(f"retained message {retained['store_id']}: the message is missing")
        clients = {client["client_id"]: client for client in state.clients}
        for will in state.wills:
            self._will(will, clients.get(will["client_id"]))
        return self._found

    def _add(self, operation: Operation) -> None:
        self._found.operations.append(operation)

    def _leave_out(self, text: str) -> None:
        self._found.remarks.append(f"left out: {text}")

    def _message(self, row: Mapping[str, Any]) -> None:
        expires_at = row.get("expiry_time") or None
        if expires_at is not None and expires_at <= self._now:
            return
        try:
            check_topic_name(row["topic"])
        except PacketError as error:
            self._leave_out(f"message {row['store_id']} to {row['topic']!r}: {error}")
            return
        number = self._messages[row["store_id"]] = len(self._messages) + 1
        self._add(
            PutMessage(
                number,
                row["topic"].encode(),
                bytes(row.get("payload") or b""),
                row["qos"],
                bool(row["retain"]),
                self._properties(row.get("properties") or (), f"message {row['store_id']}", expires_at),
                None if expires_at is None else float(expires_at),
            )
        )

    def _client(self, row: Mapping[str, Any]) -> None:
        client_id = row["client_id"]
        interval = row.get("session_expiry_interval") or 0
        ends_at: float | None = float(row.get("session_expiry_time") or 0) or self._now + interval
        if interval == NEVER:
            ends_at = None
        if ends_at is not None and ends_at <= self._now:
            self._found.remarks.append(f"the session of {client_id} has ended")
            return
        number = self._sessions[client_id] = len(self._sessions) + 1
        self._add(PutSession(number, client_id, row.get("username") or None, interval, ends_at))

    def _subscription(self, row: Mapping[str, Any]) -> None:
        session = self._sessions.get(row["client_id"])
        if session is None:
            return
        try:
            wanted = split_filter(row["topic"])
        except PacketError as error:
            self._leave_out(f"subscription of {row['client_id']} to {row['topic']!r}: {error}")
            return
        options = row["subscription_options"]
        self._add(
            PutSubscription(
                session,
                wanted.filter.encode(),
                (wanted.share_name or "").encode(),
                options & 3,
                bool(options & _NO_LOCAL) | bool(options & _RETAIN_AS_PUBLISHED) << 1,
                row.get("subscription_identifier") or 0,
            )
        )

    def _queues(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """What is in flight first, then what waits, each in its order."""
        in_order = sorted(rows, key=lambda row: (row["state"] == _STATE_QUEUED, row.get("cmsg_id") or 0))
        for position, row in enumerate(in_order, 1):
            session, message = self._sessions.get(row["client_id"]), self._messages.get(row["store_id"])
            if session is None:
                continue
            if message is None:
                self._leave_out(
                    f"a message for {row['client_id']}: message {row['store_id']} is missing or has expired"
                )
            elif row["direction"] == _IN:
                # What is not acknowledged yet the client sends again; what it has released it does not.
                if row["qos"] == 2 and row["state"] in (_STATE_WAIT_FOR_PUBREL, _STATE_SEND_PUBREC):
                    self._add(PutReceived(session, row["mid"], message))
            else:
                is_released = row["state"] in (_STATE_RESEND_PUBREL, _STATE_WAIT_FOR_PUBCOMP)
                self._add(
                    PutQueued(
                        session,
                        position,
                        0 if is_released else message,
                        row["qos"],
                        int(bool(row.get("retain"))),
                        0 if row["state"] == _STATE_QUEUED else row["mid"],
                        is_released,
                        self._identifier(row.get("subscription_identifier") or 0),
                        b"",
                    )
                )

    def _identifier(self, number: int) -> bytes:
        if not number:
            return b""
        return encode_property_block({PropertyId.SUBSCRIPTION_IDENTIFIER: [number]}, PacketType.PUBLISH)

    def _will(self, row: Mapping[str, Any], client: Mapping[str, Any] | None) -> None:
        session = self._sessions.get(row["client_id"])
        if session is None or client is None:
            self._leave_out(f"the will of {row['client_id']}: it has no session")
            return
        delay = client.get("will_delay_interval") or 0
        self._add(
            PutWill(
                session,
                row["topic"].encode(),
                bytes(row.get("payload") or b""),
                row["qos"],
                bool(row["retain"]),
                self._properties(row.get("properties") or (), f"the will of {row['client_id']}", None),
                delay,
                client.get("username") or None,
                float(client.get("will_delay_time") or 0) or self._now + delay,
            )
        )

    def _properties(self, rows: Sequence[Mapping[str, Any]], whose: str, expires_at: float | None) -> bytes:
        """A property block. Bytes are written in hexadecimal, a user property has a name and a value.

        Mosquitto keeps when a message expires beside its properties; here the interval belongs to them.
        """
        values: dict[PropertyId, Any] = {}
        if expires_at is not None:
            values[PropertyId.MESSAGE_EXPIRY_INTERVAL] = max(1, round(expires_at - self._now))
        for row in rows:
            identifier = _PROPERTIES.get(row["identifier"])
            if identifier is None:
                self._leave_out(f"{whose}: the property {row['identifier']!r} is unknown")
                continue
            kind, value = PROPERTY_RULES[identifier].wire_type, row["value"]
            if identifier in _KEPT_ELSEWHERE:
                continue
            if kind is WireType.UTF8_STRING_PAIR:
                values.setdefault(identifier, []).append((row["name"], value))
            else:
                values[identifier] = bytes.fromhex(value) if kind is WireType.BINARY_DATA else value
        return encode_property_block(values, PacketType.PUBLISH)


def kinds_of(operations: Iterable[Operation]) -> Iterator[tuple[str, int]]:
    """How many there are of each kind, for people."""
    counts: dict[str, int] = {}
    for operation in operations:
        name = type(operation).__name__.removeprefix("Put").lower()
        counts[name] = counts.get(name, 0) + 1
    yield from counts.items()
