"""Bridges of a broker in a process of its own: configured by a file, read again by SIGHUP, gone with their session."""

import signal
from pathlib import Path

import pytest
import trio
from e2e.process import BrokerProcess
from noctule.client import connect

BRIDGE = """
[[bridge]]
name = "{name}"
addresses = ["{address}"]
restart_delay = "50ms"
restart_delay_maximum = "50ms"
[[bridge.topics]]
pattern = "{pattern}"
qos = 1
"""


def test_added_changed_and_removed_by_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "noctule.toml"
    far = BrokerProcess().wait_until_listening()
    address = f"mqtt://127.0.0.1:{far.port}"
    one = BRIDGE.format(name="one", address=address, pattern="one/#")
    two = BRIDGE.format(name="two", address=address, pattern="two/#")

    def write(*bridges: str) -> None:
        file.write_text("allow_anonymous = true\n" + "".join(bridges))

    write(one)
    near = BrokerProcess("-c", str(file)).wait_until_listening()

    async def crosses(topic: str) -> None:
        async with (
            connect(f"mqtt://127.0.0.1:{near.port}") as here,
            connect(address) as there,
            there.subscription(topic, 1) as messages,
        ):
            await here.publish(topic, b"", 1)
            with trio.fail_after(10):
                await messages.receive()

    try:
        near.printed("Bridge one: connected to")
        trio.run(crosses, "one/1")
        write(one, two)
        near.signal(signal.SIGHUP)
        near.printed("Changed: bridge two: added")
        near.printed("Bridge two: connected to")
        trio.run(crosses, "two/1")
        write(one, two.replace("two/#", "2/#"))
        near.signal(signal.SIGHUP)
        near.printed("Bridge two: no longer connected to .*: it has other settings")
        trio.run(crosses, "2/1")
        write(one)
        near.signal(signal.SIGHUP)
        near.printed("Bridge two: removed")
        trio.run(crosses, "one/2")
        write(one.replace("mqtt://", "mqtts://") + '[bridge.tls]\nca_file = "none.crt"\n')
        near.signal(signal.SIGHUP)
        near.printed("Nothing has changed: bridge one: No such file or directory")
        assert near.output.count("Bridge one: connected") == 1
        assert "Bridge one: no longer" not in near.output
        near.stop()
        near.printed("Bridge one: no longer connected to .*: it is stopped")
        far.stop()
    finally:
        near.kill()
        far.kill()


def test_what_cannot_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "noctule.toml"
    bridge = BRIDGE.format(name="one", address="mqtts://127.0.0.1:1", pattern="#")
    file.write_text(bridge + '[bridge.tls]\nca_file = "none.crt"\n')
    broker = BrokerProcess("-c", str(file))
    assert broker.wait() == 1
    assert "noctule: not started: bridge one: No such file or directory" in broker.output


@pytest.mark.parametrize("is_back", [True, False])
def test_what_waits_goes_with_the_bridge(tmp_path: Path, is_back: bool) -> None:
    """A restart finds it, unless the bridge has been taken out of the file meanwhile."""
    file, data = tmp_path / "noctule.toml", tmp_path / "data"
    far = BrokerProcess().wait_until_listening()
    bridge = BRIDGE.format(name="one", address=f"mqtt://localhost:{far.port}", pattern="#")
    file.write_text("allow_anonymous = true\n" + bridge.replace(str(far.port), "1"))
    near = BrokerProcess("-c", str(file), "--data", str(data)).wait_until_listening()

    async def wait_there() -> None:
        async with connect(f"mqtt://127.0.0.1:{near.port}") as here:
            await here.publish("waits", b"", 1)

    async def receive() -> None:
        async with connect(f"mqtt://127.0.0.1:{far.port}") as there, there.subscription("waits", 1) as messages:
            await trio.to_thread.run_sync(restart)
            with trio.fail_after(10):
                await messages.receive()

    def restart() -> None:
        nonlocal near
        near = BrokerProcess("-c", str(file), "--data", str(data)).wait_until_listening()

    try:
        trio.run(wait_there)
        near.kill()
        file.write_text("allow_anonymous = true\n" + (bridge if is_back else ""))
        if is_back:
            trio.run(receive)
        else:
            restart()
            near.printed("The session local.one.* is dropped: its bridge is not configured any more")
        near.stop()
        far.stop()
    finally:
        near.kill()
        far.kill()
