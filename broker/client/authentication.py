"""Enhanced authentication (4.12) on the client's side: what a method is, and SCRAM-SHA-256."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from noctule.client.errors import AuthenticationError


class Authentication(Protocol):
    """One run of a method; each connection and each re-authentication begins one of its own.

    What a method raises ends the connection and comes out where the client was opened: AuthenticationError where
    the server is the one at fault.
    """

    @property
    def method(self) -> str:
        """The Authentication Method, as the server knows it."""

    async def start(self) -> bytes | None:
        """The Authentication Data that goes with CONNECT; None for none."""

    async def respond(self, data: bytes | None) -> bytes | None:
        """The answer to the data of one AUTH of the server's."""

    async def finish(self, data: bytes | None) -> None:
        """Look at what came with the server's success; to raise is to refuse the server."""


#: Begins one run of a method.
AuthenticationMethod: TypeAlias = Callable[[], Authentication]


class ScramSha256:
    """SCRAM-SHA-256 (RFC 7677): the password is not sent, and the server proves that it knows it too.

    To be given to ``connect`` as ``authentication=lambda: ScramSha256("user", "password")``.
    """

    method = "SCRAM-SHA-256"

    def __init__(self, user_name: str, password: str) -> None:
        import scramp  # it takes longer to import than all of the client, and few need it

        self._failure: type[Exception] = scramp.ScramException
        self._client: Any = scramp.ScramClient([self.method], user_name, password)

    async def start(self) -> bytes:
        """The first message of the exchange."""
        text: str = self._client.get_client_first()
        return text.encode()

    async def respond(self, data: bytes | None) -> bytes:
        """The proof that we know the password. AuthenticationError if the server's message is none of SCRAM's."""
        try:
            self._client.set_server_first((data or b"").decode())
            text: str = self._client.get_client_final()
        except (self._failure, UnicodeDecodeError) as error:
            raise AuthenticationError(f"the server's part of SCRAM: {error}") from None
        return text.encode()

    async def finish(self, data: bytes | None) -> None:
        """Check the server's proof. AuthenticationError if it does not know the password."""
        try:
            self._client.set_server_final((data or b"").decode())
        except (self._failure, UnicodeDecodeError) as error:
            raise AuthenticationError(f"the server does not prove that it knows the password: {error}") from None
