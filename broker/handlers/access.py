"""What a session may do, as the data plane asks for it: the rules of plugins behind a guard, or answers one by one."""

import logging
import weakref
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from noctule._speedups.session import RIGHT_PUBLISH, RIGHT_QOS, RIGHT_RETAIN, RIGHTS_UNKNOWN
from noctule.core.access import Access, Action, PublishRight
from noctule.hooks.answers import Allow, Deny, Verdict
from noctule.protocol.filters import SHARE_PREFIX

#: Topics whose answers one session remembers; with more it starts again.
_REMEMBERED_MAX: Final = 1_000

_FOREVER: Final = float("inf")

#: How long failures of rules are not logged again.
_QUIET_S: Final = 60.0

#: In place of filters that were revoked, where there are too many or nobody knows them: any may be one.
_TOO_MANY: Final = ""


class SessionAccess(Protocol):
    """What ``session.access`` is: what the data plane asks, and what the handlers do."""

    def publish_rights(self, topic: bytes) -> int:
        """For the data plane: RIGHT_PUBLISH, RIGHT_RETAIN and the QoS; 0: nothing; or RIGHTS_UNKNOWN."""
        ...

    def may_receive(self, topic: bytes) -> bool:
        """For the data plane: whether a message of this topic may be delivered."""
        ...

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """The highest QoS of a subscription; None: refused."""
        ...

    def rule_of(self, action: Action, topic: str) -> str:
        """What decided, for the log; empty where there is nothing to name."""
        ...


class NoAccess:
    """Of a client whom no plugin knew rules for, though there are plugins that have them: nothing."""

    def publish_rights(self, topic: bytes) -> int:
        """Nothing."""
        del topic
        return 0

    def may_receive(self, topic: bytes) -> bool:
        """No."""
        del topic
        return False

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """Refused."""
        del topic_filter, share_name
        return None

    def rule_of(self, action: Action, topic: str) -> str:
        """No rule."""
        del action, topic
        return "there are no rules for this client"


#: One is enough.
NO_ACCESS: Final = NoAccess()


class GuardedAccess:
    """A plugin's rules, asked in the data plane's terms; an exception of theirs is a refusal."""

    __slots__ = ("__weakref__", "_access", "_log_failure", "is_of_login")

    def __init__(self, access: Access, log_failure: Callable[[Exception], None], *, is_of_login: bool) -> None:
        self._access = access
        self._log_failure = log_failure

        #: They came with the answer to ``authenticate``: ``load_access`` is never asked in their place.
        self.is_of_login = is_of_login

    def publish_rights(self, topic: bytes) -> int:
        """As ``SessionAccess`` has it."""
        try:
            right = self._access.publish_right(topic.decode())
            return 0 if right is None else rights_of(right)
        except Exception as error:
            self._log_failure(error)
            return 0

    def may_receive(self, topic: bytes) -> bool:
        """As ``SessionAccess`` has it."""
        try:
            return self._access.may_receive(topic.decode()) is True
        except Exception as error:
            self._log_failure(error)
            return False

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """As ``SessionAccess`` has it."""
        try:
            qos = self._access.subscribe_qos_max(topic_filter, share_name)
        except Exception as error:
            self._log_failure(error)
            return None
        return qos if _is_qos(qos) else None

    def rule_of(self, action: Action, topic: str) -> str:
        """As ``SessionAccess`` has it."""
        try:
            return str(self._access.rule_of(action, topic))
        except Exception as error:
            self._log_failure(error)
            return ""


class Guards:
    """One guard for each object that a plugin answers with, however many clients it is the answer for."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._guards: weakref.WeakValueDictionary[tuple[int, bool], GuardedAccess] = weakref.WeakValueDictionary()
        self._quiet_until = float("-inf")
        self._unlogged = 0

    def guard(self, access: Access, *, is_of_login: bool = False) -> GuardedAccess:
        """The guard of this object. Sessions that share it share what the data plane remembers."""
        key = (id(access), is_of_login)  # the guard keeps the object, so no other can have its number
        guard = self._guards.get(key)
        if guard is None:
            guard = self._guards[key] = GuardedAccess(access, self._log_failure, is_of_login=is_of_login)
        return guard

    def _log_failure(self, error: Exception) -> None:
        """Once in a minute, with its traceback."""
        now = self._clock()
        if now < self._quiet_until:
            self._unlogged += 1
            return
        more = f" ({self._unlogged} more times since this was last logged)" if self._unlogged else ""
        self._logger.error("The access rules of a plugin have failed: refused%s.", more, exc_info=error)
        self._quiet_until = now + _QUIET_S
        self._unlogged = 0


class AskedAccess:
    """Answers of the ``authorize`` hooks of one session, remembered as long as they say."""

    __slots__ = ("_clock", "_publish", "_revoked", "_subscriptions", "will_rights")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._publish: dict[bytes, tuple[int, float]] = {}
        self._subscriptions: dict[str, float] = {}

        #: Filters that are no longer allowed: what they have brought into the queue waits there still.
        self._revoked: set[str] = set()

        #: What it may publish as its Will: that was asked at CONNECT, and holds until rules change.
        self.will_rights = 0

    def publish_rights(self, topic: bytes) -> int:
        """As ``SessionAccess`` has it. An answer that is not to be remembered counts in the turn that brings it."""
        known = self._publish.get(topic)
        if known is None or known[1] < self._clock():
            return RIGHTS_UNKNOWN
        return known[0]

    def may_receive(self, topic: bytes) -> bool:
        """Yes: what it subscribes to was allowed. No, where that is a subscription's alone that is not any more."""
        if not self._revoked:
            return True
        name = topic.decode()
        is_suspect = _TOO_MANY in self._revoked or _any_matches(self._revoked, name)
        return not is_suspect or _any_matches(self._subscriptions, name)

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """Refused: subscriptions are asked for, not looked up."""
        del topic_filter, share_name
        return None

    def rule_of(self, action: Action, topic: str) -> str:
        """Who was asked has said no."""
        del action, topic
        return "authorize"

    def learn_publish(self, topic: bytes, verdict: Verdict | None) -> None:
        """Remember the answer about a topic; None is no."""
        if len(self._publish) >= _REMEMBERED_MAX:
            self._publish.clear()
        self._publish[topic] = (rights_of_verdict(verdict), self._until(verdict))

    def learn_subscription(self, topic_filter: str, verdict: Allow) -> None:
        """Remember until when a subscription is allowed."""
        self._subscriptions[topic_filter] = self._until(verdict)
        self._revoked.discard(topic_filter)

    def forget_subscription(self, topic_filter: str) -> None:
        """It is gone."""
        self._subscriptions.pop(topic_filter, None)

    def revoke_subscription(self, topic_filter: str) -> None:
        """It is gone, and what it has brought is not to be delivered."""
        self._subscriptions.pop(topic_filter, None)
        if len(self._revoked) >= _REMEMBERED_MAX:
            self._revoked = {_TOO_MANY}
        self._revoked.add(topic_filter)

    def allows_subscription(self, topic_filter: str) -> bool:
        """Whether it was asked about and is allowed."""
        return topic_filter in self._subscriptions

    def follow(self, other: "AskedAccess | None") -> None:
        """Take over from the session's last connection what was revoked then; its answers were for it alone.

        None: that was judged in another way, or was somebody else's. What it has left in the queue is then delivered
        only where a subscription of now allows it.
        """
        if other is None:
            self._revoked = {_TOO_MANY}
        else:
            self._revoked |= other._revoked - self._subscriptions.keys()

    def overdue_subscriptions(self) -> list[str]:
        """The filters whose answer is too old."""
        now = self._clock()
        return [topic_filter for topic_filter, until in self._subscriptions.items() if until <= now]

    def has_expired(self) -> bool:
        """Whether an answer about a topic has become too old since it was given; such are forgotten."""
        now = self._clock()
        old = [topic for topic, (_, until) in self._publish.items() if until <= now]
        for topic in old:
            del self._publish[topic]
        return bool(old)

    def forget(self) -> None:
        """Every answer is old."""
        self._publish.clear()
        self._subscriptions = dict.fromkeys(self._subscriptions, float("-inf"))

    def _until(self, verdict: object) -> float:
        remember_s = verdict.remember_s if isinstance(verdict, Allow | Deny) else None
        return _FOREVER if remember_s is None else self._clock() + max(0.0, remember_s)


def rights_of(right: PublishRight) -> int:
    """In the data plane's terms. TypeError and ValueError, the plugin's fault, where it is no right."""
    if not isinstance(right, PublishRight):  # a plugin's word for it
        raise TypeError(f"a right of the type {type(right).__name__}")
    if not _is_qos(right.qos_max):
        raise ValueError(f"a QoS of {right.qos_max!r}")
    return RIGHT_PUBLISH | (RIGHT_RETAIN if right.retain is True else 0) | right.qos_max * RIGHT_QOS


def rights_of_verdict(verdict: object) -> int:
    """The same of an answer of ``authorize``."""
    if not isinstance(verdict, Allow):
        return 0
    return RIGHT_PUBLISH | (RIGHT_RETAIN if verdict.retain is True else 0) | verdict.qos_max * RIGHT_QOS


def is_allowed(rights: int, qos: int, retain: bool) -> bool:
    """Whether rights in the data plane's terms cover a message."""
    return rights != RIGHTS_UNKNOWN and bool(
        rights & RIGHT_PUBLISH and (not retain or rights & RIGHT_RETAIN) and qos <= rights // RIGHT_QOS
    )


def _is_qos(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= 2


def _any_matches(filters: Iterable[str], topic: str) -> bool:
    """Whether one of the filters, as clients write them, matches the topic name."""
    levels = topic.split("/")
    return any(_matches(text.split("/", 2)[2] if text.startswith(SHARE_PREFIX) else text, levels) for text in filters)


def _matches(topic_filter: str, levels: list[str]) -> bool:
    wanted = topic_filter.split("/")
    if levels[0].startswith("$") and wanted[0] in ("#", "+"):  # [MQTT-4.7.2-1]
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)
