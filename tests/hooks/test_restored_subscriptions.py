"""Subscriptions that were kept across a restart, and that ``authorize`` does not allow any more."""

from pathlib import Path

import trio
from hooks.plugin_brokers import Authorizes, broker_with
from noctule.api import Action, Allow, Client, Deny
from noctule.config.settings import Settings
from noctule.hooks.loading import with_store

KEPT = {"session_expiry_interval_s": 600}


def test_restored_subscriptions_are_judged_when_the_session_resumes(tmp_path: Path) -> None:
    """What came meanwhile is not delivered either, and the subscription is gone."""
    settings = with_store(Settings(data_directory=tmp_path / "store"))
    forbidden: set[str] = set()

    async def authorize(_client: Client, action: Action, topic: str) -> Allow | Deny:
        return Deny("no") if (action, topic) in {(Action.SUBSCRIBE, one) for one in forbidden} else Allow()

    async def main() -> None:
        async with broker_with(Authorizes(authorize=authorize), settings=settings, end_timeout_s=0.05) as running:
            reader = await running.connect("reader", **KEPT)
            await reader.subscribe("yes", 1)
            await reader.subscribe("no", 1)
        forbidden.add("no")
        async with broker_with(Authorizes(authorize=authorize), settings=settings, end_timeout_s=0.05) as running:
            writer = await running.connect("writer")
            for number, topic in enumerate(("no", "yes"), 1):
                await writer.publish(topic, b"while away", 1, number)
                await writer.receive()
            reader = await running.connect("reader", clean_start=False, **KEPT)
            with trio.fail_after(10):
                assert (await reader.receive_publish()).topic == b"yes"
            await writer.publish("no", b"now", 1, 3)
            await writer.receive()
            await writer.publish("yes", b"now", 1, 4)
            with trio.fail_after(10):
                found = await reader.receive_publish()
            assert (found.topic, found.payload) == (b"yes", b"now")
            session = running.broker.state.sessions.find("reader")
            assert session is not None
            assert [name for name, *_ in running.broker.state.router.subscriptions_of(session)] == [b"yes"]

    trio.run(main)
