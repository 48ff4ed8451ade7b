"""The directory of a store: that it is one broker's alone, on a disk of this machine, with room in reserve."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final, NamedTuple

from noctule.api import StoreError

#: The file that a broker locks as long as it uses the directory.
LOCK_NAME: Final = "lock"

#: The file that is given up when the disk is full, so that what makes room can still be written.
RESERVE_NAME: Final = "reserve"

#: File systems that another machine keeps: their locks and syncs do not hold what SQLite builds on.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.ceph",
        "fuse.davfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "moosefs",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
        "vboxsf",
    }
)

#: Where Linux says what is mounted where.
MOUNTS: Final = Path("/proc/self/mountinfo")


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that holds a path, as ``mount`` says it; None where that cannot be found out."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    wanted = path.resolve()
    found: tuple[int, str] | None = None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        # The mount point is written with spaces, tabs, newlines and backslashes as octal numbers.
        written = fields.split(" ")[4] if fields.count(" ") >= 4 else ""
        for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            written = written.replace(code, character)
        mount_point = Path(written)
        if not written or not rest or not wanted.is_relative_to(mount_point):
            continue
        depth = len(mount_point.parts)
        if found is None or depth >= found[0]:  # of two on one place the later is on top
            found = depth, rest.split(" ")[0]
    return found[1] if found else None


class Room(NamedTuple):
    """The room of a file system."""

    size_bytes: int

    #: What the broker may use.
    free_bytes: int


class Directory:
    """Makes the directory, and holds its lock from ``lock`` to ``unlock``."""

    __slots__ = ("_lock", "path", "was_used")

    def __init__(self, path: Path) -> None:
        self.path = path

        #: Whether a broker has used it before.
        self.was_used = False
        self._lock: int | None = None

    def make(self) -> None:
        """Make it where it is not there, for its owner alone. StoreError where that cannot be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError:
            raise StoreError(f"{self.path} is not a directory; name another one, or move the file away") from None
        except OSError as error:
            raise StoreError(f"cannot make the directory {self.path}: {error.strerror}") from None

    def lock(self) -> None:
        """Take it for this process. StoreError where another one has it, or nothing can be written in it."""
        path = self.path / LOCK_NAME
        try:
            self.was_used = path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot write in {self.path}: {error.strerror}; the store needs a directory that the broker may write"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StoreError(
                f"{self.path} is used by another process{f' (process {holder})' if holder else ''}; "
                "stop that broker, or give this one a directory of its own"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"cannot lock {path}: {error.strerror}") from None
        self._lock = descriptor
        # The number is for a message alone; a full disk must not keep the broker from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def unlock(self) -> None:
        """Leave it to others."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sync(self) -> None:
        """Make sure that names that have changed in it survive a loss of power."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def room(self) -> Room | None:
        """The room of its file system; None where the system does not say."""
        try:
            state = os.statvfs(self.path)
        except OSError:
            return None
        return Room(state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize)


class Reserve:
    """A file of a given size that holds room for what has to be written when there is none left."""

    __slots__ = ("_directory", "_path", "is_held", "size_bytes")

    def __init__(self, directory: Directory, size_bytes: int) -> None:
        self._directory = directory
        self._path = directory.path / RESERVE_NAME
        self.size_bytes = size_bytes

        #: Whether the room is there to be given up.
        self.is_held = False

    def take(self) -> bool:
        """Take the room, unless there is too little; whether it is held comes back."""
        if self.is_held:
            return True
        with contextlib.suppress(OSError):  # it is not there yet
            if self._path.stat().st_blocks * 512 >= self.size_bytes:
                self.is_held = True
        if self.is_held or not self.size_bytes:
            self.is_held = True
            return True
        room = self._directory.room()
        if room is not None and room.free_bytes < 2 * self.size_bytes:
            return False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_up()
            return False
        self.is_held = True
        return True

    def give_up(self) -> None:
        """Let go of the room."""
        self.is_held = False
        # Where it cannot be removed there is no more room than before, and the next write says so.
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
