"""WebSocket of one connection: a filter that lets HTTP ask for it, and then carries MQTT in binary frames."""

import struct
from dataclasses import replace
from typing import Final

from noctule._speedups.link import Link
from noctule._speedups.websocket import BINARY, CLOSE, PING, PONG, FrameDecoder, frame
from noctule.net.filters import Established
from noctule.net.upgrade import UpgradeRules, Upgrading

#: Codes of Close (RFC 6455, 7.4.1).
_NORMAL_CLOSURE: Final = 1_000
_PROTOCOL_ERROR: Final = 1_002

#: What stands behind the code in a Close.
_REASON_MAX_BYTES: Final = 123


class WebSocketFilter:
    """WebSocket of one connection, as ``noctule._speedups.link.Filter``.

    Frames are a stream of bytes: packets may be cut anywhere and share frames [MQTT-6.0.0-2].
    """

    __slots__ = ("_close_code", "_close_reason", "_decoder", "_established", "_has_ended", "_upgrading")

    def __init__(self, rules: UpgradeRules, established: Established) -> None:
        #: None once HTTP is done with.
        self._upgrading: Upgrading | None = Upgrading(rules)
        self._established: Established | None = established
        self._decoder = FrameDecoder()
        self._close_code = _NORMAL_CLOSURE
        self._close_reason = ""
        self._has_ended = False

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        """As a filter has it."""
        if self._upgrading is not None:
            return self._upgrade(link, self._upgrading, data)
        payload, control, fault = self._decoder.feed(data)
        if not control and fault is None:
            return payload, b"", None
        answer = b""
        for opcode, content in control:
            if opcode == PING:
                answer += frame(PONG, content)
            elif opcode == CLOSE:
                if len(content) == 1:
                    self._close_code = _PROTOCOL_ERROR
                elif content:
                    (self._close_code,) = struct.unpack_from(">H", content)
                    if not _may_be_sent(self._close_code):
                        self._close_code = _PROTOCOL_ERROR
                return payload, answer + self.end(), ""
        if fault is None:
            return payload, answer, None
        self._close_code, self._close_reason = fault
        return payload, answer, f"WebSocket: {self._close_reason}"

    def _upgrade(self, link: Link, upgrading: Upgrading, data: bytes) -> tuple[bytes, bytes, str | None]:
        """HTTP, until it is done with."""
        outcome = upgrading.received(data, link.origin.address)
        if outcome is None:
            return b"", b"", None
        if not outcome.is_accepted:
            self._has_ended = True
            return b"", outcome.answer, outcome.fault
        if outcome.address is not None:
            link.origin = replace(link.origin, address=outcome.address)
            shown = f"[{outcome.address}]" if ":" in outcome.address else outcome.address
            link.peer = f"{shown}:{link.peer.rpartition(':')[2]}"  # the port is the proxy's
            if not upgrading.rules.come_from(outcome.address):
                self._has_ended = True
                return b"", outcome.refusal, upgrading.rules.too_many_from(outcome.address)
        self._upgrading = None
        established, self._established = self._established, None
        if established is not None:
            established()
        if not outcome.rest:
            return b"", outcome.answer, None
        payload, answer, fault = self.received(link, outcome.rest)
        return payload, outcome.answer + answer, fault

    def to_send(self, data: bytes) -> bytes:
        """As a filter has it."""
        if self._has_ended:
            return b""
        return frame(BINARY, data)

    def end(self) -> bytes:
        """As a filter has it."""
        if self._has_ended or self._upgrading is not None:
            return b""
        self._has_ended = True
        reason = self._close_reason.encode()[:_REASON_MAX_BYTES]
        return frame(CLOSE, struct.pack(">H", self._close_code) + reason)


def _may_be_sent(code: int) -> bool:
    """Whether a peer may send this code in a Close (RFC 6455, 7.4)."""
    return code in (1_000, 1_001, 1_002, 1_003) or 1_007 <= code <= 1_014 or 3_000 <= code <= 4_999
