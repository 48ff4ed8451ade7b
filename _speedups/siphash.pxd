"""SipHash-1-3: a keyed hash, so that a client cannot choose topics that fall into one bucket."""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifndef NOCTULE_SIPHASH
    #define NOCTULE_SIPHASH
    #include <stdint.h>
    #include <string.h>
    #define NOCTULE_ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
    #define NOCTULE_ROUND \
        v0 += v1; v1 = NOCTULE_ROTATE(v1, 13); v1 ^= v0; v0 = NOCTULE_ROTATE(v0, 32); \
        v2 += v3; v3 = NOCTULE_ROTATE(v3, 16); v3 ^= v2; \
        v0 += v3; v3 = NOCTULE_ROTATE(v3, 21); v3 ^= v0; \
        v2 += v1; v1 = NOCTULE_ROTATE(v1, 17); v1 ^= v2; v2 = NOCTULE_ROTATE(v2, 32);
    static inline uint64_t noctule_siphash(uint64_t k0, uint64_t k1, const unsigned char *data, size_t size) {
        uint64_t v0 = k0 ^ 0x736f6d6570736575ULL, v1 = k1 ^ 0x646f72616e646f6dULL;
        uint64_t v2 = k0 ^ 0x6c7967656e657261ULL, v3 = k1 ^ 0x7465646279746573ULL;
        uint64_t last = (uint64_t)size << 56, word;
        size_t left = size;
        while (left >= 8) {
            memcpy(&word, data, 8);
            v3 ^= word; NOCTULE_ROUND; v0 ^= word;
            data += 8; left -= 8;
        }
        word = 0;
        if (left) memcpy(&word, data, left);
        last |= word;
        v3 ^= last; NOCTULE_ROUND; v0 ^= last;
        v2 ^= 0xff;
        NOCTULE_ROUND; NOCTULE_ROUND; NOCTULE_ROUND;
        return v0 ^ v1 ^ v2 ^ v3;
    }
    #endif
    """
    uint64_t noctule_siphash(uint64_t key0, uint64_t key1, const unsigned char *data, size_t size) noexcept nogil
