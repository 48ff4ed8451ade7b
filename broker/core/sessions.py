"""The sessions of one broker by client identifier: found, made, kept, ended, and their Wills published."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from noctule._speedups.message import Message
from noctule._speedups.outlet import Plane
from noctule._speedups.router import Router
from noctule._speedups.session import Session
from noctule.core.watchers import Watchers
from noctule.protocol.connect import Will

#: A Session Expiry Interval that means: for good (3.1.2.11.2).
NEVER: Final = 0xFFFFFFFF


class Sessions:
    """The registry. A session is in it from its CONNECT until it ends; its subscriptions hang in the router."""

    def __init__(self, plane: Plane, router: Router, watchers: Watchers | None = None) -> None:
        self._plane = plane
        self._router = router
        self._watchers = watchers if watchers is not None else Watchers()
        #: Those that there are; to be looked into, and filled by the data plane's plain clients.
        self.by_client_id: dict[str, Session] = {}

        self._expiry_max_s = NEVER
        self._stay: Collection[str] = ()

        #: Sessions that have ended because their client stayed away too long.
        self.expired_count = 0

    def __len__(self) -> int:
        return len(self.by_client_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(self.by_client_id.values())

    def find(self, client_id: str) -> Session | None:
        """The session of this client identifier; None where there is none."""
        return self.by_client_id.get(client_id)

    def limit_expiry(self, max_s: int | None, stay: Collection[str] = ()) -> None:
        """No session outlives its connection by more than this from now on, but for those of the client identifiers
        ``stay``; None: as long as clients ask. For who is away already the time runs from now, where less is left."""
        self._expiry_max_s = NEVER if max_s is None else max_s
        self._stay = frozenset(stay)
        if max_s is None:
            return
        for session in list(self):
            if session.outlet is None and self.shorten(session):
                self.look_at(session)

    def expiry_allowed(self, client_id: str, interval_s: int) -> int:
        """The Session Expiry Interval that holds where this one is asked for."""
        return interval_s if client_id in self._stay else min(interval_s, self._expiry_max_s)

    def shorten(self, session: Session) -> bool:
        """Have a session without connection end within the limit; False where it does."""
        longest_s = self.expiry_allowed(session.client_id, NEVER)
        if longest_s == NEVER or session.ends_at <= self._plane.now + longest_s:
            return False
        session.expiry_interval_s = min(session.expiry_interval_s, longest_s)
        session.ends_at = self._plane.now + longest_s
        if session.store_id:
            self.keep_clocks(session, has_end=True, has_will=False)
        return True

    def open(
        self,
        client_id: str,
        *,
        clean_start: bool,
        expiry_interval_s: int,
        owner: str | None = None,
        is_kept: bool = True,
    ) -> tuple[Session, bool]:
        """The session that a CONNECT asks for, and whether it was there before (Session Present).

        Whatever connection the old session had is closed before this is called. ``owner``: the identity that a new
        session belongs to; who may have one that is there is for the caller to say. ``is_kept``: whether it is to
        survive a restart, where anything does and it outlives its connection.
        """
        expiry_interval_s = self.expiry_allowed(client_id, expiry_interval_s)
        session = self.by_client_id.get(client_id)
        if session is not None and clean_start:
            self.end(session, "the client has started anew")  # [MQTT-3.1.2-4]
            session = None
        present = session is not None  # [MQTT-3.1.2-5]
        if session is None:
            session = Session(self._plane, client_id)  # [MQTT-3.1.2-6]
            session.owner = owner
            self.by_client_id[client_id] = session
        else:
            # The client is back before its delayed Will was due: it is not published [MQTT-3.1.3-9].
            session.will = None
            self._plane.deadlines.cancel(session)
        session.expiry_interval_s = expiry_interval_s
        self._keep(session, is_kept=is_kept)
        return session, present

    def add_restored(self, client_id: str, owner: str | None, expiry_interval_s: int, store_id: int) -> Session:
        """A session that was kept, without connection and with nothing in it yet. KeyError where there is one."""
        if client_id in self.by_client_id:
            raise KeyError(client_id)
        session = self.by_client_id[client_id] = Session(self._plane, client_id)
        session.owner = owner
        session.expiry_interval_s = expiry_interval_s
        session.store_id = store_id
        return session

    def _keep(self, session: Session, *, is_kept: bool) -> None:
        """Have the journal know of the session, where it is to be kept."""
        journal = self._plane.journal
        if journal is None:
            return
        if not session.store_id:
            if not is_kept or not session.expiry_interval_s:
                return
            session.keep(journal.new_session_id())
            for topic_filter, share_name, qos, options, identifier in self._router.subscriptions_of(session):
                self._router.subscribe(session, topic_filter, qos, options, identifier, share_name)
        journal.put_session(session.store_id, session.client_id, session.owner, session.expiry_interval_s, None)

    def keep_clocks(self, session: Session, *, has_end: bool, has_will: bool) -> None:
        """Have the journal know when a session without connection ends, and when its Will is due."""
        journal = self._plane.journal
        if journal is None:
            return
        if has_end:
            journal.put_session(
                session.store_id, session.client_id, session.owner, session.expiry_interval_s, session.ends_at
            )
        if has_will:
            self._keep_will(session, session.will_due_at)

    def arm_will(self, session: Session, will: Will | None) -> None:
        """The Will of the connection that the session has now [MQTT-3.1.2-7]."""
        session.will = will
        if session.store_id:
            self._keep_will(session, None)

    def _keep_will(self, session: Session, due_at: float | None) -> None:
        journal = self._plane.journal
        if journal is None or not session.store_id:
            return
        will: Will | None = session.will
        if will is None:
            journal.drop_will(session.store_id)
            return
        journal.put_will(
            session.store_id,
            will.topic.encode(),
            will.payload,
            will.qos,
            will.retain,
            will.properties,
            will.will_delay_interval_s,
            None if session.client is None else session.client.user_name,
            due_at,
        )

    def connection_ended(self, session: Session, reason: str, *, publish_will: bool) -> None:
        """The session has lost its connection: its Will is published or dropped, and it ends or waits.

        ``publish_will`` is False after a DISCONNECT with reason code 0x00 [MQTT-3.14.4-3]. ``reason``: why it has
        ended, for people.
        """
        now = self._plane.now
        if self._watchers.client_disconnected is not None:
            self._watchers.client_disconnected(session, reason)
        will: Will | None = session.will
        if not publish_will:
            session.will = will = None
        session.expiry_interval_s = self.expiry_allowed(session.client_id, session.expiry_interval_s)
        if session.expiry_interval_s == 0:
            self.end(session, "its connection has ended")
            return
        session.ends_at = float("inf") if session.expiry_interval_s == NEVER else now + session.expiry_interval_s
        session.will_due_at = now + will.will_delay_interval_s if will is not None else float("inf")
        if session.store_id:
            self.keep_clocks(session, has_end=True, has_will=True)
        self.look_at(session)

    def stop(self, connected: Iterable[Session]) -> None:
        """The broker stops, and these have lost their connections. What is not kept ends now; of what is, the Wills
        that are due are published, and those with a delay wait for it beyond the restart (3.1.2.5)."""
        for session in connected:
            self.connection_ended(session, "the broker stops", publish_will=True)
        for session in list(self):
            if not session.store_id and session.will is not None:
                self.end(session, "the broker stops")

    def look_at(self, session: Session) -> None:
        """Do what is due for a session without connection, and wait for what is not."""
        now = self._plane.now
        if session.ends_at <= now:
            self.expired_count += 1
            self.end(session, "it has expired")
            return
        if session.will is not None and session.will_due_at <= now:
            self._publish_will(session)
        next_at = min(session.ends_at, session.will_due_at if session.will is not None else float("inf"))
        if next_at != float("inf"):
            self._plane.deadlines.schedule(session, next_at)

    def end(self, session: Session, reason: str) -> None:
        """The session is over: its Will is published now at the latest [MQTT-3.1.2-8], its state forgotten."""
        self._plane.deadlines.cancel(session)
        self._router.end_session(session)
        if self.by_client_id.get(session.client_id) is session:
            del self.by_client_id[session.client_id]
        if session.will is not None:
            self._publish_will(session)
        if self._watchers.session_ended is not None:
            self._watchers.session_ended(session, reason)

    def _publish_will(self, session: Session) -> None:
        will: Will = session.will
        session.will = None  # [MQTT-3.1.2-10]
        self._keep_will(session, None)
        # Made now, since its Message Expiry Interval runs from its publication on (3.1.3.2.4).
        message = Message(will.topic.encode(), will.payload, will.qos, will.retain, will.properties, self._plane.now)
        if self._watchers.will_due is not None:
            due = self._watchers.will_due(session, message)
            if due is None:
                return
            message = due
        self._router.publish_message(message, session)
        if self._watchers.will_published is not None:
            self._watchers.will_published(session, message)
