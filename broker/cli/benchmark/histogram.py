"""A histogram of fixed size for times of any length: each is kept with an error of at most 1.6 %."""

from collections.abc import Iterable
from typing import Final

#: Buckets in every power of two; below it each value has a bucket of its own.
_SUB_BUCKET_BITS: Final = 6
_SUB_BUCKETS: Final = 1 << _SUB_BUCKET_BITS

#: Powers of two above that: the last bucket begins at 2**45 nanoseconds, which is near ten hours.
_POWERS: Final = 40
_BUCKETS: Final = _SUB_BUCKETS * _POWERS


class Histogram:
    """Counts values: whole numbers from 0 up, here nanoseconds. What is beyond the last bucket counts into it."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total = 0
        self.maximum = 0

    def add(self, value: int) -> None:
        """Count one value."""
        bucket = value
        if value >= _SUB_BUCKETS:
            shift = value.bit_length() - 1 - _SUB_BUCKET_BITS
            bucket = shift * _SUB_BUCKETS + (value >> shift)
            if bucket >= _BUCKETS:
                bucket = _BUCKETS - 1
        self._counts[bucket] += 1
        self.count += 1
        self.total += value
        if value > self.maximum:
            self.maximum = value

    def merge(self, other: "Histogram") -> None:
        """Count everything that another one has counted."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    @property
    def mean(self) -> float:
        """The mean, exact; 0 where nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The value that ``percent`` of all are not above; the middle of its bucket. 0 where nothing was counted."""
        if self.count == 0:
            return 0
        if percent >= 100:
            return self.maximum
        rank = min(int(self.count * percent / 100), self.count - 1)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen > rank:
                return min(_middle_of(bucket), self.maximum)
        return self.maximum

    def percentiles(self, percents: Iterable[float]) -> list[int]:
        """Several at once, in their order."""
        return [self.percentile(percent) for percent in percents]


def _middle_of(bucket: int) -> int:
    if bucket < 2 * _SUB_BUCKETS:
        return bucket
    shift = bucket // _SUB_BUCKETS - 1
    return (bucket - shift * _SUB_BUCKETS << shift) + (1 << shift >> 1)
