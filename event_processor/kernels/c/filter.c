/* What comes before the sorted runs: the blocked Bloom filter of a segment, the marks of a generation, and which fingerprints of
 * a batch are new.
 *
 * A batch is n ascending fingerprints, as the columns hi and lo.
 */
#include "filter.h"

/* The number of probes that run together: all their words are prefetched before the first is read. */
#define AHEAD 64
#define BLOCK_WORDS 8

/* The first word of the block of `hi`, in a filter of `blocks` blocks (below 2^32). */
static inline uint64_t block_of(uint64_t hi, uint64_t blocks) { return ((hi >> 32) * blocks >> 32) * BLOCK_WORDS; }

static inline uint64_t first_bits(uint64_t lo, const uint64_t *patterns) { return patterns[lo >> 5 & 0xFFF]; }

static inline uint64_t second_bits(uint64_t lo, const uint64_t *patterns) { return patterns[lo >> 17 & 0xFFF]; }

/* The word of the block with the second four bits: never the first word. */
static inline uint64_t second_word(uint64_t lo) { return (lo & 7) ^ ((lo >> 2 & 6) | 1); }

/* Writes the ascending places of the fingerprints that may be in the filter of 8 `blocks` words; returns how many. `places`
 * has room for n. `patterns`: the 4096 words from which a fingerprint's bits are chosen. */
EXPORT int64_t ep_filter_hits(const uint64_t *words, uint64_t blocks, const uint64_t *patterns, const uint64_t *hi, const uint64_t *lo,
                              int64_t n, int64_t *places) {
    int64_t count = 0;
    uint64_t firsts[AHEAD];
    for (int64_t start = 0; start < n; start += AHEAD) {
        const int64_t end = n - start < AHEAD ? n : start + AHEAD;
        for (int64_t i = start; i < end; i++) {
            firsts[i - start] = block_of(hi[i], blocks) | (lo[i] & 7);
            __builtin_prefetch(words + firsts[i - start]);
        }
        /* About one in a hundred passes the first word. They are collected without a branch. */
        const int64_t before = count;
        for (int64_t i = start; i < end; i++) {
            const uint64_t bits = first_bits(lo[i], patterns);
            places[count] = i;
            count += (words[firsts[i - start]] & bits) == bits;
        }
        int64_t kept = before;
        for (int64_t at = before; at < count; at++) {
            const int64_t i = places[at];
            const uint64_t bits = second_bits(lo[i], patterns);
            places[kept] = i;
            kept += (words[block_of(hi[i], blocks) | second_word(lo[i])] & bits) == bits;
        }
        count = kept;
    }
    return count;
}

/* Sets the bits of the batch in `words`: the blocks from `block` on, of `blocks` in all. The columns may be views of rows.
 * `count`: the number of words. Returns 1; or 0 if a fingerprint's block is not among them: then the bits that were set mean
 * nothing. */
EXPORT int64_t ep_filter_add(uint64_t *words, int64_t count, uint64_t block, uint64_t blocks, const uint64_t *patterns,
                             const uint64_t *hi, int64_t hi_step, const uint64_t *lo, int64_t lo_step, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint64_t at = block_of(hi[i * hi_step], blocks) - block * BLOCK_WORDS, low = lo[i * lo_step];
        if (count < BLOCK_WORDS || at > (uint64_t)count - BLOCK_WORDS)
            return 0;
        words[at | (low & 7)] |= first_bits(low, patterns);
        words[at | second_word(low)] |= second_bits(low, patterns);
    }
    return 1;
}

/* Sets the mark of each of n fingerprints, chosen by the high bits of `hi`. There are 2^(64 - shift) marks, a bit each, in
 * whole bytes: 1 <= shift <= 61. */
EXPORT void ep_marks_set(uint8_t *marks, int64_t shift, const uint64_t *hi, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        marks[hi[i] >> shift >> 3] |= (uint8_t)(1 << (hi[i] >> shift & 7));
}

/* fresh[i]: whether fingerprint i differs from the one before it. `doubtful`: the ascending places of the fresh ones that are
 * not known to be new; `doubtful_hi` and `doubtful_lo`: the fingerprints there. `known` has an answer per id; places[i] is the
 * id of fingerprint i. The outputs have room for n. Returns how many are doubtful; or -1 if a place is not below n. */
EXPORT int64_t ep_firsts(const uint64_t *hi, const uint64_t *lo, const int64_t *places, const uint8_t *known, int64_t n, uint8_t *fresh,
                         int64_t *doubtful, uint64_t *doubtful_hi, uint64_t *doubtful_lo) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        const int is_fresh = i == 0 || hi[i] != hi[i - 1] || lo[i] != lo[i - 1];
        if ((uint64_t)places[i] >= (uint64_t)n)
            return -1;
        fresh[i] = (uint8_t)is_fresh;
        doubtful[count] = i;
        doubtful_hi[count] = hi[i];
        doubtful_lo[count] = lo[i];
        count += is_fresh & !known[places[i]];
    }
    return count;
}

/* Completes `ep_firsts`, when the m doubtful have their answers, 1 for new. `fresh` becomes which of the n are new;
 * answers_by_id[places[i]] is the same for fingerprint i. `new_hi` and `new_lo`, with room for n, get the new ones. Returns
 * how many; or -1 if a place is not below n. */
EXPORT int64_t ep_take_new(const uint64_t *hi, const uint64_t *lo, const int64_t *places, int64_t n, uint8_t *fresh, const int64_t *doubtful,
                           const uint8_t *answers, int64_t m, uint64_t *new_hi, uint64_t *new_lo, uint8_t *answers_by_id) {
    for (int64_t i = 0; i < m; i++) {
        if ((uint64_t)doubtful[i] >= (uint64_t)n)
            return -1;
        fresh[doubtful[i]] = answers[i];
    }
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if ((uint64_t)places[i] >= (uint64_t)n)
            return -1;
        answers_by_id[places[i]] = fresh[i];
        new_hi[count] = hi[i];
        new_lo[count] = lo[i];
        count += fresh[i];
    }
    return count;
}

/* Copies the fingerprints whose mask is 1 (else it is 0), in their order, into columns with room for n; returns how many. */
EXPORT int64_t ep_pick(const uint8_t *mask, const uint64_t *hi, const uint64_t *lo, int64_t n, uint64_t *picked_hi, uint64_t *picked_lo) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        picked_hi[count] = hi[i];
        picked_lo[count] = lo[i];
        count += mask[i];
    }
    return count;
}
