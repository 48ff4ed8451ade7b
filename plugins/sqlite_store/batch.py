"""What a sequence of operations comes to: for each key the last word on it."""

from collections.abc import Iterable
from typing import Any

from noctule.api import (
    DropMessage,
    DropQueued,
    DropReceived,
    DropRetained,
    DropSession,
    DropSubscription,
    DropWill,
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)


class Batch:
    """Operations by table and key, the last on a key alone; None in place of a row: it is dropped.

    To be applied with the sessions in ``dropped_sessions`` first; what was said of such a session before it was dropped
    is left out, so the rest may come in any order. What belongs to a session is by session, then by the rest of the
    key: so that dropping one costs the same however much else there is.
    """

    __slots__ = ("dropped_sessions", "messages", "queued", "received", "retained", "sessions", "subscriptions", "wills")

    def __init__(self, operations: Iterable[Operation]) -> None:
        """TypeError where something among them is no operation."""
        self.dropped_sessions: set[int] = set()
        self.messages: dict[int, PutMessage | None] = {}
        self.sessions: dict[int, PutSession] = {}
        self.subscriptions: dict[int, dict[tuple[bytes, bytes], PutSubscription | None]] = {}
        self.queued: dict[int, dict[int, PutQueued | None]] = {}
        self.received: dict[int, dict[int, PutReceived | None]] = {}
        self.retained: dict[bytes, PutRetained | None] = {}
        self.wills: dict[int, PutWill | None] = {}
        messages, queued = self.messages, self.queued
        # By position: a field's name costs twice as much, and this runs for every operation there is.
        operation: Any
        for operation in operations:
            kind = operation.__class__
            if kind is PutMessage:
                messages[operation[0]] = operation
            elif kind is PutQueued:
                rows = queued.get(operation[0])
                if rows is None:
                    rows = queued[operation[0]] = {}
                rows[operation[1]] = operation
            elif kind is DropQueued:
                rows = queued.get(operation[0])
                if rows is None:
                    rows = queued[operation[0]] = {}
                rows[operation[1]] = None
            elif kind is DropMessage:
                messages[operation[0]] = None
            else:
                self._add(operation)

    def _add(self, operation: Operation) -> None:
        """Those that are not made for every message."""
        match operation:
            case PutReceived():
                self.received.setdefault(operation.session_id, {})[operation.packet_id] = operation
            case DropReceived(session_id, packet_id):
                self.received.setdefault(session_id, {})[packet_id] = None
            case PutRetained():
                self.retained[operation.topic] = operation
            case DropRetained(topic):
                self.retained[topic] = None
            case PutSubscription():
                key = operation.topic_filter, operation.share_name
                self.subscriptions.setdefault(operation.session_id, {})[key] = operation
            case DropSubscription(session_id, topic_filter, share_name):
                self.subscriptions.setdefault(session_id, {})[topic_filter, share_name] = None
            case PutSession():
                self.sessions[operation.session_id] = operation
            case DropSession(session_id):
                for table in (self.sessions, self.subscriptions, self.queued, self.received, self.wills):
                    table.pop(session_id, None)
                self.dropped_sessions.add(session_id)
            case PutWill():
                self.wills[operation.session_id] = operation
            case DropWill(session_id):
                self.wills[session_id] = None
            case _:
                raise TypeError(f"not an operation of a store: {operation!r:.80}")
