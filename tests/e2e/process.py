"""A broker in a process of its own: started, read from, signalled, stopped, with a deadline on each."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from typing import Self

DEADLINE = 30.0
"""Seconds until a thing that should happen at once has not happened; only a failing test waits that long."""

COMMAND = shlex.split(os.environ.get("NOCTULE_TEST_BROKER", "")) or [sys.executable, "-W", "error", "-m", "noctule"]
"""What is tested. Another broker can be put in its place, to see whether a test is right (CONTRIBUTING.md)."""

URL = re.compile(r"\bmqtt://(127\.0\.0\.1):(\d+)")
SIGNS_OF_A_BUG = ("Traceback (most recent call last)", "Exception ignored", "ResourceWarning", "Sanitizer")


class BrokerProcess:
    """``noctule run`` on a free loopback port, or as configured (None); everything it prints is kept."""

    def __init__(self, *arguments: str, listen: str | None = "127.0.0.1:0") -> None:
        self._output: list[str] = []
        self._printed = threading.Condition()
        self._over = False
        #: Where the broker keeps its state; it goes with this object.
        self.data = tempfile.mkdtemp(prefix="noctule-e2e-")
        weakref.finalize(self, shutil.rmtree, self.data, ignore_errors=True)
        self.process = subprocess.Popen(
            [*COMMAND, "run", *(() if listen is None else ("--listen", listen)), "--data", self.data, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name="broker output")
        self._reader.start()
        self.host, self.port = "127.0.0.1", 0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._printed:
                self._output.append(line)
                self._printed.notify_all()
        with self._printed:
            self._over = True
            self._printed.notify_all()

    @property
    def output(self) -> str:
        """What the broker has printed so far, on both streams."""
        with self._printed:
            return "".join(self._output)

    def printed(self, pattern: re.Pattern[str] | str) -> re.Match[str]:
        """Wait for a line that matches, earlier ones included."""
        with self._printed:
            found: list[re.Match[str]] = []

            def look() -> bool:
                found[:] = [match for line in self._output if (match := re.search(pattern, line))]
                return bool(found) or self._over

            self._printed.wait_for(look, DEADLINE)
        assert found, f"the broker did not print {pattern!r} but:\n{self.output}"
        return found[0]

    def wait_until_listening(self) -> Self:
        """Wait for the line that tells the listener's URL, and take the port from it."""
        try:
            url = self.printed(URL)
        except AssertionError:
            self.kill()
            raise
        self.host, self.port = url[1], int(url[2])
        return self

    def open_socket(self) -> socket.socket:
        """Return a new TCP connection to the broker."""
        connection = socket.create_connection((self.host, self.port), timeout=DEADLINE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def signal(self, number: signal.Signals) -> None:
        """Send the broker a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = DEADLINE) -> int:
        """Wait for the broker to end by itself and return its exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the broker still ran after {seconds} s; it printed:\n{self.output}") from None
        self._finish()
        return code

    def stop(self) -> None:
        """Stop the broker as a service manager does; it must end in time, with exit code 0 and nothing amiss."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, f"exit code {code}; the broker printed:\n{self.output}"
        self.check_output()

    def kill(self) -> None:
        """End the broker at once, for a test that has failed anyway."""
        self.process.kill()
        self.process.wait()
        self._finish()

    def _finish(self) -> None:
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def check_output(self) -> None:
        """Fail if the broker printed a traceback or the like."""
        output = self.output
        for sign in SIGNS_OF_A_BUG:
            assert sign not in output, f"the broker printed:\n{output}"
