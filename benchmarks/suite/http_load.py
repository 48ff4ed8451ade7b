"""Load on a broker's HTTP port beside the measured one: metrics and the list of clients, one request after another."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
from collections.abc import Iterator
from typing import Final

from suite.places import BenchmarkError

#: In turn, on a connection that is kept: what a scraper and somebody with a dashboard ask for.
_TARGETS: Final = ("/metrics", "/api/v1/clients", "/readyz")

_TIMEOUT_S: Final = 30.0


@contextlib.contextmanager
def asked_over_http(port: int | None, core: int | None = None) -> Iterator[None]:
    """Ask without a pause, on this core, while it is entered; not at all where there is no port.

    BenchmarkError at the end where an answer was none, or nothing was asked: the row would mean nothing.
    """
    if port is None:
        yield
        return
    over = threading.Event()
    answered = 0
    failure = ""

    def ask() -> None:
        nonlocal answered, failure
        if core is not None:
            os.sched_setaffinity(threading.get_native_id(), {core})
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)) as connection:
                while not over.is_set():
                    connection.request("GET", _TARGETS[answered % len(_TARGETS)])
                    response = connection.getresponse()
                    response.read()
                    if response.status != 200:
                        failure = f"HTTP {response.status}"
                        return
                    answered += 1
                    if answered % 500 == 0:  # the broker closes a connection after so many requests
                        connection.close()
        except OSError as error:
            failure = str(error)

    asking = threading.Thread(target=ask, name="HTTP load")
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
    if failure or not answered:
        raise BenchmarkError(f"the HTTP port: {failure or 'nothing was answered'}")
