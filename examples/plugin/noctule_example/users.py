"""Lets in who is in a small TOML file, by the ``authenticate`` hook.

The file has a line for each user, ``ann = "scrypt$SALT$HASH"``; ``python -m noctule_example.users`` makes one.
"""

import getpass
import hashlib
import hmac
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tomli
import trio
from noctule.api import Allow, Client, Credentials, Deny, Option, PluginError, Settings, Verdict, hookimpl


@dataclass(frozen=True, slots=True)
class UsersConfig:
    """The options below ``[plugins.example_users]``."""

    file: Annotated[Path, Option("The file with the users.")]
    checks_at_once: Annotated[int, Option("Passwords that are checked at one time.", minimum=1, maximum=64)] = 2


class Users:
    """The plugin. It reads its file when it is made: a broker does not start without it."""

    #: The broker reads and checks these, and makes the plugin with them.
    Config = UsersConfig

    def __init__(self, config: UsersConfig) -> None:
        self._users = read_users(config.file)
        self._limiter = trio.CapacityLimiter(config.checks_at_once)

    @hookimpl
    async def authenticate(self, client: Client, credentials: Credentials) -> Verdict | None:
        """Let in who knows the password."""
        del client
        if credentials.user_name is None or credentials.password is None:
            return None  # somebody else may know what to do with it; if nobody does, that is a refusal
        stored = self._users.get(credentials.user_name, NOBODYS)  # who is not there takes as long
        # In a worker thread: the broker does nothing else while a hook works without awaiting.
        is_right = await trio.to_thread.run_sync(
            matches, credentials.password, stored, limiter=self._limiter, abandon_on_cancel=True
        )
        return Allow() if is_right and stored is not NOBODYS else Deny("wrong user name or password")

    @hookimpl
    async def prepare_reload(self, config: UsersConfig, settings: Settings) -> Callable[[], None]:
        """Read the file again. It takes effect only when every other plugin is ready too."""
        del settings
        users = await trio.to_thread.run_sync(read_users, config.file)

        def take_effect() -> None:
            self._users = users
            self._limiter.total_tokens = config.checks_at_once

        return take_effect

    @hookimpl
    def recheck(self, client: Client) -> Deny | None:
        """After a reload, end the connections of users that are gone."""
        if client.user_name is None or client.user_name in self._users:
            return None
        return Deny("this user has been removed")


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of a password."""

    salt: bytes
    hash: bytes


#: In place of a user who is not there.
NOBODYS = Stored(bytes(16), bytes(64))


def hashed(password: bytes, salt: bytes) -> bytes:
    """The hash of a password; it takes some 30 ms and 16 MiB, so that guessing does too."""
    return hashlib.scrypt(password, salt=salt, n=2**14, r=8, p=1)


def matches(password: bytes, stored: Stored) -> bool:
    """Whether it is this password, in the same time whatever of it is wrong."""
    return hmac.compare_digest(hashed(password, stored.salt), stored.hash)


def line_for(user_name: str, password: bytes) -> str:
    """The line of a user."""
    salt = secrets.token_bytes(16)
    return f'"{user_name}" = "scrypt${salt.hex()}${hashed(password, salt).hex()}"'


def read_users(path: Path) -> Mapping[str, Stored]:
    """The users of a file. PluginError, the operator's fault, names the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            lines = tomli.load(file)
    except OSError as error:
        raise PluginError(f"{path}: {error.strerror or error}") from error
    except tomli.TOMLDecodeError as error:
        raise PluginError(f"{path}: {error}") from error
    return {name: _stored(path, name, text) for name, text in lines.items()}


def _stored(path: Path, name: str, text: object) -> Stored:
    kind, salt, digest = [*str(text).split("$"), "", ""][:3]
    try:
        stored = Stored(bytes.fromhex(salt), bytes.fromhex(digest))
    except ValueError:
        stored = Stored(b"", b"")
    if kind != "scrypt" or not stored.salt or len(stored.hash) != 64:
        raise PluginError(
            f"{path}: user {name}: expected scrypt$SALT$HASH, as python -m noctule_example.users makes it"
        )
    return stored


if __name__ == "__main__":
    print(line_for(input("User: "), getpass.getpass().encode()), file=sys.stdout)
