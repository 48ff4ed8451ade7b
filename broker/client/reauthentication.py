"""Authenticating again on a connection that there is (4.12.1)."""

from collections import deque
from typing import Final

import trio
from noctule.client.authentication import Authentication
from noctule.client.connection import Connection
from noctule.protocol import Auth, PacketError, ProtocolVersion, ReasonCode, encode_auth

#: Steps that the server may be ahead of us; it has to wait for each of our answers.
_STEPS_AHEAD: Final = 1


class Reauthentication:
    """One run of a method over AUTH packets."""

    def __init__(self, method: Authentication, connection: Connection, version: ProtocolVersion) -> None:
        self._method = method
        self._connection = connection
        self._version = version
        self._steps: deque[Auth] = deque()
        self._is_lost = False
        self._changed = trio.Event()

    def take(self, packet: Auth) -> None:
        """A step of the server's. PacketError if it is none."""
        if len(self._steps) >= _STEPS_AHEAD or packet.authentication_method not in (None, self._method.method):
            raise PacketError(ReasonCode.PROTOCOL_ERROR, "an AUTH that is no step of what we began")
        self._steps.append(packet)
        self._changed.set()

    def connection_lost(self) -> None:
        """The next connection authenticates from the beginning: nothing is left to do."""
        self._is_lost = True
        self._changed.set()

    async def run(self) -> None:
        """Until the server says that all is well. Raises what the method raises."""
        self._send(ReasonCode.RE_AUTHENTICATE, await self._method.start())
        while True:
            while not self._steps:
                if self._is_lost:
                    return
                self._changed = trio.Event()
                await self._changed.wait()
            step = self._steps.popleft()
            if step.reason_code == ReasonCode.SUCCESS:
                await self._method.finish(step.authentication_data)
                return
            answer = await self._method.respond(step.authentication_data)
            self._send(ReasonCode.CONTINUE_AUTHENTICATION, answer)

    def _send(self, reason_code: ReasonCode, data: bytes | None) -> None:
        self._connection.send(encode_auth(Auth(reason_code, self._method.method, data), self._version))
