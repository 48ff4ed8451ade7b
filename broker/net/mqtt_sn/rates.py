"""How much of something may come in a second: token buckets, one for each address and one for all strangers."""

from collections import OrderedDict
from typing import Final

from noctule.config import limits

#: A bucket that has not been asked for so long is full again, and need not be remembered.
_FULL: Final = 1.0


class Bucket:
    """Lets ``per_s`` through in a second, and ``at_once`` at one time."""

    __slots__ = ("_at_once", "_level", "_per_s", "_since")

    def __init__(self, per_s: float, at_once: float, now: float) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._level = at_once
        self._since = now

    def take(self, now: float) -> bool:
        """Whether one more may pass."""
        self._level = min(self._at_once, self._level + (now - self._since) * self._per_s)
        self._since = now
        if self._level < _FULL:
            return False
        self._level -= 1.0
        return True


class Rates:
    """A bucket for each address, of as many addresses as are remembered: a forger must not make us remember all."""

    def __init__(
        self,
        per_s: float = limits.MQTT_SN_DATAGRAMS_PER_S,
        at_once: float = limits.MQTT_SN_DATAGRAMS_AT_ONCE,
        addresses_max: int = limits.MQTT_SN_ADDRESSES_MAX,
    ) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._addresses_max = addresses_max
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str, now: float) -> bool:
        """Whether one more datagram of this address may pass."""
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= self._addresses_max:
                self._buckets.popitem(last=False)
            bucket = self._buckets[address] = Bucket(self._per_s, self._at_once, now)
        else:
            self._buckets.move_to_end(address)
        return bucket.take(now)
