"""What a client may do at a topic: the rules it is judged by, as plugins give them and as the data plane asks them."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Action(Enum):
    """What is judged."""

    PUBLISH = "publish"
    RECEIVE = "receive"
    SUBSCRIBE = "subscribe"


@dataclass(frozen=True, slots=True)
class PublishRight:
    """That a client may publish to a topic, and how."""

    #: The highest QoS.
    qos_max: int = 2

    #: Whether a message may be retained.
    retain: bool = True


class Access(Protocol):
    """What one client may do, or every client of one kind: the same object may serve many.

    Answers come at once and stay the same until ``Broker.access_changed`` is called: the broker remembers them by
    topic. An exception is a refusal.
    """

    def publish_right(self, topic: str) -> PublishRight | None:
        """How the client may publish to a topic name; None: not at all."""
        ...

    def may_receive(self, topic: str) -> bool:
        """Whether a message of this topic name may be delivered to the client. Asked for every topic that reaches
        it, whatever subscription it matches, and again when a message has waited."""
        ...

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """The highest QoS at which the client may subscribe to a topic filter (of a share group, by its name); None:
        the subscription is refused."""
        ...

    def rule_of(self, action: Action, topic: str) -> str:
        """Which rule decided, for the log: ``acl.conf:12``; empty where there is nothing to name."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of access: to what, for which actions, whether it allows or denies.

    At one topic every rule that matches counts, whatever their order: one that denies beats those that allow, and of
    several that allow the highest QoS counts and whether any allows retain. Nothing that matches denies.
    """

    #: A topic filter. ``%c`` and ``%u`` stand for the client identifier and the user name; a rule with ``%u`` does
    #: not count for who has none. What is filled in must be a single level free of wildcards, otherwise a rule that
    #: allows does not count; one that denies does, with the text as it is: no name gets past it.
    topic_filter: str

    #: The actions that it is about.
    actions: frozenset[Action] = frozenset(Action)

    #: Whether it allows; otherwise it denies.
    allows: bool = True

    #: The highest QoS that it allows.
    qos_max: int = 2

    #: Whether what it allows to be published may be retained.
    retain: bool = True

    #: Where it stands, for the log: ``acl.conf:12``.
    source: str = ""

    #: Rules of a lower tier come first: where one of them matches (allowing or denying), those of higher tiers are
    #: not looked at.
    tier: int = 0

    #: Whether ``%c`` and ``%u`` stand for something; otherwise they are text like any other.
    has_placeholders: bool = True
