/* Fingerprints in order: how two compare, how they lie in runs and in rows, and how two runs are joined.
 *
 * A fingerprint is two words, hi and lo, and comes before another if (hi, lo) is less. In a row the two lie together, 16 bytes in
 * any alignment. In a run, word i is `column[i * step]`: its columns may be separate, or a view of rows that are aligned.
 */
#ifndef EVENT_PROCESSOR_FINGERPRINT_H
#define EVENT_PROCESSOR_FINGERPRINT_H

#include "kernels.h"

#define ROW_BYTES 16

static inline wide key_of(uint64_t hi, uint64_t lo) { return (wide)hi << 64 | lo; }

static inline wide row_at(const uint8_t *rows, uint64_t place) {
    return key_of(word_at(rows + ROW_BYTES * place), word_at(rows + ROW_BYTES * place + 8));
}

/* A part of a run: `left` fingerprints from these addresses on. */
struct part {
    const uint64_t *hi, *lo;
    int64_t hi_step, lo_step, left;
};

static inline wide key_at(const struct part *part, int64_t place) {
    return key_of(part->hi[place * part->hi_step], part->lo[place * part->lo_step]);
}

/* Joins both parts, ascending, into hi and lo, with step `step`. It works from both ends at once and branches on no
 * comparison: the order is random, so a branch would be mispredicted every second time. One pass has as many rounds as the
 * shorter part has entries, so it never reads beyond either part: the front and the back of the result never take the same
 * entry. */
static inline void join_two(struct part a, struct part b, uint64_t *hi, uint64_t *lo, int64_t step) {
    int64_t first = 0, last = a.left + b.left - 1;
    for (int64_t rounds; (rounds = a.left < b.left ? a.left : b.left) > 0;) {
        int64_t a_front = 0, b_front = 0, a_back = a.left - 1, b_back = b.left - 1;
        for (int64_t round = 0; round < rounds; round++) {
            const wide a_least = key_at(&a, a_front), b_least = key_at(&b, b_front);
            const wide a_most = key_at(&a, a_back), b_most = key_at(&b, b_back);
            const int64_t takes_b = b_least < a_least, takes_a = b_most < a_most;
            const wide least = takes_b ? b_least : a_least, most = takes_a ? a_most : b_most;
            hi[first * step] = (uint64_t)(least >> 64), lo[first++ * step] = (uint64_t)least;
            hi[last * step] = (uint64_t)(most >> 64), lo[last-- * step] = (uint64_t)most;
            b_front += takes_b, a_front += 1 - takes_b;
            a_back -= takes_a, b_back -= 1 - takes_a;
        }
        a.hi += a_front * a.hi_step, a.lo += a_front * a.lo_step, a.left = a_back + 1 - a_front;
        b.hi += b_front * b.hi_step, b.lo += b_front * b.lo_step, b.left = b_back + 1 - b_front;
    }
    const struct part rest = a.left > 0 ? a : b;
    for (int64_t i = 0; i < rest.left; i++, first++) {
        hi[first * step] = rest.hi[i * rest.hi_step];
        lo[first * step] = rest.lo[i * rest.lo_step];
    }
}

#endif
