"""The fixtures, as a plugin author's pytest has them; and that pytest starts as fast without them."""

import subprocess
import sys
from pathlib import Path

TESTS = """\
import socket

import pytest
from noctule.api import Allow, hookimpl


class Anns:
    @hookimpl
    async def authenticate(self, client):
        return Allow() if client.user_name == "ann" else None


def connack(port, user_name):
    name = user_name.encode()
    body = b"\\x00\\x04MQTT\\x04\\x82\\x00\\x00\\x00\\x00" + bytes([0, len(name)]) + name
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"\\x10" + bytes([len(body)]) + body)
        return connection.recv(4)


def test_default(noctule_broker):
    assert connack(noctule_broker.port, "bob") == b"\\x20\\x02\\x00\\x00"


@pytest.mark.noctule_broker(plugins=[Anns])
def test_marked(noctule_broker):
    assert connack(noctule_broker.port, "ann") == b"\\x20\\x02\\x00\\x00"
    assert connack(noctule_broker.port, "bob") == b"\\x20\\x02\\x00\\x05"


def test_factory(noctule_broker_factory):
    first, second = noctule_broker_factory(Anns()), noctule_broker_factory(allow_anonymous=True)
    assert connack(first.port, "bob") != connack(second.port, "bob")


def test_memory(noctule_memory_broker):
    async def scenario(broker):
        async with broker.connect("c", user_name="ann") as client:
            assert await client.subscribe("a", 1) == (1,)

    noctule_memory_broker(scenario, Anns)


@pytest.mark.noctule_broker(packets=1)
def test_wrong(noctule_broker):
    pass
"""

UNUSED = """\
import sys


def test_nothing_of_the_broker_is_loaded():
    assert "noctule.testing.pytest_plugin" in sys.modules
    assert not [name for name in sys.modules if name in ("trio", "noctule.app", "noctule.config.settings")]
"""


def pytest_on(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(source, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", encoding="utf-8")
    return subprocess.run(
        [
            sys.executable,
            *("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:trio", "-p", "no:anyio"),
            *("-p", "no:noctule", "-p", "noctule.testing.pytest_plugin", "test_it.py"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_fixtures(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, TESTS)
    assert "4 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "ValueError: there is no limit packets" in done.stdout


def test_unused_it_costs_nothing(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, UNUSED)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
