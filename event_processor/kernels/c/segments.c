/* The search of a batch in all segments at once, and the checksums of blocks.
 *
 * Always: a block decides nothing before its checksum is verified. If a segment cannot decide here, whatever the reason (its
 * block is not in the page cache, cannot be read, is short, or does not match its checksum), the caller has to search again, and
 * learns why.
 */
#define _GNU_SOURCE
#include "cached_read.h"
#include "checksum.h"
#include "filter.h"
#include "segment.h"

/* A larger block is left to the caller. */
#define BLOCK_BYTES_MAX 4096
#define NO_BLOCK (-1)

enum answer { HELD = 0, NEW = 1, LEFT = 2 };

/* A block in memory, its checksum verified. */
struct block {
    int64_t number, rows;
    uint8_t content[BLOCK_BYTES_MAX];
};

/* The last block from `start` on whose fence is not above `hi`; `start` if all are above. Steps double, then halve. */
static int64_t block_of_row(const struct segment *segment, int64_t start, uint64_t hi) {
    int64_t low = start, stride = 1;
    while (stride < segment->blocks - low && segment->fences[low + stride] <= hi) {
        low += stride;
        stride *= 2;
    }
    int64_t count = stride < segment->blocks - low ? stride : segment->blocks - low;
    /* It is one of `count` blocks from `low` on. */
    while (count > 1) {
        const int64_t half = count / 2;
        const int is_below = segment->fences[low + half] <= hi;
        low = is_below ? low + half : low;
        count = is_below ? count - half : half;
    }
    return low;
}

/* Reads block `number` into memory, if it is not there yet. Returns whether it is there now. */
static int read_block(const struct segment *segment, int64_t number, struct block *block) {
    if (block->number == number)
        return 1;
    const int64_t rows = block_rows_of(segment, number, 1), size = rows * ROW_BYTES;
    block->number = NO_BLOCK;
    if (size < CHECKSUM_BYTES_MIN || size > BLOCK_BYTES_MAX)
        return 0;
    if (read_cached(segment->descriptor, block->content, size, block_offset(segment, number)) != size ||
        checksum_of(block->content, size) != segment->checksums[number])
        return 0;
    block->number = number;
    block->rows = rows;
    return 1;
}

/* The segment's answer for a fingerprint that passed its filter. `near`: a block before which the fingerprint cannot lie; it
 * moves forward. */
static enum answer ask(const struct segment *segment, int64_t *near, struct block *block, uint64_t hi, uint64_t lo) {
    const wide key = key_of(hi, lo);
    const int64_t number = *near = block_of_row(segment, *near, hi);
    if (segment->fences[number] > hi)
        return NEW;
    if (!read_block(segment, number, block))
        return LEFT;
    int64_t low = 0, count = block->rows;
    while (count > 0) {
        const int64_t half = count / 2;
        const int is_less = row_at(block->content, low + half) < key;
        low = is_less ? low + half + 1 : low;
        count = is_less ? count - half - 1 : half;
    }
    if (low < block->rows && row_at(block->content, low) == key)
        return HELD;
    /* If the block begins with the same `hi`, fingerprints with that `hi` may lie in blocks before it. */
    return low == 0 && number > 0 && segment->fences[number] == hi ? LEFT : NEW;
}

/* Sets the answers for n ascending fingerprints. On entry answers[i] is NEW, or HELD if fingerprint i is not to be searched.
 * On return it is NEW if it is new to all segments, HELD if one holds it, or LEFT if the caller has to search all segments.
 * `patterns` are the patterns of the filters; `places` has room for n. Returns how many are LEFT. */
EXPORT int64_t ep_search_segments(const struct segment *segments, int64_t segment_count, const uint64_t *patterns, const uint64_t *hi,
                                  const uint64_t *lo, int64_t n, uint8_t *answers, int64_t *places) {
    int64_t left = 0;
    for (const struct segment *segment = segments; segment < segments + segment_count; segment++) {
        struct block block;
        block.number = NO_BLOCK;
        int64_t near = 0;
        const int64_t hits = ep_filter_hits(segment->filter, (uint64_t)segment->filter_blocks, patterns, hi, lo, n, places);
        for (int64_t hit = 0; hit < hits; hit++) {
            const int64_t i = places[hit];
            if (answers[i] != NEW)
                continue;
            answers[i] = (uint8_t)ask(segment, &near, &block, hi[i], lo[i]);
            left += answers[i] == LEFT;
        }
    }
    return left;
}

/* checksums[i]: the checksum of `block_bytes` bytes from i * block_bytes on, fewer at the end of `size`. Returns how many
 * there are if each block has at least CHECKSUM_BYTES_MIN; else how many come before the first that is too short. */
EXPORT int64_t ep_checksums(const uint8_t *content, int64_t size, int64_t block_bytes, uint64_t *checksums) {
    int64_t count = 0;
    for (int64_t begin = 0; begin < size; begin += block_bytes, count++) {
        const int64_t length = size - begin < block_bytes ? size - begin : block_bytes;
        if (length < CHECKSUM_BYTES_MIN)
            break;
        checksums[count] = checksum_of(content + begin, length);
    }
    return count;
}
