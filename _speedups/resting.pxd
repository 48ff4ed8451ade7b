"""Resting: whether rounds of the reactor shall wait for events to come together."""

from libc.stdint cimport uint32_t

cdef class Resting:
    cdef readonly bint is_on        # rounds shall rest
    cdef uint32_t _events           # of this window, and one; 0: it has not begun
    cdef uint32_t _late_rounds
    cdef double _began_at_s
    cdef void count(self, uint32_t events, bint is_late, double now_s) noexcept
    cdef void stop(self) noexcept
