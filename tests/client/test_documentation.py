"""Every program in docs/client.md runs as it stands there, but for the port."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.process import DEADLINE, BrokerProcess

TEXT = Path(__file__).parents[2].joinpath("docs", "client.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
OUTPUTS = {"house/hall/temperature 21.5\n", "HELLO\n", ""}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    broker = BrokerProcess().wait_until_listening()
    yield broker.port
    broker.stop()


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_program(program: str, port: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.replace("localhost:1883", f"127.0.0.1:{port}")],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in OUTPUTS


def test_each_says_what_it_should(port: int) -> None:
    """The first one is the one that people copy."""
    source = PROGRAMS[0].replace("localhost:1883", f"127.0.0.1:{port}")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(source, "client.md", "exec"), {})
    assert output.getvalue() == "house/hall/temperature 21.5\n"
    assert len(PROGRAMS) == 4
