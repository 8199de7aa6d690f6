/* XXH3, 64 bits of more than 240 bytes, without a seed: the checksum of a block.
 *
 * Source: the published description of XXH3 (Y. Collet, "xxHash fast digest algorithm", the algorithm for large inputs). The
 * constants are its primes and its default secret.
 */
#ifndef EVENT_PROCESSOR_CHECKSUM_H
#define EVENT_PROCESSOR_CHECKSUM_H

#include "kernels.h"

#if defined(__SSE2__) && !defined(EP_PORTABLE)
#include <emmintrin.h>
#endif

/* Shorter content has another hash, which is not needed here. */
#define CHECKSUM_BYTES_MIN 241

#define LANES 8
#define STRIPE_BYTES 64
/* Stripes between two scrambles. Each stripe uses the secret from the next word on; the secret is long enough for these. */
#define BLOCK_STRIPES 16

static const uint64_t checksum_secret[24] = {
    0xBE4BA423396CFEB8ULL, 0x1CAD21F72C81017CULL, 0xDB979083E96DD4DEULL, 0x1F67B3B7A4A44072ULL,
    0x78E5C0CC4EE679CBULL, 0x2172FFCC7DD05A82ULL, 0x8E2443F7744608B8ULL, 0x4C263A81E69035E0ULL,
    0xCB00C391BB52283CULL, 0xA32E531B8B65D088ULL, 0x4EF90DA297486471ULL, 0xD8ACDEA946EF1938ULL,
    0x3F349CE33F76FAA8ULL, 0x1D4F0BC7C7BBDCF9ULL, 0x3159B4CD4BE0518AULL, 0x647378D9C97E9FC8ULL,
    0xC3EBD33483ACC5EAULL, 0xEB6313FAFFA081C5ULL, 0x49DAF0B751DD0D17ULL, 0x9E68D429265516D3ULL,
    0xFCA1477D58BE162BULL, 0xCE31D07AD1B8F88FULL, 0x280416958F3ACB45ULL, 0x7E404BBBCAFBD7AFULL,
};

#if defined(__SSE2__) && !defined(EP_PORTABLE)
static inline void take_stripe(uint64_t *lanes, const uint8_t *stripe, const uint8_t *secret) {
    for (int lane = 0; lane < LANES; lane += 2) {
        const __m128i words = _mm_loadu_si128((const __m128i *)(stripe + 8 * lane));
        const __m128i keyed = _mm_xor_si128(words, _mm_loadu_si128((const __m128i *)(secret + 8 * lane)));
        const __m128i product = _mm_mul_epu32(keyed, _mm_srli_epi64(keyed, 32));
        const __m128i swapped = _mm_shuffle_epi32(words, _MM_SHUFFLE(1, 0, 3, 2));
        __m128i *pair = (__m128i *)(lanes + lane);
        _mm_storeu_si128(pair, _mm_add_epi64(_mm_loadu_si128(pair), _mm_add_epi64(swapped, product)));
    }
}
#else
static inline void take_stripe(uint64_t *lanes, const uint8_t *stripe, const uint8_t *secret) {
    for (int lane = 0; lane < LANES; lane++) {
        const uint64_t word = word_at(stripe + 8 * lane), keyed = word ^ word_at(secret + 8 * lane);
        lanes[lane ^ 1] += word;
        lanes[lane] += (keyed & 0xFFFFFFFFULL) * (keyed >> 32);
    }
}
#endif

static inline void scramble(uint64_t *lanes, const uint8_t *secret) {
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = (lanes[lane] ^ (lanes[lane] >> 47) ^ word_at(secret + 8 * lane)) * 0x9E3779B1ULL;
}

/* Takes all stripes of `size` bytes, at least CHECKSUM_BYTES_MIN, into the lanes. */
static inline void accumulate(uint64_t *lanes, const uint8_t *content, int64_t size) {
    static const uint64_t begun[LANES] = {0xC2B2AE3DULL,         0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL, 0x165667B19E3779F9ULL,
                                          0x85EBCA77C2B2AE63ULL, 0x85EBCA77ULL,         0x27D4EB2F165667C5ULL, 0x9E3779B1ULL};
    const uint8_t *secret = (const uint8_t *)checksum_secret, *last = secret + sizeof checksum_secret - STRIPE_BYTES;
    memcpy(lanes, begun, sizeof begun);
    const int64_t stripes = (size - 1) / STRIPE_BYTES; /* the last one ends with the content, and may overlap the one before */
    for (int64_t stripe = 0; stripe < stripes; stripe++) {
        take_stripe(lanes, content + STRIPE_BYTES * stripe, secret + 8 * (stripe % BLOCK_STRIPES));
        if (stripe % BLOCK_STRIPES == BLOCK_STRIPES - 1)
            scramble(lanes, last);
    }
    take_stripe(lanes, content + size - STRIPE_BYTES, last - 7);
}

/* One word of all lanes, with the secret from a place on. */
static inline uint64_t merged(const uint64_t *lanes, const uint8_t *secret, uint64_t hash) {
    for (int lane = 0; lane < LANES; lane += 2) {
        const wide product = (wide)(lanes[lane] ^ word_at(secret + 8 * lane)) * (lanes[lane + 1] ^ word_at(secret + 8 + 8 * lane));
        hash += (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    hash ^= hash >> 37;
    hash *= 0x165667919E3779F9ULL;
    return hash ^ (hash >> 32);
}

/* The checksum of `size` bytes, at least CHECKSUM_BYTES_MIN. */
static inline uint64_t checksum_of(const uint8_t *content, int64_t size) {
    uint64_t lanes[LANES];
    accumulate(lanes, content, size);
    return merged(lanes, (const uint8_t *)checksum_secret + 11, (uint64_t)size * 0x9E3779B185EBCA87ULL);
}

#endif
