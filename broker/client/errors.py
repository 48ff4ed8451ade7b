"""What a client may meet; each kind of trouble that a caller can treat differently has its class."""

from noctule.protocol import describe


class ClientError(Exception):
    """Any of the troubles below."""


class UnreachableError(ClientError):
    """There is no connection to the server: nobody listens, the name is unknown, the network is cut."""


class RefusedError(ClientError):
    """The server answered CONNECT with a refusal.

    ``reason_code`` is version 5's, whatever version is spoken; ``code`` is the byte that came: of 3.x the return
    code 1 to 5. ``reason_string`` is the server's own explanation, None where it gave none.
    """

    def __init__(self, reason_code: int, code: int, reason_string: str | None = None) -> None:
        super().__init__(f"the server refuses the connection: {_explain(reason_code, reason_string)}")
        self.reason_code = reason_code
        self.code = code
        self.reason_string = reason_string


class DisconnectedError(ClientError):
    """The connection has ended without our doing.

    ``reason_code`` is the server's, of its DISCONNECT; None where the connection just broke off.
    """

    def __init__(self, text: str, reason_code: int | None = None) -> None:
        super().__init__(text)
        self.reason_code = reason_code


class NoAnswerError(ClientError):
    """The server has not answered in time. What was asked for may or may not have happened."""


class PublishRefusedError(ClientError):
    """The server refused a message, with a reason code of 0x80 or above in PUBACK or PUBREC (version 5 alone)."""

    def __init__(self, reason_code: int, reason_string: str | None = None) -> None:
        super().__init__(f"the server refuses the message: {_explain(reason_code, reason_string)}")
        self.reason_code = reason_code
        self.reason_string = reason_string


class UnsupportedByServerError(ClientError):
    """The message needs what the server has said in CONNACK that it cannot do; nothing was sent."""


def _explain(reason_code: int, reason_string: str | None) -> str:
    name = describe(reason_code)
    return name if reason_string is None else f"{name} ({reason_string})"
