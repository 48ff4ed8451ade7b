"""What plain clients want, handled without the handlers: nothing about them is to be decided."""

from libc.stdint cimport uint8_t, uint16_t

from noctule._speedups.buffers cimport Cursor
from noctule._speedups.link cimport Link
from noctule._speedups.outlet cimport Outlet, Plane, Shortcut
from noctule._speedups.router cimport Router
from noctule._speedups.session cimport Session

cdef class Welcome:
    cdef bytes connack_3
    cdef bytes connack_5
    cdef uint16_t keep_alive_max_s      # 0: any
    cdef uint8_t durability
    cdef Py_ssize_t sessions_max        # 0: any

cdef class PlainClients(Shortcut):
    cdef Router router
    cdef Plane plane
    cdef dict sessions
    cdef set links
    cdef object connection_3            # what ``link.connection`` is; one for all, since nothing in it differs
    cdef object connection_5
    cdef object _state
    cdef object _judge
    cdef object _is_debugging
    cdef bint _is_debugging_now
    cdef double _asked_at
    cdef Welcome _welcome               # of the last client that was judged: of its origin, under these settings
    cdef object _origin
    cdef object _settings
    cdef object _journal
    cdef bint _has_judged
    cdef object _make_client
    cdef bint connect(self, Outlet outlet, const Cursor *body) except -1
    cdef bint packet(self, Outlet outlet, uint8_t first, const Cursor *body) except -1
    cdef object describe(self, Outlet outlet, str client_id)
    cdef bint _subscribe(self, Link link, Cursor body, bint has_properties) except -1
    cdef bint _is_heard(self) except -1
    cdef bint _disconnect(self, Link link) except -1
