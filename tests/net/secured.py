"""Certificates for tests, and streams that speak TLS or WebSocket to a broker, by other implementations than ours."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from noctule.config.settings import ListenerSettings, Protocol
from noctule.config.tls import TlsSettings
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, RejectConnection, RejectData
from wsproto.events import Request as UpgradeRequest


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and a server's certificate of it, in files."""

    folder: Path
    ca: trustme.CA

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def server(self, *names: str, name: str = "server", **kinds: Any) -> tuple[Path, Path]:
        """A server's certificate and its key."""
        issued = self.ca.issue_cert(*(names or ("localhost", "127.0.0.1")), **kinds)
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def client(self, *names: str, name: str = "client", **kinds: Any) -> Path:
        """A client's certificate with its key, in one file."""
        path = self.folder / f"{name}.pem"
        self.ca.issue_cert(*names, **kinds).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def settings(self, **fields: Any) -> TlsSettings:
        """TLS with the server's certificate."""
        certificate, key = self.folder / "server.crt", self.folder / "server.key"
        return TlsSettings(certificate, key, **fields)

    def listener(self, protocol: Protocol = Protocol.MQTT, **fields: Any) -> ListenerSettings:
        """A loopback listener with TLS."""
        return ListenerSettings("127.0.0.1", 0, protocol=protocol, tls=self.settings(**fields))

    def context(self, certificate: Path | None = None, **attributes: Any) -> ssl.SSLContext:
        """A client's side of TLS, which believes the authority."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if certificate is not None:
            context.load_cert_chain(certificate)
        for name, value in attributes.items():
            setattr(context, name, value)
        return context


def make_authority(folder: Path) -> Authority:
    """A new authority with the certificate of a server on loopback."""
    made = Authority(folder, trustme.CA())
    made.ca.cert_pem.write_to_path(made.ca_file)
    made.server()
    return made


def write_crl(authority: Authority, *revoked: Path, days: int = 10, name: str = "crl.pem") -> Path:
    """A list of revoked certificates, signed by the authority."""
    ca = x509.load_pem_x509_certificate(authority.ca.cert_pem.bytes())
    key = load_pem_private_key(authority.ca.private_key_pem.bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(now - datetime.timedelta(days=20))
        .next_update(now + datetime.timedelta(days=days))
    )
    for path in revoked:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    path = authority.folder / name
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))  # type: ignore[arg-type]
    return path


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def open_tls(url: str, context: ssl.SSLContext, name: str = "localhost") -> trio.SSLStream[trio.SocketStream]:
    """A connection by TLS, the handshake done."""
    stream = trio.SSLStream(
        await trio.open_tcp_stream("127.0.0.1", port_of(url)), context, server_hostname=name, https_compatible=True
    )
    try:
        with trio.fail_after(30):
            await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


class RefusedError(Exception):
    """HTTP did not let it be WebSocket."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class WebSocketStream(trio.abc.Stream):
    """A client's WebSocket by wsproto, as a stream of bytes; ``closed_with`` is the code of the broker's Close."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.closed_with: int | None = None
        self.close_reason: str | None = None
        self.pongs: list[bytes] = []
        self.sub_protocol: str | None = None
        self._connection = WSConnection(ConnectionType.CLIENT)

    async def upgrade(
        self, path: str = "/", *, sub_protocols: tuple[str, ...] = ("mqtt",), headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Ask for WebSocket. RefusedError."""
        await self.stream.send_all(
            self._connection.send(
                UpgradeRequest(
                    "localhost",
                    path,
                    subprotocols=list(sub_protocols),
                    extra_headers=[(name.encode(), value.encode()) for name, value in headers],
                )
            )
        )
        body, status = b"", 0
        while True:
            with trio.fail_after(30):
                data = await self.stream.receive_some(65_536)
            if not data:
                raise trio.BrokenResourceError("closed within the handshake")
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, AcceptConnection):
                    self.sub_protocol = event.subprotocol
                    return
                if isinstance(event, RejectConnection):
                    status = event.status_code
                elif isinstance(event, RejectData):
                    body += event.data
                    if event.body_finished:
                        raise RefusedError(status, body)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(self._connection.send(BytesMessage(bytes(data))))

    async def ping(self, payload: bytes) -> None:
        await self.stream.send_all(self._connection.send(Ping(payload)))

    async def close(self, code: int) -> None:
        """Send a Close."""
        await self.stream.send_all(self._connection.send(CloseConnection(code)))

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while self.closed_with is None:
            data = await self.stream.receive_some(65_536)
            if not data:
                break
            self._connection.receive_data(data)
            found = b""
            for event in self._connection.events():
                if isinstance(event, BytesMessage):
                    found += event.data
                elif isinstance(event, Pong):
                    self.pongs.append(bytes(event.payload))
                elif isinstance(event, CloseConnection):
                    self.closed_with, self.close_reason = event.code, event.reason
            if found:
                return found
        return b""

    async def aclose(self) -> None:
        await self.stream.aclose()
