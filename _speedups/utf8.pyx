"""MQTT's rules for UTF-8 strings, checked on a slice of received bytes without a copy.

One policy for every string on the wire: what the specifications forbid (ill-formed
UTF-8, U+0000) and what they discourage (control characters, non-characters) is
refused alike, as Mosquitto does. A control character in a topic or a client
identifier would otherwise reach the log and other clients.
"""

from libc.stdint cimport uint64_t, uint32_t
from libc.string cimport memcpy

cdef extern from *:
    """
    /* True where each of eight bytes is printable ASCII (0x20..0x7E): no byte has the
       top bit, none is below 0x20, none is 0x7F. The usual has-zero-byte arithmetic. */
    static inline int noctule_printable8(uint64_t w) {
        const uint64_t ones = 0x0101010101010101ULL, tops = 0x8080808080808080ULL;
        uint64_t low = w - ones * 0x20;                       /* borrows where < 0x20 */
        uint64_t del = w ^ (ones * 0x7F);
        uint64_t is_del = (del - ones) & ~del;
        return ((w | low | is_del) & tops) == 0;
    }
    /* One to seven bytes, and nothing else but some of them again or spaces. */
    static inline uint64_t noctule_few_bytes(const unsigned char *at, size_t size) {
        uint32_t first, last;
        if (size < 4)
            return 0x2020202020000000ULL | at[0] | (uint64_t)at[size >> 1] << 8 | (uint64_t)at[size - 1] << 16;
        memcpy(&first, at, 4);
        memcpy(&last, at + size - 4, 4);
        return first | (uint64_t)last << 32;
    }
    """
    int noctule_printable8(uint64_t word) noexcept nogil
    uint64_t noctule_few_bytes(const unsigned char *at, size_t size) noexcept nogil


cdef Utf8Fault check_utf8(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """What is wrong with these bytes as an MQTT UTF-8 string; UTF8_OK where nothing is."""
    cdef Py_ssize_t i = 0
    cdef uint64_t word
    cdef uint32_t point, least
    cdef unsigned char byte
    cdef int more
    while i < size:
        if size - i >= 8:
            memcpy(&word, data + i, 8)
        else:
            word = noctule_few_bytes(data + i, <size_t>(size - i))
        if noctule_printable8(word):
            i += 8              # past the end where fewer were left
            continue
        byte = data[i]
        i += 1
        if byte < 0x80:
            if byte == 0:
                return UTF8_NULL
            if byte < 0x20 or byte == 0x7F:
                return UTF8_CONTROL
            continue
        if byte < 0xC2:          # a continuation byte alone, or an overlong two-byte form
            return UTF8_ILL_FORMED
        elif byte < 0xE0:
            more = 1
            point = byte & 0x1F
            least = 0x80
        elif byte < 0xF0:
            more = 2
            point = byte & 0x0F
            least = 0x800
        elif byte < 0xF5:
            more = 3
            point = byte & 0x07
            least = 0x10000
        else:
            return UTF8_ILL_FORMED
        if size - i < more:
            return UTF8_ILL_FORMED
        while more > 0:
            byte = data[i]
            if byte & 0xC0 != 0x80:
                return UTF8_ILL_FORMED
            point = (point << 6) | (byte & 0x3F)
            i += 1
            more -= 1
        if point < least or point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            return UTF8_ILL_FORMED
        if point <= 0x9F:
            return UTF8_CONTROL
        if 0xFDD0 <= point <= 0xFDEF or (point & 0xFFFE) == 0xFFFE:
            return UTF8_NONCHARACTER
    return UTF8_OK


_FAULTS = {
    UTF8_ILL_FORMED: "ill-formed UTF-8",
    UTF8_NULL: "the null character U+0000",
    UTF8_CONTROL: "a control character",
    UTF8_NONCHARACTER: "a Unicode non-character",
}


def utf8_fault(data):
    """What is wrong with ``data`` (bytes) as an MQTT UTF-8 string, in words; None where nothing is."""
    cdef const unsigned char[::1] view = data
    if view.shape[0] == 0:
        return None
    return _FAULTS.get(check_utf8(&view[0], view.shape[0]))
