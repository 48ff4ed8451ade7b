"""What a sequence of operations comes to: for each key the last word on it."""

from collections.abc import Sequence
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

    To be applied with the sessions in ``dropped_sessions`` first; what was put for such a session before it was dropped
    is left out or dropped, so the rest may come in any order. What belongs to a session is by session, then by the rest
    of the key: so that dropping one costs the same however much else there is. What is queued is by both, for speed.
    """

    __slots__ = ("dropped_sessions", "messages", "queued", "received", "retained", "sessions", "subscriptions", "wills")

    def __init__(self, operations: Sequence[Operation]) -> None:
        """TypeError where something among them is no operation."""
        self.dropped_sessions: set[int] = set()
        self.messages: dict[int, PutMessage | None] = {}
        self.sessions: dict[int, PutSession] = {}
        self.subscriptions: dict[int, dict[tuple[bytes, bytes], PutSubscription | None]] = {}
        self.queued: dict[tuple[int, int], PutQueued | None] = {}
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
                queued[operation[:2]] = operation
            elif kind is DropQueued:
                queued[operation] = None  # equal to its key, as a tuple
            elif kind is DropMessage:
                messages[operation[0]] = None
            else:
                self._add(operation)
        if self.dropped_sessions:
            self._leave_out(operations)

    @property
    def has_others(self) -> bool:
        """Whether there is anything but messages and what is queued."""
        return bool(self.sessions or self.subscriptions or self.received or self.retained or self.wills)

    def _leave_out(self, operations: Sequence[Operation]) -> None:
        """Drop what was queued for a session before it was dropped."""
        self.queued.clear()
        ends = {operation[0]: at for at, operation in enumerate(operations) if operation.__class__ is DropSession}
        operation: Any
        for at, operation in enumerate(operations):
            kind = operation.__class__
            if kind is PutQueued:
                self.queued[operation[:2]] = operation if at > ends.get(operation[0], -1) else None
            elif kind is DropQueued:
                self.queued[operation[:2]] = None

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
                for table in (self.sessions, self.subscriptions, self.received, self.wills):
                    table.pop(session_id, None)
                self.dropped_sessions.add(session_id)
            case PutWill():
                self.wills[operation.session_id] = operation
            case DropWill(session_id):
                self.wills[session_id] = None
            case _:
                raise TypeError(f"not an operation of a store: {operation!r:.80}")
