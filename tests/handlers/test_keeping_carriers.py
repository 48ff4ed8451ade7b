"""A whole broker in front of a slow store: whoever floods it is held up and answered in the end, over both carriers."""

from functools import partial

import pytest
import trio
from handlers.test_keeping_store import ScriptedStore
from noctule._speedups.codec import FrameScanner, encode_publish
from noctule._speedups.journal import Journal
from noctule.api import Settings as SettingsOfPlugins
from noctule.api import hookimpl
from noctule.app import HAS_REACTOR, Broker
from noctule.config.settings import Carrier, ListenerSettings, Settings
from noctule.handlers import keeping
from noctule.hooks.table import Plugin
from noctule.protocol import (
    Connect,
    ProtocolVersion,
    Subscribe,
    SubscriptionRequest,
    encode_connect,
    encode_subscribe,
)

V5 = ProtocolVersion.V5
CONNACK, PUBACK, SUBACK = 2, 4, 9
FLOOD = 300

pytestmark = pytest.mark.skipif(not HAS_REACTOR, reason="the reactor needs epoll")


class StorePlugin:
    """Has the store."""

    def __init__(self, store: ScriptedStore) -> None:
        self._store = store

    @hookimpl
    def open_store(self, settings: SettingsOfPlugins) -> ScriptedStore:
        return self._store


async def answers(stream: trio.abc.Stream, count: int) -> list[int]:
    """The types of so many packets."""
    scanner = FrameScanner()
    found: list[int] = []
    with trio.fail_after(20):
        while len(found) < count:
            data = await stream.receive_some(65_536)
            assert data, f"closed after {len(found)} packets"
            found += [first >> 4 for first, _ in scanner.feed(data)]
    return found


@pytest.mark.parametrize("carrier", Carrier)
@pytest.mark.parametrize("what", ["messages", "subscriptions", "retained"])
def test_a_flood_is_held_up_and_answered(carrier: Carrier, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "Journal", partial(Journal, waiting_max_bytes=20_000))
    store = ScriptedStore()
    settings = Settings(listeners=(ListenerSettings("127.0.0.1", 0),), carrier=carrier, allow_anonymous=True)
    match what:
        case "messages":
            packets = [encode_publish(b"t", bytes(500), V5, 1, True, False, n) for n in range(1, FLOOD + 1)]
            expected = [PUBACK] * FLOOD
        case "subscriptions":
            request = (SubscriptionRequest("f/" * 50 + "f", 1),)
            packets = [encode_subscribe(Subscribe(n, request, None), V5) for n in range(1, FLOOD + 1)]
            expected = [SUBACK] * FLOOD
        case _:
            packets = [encode_publish(b"t", bytes(500), V5, 0, True, False, 0)] * FLOOD
            packets.append(b"\xc0\x00")
            expected = [13]

    async def main() -> None:
        broker = Broker(settings, plugins=[Plugin("store", StorePlugin(store))])
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(broker.run)
            port = int(url.rpartition(":")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(encode_connect(Connect(V5, "c", session_expiry_interval_s=60)))
                assert await answers(stream, 1) == [CONNACK]
                store.gate.clear()
                async with trio.open_nursery() as sending:
                    sending.start_soon(stream.send_all, b"".join(packets))
                    journal = broker.state.plane.journal
                    assert journal is not None
                    with trio.fail_after(10):
                        while not any(link.is_stalled for link in broker.state.links):  # noqa: ASYNC110
                            await trio.sleep(0.002)
                    assert journal.collected_bytes < 60_000, "it is bounded"
                    store.gate.set()
                    assert await answers(stream, len(expected)) == expected
            broker.stop()

    trio.run(main)
    assert store.is_closed
