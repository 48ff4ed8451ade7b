"""Passwords that were right a while ago, remembered by a keyed hash, so that clients that return cost no hashing."""

import hmac
import secrets
from collections import OrderedDict
from typing import Final

_KEY_BYTES: Final = 32


class LoginCache:
    """At most ``size`` logins that have succeeded, each for ``lifetime_s`` seconds; the oldest goes first.

    What is kept is HMAC-SHA256 over user name, password and the stored hash that the password was right for, under a
    key of this object alone: a changed hash finds nothing, and nothing can be guessed from a copy of the contents
    without the key. Time is the caller's, in seconds on any clock that does not run backwards.
    """

    __slots__ = ("_expires_at", "_key", "lifetime_s", "size")

    def __init__(self, size: int, lifetime_s: float) -> None:
        self.size = size
        self.lifetime_s = lifetime_s
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._expires_at: OrderedDict[bytes, float] = OrderedDict()  # in the order in which they were put in

    def __len__(self) -> int:
        return len(self._expires_at)

    def token(self, user_name: str, password: bytes, stored_hash: str) -> bytes:
        """What stands for this login in the cache."""
        name, stored = user_name.encode(), stored_hash.encode()
        # Each length first, so that no two logins read the same in a row.
        lengths = len(name).to_bytes(8, "big") + len(password).to_bytes(8, "big")
        return hmac.digest(self._key, lengths + name + password + stored, "sha256")

    def has(self, token: bytes, now: float) -> bool:
        """Whether this login has succeeded, not too long ago. It does not live longer for being asked about."""
        expires_at = self._expires_at.get(token)
        if expires_at is None:
            return False
        if expires_at <= now:
            del self._expires_at[token]
            return False
        return True

    def add(self, token: bytes, now: float) -> None:
        """Remember a login that has succeeded."""
        if self.size <= 0:
            return
        self._expires_at.pop(token, None)
        while len(self._expires_at) >= self.size:
            self._expires_at.popitem(last=False)
        self._expires_at[token] = now + self.lifetime_s

    def resize(self, size: int, lifetime_s: float) -> None:
        """Other bounds from now on. With another lifetime all is forgotten, which had been given the old one."""
        if lifetime_s != self.lifetime_s:
            self._expires_at.clear()
        self.size, self.lifetime_s = size, lifetime_s
        while len(self._expires_at) > max(size, 0):
            self._expires_at.popitem(last=False)
