"""Counts what sessions and links hold at this moment, so that nothing has to be counted when it changes."""

from noctule._speedups.link import Link
from noctule._speedups.session import Session

def count_sessions(sessions: list[Session], start: int, stop: int) -> tuple[int, int, int, int, int, int, int, int]:
    """Sums over ``sessions[start:stop]``: how many are connected; messages that are queued, and their bytes; that are
    sent and not acknowledged, and bytes; that are received and not released, and bytes; that were dropped."""

def count_pending(links: list[Link], start: int, stop: int) -> int:
    """The bytes that ``links[start:stop]`` have written and not sent."""
