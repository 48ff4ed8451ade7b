"""One plugin without a broker: call its hooks with arguments that have defaults, and look at what it answers."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio
from noctule._speedups.message import Message
from noctule.config.settings import Settings
from noctule.core.access import Access, Action, PublishRight
from noctule.core.clients import Client
from noctule.core.origin import Certificate
from noctule.hooks.answers import Allow, Credentials, Deny, Drop, Service, Subscription, Verdict
from noctule.hooks.metrics import Metrics
from noctule.hooks.table import HOOK_NAMES, HookTable, Plugin, first_answer, make_table

_T = TypeVar("_T")

#: How long a hook may take here: as long as one that decides has in a broker with default limits.
DECISION_TIMEOUT_S: Final = 5.0


def make_client(
    client_id: str = "client",
    user_name: str | None = "user",
    *,
    address: str = "127.0.0.1",
    listener: str = "127.0.0.1:1883",
    protocol_version: int = 5,
    certificate: Certificate | None = None,
    transport_user_name: str | None = None,
    clean_start: bool = True,
) -> Client:
    """A client as hooks get it; what a test does not care about has a likely value."""
    return Client(
        client_id=client_id,
        user_name=user_name,
        address=address,
        peer=f"{address}:50000",
        listener=listener,
        protocol_version=protocol_version,
        certificate=certificate,
        transport_user_name=transport_user_name,
        clean_start=clean_start,
    )


def make_message(
    topic: str = "topic", payload: bytes | str = b"payload", *, qos: int = 0, retain: bool = False
) -> Message:
    """A message as hooks get it."""
    return Message(topic.encode(), payload.encode() if isinstance(payload, str) else payload, qos, retain)


class RecordingBroker:
    """``noctule.api.Broker`` without one: it notes what a plugin does with it."""

    def __init__(self) -> None:
        #: What was published.
        self.published: list[Message] = []

        #: Who is connected; a test puts clients there.
        self.connected: list[Client] = []

        #: Clients that were disconnected, with reason code and why.
        self.disconnected: list[tuple[str, int, str]] = []

        #: Whose rules have changed; None: anybody's.
        self.changed: list[str | None] = []

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
    ) -> int:
        """Note the message; it reaches nobody."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.published.append(Message(topic.encode(), data, qos, retain, properties))
        return 0

    def clients(self) -> list[Client]:
        """Whom the test has put into ``connected``."""
        return list(self.connected)

    def disconnect(self, client_id: str, reason_code: int = 0x98, why: str = "") -> bool:
        """Note it, and take the client out of ``connected``."""
        found = [client for client in self.connected if client.client_id == client_id]
        for client in found:
            self.connected.remove(client)
            self.disconnected.append((client_id, reason_code, why))
        return bool(found)

    def access_changed(self, client_id: str | None = None) -> None:
        """Note it."""
        self.changed.append(client_id)


class PluginHarness:
    """A plugin with its hooks at hand; each method calls one and gives back what the plugin answers.

    Making it checks the plugin as a broker does: PluginError names a hook or an argument that there is not. What a
    hook raises comes out as it is. Each hook has DECISION_TIMEOUT_S, then TooSlowError is raised. Each call is a trio
    run of its own, on the real clock: call it from synchronous tests.

    ``broker`` is what the plugin is handed as its broker.
    """

    def __init__(self, plugin: object, *, config: object = None, name: str = "plugin") -> None:
        self.broker = RecordingBroker()
        self.metrics = Metrics()
        self._config = config
        self.hooks: HookTable = make_table([Plugin(name, plugin, "a test", config)])

    def has(self, hook: str) -> bool:
        """Whether the plugin implements this hook. ValueError where there is none of this name."""
        if hook not in HOOK_NAMES:
            raise ValueError(f"there is no hook {hook}")
        return bool(getattr(self.hooks, hook))

    def call(self, hook: str, *arguments: object) -> Any:
        """Call any hook with all the arguments of its specification; None where the plugin does not implement it."""
        if not self.has(hook):
            return None
        return self._waited_for(lambda: first_answer(getattr(self.hooks, hook), *arguments))

    # --- start and stop ---

    def start(self) -> None:
        """``add_metrics``, ``broker_starting`` and ``broker_started``."""
        self.call("add_metrics", self.metrics)
        self.call("broker_starting", self.broker)
        self.call("broker_started", self.broker)

    def stop(self) -> None:
        """``broker_stopping``."""
        self.call("broker_stopping", self.broker)

    def reload(self, config: object = None, settings: Settings | None = None) -> None:
        """``prepare_reload``, and the effect of what it answers. PluginError where the plugin refuses."""
        effect: Callable[[], None] | None = self.call("prepare_reload", config, settings or Settings())
        if effect is not None:
            effect()

    def services(self) -> list[Service]:
        """``add_services``."""
        return list(self.call("add_services", self.broker) or ())

    # --- decisions ---

    def authenticate(
        self, user_name: str | None = "user", password: bytes | None = b"password", client: Client | None = None
    ) -> Verdict | None:
        """Whether a client is let in, with what it says of itself."""
        answer: Verdict | None = self.call(
            "authenticate",
            client if client is not None else make_client(user_name=user_name),
            Credentials(user_name, password),
        )
        return answer

    def load_access(self, client: Client | None = None) -> Access | None:
        """The rules for a client; None where the plugin has none."""
        answer: Access | None = self.call("load_access", client if client is not None else make_client())
        return answer

    def authorize(self, action: Action, topic: str, client: Client | None = None) -> Verdict | None:
        """What the plugin says of one topic or filter."""
        answer: Verdict | None = self.call("authorize", client if client is not None else make_client(), action, topic)
        return answer

    def may_publish(self, topic: str, *, qos: int = 0, retain: bool = False, client: Client | None = None) -> bool:
        """Whether a broker with this plugin alone would take such a message: by its rules, else by its answer."""
        access = self.load_access(client)
        if access is not None:
            right: PublishRight | None = access.publish_right(topic)
            return right is not None and qos <= right.qos_max and (right.retain or not retain)
        verdict = self.authorize(Action.PUBLISH, topic, client)
        return isinstance(verdict, Allow) and qos <= verdict.qos_max and (verdict.retain or not retain)

    def may_receive(self, topic: str, *, client: Client | None = None) -> bool:
        """Whether a message of this topic name is delivered, by the plugin's rules. ValueError, the test's fault,
        where it has none for the client: then it is asked about subscriptions alone."""
        access = self.load_access(client)
        if access is None:
            raise ValueError("the plugin has no rules for this client: ask for subscribe_qos of a filter")
        return access.may_receive(topic)

    def subscribe_qos(self, topic_filter: str, *, qos: int = 2, client: Client | None = None) -> int | None:
        """The QoS that a subscription is granted (``$share/...`` is understood); None: it is refused."""
        access = self.load_access(client)
        if access is None:
            verdict = self.authorize(Action.SUBSCRIBE, topic_filter, client)
            return min(qos, verdict.qos_max) if isinstance(verdict, Allow) else None
        share_name, name = None, topic_filter
        if topic_filter.startswith("$share/"):
            _, share_name, name = topic_filter.split("/", 2)
        most = access.subscribe_qos_max(name, share_name)
        return None if most is None else min(qos, most)

    def rewrite_subscription(self, subscription: Subscription, client: Client | None = None) -> Subscription:
        """What the plugin makes of a subscription."""
        answer: Subscription | None = self.call(
            "rewrite_subscription", client if client is not None else make_client(), subscription
        )
        return subscription if answer is None else answer

    def recheck(self, client: Client | None = None) -> Deny | None:
        """Whether a client may stay."""
        answer: Deny | None = self.call("recheck", client if client is not None else make_client())
        return answer

    def message_received(self, message: Message, client: Client | None = None) -> Message | Drop:
        """What the plugin makes of a message that a client publishes."""
        answer: Message | Drop | None = self.call(
            "message_received", client if client is not None else make_client(), message
        )
        return message if answer is None else answer

    def _waited_for(self, question: Callable[[], Awaitable[_T]]) -> _T:
        async def wait() -> _T:
            with trio.fail_after(DECISION_TIMEOUT_S):
                return await question()

        return trio.run(wait)
