"""What docs/ says of $SYS, HTTP and the log is so: configurations load, commands answer, every topic is there."""

import logging
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from config.reading import loaded, written
from noctule.api import Secret
from noctule.config.http import HttpSettings
from noctule.services.api.routes import ROUTES
from services.running import Reply, Served, basic, mocked, served

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("monitoring.md", "http-api.md", "logging.md")


def blocks(page: str) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


CONFIGURATIONS = [(page, text) for page in PAGES for text in blocks(page)]
COMMANDS = [
    (page, line.strip())
    for page in PAGES
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines()
    if line.startswith("    curl ")
]


def test_there_are_some() -> None:
    assert len(CONFIGURATIONS) >= 5
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize(("page", "text"), CONFIGURATIONS)
def test_every_configuration_loads(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    loaded(written(tmp_path, text.replace("/etc/noctule/http.password", str(tmp_path / "password"))))


async def run(broker: Served, command: str) -> Reply:
    """What curl would be answered."""
    words = iter(shlex.split(command)[1:])
    method, body, target, headers = "GET", b"", "", {}
    for word in words:
        match word:
            case "-u":
                headers["Authorization"] = basic(*next(words).split(":"))
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "-d":
                body = next(words).encode()
            case _:
                parts = urlsplit(word)
                assert (parts.scheme, parts.netloc) == ("http", "127.0.0.1:9883")
                target = parts.path + (f"?{parts.query}" if parts.query else "")
    return await broker.ask(target, method, body, **headers)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_answers(page: str, command: str) -> None:
    async def main() -> None:
        password = Secret("PASSWORD") if "-u" in command else None
        async with served(http=HttpSettings(enabled=True, port=0, password=password)) as broker:
            assert (await run(broker, command)).status == 200

    mocked(main)
    logging.getLogger("noctule.net").setLevel(logging.NOTSET)


def test_every_path_is_in_the_page() -> None:
    page = (DOCS / "http-api.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([A-Z]+ /api/\S+)` \|", page, re.MULTILINE) == [
        f"{route.method} {route.path}" for route in ROUTES
    ]


def test_every_topic_is_in_the_page() -> None:
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", page[page.index("## $SYS") :], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}

    async def main() -> None:
        async with served() as broker:
            await trio.sleep(1)
            topics = {topic.removeprefix("$SYS/broker/") for topic in sys_topics(broker)}
            apart = {topic for topic in topics if not topic.startswith(("load/", "mqtt/"))}
            assert {name for name in named if not name.startswith(("load/", "mqtt/", "log/"))} == apart
            assert {name for name in named if name.startswith(("load/", "mqtt/"))} <= topics

    mocked(main)


def sys_topics(broker: Served) -> set[str]:
    return {message.topic.decode() for message in broker.broker.state.router.retained.walk(b"$SYS/#")}
