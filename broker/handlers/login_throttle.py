"""Failed logins counted by address and by user name: who has failed too often is refused before anything is checked."""

import ipaddress
from typing import Final

#: Addresses and user names that are remembered; with more, the oldest are forgotten.
_REMEMBERED_MAX: Final = 10_000

#: Pairs of address and user name that have logged in, and so are not held up by others' guesses at the user's name.
_KNOWN_MAX: Final = 10_000

_MINUTE_S: Final = 60.0

#: What times that are not whole may add up to.
_ROUNDING: Final = 1e-9


class LoginThrottle:
    """A bucket of failures for each address (of IPv6: each network of 64 bits) and each user name.

    A bucket that is full lets nobody try until it has leaked: one failure in a minute divided by its size. Who
    guesses at a user's password from everywhere fills the bucket of the user; whoever has logged in as that user
    from the same address before is let through all the same. Where there is no address (a unix socket) there is
    nothing to tell one client from another by, and the user's bucket alone counts.
    """

    def __init__(self) -> None:
        self._by_address: dict[str, tuple[float, float]] = {}
        self._by_user: dict[str, tuple[float, float]] = {}
        self._known: dict[tuple[str, str], None] = {}

    def refuses(self, address: str, user_name: str | None, per_address: int, per_user: int, now: float) -> bool:
        """Whether a login is refused without a look at it. Limits are failures in a minute; 0: no limit."""
        if per_address and address and _is_full(self._by_address, network_of(address), per_address, now):
            return True
        if not per_user or user_name is None or (network_of(address), user_name) in self._known:
            return False
        return _is_full(self._by_user, user_name, per_user, now)

    def failed(self, address: str, user_name: str | None, per_address: int, per_user: int, now: float) -> None:
        """Count a login that was refused."""
        if per_address and address:
            _add(self._by_address, network_of(address), per_address, now)
        if per_user and user_name is not None:
            _add(self._by_user, user_name, per_user, now)
            self._known.pop((network_of(address), user_name), None)

    def succeeded(self, address: str, user_name: str | None) -> None:
        """Remember that this user has logged in from there."""
        if user_name is None:
            return
        known = (network_of(address), user_name)
        self._known.pop(known, None)
        self._known[known] = None
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]


def network_of(address: str) -> str:
    """What one attacker has: an address of version 4, a network of 64 bits of version 6."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))


def _level(buckets: dict[str, tuple[float, float]], key: str, size: int, now: float) -> float:
    level, at = buckets.get(key, (0.0, now))
    return max(0.0, level - (now - at) * size / _MINUTE_S)


def _is_full(buckets: dict[str, tuple[float, float]], key: str, size: int, now: float) -> bool:
    """Whether it has no room for one more failure, a whole one."""
    return _level(buckets, key, size, now) + 1.0 > size + _ROUNDING


def _add(buckets: dict[str, tuple[float, float]], key: str, size: int, now: float) -> None:
    level = _level(buckets, key, size, now) + 1.0
    buckets.pop(key, None)  # the newest stand at the end
    buckets[key] = (min(level, float(size)), now)
    if len(buckets) > _REMEMBERED_MAX:
        del buckets[next(iter(buckets))]
