/* Merges ascending sources of fingerprints into one: segments, which are read and checked here, and rows that the caller
 * supplies.
 *
 * Rows are two words, hi and lo. Each source has a buffer of its next rows. A row in no buffer yet is above all earlier rows of
 * its source. So every row up to the least of the buffers' ends can be joined now; this empties at least one buffer.
 * Always: a block is joined only after its checksum is verified. A failed read, whatever the reason, is left to the caller, who
 * learns why.
 */
#define _GNU_SOURCE
#include "checksum.h"
#include "segment.h"

#include <unistd.h>

struct row {
    uint64_t hi, lo;
};

/* `segment` is NULL if the caller supplies the rows. The rows of the buffer from `begin` to `end` are still to be joined.
 * `next_row` is the first row that was not in the buffer yet. */
struct source {
    const struct segment *segment;
    struct row *buffer;
    int64_t begin, end, next_row, is_at_end;
};

/* Joined rows that were not returned yet: from `begin` to `end` of one of two arrays, each with room for all buffers. */
struct joined {
    struct row *arrays[2];
    int64_t which, begin, end;
};

static inline wide key_of_row(const struct row *row) { return key_of(row->hi, row->lo); }

/* Fills an empty buffer. Returns whether it holds a row, or the source is at its end. */
static int fill(struct source *source, int64_t buffer_rows) {
    const struct segment *segment = source->segment;
    if (source->begin < source->end || source->is_at_end)
        return 1;
    if (segment == NULL)
        return 0;
    const int64_t number = source->next_row / segment->block_rows;
    if (source->next_row >= segment->rows)
        return (int)(source->is_at_end = 1);
    /* The rows of a section lie together; a piece of the filter follows them. */
    int64_t count = segment->section_blocks - number % segment->section_blocks;
    count = count < buffer_rows / segment->block_rows ? count : buffer_rows / segment->block_rows;
    const int64_t rows = block_rows_of(segment, number, count), size = rows * ROW_BYTES, block_bytes = segment->block_rows * ROW_BYTES;
    uint8_t *content = (uint8_t *)source->buffer;
    if (rows < 1 || pread((int)segment->descriptor, content, (size_t)size, block_offset(segment, number)) != size)
        return 0;
    for (int64_t begin = 0, block = number; begin < size; begin += block_bytes, block++) {
        const int64_t length = size - begin < block_bytes ? size - begin : block_bytes;
        if (length < CHECKSUM_BYTES_MIN || checksum_of(content + begin, length) != segment->checksums[block])
            return 0;
    }
    source->begin = 0;
    source->end = rows;
    source->next_row += rows;
    return 1;
}

/* The first place from `begin` on whose row is above `bound`; `end` if there is none. */
static int64_t place_behind(const struct row *rows, int64_t begin, int64_t end, wide bound) {
    while (begin < end) {
        const int64_t middle = begin + (end - begin) / 2;
        if (key_of_row(rows + middle) <= bound)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Joins both, ascending, into `rows`. */
static void join_rows(const struct row *a, int64_t a_rows, const struct row *b, int64_t b_rows, struct row *rows) {
    const struct part one = {&a->hi, &a->lo, 2, 2, a_rows}, other = {&b->hi, &b->lo, 2, 2, b_rows};
    join_two(one, other, &rows->hi, &rows->lo, 2);
}

/* Joins the ascending parts of the first array, whose ends are `ends`, into one part of one of the arrays. Pairs are joined,
 * which halves their number, again and again, from one array to the other. */
static void join_parts(struct joined *joined, int64_t *ends, int64_t parts) {
    joined->which = 0;
    for (int64_t count; parts > 1; parts = count, joined->which = !joined->which) {
        const struct row *from = joined->arrays[joined->which];
        struct row *to = joined->arrays[!joined->which];
        int64_t begin = 0;
        count = 0;
        for (int64_t part = 0; part < parts; part += 2) {
            const int64_t middle = ends[part], end = part + 1 < parts ? ends[part + 1] : middle;
            join_rows(from + begin, middle - begin, from + middle, end - middle, to + begin);
            ends[count++] = begin = end;
        }
    }
}

/* Joins every row of the buffers that no later row can precede. `ends` has room for one entry per source. */
static void join_buffers(struct source *sources, int64_t count, struct joined *joined, int64_t *ends) {
    wide bound = ~(wide)0;
    for (struct source *source = sources; source < sources + count; source++)
        if (source->begin < source->end && key_of_row(source->buffer + source->end - 1) < bound)
            bound = key_of_row(source->buffer + source->end - 1);
    int64_t end = 0, parts = 0;
    struct row *waiting = NULL;
    int64_t waiting_rows = 0;
    for (struct source *source = sources; source < sources + count; source++) {
        struct row *rows = source->buffer + source->begin;
        const int64_t behind = place_behind(source->buffer, source->begin, source->end, bound), part = behind - source->begin;
        source->begin = behind;
        if (part == 0)
            continue;
        if (waiting == NULL) {
            waiting = rows;
            waiting_rows = part;
            continue;
        }
        join_rows(waiting, waiting_rows, rows, part, joined->arrays[0] + end);
        ends[parts++] = end += waiting_rows + part;
        waiting = NULL;
    }
    if (waiting != NULL) {
        memcpy(joined->arrays[0] + end, waiting, (size_t)waiting_rows * sizeof *waiting);
        ends[parts++] = end += waiting_rows;
    }
    join_parts(joined, ends, parts);
    joined->begin = 0;
    joined->end = end;
}

/* Writes the next rows of all k >= 1 sources, at most `wanted`; returns how many. `starved` is the source that the caller must
 * fill before more can follow, or -1: then there are fewer than wanted only if all sources are at their end. A buffer has room
 * for `buffer_rows`, at least a block. `ends`: k words to count in. */
EXPORT int64_t ep_merge(struct source *sources, int64_t k, int64_t buffer_rows, struct joined *joined, int64_t *ends, struct row *rows,
                        int64_t wanted, int64_t *starved) {
    int64_t given = 0;
    *starved = -1;
    while (given < wanted) {
        if (joined->begin == joined->end) {
            for (int64_t source = 0; source < k; source++)
                if (!fill(sources + source, buffer_rows)) {
                    *starved = source;
                    return given;
                }
            join_buffers(sources, k, joined, ends);
            if (joined->end == 0)
                return given;
        }
        const int64_t left = joined->end - joined->begin, part = left < wanted - given ? left : wanted - given;
        memcpy(rows + given, joined->arrays[joined->which] + joined->begin, (size_t)part * sizeof *rows);
        joined->begin += part;
        given += part;
    }
    return given;
}
