"""Where a domain says that its MQTT server is: SRV records (RFC 2782), for ``-S``."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio
from noctule.cli.outcome import UsageError
from noctule.client import UnreachableError

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

_LOOKUP_MAX_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One server of a domain: of those with the lowest priority one is chosen by weight first."""

    priority: int
    weight: int
    port: int
    host: str


async def look_up(domain: str, *, uses_tls: bool, resolver: "Resolver | None" = None) -> list[ServiceRecord]:
    """The servers of a domain, in the order to try them.

    The names are those that Mosquitto's tools ask for: ``_mqtt._tcp`` and, with TLS, ``_secure-mqtt._tcp``.
    UnreachableError where there are none; UsageError where dnspython is not installed.
    """
    try:
        import dns.asyncresolver
        import dns.exception
    except ImportError:
        raise UsageError("SRV lookups (-S) need dnspython: pip install 'noctule[srv]'.") from None
    name = f"{'_secure-mqtt' if uses_tls else '_mqtt'}._tcp.{domain}"
    try:
        asked = resolver if resolver is not None else dns.asyncresolver.Resolver()
        with trio.fail_after(_LOOKUP_MAX_S):
            answer = await asked.resolve(name, "SRV", lifetime=_LOOKUP_MAX_S)
    except (dns.exception.DNSException, trio.TooSlowError, OSError) as error:
        raise UnreachableError(f"there is no SRV record {name}: {str(error) or 'no answer in time'}") from None
    found = [ServiceRecord(one.priority, one.weight, one.port, str(one.target).rstrip(".")) for one in answer]
    usable = [record for record in found if record.host]  # a target of "." says that there is no such service
    if not usable:
        raise UnreachableError(f"{name} says that {domain} has no such server")
    return in_order(usable, random.Random())  # noqa: S311 it spreads load


def in_order(records: Iterable[ServiceRecord], chance: random.Random) -> list[ServiceRecord]:
    """By priority, and among equals at random by their weights (RFC 2782, "weight")."""
    remaining = sorted(records, key=lambda record: (record.priority, record.weight))
    ordered: list[ServiceRecord] = []
    while remaining:
        equals = [record for record in remaining if record.priority == remaining[0].priority]
        at = chance.randint(0, sum(record.weight for record in equals))
        for record in equals:
            at -= record.weight
            if at <= 0:
                break
        ordered.append(record)
        remaining.remove(record)
    return ordered
