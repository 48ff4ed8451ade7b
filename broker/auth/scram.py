"""SCRAM-SHA-256 (RFC 5802, RFC 7677): client and server prove to each other that they know the password.

The password itself is neither sent nor stored. The messages and the proof are scramp's; which user has which keys
comes from a ``ScramCredentials``, and what a stranger can learn from the answers is decided here: nothing about
which users there are.
"""

import hmac
import inspect
import secrets
import stringprep
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from noctule.core.authentication import AuthContinue, AuthRefused, AuthStep, AuthSuccess, Claimant, Exchange

if TYPE_CHECKING:
    from scramp import ScramMechanism

METHOD: Final = "SCRAM-SHA-256"

#: Rounds of the key derivation. It is the client that pays them, at each connect, and many clients are small:
#: RFC 7677 asks for 4,096 at least.
ITERATIONS: Final = 10_000
ITERATIONS_MIN: Final = 4_096

#: Random bytes that go in with a password; RFC 5802 leaves their number open, and 16 do not meet twice.
SALT_BYTES: Final = 16
SALT_BYTES_MIN: Final = 12

#: The longest message of a client's in bytes. Its user name is normalised character by character, which is slow;
#: real messages have a tenth of this.
MESSAGE_MAX_BYTES: Final = 1_024

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ScramCredential:
    """What is stored of one user's password. ValueError for what cannot be: whoever stored it is wrong."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.salt) < SALT_BYTES_MIN:
            raise ValueError(f"a salt has at least {SALT_BYTES_MIN} bytes, not {len(self.salt)}")
        if self.iterations < ITERATIONS_MIN:
            raise ValueError(f"the iterations are at least {ITERATIONS_MIN}, not {self.iterations}")
        if len(self.stored_key) != _KEY_BYTES or len(self.server_key) != _KEY_BYTES:
            raise ValueError(f"the keys have {_KEY_BYTES} bytes each")


class ScramCredentials(Protocol):
    """Where the credentials are found."""

    def find(self, user_name: str) -> ScramCredential | Awaitable[ScramCredential | None] | None:
        """The credential of this user, at once or to be awaited; None where there is none.

        ``user_name`` is as SASLprep (RFC 4013) leaves it: "ﬁ" comes as "fi". How long the search takes should not
        tell whether it has found anything.
        """
        ...


def derive_credential(password: str, iterations: int = ITERATIONS, salt: bytes | None = None) -> ScramCredential:
    """What is stored of a password; without ``salt`` with a fresh one.

    It takes some milliseconds of computing, by intent. ValueError where the password has characters that SASLprep
    forbids, or none, or the numbers are too small.
    """
    from scramp import ScramException

    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    if all(stringprep.in_table_b1(character) for character in password):  # what SASLprep maps to nothing
        raise ValueError("the password is empty")
    try:
        _, stored_key, server_key, _ = _mechanism().make_auth_info(password, iterations, salt)
    except ScramException as error:
        raise ValueError(str(error)) from None
    return ScramCredential(salt, iterations, stored_key, server_key)


class ScramSha256:
    """The method. ``credentials`` knows the users.

    A user that does not exist gets a salt made from its name and ``secret``: the same one each time, as a real
    user's would be. Where ``secret`` is None it is new with each start, and with it those salts: who compares the
    answers before and after can tell. ``iterations``: what such a user is told; what the real ones have.
    """

    name: Final = METHOD

    def __init__(
        self, credentials: ScramCredentials, *, secret: bytes | None = None, iterations: int = ITERATIONS
    ) -> None:
        self._credentials = credentials
        self._secret = secrets.token_bytes(_KEY_BYTES) if secret is None else secret
        self._iterations = iterations

    def start(self, claimant: Claimant) -> Exchange:  # noqa: ARG002
        """A new exchange; the user is the one that its first message names, whatever CONNECT says."""
        return ScramExchange(self._credentials, self._made_up)

    def _made_up(self, user_name: str) -> ScramCredential:
        """The credential of a user that does not exist: nobody knows a password for it."""
        name = user_name.encode()
        salt, stored_key, server_key = (
            hmac.digest(self._secret, purpose + name, "sha256") for purpose in (b"salt:", b"stored:", b"server:")
        )
        return ScramCredential(salt[:SALT_BYTES], self._iterations, stored_key, server_key)


class ScramExchange:
    """The server's side of one exchange. ``made_up`` gives the credential of a user that does not exist.

    ``server_nonce`` is for the examples of the RFC; None: random.
    """

    __slots__ = ("_credentials", "_is_known", "_made_up", "_server", "_server_nonce", "_user_name", "_was_prompted")

    def __init__(
        self,
        credentials: ScramCredentials,
        made_up: Callable[[str], ScramCredential],
        server_nonce: str | None = None,
    ) -> None:
        self._credentials = credentials
        self._made_up = made_up
        self._server_nonce = secrets.token_urlsafe(24) if server_nonce is None else server_nonce
        self._server: Any = None
        self._user_name = ""
        self._is_known = False
        self._was_prompted = False

    def step(self, data: bytes | None) -> AuthStep | Awaitable[AuthStep]:
        """The answer to the client's first or last message, or to none at all."""
        if data is None and self._server is None and not self._was_prompted:
            # The mechanism begins with the client (RFC 5802, 5): who did not in CONNECT is asked to, once.
            self._was_prompted = True
            return AuthContinue()
        if data is None or len(data) > MESSAGE_MAX_BYTES:
            return _refused("no message, or one that is too long")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return _refused("a message that is not UTF-8")
        return self._first(text) if self._server is None else self._last(text)

    def _first(self, text: str) -> AuthStep | Awaitable[AuthStep]:
        from scramp import ScramException

        # scramp asks for the keys in the middle of the message and cannot wait for them: so the name is read first,
        # and the message once more when they are there.
        names: list[str] = []
        nobody = self._made_up("")

        def note(name: str) -> tuple[bytes, bytes, bytes, int]:
            names.append(name)
            return _as_tuple(nobody)

        try:
            _mechanism().make_server(note, s_nonce=self._server_nonce).set_client_first(text)
        except ScramException as error:
            return _refused(str(error))
        found = self._credentials.find(names[0])
        if inspect.isawaitable(found):
            return self._challenge_later(text, names[0], found)
        return self._challenge(text, names[0], found)

    async def _challenge_later(self, text: str, user_name: str, found: Awaitable[ScramCredential | None]) -> AuthStep:
        return self._challenge(text, user_name, await found)

    def _challenge(self, text: str, user_name: str, found: ScramCredential | None) -> AuthStep:
        """Salt and iterations of the user, there or not."""
        made_up = self._made_up(user_name)  # also for nothing, so that it takes the same time
        credential = made_up if found is None else found
        self._user_name = user_name
        self._is_known = found is not None
        self._server = _mechanism().make_server(lambda _: _as_tuple(credential), s_nonce=self._server_nonce)
        self._server.set_client_first(text)
        challenge: str = self._server.get_server_first()
        return AuthContinue(challenge.encode())

    def _last(self, text: str) -> AuthStep:
        """Whether the client's proof is right, and our own."""
        from scramp import ScramException

        try:
            self._server.set_client_final(text)
        except ScramException as error:
            return _refused(str(error))
        if not self._is_known:
            return _refused("an unknown user")
        proof: str = self._server.get_server_final()
        return AuthSuccess(self._user_name, proof.encode())


def _mechanism() -> "ScramMechanism":
    """scramp is imported when somebody uses the method: it brings a parser of certificates with it."""
    from scramp import ScramMechanism

    return ScramMechanism(METHOD)


def _as_tuple(credential: ScramCredential) -> tuple[bytes, bytes, bytes, int]:
    """In the order in which scramp wants it."""
    return credential.salt, credential.stored_key, credential.server_key, credential.iterations


def _refused(why: str) -> AuthRefused:
    return AuthRefused(why=f"{METHOD}: {why}")
