"""One heap for everything that waits for a time: connections that must speak, sessions that expire.

A keep-alive deadline is not moved at each packet: it is looked at when it comes and put off if the
peer has spoken since. So a busy connection costs the heap nothing.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, realloc


@cython.no_gc
cdef class Timed:
    """What can wait in Deadlines, for one deadline at a time."""

    def __cinit__(self, *args, **kwargs):
        self.heap_index = -1

    @property
    def scheduled(self):
        """Whether it waits for its deadline."""
        return self.heap_index >= 0


cdef class Alarm(Timed):
    """A function to be called at a deadline."""

    cdef readonly object call

    def __init__(self, call not None):
        self.call = call


cdef class Deadlines:
    """A binary heap of Timed objects by deadline, in seconds on the broker's clock."""

    def __dealloc__(self):
        self.clear()
        free(self._heap)

    cpdef clear(self):
        """Forget every deadline."""
        while self._count:
            self._count -= 1
            (<Timed>self._heap[self._count]).heap_index = -1
            Py_DECREF(<object>self._heap[self._count])

    def __len__(self):
        return self._count

    def schedule(self, Timed item not None, double deadline):
        """Wait with ``item`` until ``deadline``, in place of the deadline that it has."""
        self.schedule_at(item, deadline)

    def cancel(self, Timed item not None):
        """Forget the item's deadline, if it has one."""
        self.forget(item)

    def next_deadline(self):
        """The earliest deadline; infinity where nothing waits."""
        return (<Timed>self._heap[0]).deadline if self._count else float("inf")

    def take_due(self, double now):
        """Remove what is due at ``now``, earliest first, and give it back as a list."""
        cdef list due = []
        cdef Timed item
        while self._count and (<Timed>self._heap[0]).deadline <= now:
            item = <Timed>self._heap[0]
            due.append(item)
            self.forget(item)
        return due

    cdef int schedule_at(self, Timed item, double deadline) except -1:
        cdef Py_ssize_t capacity
        cdef PyObject **heap
        cdef double before
        if item.heap_index >= 0:
            before = item.deadline
            item.deadline = deadline
            if deadline < before:
                self._up(item.heap_index)
            else:
                self._down(item.heap_index)
            return 0
        if self._count == self._capacity:
            capacity = self._capacity * 2 if self._capacity else 64
            heap = <PyObject **>realloc(self._heap, capacity * sizeof(PyObject *))
            if heap == NULL:
                raise MemoryError()
            self._heap = heap
            self._capacity = capacity
        item.deadline = deadline
        Py_INCREF(item)
        self._count += 1
        self._put(self._count - 1, <PyObject *>item)
        self._up(self._count - 1)
        return 0

    cdef void forget(self, Timed item) noexcept:
        cdef Py_ssize_t index = item.heap_index
        cdef PyObject *last
        if index < 0:
            return
        item.heap_index = -1
        self._count -= 1
        if index < self._count:
            last = self._heap[self._count]
            self._put(index, last)
            self._up(index)
            self._down((<Timed>last).heap_index)
        Py_DECREF(item)

    cdef void _put(self, Py_ssize_t index, PyObject *item) noexcept:
        self._heap[index] = item
        (<Timed>item).heap_index = index

    cdef void _up(self, Py_ssize_t index) noexcept:
        cdef PyObject *item = self._heap[index]
        cdef Py_ssize_t parent
        while index > 0:
            parent = (index - 1) >> 1
            if (<Timed>self._heap[parent]).deadline <= (<Timed>item).deadline:
                break
            self._put(index, self._heap[parent])
            index = parent
        self._put(index, item)

    cdef void _down(self, Py_ssize_t index) noexcept:
        cdef PyObject *item = self._heap[index]
        cdef Py_ssize_t child
        while True:
            child = 2 * index + 1
            if child >= self._count:
                break
            if child + 1 < self._count and (<Timed>self._heap[child + 1]).deadline < (<Timed>self._heap[child]).deadline:
                child += 1
            if (<Timed>item).deadline <= (<Timed>self._heap[child]).deadline:
                break
            self._put(index, self._heap[child])
            index = child
        self._put(index, item)
