"""Lists: which part of one is asked for, and how it is written without keeping anybody waiting."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import trio
from noctule.services.api.answers import Page
from noctule.services.api.json_types import json_bytes
from noctule.services.api.requests import Parameter, Values

#: Items that are looked at, or written, before others get their turn: half a millisecond at most.
SLICE: Final = 10
_LOOKED_AT: Final = 500

#: Slices that are sent together.
_SLICES_SENT: Final = 10

#: Items of one page: as many as are asked for, and at most.
LIMIT: Final = 100
LIMIT_MAX: Final = 1_000

#: How far into a list whose end is not known one may look.
OFFSET_MAX: Final = 10_000

PAGE_PARAMETERS: Final = (
    Parameter("offset", int, "How many are left out at the beginning.", 0, 10_000_000, 0),
    Parameter("limit", int, "How many at most.", 0, LIMIT_MAX, LIMIT),
)

_Item = TypeVar("_Item")


def page_of(values: Values) -> tuple[int, int]:
    """Offset and limit."""
    return int(values["offset"] or 0), int(values["limit"] or 0)


async def matching(items: Iterable[_Item], test: Callable[[_Item], bool]) -> list[_Item]:
    """The items that pass the test."""
    found: list[_Item] = []
    remaining = iter(items)
    while part := list(islice(remaining, _LOOKED_AT)):
        found += filter(test, part)
        await trio.lowlevel.checkpoint()
    return found


async def written(page: Page, items: Sequence[_Item], made: Callable[[_Item], object]) -> AsyncIterator[bytes]:
    """A page as JSON, in pieces; ``made`` makes the answer of an item."""
    written_bytes: list[bytes] = []
    is_begun = False
    yield b'{"page": ' + json_bytes(page) + b', "items": ['
    for start in range(0, len(items), SLICE):
        await trio.lowlevel.checkpoint()
        part = [json_bytes(made(item)) for item in items[start : start + SLICE]]
        written_bytes.append(b", ".join(part))
        if len(written_bytes) >= _SLICES_SENT:
            yield (b", " if is_begun else b"") + b", ".join(written_bytes)
            is_begun = True
            written_bytes.clear()
    if written_bytes:
        yield (b", " if is_begun else b"") + b", ".join(written_bytes)
    yield b"]}"
