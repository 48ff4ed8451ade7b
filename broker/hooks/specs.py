"""Every hook that a plugin may implement: when it is called, with what, and what its answer means.

A hook is ``def`` or ``async def`` as it is here, and the other is refused when the plugin is loaded. A plugin names as
many of the arguments as it needs.

Three ways to answer. *All*: every plugin is called, in the order of the configuration. *First*: in that order, until
one answers other than None. *Chain*: each gets what the one before has made of it.

Whatever decides fails closed: an exception, no answer in time, and None from everybody are a refusal.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pluggy
from noctule._speedups.message import Message
from noctule.config.settings import Settings
from noctule.core.access import Access, Action
from noctule.core.authentication import AuthenticationMethod
from noctule.core.clients import Client
from noctule.hooks.answers import Credentials, Deny, Drop, Service, Subscription, Verdict
from noctule.hooks.transports import Transport

if TYPE_CHECKING:
    from noctule.hooks.broker import Broker
    from noctule.hooks.metrics import Metrics
    from noctule.storage.store import Store

#: The name of the project for pluggy.
PROJECT: Final = "noctule"

hookspec: Final = pluggy.HookspecMarker(PROJECT)

# --- start and stop ----------------------------------------------------------------------


@hookspec
async def broker_starting(broker: "Broker") -> None:
    """All, before the broker listens. PluginError refuses the start."""


@hookspec
async def broker_started(broker: "Broker") -> None:
    """All, once every listener is open."""


@hookspec
async def broker_stopping(broker: "Broker") -> None:
    """All, in reverse order, after the last connection has ended."""


@hookspec
async def prepare_reload(config: Any, settings: Settings) -> Callable[[], None] | None:
    """All: get ready for another configuration (``config`` is the plugin's own, ``settings`` are the broker's).

    Read and check what has to be read, change nothing, and answer with a function that puts it into effect; it must not
    fail. PluginError refuses the whole reload. When every plugin is ready all these functions are called in one go.
    """


# --- what a plugin adds ------------------------------------------------------------------


@hookspec
def open_store(settings: Settings) -> "Store | None":
    """First, before anything else: where state is kept. PluginError refuses the start."""


@hookspec
def add_authentication_methods() -> Sequence[AuthenticationMethod]:
    """All: methods of enhanced authentication (version 5). Two of one name refuse the start."""
    return ()


@hookspec
def add_transports() -> Mapping[str, Transport]:
    """All: what a listener's ``transport`` may name, and what serves it. Two of one name refuse the start."""
    return {}


@hookspec
def add_services(broker: "Broker") -> Sequence[Service]:
    """All: tasks that run in the broker's nursery."""
    return ()


@hookspec
def add_commands(commands: Any) -> None:
    """All: sub-commands of ``noctule -c FILE COMMAND``, added to the ``argparse`` sub-parsers ``commands``.

    The parser of each has a default ``run``: a function of the parsed arguments that answers with the exit code. No
    broker runs then.
    """


@hookspec
def add_metrics(metrics: "Metrics") -> None:
    """All: counters and gauges beside the broker's own."""


# --- decide (may wait; each under limits.decision_timeout) -----------------------------------


@hookspec
async def authenticate(client: Client, credentials: Credentials) -> Verdict | None:
    """First: whether a client is let in, and as whom. None: this plugin does not know the client.

    A client without a user name and password is asked about too, unless ``allow_anonymous`` lets it in before.
    """


@hookspec
async def load_access(client: Client) -> Access | None:
    """First, once for each connection that is let in: what the client may do.

    Where a plugin has this hook or ``authorize``, and none answers, the client may do nothing.
    """


@hookspec
async def authorize(client: Client, action: Action, topic: str) -> Verdict | None:
    """First: whether a client may publish to a topic name or subscribe to a topic filter, where ``load_access`` had no
    rules for it. ``action`` is PUBLISH or SUBSCRIBE; what a subscription that was allowed matches is delivered. The
    answer is remembered (``remember_s``)."""


@hookspec
async def rewrite_subscription(client: Client, subscription: Subscription) -> Subscription | None:
    """Chain: another subscription in place of this one, before it is judged. None: as it is."""


@hookspec
def recheck(client: Client) -> Deny | None:
    """All, for every connected client after a reload: whether it may stay. The first Deny ends its connection."""


# --- change a message (for each message: must be quick) --------------------------------------


@hookspec
def message_received(client: Client | None, message: Message) -> Message | Drop | None:
    """Chain: another message in place of one that a client (None: the broker itself) publishes, Wills too.

    Called before access is checked, which is on the topic that comes out. None: as it is. An exception drops it.
    """


# --- watch (must not block; order is kept) ---------------------------------------------------


@hookspec
def client_connected(client: Client) -> None:
    """All: a client has been let in."""


@hookspec
def client_disconnected(client: Client, reason: str) -> None:
    """All: the connection of a client that had been let in has ended."""


@hookspec
def session_created(client: Client) -> None:
    """All: a client has got a session that was not there before."""


@hookspec
def session_ended(client_id: str, reason: str) -> None:
    """All: a session is over and its state forgotten."""


@hookspec
def subscribed(client: Client, subscription: Subscription, qos: int) -> None:
    """All: a subscription has been granted with this QoS."""


@hookspec
def unsubscribed(client: Client, topic_filter: str) -> None:
    """All: a subscription is gone, by UNSUBSCRIBE or because it is no longer allowed. ``$share/...`` as it was sent."""


@hookspec
def message_published(client: Client | None, message: Message) -> None:
    """All: a message goes out to whoever subscribes to it. None: it is the broker's or a plugin's own.

    Not called for what the broker tells of itself below $SYS.
    """


@hookspec
def message_delivered(client_id: str, message: Message) -> None:
    """All: a message has been written to a client's connection."""


@hookspec
def message_dropped(client_id: str | None, message: Message, reason: str) -> None:
    """All: a message was not delivered to a client (None: to nobody, it was refused), and why."""


@hookspec
def retained_changed(topic: str, message: Message | None) -> None:
    """All: a topic has another retained message, or none any more. Not called for topics below $SYS."""


@hookspec
def will_published(client_id: str, message: Message) -> None:
    """All: the Will of a client is published."""


@hookspec
def packet_received(client: Client | None, packet: bytes) -> None:
    """All: a whole packet has come, as it was sent. None: before the client is let in. For tracing: it costs much."""


@hookspec
def packet_sent(client: Client | None, packet: bytes) -> None:
    """All: a packet has been written to a connection, as it is sent. For tracing: it costs much."""
