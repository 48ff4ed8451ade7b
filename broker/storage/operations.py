"""The operations that change what is kept, and that describe it whole when they are read back.

The kept state is a set of tables; each operation puts or drops the row of one key. An operation on a key replaces what
an earlier one said of it. Identifiers of messages and sessions are numbers of the broker's, which it never gives
twice, so a row of theirs is never put again after it was dropped.

Times are seconds since 1970 on the wall clock, so that they mean the same after a restart. Topics are UTF-8 in bytes.
"""

from typing import NamedTuple


class PutMessage(NamedTuple):
    """A message that others refer to; it does not change."""

    message_id: int
    topic: bytes
    payload: bytes
    qos: int
    retain: bool

    #: A checked PUBLISH property block without its length, Topic Alias and Subscription Identifiers.
    properties: bytes

    #: When its Message Expiry Interval runs out; None: never.
    expires_at: float | None


class DropMessage(NamedTuple):
    """Nothing refers to the message any more."""

    message_id: int


class PutSession(NamedTuple):
    """A session that outlives its connection."""

    session_id: int
    client_id: str

    #: The identity that created it; None: an anonymous client.
    owner: str | None
    expiry_interval_s: int

    #: When it ends; None while it is connected, and where it never does.
    ends_at: float | None


class DropSession(NamedTuple):
    """The session is over: every row of it in every other table goes with it."""

    session_id: int


class PutSubscription(NamedTuple):
    """A subscription. Its key is the session, the filter and the share name."""

    session_id: int
    topic_filter: bytes

    #: Empty: not shared.
    share_name: bytes
    qos: int

    #: Bit 0: No Local, bit 1: Retain As Published.
    options: int

    #: 0: none.
    identifier: int


class DropSubscription(NamedTuple):
    """The subscription is gone."""

    session_id: int
    topic_filter: bytes
    share_name: bytes


class PutQueued(NamedTuple):
    """A message that waits for a session, or is in flight to it. Its key is the session and the position."""

    session_id: int

    #: Grows within a session: the order of delivery. No position is given twice, whatever the session.
    position: int

    #: 0: none any more. A message of QoS 2 that the client has received needs nothing but its packet identifier.
    message_id: int
    qos: int

    #: Bit 0: with the RETAIN flag. Others are the broker's.
    flags: int

    #: Under which it is sent again; 0: it has not been sent. A message of QoS 2 has one from before it is first sent,
    #: one of QoS 1 from soon after.
    packet_id: int

    #: Whether a message of QoS 2 has been received by the client (PUBREC): PUBREL is what follows.
    is_released: bool

    #: Subscription Identifiers as property bytes.
    identifiers: bytes

    #: The filter tree's key of the share group that chose this session; empty: none did.
    share_group: bytes


class DropQueued(NamedTuple):
    """The message has been acknowledged, has expired, or was dropped."""

    session_id: int
    position: int


class PutReceived(NamedTuple):
    """A QoS 2 message of a client's that waits for its PUBREL. Its key is the session and the packet identifier."""

    session_id: int
    packet_id: int
    message_id: int


class DropReceived(NamedTuple):
    """The message has been released, or its session has started anew."""

    session_id: int
    packet_id: int


class PutRetained(NamedTuple):
    """The retained message of a topic."""

    topic: bytes
    message_id: int


class DropRetained(NamedTuple):
    """The topic has no retained message any more."""

    topic: bytes


class PutWill(NamedTuple):
    """The Will of a session, armed or waiting for its delay."""

    session_id: int
    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    properties: bytes
    delay_interval_s: int

    #: The identity that it is published as.
    user_name: str | None

    #: When it is due; None while the session is connected.
    due_at: float | None


class DropWill(NamedTuple):
    """The Will has been published or taken back."""

    session_id: int


Operation = (
    PutMessage
    | DropMessage
    | PutSession
    | DropSession
    | PutSubscription
    | DropSubscription
    | PutQueued
    | DropQueued
    | PutReceived
    | DropReceived
    | PutRetained
    | DropRetained
    | PutWill
    | DropWill
)
