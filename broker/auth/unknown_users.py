"""The work that is done for users that do not exist, so that nobody can tell by the time an answer takes."""

import hmac
import secrets
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from noctule.auth.password_hashes import Argon2Parameters, PasswordHash, blank_argon2_hash, blank_hash


class UnknownUsers:
    """The hashes to compare with for users that are not there; ``hashes`` are those of the users that are.

    Hashes may be of several kinds, and some take a hundred times as long as others. An unknown user gets the work of
    one of them by its name, the same one each time, and so that all kinds are as frequent among unknown users as among
    the others: how long the answer takes then does not tell which of the two somebody is. ``default`` is the work
    where there are no users at all. Who has the ``secret`` (None: a new one) can tell.
    """

    __slots__ = ("_bounds", "_counts", "_default", "_kinds", "secret")

    def __init__(
        self, default: Argon2Parameters, hashes: Iterable[PasswordHash] = (), secret: bytes | None = None
    ) -> None:
        self.secret = secrets.token_bytes(32) if secret is None else secret
        self._default = blank_argon2_hash(default)
        self._counts = Counter(blank_hash(stored) for stored in hashes)
        self._order()

    def hash_of(self, user_name: str) -> PasswordHash:
        """The one for a user of this name. That a password fits it means nothing."""
        if not self._kinds:
            return self._default
        number = int.from_bytes(hmac.digest(self.secret, user_name.encode(), "sha256")[:8], "big")
        return self._kinds[bisect_right(self._bounds, number % self._bounds[-1])]

    def replace(self, before: PasswordHash, now: PasswordHash) -> None:
        """One of the users that are there has another hash."""
        self._counts[blank_hash(before)] -= 1
        self._counts[blank_hash(now)] += 1
        self._order()

    def _order(self) -> None:
        self._counts = +self._counts  # without those that nobody has any more
        self._kinds = list(self._counts)
        self._bounds = list(accumulate(self._counts.values()))
