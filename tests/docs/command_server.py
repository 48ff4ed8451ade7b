"""Runs ``noctule`` commands for shells, each in a process forked from this one, which has everything imported.

A page of the documentation has up to thirty commands, and most of the time of each would be Python's start. What is
run is the same: ``noctule.cli.main.main`` with the words, folder, environment and files of whoever asks.

Run as a program it is that server: the path of its socket is its argument. ``CLIENT`` is the program that asks.
"""

import array
import contextlib
import json
import os
import resource
import socket
import sys
import traceback
from typing import Final

#: What stands in place of the command: hands over its words, folder, environment, files and limits, passes signals on,
#: and ends as it ends.
CLIENT: Final = """\
import array, json, os, resource, signal, socket, sys
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
asked = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ), limits]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    files = array.array("i", [0, 1, 2])
    server.sendmsg([len(asked).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    server.sendall(asked)
    process = int.from_bytes(server.recv(4), "big")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: os.kill(process, number))
    code = server.recv(1)
sys.exit(code[0] if code else 70)
"""

_FILES: Final = 3


def main() -> None:
    """Serve until standard input ends."""
    # What the commands import late, imported early.
    import noctule.cli.main
    import noctule.plugins.access_file
    import noctule.plugins.password_file
    import noctule.plugins.sqlite_store  # noqa: F401

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(sys.argv[1])
    listening.listen(64)
    print("ready", flush=True)
    while True:
        asking, _ = listening.accept()
        with asking:
            if os.fork():
                _reap()
                continue
            listening.close()
            _answer(asking)


def _reap() -> None:
    """Take leave of those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _answer(asking: socket.socket) -> None:
    """In a process of the request's own: start the command in another one, and tell how it ends."""
    files = array.array("i")
    size, extra, _, _ = asking.recvmsg(4, socket.CMSG_SPACE(_FILES * files.itemsize))
    if not size:
        os._exit(0)
    for _, _, data in extra:
        files.frombytes(data)
    wanted = int.from_bytes(size, "big")
    asked = b""
    while len(asked) < wanted:
        asked += asking.recv(wanted - len(asked))
    words, folder, environment, limits = json.loads(asked)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    command = os.fork()
    if not command:
        asking.close()
        _run(files, words, folder, environment)
    for file in files:
        os.close(file)
    asking.sendall(command.to_bytes(4, "big"))
    _, status = os.waitpid(command, 0)
    code = os.waitstatus_to_exitcode(status)
    asking.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _run(files: "array.array[int]", words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Become the command; never returns."""
    code = 70
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        from noctule.cli.main import main as run_command

        code = run_command(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
