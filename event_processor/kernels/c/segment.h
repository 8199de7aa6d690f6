/* An open segment, as the search and the merge of segments know it. */
#ifndef EVENT_PROCESSOR_SEGMENT_H
#define EVENT_PROCESSOR_SEGMENT_H

#include "fingerprint.h"

/* Its filter, and for each of its blocks the first `hi` (`fences`) and the checksum. `piece_offsets`: for each section of `section_blocks` blocks, how
 * many bytes of filter stand before its rows. */
struct segment {
    int64_t descriptor;
    const uint64_t *filter;
    int64_t filter_blocks;
    const uint64_t *fences, *checksums;
    const int64_t *piece_offsets;
    int64_t blocks, rows, block_rows, section_blocks, header_bytes;
};

/* Where block `number` begins in the file. */
static inline int64_t block_offset(const struct segment *segment, int64_t number) {
    return segment->header_bytes + number * segment->block_rows * ROW_BYTES + segment->piece_offsets[number / segment->section_blocks];
}

/* How many rows `count` blocks from `number` on have; the last block of all may be a short one. */
static inline int64_t block_rows_of(const struct segment *segment, int64_t number, int64_t count) {
    const int64_t left = segment->rows - number * segment->block_rows, rows = count * segment->block_rows;
    return left < rows ? left : rows;
}

#endif
