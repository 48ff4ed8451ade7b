"""MQTT's rules for UTF-8 strings and topics, checked on a slice of received bytes without a copy."""

cdef enum Utf8Fault:
    UTF8_OK = 0
    UTF8_ILL_FORMED = 1      # overlong, surrogate, above U+10FFFF, cut short  [MQTT-1.5.4-1] [MQTT-1.5.3-1]
    UTF8_NULL = 2            # U+0000  [MQTT-1.5.4-2] [MQTT-1.5.3-2]
    UTF8_CONTROL = 3         # U+0001..U+001F, U+007F..U+009F: SHOULD NOT be sent, refused here
    UTF8_NONCHARACTER = 4    # U+FDD0..U+FDEF, U+xxFFFE, U+xxFFFF: SHOULD NOT be sent, refused here

cdef Utf8Fault check_utf8(const unsigned char *data, Py_ssize_t size) noexcept nogil
