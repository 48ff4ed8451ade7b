"""Certificates in files: what is said where they cannot be used, which one a client gets, and how they are renewed."""

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from net.secured import Authority, open_tls, port_of, write_crl
from net.stream_clients import V5, StreamClient, run_mocked, running_broker
from noctule.config import limits
from noctule.config.settings import Carrier, ListenerSettings
from noctule.config.tls import CertificateSettings, TlsSettings, TlsVersion
from noctule.net.certificate_watch import CertificateWatch
from noctule.net.entrance import Entrance
from noctule.net.errors import ListenError
from noctule.net.pre_shared_keys import read_keys
from noctule.net.tls_contexts import TlsError, TlsServer


def server(settings: TlsSettings) -> TlsServer:
    return TlsServer(settings, alpn="mqtt")


def shown_to(one: TlsServer, authority: Authority, name: str = "localhost", **attributes: Any) -> x509.Certificate:
    """The certificate that a client gets, by a handshake in memory."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = authority.context(**attributes)
    context.check_hostname = False
    client = context.wrap_bio(back, there, server_hostname=name)
    passing = one.make_filter(lambda: None)
    link = _NoLink()
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            break
        _, answer, fault = passing.received(link, there.read())  # type: ignore[arg-type]
        assert fault is None, fault
        back.write(answer)
    der = client.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


class _NoLink:
    origin = None


def encrypted(authority: Authority) -> Path:
    key = load_pem_private_key((authority.folder / "server.key").read_bytes(), None)
    path = authority.folder / "encrypted.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return path


def with_file(option: str, content: str) -> Callable[[Authority], TlsSettings]:
    def make(authority: Authority) -> TlsSettings:
        path = authority.folder / "bad.pem"
        path.write_text(content)
        fields: dict[str, Any] = {"ca_file": authority.ca_file, option: path}
        if option in ("certificate_file", "key_file"):
            pair = {"certificate_file": authority.folder / "server.crt", "key_file": authority.folder / "server.key"}
            return TlsSettings(**{**pair, option: path})
        return authority.settings(**fields)

    return make


BAD: dict[str, tuple[Callable[[Authority], TlsSettings], str]] = {
    "no certificate": (
        lambda authority: TlsSettings(authority.folder / "missing.crt", authority.folder / "server.key"),
        r"certificate_file .*missing\.crt: No such file",
    ),
    "no key": (
        lambda authority: TlsSettings(authority.folder / "server.crt", authority.folder / "missing.key"),
        r"key_file .*missing\.key: No such file",
    ),
    "a certificate in another form": (
        with_file("certificate_file", "\x30\x82"),
        r"certificate_file .*bad\.pem: there is no certificate in it",
    ),
    "a key in another form": (with_file("key_file", "hello"), r"key_file .*bad\.pem: there is no private key"),
    "the key of another": (
        lambda authority: TlsSettings(authority.folder / "server.crt", authority.server("x", name="x")[1]),
        r"key_file .*x\.key: it is not the key of .*server\.crt",
    ),
    "a key with a password": (
        lambda authority: TlsSettings(authority.folder / "server.crt", encrypted(authority)),
        "the key is encrypted; decrypt it",
    ),
    "no authorities": (with_file("ca_file", ""), r"ca_file .*bad\.pem: "),
    "authorities that are none": (with_file("ca_file", "hello"), r"ca_file .*bad\.pem: "),
    "a directory that is none": (
        lambda authority: authority.settings(ca_directory=authority.ca_file),
        "ca_directory .*: it is no directory",
    ),
    "a list of revoked certificates that is none": (with_file("crl_file", "hello"), r"crl_file .*bad\.pem: "),
    "a certificate in its place": (
        lambda authority: authority.settings(ca_file=authority.ca_file, crl_file=authority.ca_file),
        "crl_file .*: there is no list of revoked certificates in it",
    ),
    "cipher suites that are none": (
        lambda authority: authority.settings(ciphers="NONSENSE"),
        'ciphers: OpenSSL knows none of "NONSENSE"',
    ),
    "one more certificate without a name": (
        lambda authority: authority.settings(
            certificates=(CertificateSettings(*authority.server("192.0.2.1", name="nameless")),)
        ),
        "it has no DNS name that a client could ask for",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used(name: str, own_authority: Authority) -> None:
    """An error that names the option and the file; and there is no way to plain text from it."""
    make, expected = BAD[name]
    settings = make(own_authority)
    with pytest.raises(TlsError, match=expected):
        server(settings)
    with pytest.raises(ListenError, match=expected):
        Entrance(ListenerSettings(tls=settings))


def test_the_oldest_version_and_the_ciphers(authority: Authority) -> None:
    one = server(authority.settings(minimum_version=TlsVersion.TLS_1_3))
    with pytest.raises(AssertionError, match="no version of TLS that is allowed here"):
        shown_to(one, authority, maximum_version=ssl.TLSVersion.TLSv1_2)
    one = server(authority.settings(ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"))
    context = one._loaded.context
    assert [suite["name"] for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.2"] == [
        "ECDHE-ECDSA-AES128-GCM-SHA256"
    ]
    assert context.options & (ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION) == (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    )


def test_the_certificate_of_the_name_that_is_asked_for(own_authority: Authority) -> None:
    authority = own_authority
    more = tuple(
        CertificateSettings(*authority.server(*names, name=f"more{index}"))
        for index, names in enumerate((("a.example", "*.b.example", "localhost"), ("c.b.example",)))
    )
    one = server(authority.settings(certificates=more))
    first, second, third = (own.path for own in one.certificates)
    for name, path in (
        ("localhost", first),
        ("nowhere.example", first),
        ("a.example", second),
        ("A.Example", second),
        ("x.b.example", second),
        ("x.y.b.example", first),
        ("b.example", first),
        ("c.b.example", third),
    ):
        expected = x509.load_pem_x509_certificates(path.read_bytes())[0]
        assert shown_to(one, authority, name) == expected, name


# Renewal


def test_changed_files_are_read_again(own_authority: Authority) -> None:
    authority = own_authority
    one = server(authority.settings())
    before = shown_to(one, authority)
    assert not one.reload_if_changed()
    authority.server()
    assert one.reload_if_changed()
    assert not one.reload_if_changed()
    after = shown_to(one, authority)
    assert after != before
    # The certificate comes before its key: until both fit, what was read before is shown.
    key = (authority.folder / "server.key").read_bytes()
    authority.server()
    new_key = (authority.folder / "server.key").read_bytes()
    (authority.folder / "server.key").write_bytes(key)
    with pytest.raises(TlsError, match="not the key of"):
        one.reload_if_changed()
    assert not one.reload_if_changed()
    assert shown_to(one, authority) == after
    (authority.folder / "server.key").unlink()
    with pytest.raises(TlsError, match="No such file"):
        one.reload_if_changed()
    (authority.folder / "server.key").write_bytes(new_key)
    assert one.reload_if_changed()
    assert shown_to(one, authority) not in (before, after)


@pytest.fixture
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of these tests does not wait for threads."""

    async def run_sync(call: Callable[[], object]) -> object:
        await trio.lowlevel.checkpoint()
        return call()

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@pytest.mark.usefixtures("_without_threads")
def test_the_watch(own_authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "noctule.net")
    authority = own_authority

    async def main() -> None:
        one = server(authority.settings())
        watch = CertificateWatch([("here", one)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            before = shown_to(one, authority)
            await trio.sleep(3 * limits.CERTIFICATE_WATCH_INTERVAL_S)
            assert shown_to(one, authority) == before
            assert caplog.records == []
            (authority.folder / "server.key").write_text("")
            await trio.sleep(3 * limits.CERTIFICATE_WATCH_INTERVAL_S)
            authority.server()
            await trio.sleep(3 * limits.CERTIFICATE_WATCH_INTERVAL_S)
            assert shown_to(one, authority) != before
            (authority.folder / "server.crt").write_text("")
            watch.reload()  # as SIGHUP does it
            nursery.cancel_scope.cancel()

    run_mocked(main)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "ERROR"]


@pytest.mark.usefixtures("_without_threads")
def test_certificates_that_end(own_authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    authority = own_authority
    now = datetime.datetime.now(datetime.UTC)
    authority.server(not_after=now + datetime.timedelta(days=5.4))
    more = authority.server("a.example", name="more", not_after=now + datetime.timedelta(days=100))
    soon = server(authority.settings(certificates=(CertificateSettings(*more),)))
    later = server(TlsSettings(*more))
    over = server(TlsSettings(*authority.server("b.example", name="over", not_after=now - datetime.timedelta(days=2))))
    assert soon.days_left() == pytest.approx(5.4, abs=0.01)

    async def main() -> None:
        watch = CertificateWatch([("soon", soon), ("later", later), ("over", over)])
        left = watch.days_left()
        assert {name: round(days) for name, days in left.items()} == {"soon": 5, "later": 100, "over": -2}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await trio.testing.wait_all_tasks_blocked()
            assert [record.getMessage() for record in caplog.records] == [
                "A certificate of soon ends in 5 days.",
                "A certificate of over has ended 2 days ago: clients will refuse it.",
            ]
            await trio.sleep(limits.CERTIFICATE_WARNING_INTERVAL_S - limits.CERTIFICATE_WATCH_INTERVAL_S)
            assert len(caplog.records) == 2
            await trio.sleep(2 * limits.CERTIFICATE_WATCH_INTERVAL_S)
            assert len(caplog.records) == 4  # once a day
            nursery.cancel_scope.cancel()

    run_mocked(main)


@pytest.mark.usefixtures("_without_threads")
@pytest.mark.parametrize("carrier", Carrier, ids=lambda carrier: carrier.value)
def test_a_renewed_certificate_is_shown_while_a_thousand_clients_stay(
    carrier: Carrier, own_authority: Authority
) -> None:
    authority = own_authority
    count = 1_000 if carrier is Carrier.REACTOR else 100  # a task each costs more; the rest is the same

    async def main() -> None:
        async with running_broker(carrier, (authority.listener(),)) as running:
            url = running.broker.urls[0]
            context = authority.context()
            clients: list[StreamClient] = []
            without_keep_alive: list[StreamClient] = []

            async def open_one() -> None:
                client = StreamClient(await open_tls(url, context), V5)
                running.streams.append(client.stream)
                number = len(running.streams)
                await client.connect(f"c{number}", keep_alive_s=60 if number % 2 else 0)
                clients.append(client)
                if number % 2 == 0:
                    without_keep_alive.append(client)

            for _ in range(count // 50):
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(open_one)
            assert len(running.broker.state.links) == count
            before = clients[0].stream.getpeercert(binary_form=True)  # type: ignore[attr-defined]
            authority.server()
            await trio.sleep(2 * limits.CERTIFICATE_WATCH_INTERVAL_S)
            renewed = await open_tls(url, context)
            running.streams.append(renewed)
            assert renewed.getpeercert(binary_form=True) != before
            # Nobody is gone, and nobody times out: neither who has no Keep Alive, nor who speaks in time.
            for _ in range(2):
                await trio.sleep(60)
                for client in clients:
                    await client.ping()
            await trio.sleep(80)
            assert len(running.broker.state.links) == count
            await trio.sleep(20)
            assert len(running.broker.state.links) == count // 2
            before_last = renewed.getpeercert(binary_form=True)
            authority.server()
            running.broker.reload_certificates()
            last = await open_tls(url, context)
            running.streams.append(last)
            assert last.getpeercert(binary_form=True) != before_last
            await without_keep_alive[0].ping()

    run_mocked(main)


# Revoked certificates


@pytest.mark.parametrize("carrier", Carrier, ids=lambda carrier: carrier.value)
def test_revoked_certificates(carrier: Carrier, own_authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """Also those revoked while the broker runs, and also where the client resumes an earlier session."""
    authority = own_authority
    good, bad = authority.client("a@b.example", name="good"), authority.client("c@d.example", name="bad")
    crl = write_crl(authority)

    async def main() -> None:
        listener = authority.listener(ca_file=authority.ca_file, crl_file=crl, require_certificate=True)
        async with running_broker(carrier, (listener,)) as running:
            url = running.broker.urls[0]

            async def comes_in(context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
                plain = await trio.open_tcp_stream("127.0.0.1", port_of(url))
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)

                async def step(call: Callable[[], Any]) -> Any:
                    while True:
                        try:
                            return call()
                        except ssl.SSLWantReadError:
                            await plain.send_all(outgoing.read())
                            with trio.fail_after(5):
                                incoming.write(await plain.receive_some() or b"")
                                if not incoming.pending:
                                    raise trio.BrokenResourceError from None

                try:
                    await step(tls.do_handshake)
                    tls.write(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c")
                    await step(lambda: tls.read(4))
                    return tls.session
                except (ssl.SSLError, trio.BrokenResourceError):
                    return None
                finally:
                    await trio.aclose_forcefully(plain)

            contexts = {path: authority.context(path) for path in (good, bad)}
            assert await comes_in(contexts[good])
            session = await comes_in(contexts[bad])
            assert session is not None
            write_crl(authority, bad)
            running.broker.reload_certificates()
            assert await comes_in(contexts[good])
            assert await comes_in(contexts[bad]) is None
            assert await comes_in(contexts[bad], session) is None
            # A list that is out of date says nothing of anybody: nobody is believed.
            write_crl(authority, days=-1)
            running.broker.reload_certificates()
            assert await comes_in(contexts[good]) is None

    run_mocked(main)
    assert "certificate revoked" in caplog.text
    assert "CRL has expired" in caplog.text


# Pre-shared keys


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# Mosquitto's form\npump-7:0123456789abcdef\n\n  a b:FF\nwith:colon:00ff\n")
    assert read_keys(path) == {"pump-7": bytes.fromhex("0123456789abcdef"), "a b": b"\xff", "with:colon": b"\0\xff"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "there is no key in it"),
        ("# nothing\n", "there is no key in it"),
        ("a:00\nb\n", "line 2: expected IDENTITY:KEY"),
        (":00\n", "line 1: expected IDENTITY:KEY"),
        ("a:secret\n", "line 1: the key is not written in hexadecimal digits"),
        ("a:123\n", "line 1: the key is not written in hexadecimal digits"),
        ("a:\n", "line 1: expected a key of 1 to 512 bytes"),
        (f"a:{'00' * 513}\n", "line 1: expected a key of 1 to 512 bytes"),
        (f"{'a' * 257}:00\n", "line 1: the identity has more than 256 bytes"),
        ("a:00\na:01\n", "line 2: the identity stands in a line before it as well"),
    ],
)
def test_bad_keys(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match=expected) as raised:
        read_keys(path)
    assert "secret" not in str(raised.value)


def test_pre_shared_keys_without_python_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear refusal, also where the configuration was read by another Python."""
    monkeypatch.setattr("noctule.config.tls.HAS_PSK", True)
    monkeypatch.delattr(ssl.SSLContext, "set_psk_server_callback", raising=False)
    (tmp_path / "keys").write_text("pump-7:0123\n")
    with pytest.raises(TlsError, match=r"pre-shared keys need Python 3\.13"):
        server(TlsSettings(psk_hint="hub", psk_file=tmp_path / "keys"))


def test_who_a_pre_shared_key_belongs_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback as OpenSSL calls it; the handshake itself needs Python 3.13."""
    given: dict[str, Any] = {}

    def set_callback(context: ssl.SSLContext, callback: Any, hint: str | None) -> None:
        given.update(callback=callback, hint=hint)

    monkeypatch.setattr("noctule.config.tls.HAS_PSK", True)
    monkeypatch.setattr(ssl.SSLContext, "set_psk_server_callback", set_callback, raising=False)
    (tmp_path / "keys").write_text("pump-7:0123\n")
    one = server(TlsSettings(psk_hint="hub", psk_file=tmp_path / "keys"))
    assert given["hint"] == "hub"
    assert given["callback"]("pump-7") == b"\x01\x23"
    assert one._psk_identity.take() == "pump-7"
    assert one._psk_identity.take() is None
    for stranger in ("other", "", None):
        assert given["callback"](stranger) == b""  # which OpenSSL takes for: not known
    assert one.certificates == ()
    assert one.days_left() is None
