"""An MQTT-SN 1.2 gateway inside the broker, over UDP: every device is a client of the broker's like any other.

``gateway`` has the socket, ``device`` the state of one device, ``transparent`` and ``aggregating`` what a device has
behind it. "MQTT-SN 6.12" in a comment is a section of the specification (version 1.2, 2013).
"""
