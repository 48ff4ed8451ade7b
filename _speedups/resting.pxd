"""Resting: whether rounds of the reactor shall wait for events to come together."""

from libc.stdint cimport uint32_t

cdef enum:
    # Each stranger that is heard is a point, up to a limit, and somebody else takes away so many as there may be strangers
    # for one: with a publisher in nine known, points are lost.
    STRANGERS_MIN = 64
    STRANGERS_MAX = 128
    STRANGERS_FOR_ONE = 8

cdef class Resting:
    cdef readonly bint is_on        # events come often and one by one
    cdef uint32_t _events           # of this window, and one; 0: it has not begun
    cdef uint32_t _late_rounds
    cdef double _began_at_s
    cdef uint32_t strangers         # the points
    cdef void count(self, uint32_t events, bint is_late, double now_s) noexcept
    cdef void stop(self) noexcept
    cdef inline void hear(self, bint is_stranger) noexcept:
        """Something has come, from a stranger or not."""
        if not is_stranger:
            self.strangers -= min(self.strangers, <uint32_t>STRANGERS_FOR_ONE)
        elif self.strangers < STRANGERS_MAX:
            self.strangers += 1

cdef inline bint is_among_strangers(Resting resting) noexcept:
    """Whether nearly all that came lately were strangers."""
    return resting.strangers >= STRANGERS_MIN
