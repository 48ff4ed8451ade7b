"""SRV records: the order in which servers are tried, and the lookup against a name server on this machine."""

import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio
import trio.socket
from noctule.cli.connection_options import ConnectionOptions
from noctule.cli.service_records import ServiceRecord, in_order, look_up
from noctule.client import UnreachableError
from noctule.testing.running import RunningBroker

DOMAIN = "example.org"


@asynccontextmanager
async def name_server(**records: list[str]) -> AsyncIterator[dns.asyncresolver.Resolver]:
    """What asks a name server on loopback that knows these records (``mqtt="_mqtt._tcp"``) and no others."""
    known = {f"_{name.replace('_', '-')}._tcp.{DOMAIN}.": texts for name, texts in records.items()}
    bound = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await bound.bind(("127.0.0.1", 0))

    async def answer() -> None:
        while True:
            data, who = await bound.recvfrom(4_096)
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            name = str(query.question[0].name)
            if name in known:
                response.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", *known[name]))
            else:
                response.set_rcode(dns.rcode.NXDOMAIN)
            await bound.sendto(response.to_wire(), who)

    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = bound.getsockname()[1]
    with bound:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            yield resolver
            nursery.cancel_scope.cancel()


def test_lowest_priority_first_and_then_by_weight() -> None:
    last = ServiceRecord(20, 100, 1, "last")
    often, seldom, never = (ServiceRecord(10, weight, 1, f"w{weight}") for weight in (90, 10, 0))
    chance = random.Random(7)
    first: Counter[str] = Counter()
    for _ in range(2_000):
        ordered = in_order([last, often, never, seldom], chance)
        assert ordered[-1] == last
        assert sorted(record.host for record in ordered) == ["last", "w0", "w10", "w90"]
        first[ordered[0].host] += 1
    assert 1_700 < first["w90"] < 1_900
    assert 0 < first["w0"] < 60
    assert in_order([], chance) == []


def test_a_domain_with_servers() -> None:
    async def main() -> list[ServiceRecord]:
        async with name_server(mqtt=["20 0 1884 b.example.org.", "10 0 1883 a.example.org."]) as resolver:
            return await look_up(DOMAIN, uses_tls=False, resolver=resolver)

    assert trio.run(main) == [
        ServiceRecord(10, 0, 1883, "a.example.org"),
        ServiceRecord(20, 0, 1884, "b.example.org"),
    ]


@pytest.mark.parametrize(
    ("uses_tls", "complaint"),
    [(True, r"no SRV record _secure-mqtt\._tcp\.example\.org"), (False, "has no such server")],
    ids=["no record", "the record says no"],
)
def test_a_domain_without(uses_tls: bool, complaint: str) -> None:
    async def main() -> None:
        async with name_server(mqtt=["0 0 0 ."]) as resolver:
            with pytest.raises(UnreachableError, match=complaint):
                await look_up(DOMAIN, uses_tls=uses_tls, resolver=resolver)

    trio.run(main)


def test_the_next_server_where_one_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the domain's servers is not there, so the second is connected to."""

    async def main(port: int) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and nobody listens
            gone = closed.getsockname()[1]
            async with name_server(mqtt=[f"10 0 {gone} localhost.", f"20 0 {port} localhost."]) as resolver:
                monkeypatch.setattr(dns.asyncresolver, "Resolver", lambda: resolver)
                options = ConnectionOptions("pub", host=DOMAIN, is_by_service_record=True)
                async with options.connect() as client:
                    await client.publish("t", b"x", qos=1)

    with RunningBroker() as broker:
        trio.run(main, broker.port)
