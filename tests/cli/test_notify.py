"""What the service manager is told: on a socket of the tests, by the parts and by a broker that runs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from noctule.cli.notify import ServiceManager, service_manager
from trio.testing import MockClock

DEADLINE_S = 20.0


@pytest.fixture(params=["a path", "an abstract name"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket that a service manager reads from, and its name as the variable has it."""
    name = str(tmp_path / "notify") if request.param == "a path" else f"@noctule-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name.replace("@", "\0"))
        bound.settimeout(DEADLINE_S)
        yield bound, name


def test_what_is_told(inbox: tuple[socket.socket, str]) -> None:
    bound, name = inbox
    manager = service_manager({"NOTIFY_SOCKET": name}, 1)
    assert manager.is_there
    manager.ready("Listening on\nmqtt://x")
    assert bound.recv(1000) == b"READY=1\nSTATUS=Listening on mqtt://x"
    before = time.monotonic_ns() // 1000
    manager.reloading()
    words = dict(word.split("=", 1) for word in bound.recv(1000).decode().split("\n"))
    assert words["RELOADING"] == "1"
    assert before <= int(words["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    manager.stopping()
    assert bound.recv(1000) == b"STOPPING=1\nSTATUS=Stopping"


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "relative"])
def test_nobody_there(name: str) -> None:
    manager = service_manager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"}, 1)
    assert not manager.is_there
    assert manager.watchdog_s is None
    manager.ready("x")


@pytest.mark.parametrize(
    ("variables", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_asked_for(variables: dict[str, str], watchdog_s: float | None) -> None:
    assert service_manager({"NOTIFY_SOCKET": "/x", **variables}, 7).watchdog_s == watchdog_s


def test_signs_of_life(inbox: tuple[socket.socket, str]) -> None:
    """Two in the time that the manager waits."""
    bound, name = inbox
    bound.setblocking(False)
    manager = service_manager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"}, 1)

    async def live() -> None:
        with trio.move_on_after(61):
            await manager.keep_alive()

    trio.run(live, clock=MockClock(autojump_threshold=0))
    assert [bound.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5  # at 0, 15, 30, 45 and 60 s
    with pytest.raises(BlockingIOError):
        bound.recv(100)


def test_a_manager_that_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, and the broker serves on."""
    manager = ServiceManager(os.fsencode(tmp_path / "nobody"), None)
    manager.ready("x")
    manager.stopping()
    (record,) = caplog.records
    assert "No such file" in record.getMessage()


def test_a_manager_that_does_not_read(inbox: tuple[socket.socket, str], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing waits, and nothing is logged."""
    _, name = inbox
    manager = service_manager({"NOTIFY_SOCKET": name}, 1)
    for _ in range(1000):
        manager.stopping()
    assert not caplog.records


def test_a_broker(inbox: tuple[socket.socket, str], tmp_path: Path) -> None:
    """Ready when it listens, then alive; ready again after a reload; stopping when it is told to."""
    bound, name = inbox
    config = tmp_path / "noctule.toml"
    config.write_text(f"data_directory = '{tmp_path}/state'\n[[listeners]]\nport = 0\n", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "noctule", "run", "-c", str(config)],
        env={**os.environ, "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"},
        stderr=subprocess.DEVNULL,
    )
    told: list[str] = []

    def wait_for(word: str) -> str:
        while True:
            message = bound.recv(1000).decode()
            told.append(message.split("\n")[0])
            if word in message:
                return message

    try:
        address = wait_for("READY=1").rpartition("mqtt://")[2]
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=DEADLINE_S).close()
        del told[:]
        wait_for("WATCHDOG=1")
        wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        wait_for("RELOADING=1")
        wait_for("READY=1")
        process.send_signal(signal.SIGTERM)
        wait_for("STOPPING=1")
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert [word for word in told if word != "WATCHDOG=1"] == ["RELOADING=1", "READY=1", "STOPPING=1"]
