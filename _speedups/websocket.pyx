"""WebSocket frames (RFC 6455, 5) of a server: a stream of bytes out of a client's frames, and frames around ours.

The payload of the data frames is one stream: where a frame or a message ends says nothing about MQTT packets
[MQTT-6.0.0-2]. So nothing is collected but a frame's header and the payload of a control frame: however a client cuts
its stream, and whatever length a frame announces, no more is held than has come.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from noctule._speedups.buffers cimport Cursor, left, put_bytes, put_u16, take_bytes, take_u8

CONTINUATION, TEXT, BINARY = OP_CONTINUATION, OP_TEXT, OP_BINARY
CLOSE, PING, PONG = OP_CLOSE, OP_PING, OP_PONG

cdef enum:
    OP_CONTINUATION = 0
    OP_TEXT = 1
    OP_BINARY = 2
    OP_CLOSE = 8
    OP_PING = 9
    OP_PONG = 10
    CONTROL_BYTES_MAX = 125
    WS_PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003


cdef inline int _header_size(const uint8_t *head, int size) noexcept:
    """How long the header is that begins like this; 2 as long as that is not known."""
    cdef int length
    if size < 2:
        return 2
    length = head[1] & 0x7F
    return 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if head[1] & 0x80 else 0)


cdef void _unmask(unsigned char *to, const unsigned char *data, Py_ssize_t size, const uint8_t *mask, int phase) noexcept:
    """Copy, and take the mask off; ``phase``: how much of the frame came before, modulo 4."""
    cdef uint8_t turned[8]
    cdef uint64_t wide, part
    cdef Py_ssize_t i
    for i in range(8):
        turned[i] = mask[(phase + i) & 3]
    memcpy(&wide, turned, 8)
    i = 0
    while i + 8 <= size:
        memcpy(&part, data + i, 8)
        part ^= wide
        memcpy(to + i, &part, 8)
        i += 8
    while i < size:
        to[i] = data[i] ^ turned[i & 7]
        i += 1


cdef class FrameDecoder:
    """Takes a client's frames apart; one for each connection.

    ``feed(data)`` returns ``(payload, control, fault)``: the payload of the data frames; the control frames that ended,
    as a tuple of ``(opcode, payload)``; and None, or ``(close code, what the peer did wrong)``. After a fault nothing
    more is read.
    """

    def __cinit__(self):
        self._head_size = 0
        self._left = 0
        self._in_payload = False
        self._in_message = False
        self._has_failed = False

    cdef object _fault(self, int code, str text):
        self._has_failed = True
        return code, text

    cdef object _begin_frame(self):
        """The header is whole: judge it. None, or the fault."""
        cdef uint8_t first = self._head[0]
        cdef uint8_t second = self._head[1]
        cdef int opcode = first & 0x0F
        cdef bint is_last = first & 0x80
        cdef uint64_t length = second & 0x7F
        cdef int i
        if first & 0x70:
            return self._fault(WS_PROTOCOL_ERROR, "a frame with reserved bits")
        if not second & 0x80:
            return self._fault(WS_PROTOCOL_ERROR, "a frame that is not masked")
        if opcode >= OP_CLOSE:
            if opcode > OP_PONG:
                return self._fault(WS_PROTOCOL_ERROR, "a frame with a reserved opcode")
            if not is_last or length > CONTROL_BYTES_MAX:
                return self._fault(WS_PROTOCOL_ERROR, "a control frame in fragments or larger than 125 bytes")
        elif opcode == OP_TEXT:
            return self._fault(UNSUPPORTED_DATA, "a text frame")                # [MQTT-6.0.0-1]
        elif opcode > OP_BINARY:
            return self._fault(WS_PROTOCOL_ERROR, "a frame with a reserved opcode")
        elif (opcode == OP_CONTINUATION) != self._in_message:
            return self._fault(WS_PROTOCOL_ERROR, "a fragment that does not belong to the message before it")
        if length == 126:
            length = <uint64_t>self._head[2] << 8 | self._head[3]
            if length < 126:
                return self._fault(WS_PROTOCOL_ERROR, "a length in more bytes than it needs")
        elif length == 127:
            length = 0
            for i in range(8):
                length = length << 8 | self._head[2 + i]
            if length >> 63 or length <= 0xFFFF:
                return self._fault(WS_PROTOCOL_ERROR, "a length in more bytes than it needs, or too large")
        if opcode < OP_CLOSE:
            self._in_message = not is_last
        self._opcode = opcode
        self._left = length
        self._phase = 0
        self._control_size = 0
        self._in_payload = True
        memcpy(self._mask, self._head + self._head_size - 4, 4)
        self._head_size = 0
        return None

    def feed(self, bytes data not None):
        """Take received bytes apart."""
        cdef Cursor cursor
        cdef Cursor section
        cdef Py_ssize_t room = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t size
        cdef Py_ssize_t filled = 0
        cdef unsigned char *to
        cdef list control = None
        cdef object fault = None
        # No payload is longer than the frames that it is in.
        cdef bytes payload = PyBytes_FromStringAndSize(NULL, room)
        to = <unsigned char *>PyBytes_AS_STRING(payload)
        cursor.at = <const unsigned char *>PyBytes_AS_STRING(data)
        cursor.end = cursor.at + room
        while not self._has_failed:
            if not self._in_payload:
                if self._head_size < _header_size(self._head, self._head_size):
                    if not take_u8(&cursor, &self._head[self._head_size]):
                        break
                    self._head_size += 1
                    continue
                fault = self._begin_frame()
                if fault is not None:
                    break
            size = left(&cursor)
            if <uint64_t>size > self._left:
                size = <Py_ssize_t>self._left
            if size == 0 and self._left:
                break
            if not take_bytes(&cursor, size, &section):
                break
            if self._opcode < OP_CLOSE:
                _unmask(to + filled, section.at, size, self._mask, self._phase)
                filled += size
            else:
                _unmask(self._control + self._control_size, section.at, size, self._mask, self._phase)
                self._control_size += <int>size
            self._phase = (self._phase + <int>(size & 3)) & 3
            self._left -= <uint64_t>size
            if self._left == 0:
                self._in_payload = False
                if self._opcode >= OP_CLOSE:
                    if control is None:
                        control = []
                    control.append((self._opcode, PyBytes_FromStringAndSize(<char *>self._control, self._control_size)))
                    if self._opcode == OP_CLOSE:
                        self._has_failed = True         # nothing that stands behind it counts
        return (payload if filled == room else payload[:filled]), \
            (() if control is None else tuple(control)), fault


def frame(int opcode, bytes payload not None):
    """A whole frame of a server's: not masked. ValueError where a control frame would be too large."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef int head = 2 if size < 126 else 4 if size <= 0xFFFF else 10
    cdef bytes made
    cdef unsigned char *at
    cdef int i
    if opcode >= OP_CLOSE and size > CONTROL_BYTES_MAX:
        raise ValueError(f"a control frame has {CONTROL_BYTES_MAX} bytes at most, not {size}")
    made = PyBytes_FromStringAndSize(NULL, head + size)
    at = <unsigned char *>PyBytes_AS_STRING(made)
    at[0] = <unsigned char>(0x80 | opcode)
    if head == 2:
        at[1] = <unsigned char>size
    elif head == 4:
        at[1] = 126
        put_u16(at + 2, <unsigned short>size)
    else:
        at[1] = 127
        for i in range(8):
            at[2 + i] = <unsigned char>(<uint64_t>size >> (56 - 8 * i))
    put_bytes(at + head, PyBytes_AS_STRING(payload), size)
    return made
