"""A trio client for MQTT 3.1, 3.1.1 and 5.0, on the broker's own codec: ``async with connect(...) as client``."""

from noctule.client.connection import Client, connect, open_client
from noctule.client.errors import (
    ClientError,
    DisconnectedError,
    NoAnswerError,
    PublishRefusedError,
    RefusedError,
    UnreachableError,
    UnsupportedByServerError,
)
from noctule.client.message import Message

__all__ = [
    "Client",
    "ClientError",
    "DisconnectedError",
    "Message",
    "NoAnswerError",
    "PublishRefusedError",
    "RefusedError",
    "UnreachableError",
    "UnsupportedByServerError",
    "connect",
    "open_client",
]
