"""benchmarks/sizing.py, whose table docs/operations.md has, has the same rows and runs."""

import re
import subprocess
import sys

from docs.pages import ROOT, text_of

ROW = re.compile(r"^\| ([^|]+?) \|((?: [\d,-]+ \|)+)$", re.MULTILINE)


def test_the_page_has_every_row_of_the_program() -> None:
    shown = [name for name, _ in ROW.findall(text_of("docs/operations.md"))][1:]
    source = (ROOT / "benchmarks" / "sizing.py").read_text(encoding="utf-8")
    rows = re.findall(r'^    f?"(\w[^"]+)": \w+,$', source, re.MULTILINE)
    assert [row.replace("{PAYLOAD_BYTES}", "100") for row in rows] == shown


def test_the_program_measures_what_the_page_shows() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            str(ROOT / "benchmarks" / "sizing.py"),
            "--counts=60",
            "--rows=message",
            "--times=20",
            f"--noctule={sys.executable} -W error -m noctule",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    measured = ROW.findall(done.stdout)
    shown = ROW.findall(text_of("docs/operations.md"))
    assert [name for name, _ in measured] == [shown[0][0], *(name for name, _ in shown if "message" in name)]
    assert len(measured) == 5
    assert re.search(r"^The broker itself: \d+ MB\.$", done.stdout, re.MULTILINE)
