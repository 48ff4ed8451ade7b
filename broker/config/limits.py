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

#: Sessions, connected or not, and retained messages in all. A session costs some kilobytes and a retained message some
#: hundred bytes beside its payload: far above what a broker of this kind has, and below what fills a machine by itself.
SESSIONS_MAX: Final = 1_000_000
RETAINED_MAX: Final = 1_000_000

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

#: Connections of one listener within a handshake at one time. Who stays within one holds up others once there are so
#: many: enough that it takes an effort. What their work costs those who are connected the reactor bounds by itself.
HANDSHAKES_MAX: Final = 1_000

#: The part of them that one address may have.
HANDSHAKES_SHARE: Final = 4

#: Longest mount point: it is part of every topic of its listener's clients.
MOUNT_POINT_MAX_BYTES: Final = 1_000

#: Longest beginning of the identifiers that the broker makes; Mosquitto's limit.
ASSIGNED_PREFIX_MAX: Final = 50

#: Largest HTTP request that asks for WebSocket. Browsers send up to some kilobytes of cookies.
HTTP_HEADER_MAX_BYTES: Final = 16_384

#: After this long a silence the system asks whether a client without Keep Alive is there still, five times, a minute
#: apart: one that has gone without a word is noticed after ten minutes.
TCP_KEEP_ALIVE_S: Final = 300
TCP_KEEP_ALIVE_INTERVAL_S: Final = 60
TCP_KEEP_ALIVE_PROBES: Final = 5

#: How often it is looked whether certificates, keys and lists of revoked certificates have changed on disk.
CERTIFICATE_WATCH_INTERVAL_S: Final = 10.0

#: From how many days before its end a certificate is warned about, and how often.
CERTIFICATE_WARNING_DAYS: Final = 14
CERTIFICATE_WARNING_INTERVAL_S: Final = 86_400.0

#: Lines about faults of one kind in an interval, for one address and over all; what is beyond is counted.
FAULT_LOG_INTERVAL_S: Final = 10.0
FAULT_LOG_PER_ADDRESS: Final = 5
FAULT_LOG_OVERALL: Final = 50

#: Devices of one MQTT-SN gateway, connected or asleep, and of one address. A device costs some 6 KiB and what is
#: buffered for it. Behind one address there may be a forwarder with a whole sensor network.
MQTT_SN_DEVICES_MAX: Final = 1_000
MQTT_SN_DEVICES_PER_ADDRESS_MAX: Final = 250

#: Largest MQTT-SN message either way: one datagram that no Ethernet, nor a tunnel over one, has to cut in pieces.
#: MQTT-SN itself puts nothing together again, and of a datagram in pieces all is lost with any of them.
MQTT_SN_MESSAGE_MAX_BYTES: Final = 1_400

#: The largest payload of a UDP datagram: 65,535 less the headers of IPv4 and UDP.
UDP_PAYLOAD_MAX_BYTES: Final = 65_507

#: What waits in the gateway for one device that sleeps, or that has yet to acknowledge the message before: QoS 0,
#: in aggregating mode any. What is beyond pushes out the oldest: of a sensor's set points the last one counts.
MQTT_SN_BUFFER_MAX_MESSAGES: Final = 100
MQTT_SN_BUFFER_MAX_BYTES: Final = 65_536

#: Topic ids of one device, and the bytes of their names in all. Of 65,534 that there could be few devices need 100.
MQTT_SN_TOPICS_MAX: Final = 1_000
MQTT_SN_TOPIC_BYTES_MAX: Final = 65_536

#: Messages of QoS 1 and 2 of one device that wait for the broker's answer. The specification allows one (6.6);
#: clients exist that do not wait.
MQTT_SN_RECEIVE_MAX: Final = 16

#: T_retry and N_retry: the specification advises 10 to 15 s and 3 to 5 times (7.2).
MQTT_SN_RETRY_INTERVAL_S: Final = 10.0
MQTT_SN_RETRY_COUNT: Final = 3

#: T_ADV: the specification advises more than 15 minutes (7.2).
MQTT_SN_ADVERTISE_INTERVAL_S: Final = 900

#: How long the session of a device outlives its connection: more than the longest sleep that can be announced,
#: 65,535 s. UDP makes it cheap to leave sessions behind, so that "for good" is not the default.
MQTT_SN_SESSION_EXPIRY_S: Final = 86_400

#: The longest silence of a device that announces none (Duration 0): UDP does not tell that it is gone.
MQTT_SN_SILENCE_MAX_S: Final = 86_400

#: Datagrams handled in one go before the other tasks get their turn.
MQTT_SN_DATAGRAM_BURST: Final = 32

#: Datagrams of one address in a second, and how many of them at once: a flood costs no more than this. A forwarder
#: with 250 devices stays far below.
MQTT_SN_DATAGRAMS_PER_S: Final = 500.0
MQTT_SN_DATAGRAMS_AT_ONCE: Final = 1_000

#: What strangers (no device is known at their address and port) may make the gateway do in a second, over all:
#: begin a connection, or answer them. Their addresses may be forged, so that no address can be held to it.
MQTT_SN_STRANGERS_PER_S: Final = 100.0
MQTT_SN_STRANGERS_AT_ONCE: Final = 500

#: Addresses whose rate is remembered; beyond it the one that has been quiet for the longest is forgotten.
MQTT_SN_ADDRESSES_MAX: Final = 4_096

#: Bytes that a device may be sent unasked before it has proven that it receives them, beside three times what it has
#: sent: room for a REGISTER. A forged address is not to be flooded with what the forger subscribes to.
MQTT_SN_UNVERIFIED_BYTES_MAX: Final = 256

#: The longest name of a node behind a forwarder, in bytes: a ZigBee address has 2 or 8, an IPv6 address with port 18.
MQTT_SN_NODE_ID_MAX_BYTES: Final = 32

#: Devices that have left and whose DISCONNECT is still answered, should they not have had the answer.
MQTT_SN_LEFT_MAX: Final = 1_000

#: Bridges: what Mosquitto has, so that a file of its does here what it did there.
BRIDGE_KEEP_ALIVE_S: Final = 60
BRIDGE_RESTART_DELAY_S: Final = 5.0
BRIDGE_RESTART_DELAY_MAX_S: Final = 30.0
BRIDGE_PRIMARY_RETRY_S: Final = 5.0
BRIDGE_LAZY_THRESHOLD: Final = 10
BRIDGE_IDLE_TIMEOUT_S: Final = 60.0
BRIDGE_ALIAS_MAX: Final = 10

#: What a broker below version 5, which cannot say it, is taken to hold of unacknowledged messages: Mosquitto ends the
#: connection beyond its max_inflight_messages, whose default this is.
BRIDGE_INFLIGHT_MAX: Final = 20

#: How long a connection must last to count as sound: longer than a broker takes to refuse what it does not like.
BRIDGE_RESTART_SETTLED_S: Final = 10.0

#: How long the other broker may take to answer: it may be at the end of a bad line, and busy with its disk.
BRIDGE_ANSWER_TIMEOUT_S: Final = 30.0

#: Bytes from the other broker that wait for this one before no more is read: what the reactor reads in some goes.
BRIDGE_INBOX_MAX_BYTES: Final = 262_144

#: Messages of QoS 0 that wait for a bridge that is lazy, or held to a rate, before the newest are dropped. Those of
#: QoS 1 and 2 wait in its session.
BRIDGE_WAITING_MAX_MESSAGES: Final = 1_000
BRIDGE_WAITING_MAX_BYTES: Final = 1_048_576

#: Topics whose names on the other side are remembered.
BRIDGE_TOPICS_REMEMBERED: Final = 10_000
