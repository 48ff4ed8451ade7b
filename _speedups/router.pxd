"""Where a message goes: the route of its topic, and the fan-out to every session on it."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from noctule._speedups.buffers cimport WriteBuffer
from noctule._speedups.codec cimport Layout, Parts, PublishFields
from noctule._speedups.message cimport Message
from noctule._speedups.outlet cimport Outlet, Plane
from noctule._speedups.session cimport Session
from noctule._speedups.topics cimport FilterTree, Matches, Node, TopicTree

# How a target takes part, as bits.
cdef enum:
    TARGET_RETAIN = 1       # Retain As Published: the RETAIN flag is passed on
    TARGET_NOT_SELF = 2     # No Local: not what the session published itself  [MQTT-3.8.3-3]
    TARGET_ONLY_SELF = 4    # the same session's part in what it published itself

cdef struct Target:
    PyObject *session       # not owned: a session leaves the filter tree, and so the route, before it goes
    PyObject *via           # a Via, or NULL; owned
    uint8_t qos
    uint8_t flags

# A share group on a route: one of its members gets each message.
cdef struct Share:
    Node *group             # its cursor lives there; not owned: as with sessions, routes go before nodes
    Target *members
    size_t count

# How a share group chooses.
cdef enum ShareStrategy:
    ROUND_ROBIN = 0
    LEAST_INFLIGHT = 1
    STICKY = 2
    HASH_TOPIC = 3
    HASH_PUBLISHER = 4

cdef class Route:
    cdef unsigned char *topic
    cdef Target *targets
    cdef readonly size_t count
    cdef Share *shares
    cdef readonly size_t share_count
    cdef uint64_t hash
    cdef uint64_t generation
    cdef uint16_t topic_size
    cdef bint is_stale
    # Whose publishing here was last judged, when, and with what outcome (0: nobody's).
    cdef uint64_t judged_rules_number
    cdef uint64_t judged_generation     # Router.access_generation
    cdef int judged_rights

cdef class Router:
    cdef readonly Plane plane
    cdef readonly FilterTree filters
    cdef readonly TopicTree retained
    cdef public object when_retained_full   # called with a topic whose message is not retained, or None
    cdef PyObject **_routes             # buckets of four
    cdef uint64_t _bucket_mask
    cdef readonly size_t cached_routes
    cdef size_t _cached_targets
    cdef uint32_t _victim
    cdef uint64_t _mark
    cdef ShareStrategy _share_strategy
    cdef readonly uint64_t access_generation    # moves when what anybody may do has changed
    cdef dict _expiring                 # topic -> RetainedExpiry, of retained messages that expire
    cdef uint64_t _key0, _key1
    cdef WriteBuffer _translated        # a run in the other layout
    cdef Route route_of(self, const unsigned char *topic, uint16_t size)
    cdef Route _build(self, const unsigned char *topic, uint16_t size, uint64_t hash)
    cdef int _add_self_targets(self, Route route, const Matches *matches) except -1
    cdef int _add_shares(self, Route route, const Matches *matches) except -1
    cdef Target *choose(self, const Share *share, uint8_t qos, uint64_t topic_hash, Session source) noexcept
    cdef bint _takes_now(self, Session session, uint8_t qos) noexcept
    cdef void _put(self, Route route, uint64_t slot) noexcept
    cdef Route _keep(self, Route route)
    cdef int _grow_cache(self) except -1
    cdef void _evict(self, uint64_t slot) noexcept
    cdef void _clear_cache(self) noexcept
    cdef void _forget_route(self, bytes topic) noexcept
    cdef bint add_subscription(self, Session session, bytes topic_filter, int qos, int options, uint32_t identifier,
                               bytes share_name) except -1
    cdef int _drop_subscriptions(self, Session session) except -1
    cdef int end(self, Session session) except -1
    cdef int publish(self, Route route, const PublishFields *fields, Message message, Session source) except -1
    cdef bint has_room_for_retained(self) noexcept
    cdef bint retained_is_full(self, bytes topic) except -1
    cdef int _retain(self, Message message) except -1
    cdef int _keep_retained(self, Message message) except -1
    cdef int publish_run(self, Route route, const unsigned char *data, size_t size, uint32_t count,
                         size_t payload_bytes, Layout layout, Session source) except -1
    cdef int _share_run(self, Route route, const unsigned char *data, size_t size, Layout layout,
                        Session source) except -1
    cdef int _run_singly(self, const Target *target, const unsigned char *data, size_t size,
                         Layout layout) except -1
    cdef int _translate_run(self, const unsigned char *data, size_t size, Layout layout) except -1
    cdef int _send_qos0(self, const Target *target, const Parts *parts, bint retain, uint32_t expiry_s) except -1

cdef inline bint is_current(Router router, Route route, const unsigned char *topic, uint16_t size) noexcept:
    """Whether this is the route of the topic still."""
    return not route.is_stale and route.generation == router.filters.generation \
        and route.topic_size == size and _same(route.topic, topic, size)

cdef inline bint _same(const unsigned char *left, const unsigned char *right, uint16_t size) noexcept:
    return memcmp(left, right, size) == 0

from libc.string cimport memcmp
