"""A real Mosquitto for a bridge to lead to: started, stopped and killed, on one port, with a file of what it keeps."""

import getpass
import socket
import subprocess
import threading
from pathlib import Path

import trio

DEADLINE_S = 10.0


def free_port() -> int:
    """A port of 127.0.0.1 that is free now: Mosquitto cannot have the system choose one."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Mosquitto:
    """``with`` it the broker is killed at the end, whatever happens. ``output`` has its log."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None, name: str = "mosquitto") -> None:
        self.port = port or free_port()
        self.output: list[str] = []
        self._file = folder / f"{name}.conf"
        # It changes to a user of its own otherwise, who may write nothing there.
        text = (
            f"user {getpass.getuser()}\nallow_anonymous true\nlistener {self.port} 127.0.0.1\n"
            "log_type all\nlog_dest stderr\n"
        )
        if not any(line.startswith("persistence ") for line in lines):
            text += (
                f"persistence true\npersistence_location {folder}/\npersistence_file {name}.db\nmax_queued_messages 0\n"
            )
        self._file.write_text(text + "".join(f"{line}\n" for line in lines))
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, once more, with what it has kept; return when it listens."""
        is_up = threading.Event()
        self.process = process = subprocess.Popen(
            ["mosquitto", "-c", str(self._file)], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        lines = process.stderr

        def read() -> None:
            for line in lines:
                self.output.append(line)
                if "running" in line:
                    is_up.set()
            lines.close()

        threading.Thread(target=read, daemon=True).start()
        if not is_up.wait(DEADLINE_S):
            self.kill()
            raise AssertionError("".join(self.output))

    def kill(self) -> None:
        """SIGKILL: it keeps what it has kept."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM: it keeps everything."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(DEADLINE_S) == 0
        self.process = None


async def until(condition: "object") -> None:
    """Return when ``condition()`` is true; fails at the deadline."""
    assert callable(condition)
    with trio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
