"""Wills when the broker is stopped: they are published then, since its clients have not said goodbye."""

from pathlib import Path

import trio
from hooks.plugin_brokers import broker_with
from noctule.config.settings import Settings
from noctule.hooks.loading import with_store
from noctule.protocol import Will


def test_wills_at_a_stop(tmp_path: Path) -> None:
    """3.1.2.5: each as if its connection had been cut; what waits for a delay waits beyond the restart."""
    settings = with_store(Settings(data_directory=tmp_path / "store"))

    async def main() -> None:
        async with broker_with(settings=settings, end_timeout_s=0.05) as running:
            reader = await running.connect("reader", session_expiry_interval_s=600)
            await reader.subscribe("will/#", 1)
            for name, interval_s, delay_s in (
                ("clean", 0, 0),
                ("clean and delayed", 0, 600),
                ("kept", 600, 0),
                ("kept and delayed", 600, 600),
                ("said goodbye", 600, 0),
            ):
                will = Will(f"will/{name}", b"gone", 1, retain=True, will_delay_interval_s=delay_s)
                client = await running.connect(name, session_expiry_interval_s=interval_s, will=will)
                if name == "said goodbye":
                    await client.send(b"\xe0\x00")
                    await client.until_end()
        async with broker_with(settings=settings, end_timeout_s=0.05) as running:
            reader = await running.connect("reader", clean_start=False, session_expiry_interval_s=600)
            with trio.fail_after(10):
                topics = sorted([(await reader.receive_publish()).topic for _ in range(3)])
            assert topics == [b"will/clean", b"will/clean and delayed", b"will/kept"]
            await reader.ping()
            router = running.broker.state.router
            assert sorted(one.topic for one in router.retained.walk(b"#")) == topics
            waiting = running.broker.state.sessions.find("kept and delayed")
            assert waiting is not None
            assert waiting.will is not None
            kept = running.broker.state.sessions.find("kept")
            assert kept is not None
            assert kept.will is None

    trio.run(main)


def test_who_is_connected_hears_of_the_stop_and_not_of_wills() -> None:
    async def main() -> None:
        async with broker_with(end_timeout_s=0.05) as running:
            reader = await running.connect("reader")
            await reader.subscribe("will")
            await running.connect("c", will=Will("will", b"gone"))
            running.broker.stop()
            first, _ = await reader.receive()
            assert first == 0xE0

    trio.run(main)
