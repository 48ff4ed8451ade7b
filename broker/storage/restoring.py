"""Builds the state of a broker from what was kept: sessions with all that is theirs, and retained messages."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from noctule._speedups.message import Message
from noctule._speedups.session import Session
from noctule.core.clients import Client
from noctule.core.sessions import NEVER
from noctule.core.state import State
from noctule.protocol.connect import Will
from noctule.protocol.errors import PacketError
from noctule.storage import operations as kept

#: How many operations are read between two calls of ``progress``.
PROGRESS_OPERATIONS = 50_000

#: Rows that are named where they could not be put back; the rest is counted.
PROBLEMS_NAMED = 50


@dataclass(slots=True)
class Restored:
    """What was found."""

    messages: int = 0
    sessions: int = 0
    subscriptions: int = 0
    queued: int = 0
    retained: int = 0

    #: What could not be put back, for the log: each of them a line.
    problems: list[str] = field(default_factory=list)


def restore(
    operations: Iterable[kept.Operation],
    state: State,
    wall_clock_ahead_s: float,
    progress: Callable[[int], object] | None = None,
) -> Restored:
    """Put back what the operations describe, into a broker that is empty and does not run yet.

    ``wall_clock_ahead_s``: how far the wall clock is ahead of the broker's. A row that does not fit the others is left
    out and named in the answer. A session that was connected counts as disconnected now: its time runs from here, and
    its Will is due after its delay.
    """
    return _Restoring(state, wall_clock_ahead_s).run(operations, progress)


class _Restoring:
    def __init__(self, state: State, wall_clock_ahead_s: float) -> None:
        self._state = state
        self._ahead_s = wall_clock_ahead_s
        self._messages: dict[int, Message] = {}
        self._sessions: dict[int, Session] = {}
        self._ends: list[tuple[Session, float | None]] = []
        self._wills_due: dict[int, float | None] = {}
        self._last_position = 0
        self._restored = Restored()

    def run(self, operations: Iterable[kept.Operation], progress: Callable[[int], object] | None) -> Restored:
        left_out = 0
        for count, operation in enumerate(operations, 1):
            if progress is not None and count % PROGRESS_OPERATIONS == 0:
                progress(count)
            try:
                self._put(operation)
            except (KeyError, ValueError, TypeError, OverflowError, PacketError) as error:
                left_out += 1
                if left_out <= PROBLEMS_NAMED:
                    self._restored.problems.append(f"left out {type(operation).__name__} of {_key(operation)}: {error}")
        if left_out > PROBLEMS_NAMED:
            self._restored.problems.append(f"left out {left_out - PROBLEMS_NAMED} rows more")
        journal = self._state.plane.journal
        if journal is not None:
            journal.start_after(max(self._messages, default=0), max(self._sessions, default=0), self._last_position)
        self._start_clocks()
        if journal is not None:
            for message in self._messages.values():
                journal.drop_unreferred(message)
        return self._restored

    def _put(self, operation: kept.Operation) -> None:
        restored, router = self._restored, self._state.router
        match operation:
            case kept.PutMessage():
                self._messages[operation.message_id] = self._message(operation)
                restored.messages += 1
            case kept.PutSession():
                session = self._state.sessions.add_restored(
                    operation.client_id, operation.owner, operation.expiry_interval_s, operation.session_id
                )
                self._sessions[operation.session_id] = session
                self._ends.append((session, operation.ends_at))
                restored.sessions += 1
            case kept.PutSubscription():
                share_name = operation.share_name or None
                session = self._sessions[operation.session_id]
                router.restore_subscription(
                    session,
                    operation.topic_filter,
                    operation.qos,
                    operation.options,
                    operation.identifier,
                    share_name,
                )
                restored.subscriptions += 1
            case kept.PutQueued():
                self._last_position = max(self._last_position, operation.position)
                message = None if operation.is_released else self._messages[operation.message_id]
                self._sessions[operation.session_id].restore_queued(
                    message,
                    operation.position,
                    operation.qos,
                    operation.flags,
                    operation.packet_id,
                    operation.is_released,
                    operation.identifiers,
                    operation.share_group,
                )
                restored.queued += 1
            case kept.PutReceived():
                self._sessions[operation.session_id].restore_received(
                    operation.packet_id, self._messages[operation.message_id]
                )
            case kept.PutRetained():
                router.restore_retained(self._messages[operation.message_id])
                restored.retained += 1
            case kept.PutWill():
                session = self._sessions[operation.session_id]
                session.will = Will(
                    operation.topic.decode(),
                    operation.payload,
                    operation.qos,
                    operation.retain,
                    operation.delay_interval_s,
                    operation.properties,
                )
                self._wills_due[operation.session_id] = operation.due_at
                # Its rules are asked for again by this, before the Will is due. Where it came from is not known.
                session.client = Client(session.client_id, operation.user_name, "", "", "", 0)
            case _:
                raise ValueError("not what a store restores")

    def _message(self, row: kept.PutMessage) -> Message:
        message = Message(row.topic, row.payload, row.qos, row.retain, row.properties, 0.0)
        if row.expires_at is not None:
            # Its interval ran from when it came; what is left of it is what the wall clock says.
            arrived_at = row.expires_at - self._ahead_s - message.expires_at
            message = Message(row.topic, row.payload, row.qos, row.retain, row.properties, arrived_at)
        message.kept_as(row.message_id)
        return message

    def _start_clocks(self) -> None:
        """From now on the sessions wait for their end, and their Wills for theirs."""
        now = self._state.plane.now
        for session, ends_at in self._ends:
            interval_s = session.expiry_interval_s
            if ends_at is not None:
                session.ends_at = ends_at - self._ahead_s
            else:
                session.ends_at = float("inf") if interval_s == NEVER else now + interval_s
            if self._state.sessions.shorten(session):
                ends_at = session.ends_at  # kept already
            session.will_due_at = float("inf")
            due_at = None
            if session.will is not None:
                due_at = self._wills_due[session.store_id]
                delay_s = session.will.will_delay_interval_s
                session.will_due_at = now + delay_s if due_at is None else due_at - self._ahead_s
            if ends_at is None or due_at is None:
                # That its time runs from here is kept, or it would begin anew at each restart.
                self._state.sessions.keep_clocks(
                    session,
                    has_end=ends_at is None and interval_s != NEVER,
                    has_will=due_at is None and session.will is not None,
                )
            first = min(session.ends_at, session.will_due_at)
            if first != float("inf"):
                self._state.plane.deadlines.schedule(session, max(first, now))


def _key(operation: tuple[object, ...]) -> str:
    return ", ".join(repr(value) for value in operation[:2])
