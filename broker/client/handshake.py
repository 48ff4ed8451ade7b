"""The way in: CONNECT, the steps of enhanced authentication, CONNACK."""

import logging
from dataclasses import dataclass, replace
from typing import Final

import trio
from noctule._speedups.codec import FrameScanner
from noctule.client.authentication import Authentication, AuthenticationMethod
from noctule.client.errors import DisconnectedError, NoAnswerError, RefusedError
from noctule.protocol import (
    VARIABLE_BYTE_INTEGER_MAXIMUM,
    Auth,
    Connack,
    Connect,
    PacketError,
    PacketType,
    ReasonCode,
    decode_auth,
    decode_connack,
    decode_disconnect,
    describe,
    encode_auth,
    encode_connect,
)

#: The largest packet there can be, in bytes: a first byte, four of Remaining Length, and as many as those can say.
_LARGEST_PACKET_BYTES: Final = 1 + 4 + VARIABLE_BYTE_INTEGER_MAXIMUM

_log: Final = logging.getLogger("noctule.client")


@dataclass(frozen=True, slots=True)
class Established:
    """A connection that the server has accepted."""

    stream: trio.abc.Stream
    request: Connect
    connack: Connack
    scanner: FrameScanner

    #: What came together with CONNACK.
    packets: list[tuple[int, bytes]]


async def shake_hands(
    stream: trio.abc.Stream, request: Connect, authentication: AuthenticationMethod | None, timeout_s: float
) -> Established:
    """Ask for a connection over ``stream``. It is closed if there comes nothing of it.

    Raises RefusedError if the server refuses, NoAnswerError if it is silent for ``timeout_s``, DisconnectedError if
    it hangs up or breaks the protocol, AuthenticationError and what a method raises; ValueError if ``request`` cannot
    be written: the caller's fault.
    """
    try:
        with trio.fail_after(timeout_s):
            return await _Handshake(stream, request, None if authentication is None else authentication()).run()
    except trio.TooSlowError:
        await trio.aclose_forcefully(stream)
        raise NoAnswerError(f"waited {timeout_s:g} s in vain for the answer to CONNECT") from None
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(stream)
        raise DisconnectedError("the connection broke off before the server's answer") from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


class _Handshake:
    def __init__(self, stream: trio.abc.Stream, request: Connect, authentication: Authentication | None) -> None:
        self._stream = stream
        self._request = request
        self._authentication = authentication
        self._scanner = FrameScanner(request.maximum_packet_size or _LARGEST_PACKET_BYTES)
        self._packets: list[tuple[int, bytes]] = []
        self._who = request.client_id or "(null)"

    async def run(self) -> Established:
        request = self._request
        method = self._authentication
        if method is not None:
            request = replace(request, authentication_method=method.method, authentication_data=await method.start())
        packet = encode_connect(request)
        _log.debug("Client %s sending CONNECT", self._who)
        await self._stream.send_all(packet)
        try:
            while True:
                first, body = await self._next_packet()
                packet_type = first >> 4
                if packet_type == PacketType.AUTH and method is not None:
                    await self._take_step(method, body, first)
                elif packet_type == PacketType.DISCONNECT:
                    goodbye = decode_disconnect(body, request.version, first, from_server=True)
                    text = f"the server ended the connection: {describe(goodbye.reason_code)}"
                    raise DisconnectedError(text, goodbye.reason_code)
                elif packet_type == PacketType.CONNACK:
                    return await self._finish(decode_connack(body, request.version, first), body[1])
                else:  # [MQTT-3.2.0-1]
                    raise DisconnectedError(f"the server's first packet is not CONNACK but of type {packet_type}")
        except PacketError as error:
            raise DisconnectedError(f"the server broke the protocol: {error}") from error

    async def _next_packet(self) -> tuple[int, bytes]:
        while not self._packets:
            data = await self._stream.receive_some()
            if not data:
                raise DisconnectedError("the server closed the connection without an answer to CONNECT")
            self._packets = self._scanner.feed(data)
        return self._packets.pop(0)

    async def _take_step(self, method: Authentication, body: bytes, first: int) -> None:
        auth = decode_auth(body, self._request.version, first)
        _log.debug("Client %s received AUTH (%d)", self._who, auth.reason_code)
        if auth.reason_code != ReasonCode.CONTINUE_AUTHENTICATION or auth.authentication_method != method.method:
            raise PacketError(ReasonCode.PROTOCOL_ERROR, "an AUTH that is no step of what we began")  # [MQTT-4.12.0-2]
        answer = Auth(ReasonCode.CONTINUE_AUTHENTICATION, method.method, await method.respond(auth.authentication_data))
        await self._stream.send_all(encode_auth(answer, self._request.version))

    async def _finish(self, connack: Connack, code: int) -> Established:
        _log.debug("Client %s received CONNACK (%d)", connack.assigned_client_identifier or self._who, code)
        if connack.reason_code != ReasonCode.SUCCESS:
            raise RefusedError(connack.reason_code, code, connack.reason_string, connack.server_reference)
        if self._authentication is not None:
            await self._authentication.finish(connack.authentication_data)
        return Established(self._stream, self._request, connack, self._scanner, self._packets)
