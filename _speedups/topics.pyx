"""FilterTree: who subscribed to what. TopicTree: the retained messages, walked by a filter.

Both are trees of levels whose children are found through one hash table for the whole tree, keyed by
(parent, label): a node costs its struct and a table slot, whether it has one child or a million. A
match costs the topic's levels and what matches, not the number of filters. Nothing recurses, and
nodes that hold nothing are removed at once.

Filters and topics are checked before they come here (``noctule.protocol``); a tree holds whatever it
is given, and does not read past it.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from noctule._speedups.deadlines cimport Timed
from noctule._speedups.message cimport Message, size_of
from noctule._speedups.siphash cimport noctule_siphash


cdef bint is_reserved(const unsigned char *topic, size_t size) noexcept:
    """Whether the broker alone publishes there: $SYS and what is below it, but for what bridges say of themselves."""
    cdef size_t i
    if size < 4 or memcmp(topic, b"$SYS", 4) != 0 or (size > 4 and topic[4] != c"/"):
        return False
    # $SYS/broker/connection/<one level>/state
    if size < 30 or memcmp(topic, b"$SYS/broker/connection/", 23) != 0 or memcmp(topic + size - 6, b"/state", 6) != 0:
        return True
    for i in range(23, size - 6):
        if topic[i] == c"/":
            return True
    return False


def is_of_broker(bytes topic not None):
    """Whether no client may publish to this topic, whatever access rules say."""
    return is_reserved(<const unsigned char *>PyBytes_AS_STRING(topic), PyBytes_GET_SIZE(topic))


@cython.no_gc
cdef class Subscriber(Timed):
    """Whoever can hold subscriptions: the list of them hangs here."""

    def __dealloc__(self):
        # A subscription points back without counting as a reference; whoever drops a subscriber
        # has to take it out of the tree before (FilterTree.unsubscribe_all).
        assert self.first_subscription == NULL


cdef class LevelTree:
    """What the two trees share: nodes, and the table that finds a child."""

    def __cinit__(self):
        key = os.urandom(16)
        self._key0 = int.from_bytes(key[:8], "little")
        self._key1 = int.from_bytes(key[8:], "little")
        self._mask = 63
        self._edges = <Node **>calloc(64, sizeof(Node *))
        self._root = <Node *>calloc(1, sizeof(Node))
        if self._edges == NULL or self._root == NULL:
            raise MemoryError()

    cdef int _split(self, const unsigned char *topic, Py_ssize_t size, Level *levels) noexcept nogil:
        """The levels of a topic or filter; -1 where there are more than LEVELS_MAX."""
        cdef int count = 0
        cdef Py_ssize_t start = 0, i = 0
        while True:
            if i == size or topic[i] == c"/":
                if count == LEVELS_MAX:
                    return -1
                levels[count].at = topic + start
                levels[count].size = <uint16_t>(i - start)
                levels[count].hash = noctule_siphash(self._key0, self._key1, topic + start, i - start)
                count += 1
                start = i + 1
                if i == size:
                    return count
            i += 1

    cdef Node *_child(self, Node *parent, const Level *level) noexcept nogil:
        cdef uint64_t hash = (level.hash ^ <uintptr_t>parent) * <uint64_t>0x9E3779B97F4A7C15
        cdef uint64_t slot = (hash >> 20) & self._mask
        cdef Node *node
        while True:
            node = self._edges[slot]
            if node == NULL:
                return NULL
            if node.hash == hash and node.parent == parent and node.size == level.size \
                    and memcmp(node.label, level.at, level.size) == 0:
                return node
            slot = (slot + 1) & self._mask

    cdef Node *_find(self, const unsigned char *topic, Py_ssize_t size) noexcept:
        """The node of exactly this topic or filter; NULL where there is none."""
        cdef Level levels[LEVELS_MAX]
        cdef int count = self._split(topic, size, levels)
        cdef int i
        cdef Node *node = self._root
        if count < 0:
            return NULL
        for i in range(count):
            node = self._child(node, &levels[i])
            if node == NULL:
                return NULL
        return node

    cdef Node *_grow(self, const unsigned char *topic, Py_ssize_t size) except NULL:
        """The node of exactly this topic or filter, made where there is none."""
        cdef Level levels[LEVELS_MAX]
        cdef int count = self._split(topic, size, levels)
        cdef int i
        cdef Node *node = self._root
        cdef Node *child
        if count < 0:
            raise ValueError(f"more than {LEVELS_MAX} levels")
        for i in range(count):
            child = self._child(node, &levels[i])
            if child == NULL:
                try:
                    child = self._add(node, &levels[i])
                except MemoryError:
                    self._prune(node)
                    raise
            node = child
        return node

    cdef Node *_add(self, Node *parent, const Level *level) except NULL:
        cdef Node *node
        if (self.node_count + 1) * 4 > (self._mask + 1) * 3:
            self._resize()
        node = <Node *>calloc(1, sizeof(Node) + level.size)
        if node == NULL:
            raise MemoryError()
        node.parent = parent
        node.hash = (level.hash ^ <uintptr_t>parent) * <uint64_t>0x9E3779B97F4A7C15
        node.size = level.size
        memcpy(node.label, level.at, level.size)
        parent.children += 1
        self._insert_edge(node)
        self._linked(node)
        self.node_count += 1
        return node

    cdef void _insert_edge(self, Node *node) noexcept nogil:
        cdef uint64_t slot = (node.hash >> 20) & self._mask
        while self._edges[slot] != NULL:
            slot = (slot + 1) & self._mask
        self._edges[slot] = node

    cdef int _resize(self) except -1:
        cdef Node **old = self._edges
        cdef uint64_t old_mask = self._mask
        cdef uint64_t i
        cdef Node **edges = <Node **>calloc((old_mask + 1) * 2, sizeof(Node *))
        if edges == NULL:
            raise MemoryError()
        self._edges = edges
        self._mask = old_mask * 2 + 1
        for i in range(old_mask + 1):
            if old[i] != NULL:
                self._insert_edge(old[i])
        free(old)
        return 0

    cdef void _remove_edge(self, Node *node) noexcept nogil:
        cdef uint64_t hole = (node.hash >> 20) & self._mask
        cdef uint64_t slot, home
        while self._edges[hole] != node:
            hole = (hole + 1) & self._mask
        # Close the gap: whoever stands behind it and may stand in it moves there.
        slot = hole
        while True:
            slot = (slot + 1) & self._mask
            if self._edges[slot] == NULL:
                break
            home = (self._edges[slot].hash >> 20) & self._mask
            if ((slot - home) & self._mask) >= ((slot - hole) & self._mask):
                self._edges[hole] = self._edges[slot]
                hole = slot
        self._edges[hole] = NULL

    cdef void _linked(self, Node *node) noexcept nogil:
        pass

    cdef void _unlinked(self, Node *node) noexcept nogil:
        pass

    cdef bint _is_used(self, Node *node) noexcept nogil:
        return True

    cdef void _prune(self, Node *node) noexcept:
        """Remove the node and its ancestors as far as they hold nothing and lead nowhere."""
        cdef Node *parent
        while node != self._root and node.children == 0 and not self._is_used(node):
            parent = node.parent
            self._unlinked(node)
            self._remove_edge(node)
            parent.children -= 1
            self.node_count -= 1
            free(node)
            node = parent

    cdef bytes _path(self, Node *node):
        """The topic or filter that leads to the node."""
        cdef Node *each = node
        cdef Py_ssize_t size = 0
        cdef bytes path
        cdef char *at
        if node == self._root:
            return b""
        while each != self._root:
            size += each.size + 1
            each = each.parent
        path = PyBytes_FromStringAndSize(NULL, size - 1)
        at = PyBytes_AS_STRING(path) + size - 1
        while True:
            at -= node.size
            memcpy(at, node.label, node.size)
            node = node.parent
            if node == self._root:
                return path
            at -= 1
            at[0] = c"/"


cdef bint _has_wildcard(const unsigned char *topic_filter, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if topic_filter[i] == c"+" or topic_filter[i] == c"#":
            return True
    return False


cdef uint32_t _depth(const Node *node) noexcept nogil:
    cdef uint32_t depth = 0
    while node.parent != NULL:
        depth += 1
        node = node.parent
    return depth


cdef bytes filter_key(bytes topic_filter, bytes share_name):
    """Under what the tree keeps a filter: itself, and for a shared subscription the ShareName behind it."""
    return topic_filter if share_name is None else topic_filter + b"/\0" + share_name


cdef bytes shown_filter(bytes key):
    """The filter of a key as clients write it."""
    if b"\0" not in key:
        return key
    topic_filter, _, share_name = key.partition(b"/\0")
    return b"$share/" + share_name + b"/" + topic_filter


cdef void free_matches(Matches *matches) noexcept:
    free(matches.items)
    free(matches.groups)


cdef class FilterTree(LevelTree):
    """The subscriptions, by topic filter.

    Filters are bytes: UTF-8, checked, without ``$share``; a shared subscription has its ShareName beside
    the filter. A filter is compared byte by byte: nothing is normalised [MQTT-4.7.3-4].
    """

    def __dealloc__(self):
        cdef uint64_t slot
        cdef Subscription *subscription
        cdef Subscription *following
        if self._edges != NULL:
            for slot in range(self._mask + 1):
                if self._edges[slot] != NULL:
                    subscription = self._edges[slot].links.filters.first
                    while subscription != NULL:
                        following = subscription.next_at_node
                        (<Subscriber>subscription.subscriber).first_subscription = NULL
                        (<Subscriber>subscription.subscriber).subscription_count = 0
                        Py_DECREF(<object>subscription.subscriber)
                        free(subscription)
                        subscription = following
                    free(self._edges[slot])
        free(self._edges)
        free(self._root)

    def subscribe(self, bytes topic_filter not None, Subscriber subscriber not None, int qos=0, int options=0,
                  uint32_t identifier=0, bytes share_name=None):
        """Add a subscription, or replace the subscriber's own to exactly this filter [MQTT-3.8.4-3].

        True where it existed. ValueError: more levels than the tree can hold (the caller checks before).
        """
        return self.add(topic_filter, subscriber, qos, options, identifier, share_name)

    cdef bint add(self, bytes topic_filter, Subscriber subscriber, int qos, int options, uint32_t identifier,
                  bytes share_name) except -1:
        cdef bytes key = filter_key(topic_filter, share_name)
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(key)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
        cdef Node *node = self._grow(at, size)
        cdef Subscription *subscription = self._subscription(node, subscriber)
        cdef bint existed = subscription != NULL
        if not existed:
            subscription = <Subscription *>calloc(1, sizeof(Subscription))
            if subscription == NULL:
                self._prune(node)
                raise MemoryError()
            subscription.node = node
            subscription.subscriber = <PyObject *>subscriber
            Py_INCREF(subscriber)
            subscription.next_at_node = node.links.filters.first
            if node.links.filters.first != NULL:
                node.links.filters.first.previous_at_node = subscription
            node.links.filters.first = subscription
            node.subscriptions += 1
            subscription.next_of_subscriber = subscriber.first_subscription
            if subscriber.first_subscription != NULL:
                subscriber.first_subscription.previous_of_subscriber = subscription
            subscriber.first_subscription = subscription
            subscriber.subscription_count += 1
            subscriber.level_count += _depth(node)
            self.subscription_count += 1
            self.shared_subscription_count += node.kind == GROUP
        subscription.qos = <uint8_t>qos
        subscription.options = <uint8_t>options
        subscription.identifier = identifier
        if _has_wildcard(at, size):
            self.generation += 1
        return existed

    def unsubscribe(self, bytes topic_filter not None, Subscriber subscriber not None, bytes share_name=None):
        """Remove the subscriber's subscription to exactly this filter [MQTT-3.10.4-1]. True where there was one."""
        cdef bytes key = filter_key(topic_filter, share_name)
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(key)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
        cdef Node *node = self._find(at, size)
        cdef Subscription *subscription
        if node == NULL:
            return False
        subscription = self._subscription(node, subscriber)
        if subscription == NULL:
            return False
        if _has_wildcard(at, size):
            self.generation += 1
        self._drop(subscription)
        return True

    def unsubscribe_all(self, Subscriber subscriber not None):
        """Remove whatever the subscriber holds."""
        self.drop_all(subscriber)

    def subscriptions_of(self, Subscriber subscriber not None):
        """The subscriber's subscriptions as (filter, qos, options, identifier), oldest first; shared with ``$share``."""
        cdef list found = []
        cdef Subscription *subscription = subscriber.first_subscription
        while subscription != NULL:
            found.append((shown_filter(self._path(subscription.node)), subscription.qos, subscription.options,
                          subscription.identifier))
            subscription = subscription.next_of_subscriber
        found.reverse()
        return found

    def match(self, bytes topic not None):
        """Every subscription that matches the topic, as (subscriber, qos, options, identifier), but for shared ones."""
        cdef Matches matches
        cdef size_t i
        memset(&matches, 0, sizeof(matches))
        try:
            self.match_into(<const unsigned char *>PyBytes_AS_STRING(topic), PyBytes_GET_SIZE(topic), &matches)
            return [
                (<Subscriber>matches.items[i].subscriber, matches.items[i].qos, matches.items[i].options,
                 matches.items[i].identifier)
                for i in range(matches.count)
            ]
        finally:
            free_matches(&matches)

    def match_groups(self, bytes topic not None):
        """Every share group that matches the topic, as (filter with ``$share``, list of members)."""
        cdef Matches matches
        cdef Subscription *member
        cdef size_t i
        cdef list found = []
        cdef list members
        memset(&matches, 0, sizeof(matches))
        try:
            self.match_into(<const unsigned char *>PyBytes_AS_STRING(topic), PyBytes_GET_SIZE(topic), &matches)
            for i in range(matches.group_count):
                members = []
                member = matches.groups[i].links.filters.first
                while member != NULL:
                    members.append(<Subscriber>member.subscriber)
                    member = member.next_at_node
                found.append((shown_filter(self._path(matches.groups[i])), members))
            return found
        finally:
            free_matches(&matches)

    cdef Subscription *_subscription(self, Node *node, Subscriber subscriber) noexcept:
        # A filter may have a hundred thousand subscribers and a subscriber a hundred thousand
        # filters, but hardly both: look through the shorter of the two lists.
        cdef Subscription *subscription
        if node.subscriptions <= subscriber.subscription_count:
            subscription = node.links.filters.first
            while subscription != NULL and subscription.subscriber != <PyObject *>subscriber:
                subscription = subscription.next_at_node
        else:
            subscription = subscriber.first_subscription
            while subscription != NULL and subscription.node != node:
                subscription = subscription.next_of_subscriber
        return subscription

    cdef void _drop(self, Subscription *subscription) noexcept:
        cdef Node *node = subscription.node
        cdef Subscriber subscriber = <Subscriber>subscription.subscriber
        if subscription.previous_at_node != NULL:
            subscription.previous_at_node.next_at_node = subscription.next_at_node
        else:
            node.links.filters.first = subscription.next_at_node
        if subscription.next_at_node != NULL:
            subscription.next_at_node.previous_at_node = subscription.previous_at_node
        if subscription.previous_of_subscriber != NULL:
            subscription.previous_of_subscriber.next_of_subscriber = subscription.next_of_subscriber
        else:
            subscriber.first_subscription = subscription.next_of_subscriber
        if subscription.next_of_subscriber != NULL:
            subscription.next_of_subscriber.previous_of_subscriber = subscription.previous_of_subscriber
        node.subscriptions -= 1
        subscriber.subscription_count -= 1
        subscriber.level_count -= _depth(node)
        self.subscription_count -= 1
        self.shared_subscription_count -= node.kind == GROUP
        free(subscription)
        Py_DECREF(subscriber)
        self._prune(node)

    cdef void drop(self, Subscription *subscription) noexcept:
        """Remove a subscription; a route of exactly its filter is the caller's business, as with ``unsubscribe``."""
        cdef Node *node = subscription.node
        while node != self._root:
            if node.kind == PLUS or node.kind == HASH:
                self.generation += 1
                break
            node = node.parent
        self._drop(subscription)

    cdef void drop_all(self, Subscriber subscriber) noexcept:
        while subscriber.first_subscription != NULL:
            self.generation += 1
            self._drop(subscriber.first_subscription)

    cdef void _linked(self, Node *node) noexcept nogil:
        cdef Node *first
        if node.size and node.label[0] == 0:
            node.kind = GROUP
            first = node.parent.links.filters.groups
            node.links.filters.plus = first
            if first != NULL:
                first.links.filters.hash = node
            node.parent.links.filters.groups = node
        elif node.size == 1 and node.label[0] == c"+":
            node.kind = PLUS
            node.parent.links.filters.plus = node
        elif node.size == 1 and node.label[0] == c"#":
            node.kind = HASH
            node.parent.links.filters.hash = node

    cdef void _unlinked(self, Node *node) noexcept nogil:
        if node.kind == GROUP:
            if node.links.filters.hash != NULL:
                node.links.filters.hash.links.filters.plus = node.links.filters.plus
            else:
                node.parent.links.filters.groups = node.links.filters.plus
            if node.links.filters.plus != NULL:
                node.links.filters.plus.links.filters.hash = node.links.filters.hash
        elif node.kind == PLUS:
            node.parent.links.filters.plus = NULL
        elif node.kind == HASH:
            node.parent.links.filters.hash = NULL

    cdef bint _is_used(self, Node *node) noexcept nogil:
        return node.links.filters.first != NULL

    cdef int match_into(self, const unsigned char *topic, Py_ssize_t size, Matches *matches) except -1:
        """Append every subscription that matches the topic name."""
        cdef Level levels[LEVELS_MAX]
        # Each step takes one entry off and puts at most two on, both one level deeper.
        cdef Node *nodes[LEVELS_MAX + 2]
        cdef int depths[LEVELS_MAX + 2]
        cdef int count = self._split(topic, size, levels)
        cdef int top = 0, depth
        cdef Node *node
        cdef Node *child
        if count < 0:
            return 0        # no filter has so many levels, and "#" alone is not worth an exception
        nodes[0] = self._root
        depths[0] = 0
        while top >= 0:
            node = nodes[top]
            depth = depths[top]
            top -= 1
            # A wildcard in the first level does not match what begins with $  [MQTT-4.7.2-1]
            if node.links.filters.hash != NULL and not (depth == 0 and topic[0] == c"$"):
                _collect(node.links.filters.hash, matches)
            if depth == count:
                _collect(node, matches)
                continue
            child = self._child(node, &levels[depth])
            # A level of a topic name is never a wildcard nor a group's label; should one come here
            # all the same, it must not find that node as its literal child.
            if child != NULL and child.kind == LITERAL:
                top += 1
                nodes[top] = child
                depths[top] = depth + 1
            if node.links.filters.plus != NULL and not (depth == 0 and topic[0] == c"$"):
                top += 1
                nodes[top] = node.links.filters.plus
                depths[top] = depth + 1
        return 0


cdef int _collect(Node *node, Matches *matches) except -1:
    cdef Subscription *subscription = node.links.filters.first
    cdef Node *group = node.links.filters.groups
    cdef Subscription **items
    cdef Node **groups
    cdef size_t capacity
    if matches.count + node.subscriptions > matches.capacity:
        capacity = (matches.count + node.subscriptions) * 2
        items = <Subscription **>realloc(matches.items, capacity * sizeof(Subscription *))
        if items == NULL:
            raise MemoryError()
        matches.items = items
        matches.capacity = capacity
    while subscription != NULL:
        matches.items[matches.count] = subscription
        matches.count += 1
        subscription = subscription.next_at_node
    while group != NULL:
        if matches.group_count == matches.group_capacity:
            capacity = matches.group_capacity * 2 + 4
            groups = <Node **>realloc(matches.groups, capacity * sizeof(Node *))
            if groups == NULL:
                raise MemoryError()
            matches.groups = groups
            matches.group_capacity = capacity
        matches.groups[matches.group_count] = group
        matches.group_count += 1
        group = group.links.filters.plus
    return 0


cdef class TopicTree(LevelTree):
    """The retained messages, by topic name."""

    def __dealloc__(self):
        cdef uint64_t slot
        if self._edges != NULL:
            for slot in range(self._mask + 1):
                if self._edges[slot] != NULL:
                    if self._edges[slot].message != NULL:
                        Py_DECREF(<object>self._edges[slot].message)
                    free(self._edges[slot])
        free(self._edges)
        free(self._root)

    def __len__(self):
        return self.count

    def store(self, Message message not None):
        """Keep the message as its topic's retained one, in place of the one before [MQTT-3.3.1-5]."""
        cdef Node *node = self._grow(message.data, message.topic_size)
        cdef PyObject *before = node.message
        Py_INCREF(message)
        node.message = <PyObject *>message
        self.size_bytes += size_of(message)
        if before == NULL:
            self.count += 1
            self.own_count += is_reserved(message.data, message.topic_size)
        else:
            self.size_bytes -= size_of(<Message>before)
            Py_DECREF(<object>before)

    def discard(self, bytes topic not None):
        """Forget the topic's retained message [MQTT-3.3.1-6]. True where there was one."""
        cdef Node *node = self._find(<const unsigned char *>PyBytes_AS_STRING(topic), PyBytes_GET_SIZE(topic))
        cdef PyObject *before
        if node == NULL or node.message == NULL:
            return False
        before = node.message
        node.message = NULL
        self.count -= 1
        self.own_count -= is_reserved(<const unsigned char *>PyBytes_AS_STRING(topic), PyBytes_GET_SIZE(topic))
        self.size_bytes -= size_of(<Message>before)
        self._prune(node)
        Py_DECREF(<object>before)
        return True

    def get(self, bytes topic not None):
        """The topic's retained message; None where it has none."""
        cdef Node *node = self._find(<const unsigned char *>PyBytes_AS_STRING(topic), PyBytes_GET_SIZE(topic))
        if node == NULL or node.message == NULL:
            return None
        return <Message>node.message

    def walk(self, bytes topic_filter not None, Py_ssize_t limit=-1):
        """A list of the retained messages whose topics match the filter, ``limit`` of them at most (-1: all)."""
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(topic_filter)
        cdef Level levels[LEVELS_MAX]
        # One entry for each level: the node to look at next there. For "+" and "#" the entry
        # moves on to the node's sibling, so the depth of the stack is the depth of the tree.
        cdef Node *nodes[LEVELS_MAX + 2]
        cdef bint siblings[LEVELS_MAX + 2]
        cdef int count = self._split(at, PyBytes_GET_SIZE(topic_filter), levels)
        cdef int depth = 0, last
        cdef bint rest = False      # the filter ends in "#"
        cdef Node *node
        cdef list found = []
        if count < 0 or limit == 0:
            return found
        last = count
        if levels[count - 1].size == 1 and levels[count - 1].at[0] == c"#":
            rest = True
            last = count - 1
        nodes[0] = self._root
        siblings[0] = False
        while depth >= 0:
            node = nodes[depth]
            if node == NULL:
                depth -= 1
                continue
            # Leave the entry ready for when the walk comes back to this level.
            nodes[depth] = node.links.topics.next if siblings[depth] else NULL
            # A wildcard in the first level does not match what begins with $  [MQTT-4.7.2-1]
            if depth == 1 and siblings[1] and node.size and node.label[0] == c"$":
                continue
            if node.message != NULL and (depth == last or (rest and depth > last)):
                found.append(<Message>node.message)
                if len(found) == limit:
                    break
            if depth < last and not (levels[depth].size == 1 and levels[depth].at[0] == c"+"):
                nodes[depth + 1] = self._child(node, &levels[depth])
                siblings[depth + 1] = False
                depth += 1
            elif depth < last or rest:
                nodes[depth + 1] = node.links.topics.first_child
                siblings[depth + 1] = True
                depth += 1
        return found

    cdef void _linked(self, Node *node) noexcept nogil:
        cdef Node *first = node.parent.links.topics.first_child
        node.links.topics.next = first
        if first != NULL:
            first.links.topics.previous = node
        node.parent.links.topics.first_child = node

    cdef void _unlinked(self, Node *node) noexcept nogil:
        if node.links.topics.previous != NULL:
            node.links.topics.previous.links.topics.next = node.links.topics.next
        else:
            node.parent.links.topics.first_child = node.links.topics.next
        if node.links.topics.next != NULL:
            node.links.topics.next.links.topics.previous = node.links.topics.previous

    cdef bint _is_used(self, Node *node) noexcept nogil:
        return node.message != NULL
