"""What a process has used, by the operating system's own accounting: CPU time, waiting, resident memory."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from suite.places import BenchmarkError


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children have used up to now."""

    cpu_s: float  # user and system
    waiting_s: float  # ready to run while another had the core
    resident_bytes: int


def process_tree(pid: int) -> list[int]:
    """List a process and all that descend from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
    return found


def clock_tick_cpu_s(pid: int) -> float:
    """CPU time of a process with its ended threads, as coarse as the system's clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_usage(pid: int) -> Usage:
    """Read what one process has used.

    The scheduler's own figure (nanoseconds, by thread) is far finer than the clock ticks, but it is missing on some
    kernels, and threads that have ended are not in it: then the clock ticks count.
    """
    ticks_s = clock_tick_cpu_s(pid)
    cpu_s = waiting_s = 0.0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError):
            ran, waited, _ = (int(text) for text in path.read_text().split())
            cpu_s += ran / 1e9
            waiting_s += waited / 1e9
    if ticks_s > cpu_s * 1.05 + 0.05:
        cpu_s = ticks_s
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(cpu_s, waiting_s, pages * os.sysconf("SC_PAGE_SIZE"))


def tree_usage(pid: int) -> Usage:
    """Add up what a process and its children have used. BenchmarkError if it has ended."""
    cpu_s = waiting_s = 0.0
    resident_bytes = 0
    for member in process_tree(pid):
        try:
            usage = process_usage(member)
        except OSError:
            if member == pid:
                raise BenchmarkError("the broker has ended") from None
            continue
        cpu_s += usage.cpu_s
        waiting_s += usage.waiting_s
        resident_bytes += usage.resident_bytes
    return Usage(cpu_s, waiting_s, resident_bytes)
