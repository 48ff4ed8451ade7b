"""AnswerCache: answers for a while, found by a keyed hash of the question."""

import hashlib
import random
import secrets
from collections import OrderedDict
from typing import Final, Generic, TypeVar

Answer = TypeVar("Answer")

#: A lifetime is shortened by up to this part, so that what was asked at once is not asked again at once.
JITTER: Final = 0.2


class AnswerCache(Generic[Answer]):
    """A bounded number of answers; the one that was not used for longest makes room.

    Questions have passwords in them: kept are their hashes, with a key that no other process has.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def key(self, *parts: str | bytes | None) -> bytes:
        """The hash of a question; every part counts with its length, and None is not the empty text."""
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            if part is None:
                digest.update(b"-")
                continue
            data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
            digest.update(b"+%d:" % len(data))
            digest.update(data)
        return digest.digest()

    def find(self, key: bytes, now: float) -> tuple[Answer, float] | None:
        """The answer and for how many seconds more it counts; None where there is none. Using it does not prolong it:
        who was let in once is asked about again."""
        found = self._entries.get(key)
        if found is None:
            return None
        ends_at, answer = found
        if now >= ends_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return answer, ends_at - now

    def store(self, key: bytes, answer: Answer, lifetime_s: float, now: float) -> float:
        """Keep an answer for at most ``lifetime_s``; for how long it is, which is 0 where it is not kept."""
        lifetime_s *= 1 - random.uniform(0, JITTER)  # noqa: S311
        self._entries.pop(key, None)
        if lifetime_s <= 0 or self._entries_max == 0:
            return 0.0
        while len(self._entries) >= self._entries_max:
            self._entries.popitem(last=False)
        self._entries[key] = (now + lifetime_s, answer)
        return lifetime_s
