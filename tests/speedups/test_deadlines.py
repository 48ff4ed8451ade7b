"""The heap of deadlines: order, moving, cancelling, and any sequence of these against a plain dict."""

import gc
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noctule._speedups.deadlines import Deadlines, Timed


def test_what_waits_for_nothing_is_due_never() -> None:
    deadlines = Deadlines()
    assert len(deadlines) == 0
    assert deadlines.next_deadline() == math.inf
    assert deadlines.take_due(1e300) == []
    item = Timed()
    assert not item.scheduled
    deadlines.cancel(item)
    assert len(deadlines) == 0


def test_due_at_its_deadline_and_not_before() -> None:
    deadlines = Deadlines()
    item = Timed()
    deadlines.schedule(item, 10.0)
    assert item.scheduled
    assert item.deadline == 10.0
    assert deadlines.take_due(math.nextafter(10.0, 0.0)) == []
    assert deadlines.take_due(10.0) == [item]
    assert not item.scheduled
    assert deadlines.take_due(11.0) == []


def test_earliest_first() -> None:
    deadlines = Deadlines()
    items = {when: Timed() for when in (5.0, 1.0, 4.0, 2.0, 3.0)}
    for when, item in items.items():
        deadlines.schedule(item, when)
    assert deadlines.next_deadline() == 1.0
    assert deadlines.take_due(4.0) == [items[when] for when in (1.0, 2.0, 3.0, 4.0)]
    assert deadlines.next_deadline() == 5.0


@pytest.mark.parametrize("moved_to", [0.5, 9.0])
def test_a_second_deadline_replaces_the_first(moved_to: float) -> None:
    deadlines = Deadlines()
    others = [Timed() for _ in range(7)]
    for i, other in enumerate(others):
        deadlines.schedule(other, 1.0 + i)
    item = others[3]
    deadlines.schedule(item, moved_to)
    assert len(deadlines) == 7
    assert item.deadline == moved_to
    due = deadlines.take_due(100.0)
    assert due.index(item) == (0 if moved_to < 1 else 6)


def test_what_is_cancelled_does_not_come() -> None:
    deadlines = Deadlines()
    items = [Timed() for _ in range(100)]
    for i, item in enumerate(items):
        deadlines.schedule(item, float(i % 10))
    for item in items[::2]:
        deadlines.cancel(item)
        deadlines.cancel(item)
    assert len(deadlines) == 50
    assert set(deadlines.take_due(100.0)) == set(items[1::2])


def test_the_heap_keeps_its_items_alive_and_no_longer_than_it_must() -> None:
    deadlines = Deadlines()
    item = Timed()
    before = sys.getrefcount(item)
    deadlines.schedule(item, 1.0)
    deadlines.schedule(item, 2.0)
    assert sys.getrefcount(item) == before + 1
    deadlines.cancel(item)
    assert sys.getrefcount(item) == before
    deadlines.schedule(item, 1.0)
    deadlines.take_due(1.0).clear()
    assert sys.getrefcount(item) == before
    deadlines.schedule(item, 1.0)
    del deadlines
    gc.collect()
    assert sys.getrefcount(item) == before
    assert not item.scheduled


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["schedule", "cancel", "take"]),
            st.integers(0, 15),
            st.integers(0, 20) | st.just(1_000_000),
        ),
        max_size=80,
    )
)
def test_as_a_plain_dict_does(operations: list[tuple[str, int, int]]) -> None:
    deadlines = Deadlines()
    items = [Timed() for _ in range(16)]
    waiting: dict[int, float] = {}
    for what, which, when in operations:
        if what == "schedule":
            deadlines.schedule(items[which], float(when))
            waiting[which] = float(when)
        elif what == "cancel":
            deadlines.cancel(items[which])
            waiting.pop(which, None)
        else:
            due = [items.index(item) for item in deadlines.take_due(float(when))]
            assert sorted(due) == sorted(i for i, deadline in waiting.items() if deadline <= when)
            assert [waiting[i] for i in due] == sorted(waiting[i] for i in due)
            for i in due:
                del waiting[i]
        assert len(deadlines) == len(waiting)
        assert deadlines.next_deadline() == min(waiting.values(), default=math.inf)
        assert [item.scheduled for item in items] == [i in waiting for i in range(16)]
