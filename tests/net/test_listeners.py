"""Listeners: which addresses they open, what they say where they cannot, and an accept loop that nothing ends."""

import errno
import logging
import socket
from collections.abc import Iterator

import pytest
import trio
from net.stream_clients import run_mocked
from noctule.config import limits
from noctule.config.settings import ListenerSettings
from noctule.core.origin import Origin
from noctule.net.listeners import Acceptor, ListenError, open_listeners, url_of


@pytest.fixture
def listening() -> Iterator["CountedSocket"]:
    with CountedSocket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        bound.setblocking(False)
        yield bound


class CountedSocket(socket.socket):
    """A listening socket whose ``accept`` fails as often as it is told to."""

    failures: list[int]
    accepts = 0

    def __init__(self) -> None:
        super().__init__()
        self.failures = []

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.accepts += 1
        if self.failures:
            code = self.failures.pop(0)
            raise OSError(code, errno.errorcode[code])
        return super().accept()


def open_one(host: str, port: int = 0) -> list[socket.socket]:
    return trio.run(open_listeners, ListenerSettings(host, port))


def test_port_0_is_a_free_port() -> None:
    (bound,) = open_one("127.0.0.1")
    with bound:
        host, port = bound.getsockname()
        assert host == "127.0.0.1"
        assert port > 0
        assert not bound.getblocking()
        assert url_of(bound) == f"mqtt://127.0.0.1:{port}"


def test_an_ipv6_address_stands_in_brackets() -> None:
    class BoundToIpv6(socket.socket):  # which not every machine can do
        family = socket.AF_INET6

        def getsockname(self) -> tuple[str, int, int, int]:
            return ("::1", 1883, 0, 0)

    with BoundToIpv6() as bound:
        assert url_of(bound) == "mqtt://[::1]:1883"


def test_no_host_is_every_address_on_one_port() -> None:
    opened = open_one("")
    try:
        assert len({bound.getsockname()[1] for bound in opened}) == 1
        assert len({bound.family for bound in opened}) == len(opened)
    finally:
        for bound in opened:
            bound.close()


def test_an_address_in_use_is_told_with_its_reason() -> None:
    (bound,) = open_one("127.0.0.1")
    with bound:
        port = bound.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}.*another program"):
            open_one("127.0.0.1", port)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1.*does not have that address"):
        open_one("192.0.2.1")


def test_a_name_without_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*arguments: object, **keywords: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", fail)
    with pytest.raises(ListenError, match=r"nowhere\.example: Name or service not known"):
        open_one("nowhere.example")


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS], ids=errno.errorcode.get)
def test_accepting_goes_on_when_descriptors_are_back(
    listening: CountedSocket, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """R21: rest, not spin, and lose nobody."""
    listening.failures = [code] * 3
    adopted: list[str] = []

    def adopt(connected: socket.socket, peer: str, origin: Origin) -> None:
        connected.close()
        adopted.append(peer)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Acceptor(listening, ListenerSettings(), adopt).run)
            client = await trio.open_tcp_stream(*listening.getsockname())
            await trio.sleep(2.5 * limits.ACCEPT_RETRY_S)
            assert adopted == []
            assert listening.accepts == 3
            await trio.sleep(limits.ACCEPT_RETRY_S)
            host, port = client.socket.getsockname()
            assert adopted == [f"{host}:{port}"]
            await client.aclose()
            nursery.cancel_scope.cancel()

    run_mocked(main)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1  # and no more for a while


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM], ids=errno.errorcode.get)
def test_a_connection_that_is_gone_before_it_is_accepted_is_nobodys_error(
    listening: CountedSocket, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    listening.failures = [code]
    acceptor = Acceptor(listening, ListenerSettings(), lambda connected, peer, origin: connected.close())
    with socket.create_connection(listening.getsockname()):
        assert acceptor.accept_waiting()
        assert acceptor.accept_waiting()
    assert listening.accepts >= 3
    assert caplog.records == []


def test_a_connection_that_cannot_be_taken_over_is_closed_and_the_next_is_accepted(
    listening: CountedSocket, caplog: pytest.LogCaptureFixture
) -> None:
    peers: list[str] = []

    def adopt(connected: socket.socket, peer: str, origin: Origin) -> None:
        peers.append(peer)
        if len(peers) == 1:
            raise OSError(errno.ENOSPC, "no more watches")
        connected.close()

    with socket.create_connection(listening.getsockname()) as first, socket.create_connection(listening.getsockname()):
        assert Acceptor(listening, ListenerSettings(), adopt).accept_waiting()
        assert first.recv(1) == b""
    assert len(peers) == 2
    (record,) = caplog.records
    assert peers[0] in record.getMessage()


def test_a_burst_leaves_time_for_the_others(listening: CountedSocket) -> None:
    taken: list[socket.socket] = []
    acceptor = Acceptor(listening, ListenerSettings(), lambda connected, peer, origin: taken.append(connected))
    clients = [socket.create_connection(listening.getsockname()) for _ in range(limits.ACCEPT_BURST + 5)]
    assert acceptor.accept_waiting()
    assert len(taken) == limits.ACCEPT_BURST
    assert acceptor.accept_waiting()
    assert len(taken) == limits.ACCEPT_BURST + 5
    for one in (*taken, *clients):
        one.close()
