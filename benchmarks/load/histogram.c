// A histogram of latencies with logarithmic buckets of fixed width, so that adding a value costs a few instructions.
#include "load.h"

#include <string.h>

static const unsigned SUB_BUCKET_BITS = 6;  // 64 sub-buckets

void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_add(struct histogram *histogram, uint64_t nanoseconds)
{
    size_t bucket = nanoseconds;
    if (nanoseconds >= HISTOGRAM_SUB_BUCKETS) {
        unsigned shift = 63u - (unsigned)__builtin_clzll(nanoseconds) - SUB_BUCKET_BITS;
        bucket = (size_t)shift * HISTOGRAM_SUB_BUCKETS + (size_t)(nanoseconds >> shift);
        if (bucket >= HISTOGRAM_BUCKETS)
            bucket = HISTOGRAM_BUCKETS - 1;
    }
    histogram->counts[bucket]++;
    histogram->total++;
    if (nanoseconds > histogram->maximum)
        histogram->maximum = nanoseconds;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    if (histogram->total == 0)
        return 0;
    uint64_t rank = (uint64_t)((double)histogram->total * percent / 100.0);
    if (rank >= histogram->total)
        rank = histogram->total - 1;
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen <= rank)
            continue;
        if (bucket < HISTOGRAM_SUB_BUCKETS)
            return bucket;
        unsigned shift = (unsigned)(bucket / HISTOGRAM_SUB_BUCKETS) - 1;
        uint64_t low = (uint64_t)(bucket - (size_t)shift * HISTOGRAM_SUB_BUCKETS) << shift;
        uint64_t middle = low + ((1ull << shift) >> 1);
        return middle < histogram->maximum ? middle : histogram->maximum;
    }
    return histogram->maximum;
}
