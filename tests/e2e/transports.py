"""A broker process that listens on every transport, and the certificates for it."""

import re
from dataclasses import dataclass
from pathlib import Path

import trustme
from e2e.process import DEADLINE, BrokerProcess

LISTENING = re.compile(r"Listening on (mqtts?|wss?|unix):(?://127\.0\.0\.1:(\d+)|(\S+)),")

CONFIG = """\
allow_anonymous = true

[[listeners]]
port = 0

[[listeners]]
port = 0
[listeners.tls]
certificate_file = "server.crt"
key_file = "server.key"
ca_file = "ca.crt"

[[listeners]]
port = 0
protocol = "websocket"
{web}

[[listeners]]
port = 0
protocol = "websocket"
[listeners.tls]
certificate_file = "server.crt"
key_file = "server.key"
# No ca_file: asked for a certificate, browsers give up a WebSocket.

[[listeners]]
path = "mqtt.sock"
"""

#: Only clients with a certificate.
CONFIG_MUTUAL = """\
[[listeners]]
port = 0
[listeners.tls]
certificate_file = "server.crt"
key_file = "server.key"
ca_file = "ca.crt"
require_certificate = true
[[listeners]]
port = 0
protocol = "websocket"
[listeners.tls]
certificate_file = "server.crt"
key_file = "server.key"
ca_file = "ca.crt"
require_certificate = true
"""


@dataclass
class Transports:
    """A broker with where it listens, by scheme."""

    process: BrokerProcess
    folder: Path
    ports: dict[str, int]

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def client_file(self) -> Path:
        """A client's certificate with its key."""
        return self.folder / "client.pem"

    @property
    def socket(self) -> Path:
        return self.folder / "mqtt.sock"


def write_certificates(folder: Path) -> None:
    """An authority, a server on loopback, and a client, in the files that ``CONFIG`` names."""
    ca = trustme.CA()
    server = ca.issue_cert("localhost", "127.0.0.1")
    ca.cert_pem.write_to_path(folder / "ca.crt")
    (folder / "server.crt").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    server.private_key_pem.write_to_path(folder / "server.key")
    (folder / "server.key").chmod(0o600)
    ca.issue_cert("pump@example.org", common_name="pump-7").private_key_and_cert_chain_pem.write_to_path(
        folder / "client.pem"
    )


def start(folder: Path, carrier: str, config: str) -> Transports:
    """Start a broker with this configuration; its certificates are made."""
    write_certificates(folder)
    path = folder / "noctule.toml"
    path.write_text(config)
    path.chmod(0o600)
    process = BrokerProcess("-c", str(path), "--carrier", carrier, listen=None)
    try:
        process.printed("State is ")
    except AssertionError:
        process.kill()
        raise
    found = LISTENING.findall(process.output)
    ports = {scheme: int(port) for scheme, port, _ in found if port}
    process.host, process.port = "127.0.0.1", ports.get("mqtt", 0)
    return Transports(process, folder, ports)


__all__ = ["CONFIG", "CONFIG_MUTUAL", "DEADLINE", "Transports", "start"]
