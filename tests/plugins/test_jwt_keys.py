"""Jwt with keys from a URL: when they are fetched, when not, and what is kept where that fails. In mock time."""

import json
import logging
from typing import Any

import httpx
import pytest
import trio
from noctule.api import Allow, Deny, PluginError, Settings
from noctule.plugins.jwt import Jwt, JwtConfig
from plugin_support.served import InMemory, checked, client, in_mock_time, in_real_time, serving, shown
from plugin_support.tokens import NOW, jwk, rsa_key, token
from plugin_support.web_server import answer, web_server

URL = "https://id.example/jwks.json"


class Issuer:
    """A server with keys, which may fail, take its time, and change them."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.failure: httpx.Response | Exception | None = None
        self.takes_s = 0.1
        self.fetches: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("GET", URL)
        self.fetches.append(trio.current_time())
        await trio.sleep(self.takes_s)
        if isinstance(self.failure, Exception):
            raise self.failure
        keys = [jwk(rsa_key(number=number), kid=f"k{number}") for number in self.numbers]
        return self.failure or httpx.Response(200, json={"keys": keys})


def config_of(**table: object) -> JwtConfig:
    config = checked({"algorithms": ["RS256"], "jwks_url": URL, **table}, JwtConfig)
    assert isinstance(config, JwtConfig), config
    return config


def made(issuer: Issuer, **table: object) -> Jwt:
    return Jwt(config_of(**table), transport=InMemory(issuer), wall_clock=lambda: NOW)


def of(number: int, kid: str | None = None) -> bytes:
    return token("RS256", rsa_key(number=number), {"kid": kid or f"k{number}"})


async def answer_of(plugin: Jwt, password: bytes) -> Any:
    return await plugin.authenticate(client(), shown(None, password))


def test_who_comes_first_waits_for_the_keys() -> None:
    async def main() -> None:
        issuer = Issuer(0)
        plugin = made(issuer)
        async with serving(plugin):
            assert isinstance(await answer_of(plugin, of(0)), Allow)
            assert trio.current_time() - issuer.fetches[0] == pytest.approx(0.1)
            assert isinstance(await answer_of(plugin, of(1, "k0")), Deny)
            assert len(issuer.fetches) == 1

    in_mock_time(main)


def test_keys_are_fetched_again_in_time() -> None:
    async def main() -> None:
        issuer = Issuer(0)
        plugin = made(issuer, jwks_refresh="1h")
        async with serving(plugin):
            await trio.sleep(10 * 3_601)
            assert len(issuer.fetches) == 11

    in_mock_time(main)


def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    async def main() -> None:
        issuer = Issuer(0)
        plugin = made(issuer, jwks_interval="30s")
        async with serving(plugin):
            assert isinstance(await answer_of(plugin, of(0)), Allow)
            issuer.numbers = (1,)
            assert isinstance(await answer_of(plugin, of(1)), Deny)  # not within the interval
            await trio.sleep(31)
            assert isinstance(await answer_of(plugin, of(1)), Allow)
            assert isinstance(await answer_of(plugin, of(0)), Deny)  # the issuer has taken it back
            assert len(issuer.fetches) == 2

    in_mock_time(main)


def test_unknown_keys_cause_at_most_one_fetch_in_an_interval() -> None:
    async def main() -> None:
        issuer = Issuer(0)
        plugin = made(issuer, jwks_interval="30s", jwks_refresh="1h")
        answers: list[Any] = []

        async def ask(number: int) -> None:
            answers.append(await answer_of(plugin, of(0, f"unknown{number}")))

        async with serving(plugin):
            began = trio.current_time()
            for _ in range(30):
                async with trio.open_nursery() as nursery:
                    for number in range(10):
                        nursery.start_soon(ask, number)
                await trio.sleep(10)
            took = trio.current_time() - began
            assert 1 < len(issuer.fetches) <= took / 30 + 1
            gaps = [after - before for before, after in zip(issuer.fetches, issuer.fetches[1:], strict=False)]
            assert min(gaps) >= 30
            assert len(answers) == 300
            assert all(isinstance(answer, Deny) for answer in answers)
            assert isinstance(await answer_of(plugin, of(0)), Allow)

    in_mock_time(main)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(500),
        httpx.Response(404),
        httpx.Response(302, headers={"Location": "https://evil.example/"}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json={"keys": []}),
        httpx.Response(200, json={"keys": [{"kty": "oct", "k": "AAAA", "kid": "k0"}]}),
        httpx.Response(200, content=b" " * 1_000_001),
        httpx.ConnectError("refused"),
        RuntimeError("a bug"),
    ],
)
def test_the_last_good_keys_are_kept(failure: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        issuer = Issuer(0)
        plugin = made(issuer, jwks_refresh="1h", jwks_interval="30s")
        async with serving(plugin):
            assert isinstance(await answer_of(plugin, of(0)), Allow)
            issuer.failure = failure
            await trio.sleep(2 * 3_600)
            assert len(issuer.fetches) > 2
            assert isinstance(await answer_of(plugin, of(0)), Allow)
            assert isinstance(await answer_of(plugin, of(1)), Deny)
            # Nobody waits an hour for keys that are there again.
            fetches = len(issuer.fetches)
            issuer.failure, issuer.numbers = None, (0, 1)
            await trio.sleep(16 * 30 + 1)
            assert len(issuer.fetches) == fetches + 1
            assert isinstance(await answer_of(plugin, of(1)), Allow)

    with caplog.at_level(logging.WARNING):
        in_mock_time(main)
    assert all("the 1 keys of before are kept" in record.getMessage() for record in caplog.records)
    assert caplog.records


def test_without_any_keys_nobody_is_let_in_and_nobody_waits_long() -> None:
    async def main() -> None:
        issuer = Issuer(0)
        issuer.takes_s = 1_000
        plugin = made(issuer, jwks_timeout="2s")
        assert isinstance(await answer_of(plugin, of(0)), Deny)  # also before the start
        async with serving(plugin):
            began = trio.current_time()
            assert isinstance(await answer_of(plugin, of(0)), Deny)
            assert trio.current_time() - began <= 2.5
            issuer.takes_s = 0
            await trio.sleep(31)
            assert isinstance(await answer_of(plugin, of(0)), Allow)

    in_mock_time(main)


def test_a_reload_keeps_the_keys_of_the_same_url() -> None:
    async def main() -> None:
        issuer = Issuer(0)
        plugin = made(issuer)
        async with serving(plugin):
            assert isinstance(await answer_of(plugin, of(0)), Allow)
            issuer.failure = httpx.Response(500)
            (await plugin.prepare_reload(config_of(leeway="20s"), Settings()))()
            assert isinstance(await answer_of(plugin, of(0)), Allow)
            await trio.sleep(40)
            assert len(issuer.fetches) >= 2
            assert isinstance(await answer_of(plugin, of(0)), Allow)
            secret = checked({"algorithms": ["HS256"], "secret": "x" * 32}, JwtConfig)
            (await plugin.prepare_reload(secret, Settings()))()
            assert isinstance(await answer_of(plugin, of(0)), Deny)
            fetches = len(issuer.fetches)
            await trio.sleep(80_000)
            assert len(issuer.fetches) == fetches

    in_mock_time(main)


def test_a_real_server() -> None:
    async def main() -> None:
        keys = json.dumps({"keys": [jwk(rsa_key(number=0), kid="k0")]}).encode()
        async with web_server(answer(200, keys)) as server:
            plugin = Jwt(config_of(jwks_url=f"{server.url}/jwks"), wall_clock=lambda: NOW)
            async with serving(plugin):
                assert isinstance(await answer_of(plugin, of(0)), Allow)
            assert [(request.method, request.path) for request in server.requests] == [("GET", "/jwks")]

    in_real_time(main)


def test_httpx_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.plugins.web.client.httpx", None)
    with pytest.raises(PluginError, match=r"pip install noctule\[http,jwt\]"):
        made(Issuer(0))
