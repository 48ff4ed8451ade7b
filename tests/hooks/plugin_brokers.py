"""A whole broker with plugins in the test's own trio run, and plugins that answer as they are told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
from net.stream_clients import LOOPBACK, RunningBroker
from noctule.api import Access, Action, Allow, Client, Credentials, PublishRight, Verdict, hookimpl
from noctule.app import Broker
from noctule.config.settings import Carrier, Settings
from noctule.hooks.table import Plugin


def named(implementation: object, name: str = "") -> Plugin:
    """The plugin under a name, by default that of its class."""
    return Plugin(name or type(implementation).__name__.lower(), implementation, "a test")


@asynccontextmanager
async def broker_with(
    *implementations: object,
    carrier: Carrier | None = None,
    settings: Settings | None = None,
    allow_anonymous: bool | None = True,
    **limits: Any,
) -> AsyncIterator[RunningBroker]:
    """A broker with these plugins, stopped at the end. ``carrier`` as ``running_broker`` has it."""
    base = settings or Settings()
    broker = Broker(
        replace(
            base,
            listeners=() if carrier is None else (LOOPBACK,),
            carrier=carrier,
            sys_interval_s=0,
            allow_anonymous=allow_anonymous,
            limits=replace(base.limits, **limits) if limits else base.limits,
        ),
        plugins=[one if isinstance(one, Plugin) else named(one) for one in implementations],
    )
    streams: list[trio.abc.Stream] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(broker.run)
            yield RunningBroker(broker, nursery, streams)
            broker.stop()
    finally:
        for stream in streams:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
    assert not broker.state.links


def unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception in the groups of nurseries around it."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        (found,) = found.exceptions
    return found


class Answers:
    """Decides as it is told: each hook awaits the function of its name, which a test may set."""

    def __init__(self, **functions: Callable[..., Awaitable[Any]] | Any) -> None:
        self.functions = functions
        self.asked: list[tuple[Any, ...]] = []

    async def answer(self, name: str, *arguments: object) -> Any:
        self.asked.append((name, *arguments))
        found = self.functions.get(name)
        if isinstance(found, Exception):
            raise found
        return await found(*arguments) if callable(found) else found


class Authenticates(Answers):
    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Verdict | None:
        answer: Verdict | None = await self.answer("authenticate", client, credentials)
        return answer


class LoadsAccess(Answers):
    @hookimpl
    async def load_access(self, client: Client) -> Access | None:
        answer: Access | None = await self.answer("load_access", client)
        return answer


class Authorizes(Answers):
    @hookimpl
    async def authorize(self, client: Client, action: Action, topic: str) -> Verdict | None:
        answer: Verdict | None = await self.answer("authorize", client, action, topic)
        return answer


class Rules:
    """Rules that a test may change: the topics that may be published and received, and the filters."""

    def __init__(self, publish: str = "", receive: str = "", subscribe: str = "") -> None:
        self.publish = set(publish.split())
        self.receive = set(receive.split())
        self.subscribe = set(subscribe.split())

    def publish_right(self, topic: str) -> PublishRight | None:
        return PublishRight() if topic in self.publish else None

    def may_receive(self, topic: str) -> bool:
        return topic in self.receive

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        return 2 if topic_filter in self.subscribe else None

    def rule_of(self, action: Action, topic: str) -> str:
        return f"rules.txt:{len(topic)}"


YES = Allow()
