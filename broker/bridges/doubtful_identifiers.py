"""Packet identifiers of QoS 2 that the two sides of a bridge may understand differently, and how they agree again.

A packet identifier belongs to one session at one server. Where this side has forgotten its session, or was connected
to another address meanwhile, the other broker may hold a message of an earlier time under an identifier that is to be
used now, and would take the new message for that one sent again: it would be lost. So before an identifier is first
used in such a time it is released; who holds nothing under it answers all the same (4.3.3). A message that is sent
again (DUP) is not preceded by that: where it is the same broker after all, it may have it.
"""


class DoubtfulIdentifiers:
    """Which identifiers have been used since the doubt arose; there is one object for each such time."""

    __slots__ = ("_incoming", "_outgoing")

    def __init__(self) -> None:
        self._outgoing: set[int] = set()
        self._incoming: set[int] = set()

    def release_there_first(self, packet_id: int, *, is_again: bool) -> bool:
        """Whether the other broker has to release the identifier before a message of ours is sent under it."""
        return _is_first(self._outgoing, packet_id, is_again=is_again)

    def release_here_first(self, packet_id: int, *, is_again: bool) -> bool:
        """Whether this broker has to release it before a message of theirs is taken under it."""
        return _is_first(self._incoming, packet_id, is_again=is_again)


def _is_first(used: set[int], packet_id: int, *, is_again: bool) -> bool:
    if packet_id in used:
        return False
    used.add(packet_id)
    return not is_again
