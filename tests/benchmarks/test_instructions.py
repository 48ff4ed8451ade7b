"""Counting instructions: what is said of a change, and that a count is one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import instructions
import pytest
from instructions import CountingError, read_baseline, verdict, work_names
from workloads import WORKLOADS, same_keys

HERE = Path(instructions.__file__)
BEFORE = {"qos1": 1000, "match": 5000}


@pytest.mark.parametrize(
    ("now", "is_good"),
    [
        ({"qos1": 1000, "match": 5000}, True),
        ({"qos1": 1029, "match": 5150}, True),
        ({"qos1": 1031, "match": 5000}, False),
        ({"qos1": 500, "match": 5151}, False),
        ({"qos1": 500, "match": 100}, True),
        ({"qos1": 1000}, False),
        ({"qos1": 1000, "match": 5000, "new": 7}, False),
    ],
)
def test_more_than_three_percent_fails(now: dict[str, int], is_good: bool) -> None:
    lines, good = verdict({"here": BEFORE}, "here", now)
    assert good is is_good
    assert any("--update" in line for line in lines) is not is_good


def test_another_environment_is_not_compared_and_that_is_said() -> None:
    lines, good = verdict({"there": BEFORE}, "here", {"qos1": 9999})
    assert good is None
    assert lines[0].startswith("NOT COMPARED")
    assert "  there" in lines
    assert any("9,999" in line for line in lines)


def test_a_baseline_that_is_none(tmp_path: Path) -> None:
    assert read_baseline(tmp_path / "none.json") == {}
    (tmp_path / "bad.json").write_text('{"here": [1]}')
    with pytest.raises(CountingError, match="is not a baseline"):
        read_baseline(tmp_path / "bad.json")


def test_the_baseline_has_every_work() -> None:
    assert work_names() == list(WORKLOADS)
    baseline = read_baseline(instructions.BASELINE)
    assert baseline
    assert all(list(counts) == list(WORKLOADS) for counts in baseline.values())


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_a_work_can_go_on(name: str) -> None:
    with same_keys():
        step, units = WORKLOADS[name]()
    assert units > 0
    for _ in range(3):
        step()


@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_counting(tmp_path: Path) -> None:
    """From the command line: a baseline is made, and one that is lower by 5 % is exceeded."""
    baseline = tmp_path / "baseline.json"
    command = [sys.executable, str(HERE), "one-to-one", "--baseline", str(baseline)]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, text=True, check=False)

    updated = run("--update")
    assert updated.returncode == 0, updated.stderr
    (environment, counts), *others = read_baseline(baseline).items()
    assert not others
    # A hundred messages of 76 bytes: not less than some instructions for each, and not as many as Python would take.
    assert 5_000 < counts["one-to-one"] < 500_000
    baseline.write_text(json.dumps({environment: {"one-to-one": round(counts["one-to-one"] * 0.95)}}))
    more = run()
    assert more.returncode == 1
    assert "MORE THAN 3 %" in more.stdout
