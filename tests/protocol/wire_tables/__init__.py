"""Tables of bytes on the wire, one file for each control packet, and the two kinds of row that they have."""

from dataclasses import dataclass

from noctule._speedups.codec import FrameScanner

ALL = (3, 4, 5)
BELOW_5 = (3, 4)


@dataclass(frozen=True)
class Valid:
    """A packet that is right: what it says, and that saying it gives these bytes."""

    name: str
    versions: tuple[int, ...]
    wire: bytes
    packet: object

    #: Whether our encoder writes the very same bytes (it always writes the shortest form, properties in its order).
    is_canonical: bool = True

    #: The lengths at which a body that is cut off there is right, if another packet.
    shorter_bodies: frozenset[int] = frozenset()

    #: Whether a byte of 0 behind it makes another packet that is right.
    may_grow: bool = False

    #: Whether it was a server that sent it, where that makes a difference.
    from_server: bool = False


@dataclass(frozen=True)
class Faulty:
    """A packet that is wrong: the reason code that it is refused with, and the statement that it breaks."""

    name: str
    versions: tuple[int, ...]
    wire: bytes
    reason_code: int
    rule: str = ""
    from_server: bool = False


def frame(first: int, *fields: bytes) -> bytes:
    """A packet with its fixed header; bodies of the tables are shorter than 128 bytes."""
    body = b"".join(fields)
    assert len(body) < 128
    return bytes((first, len(body))) + body


def take_apart(wire: bytes) -> tuple[int, bytes]:
    """First byte and body of one whole packet."""
    ((first, body),) = FrameScanner().feed(wire)
    return first, body
