"""Resting: whether rounds of the reactor shall wait for events to come together.

A rest delays what has come, and saves waking up for what comes meanwhile. That is worth something where events come one
by one and often: below some 7,700 in a second too few come during a rest, and where they come in small bursts, one
waking up serves many of them without it. So events are counted off, and how long so many took and how often nothing
came for a while say how it is. And it may be done where nearly all come from strangers: who has not been heard for long
does not wait for an answer.
"""

from libc.stdint cimport uint32_t

cdef enum:
    # So many events are looked at together.
    WINDOW_EVENTS = 128
    # One round in so many events may come late; where there are more, they come in bursts.
    EVENTS_A_LATE_ROUND = 20

# From one event to the next, on average, at most.
cdef double INTERVAL_S = 0.00013


cdef class Resting:
    """What one reactor has seen of late. Begins without rests."""

    cdef void count(self, uint32_t events, bint is_late, double now_s) noexcept:
        """A round with so many events, ``is_late`` after the one before; the clock stands at ``now_s``."""
        if self._events == 0:
            # It begins with a round, whose own events came before.
            self._events = 1
            self._began_at_s = now_s
            return
        self._events += events
        self._late_rounds += is_late
        if self._events >= WINDOW_EVENTS:
            self.is_on = now_s - self._began_at_s <= self._events * INTERVAL_S \
                and self._late_rounds * EVENTS_A_LATE_ROUND <= self._events
            self._events = 1
            self._late_rounds = 0
            self._began_at_s = now_s

    cdef void stop(self) noexcept:
        """Somebody else waits for the thread: what was seen is forgotten."""
        self.is_on = False
        self._events = 0
        self._late_rounds = 0

    # --- from Python ---

    def after(self, int events, bint is_late, double now_s):
        """``count`` from Python: whether events come so that rests are worth it."""
        self.count(events, is_late, now_s)
        return self.is_on

    def hear_from(self, bint is_stranger):
        """``hear`` from Python: whether nearly all are strangers."""
        self.hear(is_stranger)
        return is_among_strangers(self)

    def forget(self):
        """``stop`` from Python."""
        self.stop()
