"""What tutorials tell people to run: the broker in a container, and a program with paho-mqtt 1.x or 2.x.

Word for word but for the topics, and for an end.
"""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Tutorial:
    """One of them."""

    name: str

    #: The generation of paho-mqtt that it is for.
    paho: str
    program: str
    printed: list[str]

    #: What comes after the image's name on the command line.
    command: tuple[str, ...] = ()

    #: The mosquitto.conf that is mounted; empty: none.
    config: str = ""

    #: Who is in its password file.
    user: str = ""
    password: str = ""


_EVERYBODY = ("mosquitto", "-c", "/mosquitto-no-auth.conf")

_PAHO_1 = """
import paho.mqtt.client as mqtt

# The callback for when the client receives a CONNACK response from the server.
def on_connect(client, userdata, flags, rc):
    print("Connected with result code "+str(rc))

    # Subscribing in on_connect() means that if we lose the connection and
    # reconnect then subscriptions will be renewed.
    client.subscribe("tutorial/#")
    client.publish("tutorial/hello", "Hello", qos=1)

# The callback for when a PUBLISH message is received from the server.
def on_message(client, userdata, msg):
    print(msg.topic+" "+str(msg.payload))
    client.disconnect()

client = mqtt.Client()
client.on_connect = on_connect
client.on_message = on_message

client.connect("localhost", 1883, 60)

# Blocking call that processes network traffic, dispatches callbacks and
# handles reconnecting.
client.loop_forever()
"""

#: The same in the words of paho 2.x.
_PAHO_2 = (
    _PAHO_1.replace("mqtt.Client()", "mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)")
    .replace(
        "def on_connect(client, userdata, flags, rc)",
        "def on_connect(client, userdata, flags, reason_code, properties)",
    )
    .replace('"Connected with result code "+str(rc)', 'f"Connected with result code {reason_code}"')
)

#: Another identity, another protocol, a loop in the background, and a wait of a second.
_OLD_NAMES = textwrap.dedent(
    """
    import paho.mqtt.client as paho
    import time

    def on_message(client, userdata, message):
        print("received message:", str(message.payload.decode("utf-8")))

    client = paho.Client("old-client", clean_session=False, protocol=paho.MQTTv31)
    client.on_message = on_message
    client.connect("localhost")
    client.loop_start()
    client.subscribe("tutorial/bulb", qos=2)
    client.publish("tutorial/bulb", "on", qos=2).wait_for_publish()
    time.sleep(1)
    client.disconnect()
    client.loop_stop()
    """
)

_COMPOSE = """\
persistence true
persistence_location /mosquitto/data/
log_dest file /mosquitto/log/mosquitto.log

listener 1883
listener 9001
protocol websockets

allow_anonymous false
password_file /mosquitto/config/passwd
"""

_GREETED_1 = ["Connected with result code 0", "tutorial/hello b'Hello'"]
_GREETED_2 = ["Connected with result code Success", "tutorial/hello b'Hello'"]


def _with_password(program: str) -> str:
    return program.replace("client.connect(", 'client.username_pw_set("user1", "1234")\nclient.connect(')


def _by_websocket(program: str) -> str:
    return (
        program.replace("mqtt.Client()", 'mqtt.Client(transport="websockets")')
        .replace("VERSION2)", 'VERSION2, transport="websockets")')
        .replace("1883", "9001")
    )


TUTORIALS = [
    Tutorial("paho 1", "1", _PAHO_1, _GREETED_1, _EVERYBODY),
    Tutorial("paho 1, old names", "1", _OLD_NAMES, ["received message: on"], _EVERYBODY),
    Tutorial("paho 2", "2", _PAHO_2, _GREETED_2, _EVERYBODY),
    Tutorial(
        "paho 1, compose", "1", _with_password(_PAHO_1), _GREETED_1, config=_COMPOSE, user="user1", password="1234"
    ),
    Tutorial(
        "paho 2, compose", "2", _with_password(_PAHO_2), _GREETED_2, config=_COMPOSE, user="user1", password="1234"
    ),
    Tutorial(
        "paho 1, compose, WebSocket",
        "1",
        _by_websocket(_with_password(_PAHO_1)),
        _GREETED_1,
        config=_COMPOSE,
        user="user1",
        password="1234",
    ),
    Tutorial(
        "paho 2, compose, WebSocket",
        "2",
        _by_websocket(_with_password(_PAHO_2)),
        _GREETED_2,
        config=_COMPOSE,
        user="user1",
        password="1234",
    ),
]
