"""FilterTree: who subscribed to what. TopicTree: the retained messages, walked by a filter."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from noctule._speedups.deadlines cimport Timed

cdef enum:
    LEVELS_MAX = 256        # of a topic or filter; the configured limit is at most this

# Options of a subscription, as bits.
cdef enum:
    NO_LOCAL = 1
    RETAIN_AS_PUBLISHED = 2

# What a node of the filter tree is. A share group is a child of its filter's node, its label the
# ShareName behind a NUL, which no topic or filter can have.
cdef enum NodeKind:
    LITERAL = 0
    PLUS = 1
    HASH = 2
    GROUP = 3

# One level of a topic or filter. Which of the unions' members is used is the tree's choice.
cdef struct _FilterLinks:
    Node *plus              # the child "+"; of a group: the next group of its filter
    Node *hash              # the child "#"; of a group: the previous group
    Subscription *first     # the subscriptions to this very filter, or the members of the group
    Node *groups            # the first of the filter's share groups
    uint64_t cursor         # of a group: where the next choice of a member begins

cdef struct _TopicLinks:
    Node *first_child
    Node *next              # siblings, in no order
    Node *previous

cdef union _Links:
    _FilterLinks filters
    _TopicLinks topics

cdef struct Node:
    Node *parent
    _Links links
    PyObject *message       # topic tree: the retained message
    uint64_t hash           # of (parent, label)
    uint32_t children
    uint32_t subscriptions
    uint16_t size
    uint8_t kind            # NodeKind
    unsigned char label[1]  # as long as it must be

cdef struct Subscription:
    Node *node
    PyObject *subscriber
    Subscription *next_at_node
    Subscription *previous_at_node
    Subscription *next_of_subscriber
    Subscription *previous_of_subscriber
    uint32_t identifier     # Subscription Identifier; 0: none
    uint8_t qos
    uint8_t options

cdef bint is_reserved(const unsigned char *topic, size_t size) noexcept

cdef inline bint is_statistic(const unsigned char *topic, size_t size) noexcept:
    """Whether it is below $SYS, where the broker tells of itself: that is not stored, and plugins that watch are not told."""
    return size > 4 and memcmp(topic, b"$SYS/", 5) == 0

@cython.no_gc
cdef class Subscriber(Timed):
    cdef Subscription *first_subscription
    cdef readonly uint32_t subscription_count
    cdef readonly uint64_t level_count      # of the filters of all its subscriptions

cdef struct Level:
    const unsigned char *at
    uint64_t hash
    uint16_t size

cdef class LevelTree:
    cdef Node *_root
    cdef Node **_edges      # open addressing by (parent, label)
    cdef uint64_t _mask
    cdef uint64_t _key0, _key1
    cdef readonly uint64_t node_count
    cdef Node *_child(self, Node *parent, const Level *level) noexcept nogil
    cdef Node *_find(self, const unsigned char *topic, Py_ssize_t size) noexcept
    cdef Node *_grow(self, const unsigned char *topic, Py_ssize_t size) except NULL
    cdef Node *_add(self, Node *parent, const Level *level) except NULL
    cdef void _insert_edge(self, Node *node) noexcept nogil
    cdef int _resize(self) except -1
    cdef void _remove_edge(self, Node *node) noexcept nogil
    cdef void _linked(self, Node *node) noexcept nogil
    cdef void _unlinked(self, Node *node) noexcept nogil
    cdef bint _is_used(self, Node *node) noexcept nogil
    cdef void _prune(self, Node *node) noexcept
    cdef int _split(self, const unsigned char *topic, Py_ssize_t size, Level *levels) noexcept nogil
    cdef bytes _path(self, Node *node)

cdef struct Matches:
    Subscription **items
    size_t count
    size_t capacity
    Node **groups
    size_t group_count
    size_t group_capacity

cdef void free_matches(Matches *matches) noexcept
cdef bytes shown_filter(bytes key)
cdef bytes filter_key(bytes topic_filter, bytes share_name)

cdef class FilterTree(LevelTree):
    cdef readonly uint64_t subscription_count
    cdef readonly uint64_t shared_subscription_count
    cdef readonly uint64_t generation       # moves when a filter with a wildcard comes or goes, or rights change
    cdef bint add(self, bytes topic_filter, Subscriber subscriber, int qos, int options, uint32_t identifier,
                  bytes share_name) except -1
    cdef int match_into(self, const unsigned char *topic, Py_ssize_t size, Matches *matches) except -1
    cdef Subscription *_subscription(self, Node *node, Subscriber subscriber) noexcept
    cdef void _drop(self, Subscription *subscription) noexcept
    cdef void drop(self, Subscription *subscription) noexcept
    cdef void drop_all(self, Subscriber subscriber) noexcept

cdef class TopicTree(LevelTree):
    cdef readonly uint64_t count
    cdef readonly uint64_t own_count    # of the count: of topics where the broker alone publishes; they have no limit
    cdef readonly uint64_t size_bytes
