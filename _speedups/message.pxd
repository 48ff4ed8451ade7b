"""A message that outlives the packet it came in: queued, in flight, retained, or a will."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from noctule._speedups.codec cimport Parts, PublishFields

# No C methods on purpose: an object without a method table is eight bytes smaller, and there
# may be millions of these.
cdef class Message:
    cdef unsigned char *data            # topic, properties, payload, one behind the other
    cdef readonly double expires_at     # on the broker's clock; 0.0: never
    cdef uint32_t payload_size
    cdef uint32_t properties_size
    cdef uint32_t expiry_offset
    cdef uint32_t store_references      # rows of the store that refer to it; 0: it is not kept
    cdef uint64_t store_id
    cdef uint16_t topic_size
    cdef readonly uint8_t qos
    cdef readonly bint retain

cdef Message message_of(const PublishFields *publish, double now)

cdef inline void parts_of(Message message, Parts *parts) noexcept:
    parts.topic = message.data
    parts.topic_size = message.topic_size
    parts.properties = message.data + message.topic_size
    parts.properties_size = message.properties_size
    parts.expiry_offset = message.expiry_offset
    parts.payload = message.data + message.topic_size + message.properties_size
    parts.payload_size = message.payload_size

cdef inline size_t size_of(Message message) noexcept:
    return <size_t>message.topic_size + message.properties_size + message.payload_size

cdef inline bint is_expired(Message message, double now) noexcept:
    return message.expires_at != 0.0 and message.expires_at <= now

cdef inline uint32_t seconds_left(Message message, double now) noexcept:
    """The Message Expiry Interval to send: what was received less the time waited here [MQTT-3.3.2-6]."""
    cdef double rest = message.expires_at - now
    if rest <= 0.0:
        return 0
    if rest >= 4294967295.0:
        return 0xFFFFFFFF
    return <uint32_t>(rest + 0.999)
