"""Who may ask over HTTP: the password, where one is needed, and that no secret is ever shown."""

import base64
import logging
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pytest
import trio
from config.reading import errors, loaded, written
from e2e.process import COMMAND, BrokerProcess
from noctule.api import Option, Secret
from noctule.config.checking import check_table
from noctule.config.http import HttpSettings
from noctule.config.options import alternatives_of, fields_of, is_group, item_of_list
from noctule.config.problems import Positions
from noctule.config.settings import PluginSettings, Settings
from noctule.services.api.configuration import HIDDEN, shown_settings
from noctule.services.api.json_types import json_bytes
from noctule.services.api.routes import ROUTES
from services.running import Served, basic, mocked, served

MARKER = "m4rker-s3cret"
WITH_PASSWORD = HttpSettings(enabled=True, port=0, password=Secret(MARKER))


GOOD = basic("operator", MARKER)


@pytest.fixture(autouse=True)
def _levels_are_put_back() -> Iterator[None]:
    yield
    logging.getLogger("noctule.net").setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Bearer " + MARKER,
        basic("operator", "wrong"),
        basic("operator", ""),
        basic("root", MARKER),
        basic("operator", MARKER + " "),
        basic("operator", MARKER)[:-1],
        "Basic " + base64.b64encode(MARKER.encode()).decode(),
    ],
)
def test_without_the_password_nothing_is_told(authorization: str | None) -> None:
    async def main() -> None:
        async with served(http=WITH_PASSWORD) as broker:
            headers = {} if authorization is None else {"Authorization": authorization}
            for target in ("/", "/metrics", "/api/v1/version", "/api/v1/clients", "/nothing"):
                started = trio.current_time()
                reply = await broker.ask(target, **headers)
                assert reply.status == 401
                assert reply.headers["www-authenticate"].startswith("Basic ")
                if authorization:
                    assert trio.current_time() - started >= 1, "guessing is slow"
            for target in ("/healthz", "/readyz"):
                assert (await broker.ask(target, **headers)).status == 200

    mocked(main)


def test_with_the_password_everything_is() -> None:
    async def main() -> None:
        async with served(http=WITH_PASSWORD) as broker:
            for route in ROUTES:
                if route.method == "GET" and "{" not in route.path:
                    assert (await broker.ask(route.path, Authorization=GOOD)).status == 200
            assert (await broker.ask("/metrics", Authorization=GOOD)).status == 200

    mocked(main)


def test_a_reload_changes_the_password() -> None:
    async def main() -> None:
        async with served(http=WITH_PASSWORD) as broker:
            settings = broker.broker.settings
            http = replace(settings.http, user="other", password=Secret("another"))
            await broker.broker.reload(replace(settings, http=http))
            assert (await broker.ask("/metrics", Authorization=GOOD)).status == 401
            assert (await broker.ask("/metrics", Authorization=basic("other", "another"))).status == 200

    mocked(main)


async def put(broker: Served, name: str, body: bytes, **headers: str) -> int:
    given = {"Authorization": GOOD, "Content_Type": "application/json"} | headers
    return (await broker.ask(f"/api/v1/log-levels/{name}", "PUT", body, **given)).status


def test_levels_of_the_log() -> None:
    async def main() -> None:
        async with served(http=WITH_PASSWORD) as broker:
            assert await put(broker, "noctule.net", b'{"level": "error"}') == 200
            assert logging.getLogger("noctule.net").level == logging.ERROR
            items = (await broker.ask("/api/v1/log-levels", Authorization=GOOD)).json["items"]
            assert {"logger": "noctule.net", "level": "error", "effective": "error"} in items
            assert await put(broker, "noctule.net", b'{"level": null}') == 200
            assert logging.getLogger("noctule.net").level == logging.NOTSET
            for body in (b"", b"{}", b"[]", b'"debug"', b'{"level": "loud"}', b'{"level": 10}', b"[" * 10_000, b"\xff"):
                assert await put(broker, "noctule.net", body) == 400, body
            for name in ("root", "", "asyncio", "noctule..net", "noctule.a%20b", "noctule.%0a", "noctule" + ".a" * 9):
                assert await put(broker, name, b'{"level": "error"}') == 404, name

    mocked(main)


def test_pages_of_others_change_nothing() -> None:
    async def main() -> None:
        async with served(http=WITH_PASSWORD) as broker:
            body = b'{"level": "error"}'
            assert await put(broker, "noctule.net", body, Content_Type="text/plain") == 415
            assert await put(broker, "noctule.net", body, Origin="https://evil.example") == 403
            assert await put(broker, "noctule.net", body, Origin="null") == 403
            assert logging.getLogger("noctule.net").level == logging.NOTSET
            assert await put(broker, "noctule.net", body, Origin="http://localhost") == 200

    mocked(main)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[http]\naddress = "0.0.0.0"\n', "it needs"),
        ('[http]\naddress = "*"\n', "it needs"),
        ('[http]\naddress = "broker.example"\n', "it needs"),
        ('[http]\naddress = "*"\npassword = ""\n', "empty"),
        ('[http]\nuser = "a:b"\n', "colon"),
        ('[http]\naddress = "*"\npassword = "x"\n', None),
        ('[http]\naddress = "*"\nenabled = false\n', None),
        ('[http]\naddress = "::1"\n', None),
        ('[http]\naddress = "localhost"\n', None),
    ],
)
def test_who_is_not_on_this_machine_needs_a_password(tmp_path: Path, text: str, error: str | None) -> None:
    found = errors(written(tmp_path, text))
    if error is None:
        assert found == []
    else:
        assert error in found[0]


# --- secrets ---


def secret_fields(group: type, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every option of a group, and of those below, that is a secret."""
    found = []
    for field in fields_of(group):
        here = (*path, field.key)
        if Secret in alternatives_of(field.type):
            found.append(here)
        for kind in (*alternatives_of(field.type), item_of_list(field.type)):
            if is_group(kind):
                found += secret_fields(kind, here)
    return found


def test_every_secret_option_is_hidden(tmp_path: Path) -> None:
    paths = secret_fields(Settings)
    assert sorted(paths) == [
        ("bridge", "remote_password"),
        ("bridge", "tls", "psk"),
        ("http", "password"),
        ("mqtt_sn", "password"),
    ], "a new secret: set it below too"
    text = f"""
[http]
password = "{MARKER}"
[[mqtt_sn]]
user_name = "gateway"
password = "{MARKER}"
[[bridge]]
name = "there"
addresses = ["mqtts://127.0.0.1"]
remote_user_name = "here"
remote_password = "{MARKER}"
topics = [{{ pattern = "#" }}]
"""
    settings = loaded(written(tmp_path, text)).settings
    shown = shown_settings(settings)
    assert shown["http"]["password"] == shown["mqtt_sn"][0]["password"] == HIDDEN
    assert shown["bridge"][0]["remote_password"] == HIDDEN
    assert MARKER.encode() not in json_bytes(shown)
    assert MARKER not in repr(settings)


@dataclass(frozen=True, slots=True)
class Config:
    token: Secret
    url: str
    inner: Annotated[tuple[str, ...], Option("More.")] = ()


def with_plugins() -> Settings:
    options: dict[str, object] = {
        "token": MARKER,
        "url": f"https://user:{MARKER}@host.example/x",
        "inner": [f"amqp://{MARKER}@host"],
    }
    positions = Positions({})
    config = check_table(options, Config, positions)
    assert isinstance(config, Config)
    return Settings(
        plugins=(
            PluginSettings("typed", "typed", options, positions, config),
            PluginSettings("untyped", "untyped", {"token": MARKER}, positions),
        )
    )


def test_those_of_plugins_are_hidden_too() -> None:
    shown = shown_settings(with_plugins())
    assert MARKER.encode() not in json_bytes(shown)
    assert shown["plugins"]["typed"]["url"] == f"https://{HIDDEN}@host.example/x"
    assert shown["plugins"]["untyped"] == {"plugin": "untyped", "token": HIDDEN}


def test_no_answer_and_no_log_has_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with (
            served(http=WITH_PASSWORD) as broker,
            await broker.connect("c", user_name="u", password=MARKER.encode()),
        ):
            targets = [route.path.replace("{client_id}", "c") for route in ROUTES if route.method == "GET"]
            targets += ["/", "/metrics", "/metrics?names=mosquitto", "/healthz", "/api/v1/openapi.json", "/nothing"]
            for target in targets:
                for authorization in (GOOD, basic("operator", MARKER + "x")):
                    reply = await broker.ask(target, Authorization=authorization)
                    assert MARKER.encode() not in reply.body
                    assert MARKER not in str(reply.headers)
                    assert GOOD.encode() not in reply.body

    mocked(main)
    assert MARKER not in caplog.text
    assert GOOD.removeprefix("Basic ") not in caplog.text


def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    """A process with a secret in every place where one can be: checked, run, asked, read again, stopped."""
    secret = MARKER + "-of-32-bytes-and-some-more-of-them"
    text = (
        f'sys_interval = 1\n[http]\nport = 0\npassword = "{secret}"\n[logging]\nlevel = "debug"\n'
        f'[plugins.jwt]\nalgorithms = ["HS256"]\nsecret = "{secret}"\n'
        f'[plugins.http]\nauthenticate_url = "http://127.0.0.1:1/a"\n'
        f'headers = [{{ name = "X-Key", value = "{secret}" }}]\n'
    )
    config = written(tmp_path, text)
    checked = subprocess.run([*COMMAND, "check", "-c", str(config)], capture_output=True, text=True, timeout=30)
    printed = checked.stdout + checked.stderr
    assert "jwt" in printed
    broker = BrokerProcess("-c", str(config)).wait_until_listening()
    try:
        url = broker.printed(r"the state of the broker: (http://127\.0\.0\.1:\d+)")[1]
        for path in ("/api/v1/config", "/api/v1/plugins", "/api/v1/events", "/metrics"):
            request = urllib.request.Request(url + path, headers={"Authorization": basic("operator", secret)})
            with urllib.request.urlopen(request, timeout=10) as answer:
                printed += answer.read().decode()
        assert "X-Key" in printed
        config.write_text(text.replace(secret, secret + "-another"), encoding="utf-8")
        broker.signal(signal.SIGHUP)
        broker.printed("Changed: http.password")
        broker.stop()
    finally:
        if broker.process.poll() is None:
            broker.kill()
    printed += broker.output
    assert MARKER not in printed, [line for line in printed.splitlines() if MARKER in line]
