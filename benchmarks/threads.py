"""What threads bring to work that releases the interpreter: how much of it is done in a second, by one and by two.

    python benchmarks/threads.py

Password hashing and handshakes are the work that a broker can give to other cores today without sharing any state. The
last column is how many times as much two threads do on two cores as one thread on one.
"""

from __future__ import annotations

import argparse
import os
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import argon2
import trustme
from suite.document import put
from suite.places import DOCUMENT
from suite.report import table


def handshakes() -> Callable[[], None]:
    """One handshake of TLS 1.3 in memory, server and client (P-256)."""
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
        server_context.load_cert_chain(pem)
    client_context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    def shake_hands() -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
        waiting = [client, server]
        while waiting:
            one = waiting.pop(0)
            try:
                one.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(one)

    return shake_hands


def argon2_logins() -> Callable[[], None]:
    """One password compared with an argon2id hash, in one lane."""
    hasher = argon2.PasswordHasher(parallelism=1)
    stored = hasher.hash("secret")

    def log_in() -> None:
        hasher.verify(stored, "secret")

    return log_in


def python_alone() -> Callable[[], None]:
    """Work that keeps the interpreter: what threads cannot help."""

    def count() -> None:
        total = 0
        for number in range(20_000):
            total += number

    return count


WORKS = {
    "handshakes of TLS (both sides)": handshakes,
    "logins with argon2id": argon2_logins,
    "Python alone": python_alone,
}


def per_second(work: Callable[[], None], threads: int, seconds: float) -> float:
    """How much of it so many threads do."""
    counts = [0] * threads
    began = time.perf_counter()

    def repeat(place: int) -> None:
        while time.perf_counter() < began + seconds:
            work()
            counts[place] += 1

    running = [threading.Thread(target=repeat, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each work, each time")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--document", action="store_true", help=f"put the table into {DOCUMENT.name} as well")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("this needs two cores")
    rows = []
    for title, make in WORKS.items():
        work = make()
        found: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(given.repetitions):
            for threads in (1, 2):
                os.sched_setaffinity(0, cores[:threads])
                found[threads].append(per_second(work, threads, given.seconds))
        one, two = (statistics.median(found[threads]) for threads in (1, 2))
        rows.append([title, f"{one:,.0f} / s", f"{two:,.0f} / s", f"{two / one:.2f}x"])
    lines = table(["work", "one thread, one core", "two threads, two cores", "ratio"], rows)
    print("\n".join(lines))
    if given.document:
        DOCUMENT.write_text(put(DOCUMENT.read_text(encoding="utf-8"), "threads", lines), encoding="utf-8")


if __name__ == "__main__":
    main()
