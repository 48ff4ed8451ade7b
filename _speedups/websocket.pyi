"""WebSocket frames (RFC 6455, 5) of a server: a stream of bytes out of a client's frames, and frames around ours."""

CONTINUATION: int
TEXT: int
BINARY: int
CLOSE: int
PING: int
PONG: int

class FrameDecoder:
    """Takes a client's frames apart; one for each connection."""

    def feed(self, data: bytes) -> tuple[bytes, tuple[tuple[int, bytes], ...], tuple[int, str] | None]:
        """Take received bytes apart: payload, control frames (opcode, payload), and the fault (close code, text).

        After a fault, or a Close, nothing more is read.
        """

def frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame of a server's: not masked. ValueError where a control frame would be too large."""
