/* The totals of a batch by group: number of events, first and last in the log, least, greatest, exact sum; and sums of terms
 * made canonical. */
#include "kernels.h"

#include <math.h>

#if !defined(__FLT_EVAL_METHOD__) || __FLT_EVAL_METHOD__ != 0
#error "exact sums need doubles that are rounded at each step; without them the package uses numpy"
#endif

enum {
    TERMS = 3,        /* heads cut from each value: with 2^16 values, these cover 111 bits */
    MANTISSA = 53,
    LEAST_CUT = -1022, /* below 2^-1022 every double is a multiple of 2^-1074, and so is what is cut off at it */
    GREATEST_CUT = 1022,
    BLOCK = 8,         /* groups that are settled side by side, for vector instructions */
    SETTLED_MAX = 16,  /* terms of one group */
    ROUNDS_MAX = 8
};

/* One group; 64 bytes, one cache line. */
struct group {
    int64_t size, first, last;
    double least, greatest, terms[TERMS];
};

static inline uint64_t bits_of(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static inline double power_of_two(int64_t exponent) {
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static inline double greater_of(double one, double other) { return one > other ? one : other; }

/* The greatest magnitude. Four lanes: a maximum waits for the one before it. */
static double greatest_magnitude(const double *values, int64_t count) {
    double greatest[4] = {0.0, 0.0, 0.0, 0.0};
    int64_t place = 0;
    for (; place + 4 <= count; place += 4)
        for (int lane = 0; lane < 4; lane++) greatest[lane] = greater_of(fabs(values[place + lane]), greatest[lane]);
    for (; place < count; place++) greatest[0] = greater_of(fabs(values[place]), greatest[0]);
    return greater_of(greater_of(greatest[0], greatest[1]), greater_of(greatest[2], greatest[3]));
}

/* Finds where the heads are cut. With |v| <= 2^e and fewer than 2^b values, the cut is 2^(e+b): a head is a multiple of
 * 2^(e+b-53), and no sum of heads reaches 2^(e+b), so all are doubles, in any order. The rest of a value is exact too, and at
 * most 2^(e+b-53): the next e. Returns 0 if a cut would overflow, else 1. */
static int find_cuts(const double *values, int64_t count, double *cuts) {
    int64_t size_bits = 0;
    while (size_bits < 63 && count >> size_bits) size_bits++;
    int64_t exponent = (int64_t)(bits_of(greatest_magnitude(values, count)) >> 52) - 1022;
    for (int term = 0; term < TERMS; term++) {
        int64_t cut = exponent + size_bits;
        if (cut > GREATEST_CUT) return 0;
        cuts[term] = power_of_two(cut < LEAST_CUT ? LEAST_CUT : cut);
        exponent = cut - MANTISSA;
    }
    return 1;
}

/* Writes the total of each of `group_count` groups over `count` events, which must be below 2^63, into `groups`.
 *
 * codes: the group of each event; NULL: all are in group 0. values: finite, 0.0 if there is none; NULL: there are none, and
 * `least`, `greatest` and `terms` mean nothing. has_value: 1 or 0 per event; NULL: each has one.
 * An empty group has `first` and `last` -1. `least` is inf and `greatest` -inf if no event has a value. The exact sum of the
 * group's values is the exact sum of its terms.
 * 0: done. 1: the values are too far apart, or too great, for so few terms. 2: a code is out of range. */
EXPORT int64_t ep_total_groups(const int64_t *codes, const double *values, const uint8_t *has_value, int64_t count,
                               struct group *groups, int64_t group_count) {
    const struct group empty = {0, -1, -1, INFINITY, -INFINITY, {0.0, 0.0, 0.0}};
    double cuts[TERMS];
    if (values && !find_cuts(values, count, cuts)) return 1;
    for (int64_t number = 0; number < group_count; number++) groups[number] = empty;
    uint64_t left = 0;
    for (int64_t place = 0; place < count; place++) {
        uint64_t code = codes ? (uint64_t)codes[place] : 0;
        if (code >= (uint64_t)group_count) return 2;
        struct group *group = &groups[code];
        group->first = group->size ? group->first : place;
        group->last = place;
        group->size++;
        if (!values || (has_value && !has_value[place])) continue;
        double rest = values[place];
        group->least = rest < group->least ? rest : group->least;
        group->greatest = rest > group->greatest ? rest : group->greatest;
        for (int term = 0; term < TERMS; term++) {
            double head = (rest + cuts[term]) - cuts[term];
            group->terms[term] += head;
            rest -= head;
        }
        left |= bits_of(rest);
    }
    return left ? 1 : 0;
}

/* Adds each term to the one above it, from the last to the first, and replaces it by what was rounded off (TwoSum).
 * Returns whether any term changed. A change of the sign of a zero does not count. */
static int pass_up(double terms[SETTLED_MAX][BLOCK], int64_t term_count, uint64_t moved[BLOCK]) {
    double total[BLOCK];
    uint64_t any = 0;
    for (int lane = 0; lane < BLOCK; lane++) {
        total[lane] = terms[term_count - 1][lane];
        moved[lane] = 0;
    }
    for (int64_t place = term_count - 2; place >= 0; place--) {
        for (int lane = 0; lane < BLOCK; lane++) {
            double upper = terms[place][lane], lower = total[lane];
            double rounded = upper + lower, back = rounded - upper;
            double off = (upper - (rounded - back)) + (lower - back);
            /* Adding 0.0 makes a zero positive, so that equal numbers have equal bits. */
            moved[lane] |= bits_of(off + 0.0) ^ bits_of(terms[place + 1][lane] + 0.0);
            terms[place + 1][lane] = off;
            total[lane] = rounded;
        }
    }
    for (int lane = 0; lane < BLOCK; lane++) {
        moved[lane] |= bits_of(total[lane] + 0.0) ^ bits_of(terms[0][lane] + 0.0);
        terms[0][lane] = total[lane];
        any |= moved[lane];
    }
    return any != 0;
}

/* Whether settled terms may not be canonical: a term is half the distance from the term above it to the next double, and
 * another term follows. */
static int is_halfway(double terms[SETTLED_MAX][BLOCK], int64_t term_count, int lane) {
    for (int64_t place = 0; place + 2 < term_count; place++) {
        double upper = terms[place][lane], twice = terms[place + 1][lane] + terms[place + 1][lane];
        if (twice != 0.0 && terms[place + 2][lane] != 0.0 && (upper + twice) - upper == twice) return 1;
    }
    return 0;
}

/* Settles the terms of a block. `unsettled` says for each lane whether it is still not canonical. Returns how many are not. */
static int64_t settle_block(double block[SETTLED_MAX][BLOCK], int64_t term_count, int lanes, uint8_t *unsettled) {
    uint64_t moved[BLOCK];
    int64_t found = 0;
    for (int round = 0; round < ROUNDS_MAX && pass_up(block, term_count, moved); round++) continue;
    for (int lane = 0; lane < lanes; lane++) {
        unsettled[lane] = moved[lane] || is_halfway(block, term_count, lane);
        found += unsettled[lane];
    }
    return found;
}

/* Makes the terms of each group canonical in place: `terms` (term_count, group_count), term j of group i at j * group_count + i.
 * A group that does not settle soon keeps its exact sum, and its `unsettled` (group_count) is 1, else 0.
 * Returns how many these are; -1 if there are too many terms: then nothing is changed. */
EXPORT int64_t ep_settle(double *terms, int64_t term_count, int64_t group_count, uint8_t *unsettled) {
    double block[SETTLED_MAX][BLOCK];
    int64_t found = 0;
    if (term_count < 1 || term_count > SETTLED_MAX) return -1;
    memset(block, 0, sizeof block);
    for (int64_t start = 0; start < group_count; start += BLOCK) {
        int lanes = (int)(group_count - start < BLOCK ? group_count - start : BLOCK);
        for (int64_t term = 0; term < term_count; term++)
            for (int lane = 0; lane < lanes; lane++) block[term][lane] = terms[term * group_count + start + lane];
        found += settle_block(block, term_count, lanes, unsettled + start);
        for (int64_t term = 0; term < term_count; term++)
            for (int lane = 0; lane < lanes; lane++) terms[term * group_count + start + lane] = block[term][lane] + 0.0;
    }
    return found;
}

/* Adds to some sums. Each sum is a column of `parts` (part_count + term_count, width): the first `part_count` rows hold its
 * parts, and the others are overwritten. Group i adds `terms` (term_count, group_count) to column `rows[i]`; each column is named
 * at most once. A group that does not settle soon keeps its exact sum, and its `unsettled` (group_count) is 1, else 0.
 * Returns how many these are; -1 if there are too many terms: then nothing is changed; -2 if a row is out of range. */
EXPORT int64_t ep_add_sums(double *parts, int64_t part_count, int64_t width, const int64_t *rows, const double *terms,
                           int64_t term_count, int64_t group_count, uint8_t *unsettled) {
    double block[SETTLED_MAX][BLOCK];
    int64_t count = part_count + term_count, found = 0;
    if (part_count < 0 || term_count < 0 || count < 1 || count > SETTLED_MAX) return -1;
    for (int64_t number = 0; number < group_count; number++)
        if ((uint64_t)rows[number] >= (uint64_t)width) return -2;
    memset(block, 0, sizeof block);
    for (int64_t start = 0; start < group_count; start += BLOCK) {
        int lanes = (int)(group_count - start < BLOCK ? group_count - start : BLOCK);
        /* Great terms before small ones settle soonest: the first part, the first term, the second part and so on. */
        for (int64_t part = 0, term = 0, place = 0; place < count; place++) {
            int is_part = part < part_count && (part <= term || term == term_count);
            for (int lane = 0; lane < lanes; lane++)
                block[place][lane] =
                    is_part ? parts[part * width + rows[start + lane]] : terms[term * group_count + start + lane];
            part += is_part;
            term += !is_part;
        }
        found += settle_block(block, count, lanes, unsettled + start);
        for (int64_t place = 0; place < count; place++)
            for (int lane = 0; lane < lanes; lane++) parts[place * width + rows[start + lane]] = block[place][lane] + 0.0;
    }
    return found;
}
