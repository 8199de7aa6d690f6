/* Fingerprints: XXH3-128 of short texts and of integers; and the order, the union and the search of sorted runs.
 *
 * Source of the hash: the published description of XXH3 (Y. Collet, "xxHash fast digest algorithm", the 128-bit variants for 4 to
 * 8, 9 to 16 and 17 to 128 bytes). The constants are its primes and the first bytes of its default secret.
 */
#include "fingerprint.h"
#include "xxh3.h"

#define WIDTH_MIN 4
#define WIDTH_MAX 128
#define PRIME32_2 0x85EBCA77ULL
#define MULTIPLIER_2 0x9FB21C651E98DF25ULL

/* The words of the secret, one at every eighth byte. */
static const uint64_t *const secret = checksum_secret;

static inline uint32_t half_at(const uint8_t *place) {
    uint32_t half;
    memcpy(&half, place, sizeof half);
    return half;
}

static inline struct hash hash_4_to_8(uint64_t text, uint64_t width, uint64_t seed) {
    const uint64_t swapped = __builtin_bswap32((uint32_t)seed);
    const uint64_t flip = (secret[2] ^ secret[3]) + (seed ^ (swapped << 32));
    const wide product = (wide)(text ^ flip) * (PRIME64_1 + (width << 2));
    uint64_t low = (uint64_t)product, high = (uint64_t)(product >> 64);
    high += low << 1;
    low ^= high >> 3;
    low ^= low >> 35;
    low *= MULTIPLIER_2;
    low ^= low >> 28;
    return (struct hash){low, avalanche(high)};
}

static inline struct hash hash_9_to_16(const uint8_t *text, uint64_t width, uint64_t seed) {
    const uint64_t first = word_at(text);
    uint64_t last = word_at(text + width - 8);
    const wide product = (wide)(first ^ last ^ ((secret[4] ^ secret[5]) - seed)) * PRIME64_1;
    uint64_t low = (uint64_t)product + ((width - 1) << 54), high = (uint64_t)(product >> 64);
    last ^= (secret[6] ^ secret[7]) + seed;
    high += last + (last & 0xFFFFFFFFULL) * (PRIME32_2 - 1);
    low ^= __builtin_bswap64(high);
    const wide mixed = (wide)low * PRIME64_2;
    return (struct hash){avalanche((uint64_t)mixed), avalanche((uint64_t)(mixed >> 64) + high * PRIME64_2)};
}

/* The digest is big-endian, its high half first. A row holds its bytes in that order. */
static inline void put_row(uint64_t *row, struct hash hash) {
    row[0] = __builtin_bswap64(hash.high);
    row[1] = __builtin_bswap64(hash.low);
}

/* rows[2 i], rows[2 i + 1]: the fingerprint of content[begins[i]:ends[i]], for n texts. Returns 1; or 0 if a text is shorter
 * than WIDTH_MIN, longer than WIDTH_MAX or not within the `length` bytes of content: then the rows mean nothing. */
EXPORT int64_t ep_hash_texts(const uint8_t *content, int64_t length, const int64_t *begins, const int64_t *ends, int64_t n,
                             uint64_t seed, uint64_t *rows) {
    uint64_t seeded[16];
    for (unsigned at = 0; at < 16; at += 2) {
        seeded[at] = secret[at] + seed;
        seeded[at + 1] = secret[at + 1] - seed;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = begins[i], end = ends[i];
        if (begin < 0 || end > length || begin > end - WIDTH_MIN || end - begin > WIDTH_MAX)
            return 0;
        const uint8_t *text = content + begin;
        const uint64_t width = (uint64_t)(end - begin);
        struct hash hash;
        if (width > 16)
            hash = hash_17_to_128(text, width, seed, seeded);
        else if (width > 8)
            hash = hash_9_to_16(text, width, seed);
        else
            hash = hash_4_to_8(half_at(text) | (uint64_t)half_at(text + width - 4) << 32, width, seed);
        put_row(rows + 2 * i, hash);
    }
    return 1;
}

/* As `ep_hash_texts`, for n integers, as eight bytes each. */
EXPORT void ep_hash_numbers(const uint64_t *numbers, int64_t n, uint64_t seed, uint64_t *rows) {
    for (int64_t i = 0; i < n; i++)
        put_row(rows + 2 * i, hash_4_to_8(numbers[i], 8, seed));
}

/* Whether one word comes before another: as numbers if `rows` is NULL; else as places, in the order of the rows there. */
static inline int stands_before(const uint8_t *rows, uint64_t one, uint64_t other) {
    if (rows == NULL)
        return one < other;
    const wide row = row_at(rows, one), another = row_at(rows, other);
    return row < another || (row == another && one < other);
}

static void sift_down(const uint8_t *rows, uint64_t *words, int64_t root, int64_t count) {
    const uint64_t sifted = words[root];
    for (int64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && stands_before(rows, words[child], words[child + 1]))
            child++;
        if (!stands_before(rows, sifted, words[child]))
            break;
        words[root] = words[child];
    }
    words[root] = sifted;
}

/* Sorts `count` words in any order, no two equal: n log n at worst. Words already in order, such as repetitions of one
 * fingerprint, are only read. */
static void sort_words(const uint8_t *rows, uint64_t *words, int64_t count) {
    int64_t ordered = 1;
    while (ordered < count && stands_before(rows, words[ordered - 1], words[ordered]))
        ordered++;
    if (ordered >= count)
        return;
    for (int64_t root = count / 2; root-- > 0;)
        sift_down(rows, words, root, count);
    for (int64_t last = count; --last > 0;) {
        const uint64_t greatest = words[0];
        words[0] = words[last];
        words[last] = greatest;
        sift_down(rows, words, 0, last);
    }
}

/* A larger bucket is sorted separately. For the others, this limits the steps per entry of the last pass. */
#define BUCKET_MAX 24

/* Sorts the keys: by buckets of their first `bits` bits, and then each key among its few neighbours. */
static void fill_buckets(const uint8_t *rows, int64_t n, int bits, uint64_t place_mask, uint32_t *ends, uint64_t *keys) {
    const int shift = 64 - bits;
    const int64_t buckets = (int64_t)1 << bits;
    memset(ends, 0, (size_t)buckets * sizeof *ends);
    for (int64_t i = 0; i < n; i++)
        ends[word_at(rows + 16 * i) >> shift]++;
    uint32_t total = 0, most = 0;
    for (int64_t bucket = 0; bucket < buckets; bucket++) {
        const uint32_t count = ends[bucket];
        ends[bucket] = total;
        total += count;
        most = count > most ? count : most;
    }
    for (int64_t i = 0; i < n; i++) {
        const uint64_t word = word_at(rows + 16 * i);
        keys[ends[word >> shift]++] = (word & ~place_mask) | (uint64_t)i;
    }
    /* Each counter is now the end of its bucket. */
    uint32_t start = 0;
    for (int64_t bucket = 0; bucket < buckets && most > BUCKET_MAX; start = ends[bucket++])
        if (ends[bucket] - start > BUCKET_MAX)
            sort_words(NULL, keys + start, ends[bucket] - start);
    for (int64_t i = 1; i < n; i++) {
        const uint64_t key = keys[i];
        int64_t at = i;
        for (; at > 0 && keys[at - 1] > key; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

/* Sorts n rows into the columns hi and lo, ascending, and writes the place of each among the rows. Equal rows keep the order
 * of their places. `ends`: 2^bits counters, 1 <= bits <= 31, n < 2^32. It sorts one word per row: hi, with its low bits
 * replaced by the row's place. Rows that tie in the rest of hi are then sorted separately. It is fastest if 2^bits is about n
 * and the high bits of hi are random: then nearly every key is at its place at once. The worst case is n log n. */
EXPORT void ep_sort_rows(const uint8_t *rows, int64_t n, int64_t bits, uint32_t *ends, uint64_t *hi, uint64_t *lo, uint64_t *places) {
    int place_bits = 1;
    while (n > (int64_t)1 << place_bits)
        place_bits++;
    const uint64_t place_mask = ((uint64_t)1 << place_bits) - 1;
    fill_buckets(rows, n, (int)bits, place_mask, ends, places);
    for (int64_t start = 0, end; start < n; start = end) {
        const uint64_t first = places[start] >> place_bits;
        places[start] &= place_mask;
        for (end = start + 1; end < n && places[end] >> place_bits == first; end++)
            places[end] &= place_mask;
        if (end - start > 1)
            sort_words(rows, places + start, end - start);
    }
    for (int64_t i = 0; i < n; i++) {
        hi[i] = word_at(rows + 16 * places[i]);
        lo[i] = word_at(rows + 16 * places[i] + 8);
    }
}

/* One of the k sorted runs, in the caller's form: five words per run. */
static struct part part_of(const int64_t *run) {
    return (struct part){(const uint64_t *)(intptr_t)run[0], (const uint64_t *)(intptr_t)run[1], run[2], run[3], run[4]};
}

/* Joins k >= 1 ascending runs into one run of all their fingerprints.
 * `runs` holds five words for each: the addresses of hi and lo, their steps, the length. Pairs of runs are joined, which
 * halves their number, again and again, from one pair of columns to the other; each pair has room for all. `ends`: k words to
 * count in. Returns 1 if the result is in the other pair, 0 if it is in the first. */
EXPORT int64_t ep_join_runs(const int64_t *runs, int64_t k, int64_t *ends, uint64_t *hi, uint64_t *lo, uint64_t *other_hi,
                            uint64_t *other_lo) {
    const struct part nothing = {hi, lo, 1, 1, 0};
    int64_t end = 0, count = 0;
    for (int64_t i = 0; i < k; i += 2) {
        const struct part a = part_of(runs + 5 * i), b = i + 1 < k ? part_of(runs + 5 * (i + 1)) : nothing;
        join_two(a, b, hi + end, lo + end, 1);
        ends[count++] = end += a.left + b.left;
    }
    int64_t is_other = 0;
    for (k = count; k > 1; k = count, is_other = !is_other) {
        const uint64_t *from_hi = is_other ? other_hi : hi, *from_lo = is_other ? other_lo : lo;
        uint64_t *to_hi = is_other ? hi : other_hi, *to_lo = is_other ? lo : other_lo;
        int64_t start = 0;
        count = 0;
        for (int64_t i = 0; i < k; i += 2) {
            const int64_t middle = ends[i], last = i + 1 < k ? ends[i + 1] : middle;
            const struct part a = {from_hi + start, from_lo + start, 1, 1, middle - start};
            const struct part b = {from_hi + middle, from_lo + middle, 1, 1, last - middle};
            join_two(a, b, to_hi + start, to_lo + start, 1);
            ends[count++] = start = last;
        }
    }
    return is_other;
}

/* The first place from `start` on whose fingerprint is not less than `key`. Steps double, then halve: if keys are sought in
 * order, the next is mostly near. */
static int64_t bound_of(const struct part *held, int64_t start, wide key) {
    int64_t low = start, stride = 1;
    while (stride <= held->left - low && key_at(held, low + stride - 1) < key) {
        low += stride;
        stride *= 2;
    }
    int64_t count = stride - 1 < held->left - low ? stride - 1 : held->left - low;
    while (count > 0) {
        const int64_t half = count / 2;
        const int is_less = key_at(held, low + half) < key;
        low = is_less ? low + half + 1 : low;
        count = is_less ? count - half - 1 : half;
    }
    return low;
}

/* found[i]: whether fingerprint i of m ascending `sought` ones is among the n of the run. `sought` may contain repetitions. */
EXPORT void ep_contains(const uint64_t *hi, int64_t hi_step, const uint64_t *lo, int64_t lo_step, int64_t n, const uint64_t *sought_hi,
                        const uint64_t *sought_lo, int64_t m, uint8_t *found) {
    const struct part held = {hi, lo, hi_step, lo_step, n};
    int64_t place = 0;
    for (int64_t i = 0; i < m; i++) {
        const wide key = key_of(sought_hi[i], sought_lo[i]);
        place = bound_of(&held, place, key);
        found[i] = place < n && key_at(&held, place) == key;
    }
}

/* The number of runs that are searched together. Each keeps the place that its search has reached. */
#define RUNS_ASKED 64
/* The number of marks that are prefetched before the first is read. */
#define AHEAD 64

/* Sets answers[i] to 0 if fingerprint i of the n, ascending, is in one of the k runs. Fingerprints whose answer is 0 are not
 * searched. `runs`: as for a join. `marks`, of 64 - `shift` bits of hi, are set for everything in the runs. */
EXPORT void ep_search_runs(const uint8_t *marks, int64_t shift, const int64_t *runs, int64_t k, const uint64_t *hi, const uint64_t *lo,
                           int64_t n, uint8_t *answers) {
    for (int64_t first = 0; first < k; first += RUNS_ASKED) {
        const int64_t asked = k - first < RUNS_ASKED ? k - first : RUNS_ASKED;
        struct part parts[RUNS_ASKED];
        int64_t places[RUNS_ASKED] = {0};
        for (int64_t run = 0; run < asked; run++)
            parts[run] = part_of(runs + 5 * (first + run));
        for (int64_t i = 0; i < n; i++) {
            if (i + AHEAD < n)
                __builtin_prefetch(marks + (hi[i + AHEAD] >> shift >> 3));
            if (!answers[i] || !(marks[hi[i] >> shift >> 3] >> (hi[i] >> shift & 7) & 1))
                continue;
            const wide key = key_of(hi[i], lo[i]);
            for (int64_t run = 0; run < asked && answers[i]; run++) {
                const int64_t place = places[run] = bound_of(&parts[run], places[run], key);
                answers[i] = !(place < parts[run].left && key_at(&parts[run], place) == key);
            }
        }
    }
}

/* Copies n fingerprints of two columns to rows. */
EXPORT void ep_rows_of(const uint64_t *hi, int64_t hi_step, const uint64_t *lo, int64_t lo_step, int64_t n, uint64_t *rows) {
    for (int64_t i = 0; i < n; i++) {
        rows[2 * i] = hi[i * hi_step];
        rows[2 * i + 1] = lo[i * lo_step];
    }
}
