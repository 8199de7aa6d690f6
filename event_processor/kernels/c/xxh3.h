/* XXH3-128 of texts of at least 17 bytes.
 *
 * Source: the published description of XXH3 (Y. Collet, "xxHash fast digest algorithm", the 128-bit variants for 17 to 128 bytes,
 * for 129 to 240, and for large inputs). The constants are its primes and its default secret.
 */
#ifndef EVENT_PROCESSOR_XXH3_H
#define EVENT_PROCESSOR_XXH3_H

#include "checksum.h"

#define XXH3_WIDTH_MIN 17
#define PRIME64_1 0x9E3779B185EBCA87ULL
#define PRIME64_2 0xC2B2AE3D27D4EB4FULL
#define PRIME64_4 0x85EBCA77C2B2AE63ULL
#define MULTIPLIER_1 0x165667919E3779F9ULL

struct hash {
    uint64_t low, high;
};

static inline uint64_t avalanche(uint64_t word) {
    word ^= word >> 37;
    word *= MULTIPLIER_1;
    return word ^ (word >> 32);
}

/* Mixes sixteen bytes with two words of the seeded secret: both halves of their product, folded. */
static inline uint64_t mix(uint64_t one, uint64_t other, const uint64_t *seeded) {
    const wide product = (wide)(one ^ seeded[0]) * (other ^ seeded[1]);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Mixes sixteen bytes from the front and sixteen from the back, `step` such pieces from either end, into both halves. */
static inline struct hash mixed_in(struct hash hash, const uint8_t *text, uint64_t width, unsigned step, const uint64_t *seeded) {
    const uint8_t *front = text + 16 * step, *back = text + width - 16 * (step + 1);
    const uint64_t front_one = word_at(front), front_other = word_at(front + 8);
    const uint64_t back_one = word_at(back), back_other = word_at(back + 8);
    hash.low += mix(front_one, front_other, seeded + 4 * step);
    hash.low ^= back_one + back_other;
    hash.high += mix(back_one, back_other, seeded + 4 * step + 2);
    hash.high ^= front_one + front_other;
    return hash;
}

/* `seeded`: the secret's words, alternately plus and minus the seed. */
static inline struct hash hash_17_to_128(const uint8_t *text, uint64_t width, uint64_t seed, const uint64_t *seeded) {
    struct hash hash = {width * PRIME64_1, 0};
    /* From the middle outwards. */
    if (width > 96)
        hash = mixed_in(hash, text, width, 3, seeded);
    if (width > 64)
        hash = mixed_in(hash, text, width, 2, seeded);
    if (width > 32)
        hash = mixed_in(hash, text, width, 1, seeded);
    hash = mixed_in(hash, text, width, 0, seeded);
    const uint64_t mixed = hash.low * PRIME64_1 + hash.high * PRIME64_4 + (width - seed) * PRIME64_2;
    return (struct hash){avalanche(hash.low + hash.high), 0 - avalanche(mixed)};
}

/* Mixes sixteen bytes with two words of the secret at any place. */
static inline uint64_t mixed_at(const uint8_t *text, const uint8_t *secret) {
    const wide product = (wide)(word_at(text) ^ word_at(secret)) * (word_at(text + 8) ^ word_at(secret + 8));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline struct hash both_mixed_in(struct hash hash, const uint8_t *one, const uint8_t *other, const uint8_t *secret) {
    hash.low += mixed_at(one, secret);
    hash.low ^= word_at(other) + word_at(other + 8);
    hash.high += mixed_at(other, secret + 16);
    hash.high ^= word_at(one) + word_at(one + 8);
    return hash;
}

/* Without a seed. From the 160th byte on, the secret is used again from its third byte on. */
static inline struct hash hash_129_to_240(const uint8_t *text, uint64_t width) {
    const uint8_t *secret = (const uint8_t *)checksum_secret;
    struct hash hash = {width * PRIME64_1, 0};
    for (uint64_t at = 0; at < 128; at += 32)
        hash = both_mixed_in(hash, text + at, text + at + 16, secret + at);
    hash = (struct hash){avalanche(hash.low), avalanche(hash.high)};
    for (uint64_t at = 128; at + 32 <= width; at += 32)
        hash = both_mixed_in(hash, text + at, text + at + 16, secret + 3 + at - 128);
    hash = both_mixed_in(hash, text + width - 16, text + width - 32, secret + 136 - 17 - 16);
    const uint64_t mixed = hash.low * PRIME64_1 + hash.high * PRIME64_4 + width * PRIME64_2;
    return (struct hash){avalanche(hash.low + hash.high), 0 - avalanche(mixed)};
}

static inline struct hash hash_of_many(const uint8_t *text, uint64_t width) {
    const uint8_t *secret = (const uint8_t *)checksum_secret;
    uint64_t lanes[LANES];
    accumulate(lanes, text, (int64_t)width);
    const uint64_t low = merged(lanes, secret + 11, width * PRIME64_1);
    return (struct hash){low, merged(lanes, secret + sizeof checksum_secret - STRIPE_BYTES - 11, ~(width * PRIME64_2))};
}

/* The hash of `width` bytes, at least XXH3_WIDTH_MIN, without a seed. */
static inline struct hash xxh3_128(const uint8_t *text, uint64_t width) {
    if (width <= 128)
        return hash_17_to_128(text, width, 0, checksum_secret);
    return width <= 240 ? hash_129_to_240(text, width) : hash_of_many(text, width);
}

#endif
