"""The certificates, keys and authorities of one listener: read from their files, and read again when these change."""

import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from noctule.config.problems import KeyPath
from noctule.config.tls import TlsSettings, TlsVersion
from noctule.net.certificates import OwnCertificate, read_own
from noctule.net.filters import Established
from noctule.net.pre_shared_keys import read_keys
from noctule.net.tls import TlsFilter

_logger = logging.getLogger("noctule.net")

_VERSIONS: Final = {
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}


class TlsError(Exception):
    """TLS cannot be had as it is configured; the text says which file or option is wrong and why.

    ``key``: of the option, below those of TLS; ``problem``: the text without its name.
    """

    def __init__(self, key: KeyPath, problem: str, path: Path | None = None) -> None:
        about = "" if path is None else f" {path}"
        super().__init__(f"{key[-1]}{about}: {problem}")
        self.key = key
        self.problem = problem if path is None else f"{path}: {problem}"


class PskIdentity:
    """The identity that the handshake at hand has asked the key of: handshakes are made one step at a time."""

    def __init__(self) -> None:
        self._asked: str | None = None

    def note(self, identity: str | None) -> None:
        """A handshake has asked."""
        self._asked = identity

    def take(self) -> str | None:
        """What was asked since the last time."""
        asked, self._asked = self._asked, None
        return asked


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All that is read from files, exchanged as a whole."""

    context: ssl.SSLContext
    certificates: tuple[OwnCertificate, ...]


class TlsServer:
    """Makes the filters of one listener's connections. TlsError where its files cannot be used.

    Connections keep the certificates that they began with.
    """

    def __init__(self, settings: TlsSettings, *, alpn: str) -> None:
        self._settings = settings
        self._alpn = alpn
        self._psk_identity = PskIdentity()
        self._seen = self._state_of_files()
        self._loaded = self._load()

    def make_filter(self, established: Established) -> TlsFilter:
        """The filter of a new connection; ``established()`` is called when its handshake is done."""
        settings = self._settings
        return TlsFilter(
            self._loaded.context,
            established,
            settings.user_name_from,
            self._psk_identity.take if settings.uses_psk else None,
        )

    @property
    def certificates(self) -> tuple[OwnCertificate, ...]:
        """What is shown to clients, the certificate for all names first."""
        return self._loaded.certificates

    def days_left(self) -> float | None:
        """Days until the first of the certificates ends, below 0 where one has; None where there is none."""
        now = time.time()
        return min((one.days_left(now) for one in self.certificates), default=None)

    def reload(self) -> None:
        """Read every file again, for connections to come. TlsError where they cannot be used: all stays as it is."""
        self._seen = self._state_of_files()
        self._loaded = self._load()

    def reload_if_changed(self) -> bool:
        """Read the files again if one has changed, or has come back; True where they were. TlsError as ``reload``."""
        if self._state_of_files() == self._seen:
            return False
        self.reload()
        return True

    def _files(self) -> list[Path]:
        settings = self._settings
        named = [
            settings.certificate_file,
            settings.key_file,
            settings.ca_file,
            settings.ca_directory,
            settings.crl_file,
            settings.psk_file,
        ]
        files = [file for file in named if file is not None]
        for one in settings.certificates:
            files += (one.certificate_file, one.key_file)
        return files

    def _state_of_files(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What differs after a change, by file; None for one that is not there."""
        found: list[tuple[int, int, int] | None] = []
        for file in self._files():
            try:
                state = os.stat(file)
            except OSError:
                found.append(None)
            else:
                found.append((state.st_mtime_ns, state.st_size, state.st_ino))
        return tuple(found)

    def _load(self) -> _Loaded:
        settings = self._settings
        if settings.uses_psk:
            return _Loaded(self._psk_context(), ())
        assert settings.certificate_file is not None  # noqa: S101
        assert settings.key_file is not None  # noqa: S101
        certificates = [_own(settings.certificate_file, ())]
        context = self._context(settings.certificate_file, settings.key_file, ())
        by_name: dict[str, ssl.SSLContext] = {}
        for index, one in enumerate(settings.certificates):
            key: KeyPath = ("certificates", index)
            own = _own(one.certificate_file, key)
            if not own.names:
                text = "it has no DNS name that a client could ask for (subjectAltName)"
                raise TlsError((*key, "certificate_file"), text, one.certificate_file)
            other = self._context(one.certificate_file, one.key_file, key)
            certificates.append(own)
            for name in own.names:
                by_name.setdefault(name, other)
        if by_name:
            # Who asks for a name of the first gets it, also where another has it too.
            for name in certificates[0].names:
                by_name[name] = context
            context.sni_callback = _choice(by_name)
        return _Loaded(context, tuple(certificates))

    def _context(self, certificate_file: Path, key_file: Path, prefix: KeyPath) -> ssl.SSLContext:
        settings = self._settings
        context = self._bare_context()
        said: KeyPath = (*prefix, "key_file")
        _readable(said, key_file)
        try:
            context.load_cert_chain(certificate_file, key_file, _refuse_encrypted)
        except _EncryptedKeyError:
            text = "the key is encrypted; decrypt it: openssl pkey -in KEY -out FILE"
            raise TlsError(said, text, key_file) from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsError(said, f"it is not the key of {certificate_file}", key_file) from None
            if error.reason in (None, "PEM_LIB"):
                text = f"there is no private key in PEM form in it, or {certificate_file} is damaged"
                raise TlsError(said, text, key_file) from None
            text = f"with the key in {key_file}: {_why(error)}"
            raise TlsError((*prefix, "certificate_file"), text, certificate_file) from None
        if settings.ca_file is not None or settings.ca_directory is not None:
            self._believe(context)
        return context

    def _believe(self, context: ssl.SSLContext) -> None:
        """Load the authorities of clients and what they have revoked."""
        settings = self._settings
        context.verify_mode = ssl.CERT_REQUIRED if settings.require_certificate else ssl.CERT_OPTIONAL
        if settings.ca_file is not None:
            _readable(("ca_file",), settings.ca_file)
            try:
                context.load_verify_locations(cafile=settings.ca_file)
            except ssl.SSLError as error:
                raise TlsError(("ca_file",), _why(error), settings.ca_file) from None
            if not context.cert_store_stats()["x509"]:
                raise TlsError(("ca_file",), "there is no certificate in it", settings.ca_file)
        if settings.ca_directory is not None:
            if not settings.ca_directory.is_dir():
                raise TlsError(("ca_directory",), "it is no directory", settings.ca_directory)
            context.load_verify_locations(capath=settings.ca_directory)
        if settings.crl_file is not None:
            _readable(("crl_file",), settings.crl_file)
            try:
                context.load_verify_locations(cafile=settings.crl_file)
            except ssl.SSLError as error:
                raise TlsError(("crl_file",), _why(error), settings.crl_file) from None
            if not context.cert_store_stats()["crl"]:
                raise TlsError(("crl_file",), "there is no list of revoked certificates in it", settings.crl_file)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF

    def _bare_context(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[settings.minimum_version]
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        # Few clients resume, and each ticket costs every handshake.
        context.num_tickets = 1
        context.set_alpn_protocols([self._alpn])
        if settings.ciphers:
            try:
                context.set_ciphers(settings.ciphers)
            except ssl.SSLError:
                raise TlsError(("ciphers",), f'OpenSSL knows none of "{settings.ciphers}"') from None
        if settings.ciphers_tls13:
            _set_ciphers_tls13(context, settings.ciphers_tls13)
        return context

    def _psk_context(self) -> ssl.SSLContext:
        settings = self._settings
        assert settings.psk_file is not None  # noqa: S101
        _readable(("psk_file",), settings.psk_file)
        try:
            keys = read_keys(settings.psk_file)
        except (ValueError, OSError) as error:
            raise TlsError(("psk_file",), str(error), settings.psk_file) from None
        context = self._bare_context()
        if not settings.ciphers:
            context.set_ciphers("PSK:!kRSAPSK:!NULL")
        identity_asked = self._psk_identity

        def key_of(identity: str | None) -> bytes:
            identity_asked.note(identity)
            return keys.get(identity or "", b"")

        set_callback: Any = getattr(context, "set_psk_server_callback", None)
        if set_callback is None:
            raise TlsError(("psk_hint",), "pre-shared keys need Python 3.13 or later, with an OpenSSL that has them")
        set_callback(key_of, settings.psk_hint)
        return context


class _EncryptedKeyError(Exception):
    """OpenSSL asks for a password."""


def _refuse_encrypted() -> str:
    raise _EncryptedKeyError  # else it would be asked for on the terminal


def _choice(by_name: dict[str, ssl.SSLContext]) -> Callable[[Any, str | None, ssl.SSLContext], None]:
    """What gives a connection the certificate of the name that its client asks for; the first where nobody has it."""

    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower()
        found = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
        if found is not None:
            connection.context = found

    return choose


def _set_ciphers_tls13(context: ssl.SSLContext, suites: str) -> None:
    set_suites: Any = getattr(context, "set_ciphersuites", None)
    if set_suites is None:
        raise TlsError(("ciphers_tls13",), "it needs Python 3.15 or later; leave it out")
    try:
        set_suites(suites)
    except ssl.SSLError:
        raise TlsError(("ciphers_tls13",), f'OpenSSL does not know all of "{suites}"') from None


def _own(path: Path, prefix: KeyPath) -> OwnCertificate:
    try:
        return read_own(path)
    except OSError as error:
        raise TlsError((*prefix, "certificate_file"), error.strerror or str(error), path) from None
    except ValueError as error:
        raise TlsError((*prefix, "certificate_file"), str(error), path) from None


def _readable(option: KeyPath, path: Path) -> None:
    """TlsError where the file cannot be opened: OpenSSL does not say which one it was."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise TlsError(option, error.strerror or str(error), path) from None


def _why(error: ssl.SSLError) -> str:
    texts = {
        "NO_START_LINE": "it is not in PEM form (-----BEGIN ...-----)",
        "NO_CERTIFICATE_OR_CRL_FOUND": "there is nothing in PEM form in it",
    }
    reason = error.reason or ""
    return texts.get(reason) or reason.replace("_", " ").lower() or str(error)
