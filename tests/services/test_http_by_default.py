"""``noctule run`` has its HTTP port unasked, and starts without it where the port is taken."""

import re
import socket
import urllib.request
from pathlib import Path

import pytest
from e2e.process import BrokerProcess


def stopped(broker: BrokerProcess) -> None:
    try:
        broker.stop()
    finally:
        if broker.process.poll() is None:
            broker.kill()


def test_it_is_there(tmp_path: Path) -> None:
    config = tmp_path / "noctule.toml"
    config.write_text("[http]\nport = 0\n")
    broker = BrokerProcess("-c", str(config)).wait_until_listening()
    url = broker.printed(r"the state of the broker: (http://127\.0\.0\.1:\d+)")[1]
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
        assert answer.read() == b"ok\n"
    stopped(broker)


@pytest.mark.parametrize("is_asked_for", [False, True])
def test_a_port_that_is_taken(tmp_path: Path, is_asked_for: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "noctule.toml"
        enabled = "enabled = true\n" if is_asked_for else ""
        config.write_text(f"[http]\n{enabled}port = {taken.getsockname()[1]}\n")
        broker = BrokerProcess("-c", str(config))
        if is_asked_for:
            assert broker.wait() == 1
            assert re.search("not started: cannot listen on 127.0.0.1:", broker.output)
        else:
            broker.wait_until_listening()
            broker.printed("WARNING There is no HTTP")
            stopped(broker)
