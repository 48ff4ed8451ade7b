"""One heap for everything that waits for a time: connections that must speak, sessions that expire."""

cimport cython
from cpython.object cimport PyObject

@cython.no_gc
cdef class Timed:
    cdef readonly double deadline
    cdef Py_ssize_t heap_index      # where it stands in the heap; -1: it waits for nothing

cdef class Deadlines:
    cdef PyObject **_heap
    cdef Py_ssize_t _count
    cdef Py_ssize_t _capacity
    cpdef clear(self)
    cdef int schedule_at(self, Timed item, double deadline) except -1
    cdef void forget(self, Timed item) noexcept
    cdef void _up(self, Py_ssize_t index) noexcept
    cdef void _down(self, Py_ssize_t index) noexcept
    cdef void _put(self, Py_ssize_t index, PyObject *item) noexcept
