"""What a release is made of: which wheels, and one version."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_a_wheel_for_every_python_that_is_promised() -> None:
    built = {match[1] for one in PYPROJECT["tool"]["cibuildwheel"]["build"] if (match := re.match(r"cp3(\d+)-", one))}
    promised = {
        match[1]
        for one in PYPROJECT["project"]["classifiers"]
        if (match := re.match(r"Programming Language :: Python :: 3\.(\d+)$", one))
    }
    assert built == promised
    assert PYPROJECT["project"]["requires-python"] == f">=3.{min(promised, key=int)}"


def test_the_version_is_in_one_place() -> None:
    found = re.search(r'^__version__ = "(.*)"$', (ROOT / "broker/_version.py").read_text(encoding="utf-8"), re.M)
    assert found is not None
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    others = ("pyproject.toml", "setup.py", "Dockerfile", "packaging", "broker", "Makefile")
    said = subprocess.run(
        ["grep", "-rlF", "--include=*", "--exclude-dir=__pycache__", f'"{found[1]}"', *others],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.split() == ["broker/_version.py"]
