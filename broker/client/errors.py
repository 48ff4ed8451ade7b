"""What a client may meet; each kind of trouble that a caller can treat differently has its class."""

from noctule.protocol import describe


class ClientError(Exception):
    """Any of the troubles below."""


class UnreachableError(ClientError):
    """There is no connection to the server: nobody listens, the name is unknown, TLS cannot be agreed on."""


class RefusedError(ClientError):
    """The server answered CONNECT with a refusal.

    ``reason_code`` is version 5's, whatever version is spoken; ``code`` is the byte that came: of 3.x the return
    code 1 to 5. ``reason_string`` is the server's own explanation, ``server_reference`` another server to use; each
    is None where the server gave none.
    """

    def __init__(
        self, reason_code: int, code: int, reason_string: str | None = None, server_reference: str | None = None
    ) -> None:
        text = f"the server refuses the connection: {_explain(reason_code, reason_string)}"
        super().__init__(text if server_reference is None else f"{text}; it names {server_reference}")
        self.reason_code = reason_code
        self.code = code
        self.reason_string = reason_string
        self.server_reference = server_reference


class DisconnectedError(ClientError):
    """The connection has ended without our doing.

    ``reason_code`` is the server's, of its DISCONNECT; None where the connection just broke off.
    """

    def __init__(self, text: str, reason_code: int | None = None) -> None:
        super().__init__(text)
        self.reason_code = reason_code


class NoAnswerError(ClientError):
    """The server has not answered in time. What was asked for may or may not have happened."""


class SessionLostError(ClientError):
    """The server has lost the session in the middle of a message of QoS 2: it may or may not have been delivered.

    To send it again might deliver it twice, which QoS 2 promises not to do; the caller knows what is worse.
    """


class AuthenticationError(ClientError):
    """Enhanced authentication failed on our side: the server's messages do not prove what they should."""


class PublishRefusedError(ClientError):
    """The server refused a message, with a reason code of 0x80 or above in PUBACK or PUBREC (version 5 alone)."""

    def __init__(self, reason_code: int, reason_string: str | None = None) -> None:
        super().__init__(f"the server refuses the message: {_explain(reason_code, reason_string)}")
        self.reason_code = reason_code
        self.reason_string = reason_string


class SubscriptionRefusedError(ClientError):
    """The server refused a subscription, with a reason code of 0x80 or above in SUBACK."""

    def __init__(self, topic_filter: str, reason_code: int) -> None:
        super().__init__(f"the server refuses the subscription to {topic_filter}: {describe(reason_code)}")
        self.topic_filter = topic_filter
        self.reason_code = reason_code


class UnsupportedByServerError(ClientError):
    """The message needs what the server has said in CONNACK that it cannot do; nothing was sent."""


def _explain(reason_code: int, reason_string: str | None) -> str:
    name = describe(reason_code)
    return name if reason_string is None else f"{name} ({reason_string})"
