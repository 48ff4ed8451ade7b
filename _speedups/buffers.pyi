"""Bounds-checked reading of received bytes, and the growing buffers that bytes are written to."""

class PacketError(Exception):
    """A packet of the peer's breaks a rule: its fault, and its connection ends."""

    reason_code: int
    rule: str
    def __init__(self, reason_code: int, text: str, rule: str = "") -> None: ...

MALFORMED_PACKET: int

class BufferPool:
    """Gives write buffers their memory and takes it back; one for each router."""

class PacketReader:
    """Reads the fields of one packet, in order; each method raises PacketError where the bytes do not reach."""

    def __init__(self, data: bytes) -> None: ...
    @property
    def remaining(self) -> int:
        """How many bytes are left."""
    def u8(self, field: str = "a byte") -> int: ...
    def u16(self, field: str = "a two-byte integer") -> int: ...
    def u32(self, field: str = "a four-byte integer") -> int: ...
    def varint(self, field: str = "a variable byte integer") -> int: ...
    def take(self, size: int, field: str = "a field") -> bytes:
        """The next ``size`` bytes."""
    def rest(self) -> bytes:
        """All that is left."""
    def binary(self, field: str = "binary data") -> bytes:
        """Bytes behind a two-byte length (the specification, 1.5.6)."""
    def utf8(self, field: str = "a string") -> str:
        """A UTF-8 string behind a two-byte length (1.5.4)."""
    def section(self, size: int, field: str = "a section") -> PacketReader:
        """A reader of the next ``size`` bytes alone; this one goes on behind them."""
    def expect_end(self, what: str = "the packet") -> None:
        """Raise PacketError unless every byte has been read."""

def encode_varint(value: int) -> bytes:
    """``value`` (0 to 268,435,455) as a variable byte integer (1.5.5)."""
