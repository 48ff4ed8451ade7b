"""A little broker that loses and repeats what it is told to, to see whether losses are counted.

    python lossy_broker.py PORT [--lose N] [--repeat N] [--repeat-elsewhere N] [--pid-file FILE] [--end-after N]

Every Nth message that it delivers is lost, or delivered twice: to the same subscriber, or to the next of those that
share. It speaks MQTT 3.1.1 at QoS 0 and knows no wildcards: everybody gets everything, and of those whose filter begins
with $share one after the other.
"""

import argparse
import os
import selectors
import socket
import sys
from pathlib import Path


def frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Whole packets, and what is left."""
    found, at = [], 0
    while at + 2 <= len(data):
        length, shift, end = 0, 0, at + 1
        while end < len(data):
            length |= (data[end] & 0x7F) << shift
            shift += 7
            end += 1
            if not data[end - 1] & 0x80:
                break
        else:
            break
        if len(data) < end + length:
            break
        found.append((data[at], data[at : end + length]))
        at = end + length
    return found, data[at:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--lose", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--repeat-elsewhere", type=int, default=0)
    parser.add_argument("--end-after", type=int, default=0)
    parser.add_argument("--pid-file", type=Path)
    given = parser.parse_args()
    if given.pid_file and os.fork():
        return  # as a daemon does: the process that was started ends
    if given.pid_file:
        given.pid_file.write_text(f"{os.getpid()}\n")
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", given.port), backlog=1000)
    selector.register(listener, selectors.EVENT_READ)
    rests: dict[socket.socket, bytes] = {}
    everybody: list[socket.socket] = []
    sharing: list[socket.socket] = []
    delivered = 0
    while True:
        for key, _ in selector.select():
            client = key.fileobj
            assert isinstance(client, socket.socket)
            if client is listener:
                client, _ = listener.accept()
                selector.register(client, selectors.EVENT_READ)
                rests[client] = b""
                continue
            try:
                data = client.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                selector.unregister(client)
                for clients in (everybody, sharing):
                    if client in clients:
                        clients.remove(client)
                client.close()
                continue
            packets, rests[client] = frames(rests[client] + data)
            for first, packet in packets:
                if first == 0x10:
                    client.sendall(b"\x20\x02\x00\x00")
                elif first == 0x82:
                    (sharing if b"$share" in packet else everybody).append(client)
                    client.sendall(b"\x90\x03" + packet[2:4] + b"\x00")
                elif first & 0xF0 == 0x30:
                    targets = [*everybody]
                    if sharing:
                        sharing.append(sharing.pop(0))
                        targets.append(sharing[0])
                    for target in targets:
                        delivered += 1
                        if given.end_after and delivered > given.end_after:
                            sys.exit(7)
                        if given.lose and delivered % given.lose == 0:
                            continue
                        again = given.repeat and delivered % given.repeat == 0
                        target.sendall(packet * 2 if again else packet)
                        if given.repeat_elsewhere and delivered % given.repeat_elsewhere == 0:
                            sharing[-1].sendall(packet)


if __name__ == "__main__":
    main()
