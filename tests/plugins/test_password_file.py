"""The plugin of the password file: who gets in, what it costs, reloads, and hashes that are written anew."""

import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pluggy
import pytest
import trio
import trio.testing
from noctule.api import (
    Allow,
    Client,
    Credentials,
    Deny,
    HashingError,
    Metrics,
    PasswordFileError,
    PluginError,
    ReasonCode,
    Settings,
    make_hash,
    read_passwords,
)
from noctule.auth.password_file_changes import remove_user, set_password
from noctule.auth.password_hashes import Argon2Hash, Argon2Parameters, HashKind, PasswordHash, Pbkdf2Hash, Sha512Hash
from noctule.config.checking import check_table
from noctule.config.problems import Place, Positions
from noctule.hooks import specs
from noctule.plugins import password_file
from noctule.plugins.password_file import PasswordFile, PasswordFileConfig

Patch = pytest.MonkeyPatch
Body = Callable[[], Awaitable[None]]

DEADLINE_S = 30.0
QUICK = Argon2Parameters(memory_kib=8, passes=1)
CLIENT = Client(
    client_id="c1", user_name="alice", address="192.0.2.1", peer="192.0.2.1:5000", listener="*:1883", protocol_version=5
)


def argon2(password: bytes) -> PasswordHash:
    return make_hash(password, argon2=QUICK)


def pbkdf2(password: bytes) -> PasswordHash:
    return make_hash(password, HashKind.SHA512_PBKDF2, iterations=1)


def sha512(password: bytes) -> PasswordHash:
    return make_hash(password, HashKind.SHA512)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "passwd"
    path.touch(0o600)
    set_password(path, "alice", pbkdf2(b"secret"))
    set_password(path, "bob", pbkdf2(b"other"))
    return path


def config_of(path: Path, **options: Any) -> PasswordFileConfig:
    """As it is in a file; hashes that are written cost little."""
    given = {"workers": 2, "argon2_memory": 8192, "argon2_passes": 1, **options}
    return PasswordFileConfig(path, **given)


def run(body: Body) -> None:
    """Run a test on a clock that stands still until it is set."""
    trio.run(body, clock=trio.testing.MockClock())


def text_of(path: Path) -> str:
    return path.read_text()


def write(path: Path, text: str) -> None:
    path.write_text(text)


def inode_of(path: Path) -> int:
    return path.stat().st_ino


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        await trio.lowlevel.checkpoint()


def client_of(user_name: str | None, number: int = 1) -> Client:
    return replace(CLIENT, client_id=f"c{number}", user_name=user_name, peer=f"192.0.2.1:{5000 + number}")


async def ask(
    plugin: PasswordFile, user_name: str | None, password: bytes | None, number: int = 1
) -> Allow | Deny | None:
    return await plugin.authenticate(client_of(user_name, number), Credentials(user_name, password))


async def log_in(plugin: PasswordFile, user_name: str, password: bytes, number: int = 1) -> Client:
    """Let a client in."""
    client = client_of(user_name, number)
    assert await ask(plugin, user_name, password, number) == Allow()
    plugin.client_connected(client)
    return client


async def reload(plugin: PasswordFile, config: PasswordFileConfig) -> None:
    (await plugin.prepare_reload(config, Settings()))()


@dataclass
class Comparing:
    """What is compared, in threads that are held up until they are let go."""

    kinds: list[type] = field(default_factory=list)
    running: int = 0
    most_at_once: int = 0
    go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def compare(self, stored: PasswordHash, password: bytes, matches: Callable[..., bool]) -> bool:
        with self.lock:
            self.kinds.append(type(stored))
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
        assert self.go.wait(DEADLINE_S)
        with self.lock:
            self.running -= 1
        return matches(stored, password)

    def taken(self) -> int:
        """How many were compared since the last time."""
        count = len(self.kinds)
        self.kinds.clear()
        return count


@pytest.fixture
def comparing(monkeypatch: Patch) -> Iterator[Comparing]:
    counted = Comparing()
    counted.go.set()
    for kind in (Sha512Hash, Pbkdf2Hash, Argon2Hash):

        def matches(stored: Any, password: bytes, before: Callable[..., bool] = kind.matches) -> bool:
            return counted.compare(stored, password, before)

        monkeypatch.setattr(kind, "matches", matches)
    yield counted
    counted.go.set()


def test_it_is_a_plugin(path: Path) -> None:
    plugins = pluggy.PluginManager(specs.PROJECT)
    plugins.add_hookspecs(specs)
    plugin = PasswordFile(config_of(path))
    plugins.register(plugin)
    plugins.check_pending()
    assert {caller.name for caller in plugins.get_hookcallers(plugin) or ()} == {
        *("add_metrics", "add_services", "authenticate", "client_connected", "client_disconnected"),
        *("prepare_reload", "recheck"),
    }


# --- who gets in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [argon2, pbkdf2, sha512])
def test_who_gets_in(path: Path, make: Callable[[bytes], PasswordHash]) -> None:
    async def body() -> None:
        set_password(path, "alice", make(b"secret"))
        set_password(path, "empty", make(b""))
        plugin = PasswordFile(config_of(path))
        for _ in range(2):  # remembered and not
            assert await ask(plugin, "alice", b"secret") == Allow()
            assert await ask(plugin, None, None) is None
            assert await ask(plugin, None, b"secret") is None
            assert await ask(plugin, "empty", b"") == Allow()
            for user_name, password in [
                *(("alice", wrong) for wrong in (None, b"", b"other", b"secret ", b"Secret", b"x" * 65_535)),
                *(("carol", wrong) for wrong in (None, b"", b"secret")),
                *((wrong, b"secret") for wrong in ("", "Alice", "alice ", " alice", "bob", "#", "x" * 65_535)),
                ("empty", None),
            ]:
                assert isinstance(await ask(plugin, user_name, password), Deny), (user_name, password)

    run(body)


def test_the_answer_does_not_tell_whether_there_is_a_user(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        answers = []
        for user_name in ("alice", "carol"):
            for password in (b"wrong", b"", None):
                answer = await ask(plugin, user_name, password)
                assert isinstance(answer, Deny)
                answers.append((replace(answer, why=""), comparing.kinds.copy()))
                comparing.kinds.clear()
        assert answers[:3] == answers[3:]
        assert answers[0][1] == [Pbkdf2Hash]
        assert answers[2][1] == [], "a password that is missing was compared"

    run(body)


def test_unknown_users_cost_what_those_of_the_file_cost(tmp_path: Path, comparing: Comparing) -> None:
    """A file with two kinds of hashes, three to one: so are those of unknown users, the same for one name each time."""
    path = tmp_path / "passwd"
    path.touch(0o600)
    for number in range(8):
        set_password(path, f"user{number}", (sha512 if number % 4 == 0 else pbkdf2)(b"x"))

    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        kinds = []
        for number in range(400):
            for _ in range(2):
                await ask(plugin, f"unknown{number}", b"x")
            first, second = comparing.kinds
            assert first is second
            kinds.append(first)
            comparing.kinds.clear()
        # Of 400 about 100 (standard deviation 9).
        assert 50 < kinds.count(Sha512Hash) < 150
        assert kinds.count(Pbkdf2Hash) == 400 - kinds.count(Sha512Hash)

        # Each name keeps its kind over a reload, and after one with other kinds has one of those.
        await reload(plugin, config_of(path))
        for number in range(20):
            await ask(plugin, f"unknown{number}", b"x")
        assert comparing.kinds == kinds[:20]
        comparing.kinds.clear()
        for number in range(8):
            set_password(path, f"user{number}", argon2(b"x"))
        await reload(plugin, config_of(path))
        await ask(plugin, "unknown1", b"x")
        assert comparing.kinds == [Argon2Hash]

    run(body)


def test_an_empty_file(tmp_path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        (tmp_path / "passwd").touch(0o600)
        plugin = PasswordFile(config_of(tmp_path / "passwd"))
        assert isinstance(await ask(plugin, "alice", b"secret"), Deny)
        assert comparing.kinds == [Argon2Hash]

    run(body)


def test_two_files(path: Path, tmp_path: Path) -> None:
    async def body() -> None:
        other = tmp_path / "other"
        other.touch(0o600)
        set_password(other, "alice", sha512(b"another"))
        one, two = PasswordFile(config_of(path)), PasswordFile(config_of(other))
        metrics = Metrics()
        one.add_metrics(metrics)
        two.add_metrics(metrics)
        assert await ask(one, "alice", b"secret") == Allow()
        assert isinstance(await ask(two, "alice", b"secret"), Deny)
        assert await ask(two, "alice", b"another") == Allow()
        assert await ask(two, "alice", b"another") == Allow()
        assert {metric.name: getattr(metric, "value", None) for metric in metrics} == {
            "password_file_hashes_total": 3,
            "password_file_remembered_total": 1,
            "password_file_busy_total": 0,
        }

    run(body)


def test_no_memory_is_no_entry(path: Path, monkeypatch: Patch) -> None:
    def fail(stored: PasswordHash, password: bytes) -> bool:
        raise HashingError("argon2: Memory allocation error")

    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        for user_name in ("alice", "carol"):
            answer = await ask(plugin, user_name, b"secret")
            assert isinstance(answer, Deny)
            assert answer.reason_code == ReasonCode.SERVER_BUSY

    monkeypatch.setattr(Pbkdf2Hash, "matches", fail)
    run(body)


# --- what it costs --------------------------------------------------------------------------------------


def test_who_returns_is_not_hashed(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        plugin = PasswordFile(config_of(path, cache_lifetime_s=60.0))
        for number in range(100):
            assert await ask(plugin, "alice", b"secret", number) == Allow()
        assert comparing.taken() == 1
        for _ in range(3):
            assert isinstance(await ask(plugin, "alice", b"wrong"), Deny)
            assert isinstance(await ask(plugin, "bob", b"secret"), Deny)
        assert comparing.taken() == 6, "what is wrong was remembered"
        clock.jump(60.0)
        assert await ask(plugin, "alice", b"secret") == Allow()
        assert comparing.taken() == 1

    run(body)


def test_the_cache_can_be_turned_off(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path, cache_size=0))
        for _ in range(3):
            assert await ask(plugin, "alice", b"secret") == Allow()
        assert comparing.taken() == 3

    run(body)


def test_many_that_come_at_once_with_one_login_are_hashed_once(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path, waiting_max=0))
        answers: list[Allow | Deny | None] = []

        async def one(number: int, password: bytes) -> None:
            answers.append(await ask(plugin, "alice", password, number))

        comparing.go.clear()
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number, b"secret")
                nursery.start_soon(one, number, b"wrong")
            await until(lambda: comparing.running == 2)
            comparing.go.set()
        assert comparing.taken() == 2
        assert answers.count(Allow()) == 50
        assert len(answers) == 100

    run(body)


def test_beyond_those_that_may_wait_the_answer_is_busy(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path, workers=2, waiting_max=2))
        metrics = Metrics()
        plugin.add_metrics(metrics)
        answers: dict[int, Allow | Deny | None] = {}
        await ask(plugin, "bob", b"other")
        comparing.taken()

        async def one(number: int) -> None:
            answers[number] = await ask(plugin, "alice", b"%d" % number)

        comparing.go.clear()
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(one, number)
            await until(lambda: comparing.running == 2)
            await trio.testing.wait_all_tasks_blocked()
            for user_name in ("alice", "carol"):
                answer = await ask(plugin, user_name, b"secret")
                assert isinstance(answer, Deny)
                assert answer.reason_code == ReasonCode.SERVER_BUSY
            assert not answers
            assert await ask(plugin, "bob", b"other") == Allow(), "who is remembered needs no worker"
            comparing.go.set()
        assert len(answers) == comparing.taken() == 6
        assert comparing.most_at_once == 2
        assert await ask(plugin, "alice", b"secret") == Allow()
        assert {metric.name: getattr(metric, "value", None) for metric in metrics}["password_file_busy_total"] == 2

    run(body)


def test_a_client_that_goes_holds_nobody_up(path: Path, comparing: Comparing) -> None:
    """Its thread keeps its place among the workers until it is done; who waits for the same login goes on."""

    async def body() -> None:
        plugin = PasswordFile(config_of(path, workers=1, waiting_max=5))
        answers: list[Allow | Deny | None] = []

        async def one() -> None:
            answers.append(await ask(plugin, "alice", b"secret"))

        comparing.go.clear()
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as leaving:
                leaving.start_soon(one)
                await until(lambda: comparing.running == 1)
                nursery.start_soon(one)
                nursery.start_soon(one)
                await trio.testing.wait_all_tasks_blocked()
                leaving.cancel_scope.cancel()
            assert not answers
            await trio.testing.wait_all_tasks_blocked()
            assert comparing.running == 1, "two at once with one worker"
            comparing.go.set()
        assert answers == [Allow(), Allow()]
        assert comparing.taken() == 2
        assert comparing.most_at_once == 1
        assert not plugin._comparisons

    run(body)


# --- reloads ----------------------------------------------------------------------------------------------


def test_a_reload_takes_the_file_as_it_is(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        assert await ask(plugin, "alice", b"secret") == Allow()
        set_password(path, "alice", pbkdf2(b"new"))
        set_password(path, "carol", pbkdf2(b"third"))
        remove_user(path, "bob")
        apply = await plugin.prepare_reload(config_of(path), Settings())
        assert await ask(plugin, "alice", b"secret") == Allow(), "changed before it is applied"
        assert isinstance(await ask(plugin, "carol", b"third"), Deny)
        apply()
        assert isinstance(await ask(plugin, "alice", b"secret"), Deny), "remembered with a hash that is gone"
        assert await ask(plugin, "alice", b"new") == Allow()
        assert await ask(plugin, "carol", b"third") == Allow()
        assert isinstance(await ask(plugin, "bob", b"other"), Deny)

    run(body)


def test_a_reload_takes_the_options(path: Path, tmp_path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path, workers=1))
        other = tmp_path / "other"
        other.touch(0o600)
        set_password(other, "carol", sha512(b"third"))
        await reload(plugin, config_of(other, workers=3, cache_size=0))
        assert isinstance(await ask(plugin, "alice", b"secret"), Deny)
        comparing.taken()
        for _ in range(2):
            assert await ask(plugin, "carol", b"third") == Allow()
        assert comparing.taken() == 2
        assert plugin._limiter.total_tokens == 3

    run(body)


def test_a_bad_file_is_no_start_and_no_reload(path: Path) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        write(path, "alice:hunter2\nbob\n:x\n")
        with pytest.raises(PluginError) as at_reload:
            await plugin.prepare_reload(config_of(path), Settings())
        with pytest.raises(PluginError) as at_start:
            PasswordFile(config_of(path))
        assert str(at_reload.value) == str(at_start.value)
        assert str(at_start.value).splitlines() == [
            f'{path}:1: error: the password of "alice" is not hashed; `noctule passwd -U {path}` hashes all that '
            "are not",
            f"{path}:3: error: no user name before the ':'; a comment begins with '#'",
        ]
        assert await ask(plugin, "alice", b"secret") == Allow()

    run(body)


@pytest.mark.parametrize("text", ["", "\n", "# nobody\n", "garbage\nmore of it\n"])
def test_a_file_that_has_lost_its_users_is_no_reload(path: Path, text: str) -> None:
    """More likely it is being written, or was cut off, than that everybody is to be locked out."""

    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        write(path, text)
        with pytest.raises(PluginError, match="no users any more") as refused:
            await plugin.prepare_reload(config_of(path), Settings())
        assert str(refused.value).startswith(f"{path}:1: error: ")
        assert await ask(plugin, "alice", b"secret") == Allow()

    run(body)


def test_lines_that_say_nothing_are_no_reload(path: Path) -> None:
    """One that is cut off before its ':' would be a user who is locked out. Those there at the start may stay."""

    async def body() -> None:
        with path.open("a") as file:
            file.write("carol hunter2\n")
        plugin = PasswordFile(config_of(path))
        await reload(plugin, config_of(path))
        good = text_of(path)
        write(path, good.replace("bob:", "bob"))
        with pytest.raises(PluginError) as refused:
            await plugin.prepare_reload(config_of(path), Settings())
        assert str(refused.value).splitlines() == [
            f"{path}:{number}: error: no ':' in it, and no '#' in front; expected user:hash, or a comment"
            for number in (2, 3)
        ]
        assert await ask(plugin, "bob", b"other") == Allow()
        write(path, good)
        await reload(plugin, config_of(path))

    run(body)


def test_a_file_that_had_no_users_may_have_none_still(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        path = tmp_path / "passwd"
        path.touch(0o600)
        plugin = PasswordFile(config_of(path))
        await reload(plugin, config_of(path))
        assert caplog.messages == [f"{path}: has no users: nobody can log in by it"] * 2
        set_password(path, "alice", pbkdf2(b"secret"))
        await reload(plugin, config_of(path))
        assert await ask(plugin, "alice", b"secret") == Allow()

    run(body)


def test_who_may_stay_after_a_reload(path: Path) -> None:
    async def body() -> None:
        set_password(path, "carol", pbkdf2(b"third"))
        plugin = PasswordFile(config_of(path))
        alice = await log_in(plugin, "alice", b"secret", 1)
        bob = await log_in(plugin, "bob", b"other", 2)
        carol = await log_in(plugin, "carol", b"third", 3)
        anonymous, of_another = client_of(None, 4), client_of("bob", 5)
        for client in (anonymous, of_another):
            plugin.client_connected(client)
        everybody = (alice, bob, carol, anonymous, of_another)

        def denied() -> dict[str, str]:
            answers = {client.client_id: plugin.recheck(client) for client in everybody}
            return {client_id: answer.why for client_id, answer in answers.items() if answer is not None}

        assert denied() == {}
        # The order of lines, comments and blanks are nothing to anybody.
        lines = reversed(text_of(path).replace(":", " : ").splitlines())
        write(path, "\n".join(("# again", *lines, "")))
        await reload(plugin, config_of(path))
        assert denied() == {}

        set_password(path, "alice", pbkdf2(b"secret"))  # the same password, set again
        remove_user(path, "bob")
        await reload(plugin, config_of(path))
        gone, changed = (
            "the user is not in the password file any more",
            "the user's line in the password file has changed",
        )
        assert denied() == {"c1": changed, "c2": gone}

        # Who logs in with the new line stays, and a user who comes back is another one.
        plugin.client_disconnected(alice, "")
        await log_in(plugin, "alice", b"secret", 1)
        set_password(path, "bob", pbkdf2(b"other"))
        await reload(plugin, config_of(path))
        assert denied() == {"c2": changed}

    run(body)


def test_a_client_that_is_about_to_be_let_in(path: Path) -> None:
    """Its password is right, the file changes, and it is let in: it is known under which line."""

    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        unnamed = replace(client_of("alice"), client_id="")
        assert await plugin.authenticate(unnamed, Credentials("alice", b"secret")) == Allow()
        assert plugin.recheck(unnamed) is None
        set_password(path, "alice", pbkdf2(b"new"))
        await reload(plugin, config_of(path))
        assert isinstance(plugin.recheck(unnamed), Deny)
        named = replace(unnamed, client_id="assigned")
        plugin.client_connected(named)
        assert isinstance(plugin.recheck(named), Deny)

    run(body)


def test_clients_that_cannot_be_told_apart_before_they_are_let_in(path: Path) -> None:
    """Two from one unix socket, one before a reload and one after: neither stays for what the other has shown."""

    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        unnamed = replace(client_of("alice"), client_id="", peer="")
        assert await plugin.authenticate(unnamed, Credentials("alice", b"secret")) == Allow()
        set_password(path, "alice", pbkdf2(b"new"))
        await reload(plugin, config_of(path))
        assert await plugin.authenticate(unnamed, Credentials("alice", b"new")) == Allow()
        for client_id in ("first", "second"):
            plugin.client_connected(replace(unnamed, client_id=client_id))
            assert isinstance(plugin.recheck(replace(unnamed, client_id=client_id)), Deny)

    run(body)


def test_a_reload_while_a_password_is_compared(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        answers: dict[str, Allow | Deny | None] = {}

        async def one(user_name: str, password: bytes) -> None:
            answers[user_name + password.decode()] = await ask(plugin, user_name, password)

        comparing.go.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "alice", b"secret")
            nursery.start_soon(one, "alice", b"new")
            nursery.start_soon(one, "bob", b"other")
            nursery.start_soon(one, "carol", b"third")
            await until(lambda: comparing.running == 2)
            set_password(path, "alice", pbkdf2(b"new"))
            set_password(path, "carol", pbkdf2(b"third"))
            remove_user(path, "bob")
            await reload(plugin, config_of(path))
            comparing.go.set()
        assert {name for name, answer in answers.items() if answer == Allow()} == {"alicenew", "carolthird"}
        assert len(answers) == 4

    run(body)


def test_logins_are_forgotten_with_their_clients(path: Path) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path))
        for number in range(50):
            client = await log_in(plugin, "alice", b"secret", number)
            plugin.client_disconnected(client, "")
        assert len(plugin._logins) == 0
        # Two connections that look the same: the second takes the session over, and the first ends after that.
        first = await log_in(plugin, "alice", b"secret")
        second = await log_in(plugin, "alice", b"secret")
        plugin.client_disconnected(first, "")
        remove_user(path, "alice")
        await reload(plugin, config_of(path))
        assert isinstance(plugin.recheck(second), Deny)
        plugin.client_disconnected(second, "")
        assert len(plugin._logins) == 0

    run(body)


def test_logins_that_nothing_becomes_of_are_bounded(path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(password_file, "_ENTERING_MAX", 3)

    async def body() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        plugin = PasswordFile(config_of(path))
        for number in range(3):
            assert await ask(plugin, "alice", b"secret", number) == Allow()
        answer = await ask(plugin, "alice", b"secret", 3)
        assert isinstance(answer, Deny)
        assert answer.reason_code == ReasonCode.SERVER_BUSY
        clock.jump(password_file._ENTERING_S)
        assert await ask(plugin, "alice", b"secret", 3) == Allow()
        assert len(plugin._logins) == 3
        clock.jump(password_file._ENTERING_S / 2)
        assert await ask(plugin, "alice", b"secret", 4) == Allow()
        clock.jump(password_file._ENTERING_S / 2)
        assert await ask(plugin, "alice", b"secret", 4) == Allow()
        assert len(plugin._logins) == 3

    run(body)


def test_logins_that_nothing_became_of_count_for_nobody(path: Path) -> None:
    """One from a unix socket that was not let in for another reason; the next ones look the same."""

    async def body() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        plugin = PasswordFile(config_of(path))
        client = replace(client_of("alice"), peer="")
        assert await plugin.authenticate(client, Credentials("alice", b"secret")) == Allow()
        set_password(path, "alice", pbkdf2(b"new"))
        await reload(plugin, config_of(path))
        for _ in range(3):
            clock.jump(password_file._ENTERING_S / 2)
            assert await plugin.authenticate(client, Credentials("alice", b"new")) == Allow()
            plugin.client_connected(client)
            stays = plugin.recheck(client) is None
            plugin.client_disconnected(client, "")
        assert stays
        assert len(plugin._logins) == 0

    run(body)


# --- hashes that are written anew -----------------------------------------------------------------------


class NoBroker:
    """Services are told of a broker; this one has no use for it."""


@contextmanager
def service_of(plugin: PasswordFile, nursery: trio.Nursery) -> Iterator[None]:
    (service,) = plugin.add_services(NoBroker())  # type: ignore[arg-type]
    nursery.start_soon(service.run)
    yield
    nursery.cancel_scope.cancel()


def stored_in(path: Path, user_name: str) -> PasswordHash:
    return read_passwords(path).entries[user_name].hash


def test_a_weak_hash_is_written_anew_and_nobody_notices(path: Path, comparing: Comparing) -> None:
    async def body() -> None:
        text = text_of(path)
        config = config_of(path, rehash_on_login=True)
        plugin = PasswordFile(config)
        async with trio.open_nursery() as nursery:
            with service_of(plugin, nursery):
                alice = await log_in(plugin, "alice", b"secret")
                assert isinstance(await ask(plugin, "bob", b"wrong"), Deny)
                await until(lambda: isinstance(plugin._entries["alice"].hash, Argon2Hash))
                stored = stored_in(path, "alice")
                assert isinstance(stored, Argon2Hash)
                assert stored.parameters == QUICK
                assert stored.matches(b"secret")
                assert text_of(path).splitlines()[1] == text.splitlines()[1], "bob did not log in"
                comparing.taken()

                # It is remembered under the new hash, and the client may stay: now, and after each reload.
                assert await ask(plugin, "alice", b"secret") == Allow()
                assert comparing.taken() == 0
                for _ in range(2):
                    assert plugin.recheck(alice) is None
                    await reload(plugin, config)
                assert plugin.recheck(alice) is None
                assert comparing.taken() == 0

                # And who changes the password later is noticed.
                set_password(path, "alice", pbkdf2(b"new"))
                await reload(plugin, config)
                assert isinstance(plugin.recheck(alice), Deny)
                assert isinstance(await ask(plugin, "alice", b"secret"), Deny)

    run(body)


def test_a_reload_that_was_prepared_before_a_hash_was_written_anew(path: Path) -> None:
    async def body() -> None:
        config = config_of(path, rehash_on_login=True)
        plugin = PasswordFile(config)
        async with trio.open_nursery() as nursery:
            apply = await plugin.prepare_reload(config, Settings())
            with service_of(plugin, nursery):
                alice = await log_in(plugin, "alice", b"secret")
                await until(lambda: isinstance(plugin._entries["alice"].hash, Argon2Hash))
                apply()
                assert plugin.recheck(alice) is None
                assert plugin._entries["alice"].hash == stored_in(path, "alice")
                assert await ask(plugin, "alice", b"secret") == Allow()

    run(body)


def test_a_password_that_was_changed_is_not_written_over(path: Path) -> None:
    """By `noctule passwd`, after the broker has read the file and before anybody has told it to read it again."""

    async def body() -> None:
        plugin = PasswordFile(config_of(path, rehash_on_login=True))
        set_password(path, "alice", pbkdf2(b"new"))
        text = text_of(path)
        async with trio.open_nursery() as nursery:
            with service_of(plugin, nursery):
                await log_in(plugin, "alice", b"secret")
                bob = await log_in(plugin, "bob", b"other", 2)  # one after the other: alice's turn is over then
                await until(lambda: isinstance(plugin._entries["bob"].hash, Argon2Hash))
                assert plugin.recheck(bob) is None
        assert text_of(path).splitlines()[0] == text.splitlines()[0]
        assert stored_in(path, "alice").matches(b"new")
        assert isinstance(plugin._entries["alice"].hash, Pbkdf2Hash)

    run(body)


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ({}, pbkdf2),
        ({"rehash_on_login": True}, argon2),
        ({"rehash_on_login": True}, lambda password: make_hash(password, argon2=Argon2Parameters(16, 1))),
    ],
)
def test_what_is_not_written_anew(path: Path, options: dict[str, bool], make: Callable[[bytes], PasswordHash]) -> None:
    async def body() -> None:
        set_password(path, "alice", make(b"secret"))
        inode = inode_of(path)
        plugin = PasswordFile(config_of(path, **options))
        await log_in(plugin, "alice", b"secret")
        assert plugin._rehashes.statistics().current_buffer_used == 0
        assert inode_of(path) == inode

    run(body)


def test_a_file_that_cannot_be_written(path: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture) -> None:
    failures = []

    def fail(path: Path, *arguments: object) -> bool:
        failures.append(path)
        raise PasswordFileError

    async def body() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        plugin = PasswordFile(config_of(path, rehash_on_login=True))
        async with trio.open_nursery() as nursery:
            with service_of(plugin, nursery):
                alice = await log_in(plugin, "alice", b"secret")
                await until(lambda: bool(caplog.messages))
                assert plugin.recheck(alice) is None
                assert await ask(plugin, "alice", b"secret") == Allow()
                assert plugin._rehashes.statistics().current_buffer_used == 0, "it does not rest"
                clock.jump(password_file._REHASH_REST_S)
                assert await ask(plugin, "alice", b"secret") == Allow()
                await until(lambda: len(caplog.messages) == 2)
        assert len(failures) == 2

    monkeypatch.setattr(password_file, "replace_hash", fail)
    content = path.read_bytes()
    run(body)
    assert path.read_bytes() == content
    assert caplog.messages[0].startswith("No hash is written anew for 600 s: ")


def test_what_waits_to_be_written_is_bounded(path: Path) -> None:
    async def body() -> None:
        plugin = PasswordFile(config_of(path, rehash_on_login=True))
        for number in range(password_file._REHASHES_MAX + 10):
            assert await ask(plugin, "alice", b"secret", number) == Allow()
        assert plugin._rehashes.statistics().current_buffer_used == password_file._REHASHES_MAX

    run(body)


# --- options, and what is shown --------------------------------------------------------------------------


def checked(folder: Path, **options: object) -> PasswordFileConfig | list[str]:
    positions = Positions({(): Place("noctule.toml", 1, folder=folder)})
    found = check_table(options, PasswordFileConfig, positions)
    return [str(problem) for problem in found] if isinstance(found, list) else found


def test_options(tmp_path: Path) -> None:
    config = checked(
        tmp_path, path="passwd", workers=3, max_waiting=0, cache_lifetime="1m", argon2_memory="46MiB", argon2_passes=1
    )
    assert isinstance(config, PasswordFileConfig)
    assert config.path == tmp_path / "passwd"
    assert (config.workers_now, config.waiting_max, config.cache_lifetime_s) == (3, 0, 60.0)
    assert config.argon2 == Argon2Parameters(46 * 1024, 1, 1)
    default = checked(tmp_path, path="passwd")
    assert isinstance(default, PasswordFileConfig)
    assert default.argon2 == Argon2Parameters()
    assert default.workers_now >= 1
    assert PasswordFile.Config is PasswordFileConfig


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, '"path" is missing: expected a path in quotes'),
        ({"path": "p", "workers": 0}, "workers: expected a whole number from 1 to 64; got 0"),
        ({"path": "p", "argon2_memory": "1GiB"}, "argon2_memory: expected a size"),
        ({"path": "p", "argon2_passes": 1_000}, "argon2 with 1000 passes over 19456 KiB: expected at most 1048576 KiB"),
        ({"path": "p", "argon2_memory": "8KiB", "argon2_lanes": 2}, "argon2 with 8 KiB of memory: expected 16 to "),
        ({"path": "p", "cache": 5}, "cache: unknown key"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, object], error: str) -> None:
    found = checked(tmp_path, **options)
    assert isinstance(found, list)
    assert len(found) == 1
    assert error in found[0]


def test_lines_that_say_nothing_are_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with path.open("a") as file:
        file.write("carol hunter2\n")
    PasswordFile(config_of(path))
    with path.open("a") as file:
        file.write("dave\n\nerin\n")
    PasswordFile(config_of(path))
    assert caplog.messages == [
        f"{path}:3: not looked at: no ':' in it, and no '#' in front.",
        f"{path}:3: not looked at (and 2 more): no ':' in it, and no '#' in front.",
    ]


def test_no_secret_is_shown(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        caplog.set_level(logging.DEBUG)
        plugin = PasswordFile(config_of(path, rehash_on_login=True))
        answers = [await ask(plugin, "alice", password) for password in (b"secret", b"hunter2", None)]
        waiting = plugin._rehashes.receive_nowait()
        shown = f"{answers} {waiting} {plugin._entries} {caplog.text}"
        for secret in ("hunter2", "secret", *text_of(path).replace(":", "$").split("$")):
            assert len(secret) < 10 or secret not in shown, secret
        assert "hunter2" not in shown
        assert "b'secret'" not in shown

    run(body)


def test_reading_waits_for_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "passwd")
    with pytest.raises(PluginError, match="is no file"):
        PasswordFile(config_of(tmp_path / "passwd"))
