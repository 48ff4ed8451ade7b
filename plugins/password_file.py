"""Users and their passwords from a file, as mosquitto_passwd and ``noctule passwd`` write it.

What a stranger sees is the same whether there is a user or not: the answer, and the work before it. Hashing happens in
threads, as many as there are workers; who has logged in is remembered for a while, so that many clients that return at
once cost none.
"""

import logging
import math
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final

import trio
from noctule.api import (
    ARGON2_LANES_MAX,
    ARGON2_MEMORY_MAX_KIB,
    ARGON2_WORK_MAX_KIB,
    Allow,
    Argon2Parameters,
    Broker,
    Client,
    Counter,
    Credentials,
    Deny,
    Duration,
    HashingError,
    LoginCache,
    Metrics,
    Option,
    PasswordEntry,
    PasswordFileError,
    PasswordHash,
    Passwords,
    Place,
    PluginError,
    Problem,
    ReasonCode,
    Service,
    Settings,
    Size,
    UnknownUsers,
    hookimpl,
    is_weaker,
    make_hash,
    read_passwords,
    replace_hash,
)

_KIB: Final = 1024
_DEFAULT: Final = Argon2Parameters()

#: Passwords that wait to be hashed anew. What is too much is left for the next login.
_REHASHES_MAX: Final = 64

#: How long nothing is written anew after it has failed: the next one would fail too.
_REHASH_REST_S: Final = 600.0

#: Clients that have the right password and are not let in yet, and how long that may take: much longer than
#: ``connect_timeout``. Those that never are let in are only forgotten when there are too many.
_ENTERING_MAX: Final = 65_536
_ENTERING_S: Final = 60.0

_logger: Final = logging.getLogger("noctule.plugins.password_file")


@dataclass(frozen=True, slots=True)
class PasswordFileConfig:
    """The options of ``[plugins.password_file]``."""

    path: Annotated[
        Path,
        Option(
            "The file with the users, as mosquitto_passwd or `noctule passwd` writes it.",
            is_secret_file=True,
            example='"/etc/noctule/passwd"',
        ),
    ]
    workers: Annotated[
        int | None,
        Option(
            "Passwords that are hashed at once, each in a thread; not set: as many as there are processors, but one.",
            minimum=1,
            maximum=64,
            example="2",
        ),
    ] = None
    waiting_max: Annotated[
        int,
        Option(
            "Logins that wait, for each worker; those beyond are refused (server busy) and may try again.",
            key="max_waiting",
            minimum=0,
            unsafe_above=10_000,
        ),
    ] = 128  # about 4 s of hashing, and a decision may take 5
    cache_size: Annotated[
        int,
        Option(
            "Logins that are remembered, so that who returns is not hashed again; 0: none.",
            minimum=0,
            unsafe_above=1_000_000,
        ),
    ] = 10_000
    cache_lifetime_s: Annotated[
        Duration, Option("How long a login is remembered.", key="cache_lifetime", unsafe_above=7 * 86_400)
    ] = 3_600.0
    rehash_on_login: Annotated[
        bool,
        Option(
            "Write the hash of who logs in anew, as argon2id, where it is weaker than the options below ask for. The "
            "broker needs the right to write to the file and its folder."
        ),
    ] = False
    argon2_memory: Annotated[
        Size,
        Option(
            "Memory of an argon2id hash that is written.",
            minimum=8 * _KIB,
            maximum=ARGON2_MEMORY_MAX_KIB * _KIB,
        ),
    ] = _DEFAULT.memory_kib * _KIB
    argon2_passes: Annotated[int, Option("Passes over that memory.", minimum=1, maximum=ARGON2_WORK_MAX_KIB // 8)] = (
        _DEFAULT.passes
    )
    argon2_lanes: Annotated[
        int, Option("Lanes of an argon2id hash that is written.", minimum=1, maximum=ARGON2_LANES_MAX)
    ] = _DEFAULT.lanes

    def __post_init__(self) -> None:
        _ = self.argon2  # ValueError where the three do not go together

    @property
    def argon2(self) -> Argon2Parameters:
        """What a hash that is written is to be."""
        return Argon2Parameters(self.argon2_memory // _KIB, self.argon2_passes, self.argon2_lanes)

    @property
    def workers_now(self) -> int:
        """How many workers that is on this machine."""
        if self.workers is not None:
            return self.workers
        return max(1, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else 1)


class PasswordFile:
    """The plugin. PluginError where the file cannot be used, with all that is wrong with it."""

    Config = PasswordFileConfig

    def __init__(self, config: PasswordFileConfig) -> None:
        self._config = config
        self._limiter = trio.CapacityLimiter(config.workers_now)
        self._cache = LoginCache(config.cache_size, config.cache_lifetime_s)
        self._comparisons: dict[bytes, _Comparison] = {}
        self._logins = _Logins()

        self._entries: dict[str, PasswordEntry] = {}
        #: How many lines of the file say nothing.
        self._ignored_lines = 0
        #: The count of reloads when a user's line came or became another; not in it: it was there at the start.
        self._changed_in: dict[str, int] = {}
        self._reloads = 0
        #: The hash that a user's had before we wrote another one for the same password.
        self._rehashed: dict[str, str] = {}

        self._to_rehash, self._rehashes = trio.open_memory_channel[_Rehash](_REHASHES_MAX)
        #: Held while file and memory say different things, and while the file is read.
        self._writing = trio.Lock()
        self._rehash_limiter = trio.CapacityLimiter(1)
        self._rehash_again_at = -math.inf

        self.add_metrics(Metrics())  # its own until the broker has one

        passwords, self._unknown = _read(config)
        self._take(passwords)

    # --- hooks -------------------------------------------------------------------------------

    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Allow | Deny | None:
        """Whether the password is the user's. None for a client without user name: this plugin knows nothing of it."""
        user_name, password = credentials.user_name, credentials.password
        if user_name is None:
            return None
        if password is None:
            return Deny("a user name without a password")
        try:
            entry = await self._find(user_name, password)
        except _BusyError:
            self._refused_busy.add()
            return Deny("too many logins wait for a worker", ReasonCode.SERVER_BUSY)
        except HashingError as error:
            return Deny(f"the password could not be compared: {error}", ReasonCode.SERVER_BUSY)
        if entry is None:
            known = user_name in self._entries
            return Deny("a wrong password" if known else "an unknown user")
        if not self._logins.enter(client, self._changed_in.get(user_name, 0), trio.current_time()):
            self._refused_busy.add()
            return Deny("too many clients are about to be let in", ReasonCode.SERVER_BUSY)
        self._consider_rehash(entry, password)
        return Allow()

    @hookimpl
    def client_connected(self, client: Client) -> None:
        """The client is in: what it logged in with is known as long as it is."""
        self._logins.connect(client)

    @hookimpl
    def client_disconnected(self, client: Client, reason: str) -> None:  # noqa: ARG002
        """It is gone."""
        self._logins.disconnect(client)

    @hookimpl
    def recheck(self, client: Client) -> Deny | None:
        """Deny for a client whose user is gone, or has another password now. None for those let in by another."""
        logged_in = self._logins.find(client)
        if logged_in is None or client.user_name is None:
            return None
        if client.user_name not in self._entries:
            return Deny("the user is not in the password file any more")
        if self._changed_in.get(client.user_name, 0) != logged_in:
            return Deny("the user's line in the password file has changed")
        return None

    @hookimpl
    async def prepare_reload(self, config: PasswordFileConfig, settings: Settings) -> Callable[[], None]:  # noqa: ARG002
        """Read the file again, all of it or PluginError; what comes back takes it over."""
        async with self._writing:
            # Reading changes nothing, so a reload that is given up may leave the thread to itself.
            passwords, unknown = await trio.to_thread.run_sync(
                _read, config, self._unknown.secret, abandon_on_cancel=True
            )
        self._refuse_what_is_cut_off(config.path, passwords)

        def apply() -> None:
            self._config = config
            self._limiter.total_tokens = config.workers_now
            self._cache.resize(config.cache_size, config.cache_lifetime_s)
            self._rehash_again_at = -math.inf
            self._reloads += 1
            self._unknown = unknown
            before = self._entries
            self._take(passwords)
            _logger.info("Read %s again: %s", config.path, self._told_against(before))

        return apply

    @hookimpl
    def add_services(self, broker: Broker) -> Sequence[Service]:  # noqa: ARG002
        """The task that writes hashes anew."""
        return (Service(f"hashes of {self._config.path}", self._rehash),)

    @hookimpl
    def add_metrics(self, metrics: Metrics) -> None:
        """How much was hashed. Several password files count together."""
        self._hashed = _counter(metrics, "password_file_hashes_total", "Passwords that were hashed to be compared.")
        self._remembered = _counter(
            metrics, "password_file_remembered_total", "Logins that needed no hashing: the same one was remembered."
        )
        self._refused_busy = _counter(
            metrics, "password_file_busy_total", "Logins refused because too many others were waiting."
        )

    # --- comparing -------------------------------------------------------------------------------

    async def _find(self, user_name: str, password: bytes) -> PasswordEntry | None:
        """The entry that this is the password of; None where there is none. As much work in both cases.

        _BusyError and HashingError where it cannot be told.
        """
        while True:
            entry, changed_in = self._entries.get(user_name), self._changed_in.get(user_name)
            unknown = self._unknown.hash_of(user_name)  # also for nothing, so that it takes the same time
            stored = unknown if entry is None else entry.hash
            token = self._cache.token(user_name, password, "" if entry is None else entry.hash_text)
            is_remembered = self._cache.has(token, trio.current_time())
            if is_remembered:
                self._remembered.add()
            matches = is_remembered or await self._compare(token, stored, password)
            current = self._entries.get(user_name)
            if (current is None) is not (entry is None) or self._changed_in.get(user_name) != changed_in:
                continue  # a reload came in between: what was found counts no more
            if not matches or entry is None:
                return None
            if not is_remembered:
                self._cache.add(token, trio.current_time())
            return current

    async def _compare(self, token: bytes, stored: PasswordHash, password: bytes) -> bool:
        """Whether the hash is the password's. The same one asked for by many at once is computed once."""
        while (running := self._comparisons.get(token)) is not None:
            await running.done.wait()
            if running.matches is not None:
                return running.matches
        if len(self._comparisons) >= self._limiter.total_tokens * (1 + self._config.waiting_max):
            raise _BusyError
        running = self._comparisons[token] = _Comparison()
        try:
            # A client that goes, or a deadline, ends the wait and not the thread. That does no harm: it changes
            # nothing, is soon done, and keeps its place among the workers until it is.
            running.matches = await trio.to_thread.run_sync(
                stored.matches, password, abandon_on_cancel=True, limiter=self._limiter
            )
        finally:
            # Without a result those who wait for it try themselves, one after the other.
            del self._comparisons[token]
            running.done.set()
        self._hashed.add()
        return running.matches

    # --- what the file says -------------------------------------------------------------------------

    def _told_against(self, before: Mapping[str, PasswordEntry]) -> str:
        """What is in the file now, and what of it is different."""
        added, gone = (
            len(one.keys() - other.keys()) for one, other in ((self._entries, before), (before, self._entries))
        )
        changed = sum(count == self._reloads for count in self._changed_in.values()) - added
        different = (f"{added} new", added), (f"{changed} with another password", changed), (f"{gone} gone", gone)
        told = ", ".join(text for text, count in different if count)
        number = len(self._entries)
        return f"{number} user{'' if number == 1 else 's'}{f'; {told}' if told else ', as before'}"

    def _refuse_what_is_cut_off(self, path: Path, passwords: Passwords) -> None:
        """PluginError for a file that has lost all users, or has got lines that say nothing, since it was last taken:
        somebody is writing it, or was kept from writing all of it."""
        if self._entries and not passwords.entries:
            text = (
                f"no users any more, {len(self._entries)} before; while it runs, the broker keeps the last one (a "
                "restart takes the file as it is)"
            )
            raise PluginError(Problem(Place(str(path), 1), "", text).line("error"))
        if len(passwords.ignored_lines) > self._ignored_lines:
            text = "no ':' in it, and no '#' in front; expected user:hash, or a comment"
            problems = (Problem(Place(str(path), number), "", text) for number in passwords.ignored_lines)
            raise PluginError("\n".join(problem.line("error") for problem in problems))

    def _take(self, passwords: Passwords) -> None:
        """Go by this from now on."""
        before, entries = self._entries, dict(passwords.entries)
        for user_name, entry in entries.items():
            known = before.get(user_name)
            if known is None or entry.hash_text not in (known.hash_text, self._rehashed.get(user_name)):
                if self._reloads:
                    self._changed_in[user_name] = self._reloads
                self._rehashed.pop(user_name, None)
            elif entry.hash_text != known.hash_text:
                entries[user_name] = known  # read before we wrote it anew, and the same password
        for forgotten in (self._changed_in, self._rehashed):
            for user_name in forgotten.keys() - entries.keys():
                del forgotten[user_name]
        self._entries = entries
        self._ignored_lines = len(passwords.ignored_lines)
        if not entries:
            _logger.warning("%s: has no users: nobody can log in by it", self._config.path)
        if passwords.ignored_lines:
            first, *others = passwords.ignored_lines
            also = f" (and {len(others)} more)" if others else ""
            _logger.warning(
                "%s:%d: not looked at%s: no ':' in it, and no '#' in front.", self._config.path, first, also
            )

    # --- hashes that are written anew -----------------------------------------------------------------

    def _consider_rehash(self, entry: PasswordEntry, password: bytes) -> None:
        if not self._config.rehash_on_login or trio.current_time() < self._rehash_again_at:
            return
        if is_weaker(entry.hash, self._config.argon2):
            with suppress(trio.WouldBlock):  # then with the next login
                self._to_rehash.send_nowait(_Rehash(entry.user_name, entry.hash_text, password))

    async def _rehash(self) -> None:
        """Write the hashes anew that ``authenticate`` has asked for, one after the other."""
        async for wanted in self._rehashes:
            async with self._writing:
                entry = self._entries.get(wanted.user_name)
                if entry is None or entry.hash_text != wanted.hash_text:
                    continue  # done already, or another password meanwhile
                if trio.current_time() < self._rehash_again_at:
                    continue
                try:
                    # To its end whatever happens: file and memory are to say the same.
                    stored = await trio.to_thread.run_sync(
                        _write_anew, self._config, wanted, limiter=self._rehash_limiter
                    )
                except (PasswordFileError, HashingError) as error:
                    self._rehash_again_at = trio.current_time() + _REHASH_REST_S
                    _logger.warning("No hash is written anew for %.0f s: %s", _REHASH_REST_S, error)
                    continue
                entry = self._entries.get(wanted.user_name)
                if stored is not None and entry is not None and entry.hash_text == wanted.hash_text:
                    self._take_rehashed(entry, stored, wanted.password)

    def _take_rehashed(self, entry: PasswordEntry, stored: PasswordHash, password: bytes) -> None:
        """The file has another hash of the same password: nobody who is logged in is to notice."""
        self._rehashed[entry.user_name] = entry.hash_text
        anew = replace(entry, hash=stored, hash_text=str(stored))
        self._entries[entry.user_name] = anew
        self._unknown.replace(entry.hash, stored)
        self._cache.add(self._cache.token(entry.user_name, password, anew.hash_text), trio.current_time())


@dataclass(slots=True)
class _Comparison:
    """One that is being computed, and who waits for it."""

    done: trio.Event = field(default_factory=trio.Event)
    matches: bool | None = None


@dataclass(frozen=True, slots=True)
class _Rehash:
    """A password whose hash is to be written anew."""

    user_name: str
    hash_text: str = field(repr=False)
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Entering:
    """The right password was given, when, and under which line."""

    line: int
    at: float


@dataclass(slots=True)
class _Connected:
    """A line, and how many connections look the same: while one is taken over there are two."""

    line: int
    count: int = 0


class _BusyError(Exception):
    """Too many wait already."""


class _Logins:
    """Which line of its user each client has logged in under, by the count of reloads when that line came.

    Before a client is let in its identifier may not be known; then it is told by its address, listener and user name.
    Where several have all that in common (a unix socket) the earliest line counts for all of them.
    """

    __slots__ = ("_connected", "_entering", "_entering_count")

    def __init__(self) -> None:
        #: In the order of the last login of each; the logins of each in their own.
        self._entering: OrderedDict[tuple[str | None, ...], deque[_Entering]] = OrderedDict()
        self._entering_count = 0
        self._connected: dict[tuple[str | None, ...], _Connected] = {}

    def enter(self, client: Client, line: int, now: float) -> bool:
        """The client's password is right. False where there is no room to remember it."""
        key = _key_of(client)
        entering = self._entering.get(key)
        while entering and now - entering[0].at >= _ENTERING_S:
            self._drop(key, entering.popleft)
        while self._entering_count >= _ENTERING_MAX:
            oldest_key, oldest = next(iter(self._entering.items()))
            if now - oldest[-1].at < _ENTERING_S:
                return False
            while oldest:
                self._drop(oldest_key, oldest.popleft)
        self._entering.setdefault(key, deque()).append(_Entering(line, now))
        self._entering.move_to_end(key)
        self._entering_count += 1
        return True

    def connect(self, client: Client) -> None:
        """The client is let in; it does nothing for one that was let in by another."""
        key = _key_of(client)
        entering = self._entering.get(key)
        if entering is None:
            return
        # Which of several it is nobody knows: it gets the earliest line, and that stays for those who come after it.
        line = entering[0].line
        self._drop(key, entering.pop)
        connected = self._connected.setdefault((*key, client.client_id), _Connected(line))
        connected.count += 1

    def disconnect(self, client: Client) -> None:
        """The client is gone."""
        key = (*_key_of(client), client.client_id)
        connected = self._connected.get(key)
        if connected is not None:
            connected.count -= 1
            if connected.count == 0:
                del self._connected[key]

    def find(self, client: Client) -> int | None:
        """The line; None for a client that did not log in here."""
        key = _key_of(client)
        connected = self._connected.get((*key, client.client_id))
        if connected is not None:
            return connected.line
        entering = self._entering.get(key)
        return None if entering is None else entering[0].line

    def __len__(self) -> int:
        return self._entering_count + len(self._connected)

    def _drop(self, key: tuple[str | None, ...], pop: Callable[[], _Entering]) -> None:
        pop()
        self._entering_count -= 1
        if not self._entering[key]:
            del self._entering[key]


def _key_of(client: Client) -> tuple[str | None, ...]:
    return (client.peer, client.listener, client.user_name)


def _read(config: PasswordFileConfig, secret: bytes | None = None) -> tuple[Passwords, UnknownUsers]:
    """What the file says, and what it means for users that it does not name. PluginError with all that is wrong."""
    try:
        passwords = read_passwords(config.path)
    except PasswordFileError as error:
        raise PluginError(str(error)) from None
    hashes = (entry.hash for entry in passwords.entries.values())
    return passwords, UnknownUsers(config.argon2, hashes, secret)


def _write_anew(config: PasswordFileConfig, wanted: _Rehash) -> PasswordHash | None:
    """Give the user a new hash of the same password in the file; None where it has another one by now."""
    stored = make_hash(wanted.password, argon2=config.argon2)
    return stored if replace_hash(config.path, wanted.user_name, wanted.hash_text, stored) else None


def _counter(metrics: Metrics, name: str, text: str) -> Counter:
    """The counter of this name, made if there is none."""
    found = next((metric for metric in metrics if metric.name == name), None)
    return found if isinstance(found, Counter) else metrics.counter(name, text)
