"""Unix stream sockets: a path to listen on, who may use it, and who the other side is."""

import contextlib
import grp
import os
import pwd
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from noctule.config.settings import UnixSocketSettings
from noctule.net.errors import ListenError

#: ``struct ucred``: process, user, group.
_CREDENTIALS: Final = struct.Struct("3i")


class UnixSocketPath:
    """The file of a listening socket, which is removed with it, and only if it is still that one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        state = path.stat()
        self._identity = (state.st_dev, state.st_ino)

    def remove(self) -> None:
        """Remove the file, unless another has taken its place."""
        with contextlib.suppress(OSError):
            state = self._path.lstat()
            if (state.st_dev, state.st_ino) == self._identity:
                self._path.unlink()


def open_unix(path: Path, settings: UnixSocketSettings, backlog: int) -> tuple[socket.socket, UnixSocketPath]:
    """A bound, listening, non-blocking socket. ListenError where it cannot be had.

    A socket that nobody listens on any more is replaced, one that is in use is not, nor is any other file.
    """
    owner, group = _owner_of(path, settings)
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    file: UnixSocketPath | None = None
    try:
        bound.setblocking(False)
        bound.bind(str(path))
        file = UnixSocketPath(path)
        # Nobody can connect before listen(): until then it does not matter what the permissions are.
        path.chmod(int(settings.mode, 8))
        if owner != -1 or group != -1:
            os.chown(path, owner, group)
        bound.listen(backlog)
    except OSError as error:
        bound.close()
        if file is not None:
            file.remove()
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    return bound, file


def _owner_of(path: Path, settings: UnixSocketSettings) -> tuple[int, int]:
    """The user and the group by number; -1 where it stays the broker's own."""
    owner = group = -1
    try:
        if settings.owner:
            owner = pwd.getpwnam(settings.owner).pw_uid
        if settings.group:
            group = grp.getgrnam(settings.group).gr_gid
    except KeyError:
        what = f"user {settings.owner}" if settings.owner and owner == -1 else f"group {settings.group}"
        raise ListenError(f"cannot listen on {path}: there is no {what}") from None
    return owner, group


def _remove_stale(path: Path) -> None:
    """Remove what a broker has left behind that ended without cleaning up."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    if not stat.S_ISSOCK(state.st_mode):
        raise ListenError(
            f"cannot listen on {path}: there is a file that is no socket; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            pass
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
            raise ListenError(f"cannot listen on {path}: another program listens there") from None
        else:
            raise ListenError(f"cannot listen on {path}: another program listens there; stop it or choose another path")
    try:
        path.unlink()
    except OSError as error:
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None


def peer_of(connected: socket.socket) -> tuple[int, int] | None:
    """Process and user of the other side, by number; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    try:
        process, user, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    except OSError:
        return None
    return process, user


def user_name_of(user: int) -> str:
    """The name of a user; its number where it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
