"""docs/transports.md: its examples are configurations, its commands make certificates, and no option is missing."""

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from config.reading import loaded, written
from noctule.config.options import fields_of, is_group
from noctule.config.settings import ListenerSettings
from noctule.config.tls import CertificateSettings, TlsSettings
from noctule.core.origin import Origin
from noctule.net.tls_contexts import TlsServer

PAGE = (Path(__file__).parents[2] / "docs" / "transports.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(number: int, tmp_path: Path) -> None:
    assert loaded(written(tmp_path, EXAMPLES[number])).settings.listeners


def test_pre_shared_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```toml-python-3\.13\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.setattr("noctule.config.tls.HAS_PSK", True)
    (listener,) = loaded(written(tmp_path, example)).settings.listeners
    assert listener.tls is not None
    assert listener.tls.uses_psk


def test_no_option_is_missing() -> None:
    """Every option of a listener is shown, or named where it is still to come."""

    def look(group: type) -> None:
        for field in fields_of(group):
            inner = type(field.default) if is_group(type(field.default)) else None
            if inner is not None:
                look(inner)
            elif field.key != "tls":
                assert re.search(rf"\b{re.escape(field.key)}\b", PAGE), field.key

    for group in (ListenerSettings, TlsSettings, CertificateSettings):
        look(group)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="not installed: openssl")
def test_the_commands(tmp_path: Path) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    settings = TlsSettings(
        tmp_path / "server.crt", tmp_path / "server.key", ca_file=tmp_path / "ca.crt", require_certificate=True
    )
    server = TlsServer(settings, alpn="mqtt")
    assert server.certificates[0].names == ("localhost",)
    # And each believes the other.
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname="localhost")
    done: list[bool] = []
    passing = server.make_filter(lambda: done.append(True))

    class Link:
        """As much of one as the filter needs."""

        origin = Origin(ListenerSettings())

    link = Link()
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    _, answer, fault = passing.received(link, there.read())  # type: ignore[arg-type]
    assert fault is None
    back.write(answer)
    client.do_handshake()
    _, _, fault = passing.received(link, there.read())  # type: ignore[arg-type]
    assert (fault, done) == (None, [True])
    assert link.origin.certificate is not None
    assert link.origin.certificate.subject == "CN=pump-7"
