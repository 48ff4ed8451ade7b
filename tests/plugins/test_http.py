"""Http: what is asked and what answers mean, in mock time; nothing but a clear yes is one."""

import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pluggy
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from noctule.api import Action, Allow, Deny, PluginError, Settings
from noctule.hooks import specs
from noctule.plugins.http import Http, HttpConfig
from noctule.plugins.web.circuit import FAILURES_MAX, REST_MAX_S
from plugin_support.served import InMemory, checked, client, in_mock_time, serving, shown

USER, ACL, RULES = "http://127.0.0.1:1/user", "http://127.0.0.1:1/acl", "http://127.0.0.1:1/rules"
NOW = 1_800_000_000.0

Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


def says(status: int = 200, **members: Any) -> Handler:
    return lambda _: httpx.Response(status, json=members) if members else httpx.Response(status)


def made(handler: Any, **table: object) -> Http:
    table.setdefault("authenticate_url", USER)
    config = checked(dict(table), Http.Config)
    assert isinstance(config, HttpConfig), config
    return Http(config, transport=InMemory(handler), wall_clock=lambda: NOW)


def authenticated(handler: Any, credentials: Any = None, **table: object) -> Any:
    found: list[Any] = []

    async def main() -> None:
        plugin = made(handler, **table)
        async with serving(plugin):
            found.append(await plugin.authenticate(client(user_name="ada"), credentials or shown()))

    in_mock_time(main)
    return found[0]


@pytest.mark.parametrize("body", ["json", "form"])
def test_what_is_asked(body: str) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    async def main() -> None:
        plugin = made(
            handler, authorize_url=ACL, body=body, headers=[{"name": "Authorization", "value": "Bearer s3cret"}]
        )
        async with serving(plugin):
            await plugin.authenticate(client(), shown("ädä", "p&=w ü".encode()))
            await plugin.authorize(client(user_name="ädä"), Action.PUBLISH, "a/b")
            await plugin.authorize(client(user_name="ädä"), Action.SUBSCRIBE, "a/#")

    in_mock_time(main)
    assert [request.method for request in seen] == ["POST"] * 3
    assert [str(request.url) for request in seen] == [USER, ACL, ACL]
    assert all(request.headers["Authorization"] == "Bearer s3cret" for request in seen)
    expected: list[dict[str, Any]] = [
        {"username": "ädä", "password": "p&=w ü", "clientid": "c1"},
        {"username": "ädä", "clientid": "c1", "topic": "a/b", "acc": 2, "action": "publish"},
        {"username": "ädä", "clientid": "c1", "topic": "a/#", "acc": 4, "action": "subscribe"},
    ]
    if body == "json":
        assert [json.loads(request.content) for request in seen] == expected
        assert seen[0].headers["Content-Type"] == "application/json"
    else:
        forms = [{key: values[0] for key, values in parse_qs(request.content.decode()).items()} for request in seen]
        assert forms == [{key: str(value) for key, value in one.items()} for one in expected]
        assert seen[0].headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("credentials", "fields"),
    [
        (shown(None, None), {"username": None, "password": None, "clientid": "c1"}),
        (shown("ada", None), {"username": "ada", "password": None, "clientid": "c1"}),
        (shown("", b""), {"username": "", "password": "", "clientid": "c1"}),
    ],
)
def test_what_is_missing_is_not_empty(credentials: Any, fields: dict[str, Any]) -> None:
    seen: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        return httpx.Response(200)

    assert isinstance(authenticated(handler, credentials, incomplete_credentials=True), Allow)
    assert seen == [fields]
    seen.clear()
    asked = credentials.user_name is not None and credentials.password is not None
    assert (authenticated(handler, credentials) is not None) == asked
    assert len(seen) == asked


def test_a_password_that_is_no_text_is_not_sent() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing was to be asked")

    assert isinstance(authenticated(handler, shown("ada", b"\xff\xfe")), Deny)


YES, NO, NOBODY = "yes", "no", "nobody"
TEXT = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "Application/JSON; charset=utf-8"}

ANSWERS: list[tuple[str, int, bytes, dict[str, str], str]] = [
    # form, status, body, headers, what it means
    ("auto", 200, b"", {}, YES),
    ("auto", 204, b"", {}, YES),
    ("auto", 200, b"OK", TEXT, YES),
    ("auto", 200, b"<h1>fine</h1>", TEXT, YES),
    ("auto", 200, b" allow\n", TEXT, YES),
    ("auto", 200, b"deny", TEXT, NO),
    ("auto", 200, b"ignore", TEXT, NOBODY),
    ("auto", 200, b'{"result": "allow"}', JSON, YES),
    ("auto", 200, b'{"result": "deny"}', JSON, NO),
    ("auto", 200, b'{"result": "ignore"}', JSON, NOBODY),
    ("auto", 200, b'{"result": "deny"}', TEXT, NO),
    ("auto", 200, b' \n{"result": "deny"}', {}, NO),
    ("auto", 200, b'{"Ok": true, "Error": ""}', JSON, YES),
    ("auto", 200, b'{"Ok": false, "Error": "no"}', JSON, NO),
    ("auto", 200, b'{"ok": "true"}', JSON, NO),
    ("auto", 200, b"{}", JSON, NO),
    ("auto", 200, b"[]", JSON, NO),
    ("auto", 200, b"null", JSON, NO),
    ("auto", 200, b"true", JSON, NO),
    ("auto", 200, b'"allow"', JSON, NO),
    ("auto", 200, b'{"result": "allow"', JSON, NO),
    ("auto", 200, b'{"result": "ALLOW"}', JSON, NO),
    ("auto", 200, b'{"result": true}', JSON, NO),
    ("auto", 200, b'{"result": ["allow"]}', JSON, NO),
    ("auto", 200, b'{"result": "deny", "result": "allow"}', JSON, NO),
    ("auto", 200, b"\xff\xfe{", JSON, NO),
    ("auto", 200, b'{"result": "allow", "x": NaN}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "x": ' + b"[" * 400_000 + b"]" * 400_000 + b"}", JSON, NO),
    ("auto", 200, b'{"result": "allow", "acl": []}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "expires_at": "soon"}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "expires_at": true}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "expires_at": 1e999}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "expires_at": ' + b"9" * 5_000 + b"}", JSON, NO),
    ("auto", 200, b'{"result": "allow", "expires_at": 1700000000}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "user_name": 7}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "user_name": ""}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "user_name": "\\ud800"}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "rules": "all"}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "rules": {"publish": ["a/#/b"]}}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "rules": [{"topic": "a", "deny": true}]}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "qos_max": 3}', JSON, NO),
    ("auto", 200, b'{"result": "allow", "retain": "yes"}', JSON, NO),
    ("auto", 201, b"", {}, NO),
    ("auto", 206, b"ok", TEXT, NO),
    ("auto", 302, b"", {"Location": "http://127.0.0.1:1/elsewhere"}, NO),
    ("auto", 400, b'{"result": "allow"}', JSON, NO),
    ("auto", 401, b"", {}, NO),
    ("auto", 404, b"ok", TEXT, NO),
    ("auto", 429, b"", {}, NO),
    ("auto", 500, b"ok", TEXT, NO),
    ("auto", 503, b'{"result": "allow"}', JSON, NO),
    ("auto", 200, b"ok", {"Content-Encoding": "gzip"}, NO),
    ("status", 200, b'{"result": "deny"}', JSON, YES),
    ("status", 403, b"", {}, NO),
    ("json", 200, b"", {}, NO),
    ("json", 200, b"ok", TEXT, NO),
    ("json", 200, b'{"result": "allow"}', TEXT, YES),
    ("text", 200, b"ok", TEXT, YES),
    ("text", 200, b"", TEXT, NO),
    ("text", 200, b'{"result": "allow"}', JSON, NO),
]


@pytest.mark.parametrize(("form", "status", "body", "headers", "meaning"), ANSWERS)
def test_what_answers_mean(form: str, status: int, body: bytes, headers: dict[str, str], meaning: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        response = httpx.Response(status, content=body)
        response.headers = httpx.Headers(headers)  # also where the body is not what they say
        return response

    answer = authenticated(handler, answers=form, answer_size=1_000_000)
    expected = {YES: Allow, NO: Deny, NOBODY: type(None)}[meaning]
    assert isinstance(answer, expected), answer


def test_what_an_answer_may_carry() -> None:
    answer = authenticated(
        says(
            result="allow",
            user_name="Ada L.",
            expires_at=NOW + 60,
            rules=[
                {"topic": "plant/%u/#", "actions": ["subscribe", "receive"], "qos_max": 1},
                {"topic": "plant/%c/#", "actions": ["publish"], "retain": False},
                {"topic": "plant/c1/off", "allow": False},
            ],
        )
    )
    assert isinstance(answer, Allow)
    assert (answer.user_name, answer.expires_at) == ("Ada L.", NOW + 60)
    access = answer.access
    assert access is not None
    right = access.publish_right("plant/c1/x")
    assert right is not None
    assert not right.retain
    assert access.publish_right("plant/c2/x") is None
    assert access.publish_right("plant/c1/off") is None
    assert access.subscribe_qos_max("plant/Ada L./#", None) == 1
    assert access.may_receive("plant/Ada L./x")
    assert not access.may_receive("plant/ada/x")  # what the client says of itself does not count


def test_hooks_of_access_exist_only_with_their_urls() -> None:
    def hooks(**table: object) -> set[str]:
        manager = pluggy.PluginManager(specs.PROJECT)
        manager.add_hookspecs(specs)
        plugin = made(says(), **table)
        manager.register(plugin)
        manager.check_pending()
        callers = manager.get_hookcallers(plugin)
        assert callers is not None
        return {caller.name for caller in callers}

    always = {"authenticate", "add_services", "prepare_reload"}
    assert hooks() == always
    assert hooks(authorize_url=ACL) == always | {"authorize"}
    assert hooks(access_url=RULES) == always | {"load_access"}


def test_authorize() -> None:
    async def main() -> None:
        answers = iter(
            [
                httpx.Response(200, json={"result": "allow", "qos_max": 1, "retain": False, "remember_s": 100}),
                httpx.Response(403),
                httpx.Response(200, json={"result": "ignore"}),
                httpx.Response(500),
            ]
        )
        plugin = made(lambda _: next(answers), authorize_url=ACL, cache_denied="50s")
        async with serving(plugin):
            yes = await plugin.authorize(client(), Action.PUBLISH, "a")
            assert isinstance(yes, Allow)
            assert (yes.qos_max, yes.retain) == (1, False)
            assert yes.remember_s is not None
            assert 80 <= yes.remember_s <= 100
            no = await plugin.authorize(client(), Action.PUBLISH, "b")
            assert isinstance(no, Deny)
            assert no.remember_s is not None
            assert 40 <= no.remember_s <= 50
            assert await plugin.authorize(client(), Action.PUBLISH, "c") is None
            failed = await plugin.authorize(client(), Action.PUBLISH, "d")
            assert isinstance(failed, Deny)
            assert failed.remember_s == 1  # and not as long as the connection lasts

    in_mock_time(main)


def test_load_access() -> None:
    async def main() -> None:
        answers = iter(
            [
                httpx.Response(200, json={"result": "allow", "rules": {"publish": ["a/%c"], "subscribe": ["b/#"]}}),
                httpx.Response(403),
                httpx.Response(200, json={"result": "ignore"}),
                httpx.Response(200),
                httpx.Response(503),
            ]
        )
        plugin = made(lambda _: next(answers), access_url=RULES, cache_size=0)
        async with serving(plugin):
            access = await plugin.load_access(client())
            assert access is not None
            assert access.publish_right("a/c1") is not None
            assert access.subscribe_qos_max("b/#", None) == 2
            assert access.may_receive("b/x")
            nothing = await plugin.load_access(client())
            assert nothing is not None
            assert nothing.publish_right("a/c1") is None
            assert await plugin.load_access(client()) is None
            for text in ('has no "rules"', "status 503"):
                with pytest.raises(PluginError, match=text):
                    await plugin.load_access(client())

    in_mock_time(main)


class Counting:
    """A server that counts, answers after a while, and can be changed."""

    def __init__(self, status: int = 200, takes_s: float = 0.0) -> None:
        self.status, self.takes_s = status, takes_s
        self.count = self.now = self.most = 0

    async def __call__(self, _: httpx.Request) -> httpx.Response:
        self.count += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.takes_s)
        finally:
            self.now -= 1
        return httpx.Response(self.status)


def test_answers_are_kept_for_their_time() -> None:
    async def main() -> None:
        for status, lifetime_s in ((200, 100), (403, 10)):
            server = Counting(status)
            plugin = made(server, cache_allowed="100s", cache_denied="10s")
            async with serving(plugin):
                for _ in range(3):
                    await plugin.authenticate(client(), shown())
                assert server.count == 1
                await trio.sleep(lifetime_s * 0.79)
                await plugin.authenticate(client(), shown())
                assert server.count == 1
                await trio.sleep(lifetime_s * 0.22)  # and being used has not prolonged it
                await plugin.authenticate(client(), shown())
                assert server.count == 2

    in_mock_time(main)


@pytest.mark.parametrize(
    "other", [shown("ada", b"pW"), shown("adap", b"w"), shown("Ada", b"pw"), shown("ada", b""), shown("ada", b"pw ")]
)
def test_another_question_is_another_question(other: Any) -> None:
    async def main() -> None:
        server = Counting()
        plugin = made(server)
        async with serving(plugin):
            await plugin.authenticate(client(), shown())
            await plugin.authenticate(client(), other)
            await plugin.authenticate(client("c2"), shown())
            assert server.count == 3

    in_mock_time(main)


def test_failures_are_not_kept() -> None:
    async def main() -> None:
        server = Counting(500)
        plugin = made(server)
        async with serving(plugin):
            assert isinstance(await plugin.authenticate(client(), shown()), Deny)
            server.status = 200
            assert isinstance(await plugin.authenticate(client(), shown()), Allow)

    in_mock_time(main)


def test_the_same_question_is_asked_once_at_a_time() -> None:
    async def main() -> None:
        server = Counting(takes_s=1)
        plugin = made(server, cache_size=0)
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await plugin.authenticate(client(), shown()))

        async with serving(plugin):
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(ask)
            assert server.count == 1
            assert answers == [Allow()] * 50

    in_mock_time(main)


def test_who_gives_up_takes_nobody_along() -> None:
    async def main() -> None:
        server = Counting(takes_s=1)
        plugin = made(server)
        async with serving(plugin), trio.open_nursery() as nursery:

            async def impatient() -> None:
                with trio.move_on_after(0.1):
                    await plugin.authenticate(client(), shown())

            nursery.start_soon(impatient)
            await trio.sleep(0.05)
            assert await plugin.authenticate(client(), shown()) == Allow()
            assert server.count == 1

    in_mock_time(main)


def test_connections_and_waiting_are_bounded() -> None:
    async def main() -> None:
        server = Counting(takes_s=1)
        plugin = made(server, connections=3, waiting=4, timeout="10s")
        answers: list[Any] = []

        async def ask(number: int) -> None:
            answers.append(await plugin.authenticate(client(f"c{number}"), shown()))

        async with serving(plugin):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(ask, number)
            assert (server.count, server.most) == (7, 3)
            assert len([answer for answer in answers if isinstance(answer, Allow)]) == 7

    in_mock_time(main)


def test_a_server_that_hangs_is_left_alone_and_found_again() -> None:
    async def main() -> None:
        server = Counting(takes_s=1_000)
        plugin = made(server, timeout="1s")
        number = 0

        async def ask() -> Any:
            nonlocal number
            number += 1
            return await plugin.authenticate(client(f"c{number}"), shown())

        async with serving(plugin):
            for _ in range(FAILURES_MAX):
                began = trio.current_time()
                assert isinstance(await ask(), Deny)
                assert trio.current_time() - began == pytest.approx(1)
            for _ in range(100):
                began = trio.current_time()
                assert isinstance(await ask(), Deny)
                assert trio.current_time() == began  # nobody waits for a server that is known not to answer
            assert server.count == FAILURES_MAX
            for _ in range(600):
                await ask()
                await trio.sleep(1)
            assert server.count < FAILURES_MAX + 60
            server.takes_s = 0
            await trio.sleep(REST_MAX_S + 1)
            assert isinstance(await ask(), Allow)
            assert isinstance(await ask(), Allow)

    in_mock_time(main)


def test_a_client_whose_question_cannot_be_answered_does_not_shut_out_the_others() -> None:
    async def main() -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            return httpx.Response(500 if b"evil" in request.content else 200)

        plugin = made(handler)
        async with serving(plugin):
            for number in range(50):
                assert isinstance(await plugin.authenticate(client(f"c{number}"), shown("evil")), Deny)
            assert isinstance(await plugin.authenticate(client(), shown()), Allow)

    in_mock_time(main)


def test_the_log_is_short_and_has_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plugin = made(
            Counting(500),
            authenticate_url=USER + "?key=s3cret",
            headers=[{"name": "Authorization", "value": "Bearer s3cret"}],
        )
        async with serving(plugin):
            for number in range(100):
                await plugin.authenticate(client(f"c{number}"), shown("ada", b"s3cret"))
            await trio.sleep(11)
            await plugin.authenticate(client("last"), shown("ada", b"s3cret"))

    with caplog.at_level(logging.DEBUG):
        in_mock_time(main)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"{USER}: refused, status 500", f"{USER}: refused, status 500 (99 more were not logged)"]


def test_a_wrong_url_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(authenticated(says(404)), Deny)
    assert [record.getMessage() for record in caplog.records] == [f"{USER}: status 404 counts as no; is the URL right?"]


def test_nothing_is_asked_before_the_start_and_after_the_end() -> None:
    async def main() -> None:
        server = Counting()
        plugin = made(server)
        assert isinstance(await plugin.authenticate(client(), shown()), Deny)
        async with serving(plugin):
            assert isinstance(await plugin.authenticate(client(), shown()), Allow)
        assert isinstance(await plugin.authenticate(client("c2"), shown()), Deny)
        assert server.count == 1

    in_mock_time(main)


def test_a_reload() -> None:
    async def main() -> None:
        asked: list[str] = []

        async def handler(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            await trio.sleep(1)
            return httpx.Response(200)

        plugin = made(handler)
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await plugin.authenticate(client(), shown()))

        async with serving(plugin):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.sleep(0.5)
                apply = await plugin.prepare_reload(HttpConfig(authenticate_url=USER + "2"), Settings())
                assert asked == ["/user"]
                apply()
                nursery.start_soon(ask)
            assert asked == ["/user", "/user2"]
            assert answers == [Allow(), Allow()]
            with pytest.raises(PluginError, match="needs a restart"):
                await plugin.prepare_reload(HttpConfig(authorize_url=ACL), Settings())

    in_mock_time(main)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({}, "expected at least one of"),
        ({"authenticate_url": "http://auth.example/"}, "expected https://; http:// is for servers on this machine"),
        ({"authenticate_url": "http://auth.example/"}, "allow_plain_http = true"),
        ({"authenticate_url": "ftp://auth.example/"}, "begins with https:// or http://"),
        ({"authenticate_url": "https:///x"}, "begins with https:// or http://"),
        ({"authenticate_url": "https://a b/"}, "begins with https:// or http://"),
        ({"authenticate_url": "https://user:pw@auth.example/"}, "a header (Authorization) is for that"),
        ({"authenticate_url": "https://auth.example:99999/"}, "is not a URL"),
        ({"authenticate_url": "https://[::1/"}, "is not a URL"),
        ({"authenticate_url": "https://auth.example/#x"}, 'no part behind "#"'),
        ({"authenticate_url": USER, "timeout": "0s"}, "at least 10ms"),
        ({"authenticate_url": USER, "body": "xml"}, 'expected one of "json", "form"'),
        ({"authenticate_url": USER, "headers": [{"name": "X Y", "value": "a"}]}, "cannot be the name of a header"),
        ({"authenticate_url": USER, "headers": [{"name": "Host", "value": "a"}]}, "is the broker's own"),
        ({"authenticate_url": USER, "headers": [{"name": "X", "value": "a\r\nY: b"}]}, "printable ASCII"),
    ],
)
def test_bad_configurations(table: dict[str, object], text: str) -> None:
    problems = checked(table, Http.Config)
    assert isinstance(problems, list)
    assert any(text in problem for problem in problems), problems
    assert not any("pw" in problem for problem in problems)


def test_plain_http_where_it_is_wanted() -> None:
    assert isinstance(checked({"authenticate_url": "http://auth/", "allow_plain_http": True}, HttpConfig), HttpConfig)


def test_certificates_that_are_none(tmp_path: Any) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(PluginError, match=re.escape(f"cannot use the certificates of {tmp_path}/{name}")):
            Http(HttpConfig(authenticate_url=USER, ca_file=tmp_path / name))


def test_httpx_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.plugins.web.client.httpx", None)
    with pytest.raises(PluginError, match=r"pip install noctule\[http\]"):
        Http(HttpConfig(authenticate_url=USER))


@given(
    st.binary(max_size=300),
    st.sampled_from([200, 204, 403, 500]),
    st.sampled_from(["", "text/html", "application/json"]),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_an_answer_or_a_refusal(data: bytes, status: int, media_type: str) -> None:
    async def main() -> None:
        plugin = made(lambda _: httpx.Response(status, content=data, headers={"Content-Type": media_type}))
        async with serving(plugin):
            for password in (data, b"pw"):
                answer = await plugin.authenticate(client(), shown("ada", password))
                assert answer is None or isinstance(answer, Allow | Deny)

    in_mock_time(main)
