"""The documents about installing name what is there: files, links, systemd settings, configuration."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "docs" / name for name in ("install.md", "systemd.md", "container.md")]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        name, _, part = target.partition("#")
        there = (document.parent / name) if name else document
        assert there.is_file(), target
        headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
        assert not part or part in {heading.lower().replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_shell_blocks_can_be_read(document: Path) -> None:
    for block in blocks(document, "sh"):
        subprocess.run(["sh", "-n", "-c", block], check=True)
        for path in re.findall(r"(?:^|\s)\./?(packaging/\S+)|^(packaging/\S+)", block, re.M):
            assert (ROOT / "".join(path)).is_file(), path


def test_systemd_takes_the_drop_in(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (
        (ROOT / "packaging/systemd/noctule.service")
        .read_text(encoding="utf-8")
        .replace("/usr/bin/noctule", "/bin/true")
    )
    (tmp_path / "noctule.service").write_text(re.sub(r"^(User|Group)=.*\n", "", unit, flags=re.M), encoding="utf-8")
    (tmp_path / "noctule.service.d").mkdir()
    (drop_in,) = blocks(ROOT / "docs/systemd.md", "ini")
    (tmp_path / "noctule.service.d" / "more.conf").write_text(drop_in, encoding="utf-8")
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / "noctule.service")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "noctule" in line]) == (0, [])
