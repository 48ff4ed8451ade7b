"""A trio client for MQTT 3.1, 3.1.1 and 5.0, on the broker's own codec: ``async with connect(url) as client``."""

from noctule.client.address import Address, Transport, parse_address
from noctule.client.authentication import Authentication, AuthenticationMethod, ScramSha256
from noctule.client.client import Client
from noctule.client.errors import (
    AuthenticationError,
    ClientError,
    DisconnectedError,
    NoAnswerError,
    PublishRefusedError,
    RefusedError,
    SessionLostError,
    SubscriptionRefusedError,
    UnreachableError,
    UnsupportedByServerError,
)
from noctule.client.matching import filter_matches
from noctule.client.message import Message
from noctule.client.opening import connect, open_client
from noctule.client.reconnecting import Reconnect
from noctule.client.socks import Proxy, parse_proxy
from noctule.client.subscription import Subscription
from noctule.client.tls import TLS_VERSIONS, TlsOptions

__all__ = [
    "TLS_VERSIONS",
    "Address",
    "Authentication",
    "AuthenticationError",
    "AuthenticationMethod",
    "Client",
    "ClientError",
    "DisconnectedError",
    "Message",
    "NoAnswerError",
    "Proxy",
    "PublishRefusedError",
    "Reconnect",
    "RefusedError",
    "ScramSha256",
    "SessionLostError",
    "Subscription",
    "SubscriptionRefusedError",
    "TlsOptions",
    "Transport",
    "UnreachableError",
    "UnsupportedByServerError",
    "connect",
    "filter_matches",
    "open_client",
    "parse_address",
    "parse_proxy",
]
