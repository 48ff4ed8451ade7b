"""Every default limit as a named constant, with its unit and the reason for it."""

from typing import Final

#: Largest packet accepted, header included. Mosquitto's default since 2.1 is 2,000,000.
PACKET_MAX_BYTES: Final = 2_000_000

#: Largest packet that MQTT can write: a Remaining Length of 268,435,455, its four bytes, and the first byte.
PACKET_MAX_BYTES_OF_MQTT: Final = 268_435_460

#: Largest CONNECT: it comes from a stranger. Room for a Will and credentials, as other brokers give.
CONNECT_MAX_BYTES: Final = 65_536

#: How long a connection may take until its CONNECT is there.
CONNECT_TIMEOUT_S: Final = 10.0

#: How long one answer may take that is waited for: a plugin's, a step of authentication. Less than CONNECT_TIMEOUT_S,
#: which is for all of them before CONNACK.
DECISION_TIMEOUT_S: Final = 5.0

#: Steps of one exchange of enhanced authentication. SCRAM has two, Kerberos up to four.
AUTH_STEPS_MAX: Final = 10

#: AUTH packets of one connection in a minute: re-authentication is a matter of minutes at least, and each may cost
#: us the checking of a proof.
AUTH_PER_MINUTE_MAX: Final = 60

#: Failed logins in a minute of one address and of one user name before further ones are refused unseen. Room for a
#: house full of devices whose password was mistyped; too little for who tries a dictionary.
LOGIN_FAILURES_PER_ADDRESS: Final = 20
LOGIN_FAILURES_PER_USER: Final = 60

#: How long a connection that we end may take to read what it was sent.
END_TIMEOUT_S: Final = 2.0

#: How long a graceful stop may take in all.
STOP_TIMEOUT_S: Final = 5.0

#: Written to a connection and not yet taken by its socket: beyond it QoS 0 is dropped and QoS 1 and 2 are queued.
WRITE_MAX_BYTES: Final = 1_048_576

#: Messages that wait for a session, connected or not, in number and in bytes (topic, properties, payload). Home
#: Assistant's own Mosquitto raises 1,000 to 8,192, since its start-up needs more.
QUEUE_MAX_MESSAGES: Final = 10_000
QUEUE_MAX_BYTES: Final = 16_777_216

#: QoS 1 and 2 messages in flight to one client, where its Receive Maximum does not say less.
INFLIGHT_MAX: Final = 1_000

#: What is announced as our own Receive Maximum: QoS 2 messages of a client that wait for their PUBREL. Clients
#: exist that over-run a small one.
RECEIVE_MAXIMUM: Final = 1_000

#: Subscriptions of one session, and the levels of their filters in all. A subscription costs some 60 bytes and each
#: level that no other filter shares some 110, and a topic may have to be looked for on every level.
SUBSCRIPTIONS_MAX: Final = 10_000
FILTER_LEVELS_MAX: Final = 100_000

#: Topic Aliases that a client may use towards us, and we towards it; each holds a topic name of up to 64 KiB.
ALIAS_MAX_IN: Final = 32
ALIAS_MAX_OUT: Final = 32

#: Levels of a topic name or filter; Mosquitto's limit.
TOPIC_LEVELS_MAX: Final = 200

#: Connections accepted in one go before the other tasks get their turn.
ACCEPT_BURST: Final = 64

#: How long accepting rests when the system has no descriptors left, as trio's own accept loop does.
ACCEPT_RETRY_S: Final = 0.1

#: Connections that the kernel holds until they are accepted.
BACKLOG: Final = 1_024

#: Lines about broken packets in one interval, for one address and over all; what is beyond is counted.
FAULT_LOG_INTERVAL_S: Final = 10.0
FAULT_LOG_PER_ADDRESS: Final = 5
FAULT_LOG_OVERALL: Final = 50
