"""Listeners: which addresses they open, what they say where they cannot, and an accept loop that nothing ends."""

import errno
import logging
import socket
from collections.abc import Iterator

import pytest
import trio
from net.stream_clients import run_mocked
from noctule.config import limits
from noctule.config.settings import ListenerLimits, ListenerSettings, TcpSettings
from noctule.net.acceptor import Acceptor
from noctule.net.entrance import Arrival, Entrance
from noctule.net.listeners import ListenError, Listening, open_listeners, url_of


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


def open_one(host: str, port: int = 0, tcp: TcpSettings | None = None) -> list[Listening]:
    return trio.run(open_listeners, ListenerSettings(host, port, tcp=tcp or TcpSettings()))


def accept(acceptor: Acceptor) -> float:
    """One burst: how long to rest then."""

    async def main() -> float:
        return acceptor.accept_waiting()

    return trio.run(main)


def anywhere(**limits_of_it: int) -> Entrance:
    return Entrance(ListenerSettings(limits=ListenerLimits(**limits_of_it)))


def test_port_0_is_a_free_port() -> None:
    (listening,) = open_one("127.0.0.1")
    with listening.socket as bound:
        host, port = bound.getsockname()
        assert host == "127.0.0.1"
        assert port > 0
        assert not bound.getblocking()
        assert listening.url == f"mqtt://127.0.0.1:{port}"


def test_an_ipv6_address_stands_in_brackets() -> None:
    class BoundToIpv6(socket.socket):  # which not every machine can do
        family = socket.AF_INET6

        def getsockname(self) -> tuple[str, int, int, int]:
            return ("::1", 1883, 0, 0)

    with BoundToIpv6() as bound:
        assert url_of(bound, ListenerSettings()) == "mqtt://[::1]:1883"


def test_no_host_is_every_address_on_one_port() -> None:
    opened = open_one("")
    try:
        assert len({one.socket.getsockname()[1] for one in opened}) == 1
        assert len({one.socket.family for one in opened}) == len(opened)
    finally:
        for one in opened:
            one.close()


def test_an_address_in_use_is_told_with_its_reason() -> None:
    (listening,) = open_one("127.0.0.1")
    with listening.socket as bound:
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

    def adopt(connected: socket.socket, arrival: Arrival) -> None:
        connected.close()
        adopted.append(arrival.peer)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Acceptor(listening, anywhere(), adopt).run)
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
    acceptor = Acceptor(listening, anywhere(), lambda connected, arrival: connected.close())
    with socket.create_connection(listening.getsockname()):
        assert accept(acceptor) == 0
        assert accept(acceptor) == 0
    assert listening.accepts >= 3
    assert caplog.records == []


def test_a_connection_that_cannot_be_taken_over_is_closed_and_the_next_is_accepted(
    listening: CountedSocket, caplog: pytest.LogCaptureFixture
) -> None:
    peers: list[str] = []

    entrance = anywhere(max_connections=5)

    def adopt(connected: socket.socket, arrival: Arrival) -> None:
        peers.append(arrival.peer)
        if len(peers) == 1:
            raise OSError(errno.ENOSPC, "no more watches")
        connected.close()

    with socket.create_connection(listening.getsockname()) as first, socket.create_connection(listening.getsockname()):
        assert accept(Acceptor(listening, entrance, adopt)) == 0
        assert first.recv(1) == b""
    assert len(peers) == 2
    assert entrance.gate.connections == 1
    (record,) = caplog.records
    assert peers[0] in record.getMessage()


def test_a_burst_leaves_time_for_the_others(listening: CountedSocket) -> None:
    taken: list[socket.socket] = []
    acceptor = Acceptor(listening, anywhere(), lambda connected, arrival: taken.append(connected))
    clients = [socket.create_connection(listening.getsockname()) for _ in range(limits.ACCEPT_BURST + 5)]
    assert accept(acceptor) == 0
    assert len(taken) == limits.ACCEPT_BURST
    assert accept(acceptor) == 0
    assert len(taken) == limits.ACCEPT_BURST + 5
    for one in (*taken, *clients):
        one.close()


def test_what_tcp_is_told_holds_for_every_connection() -> None:
    (listening,) = open_one("127.0.0.1", 0, TcpSettings(keep_alive_s=77, user_timeout_s=12.5))
    with listening.socket as bound, socket.create_connection(bound.getsockname()):
        connected, _ = bound.accept()
        with connected:
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_500


def test_no_probes_where_none_are_wanted() -> None:
    (listening,) = open_one("127.0.0.1", 0, TcpSettings(keep_alive_s=0))
    with listening.socket as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_one_interface() -> None:
    (listening,) = open_one("127.0.0.1", 0, TcpSettings("lo"))
    with listening.socket as bound, socket.create_connection(bound.getsockname()):
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    with pytest.raises(ListenError, match=r"tcp\.interface: cannot listen on nosuch0"):
        open_one("127.0.0.1", 0, TcpSettings("nosuch0"))


def test_several_addresses_share_the_port_that_the_first_has_got() -> None:
    opened = trio.run(open_listeners, ListenerSettings(("127.0.0.1", "127.0.0.2"), 0))
    assert [one.socket.getsockname()[0] for one in opened] == ["127.0.0.1", "127.0.0.2"]
    assert len({one.socket.getsockname()[1] for one in opened}) == 1
    for one in opened:
        one.close()


def test_connections_beyond_the_limit_are_turned_away(
    listening: CountedSocket, caplog: pytest.LogCaptureFixture
) -> None:
    arrivals: list[Arrival] = []
    taken: list[socket.socket] = []

    def adopt(connected: socket.socket, arrival: Arrival) -> None:
        taken.append(connected)
        arrivals.append(arrival)

    entrance = anywhere(max_connections=2)
    acceptor = Acceptor(listening, entrance, adopt)
    clients = [socket.create_connection(listening.getsockname()) for _ in range(4)]

    assert accept(acceptor) == 0
    assert len(arrivals) == 2
    assert clients[2].recv(1) == clients[3].recv(1) == b""
    assert (entrance.gate.connections, entrance.gate.refused) == (2, 2)
    (record,) = caplog.records  # not one for each
    assert "there are 2 connections already (max_connections)" in record.getMessage()
    arrivals[0].leave()
    arrivals[0].leave()
    with socket.create_connection(listening.getsockname()):
        assert accept(acceptor) == 0
    assert len(arrivals) == 3
    for one in (*taken, *clients):
        one.close()


def test_the_rate_of_accepting(listening: CountedSocket) -> None:
    """Ten in a second: what is beyond waits in the system's queue, and loses nothing but time."""
    accepted_at: list[float] = []
    done = trio.Event()

    def adopt(connected: socket.socket, arrival: Arrival) -> None:
        accepted_at.append(trio.current_time())
        connected.close()
        if len(accepted_at) == 25:
            done.set()

    async def main() -> None:
        clients = [socket.create_connection(listening.getsockname()) for _ in range(25)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Acceptor(listening, anywhere(accepts_per_s_max=10), adopt).run)
            with trio.fail_after(10):
                await done.wait()
            nursery.cancel_scope.cancel()
        for one in clients:
            one.close()

    run_mocked(main)
    start = accepted_at[0]
    assert [round(at - start, 1) for at in accepted_at[:10]] == [0.0] * 10
    assert accepted_at[-1] - start == pytest.approx(1.5, abs=0.1)
