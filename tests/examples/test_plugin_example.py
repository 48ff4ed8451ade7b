"""The example distribution: its own tests, its types, and that it can be installed and run."""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin"
DEADLINE_S = 60.0


def run(*arguments: str, **environment: str) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=EXAMPLE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests(tmp_path: Path) -> None:
    """As its author runs them; here with the folder in place of what is installed."""
    run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:noctule", "-p", "noctule.testing.pytest_plugin"),
        PYTHONPATH=f"{ROOT / '.root'}{os.pathsep}{EXAMPLE}",
        HYPOTHESIS_STORAGE_DIRECTORY=str(tmp_path),
    )


def test_its_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    output = run(
        *("-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "noctule_example"),
        MYPYPATH=f"{ROOT / '.root'}{os.pathsep}{EXAMPLE}",
    )
    assert output.startswith("Success")


def login(port: int, password: str) -> tuple[str, str]:
    """The answer to a login of ann's, and what came of a message to her room."""
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, d, flags, code, p: answers.put(str(code))
    client.on_subscribe = lambda c, d, m, codes, p: c.publish("rooms/ann/light", b"on", qos=1)
    client.on_message = lambda c, d, message: received.put(message.payload)
    client.username_pw_set("ann", password)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        answer = answers.get(timeout=DEADLINE_S)
        if answer != "Success":
            return answer, ""
        client.subscribe("#", 1)
        return answer, received.get(timeout=DEADLINE_S).decode()
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.slow
def test_installed_it_is_found_by_its_names(tmp_path: Path) -> None:
    """As a user has it: installed, named in a configuration, run by the command."""
    pytest.importorskip("pip")
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    run(
        *("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"),
        *("--root-user-action=ignore", "--target", str(site), str(source)),
    )
    shutil.copy(EXAMPLE / "users.toml", tmp_path)
    config = tmp_path / "example.toml"
    text = (EXAMPLE / "example.toml").read_text(encoding="utf-8")
    config.write_text(text.replace("port = 1883", "port = 0"), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "noctule", "run", "-c", str(config)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / '.root'}{os.pathsep}{site}"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"mqtt://127\.0\.0\.1:(\d+)", line):
                    assert login(int(found[1]), "wonderland") == ("Success", "on")
                    assert login(int(found[1]), "guess") == ("Not authorized", "")
                    break
            else:
                pytest.fail("".join(lines))
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest
