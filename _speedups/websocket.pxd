"""WebSocket frames of a server."""

from libc.stdint cimport uint8_t, uint64_t

cdef class FrameDecoder:
    cdef uint8_t _head[14]
    cdef uint8_t _mask[4]
    cdef uint8_t _control[125]      # the payload of a control frame, as far as it has come
    cdef uint64_t _left             # of the payload of the frame at hand
    cdef int _head_size
    cdef int _control_size
    cdef int _opcode
    cdef int _phase                 # how far the payload is into the mask
    cdef bint _in_payload
    cdef bint _in_message           # a message in fragments has begun
    cdef bint _has_failed           # nothing more is read
    cdef object _fault(self, int code, str text)
    cdef object _begin_frame(self)
