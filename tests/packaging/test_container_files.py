"""The files that an image is made of fit together; nothing is built here (test_image.py does)."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from noctule.config.http import HttpSettings
from noctule.config.options import fields_of

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CONTAINER = ROOT / "packaging" / "container"


def instructions(name: str) -> list[list[str]]:
    """The words of every instruction of that name, lines that go on joined."""
    text = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith(f"{name} ")]


def copied() -> list[str]:
    """What the Dockerfile takes from the repository."""
    found = []
    for words in instructions("COPY"):
        if not any(word.startswith("--from") for word in words):
            found += [word for word in words[:-1] if not word.startswith("--")]
    return found


def test_what_is_copied_is_there_and_sent() -> None:
    """.dockerignore leaves out everything but what it names; a build never sees what it does not name."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in sent, source
    assert sent <= {source.split("/")[0] for source in copied()} | {"packaging"}


def test_what_the_build_needs_is_copied() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import tomllib; print(tomllib.load(open('pyproject.toml', 'rb'))['project']['readme'])",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for needed in (done.stdout.strip(), "LICENSE", "setup.py", "broker", "_speedups", "plugins"):
        assert needed in copied()


@pytest.mark.parametrize("name", ["entrypoint", "healthcheck", "mosquitto-command"])
def test_programs_can_be_run(name: str) -> None:
    assert (CONTAINER / name).stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(CONTAINER / name)], check=True)


def test_the_compose_file_serves_what_is_exposed() -> None:
    compose = (CONTAINER / "compose.yaml").read_text(encoding="utf-8")
    (exposed,) = instructions("EXPOSE")
    assert set(re.findall(r'"\d+:(\d+)"', compose)) <= set(exposed)
    document = (ROOT / "docs/container.md").read_text(encoding="utf-8")
    for volume in re.findall(r"- (\./\S+:\S+)$", compose, re.M):
        assert f"- {volume}\n" in document


def test_nobody_gets_in_without_being_asked() -> None:
    """The configuration that is used where none is mounted; its listeners are open to every machine."""
    text = (CONTAINER / "container.toml").read_text(encoding="utf-8")
    assert "allow_anonymous" not in text
    assert "[plugins.password_file]" in text


def test_every_port_that_is_exposed_is_served() -> None:
    settings = tomllib.loads((CONTAINER / "container.toml").read_text(encoding="utf-8"))
    http_port = next(field for field in fields_of(HttpSettings) if field.key == "port").default
    (exposed,) = instructions("EXPOSE")
    served = [listener["port"] for listener in settings["listeners"]] + [settings["http"].get("port", http_port)]
    assert sorted(map(str, served)) == sorted(exposed)
    assert settings["http"]["address"] == "*"
