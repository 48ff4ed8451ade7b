"""Bridges over everything that an address can name, on real sockets, from Noctule to Noctule."""

from pathlib import Path

import pytest
import trio
import trustme
from bridges.brokers import bridge_to, broker_with, connected
from net.secured import Authority
from noctule.app import Broker
from noctule.client import connect
from noctule.config.bridge_transports import BridgeTcpSettings, BridgeTlsSettings
from noctule.config.settings import ListenerSettings, Protocol, Settings

KINDS = ["mqtt", "mqtts", "ws", "wss", "unix"]


@pytest.mark.parametrize("kind", KINDS)
def test_messages_cross(kind: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, trustme.CA())
    authority.ca.cert_pem.write_to_path(authority.ca_file)
    authority.server()
    protocol = Protocol.WEBSOCKET if kind.startswith("ws") else Protocol.MQTT
    tls = authority.settings() if kind in ("mqtts", "wss") else None
    path = tmp_path / "socket" if kind == "unix" else None

    async def main() -> None:
        far = Broker(
            Settings(
                (ListenerSettings("127.0.0.1", 0), ListenerSettings("127.0.0.1", 0, path, protocol=protocol, tls=tls)),
                allow_anonymous=True,
            )
        )
        async with trio.open_nursery() as nursery:
            plain, other = await nursery.start(far.run)
            port = other.rpartition(":")[2].partition("/")[0]
            address = f"unix://{path}" if path is not None else f"{kind}://localhost:{port}"
            bridge = bridge_to(
                address,
                tls=BridgeTlsSettings(ca_file=authority.ca_file),
                tcp=BridgeTcpSettings(keep_alive_s=10, user_timeout_s=10),
            )
            async with (
                broker_with(bridge) as (near, url),
                connect(url) as here,
                connect(plain) as there,
                here.subscription("in/#", 2) as received_here,
                there.subscription("out/#", 2) as received_there,
            ):
                await connected(near)
                with trio.fail_after(10):
                    await here.publish("out/1", bytes(200_000), 2)
                    assert len((await received_there.receive()).payload) == 200_000
                    await there.publish("in/1", bytes(200_000), 2)
                    assert len((await received_here.receive()).payload) == 200_000
            far.stop()

    trio.run(main)


def test_the_systems_options_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP's keep-alive and time-out reach the socket, through TLS too."""
    told: list[tuple[int, int, int]] = []

    def note(_stream: trio.SocketStream, level: int, option: int, value: int) -> None:
        told.append((level, option, value))

    async def main() -> None:
        async with broker_with() as (_, url):
            tcp = BridgeTcpSettings(keep_alive_s=11, keep_alive_interval_s=12, keep_alive_count=13, user_timeout_s=1.5)
            monkeypatch.setattr(trio.SocketStream, "setsockopt", note)
            async with broker_with(bridge_to(url, tcp=tcp)) as (near, _):
                await connected(near)

    trio.run(main)
    assert [value for _, _, value in told[-5:]] == [1, 11, 12, 13, 1_500]
